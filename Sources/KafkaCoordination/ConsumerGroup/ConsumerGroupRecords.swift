import KafkaMessages
import KafkaPrimitives

/// The records of consumer groups in `__consumer_offsets`, in Kafka 4.3's form.
package enum ConsumerGroupRecords {
    /// What a key says a record is; nil values are tombstones.
    package enum Parsed: Sendable, Equatable {
        case group(ConsumerGroupMetadataValue?)
        /// The topics, as Kafka before 4.1 stored them.
        case partitionMetadata(isThere: Bool)
        case member(String, ConsumerGroupMemberMetadataValue?)
        case targetMetadata(ConsumerGroupTargetAssignmentMetadataValue?)
        case target(member: String, ConsumerGroupTargetAssignmentMemberValue?)
        case current(member: String, ConsumerGroupCurrentMemberAssignmentValue?)
        case regex(String, ConsumerGroupRegularExpressionValue?)
    }

    /// Nil for a type that is no consumer group's.
    static func parse(
        _ type: Int16, key reader: inout ByteReader, value: UnsafeRawBufferPointer?
    ) throws(DecodingError) -> (groupID: String, Parsed)? {
        switch type {
        case 3:
            let key = try ConsumerGroupMetadataKey(from: &reader, version: 0)
            return (key.groupID, .group(try GroupRecords.decode(value)))
        case 4:
            let key = try ConsumerGroupPartitionMetadataKey(from: &reader, version: 0)
            return (key.groupID, .partitionMetadata(isThere: value != nil))
        case 5:
            let key = try ConsumerGroupMemberMetadataKey(from: &reader, version: 0)
            return (key.groupID, .member(key.memberID, try GroupRecords.decode(value)))
        case 6:
            let key = try ConsumerGroupTargetAssignmentMetadataKey(from: &reader, version: 0)
            return (key.groupID, .targetMetadata(try GroupRecords.decode(value)))
        case 7:
            let key = try ConsumerGroupTargetAssignmentMemberKey(from: &reader, version: 0)
            return (key.groupID, .target(member: key.memberID, try GroupRecords.decode(value)))
        case 8:
            let key = try ConsumerGroupCurrentMemberAssignmentKey(from: &reader, version: 0)
            return (key.groupID, .current(member: key.memberID, try GroupRecords.decode(value)))
        case 16:
            let key = try ConsumerGroupRegularExpressionKey(from: &reader, version: 0)
            return (key.groupID, .regex(key.regularExpression, try GroupRecords.decode(value)))
        default:
            return nil
        }
    }

    // MARK: Writing

    static func group(_ groupID: String, epoch: Int32, metadataHash: Int64) -> CoordinatorRecord {
        var value = ConsumerGroupMetadataValue()
        value.epoch = epoch
        value.metadataHash = metadataHash
        return self.record(ConsumerGroupMetadataKey(groupID), 3, value)
    }

    static func groupTombstone(_ groupID: String) -> CoordinatorRecord {
        self.tombstone(ConsumerGroupMetadataKey(groupID), 3)
    }

    static func partitionMetadataTombstone(_ groupID: String) -> CoordinatorRecord {
        var key = ConsumerGroupPartitionMetadataKey()
        key.groupID = groupID
        return self.tombstone(key, 4)
    }

    static func member(_ groupID: String, _ member: ConsumerGroupMember) -> CoordinatorRecord {
        var value = ConsumerGroupMemberMetadataValue()
        value.instanceID = member.instanceID
        value.rackID = member.rackID
        value.clientID = member.clientID
        value.clientHost = member.clientHost
        value.subscribedTopicNames = member.subscribedTopics
        value.subscribedTopicRegex = member.subscribedRegex
        value.rebalanceTimeoutMs = member.rebalanceTimeoutMs
        value.serverAssignor = member.serverAssignor
        value.classicMemberMetadata = member.classic.map { classic in
            var stored = ConsumerGroupMemberMetadataValue.ClassicMemberMetadata()
            stored.sessionTimeoutMs = classic.sessionTimeoutMs
            stored.supportedProtocols = classic.protocols.map { offered in
                var stored = ConsumerGroupMemberMetadataValue.ClassicProtocol()
                stored.name = offered.name
                stored.metadata = offered.metadata
                return stored
            }
            return stored
        }
        return self.record(self.memberKey(groupID, member.memberID), 5, value)
    }

    static func targetMetadata(_ groupID: String, epoch: Int32, timestampMs: Int64) -> CoordinatorRecord {
        var value = ConsumerGroupTargetAssignmentMetadataValue()
        value.assignmentEpoch = epoch
        value.assignmentTimestamp = timestampMs
        var key = ConsumerGroupTargetAssignmentMetadataKey()
        key.groupID = groupID
        return self.record(key, 6, value)
    }

    static func target(_ groupID: String, _ memberID: String, _ partitions: PartitionSet) -> CoordinatorRecord {
        var value = ConsumerGroupTargetAssignmentMemberValue()
        value.topicPartitions = partitions.topics.map { topic in
            var stored = ConsumerGroupTargetAssignmentMemberValue.TopicPartition()
            stored.topicID = topic.topicID
            stored.partitions = topic.partitions
            return stored
        }
        var key = ConsumerGroupTargetAssignmentMemberKey()
        key.groupID = groupID
        key.memberID = memberID
        return self.record(key, 7, value)
    }

    static func current(_ groupID: String, _ member: ConsumerGroupMember) -> CoordinatorRecord {
        func stored(_ partitions: HeldPartitions) -> [ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions] {
            partitions.topics.map { topic in
                var stored = ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions()
                stored.topicID = topic.topicID
                stored.partitions = topic.partitions
                stored.assignmentEpochs = topic.epochs
                return stored
            }
        }
        var value = ConsumerGroupCurrentMemberAssignmentValue()
        value.memberEpoch = member.epoch
        value.previousMemberEpoch = member.previousEpoch
        value.state = member.state.rawValue
        value.assignedPartitions = stored(member.assigned)
        value.partitionsPendingRevocation = stored(member.pendingRevocation)
        var key = ConsumerGroupCurrentMemberAssignmentKey()
        key.groupID = groupID
        key.memberID = member.memberID
        return self.record(key, 8, value)
    }

    static func regex(
        _ groupID: String, _ regex: String, _ resolved: ConsumerGroup.ResolvedRegex?
    ) -> CoordinatorRecord {
        var key = ConsumerGroupRegularExpressionKey()
        key.groupID = groupID
        key.regularExpression = regex
        guard let resolved else { return self.tombstone(key, 16) }
        var value = ConsumerGroupRegularExpressionValue()
        value.topics = resolved.topics
        value.version = resolved.revision
        value.timestamp = resolved.timestampMs
        return self.record(key, 16, value)
    }

    /// Takes a member out: what it has, what it is to have, what it said.
    static func removal(_ groupID: String, _ memberID: String) -> [CoordinatorRecord] {
        var current = ConsumerGroupCurrentMemberAssignmentKey()
        current.groupID = groupID
        current.memberID = memberID
        var target = ConsumerGroupTargetAssignmentMemberKey()
        target.groupID = groupID
        target.memberID = memberID
        return [
            self.tombstone(current, 8), self.tombstone(target, 7),
            self.tombstone(self.memberKey(groupID, memberID), 5),
        ]
    }

    /// A group as a whole.
    static func all(of group: ConsumerGroup) -> [CoordinatorRecord] {
        let members = group.members.values.sorted { $0.memberID < $1.memberID }
        var records = members.map { self.member(group.groupID, $0) }
        records.append(self.group(group.groupID, epoch: group.epoch, metadataHash: group.metadataHash))
        for member in members {
            records.append(
                self.target(group.groupID, member.memberID, group.targets[member.memberID] ?? PartitionSet()))
        }
        records.append(
            self.targetMetadata(
                group.groupID, epoch: group.assignmentEpoch, timestampMs: group.assignmentTimestampMs))
        return records + members.map { self.current(group.groupID, $0) }
    }

    /// Takes a group out, with all that is in it. The group's own record is the last.
    static func tombstones(of group: ConsumerGroup) -> [CoordinatorRecord] {
        var records: [CoordinatorRecord] = []
        for memberID in group.members.keys.sorted() { records += self.removal(group.groupID, memberID) }
        for regex in group.resolvedRegexes.keys.sorted() { records.append(self.regex(group.groupID, regex, nil)) }
        var target = ConsumerGroupTargetAssignmentMetadataKey()
        target.groupID = group.groupID
        records.append(self.tombstone(target, 6))
        if group.hasPartitionMetadata { records.append(self.partitionMetadataTombstone(group.groupID)) }
        records.append(self.groupTombstone(group.groupID))
        return records
    }

    private static func memberKey(_ groupID: String, _ memberID: String) -> ConsumerGroupMemberMetadataKey {
        var key = ConsumerGroupMemberMetadataKey()
        key.groupID = groupID
        key.memberID = memberID
        return key
    }

    private static func record(
        _ key: some KafkaMessage, _ type: Int16, _ value: some KafkaMessage
    ) -> CoordinatorRecord {
        CoordinatorRecord(
            key: GroupRecords.encode(key, type: type, version: 0),
            value: GroupRecords.encode(value, type: 0, version: 0))
    }

    private static func tombstone(_ key: some KafkaMessage, _ type: Int16) -> CoordinatorRecord {
        CoordinatorRecord(key: GroupRecords.encode(key, type: type, version: 0), value: nil)
    }
}

