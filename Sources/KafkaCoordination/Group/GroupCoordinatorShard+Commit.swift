import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    /// Who commits, and to which group.
    private struct Committer {
        var groupID: String
        var memberID: String
        var instanceID: String?
        /// Or a member's epoch; negative: not a member.
        var generation: Int32
        var apiVersion: Int16
        var isTransactional: Bool

        /// Says nothing of a member.
        var isAnonymous: Bool { self.generation < 0 && self.memberID.isEmpty && self.instanceID == nil }
    }

    // MARK: OffsetCommit

    /// Topics come by name; the id, where it is known, is stored beside the offset.
    mutating func offsetCommit(
        _ request: OffsetCommitRequest, _ apiVersion: Int16, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        let committer = Committer(
            groupID: request.groupID, memberID: request.memberID, instanceID: request.groupInstanceID,
            generation: request.generationIDOrMemberEpoch, apiVersion: apiVersion, isTransactional: false)
        let partitions = request.topics.lazy.flatMap { topic in
            topic.partitions.lazy.map { (topic: topic.name, partition: $0.partitionIndex) }
        }
        if let error = self.validate(committer, partitions) {
            effects.reply(ticket, .offsetCommit(OffsetCommitResponse(refusing: request, error)))
            return
        }
        if let group = self.groups[request.groupID], group.state == .stable || group.state == .preparingRebalance {
            group.touch(request.memberID, effects: &effects)
        }
        let expireTimestampMs: Int64? =
            request.retentionTimeMs == -1
            ? nil : now.wallMs.addingReportingOverflow(request.retentionTimeMs).partialValue
        var response = OffsetCommitResponse()
        response.topics = request.topics.map { topic in
            var topicResponse = OffsetCommitResponse.Topic()
            topicResponse.name = topic.name
            topicResponse.topicID = topic.topicID
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetCommitResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                partitionResponse.errorCode = self.commit(
                    CommittedOffset(
                        offset: partition.committedOffset, leaderEpoch: partition.committedLeaderEpoch,
                        metadata: partition.committedMetadata ?? "", commitTimestampMs: now.wallMs,
                        expireTimestampMs: expireTimestampMs, topicID: topic.topicID),
                    request.groupID, topic.name, partition.partitionIndex, &effects)
                return partitionResponse
            }
            return topicResponse
        }
        effects.reply(ticket, .offsetCommit(response))
    }

    // MARK: TxnOffsetCommit

    /// The offsets are part of the producer's transaction, and count when its marker comes (KIP-98). The transaction
    /// coordinator has been asked whether there is one.
    /// - Parameter topicIDs: by name, for those that are known; the request has none.
    mutating func transactionalOffsetCommit(
        _ request: TxnOffsetCommitRequest, _ topicIDs: [String: KafkaUUID], _ verification: OffsetVerification,
        _ apiVersion: Int16, _ ticket: ReplyTicket, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        let committer = Committer(
            groupID: request.groupID, memberID: request.memberID, instanceID: request.groupInstanceID,
            generation: request.generationID, apiVersion: apiVersion, isTransactional: true)
        let partitions = request.topics.lazy.flatMap { topic in
            topic.partitions.lazy.map { (topic: topic.name, partition: $0.partitionIndex) }
        }
        if let error = self.validate(committer, partitions) {
            effects.reply(
                ticket, .transactionalOffsetCommit(TxnOffsetCommitResponse(refusing: request, error)))
            return
        }
        var response = TxnOffsetCommitResponse()
        response.topics = request.topics.map { topic in
            var topicResponse = TxnOffsetCommitResponse.Topic()
            topicResponse.name = topic.name
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = TxnOffsetCommitResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                partitionResponse.errorCode = self.commit(
                    CommittedOffset(
                        offset: partition.committedOffset, leaderEpoch: partition.committedLeaderEpoch,
                        metadata: partition.committedMetadata ?? "", commitTimestampMs: now.wallMs,
                        topicID: topicIDs[topic.name] ?? .zero),
                    request.groupID, topic.name, partition.partitionIndex, &effects)
                return partitionResponse
            }
            return topicResponse
        }
        effects.transaction = TransactionalProducer(
            producerID: request.producerID, producerEpoch: request.producerEpoch, verification: verification)
        effects.reply(ticket, .transactionalOffsetCommit(response))
    }

    // MARK: What they share

    private func commit(
        _ committed: CommittedOffset, _ groupID: String, _ topic: String, _ partition: Int32,
        _ effects: inout GroupEffects
    ) -> ErrorCode {
        guard committed.metadata.utf16.count <= Int(self.config.offsetMetadataMaxSize) else {
            return .offsetMetadataTooLarge
        }
        effects.records.append(GroupRecords.offsetCommit(groupID, topic: topic, partition: partition, committed))
        return .none
    }

    private func validate(
        _ committer: Committer, _ partitions: some Sequence<(topic: String, partition: Int32)>
    ) -> ErrorCode? {
        if self.otherGroups[committer.groupID] != nil { return .groupIDNotFound }
        if self.consumerGroups[committer.groupID] != nil {
            let error = self.refusalOfConsumerCommit(
                committer.groupID, memberID: committer.memberID, instanceID: committer.instanceID,
                epoch: committer.generation, apiVersion: committer.isTransactional ? nil : committer.apiVersion,
                partitions: partitions)
            // Producers do not know STALE_MEMBER_EPOCH: they would take it for final.
            return committer.isTransactional && error == .staleMemberEpoch ? .illegalGeneration : error
        }
        guard let group = self.groups[committer.groupID] else {
            // Without a generation: a program that only stores its offsets here. Its group comes into being.
            if committer.generation < 0 { return nil }
            return committer.apiVersion >= 9 && !committer.isTransactional ? .groupIDNotFound : .illegalGeneration
        }
        if committer.generation < 0 && group.state == .empty { return nil }
        // Not a member, and the group has members. Producers of before KIP-447 say nothing of a member: they are trusted,
        // as their transactional id keeps others of the same partition away.
        if committer.isAnonymous { return committer.isTransactional ? nil : .unknownMemberID }
        if let error = group.validate(
            memberID: committer.memberID, instanceID: committer.instanceID, generation: committer.generation)
        {
            return error
        }
        // It knows the new generation and commits before it has its assignment: it cannot own a partition. What is in a
        // transaction was read before the rebalance; its end is waited for.
        return group.state == .completingRebalance && !committer.isTransactional ? .rebalanceInProgress : nil
    }
}

