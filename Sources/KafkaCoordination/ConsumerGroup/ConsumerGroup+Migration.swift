import KafkaMessages
import KafkaPrimitives

/// `group.consumer.migration.policy`: whether groups with members may change from one protocol to the other while
/// they are in use. Groups without members always may.
package enum ConsumerGroupMigrationPolicy: String, Sendable {
    case bidirectional, upgrade, downgrade, disabled

    var allowsUpgrade: Bool { self == .bidirectional || self == .upgrade }
    var allowsDowngrade: Bool { self == .bidirectional || self == .downgrade }
}

/// A consumer group becomes a classic one.
package struct Downgrade: Sendable {
    var classic: ClassicGroup
    /// The ids of all who were in the group.
    var former: [String]
    /// A static member that joined by it, and is to be answered.
    var joined: (response: JoinGroupResponse, ticket: ReplyTicket)?
    /// Whether the members have to rejoin.
    var rebalances: Bool
    /// The timer to set again if it cannot be stored.
    var retry: GroupCoordinatorShard.TimerKey?
}

extension ConsumerGroup {
    /// A classic group of consumers, with its members, in its generation. They go on by their protocol until they are
    /// replaced. Nil where what the members store in the group is not that of consumers, or of an assignor of their own.
    init?(upgrading classic: ClassicGroup, in image: GroupMetadataImage) {
        self.init(groupID: classic.groupID)
        let generation = max(classic.generation, 1)
        self.epoch = generation
        self.assignmentEpoch = generation
        var taken: Set<TopicPartition> = []
        for member in classic.orderedMembers {
            guard let subscription = ConsumerProtocol.subscription(of: member.protocols, classic.protocolName) else {
                return nil
            }
            var topics: [(topicID: KafkaUUID, partitions: [Int32])] = []
            if !member.assignment.isEmpty {
                guard let assignment = ConsumerProtocol.assignment(member.assignment),
                    assignment.userData?.isEmpty ?? true
                else { return nil }
                for topic in assignment.assignedPartitions {
                    guard let known = image.topic(named: topic.topic) else { continue }
                    // A leader that gives a partition to two does not get away with it here.
                    let partitions = topic.partitions.filter {
                        (0..<known.partitionCount).contains($0)
                            && taken.insert(TopicPartition(topicID: known.id, partition: $0)).inserted
                    }
                    topics.append((known.id, partitions))
                }
            }
            var upgraded = ConsumerGroupMember(memberID: member.memberID)
            upgraded.instanceID = member.instanceID
            upgraded.rackID = subscription.rackID
            upgraded.clientID = member.clientID
            upgraded.clientHost = member.clientHost
            upgraded.rebalanceTimeoutMs = member.rebalanceTimeoutMs
            upgraded.subscribedTopics = subscription.topics.sortedWithoutRepetitions()
            upgraded.classic = ConsumerGroupMember.Classic(
                sessionTimeoutMs: member.sessionTimeoutMs, protocols: member.protocols)
            upgraded.epoch = generation
            upgraded.previousEpoch = generation
            let partitions = PartitionSet(topics)
            upgraded.assigned = HeldPartitions(partitions, epoch: generation)
            self.insert(upgraded)
            if !partitions.isEmpty { self.targets[member.memberID] = partitions }
        }
    }
}

extension GroupCoordinatorShard {
    func mayUpgrade(_ classic: ClassicGroup) -> Bool {
        self.config.consumerMigrationPolicy.allowsUpgrade && classic.usesConsumerProtocol
            && classic.members.count <= Int(self.config.consumerMaxSize)
    }

    /// The classic group that is left when these members go, or when a static member comes back by the classic protocol;
    /// nil where the group stays what it is.
    func downgraded(
        _ group: ConsumerGroup, without removed: [ConsumerGroupMember], replacing joined: ConsumerGroupMember? = nil,
        _ now: CoordinatorTime
    ) -> ClassicGroup? {
        let goingIDs = Set(removed.map(\.memberID))
        let staying = group.members.values.filter { !goingIDs.contains($0.memberID) }
        guard removed.contains(where: { !$0.usesClassicProtocol }), staying.allSatisfy(\.usesClassicProtocol),
            !(staying.isEmpty && joined == nil), self.config.consumerMigrationPolicy.allowsDowngrade,
            staying.count + (joined == nil ? 0 : 1) <= Int(self.config.maxSize)
        else { return nil }
        var classic = ClassicGroup(groupID: group.groupID, nowMs: now.wallMs)
        let members = staying.map { ($0, $0.memberID) } + (joined.map { [($0, removed[0].memberID)] } ?? [])
        for (member, formerID) in members.sorted(by: { $0.0.memberID < $1.0.memberID }) {
            guard let protocols = member.classic?.protocols else { continue }
            var moved = ClassicGroupMember(
                memberID: member.memberID, instanceID: member.instanceID, clientID: member.clientID,
                clientHost: member.clientHost, sessionTimeoutMs: member.classic?.sessionTimeoutMs ?? 0,
                rebalanceTimeoutMs: member.rebalanceTimeoutMs, protocols: protocols)
            moved.assignment = ConsumerProtocol.encode(
                group.targets[formerID] ?? PartitionSet(), version: ConsumerProtocol.version(of: protocols),
                in: self.image)
            classic.restore(moved, sequence: nil)
            if classic.leaderID == nil { classic.leaderID = member.memberID }
        }
        classic.generation = group.epoch
        classic.protocolType = ClassicGroup.consumerProtocolType
        classic.protocolName = classic.selectProtocol()
        classic.state = .stable
        return classic
    }

