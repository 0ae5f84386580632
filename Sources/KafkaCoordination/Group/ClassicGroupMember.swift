import KafkaMessages
import KafkaPrimitives

/// A way of sharing out partitions that a member offers, with what it wants the leader to know (for consumers:
/// an assignor's name and the subscription).
package typealias JoinProtocol = JoinGroupRequest.RequestProtocol

/// Where a request came from, as far as a group needs it.
package struct RequestOrigin: Sendable, Equatable {
    package var apiVersion: Int16
    package var clientID: String
    /// As Kafka shows it: "/127.0.0.1".
    package var clientHost: String
    /// Random; becomes part of a new member's id. The caller's, so that a decision can be repeated.
    package var randomID: KafkaUUID

    package init(apiVersion: Int16, clientID: String, clientHost: String, randomID: KafkaUUID) {
        self.apiVersion = apiVersion
        self.clientID = clientID
        self.clientHost = clientHost
        self.randomID = randomID
    }
}

/// A member of a classic group.
package struct ClassicGroupMember: Sendable {
    package let memberID: String
    /// Set for static members (KIP-345), which may come back under a new member id.
    package var instanceID: String?
    package var clientID: String
    package var clientHost: String
    package var sessionTimeoutMs: Int32
    package var rebalanceTimeoutMs: Int32
    /// In the member's order of preference.
    package var protocols: [JoinProtocol]
    package var assignment: [UInt8] = []

    /// The JoinGroup that waits for the rebalance to complete.
    package internal(set) var awaitingJoin: ReplyTicket?
    /// The SyncGroup that waits for the leader's assignment.
    package internal(set) var awaitingSync: ReplyTicket?
    /// Has not been told its member id yet, so it cannot heartbeat.
    var isNew = false
    /// Order of arrival: the leader is succeeded by the member that has been there the longest.
    var sequence: UInt64 = 0

    package var isStatic: Bool { self.instanceID != nil }

    /// A member that waits for an answer is taken to be alive; a new one is not, since nobody would notice
    /// that it has gone.
    var hasSatisfiedHeartbeat: Bool {
        !self.isNew && (self.awaitingJoin != nil || self.awaitingSync != nil)
    }

    func metadata(for protocolName: String) -> [UInt8]? {
        self.protocols.first { $0.name == protocolName }?.metadata
    }

    /// Same protocols, same metadata, same order.
    func matches(_ other: [JoinProtocol]) -> Bool {
        self.protocols.count == other.count
            && zip(self.protocols, other).allSatisfy { $0.name == $1.name && $0.metadata == $1.metadata }
    }

    var sizeInBytes: Int {
        self.protocols.reduce(self.assignment.count) { $0 + Self.sizeInBytes(of: $1) }
    }

    /// A protocol without a name and without metadata takes memory too.
    static func sizeInBytes(of offered: JoinProtocol) -> Int {
        offered.metadata.count + offered.name.utf8.count + MemoryLayout<JoinProtocol>.stride
    }
}
