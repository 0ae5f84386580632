import KafkaMessages
import KafkaPrimitives

/// A group of the consumer protocol (KIP-848): members that each say in a heartbeat what they want and have, and are
/// answered with what they are to have.
///
/// Three epochs move it. The group's rises when a new target assignment is needed: members come, go, subscribe to
/// something else, topics change. The assignment's says for which of the group's epochs the target was computed. A
/// member's says to which target it has been brought. All of this is stored, and changes in `replay` alone; what is
/// soft (work under way) is marked so.
package struct ConsumerGroup: Sendable {
    package enum State: String, Sendable {
        /// No members; may have offsets.
        case empty = "Empty"
        /// The target assignment is older than the group's epoch.
        case assigning = "Assigning"
        /// Some members are on their way to the target assignment.
        case reconciling = "Reconciling"
        case stable = "Stable"
        case dead = "Dead"
    }

    /// A wait in the life of a group; the group's id is added by the shard.
    package enum TimerKey: Hashable, Sendable {
        /// A member's session.
        case session(String)
        /// How long a member may take to give up partitions.
        case rebalance(String)
        /// How long a member of the classic protocol may take to rejoin when it was told to.
        case join(String)
        /// And to send SyncGroup after it.
        case sync(String)
        /// The next target assignment.
        case assignment
        /// The group's topics are to be looked at again.
        case metadata
        /// Its regular expressions are to be resolved again.
        case regexes
    }

    /// The topics that match a regular expression, and when they were looked for: wall milliseconds, and the revision of
    /// the metadata.
    package struct ResolvedRegex: Sendable, Equatable {
        package var topics: [String]
        package var revision: Int64
        package var timestampMs: Int64
    }

    package let groupID: String
    /// A new group begins at 1 with an empty target assignment, so that its first target is that of epoch 2 and a
    /// member that cannot be told it yet has an epoch all the same.
    package internal(set) var epoch: Int32 = 1
    /// Of the subscribed topics, when the epoch last rose (KIP-1101).
    package internal(set) var metadataHash: Int64 = 0
    package internal(set) var assignmentEpoch: Int32 = 1
    /// When the target was computed, wall milliseconds; 0: unknown.
    package internal(set) var assignmentTimestampMs: Int64 = 0
    package internal(set) var members: [String: ConsumerGroupMember] = [:]
    /// Member id by instance id.
    package internal(set) var staticMembers: [String: String] = [:]
    /// The target assignment, by member id; no empty ones.
    package internal(set) var targets: [String: PartitionSet] = [:]
    package internal(set) var resolvedRegexes: [String: ResolvedRegex] = [:]
    /// Kafka before 4.1 stored the topics instead of their hash; the record goes with the next change.
    package internal(set) var hasPartitionMetadata = false

    // MARK: Kept beside the above, by replay

    /// The epoch by which each partition is had by its owner.
    private(set) var partitionEpochs: [TopicPartition: Int32] = [:]
    /// How many members name a topic, give a regular expression, prefer an assignor, offer a classic protocol.
    private(set) var topicCounts: [String: Int] = [:]
    private(set) var regexCounts: [String: Int] = [:]
    private(set) var assignorCounts: [String: Int] = [:]
    private(set) var protocolCounts: [String: Int] = [:]
    private(set) var classicMemberCount = 0
    /// What the members take in memory, roughly.
    private(set) var heldBytes = 0
    /// The last list of topics seen: most members have the same, and share it.
    private var lastTopics: [String] = []

    // MARK: Soft

    /// Names the work under way outside of the shard: a target assignment, the topics of regular expressions.
    var assigningToken: UInt64?
    var resolvingToken: UInt64?
    /// Members of the classic protocol that were told to rejoin and have not yet.
    var toldToRejoin: Set<String> = []

    package init(groupID: String) { self.groupID = groupID }

    package var isEmpty: Bool { self.members.isEmpty }

    /// Nothing of it is stored yet.
    var isNew: Bool { self.members.isEmpty && self.epoch == 1 }

    package var state: State {
        if self.members.isEmpty { return .empty }
        if self.epoch > self.assignmentEpoch { return .assigning }
        return self.members.values.allSatisfy { $0.isReconciled(to: self.assignmentEpoch) } ? .stable : .reconciling
    }

    package func staticMember(_ instanceID: String) -> ConsumerGroupMember? {
        self.staticMembers[instanceID].flatMap { self.members[$0] }
    }

    package func isSubscribed(to topic: String) -> Bool {
        self.topicCounts[topic] != nil
            || self.resolvedRegexes.contains { regex, resolved in
                self.regexCounts[regex] != nil && resolved.topics.firstIndex(ofSorted: topic) != nil
            }
    }

    /// All topics that members name, or that match what they give.
    var subscribedTopics: Set<String> {
        var topics = Set(self.topicCounts.keys)
        for (regex, resolved) in self.resolvedRegexes where self.regexCounts[regex] != nil {
            topics.formUnion(resolved.topics)
        }
        return topics
    }

    func isSubscribed(_ member: ConsumerGroupMember, to topic: String) -> Bool {
        if member.subscribedTopics.firstIndex(ofSorted: topic) != nil { return true }
        guard !member.subscribedRegex.isEmpty else { return false }
        return self.resolvedRegexes[member.subscribedRegex]?.topics.firstIndex(ofSorted: topic) != nil
    }

    /// -1: nobody has it.
    package func epoch(of partition: TopicPartition) -> Int32 { self.partitionEpochs[partition] ?? -1 }

    /// Something of the member's target is still another's.
    func waitsForPartitions(_ member: ConsumerGroupMember) -> Bool {
        guard let target = self.targets[member.memberID] else { return false }
        return target.topics.contains { topic in
            topic.partitions.contains { partition in
                !member.assigned.contains(topic.topicID, partition)
                    && self.partitionEpochs[TopicPartition(topicID: topic.topicID, partition: partition)] != nil
            }
        }
    }

    /// Whether a member of the classic protocol that offers these can be served: all that are there offer one of them.
    func supports(protocolType: String, protocols: [JoinProtocol]) -> Bool {
        guard protocolType == ClassicGroup.consumerProtocolType, !protocols.isEmpty else { return false }
        if self.classicMemberCount == 0 { return true }
        return protocols.contains { self.protocolCounts[$0.name] == self.classicMemberCount }
    }

    // MARK: Replay

    mutating func replay(member memberID: String, metadata value: ConsumerGroupMemberMetadataValue) {
        var member = self.members[memberID] ?? ConsumerGroupMember(memberID: memberID)
        if self.members[memberID] != nil { self.count(member, by: -1) }
        member.instanceID = value.instanceID
        member.rackID = value.rackID
        member.clientID = value.clientID
        member.clientHost = value.clientHost
        member.rebalanceTimeoutMs = value.rebalanceTimeoutMs
        member.subscribedTopics = self.shared(value.subscribedTopicNames.sortedWithoutRepetitions())
        member.subscribedRegex = value.subscribedTopicRegex ?? ""
        member.serverAssignor = value.serverAssignor
        // Where the field is missing the message has an empty one.
        member.classic = value.classicMemberMetadata.flatMap { classic in
            classic.supportedProtocols.isEmpty
                ? nil
                : ConsumerGroupMember.Classic(
                    sessionTimeoutMs: classic.sessionTimeoutMs,
                    protocols: classic.supportedProtocols.map { stored in
                        var offered = JoinProtocol()
                        offered.name = stored.name
                        offered.metadata = stored.metadata
                        return offered
                    })
        }
        self.count(member, by: 1)
        self.members[memberID] = member
    }

    /// A member as a whole, into a group that is being made.
    mutating func insert(_ member: ConsumerGroupMember) {
        self.count(member, by: 1)
        self.hold(member.assigned)
        self.hold(member.pendingRevocation)
        self.members[member.memberID] = member
    }

    mutating func replayRemoval(of memberID: String) {
        guard let member = self.members.removeValue(forKey: memberID) else { return }
        self.release(member.assigned)
        self.release(member.pendingRevocation)
        self.count(member, by: -1)
        self.targets[memberID] = nil
        self.toldToRejoin.remove(memberID)
    }

    mutating func replay(member memberID: String, assignment value: ConsumerGroupCurrentMemberAssignmentValue?) {
        var member = self.members[memberID] ?? ConsumerGroupMember(memberID: memberID)
        self.release(member.assigned)
        self.release(member.pendingRevocation)
        if let value {
            member.epoch = value.memberEpoch
            member.previousEpoch = value.previousMemberEpoch
            member.state = ConsumerGroupMember.State(rawValue: value.state) ?? .unknown
            member.assigned = HeldPartitions(value.assignedPartitions, epoch: value.memberEpoch)
            member.pendingRevocation = HeldPartitions(value.partitionsPendingRevocation, epoch: value.memberEpoch)
            self.hold(member.assigned)
            self.hold(member.pendingRevocation)
        } else {
            guard self.members[memberID] != nil else { return }
            member.epoch = ConsumerGroupMember.leaveEpoch
            member.previousEpoch = ConsumerGroupMember.leaveEpoch
            member.state = .stable
            member.assigned = HeldPartitions()
            member.pendingRevocation = HeldPartitions()
        }
        if self.members[memberID] == nil { self.count(member, by: 1) }
        self.members[memberID] = member
    }

    mutating func replay(target partitions: PartitionSet, of memberID: String) {
        self.targets[memberID] = partitions.isEmpty ? nil : partitions
    }

    private mutating func hold(_ partitions: HeldPartitions) {
        partitions.visit { self.partitionEpochs[$0] = $1 }
    }

    /// Another that was given a partition since keeps it.
    private mutating func release(_ partitions: HeldPartitions) {
        partitions.visit { partition, epoch in
            if self.partitionEpochs[partition] == epoch { self.partitionEpochs[partition] = nil }
        }
    }

    private mutating func shared(_ topics: [String]) -> [String] {
        if topics != self.lastTopics { self.lastTopics = topics }
        return self.lastTopics
    }

    private mutating func count(_ member: ConsumerGroupMember, by sign: Int) {
        func add(_ counts: inout [String: Int], _ key: String) {
            let count = counts[key, default: 0] + sign
            counts[key] = count == 0 ? nil : count
        }
        for topic in member.subscribedTopics { add(&self.topicCounts, topic) }
        if !member.subscribedRegex.isEmpty { add(&self.regexCounts, member.subscribedRegex) }
        if let assignor = member.serverAssignor { add(&self.assignorCounts, assignor) }
        if let classic = member.classic {
            self.classicMemberCount += sign
            for offered in classic.protocols { add(&self.protocolCounts, offered.name) }
        }
        self.heldBytes += sign * member.sizeInBytes
        if let instanceID = member.instanceID {
            if sign > 0 {
                self.staticMembers[instanceID] = member.memberID
            } else if self.staticMembers[instanceID] == member.memberID {
                self.staticMembers[instanceID] = nil
            }
        }
    }
}

extension HeldPartitions {
    /// - Parameter epoch: of those whose record does not say.
    init(_ topics: [ConsumerGroupCurrentMemberAssignmentValue.TopicPartitions], epoch: Int32) {
        var all = HeldPartitions()
        for topic in topics {
            let epochs =
                topic.assignmentEpochs?.count == topic.partitions.count ? topic.assignmentEpochs : nil
            let pairs = Dictionary(
                topic.partitions.enumerated().map { ($1, epochs?[$0] ?? epoch) }, uniquingKeysWith: { _, last in last })
            guard !pairs.isEmpty else { continue }
            let sorted = pairs.sorted { $0.key < $1.key }
            all = all.union(
                HeldPartitions(ascending: [
                    Topic(topicID: topic.topicID, partitions: sorted.map(\.key), epochs: sorted.map(\.value))
                ]))
        }
        self = all
    }
}
