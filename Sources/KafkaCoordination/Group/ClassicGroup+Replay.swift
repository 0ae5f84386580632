import KafkaMessages
import KafkaPrimitives

extension ClassicGroup {
    /// What to store of the group as it is.
    func value(
        nowMs: Int64, assignment: (ClassicGroupMember) -> [UInt8] = { $0.assignment }
    ) -> GroupMetadataValue {
        var value = GroupMetadataValue()
        value.protocolType = self.protocolType ?? ""
        value.generation = self.generation
        value.protocol = self.protocolName
        value.leader = self.leaderID
        value.currentStateTimestamp = nowMs
        value.members = self.orderedMembers.map { member in
            var stored = GroupMetadataValue.MemberMetadata()
            stored.memberID = member.memberID
            stored.groupInstanceID = member.instanceID
            stored.clientID = member.clientID
            stored.clientHost = member.clientHost
            stored.rebalanceTimeout = member.rebalanceTimeoutMs
            stored.sessionTimeout = member.sessionTimeoutMs
            stored.subscription = member.metadata(for: self.protocolName ?? "") ?? []
            stored.assignment = assignment(member)
            return stored
        }
        return value
    }

    /// Applies what was stored: the group is stable with these members, or empty. What is known of a member
    /// beyond the record (its other protocols, who waits in its name) stays.
    mutating func replay(_ value: GroupMetadataValue) {
        let before = self.members
        let sequences = Dictionary(
            before.values.compactMap { member in member.instanceID.map { ($0, member.sequence) } },
            uniquingKeysWith: { first, _ in first })
        self.removeAllMembers()
        self.protocolType = value.protocolType.isEmpty ? nil : value.protocolType
        self.protocolName = value.protocol
        self.generation = value.generation
        self.leaderID = value.leader
        self.currentStateTimestampMs = value.currentStateTimestamp == -1 ? nil : value.currentStateTimestamp
        for stored in value.members where self.members[stored.memberID] == nil {
            let known = before[stored.memberID]
            // On load the member may be known from an older generation, with what it offered then.
            let knowsIt = known?.metadata(for: value.protocol ?? "") == stored.subscription
            var member = ClassicGroupMember(
                memberID: stored.memberID, instanceID: stored.groupInstanceID, clientID: stored.clientID,
                clientHost: stored.clientHost, sessionTimeoutMs: stored.sessionTimeout,
                rebalanceTimeoutMs: stored.rebalanceTimeout == -1 ? stored.sessionTimeout : stored.rebalanceTimeout,
                protocols: knowsIt
                    ? known?.protocols ?? [] : [Self.joinProtocol(value.protocol ?? "", stored.subscription)])
            member.assignment = stored.assignment
            member.awaitingJoin = known?.awaitingJoin
            member.awaitingSync = known?.awaitingSync
            member.isNew = known?.isNew ?? false
            self.restore(member, sequence: known?.sequence ?? stored.groupInstanceID.flatMap { sequences[$0] })
        }
        self.pendingSyncMembers.formIntersection(self.members.keys)
        self.pendingJoinMembers.subtract(self.members.keys)
        self.previousState = self.state
        self.state = self.members.isEmpty ? .empty : .stable
        self.subscribedTopics = self.computeSubscribedTopics()
    }

    private static func joinProtocol(_ name: String, _ metadata: [UInt8]) -> JoinProtocol {
        var offered = JoinProtocol()
        offered.name = name
        offered.metadata = metadata
        return offered
    }
}
