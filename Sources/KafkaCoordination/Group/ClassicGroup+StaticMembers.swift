import KafkaMessages
import KafkaPrimitives

/// A static member came back under a new member id while its group was stable, and nothing else changes.
package struct StaticReplacement: Sendable {
    package var instanceID: String
    package var oldMemberID: String
    package var newMemberID: String
    package var oldLeaderID: String?
    package var request: JoinGroupRequest
    package var ticket: ReplyTicket
    package var maySkipAssignment: Bool
}

extension ClassicGroup {
    /// A static member asks to join without a member id: it was restarted. It takes the place of its former self,
    /// whose requests are fenced from now on. In a stable group that is all, and nobody rebalances (KIP-345).
    mutating func replaceStaticMember(
        _ instanceID: String, _ oldMemberID: String, _ newMemberID: String, _ request: JoinGroupRequest,
        _ origin: RequestOrigin, _ ticket: ReplyTicket, _ now: CoordinatorTime, _ config: GroupCoordinatorConfig,
        _ effects: inout GroupEffects
    ) {
        var next = self
        var nextEffects = GroupEffects()
        next.swapStaticMember(instanceID, oldMemberID, newMemberID, &nextEffects)
        next.update(newMemberID, with: request, awaitingJoin: ticket, effects: &nextEffects)
        if self.state == .stable && next.selectProtocol() == self.protocolName {
            // Nothing changes here before the new id is stored.
            effects.records.append(GroupRecords.groupMetadata(next.groupID, next.value(nowMs: now.wallMs)))
            effects.continuation = .group(
                self.groupID,
                .staticMemberReplaced(
                    StaticReplacement(
                        instanceID: instanceID, oldMemberID: oldMemberID, newMemberID: newMemberID,
                        oldLeaderID: self.leaderID, request: request, ticket: ticket,
                        maySkipAssignment: origin.apiVersion >= Self.firstVersionSkippingAssignment)))
            return
        }
        self = next
        effects.replies += nextEffects.replies
        effects.cancelTimer(.group(self.groupID, .session(oldMemberID)))
        effects.setTimer(.group(self.groupID, .session(newMemberID)), afterMs: Int64(request.sessionTimeoutMs))
        let reason = "static member \(instanceID) came back as \(newMemberID)"
        switch self.state {
        case .stable:
            self.prepareRebalanceOrCompleteJoin(reason + ", which changes the protocol", config, now, &effects)
        case .completingRebalance:
            // The leader may already be assigning to the old id.
            self.prepareRebalance(reason, config, now, &effects)
        case .preparingRebalance:
            self.completeJoinIfAllAreThere(config, now, &effects)
        case .empty, .dead:
            break
        }
    }

    /// The new id is stored: answers it. The group goes on as it was.
    mutating func staticMemberReplaced(_ replacement: StaticReplacement, effects: inout GroupEffects) {
        let memberID = replacement.newMemberID
        self.update(memberID, with: replacement.request, awaitingJoin: nil, effects: &effects)
        effects.cancelTimer(.group(self.groupID, .session(replacement.oldMemberID)))
        effects.setTimer(
            .group(self.groupID, .session(memberID)), afterMs: Int64(replacement.request.sessionTimeoutMs))
        var response = self.currentGeneration(for: memberID)
        if replacement.maySkipAssignment {
            response.skipAssignment = self.isLeader(memberID)
        } else {
            // An older leader would assign anew if it learnt that it leads (KIP-814): it is told its old id.
            response.leader = replacement.oldLeaderID ?? ""
            response.members = []
        }
        effects.reply(replacement.ticket, .joinGroup(response))
    }

    private mutating func swapStaticMember(
        _ instanceID: String, _ oldMemberID: String, _ newMemberID: String, _ effects: inout GroupEffects
    ) {
        guard let old = self.members[oldMemberID] else { return }
        self.completeJoin(oldMemberID, .failure(.fencedInstanceID, memberID: oldMemberID), effects: &effects)
        self.completeSync(oldMemberID, .failure(.fencedInstanceID), effects: &effects)
        let wasLeader = self.isLeader(oldMemberID)
        let pending = self.pendingJoinMembers
        self.remove(oldMemberID)
        self.pendingJoinMembers = pending
        var member = ClassicGroupMember(
            memberID: newMemberID, instanceID: instanceID, clientID: old.clientID, clientHost: old.clientHost,
            sessionTimeoutMs: old.sessionTimeoutMs, rebalanceTimeoutMs: old.rebalanceTimeoutMs,
            protocols: old.protocols)
        member.assignment = old.assignment
        self.restore(member, sequence: old.sequence)
        if wasLeader { self.leaderID = newMemberID }
    }
}