extension ConsumerGroupMetadataKey {
    fileprivate init(_ groupID: String) {
        self.init()
        self.groupID = groupID
    }
}

extension GroupCoordinatorShard {
    /// Returns false for a record that does not fit what is there.
    mutating func replay(consumerGroup groupID: String, _ record: ConsumerGroupRecords.Parsed) -> Bool {
        if record.makesGroup {
            if self.otherGroups[groupID] != nil { self.otherGroups[groupID] = nil }
            // Offsets that stand before it in the log made it look like a group that only stores offsets.
            if self.groups[groupID] != nil { self.groups[groupID] = nil }
        } else if self.consumerGroups[groupID] == nil {
            return true
        }
        if case .group(nil) = record {
            self.consumerGroups[groupID] = nil
            // Its offsets may outlive it, as those of a group that only stores offsets.
            return true
        }
        self.consumerGroups[groupID, default: ConsumerGroup(groupID: groupID)].replay(record)
        return true
    }
}

extension ConsumerGroupRecords.Parsed {
    /// Anything but a tombstone.
    fileprivate var makesGroup: Bool {
        switch self {
        case .group(let value): value != nil
        case .partitionMetadata(let isThere): isThere
        case .member(_, let value): value != nil
        case .targetMetadata(let value): value != nil
        case .target(_, let value): value != nil
        case .current(_, let value): value != nil
        case .regex(_, let value): value != nil
        }
    }
}

