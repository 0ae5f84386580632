import KafkaMessages
import KafkaPrimitives

extension ClassicGroup {
    /// The first version that asks a new member to come back with the id it was given (KIP-394).
    static let firstVersionRequiringMemberID: Int16 = 4
    /// The first version that may tell a leader to skip the assignment (KIP-814).
    static let firstVersionSkippingAssignment: Int16 = 9

    /// JoinGroup. Answers at once, or holds the request until the joining completes.
    mutating func join(
        _ request: JoinGroupRequest, origin: RequestOrigin, ticket: ReplyTicket, config: GroupCoordinatorConfig,
        now: CoordinatorTime, effects: inout GroupEffects
    ) {
        if !self.accepts(request, config: config) {
            self.remove(request.memberID)
            effects.cancelTimer(.group(self.groupID, .session(request.memberID)))
            effects.reply(ticket, .joinGroup(.failure(.groupMaxSizeReached, memberID: "")))
        } else if !self.supports(protocolType: request.protocolType, protocols: request.protocols) {
            effects.reply(ticket, .joinGroup(.failure(.inconsistentGroupProtocol, memberID: request.memberID)))
        } else if request.memberID.isEmpty {
            self.joinNewMember(request, origin, ticket, config, now, &effects)
        } else {
            self.joinKnownMember(request, origin, ticket, config, now, &effects)
        }
    }

    /// Room for one more? Members that already wait, or belong to the generation, are not turned away.
    private func accepts(_ request: JoinGroupRequest, config: GroupCoordinatorConfig) -> Bool {
        let member = self.members[request.memberID]
        let added = request.protocols.reduce(0) { $0 + ClassicGroupMember.sizeInBytes(of: $1) }
        guard self.heldBytes + added - (member?.sizeInBytes ?? 0) <= config.maxGroupBytes else { return false }
        switch self.state {
        case .empty, .dead:
            return true
        case .preparingRebalance:
            // Not the members but those who wait are counted: after the limit was lowered, the last to rejoin
            // are the ones to go.
            return member?.awaitingJoin != nil || self.awaitingJoinCount < Int(config.maxSize)
        case .completingRebalance, .stable:
            return member != nil || self.members.count < Int(config.maxSize)
        }
    }

    private mutating func joinNewMember(
        _ request: JoinGroupRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket,
        _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        let memberID = Self.memberID(from: request.groupInstanceID ?? origin.clientID, origin.randomID)
        if let instanceID = request.groupInstanceID {
            if let current = self.staticMembers[instanceID] {
                self.replaceStaticMember(instanceID, current, memberID, request, origin, ticket, now, config, &effects)
            } else {
                self.addMember(memberID, request, origin, ticket, config, now, &effects)
            }
        } else if origin.apiVersion < Self.firstVersionRequiringMemberID {
            self.addMember(memberID, request, origin, ticket, config, now, &effects)
        } else if self.pendingJoinMembers.count >= config.maxPendingMembers
            || self.pendingJoinMembers.bytes + PendingMembers.sizeInBytes(of: memberID) > config.maxPendingBytes
        {
            effects.reply(ticket, .joinGroup(.failure(.groupMaxSizeReached, memberID: "")))
        } else {
            self.pendingJoinMembers.insert(memberID)
            effects.setTimer(
                .group(self.groupID, .session(memberID)), afterMs: Int64(request.sessionTimeoutMs))
            effects.reply(ticket, .joinGroup(.failure(.memberIDRequired, memberID: memberID)))
        }
    }

    /// As Kafka makes it. A name that is almost as long as a string on the wire may be (32,767 bytes) is shortened.
    private static func memberID(from name: String, _ id: KafkaUUID) -> String {
        let name = name.utf8.count <= 16_384 ? name : String(decoding: name.utf8.prefix(16_384), as: UTF8.self)
        return "\(name)-\(id.javaDescription)"
    }

