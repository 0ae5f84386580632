import KafkaMessages
import KafkaPrimitives

extension ClassicGroup {
    /// Heartbeat: the session goes on, and the member learns whether it has to rejoin.
    mutating func heartbeat(_ request: HeartbeatRequest, effects: inout GroupEffects) -> ErrorCode {
        if request.groupInstanceID != nil,
            let error = self.validate(memberID: request.memberID, instanceID: request.groupInstanceID)
        {
            return error
        }
        // Of all requests this is the one that comes most often: one look-up, and no copy of the member.
        guard let place = self.members.index(forKey: request.memberID) else { return .unknownMemberID }
        guard request.generationID == self.generation else { return .illegalGeneration }
        let timeoutMs = Self.sessionTimeoutMs(of: &self.members.values[place])
        effects.setTimer(.group(self.groupID, .session(request.memberID)), afterMs: timeoutMs)
        return self.state == .preparingRebalance ? .rebalanceInProgress : .none
    }

    /// In place: to read it through the dictionary's getter would copy all of the member.
    private static func sessionTimeoutMs(of member: inout ClassicGroupMember) -> Int64 {
        Int64(member.sessionTimeoutMs)
    }

    /// Starts a member's session timeout anew.
    func touch(_ memberID: String, effects: inout GroupEffects) {
        guard let member = self.members[memberID] else { return }
        effects.setTimer(.group(self.groupID, .session(memberID)), afterMs: Int64(member.sessionTimeoutMs))
    }

    /// LeaveGroup: each member of the batch goes, or is told why it does not. A member id left out and an
    /// instance id given is an administrator removing a static member.
    mutating func leave(
        _ leaving: [LeaveGroupRequest.MemberIdentity], config: GroupCoordinatorConfig, now: CoordinatorTime,
        effects: inout GroupEffects
    ) -> [LeaveGroupResponse.MemberResponse] {
        var left: [String] = []
        let responses = leaving.map { identity in
            var response = LeaveGroupResponse.MemberResponse()
            response.memberID = identity.memberID
            response.groupInstanceID = identity.groupInstanceID
            var memberID = identity.memberID
            if memberID.isEmpty {
                if let current = identity.groupInstanceID.flatMap({ self.staticMembers[$0] }) {
                    memberID = current
                } else {
                    response.errorCode = .unknownMemberID
                }
            } else if !self.pendingJoinMembers.contains(memberID) {
                response.errorCode =
                    self.validate(memberID: memberID, instanceID: identity.groupInstanceID) ?? .none
            }
            if response.errorCode == .none {
                self.dismiss(memberID, effects: &effects)
                left.append("\(memberID) (client reason: \(identity.reason ?? "not provided"))")
            }
            return response
        }
        if !left.isEmpty {
            switch self.state {
            case .stable, .completingRebalance, .preparingRebalance:
                self.prepareRebalanceOrCompleteJoin("left: \(left.joined(separator: ", "))", config, now, &effects)
            case .empty, .dead:
                break
            }
        }
        return responses
    }

    /// A member or a pending one has not been heard of for its session timeout.
    mutating func sessionTimerFired(
        _ memberID: String, config: GroupCoordinatorConfig, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        if self.pendingJoinMembers.contains(memberID) {
            self.pendingJoinMembers.remove(memberID)
            if self.state == .preparingRebalance && self.hasAllMembersJoined {
                self.completeJoining(config, now, &effects)
            }
            return
        }
        guard let member = self.members[memberID], !member.hasSatisfiedHeartbeat else { return }
        effects.notes.append("Group \(self.groupID) removes \(memberID), whose session expired")
        self.dismiss(memberID, effects: &effects)
        switch self.state {
        case .stable, .completingRebalance:
            self.prepareRebalance("the session of \(memberID) expired", config, now, &effects)
        case .preparingRebalance where self.hasAllMembersJoined:
            self.completeJoining(config, now, &effects)
        case .preparingRebalance, .empty, .dead:
            break
        }
    }

    private mutating func dismiss(_ memberID: String, effects: inout GroupEffects) {
        effects.cancelTimer(.group(self.groupID, .session(memberID)))
        // Whoever still waits in its name may join anew.
        self.completeJoin(memberID, .failure(.unknownMemberID, memberID: ""), effects: &effects)
        self.completeSync(memberID, .failure(.unknownMemberID), effects: &effects)
        self.remove(memberID)
    }

    /// Leadership is lost: everybody who waits looks for the new coordinator.
    mutating func unload(effects: inout GroupEffects) {
        for member in self.orderedMembers {
            self.completeJoin(
                member.memberID, .failure(.notCoordinator, memberID: member.memberID), effects: &effects)
            self.completeSync(member.memberID, .failure(.notCoordinator), effects: &effects)
        }
    }
}