extension ConsumerGroup {
    fileprivate mutating func replay(_ record: ConsumerGroupRecords.Parsed) {
        switch record {
        case .group(let value):
            guard let value else { return }
            self.epoch = value.epoch
            self.metadataHash = value.metadataHash
        case .partitionMetadata(let isThere):
            self.hasPartitionMetadata = isThere
        case .member(let memberID, let value?):
            self.replay(member: memberID, metadata: value)
        case .member(let memberID, nil):
            self.replayRemoval(of: memberID)
        case .targetMetadata(let value?):
            self.assignmentEpoch = value.assignmentEpoch
            self.assignmentTimestampMs = value.assignmentTimestamp
        case .targetMetadata(nil):
            self.targets = [:]
            self.assignmentEpoch = -1
        case .target(let memberID, let value):
            self.replay(
                target: PartitionSet(
                    (value?.topicPartitions ?? []).map { (topicID: $0.topicID, partitions: $0.partitions) }),
                of: memberID)
        case .current(let memberID, let value):
            self.replay(member: memberID, assignment: value)
        case .regex(let regex, let value?):
            self.resolvedRegexes[regex] = ResolvedRegex(
                topics: value.topics.sortedWithoutRepetitions(), revision: value.version,
                timestampMs: value.timestamp)
        case .regex(let regex, nil):
            self.resolvedRegexes[regex] = nil
        }
    }
}