    private mutating func joinKnownMember(
        _ request: JoinGroupRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket,
        _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        let memberID = request.memberID
        if self.pendingJoinMembers.contains(memberID) {
            if request.groupInstanceID != nil {
                // A pending member cannot be static: such an id was never handed to a static member.
                effects.reply(ticket, .joinGroup(.failure(.unknownServerError, memberID: memberID)))
            } else {
                self.addMember(memberID, request, origin, ticket, config, now, &effects)
            }
            return
        }
        if let error = self.validate(memberID: memberID, instanceID: request.groupInstanceID) {
            effects.reply(ticket, .joinGroup(.failure(error, memberID: memberID)))
            return
        }
        let isUnchanged = self.members[memberID]?.matches(request.protocols) ?? false
        switch self.state {
        case .completingRebalance where isUnchanged:
            // The answer to its first JoinGroup may have been lost.
            effects.reply(ticket, .joinGroup(self.currentGeneration(for: memberID)))
        case .stable where isUnchanged && !self.isLeader(memberID):
            effects.reply(ticket, .joinGroup(self.currentGeneration(for: memberID)))
        case .preparingRebalance, .completingRebalance, .stable:
            // Also when the leader comes back unchanged: that is how it asks for a new assignment.
            let reason = request.reason ?? "not provided"
            self.update(memberID, with: request, awaitingJoin: ticket, effects: &effects)
            self.prepareRebalanceOrCompleteJoin(
                "member \(memberID) joins in \(self.state.rawValue); client reason: \(reason)", config, now, &effects)
        case .empty, .dead:
            effects.reply(ticket, .joinGroup(.failure(.unknownMemberID, memberID: memberID)))
        }
    }

    /// The answer for a member that already belongs to the generation.
    func currentGeneration(for memberID: String) -> JoinGroupResponse {
        var response = JoinGroupResponse()
        response.generationID = self.generation
        response.protocolType = self.protocolType
        response.protocolName = self.protocolName
        response.leader = self.leaderID ?? ""
        response.memberID = memberID
        if self.isLeader(memberID) { response.members = self.joinedMembers() }
        return response
    }

    func joinedMembers() -> [JoinGroupResponse.Member] {
        self.orderedMembers.map { member in
            var joined = JoinGroupResponse.Member()
            joined.memberID = member.memberID
            joined.groupInstanceID = member.instanceID
            joined.metadata = member.metadata(for: self.protocolName ?? "") ?? []
            return joined
        }
    }

    private mutating func addMember(
        _ memberID: String, _ request: JoinGroupRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket,
        _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        var member = ClassicGroupMember(
            memberID: memberID, instanceID: request.groupInstanceID, clientID: origin.clientID,
            clientHost: origin.clientHost, sessionTimeoutMs: request.sessionTimeoutMs,
            rebalanceTimeoutMs: request.rebalanceTimeoutMs, protocols: request.protocols)
        member.isNew = true
        if self.state == .preparingRebalance && self.previousState == .empty { self.newMemberAdded = true }
        self.add(member, protocolType: request.protocolType, awaitingJoin: ticket)
        // It cannot heartbeat before it knows its id, and while its request is held nobody sees the connection
        // close. A client that gave up and asks again would pile up members, so this wait is bounded.
        effects.setTimer(.group(self.groupID, .session(memberID)), afterMs: config.newMemberJoinTimeoutMs)
        let reason = request.reason ?? "not provided"
        self.prepareRebalanceOrCompleteJoin(
            "adding member \(memberID); client reason: \(reason)", config, now, &effects)
    }
}

extension KafkaUUID {
    /// As Java prints a UUID: 8-4-4-4-12 hexadecimal digits.
    var javaDescription: String {
        func hex(_ value: UInt64, _ digits: Int) -> String {
            let text = String(value, radix: 16)
            return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
        }
        return [
            hex(self.high >> 32, 8), hex(self.high >> 16 & 0xffff, 4), hex(self.high & 0xffff, 4),
            hex(self.low >> 48, 4), hex(self.low & 0xffff_ffff_ffff, 12),
        ].joined(separator: "-")
    }
}