    /// The classic group is gone from the log, and the consumer group in its place: who waited in it is told to rejoin.
    mutating func upgraded(_ classic: ClassicGroup, _ effects: inout GroupEffects) {
        let groupID = classic.groupID
        effects.notes.append("Group \(groupID) is now a consumer group")
        var classic = classic
        for member in classic.orderedMembers {
            classic.completeJoin(
                member.memberID, .failure(.rebalanceInProgress, memberID: member.memberID), effects: &effects)
            classic.completeSync(member.memberID, .failure(.rebalanceInProgress), effects: &effects)
            effects.cancelTimer(.group(groupID, .session(member.memberID)))
            effects.setTimer(
                .consumerGroup(groupID, .session(member.memberID)), afterMs: Int64(member.sessionTimeoutMs))
        }
        for memberID in classic.pendingJoinMembers.sorted { effects.cancelTimer(.group(groupID, .session(memberID))) }
        effects.cancelTimer(.group(groupID, .join))
        effects.cancelTimer(.group(groupID, .sync))
    }

    /// The consumer group is gone from the log, and the classic group in its place.
    mutating func downgraded(_ downgrade: Downgrade, _ now: CoordinatorTime, _ effects: inout GroupEffects) {
        let groupID = downgrade.classic.groupID
        effects.notes.append("Group \(groupID) is now a classic group")
        for memberID in downgrade.former { self.cancelTimers(of: memberID, groupID, &effects) }
        for key in [ConsumerGroup.TimerKey.assignment, .metadata, .regexes] {
            effects.cancelTimer(.consumerGroup(groupID, key))
        }
        // The record knows only the protocol that was chosen.
        for member in downgrade.classic.orderedMembers {
            self.groups[groupID]?.setProtocols(member.protocols, of: member.memberID)
            self.groups[groupID]?.touch(member.memberID, effects: &effects)
        }
        if let joined = downgrade.joined { effects.reply(joined.ticket, .joinGroup(joined.response)) }
        if downgrade.rebalances {
            self.groups[groupID]?.prepareRebalance("downgraded from a consumer group", self.config, now, &effects)
        }
    }
}

extension ConsumerProtocol {
    /// What a member subscribes to by the protocol of this name, or by its first.
    static func subscription(of protocols: [JoinProtocol], _ name: String?) -> ConsumerProtocolSubscription? {
        guard let metadata = (protocols.first { $0.name == name } ?? protocols.first)?.metadata else { return nil }
        return self.decode(metadata)
    }

    static func assignment(_ bytes: [UInt8]) -> ConsumerProtocolAssignment? { self.decode(bytes) }

    /// As Kafka: a later version is read as the last that is known.
    private static func decode<Message: KafkaMessage>(_ bytes: [UInt8]) -> Message? {
        bytes.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            guard let version = try? reader.readInt16(), version >= 0 else { return nil }
            return try? Message(from: &reader, version: min(version, Message.validVersions.upperBound))
        }
    }

    /// Of the subscription that a member brings; its assignment is written in the same.
    static func version(of protocols: [JoinProtocol]) -> Int16 {
        let bytes = protocols.first?.metadata ?? []
        guard bytes.count >= 2 else { return 0 }
        let version = Int16(bitPattern: UInt16(bytes[0]) << 8 | UInt16(bytes[1]))
        return min(max(version, 0), ConsumerProtocolAssignment.validVersions.upperBound)
    }

    static func encode(_ partitions: PartitionSet, version: Int16, in image: GroupMetadataImage) -> [UInt8] {
        var assignment = ConsumerProtocolAssignment()
        for topic in partitions.topics {
            guard let known = image.topic(withID: topic.topicID) else { continue }
            var assigned = ConsumerProtocolAssignment.TopicPartition()
            assigned.topic = known.name
            assigned.partitions = topic.partitions
            assignment.assignedPartitions.append(assigned)
        }
        return withEncoded { writer in
            writer.writeInt16(version)
            assignment.encode(into: &writer, version: version)
        }
    }
}
