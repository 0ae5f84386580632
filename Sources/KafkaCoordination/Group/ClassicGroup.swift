import KafkaMessages
import KafkaPrimitives

package typealias GroupEffects = CoordinatorEffects<GroupCoordinatorShard>

/// One group of the classic protocol (JoinGroup, SyncGroup, Heartbeat, LeaveGroup). Pure: no clock, no I/O.
///
/// A generation is made in two steps. Members join; when all have (or time is up) one becomes the leader and is
/// told who the others are. The leader computes who gets what and sends it with its SyncGroup; the others send
/// theirs to be told. What the group then is, is written to `__consumer_offsets` and is the hard state;
/// everything between two generations is soft.
package struct ClassicGroup: Sendable {
    package enum State: String, Sendable {
        /// No members; may have offsets. Can transition to: preparingRebalance.
        case empty = "Empty"
        /// Members are joining. Can transition to: completingRebalance, empty.
        case preparingRebalance = "PreparingRebalance"
        /// The leader's assignment is awaited. Can transition to: stable, preparingRebalance.
        case completingRebalance = "CompletingRebalance"
        /// Can transition to: preparingRebalance.
        case stable = "Stable"
        /// What a group that does not exist is called.
        case dead = "Dead"
    }

    /// A wait in the life of a group; the group's id is added by the shard.
    package enum TimerKey: Hashable, Sendable {
        /// A member's session, or the wait for a member that was told its id.
        case session(String)
        /// The end of the joining.
        case join
        /// The end of the wait for SyncGroup.
        case sync
    }

    /// `consumer`: the protocol type whose metadata the coordinator looks into.
    package static let consumerProtocolType = "consumer"

    package let groupID: String
    package internal(set) var state = State.empty
    package internal(set) var previousState = State.dead
    /// When the state was last changed, wall milliseconds; nil where an old record does not say.
    package internal(set) var currentStateTimestampMs: Int64?
    package internal(set) var protocolType: String?
    package internal(set) var protocolName: String?
    package internal(set) var generation: Int32 = 0
    package internal(set) var leaderID: String?
    package internal(set) var members: [String: ClassicGroupMember] = [:]
    /// Member id by instance id.
    package internal(set) var staticMembers: [String: String] = [:]
    /// Told their id by MEMBER_ID_REQUIRED (KIP-394) and not back yet.
    package internal(set) var pendingJoinMembers = PendingMembers()
    /// Joined the generation, and have not sent SyncGroup.
    package internal(set) var pendingSyncMembers: Set<String> = []
    /// What the members of a consumer group subscribe to; nil when unknown.
    package internal(set) var subscribedTopics: Set<String>?

    /// How many members offer a protocol.
    var supportedProtocols: [String: Int] = [:]
    var awaitingJoinCount = 0
    /// Bytes of metadata and assignments.
    var heldBytes = 0
    /// Set while the first rebalance of a group is held open: somebody joined since the timer was set.
    var newMemberAdded = false
    /// Of the initial rebalance: the delay that runs, and what is left of the longest.
    var initialDelayMs: Int64 = 0
    var initialRemainingMs: Int64 = 0
    private var nextSequence: UInt64 = 0

    package init(groupID: String, nowMs: Int64?) {
        self.groupID = groupID
        self.currentStateTimestampMs = nowMs
    }

    package var isEmpty: Bool { self.state == .empty }

    package var usesConsumerProtocol: Bool { self.protocolType == Self.consumerProtocolType }

    /// Members in the order in which they came.
    package var orderedMembers: [ClassicGroupMember] {
        self.members.values.sorted { $0.sequence < $1.sequence }
    }

    package func isLeader(_ memberID: String) -> Bool { self.leaderID == memberID }

    /// As Kafka: unknown subscriptions of a consumer group count as all topics.
    package func isSubscribed(to topic: String) -> Bool {
        self.subscribedTopics?.contains(topic) ?? self.usesConsumerProtocol
    }

    var hasAllMembersJoined: Bool {
        self.members.count == self.awaitingJoinCount && self.pendingJoinMembers.isEmpty
    }

    /// The longest of the members' rebalance timeouts.
    var rebalanceTimeoutMs: Int64 {
        self.members.values.reduce(0) { max($0, Int64($1.rebalanceTimeoutMs)) }
    }

    mutating func transition(to state: State, nowMs: Int64) {
        self.previousState = self.state
        self.state = state
        self.currentStateTimestampMs = nowMs
    }

    // MARK: Members

    mutating func add(_ member: ClassicGroupMember, protocolType: String, awaitingJoin ticket: ReplyTicket?) {
        var member = member
        if self.members.isEmpty { self.protocolType = protocolType }
        if self.leaderID == nil { self.leaderID = member.memberID }
        if let instanceID = member.instanceID { self.staticMembers[instanceID] = member.memberID }
        member.sequence = self.nextSequence
        self.nextSequence &+= 1
        member.awaitingJoin = ticket
        if ticket != nil { self.awaitingJoinCount += 1 }
        self.count(member, by: 1)
        self.pendingJoinMembers.remove(member.memberID)
        self.members[member.memberID] = member
    }

    mutating func remove(_ memberID: String) {
        if let member = self.members.removeValue(forKey: memberID) {
            self.count(member, by: -1)
            if member.awaitingJoin != nil { self.awaitingJoinCount -= 1 }
            if let instanceID = member.instanceID { self.staticMembers[instanceID] = nil }
        }
        if self.isLeader(memberID) {
            self.leaderID = self.members.values.min { $0.sequence < $1.sequence }?.memberID
        }
        self.pendingJoinMembers.remove(memberID)
        self.pendingSyncMembers.remove(memberID)
    }

    /// Changes what a member offers, and who waits for the end of the joining in its name.
    mutating func update(
        _ memberID: String, with request: JoinGroupRequest, awaitingJoin ticket: ReplyTicket?,
        effects: inout GroupEffects
    ) {
        guard var member = self.members[memberID] else { return }
        self.count(member, by: -1)
        member.protocols = request.protocols
        member.rebalanceTimeoutMs = request.rebalanceTimeoutMs
        member.sessionTimeoutMs = request.sessionTimeoutMs
        self.count(member, by: 1)
        if let earlier = member.awaitingJoin, ticket != earlier {
            // The client gave up on that connection and asks again on another.
            effects.reply(earlier, .joinGroup(.failure(.rebalanceInProgress, memberID: memberID)))
        }
        switch (member.awaitingJoin, ticket) {
        case (nil, .some): self.awaitingJoinCount += 1
        case (.some, nil): self.awaitingJoinCount -= 1
        default: break
        }
        member.awaitingJoin = ticket
        self.members[memberID] = member
    }

    mutating func completeJoin(_ memberID: String, _ response: JoinGroupResponse, effects: inout GroupEffects) {
        guard let ticket = self.members[memberID]?.awaitingJoin else { return }
        self.members[memberID]?.awaitingJoin = nil
        self.awaitingJoinCount -= 1
        effects.reply(ticket, .joinGroup(response))
    }

    private mutating func count(_ member: ClassicGroupMember, by sign: Int) {
        for offered in member.protocols {
            let count = self.supportedProtocols[offered.name, default: 0] + sign
            self.supportedProtocols[offered.name] = count == 0 ? nil : count
        }
        self.heldBytes += sign * member.sizeInBytes
    }

    /// Empties the tables of members, for `replay`.
    mutating func removeAllMembers() {
        self.members = [:]
        self.staticMembers = [:]
        self.supportedProtocols = [:]
        self.awaitingJoinCount = 0
        self.heldBytes = 0
    }

    mutating func restore(_ member: ClassicGroupMember, sequence: UInt64?) {
        var member = member
        if let sequence {
            member.sequence = sequence
        } else {
            member.sequence = self.nextSequence
            self.nextSequence &+= 1
        }
        if let instanceID = member.instanceID { self.staticMembers[instanceID] = member.memberID }
        if member.awaitingJoin != nil { self.awaitingJoinCount += 1 }
        self.count(member, by: 1)
        self.members[member.memberID] = member
    }

    /// All that a member offers, where only what was chosen is stored.
    mutating func setProtocols(_ protocols: [JoinProtocol], of memberID: String) {
        guard var member = self.members[memberID] else { return }
        self.count(member, by: -1)
        member.protocols = protocols
        self.count(member, by: 1)
        self.members[memberID] = member
    }

    mutating func setAssignment(_ assignment: [UInt8], of memberID: String) {
        guard let old = self.members[memberID]?.assignment.count else { return }
        self.heldBytes += assignment.count - old
        self.members[memberID]?.assignment = assignment
    }

    // MARK: Protocols

    func supports(protocolType: String, protocols: [JoinProtocol]) -> Bool {
        if self.state == .empty { return !protocolType.isEmpty && !protocols.isEmpty }
        return self.protocolType == protocolType
            && protocols.contains { self.supportedProtocols[$0.name, default: 0] == self.members.count }
    }

    /// Each member votes for the first of its protocols that all support; the most votes win. Of two with as
    /// many, the one that the member who came first prefers.
    func selectProtocol() -> String? {
        let candidates = self.supportedProtocols.filter { $0.value == self.members.count }
        var votes: [String: Int] = [:]
        var order: [String] = []
        for member in self.orderedMembers {
            guard let choice = member.protocols.first(where: { candidates[$0.name] != nil })?.name else { continue }
            if votes.updateValue(votes[choice, default: 0] + 1, forKey: choice) == nil { order.append(choice) }
        }
        var best: String?
        for name in order where best == nil || votes[name, default: 0] > votes[best ?? "", default: 0] {
            best = name
        }
        return best
    }

    func computeSubscribedTopics() -> Set<String>? {
        guard self.usesConsumerProtocol else { return nil }
        guard !self.members.isEmpty else { return [] }
        guard let protocolName = self.protocolName else { return nil }
        var topics: Set<String> = []
        for member in self.members.values {
            guard let metadata = member.metadata(for: protocolName),
                ConsumerProtocol.collectTopics(ofSubscription: metadata, into: &topics)
            else { return nil }
        }
        return topics
    }

    // MARK: Checks

    /// Who speaks: nil if it is the member, or else what to tell it.
    func validate(memberID: String, instanceID: String?) -> ErrorCode? {
        if let instanceID {
            guard let current = self.staticMembers[instanceID] else { return .unknownMemberID }
            if current != memberID { return .fencedInstanceID }
        }
        return self.members.index(forKey: memberID) == nil ? .unknownMemberID : nil
    }

    func validate(memberID: String, instanceID: String?, generation: Int32) -> ErrorCode? {
        self.validate(memberID: memberID, instanceID: instanceID)
            ?? (generation == self.generation ? nil : .illegalGeneration)
    }
}

extension JoinGroupResponse {
    /// A refusal: no generation, no protocol.
    static func failure(_ error: ErrorCode, memberID: String) -> JoinGroupResponse {
        var response = JoinGroupResponse()
        response.errorCode = error
        response.memberID = memberID
        response.generationID = -1
        response.protocolName = nil
        return response
    }
}
