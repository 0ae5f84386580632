extension ApiHandler {
    /// Every API that is served, by key. What is listed is whole in each of its versions: ApiVersions is answered from
    /// this list.
    static let all: [ApiHandler] = [
        .produce,
        .fetch,
        .listOffsets,
        .metadata,
        .offsetCommit,
        .offsetFetch,
        .findCoordinator,
        .joinGroup,
        .heartbeat,
        .leaveGroup,
        .syncGroup,
        .describeGroups,
        .listGroups,
        .saslHandshake,
        .apiVersions,
        .createTopics,
        .deleteTopics,
        .deleteRecords,
        .initProducerID,
        .offsetForLeaderEpoch,
        .addPartitionsToTxn,
        .addOffsetsToTxn,
        .endTxn,
        .writeTxnMarkers,
        .txnOffsetCommit,
        .describeConfigs,
        .alterConfigs,
        .alterReplicaLogDirs,
        .describeLogDirs,
        .saslAuthenticate,
        .createPartitions,
        .deleteGroups,
        .electLeaders,
        .incrementalAlterConfigs,
        .alterPartitionReassignments,
        .listPartitionReassignments,
        .offsetDelete,
        .describeQuorum,
        .updateFeatures,
        .describeCluster,
        .describeProducers,
        .describeTransactions,
        .listTransactions,
        .consumerGroupHeartbeat,
        .consumerGroupDescribe,
        .listConfigResources,
        .describeTopicPartitions,
        .shareGroupHeartbeat,
    ]

    /// As `all`, but for what is served in versions that are not stable where `unstable.api.versions.enable` is set.
    static func served(unstableVersions: Bool) -> [ApiHandler] {
        guard unstableVersions else { return self.all }
        return self.all.map { $0.key == self.initProducerID.key ? .unstableInitProducerID : $0 }
    }
}
