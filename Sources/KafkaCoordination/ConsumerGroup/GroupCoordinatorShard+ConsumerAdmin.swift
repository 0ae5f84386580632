import KafkaMessages
import KafkaPrimitives

extension ConsumerGroup {
    /// What ListGroups calls it.
    static let groupType = "consumer"
}

extension GroupCoordinatorShard {
    /// ConsumerGroupDescribe. Partitions of topics that are not there any more are left out.
    mutating func describeConsumerGroups(
        _ groupIDs: [String], _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        let described = groupIDs.map { groupID -> ConsumerGroupDescribeResponse.DescribedGroup in
            guard self.config.servesConsumerProtocol else { return .failure(groupID, .unsupportedVersion) }
            guard let group = self.consumerGroups[groupID] else {
                let exists = self.groups[groupID] != nil || self.otherGroups[groupID] != nil
                return .failure(
                    groupID, .groupIDNotFound,
                    exists ? "Group \(groupID) is not a consumer group." : "Group \(groupID) not found.")
            }
            var response = ConsumerGroupDescribeResponse.DescribedGroup()
            response.groupID = groupID
            response.groupState = group.state.rawValue
            response.groupEpoch = group.epoch
            response.assignmentEpoch = group.assignmentEpoch
            response.assignorName = group.preferredAssignor(self.config.consumerAssignors, with: nil).rawValue
            response.members = group.members.values.sorted { $0.memberID < $1.memberID }.map { member in
                var described = ConsumerGroupDescribeResponse.Member()
                described.memberID = member.memberID
                described.instanceID = member.instanceID
                described.rackID = member.rackID
                described.memberEpoch = member.epoch
                described.clientID = member.clientID
                described.clientHost = member.clientHost
                described.subscribedTopicNames = member.subscribedTopics
                described.subscribedTopicRegex = member.subscribedRegex.isEmpty ? nil : member.subscribedRegex
                described.assignment = self.describe(member.assigned.partitions)
                described.targetAssignment = self.describe(group.targets[member.memberID] ?? PartitionSet())
                described.memberType = member.usesClassicProtocol ? 0 : 1
                return described
            }
            return response
        }
        effects.readsState = true
        effects.reply(ticket, .consumerGroupDescribe(described))
    }

    private func describe(_ partitions: PartitionSet) -> ConsumerGroupDescribeResponse.Assignment {
        var assignment = ConsumerGroupDescribeResponse.Assignment()
        assignment.topicPartitions = partitions.topics.compactMap { topic in
            guard let known = self.image.topic(withID: topic.topicID) else { return nil }
            var described = ConsumerGroupDescribeResponse.TopicPartitions()
            described.topicID = topic.topicID
            described.topicName = known.name
            described.partitions = topic.partitions
            return described
        }
        return assignment
    }

    /// With what the broker knows beside the groups, before it is opened.
    package func knowing(_ image: GroupMetadataImage) -> GroupCoordinatorShard {
        var shard = self
        shard.image = image
        return shard
    }

    /// The timers of consumer groups, after the load. Sessions begin anew.
    mutating func armConsumerGroups(_ now: CoordinatorTime, _ effects: inout GroupEffects) {
        for groupID in self.consumerGroups.keys.sorted() {
            guard let group = self.consumerGroups[groupID] else { continue }
            let settings = self.image.settings(of: groupID)
            for member in group.members.values.sorted(by: { $0.memberID < $1.memberID }) {
                effects.setTimer(
                    .consumerGroup(groupID, .session(member.memberID)),
                    afterMs: Int64(member.classic?.sessionTimeoutMs ?? settings.sessionTimeoutMs))
                if member.state == .unrevokedPartitions, !member.usesClassicProtocol {
                    effects.setTimer(
                        .consumerGroup(groupID, .rebalance(member.memberID)),
                        afterMs: Int64(max(member.rebalanceTimeoutMs, 0)))
                }
            }
            guard !group.isEmpty else { continue }
            effects.setTimer(.consumerGroup(groupID, .metadata), afterMs: 0)
            if !group.regexCounts.isEmpty { effects.setTimer(.consumerGroup(groupID, .regexes), afterMs: 0) }
            if group.epoch > group.assignmentEpoch { self.scheduleAssignment(of: group, now, &effects) }
        }
    }
}

extension ConsumerGroupDescribeResponse.DescribedGroup {
    static func failure(_ groupID: String, _ error: ErrorCode, _ message: String? = nil) -> Self {
        var response = Self()
        response.groupID = groupID
        response.errorCode = error
        response.errorMessage = message
        return response
    }
}
