import KafkaMessages
import KafkaPrimitives

extension ClassicGroup {
    /// Opens a rebalance, or, where one is open, sees whether it can be completed.
    mutating func prepareRebalanceOrCompleteJoin(
        _ reason: String, _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        switch self.state {
        case .empty, .completingRebalance, .stable: self.prepareRebalance(reason, config, now, &effects)
        case .preparingRebalance, .dead: self.completeJoinIfAllAreThere(config, now, &effects)
        }
    }

    mutating func prepareRebalance(
        _ reason: String, _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        if self.state == .completingRebalance {
            self.resetAssignments(telling: .rebalanceInProgress, effects: &effects)
        }
        self.pendingSyncMembers = []
        effects.cancelTimer(.group(self.groupID, .sync))
        let isInitial = self.state == .empty
        effects.notes.append(
            "Group \(self.groupID) prepares to rebalance from \(self.state.rawValue), generation"
                + " \(self.generation): \(reason)")
        self.transition(to: .preparingRebalance, nowMs: now.wallMs)
        if isInitial {
            // Nobody is kept waiting: give the other members of a starting group time to arrive, so that it
            // does not rebalance once for each.
            self.newMemberAdded = false
            self.initialDelayMs = Int64(config.initialRebalanceDelayMs)
            self.initialRemainingMs = max(self.rebalanceTimeoutMs - self.initialDelayMs, 0)
            effects.setTimer(.group(self.groupID, .join), afterMs: self.initialDelayMs)
        } else if self.hasAllMembersJoined {
            self.completeJoining(config, now, &effects)
        } else {
            effects.setTimer(.group(self.groupID, .join), afterMs: self.rebalanceTimeoutMs)
        }
    }

    /// Completes an open rebalance when nobody is missing. Never the first one of a group: that waits for its
    /// delay.
    mutating func completeJoinIfAllAreThere(
        _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        guard self.state == .preparingRebalance, self.previousState != .empty, self.hasAllMembersJoined else { return }
        self.completeJoining(config, now, &effects)
    }

    /// The time for joining is over.
    mutating func joinTimerFired(
        config: GroupCoordinatorConfig, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        guard self.state == .preparingRebalance else { return }
        if self.previousState == .empty && self.newMemberAdded && self.initialRemainingMs > 0 {
            self.newMemberAdded = false
            let delay = min(Int64(config.initialRebalanceDelayMs), self.initialRemainingMs)
            self.initialRemainingMs = max(self.initialRemainingMs - self.initialDelayMs, 0)
            self.initialDelayMs = delay
            effects.setTimer(.group(self.groupID, .join), afterMs: delay)
        } else {
            self.completeJoining(config, now, &effects)
        }
    }

    /// Closes the joining: who has not come is out (static members stay, until their session ends), and the next
    /// generation begins.
    mutating func completeJoining(
        _ config: GroupCoordinatorConfig, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        effects.cancelTimer(.group(self.groupID, .join))
        for member in self.orderedMembers where member.awaitingJoin == nil && !member.isStatic {
            self.remove(member.memberID)
            effects.cancelTimer(.group(self.groupID, .session(member.memberID)))
            effects.notes.append(
                "Group \(self.groupID) removes \(member.memberID), which did not rejoin within the rebalance timeout")
        }
        if self.members.isEmpty {
            // The only change of generation that is stored at once: nobody will bring an assignment.
            var value = self.value(nowMs: now.wallMs)
            value.generation = self.nextGeneration
            value.protocol = nil
            effects.records.append(GroupRecords.groupMetadata(self.groupID, value))
            effects.continuation = .group(self.groupID, .becameEmpty(value))
            effects.notes.append("Group \(self.groupID) with generation \(value.generation) is now empty")
            return
        }
        guard self.electLeaderThatJoined() else {
            // All who are left are static members that have not come back.
            effects.setTimer(.group(self.groupID, .join), afterMs: self.rebalanceTimeoutMs)
            return
        }
        self.generation = self.nextGeneration
        self.protocolName = self.selectProtocol()
        self.subscribedTopics = self.computeSubscribedTopics()
        self.transition(to: .completingRebalance, nowMs: now.wallMs)
        self.pendingSyncMembers = Set(self.members.keys)
        effects.notes.append(
            "Group \(self.groupID) generation \(self.generation) has \(self.members.count) members")
        for member in self.orderedMembers {
            let memberID = member.memberID
            if member.awaitingJoin != nil {
                self.completeJoin(memberID, self.currentGeneration(for: memberID), effects: &effects)
            }
            self.members[memberID]?.isNew = false
            effects.setTimer(.group(self.groupID, .session(memberID)), afterMs: Int64(member.sessionTimeoutMs))
        }
        effects.setTimer(.group(self.groupID, .sync), afterMs: self.rebalanceTimeoutMs)
    }

    /// After the last generation that fits comes 1: a negative one would mean "not a member".
    var nextGeneration: Int32 { self.generation == .max ? 1 : self.generation + 1 }

    /// The leader stays if it joined, otherwise the eldest who did takes over.
    private mutating func electLeaderThatJoined() -> Bool {
        if let leaderID = self.leaderID, self.members[leaderID]?.awaitingJoin != nil { return true }
        guard let next = self.orderedMembers.first(where: { $0.awaitingJoin != nil }) else { return false }
        self.leaderID = next.memberID
        return true
    }
}
