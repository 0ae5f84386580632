import KafkaMessages
import KafkaPrimitives

/// A member of a consumer group (KIP-848).
///
/// Its epoch is the epoch of the target assignment that it has been brought to. What it says of itself is in its
/// metadata record, its epoch and partitions in its current assignment record.
package struct ConsumerGroupMember: Sendable, Equatable {
    /// How far a member is on its way from what it has to what it is to have. The numbers are those of its record.
    package enum State: Int8, Sendable {
        /// It has all that its epoch gives it.
        case stable = 0
        /// It was told to give up partitions and has not said yet that it did: it stays in its epoch.
        case unrevokedPartitions = 1
        /// It is in its epoch, and some of what that gives it is still held by others.
        case unreleasedPartitions = 2
        /// Of a later Kafka.
        case unknown = 127
    }

    /// Of a member that uses JoinGroup, SyncGroup and Heartbeat.
    package struct Classic: Sendable, Equatable {
        package var sessionTimeoutMs: Int32
        /// In its order of preference.
        package var protocols: [JoinProtocol]
    }

    /// -1: it leaves; -2: it leaves for a while, being a static member.
    package static let leaveEpoch: Int32 = -1
    package static let leaveStaticEpoch: Int32 = -2

    package let memberID: String
    package var instanceID: String?
    package var rackID: String?
    package var clientID = ""
    package var clientHost = ""
    /// -1: not known.
    package var rebalanceTimeoutMs: Int32 = -1
    /// In order, each once.
    package var subscribedTopics: [String] = []
    /// Empty: none.
    package var subscribedRegex = ""
    package var serverAssignor: String?
    package var classic: Classic?

    package var epoch: Int32 = 0
    /// The epoch before: the answer that brought the present one may have been lost.
    package var previousEpoch: Int32 = -1
    package var state = State.stable
    package var assigned = HeldPartitions()
    package var pendingRevocation = HeldPartitions()

    package init(memberID: String) { self.memberID = memberID }

    /// The same member under another id, which has no epoch yet.
    func renamed(_ memberID: String) -> ConsumerGroupMember {
        var copy = ConsumerGroupMember(memberID: memberID)
        copy.instanceID = self.instanceID
        copy.rackID = self.rackID
        copy.clientID = self.clientID
        copy.clientHost = self.clientHost
        copy.rebalanceTimeoutMs = self.rebalanceTimeoutMs
        copy.subscribedTopics = self.subscribedTopics
        copy.subscribedRegex = self.subscribedRegex
        copy.serverAssignor = self.serverAssignor
        copy.classic = self.classic
        copy.epoch = 0
        copy.previousEpoch = 0
        copy.state = self.state
        copy.assigned = self.assigned
        copy.pendingRevocation = self.pendingRevocation
        return copy
    }

    package var usesClassicProtocol: Bool { self.classic != nil }

    func isReconciled(to epoch: Int32) -> Bool { self.state == .stable && self.epoch == epoch }

    /// Goes on to `epoch`, which may be the one it has.
    mutating func advance(to epoch: Int32) {
        self.previousEpoch = self.epoch
        self.epoch = epoch
    }

    /// What it holds in memory, roughly.
    var sizeInBytes: Int {
        var size = 400 + self.memberID.utf8.count + self.clientID.utf8.count + self.clientHost.utf8.count
        size += (self.instanceID?.utf8.count ?? 0) + (self.rackID?.utf8.count ?? 0) + self.subscribedRegex.utf8.count
        for topic in self.subscribedTopics { size += 16 + topic.utf8.count }
        for offered in self.classic?.protocols ?? [] { size += ClassicGroupMember.sizeInBytes(of: offered) }
        return size
    }
}
