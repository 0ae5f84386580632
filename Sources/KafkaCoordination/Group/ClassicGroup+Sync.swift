import KafkaMessages
import KafkaPrimitives

extension ClassicGroup {
    /// SyncGroup. The leader's brings the assignment and is stored; the others' wait for it.
    mutating func sync(
        _ request: SyncGroupRequest, ticket: ReplyTicket, config: GroupCoordinatorConfig, now: CoordinatorTime,
        effects: inout GroupEffects
    ) {
        let memberID = request.memberID
        if let error = self.validate(request) {
            effects.reply(ticket, .syncGroup(.failure(error)))
            return
        }
        switch self.state {
        case .preparingRebalance:
            effects.reply(ticket, .syncGroup(.failure(.rebalanceInProgress)))
        case .completingRebalance:
            if let earlier = self.members[memberID]?.awaitingSync {
                effects.reply(earlier, .syncGroup(.failure(.rebalanceInProgress)))
            }
            self.members[memberID]?.awaitingSync = ticket
            self.removePendingSync(memberID, effects: &effects)
            guard self.isLeader(memberID) else { return }
            var assignments: [String: [UInt8]] = [:]
            for assignment in request.assignments { assignments[assignment.memberID] = assignment.assignment }
            let value = self.value(nowMs: now.wallMs) { assignments[$0.memberID] ?? [] }
            effects.records.append(GroupRecords.groupMetadata(self.groupID, value))
            effects.continuation = .group(self.groupID, .assigned)
        case .stable:
            self.removePendingSync(memberID, effects: &effects)
            effects.readsState = true
            effects.reply(ticket, .syncGroup(self.currentAssignment(of: memberID)))
        case .empty, .dead:
            effects.reply(ticket, .syncGroup(.failure(.unknownMemberID)))
        }
    }

    private func validate(_ request: SyncGroupRequest) -> ErrorCode? {
        if let error = self.validate(
            memberID: request.memberID, instanceID: request.groupInstanceID, generation: request.generationID)
        {
            return error
        }
        // Null, from clients before version 5, agrees with everything.
        func disagree(_ theirs: String?, _ ours: String?) -> Bool { theirs != nil && ours != nil && theirs != ours }
        return disagree(request.protocolType, self.protocolType) || disagree(request.protocolName, self.protocolName)
            ? .inconsistentGroupProtocol : nil
    }

    /// The assignment is stored and the group stable: all who wait are told.
    mutating func assigned(effects: inout GroupEffects) {
        for member in self.orderedMembers where member.awaitingSync != nil {
            self.completeSync(member.memberID, self.currentAssignment(of: member.memberID), effects: &effects)
            effects.setTimer(
                .group(self.groupID, .session(member.memberID)), afterMs: Int64(member.sessionTimeoutMs))
        }
    }

    /// It could not be stored: the members are told, and come back to another round.
    mutating func assignmentFailed(
        _ error: ErrorCode, config: GroupCoordinatorConfig, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        guard self.state == .completingRebalance else { return }
        self.resetAssignments(telling: error, effects: &effects)
        self.prepareRebalanceOrCompleteJoin("the assignment could not be stored: \(error.name)", config, now, &effects)
    }

    /// The time for SyncGroup is over: who sent none is out, and the rest rebalance.
    mutating func syncTimerFired(
        config: GroupCoordinatorConfig, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        guard self.state == .completingRebalance || self.state == .stable, !self.pendingSyncMembers.isEmpty
        else { return }
        let late = self.pendingSyncMembers.sorted()
        for memberID in late {
            self.remove(memberID)
            effects.cancelTimer(.group(self.groupID, .session(memberID)))
        }
        self.prepareRebalance("no SyncGroup from \(late.joined(separator: ", "))", config, now, &effects)
    }

    private mutating func removePendingSync(_ memberID: String, effects: inout GroupEffects) {
        self.pendingSyncMembers.remove(memberID)
        if self.pendingSyncMembers.isEmpty { effects.cancelTimer(.group(self.groupID, .sync)) }
    }

    mutating func completeSync(_ memberID: String, _ response: SyncGroupResponse, effects: inout GroupEffects) {
        guard let ticket = self.members[memberID]?.awaitingSync else { return }
        self.members[memberID]?.awaitingSync = nil
        effects.reply(ticket, .syncGroup(response))
    }

    mutating func resetAssignments(telling error: ErrorCode, effects: inout GroupEffects) {
        for member in self.orderedMembers {
            self.setAssignment([], of: member.memberID)
            guard member.awaitingSync != nil else { continue }
            self.completeSync(member.memberID, .failure(error), effects: &effects)
            effects.setTimer(
                .group(self.groupID, .session(member.memberID)), afterMs: Int64(member.sessionTimeoutMs))
        }
    }

    private func currentAssignment(of memberID: String) -> SyncGroupResponse {
        var response = SyncGroupResponse()
        response.protocolType = self.protocolType
        response.protocolName = self.protocolName
        response.assignment = self.members[memberID]?.assignment ?? []
        return response
    }
}

extension SyncGroupResponse {
    static func failure(_ error: ErrorCode) -> SyncGroupResponse {
        var response = SyncGroupResponse()
        response.errorCode = error
        return response
    }
}
