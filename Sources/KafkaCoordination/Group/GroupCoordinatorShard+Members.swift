import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    mutating func heartbeat(
        _ request: HeartbeatRequest, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        var response = HeartbeatResponse()
        if request.groupID.isEmpty {
            response.errorCode = .invalidGroupID
        } else if let error = self.groups[request.groupID]?.heartbeat(request, effects: &effects) {
            response.errorCode = error
        } else if let group = self.consumerGroups[request.groupID] {
            response.errorCode = self.heartbeatToConsumerGroup(group, request, &effects)
        } else {
            response.errorCode = .unknownMemberID
        }
        effects.reply(ticket, .heartbeat(response))
    }

    mutating func joinGroup(
        _ request: JoinGroupRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        func refuse(_ error: ErrorCode) {
            effects.reply(ticket, .joinGroup(.failure(error, memberID: request.memberID)))
        }
        var request = request
        // Version 0 has one timeout for both.
        if origin.apiVersion == 0 { request.rebalanceTimeoutMs = request.sessionTimeoutMs }
        if request.groupID.isEmpty { return refuse(.invalidGroupID) }
        let timeouts =
            self.config
            .minSessionTimeoutMs...max(
                self.config.minSessionTimeoutMs, self.config.maxSessionTimeoutMs)
        guard timeouts.contains(request.sessionTimeoutMs) else { return refuse(.invalidSessionTimeout) }
        if self.groups[request.groupID] != nil {
            self.groups[request.groupID]?.join(
                request, origin: origin, ticket: ticket, config: self.config, now: now, effects: &effects)
            return
        }
        if let group = self.consumerGroups[request.groupID], !group.isEmpty {
            return self.joinConsumerGroup(group, request, origin, ticket, now, &effects)
        }
        // Whoever has a member id has it from a group.
        guard request.memberID.isEmpty else { return refuse(.unknownMemberID) }
        let group = ClassicGroup(groupID: request.groupID, nowMs: now.wallMs)
        guard group.supports(protocolType: request.protocolType, protocols: request.protocols) else {
            return refuse(.inconsistentGroupProtocol)
        }
        if self.otherGroups[request.groupID] != nil { return refuse(.inconsistentGroupProtocol) }
        // A consumer group whose members are gone becomes a classic one, and keeps its offsets.
        if let group = self.consumerGroups[request.groupID] {
            effects.records += ConsumerGroupRecords.tombstones(of: group)
        }
        effects.records.append(GroupRecords.groupMetadata(request.groupID, group.value(nowMs: now.wallMs)))
        effects.continuation = .joinCreated(request, origin, ticket)
    }

    mutating func syncGroup(
        _ request: SyncGroupRequest, _ ticket: ReplyTicket, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        if request.groupID.isEmpty {
            effects.reply(ticket, .syncGroup(.failure(.invalidGroupID)))
        } else if let group = self.consumerGroups[request.groupID] {
            self.syncConsumerGroup(group, request, ticket, &effects)
        } else if self.groups[request.groupID] == nil {
            effects.reply(ticket, .syncGroup(.failure(.unknownMemberID)))
        } else {
            self.groups[request.groupID]?.sync(
                request, ticket: ticket, config: self.config, now: now, effects: &effects)
        }
    }

    mutating func leaveGroup(
        _ request: LeaveGroupRequest, _ ticket: ReplyTicket, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        var response = LeaveGroupResponse()
        if request.groupID.isEmpty {
            response.errorCode = .invalidGroupID
        } else if let members = self.groups[request.groupID]?.leave(
            request.members, config: self.config, now: now, effects: &effects)
        {
            response.members = members
        } else if let group = self.consumerGroups[request.groupID] {
            response.members = self.leaveConsumerGroup(group, request.members, now, &effects)
        } else {
            response.members = request.members.map { identity in
                var member = LeaveGroupResponse.MemberResponse()
                member.memberID = identity.memberID
                member.groupInstanceID = identity.groupInstanceID
                member.errorCode = .unknownMemberID
                return member
            }
        }
        effects.reply(ticket, .leaveGroup(response))
    }
}