extension OffsetCommitResponse {
    /// The same error for every partition of a commit.
    package init(refusing request: OffsetCommitRequest, _ error: ErrorCode) {
        self.init()
        self.topics = request.topics.map { topic in
            var response = OffsetCommitResponse.Topic()
            response.name = topic.name
            response.topicID = topic.topicID
            response.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetCommitResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                partitionResponse.errorCode = error
                return partitionResponse
            }
            return response
        }
    }

    mutating func refuse(_ error: ErrorCode) {
        for topic in self.topics.indices {
            for partition in self.topics[topic].partitions.indices {
                self.topics[topic].partitions[partition].errorCode = error
            }
        }
    }
}

extension TxnOffsetCommitResponse {
    /// The same error for every partition of a commit.
    package init(refusing request: TxnOffsetCommitRequest, _ error: ErrorCode) {
        self.init()
        self.topics = request.topics.map { topic in
            var response = TxnOffsetCommitResponse.Topic()
            response.name = topic.name
            response.partitions = topic.partitions.map { partition in
                var partitionResponse = TxnOffsetCommitResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                partitionResponse.errorCode = error
                return partitionResponse
            }
            return response
        }
    }

    mutating func refuse(_ error: ErrorCode) {
        for topic in self.topics.indices {
            for partition in self.topics[topic].partitions.indices {
                self.topics[topic].partitions[partition].errorCode = error
            }
        }
    }
}
