import KafkaMessages
import KafkaPrimitives

// Members of the classic protocol in a consumer group, while a group moves from one protocol to the other. They are
// answered at once: there is no leader, the broker assigns; the generation that they are told is their member epoch.
extension GroupCoordinatorShard {
    // MARK: JoinGroup

    mutating func joinConsumerGroup(
        _ group: ConsumerGroup, _ request: JoinGroupRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket,
        _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        let isUnknown = request.memberID.isEmpty
        let memberID = isUnknown ? "\(origin.randomID)" : request.memberID
        func refuse(_ error: ErrorCode) {
            effects.reply(ticket, .joinGroup(.failure(error, memberID: request.memberID)))
        }
        if group.members.count >= Int(self.config.consumerMaxSize), group.members[memberID] == nil {
            return refuse(.groupMaxSizeReached)
        }
        guard group.supports(protocolType: request.protocolType, protocols: request.protocols),
            let subscription = ConsumerProtocol.subscription(of: request.protocols, nil)
        else { return refuse(.inconsistentGroupProtocol) }
        if isUnknown, request.groupInstanceID == nil,
            origin.apiVersion >= ClassicGroup.firstVersionRequiringMemberID
        {
            return effects.reply(ticket, .joinGroup(.failure(.memberIDRequired, memberID: memberID)))
        }

        var records: [CoordinatorRecord] = []
        var replaced: ConsumerGroupMember?
        var change: MemberChange
        if let instanceID = request.groupInstanceID, let existing = group.staticMember(instanceID) {
            if isUnknown {
                change = group.replacing(existing, by: memberID, &records)
                replaced = existing
            } else if existing.memberID != memberID {
                return refuse(.fencedInstanceID)
            } else {
                change = MemberChange(before: existing, after: existing, isNew: false)
            }
        } else if request.groupInstanceID != nil, !isUnknown {
            return refuse(.unknownMemberID)
        } else if let member = group.members[memberID] {
            change = MemberChange(before: member, after: member, isNew: false)
        } else {
            let member = ConsumerGroupMember(memberID: memberID)
            change = MemberChange(before: member, after: member, isNew: true)
        }
        if let instanceID = request.groupInstanceID { change.after.instanceID = instanceID }
        if let rackID = subscription.rackID { change.after.rackID = rackID }
        if request.rebalanceTimeoutMs != -1 { change.after.rebalanceTimeoutMs = request.rebalanceTimeoutMs }
        change.after.subscribedTopics = subscription.topics.sortedWithoutRepetitions()
        change.after.subscribedRegex = ""
        change.after.clientID = origin.clientID
        change.after.clientHost = origin.clientHost
        change.after.classic = ConsumerGroupMember.Classic(
            sessionTimeoutMs: request.sessionTimeoutMs, protocols: request.protocols)
        let added = change.after.sizeInBytes - (change.isNew ? 0 : change.before.sizeInBytes)
        guard added <= 0 || group.heldBytes + added <= self.config.maxGroupBytes else {
            return refuse(.groupMaxSizeReached)
        }

        var response = JoinGroupResponse()
        response.memberID = memberID
        response.protocolType = ClassicGroup.consumerProtocolType
        response.protocolName = request.protocols.first?.name
        if let replaced, !replaced.usesClassicProtocol,
            let classic = self.downgraded(group, without: [replaced], replacing: change.after, now)
        {
            effects.records += ConsumerGroupRecords.tombstones(of: group)
            effects.records.append(GroupRecords.groupMetadata(group.groupID, classic.value(nowMs: now.wallMs)))
            response.generationID = classic.generation
            response.protocolName = classic.protocolName
            response.leader = classic.leaderID ?? ""
            effects.continuation = .downgraded(
                Downgrade(
                    classic: classic, former: Array(group.members.keys), joined: (response, ticket),
                    rebalances: change.before.subscribedTopics != change.after.subscribedTopics
                        || !change.before.subscribedRegex.isEmpty, retry: nil))
            return
        }
        let reported = self.partitionsByID(subscription.ownedPartitions)
        if self.change(&change, of: group, reported: reported, now, &records, &effects) != nil {
            return refuse(.unknownServerError)
        }
        self.consumerGroups[group.groupID]?.toldToRejoin.remove(memberID)
        effects.records += records
        effects.cancelTimer(.consumerGroup(group.groupID, .join(memberID)))
        effects.setTimer(
            .consumerGroup(group.groupID, .session(memberID)), afterMs: Int64(request.sessionTimeoutMs))
        effects.setTimer(
            .consumerGroup(group.groupID, .sync(memberID)), afterMs: Int64(max(request.rebalanceTimeoutMs, 0)))
        // The timers of the id that it replaces find nobody.
        response.generationID = change.after.epoch
        effects.reply(ticket, .joinGroup(response))
    }

    private func partitionsByID(
        _ owned: [ConsumerProtocolSubscription.TopicPartition]
    ) -> [ConsumerGroupHeartbeatRequest.TopicPartitions] {
        owned.compactMap { topic in
            guard let known = self.image.topic(named: topic.topic) else { return nil }
            var partitions = ConsumerGroupHeartbeatRequest.TopicPartitions()
            partitions.topicID = known.id
            partitions.partitions = topic.partitions
            return partitions
        }
    }

    // MARK: SyncGroup

    mutating func syncConsumerGroup(
        _ group: ConsumerGroup, _ request: SyncGroupRequest, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        func refuse(_ error: ErrorCode) { effects.reply(ticket, .syncGroup(.failure(error))) }
        let member: ConsumerGroupMember
        switch Self.classicMember(request.memberID, request.groupInstanceID, request.generationID, of: group) {
        case .failure(let refusal): return refuse(refusal.error)
        case .success(let found): member = found
        }
        let protocols = member.classic?.protocols ?? []
        if let type = request.protocolType, type != ClassicGroup.consumerProtocolType {
            return refuse(.inconsistentGroupProtocol)
        }
        if let name = request.protocolName, name != protocols.first?.name {
            return refuse(.inconsistentGroupProtocol)
        }
        // Who gives up partitions has rejoined already, and will again when it has.
        if group.assignmentEpoch > member.epoch, member.state != .unrevokedPartitions {
            self.tellToRejoin(member, of: group, &effects)
            return refuse(.rebalanceInProgress)
        }
        effects.cancelTimer(.consumerGroup(group.groupID, .sync(member.memberID)))
        self.touchClassic(member, of: group, &effects)
        var response = SyncGroupResponse()
        response.protocolType = request.protocolType
        response.protocolName = request.protocolName
        response.assignment = ConsumerProtocol.encode(
            member.assigned.partitions, version: ConsumerProtocol.version(of: protocols), in: self.image)
        effects.readsState = true
        effects.reply(ticket, .syncGroup(response))
    }

    // MARK: Heartbeat

    mutating func heartbeatToConsumerGroup(
        _ group: ConsumerGroup, _ request: HeartbeatRequest, _ effects: inout GroupEffects
    ) -> ErrorCode {
        let member: ConsumerGroupMember
        switch Self.classicMember(request.memberID, request.groupInstanceID, request.generationID, of: group) {
        case .failure(let refusal): return refusal.error
        case .success(let found): member = found
        }
        self.touchClassic(member, of: group, &effects)
        // There is a newer target; or something to give up; or what was waited for has become free.
        guard
            member.epoch < group.assignmentEpoch || member.state == .unrevokedPartitions
                || member.state == .unreleasedPartitions && !group.waitsForPartitions(member)
        else { return .none }
        self.tellToRejoin(member, of: group, &effects)
        return .rebalanceInProgress
    }

    // MARK: LeaveGroup

    mutating func leaveConsumerGroup(
        _ group: ConsumerGroup, _ leaving: [LeaveGroupRequest.MemberIdentity], _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) -> [LeaveGroupResponse.MemberResponse] {
        var removed: [ConsumerGroupMember] = []
        let responses = leaving.map { identity in
            var response = LeaveGroupResponse.MemberResponse()
            response.memberID = identity.memberID
            response.groupInstanceID = identity.groupInstanceID
            // An administrator removes static members without knowing their ids.
            let memberID =
                identity.memberID.isEmpty
                ? identity.groupInstanceID.flatMap { group.staticMembers[$0] } ?? "" : identity.memberID
            // Members of the consumer protocol go this way only when an administrator removes them, who knows the
            // answer by what was asked: no id, where he gave none.
            switch Self.member(memberID, identity.groupInstanceID, of: group) {
            case .failure(let refusal): response.errorCode = refusal.error
            case .success(let member):
                if !removed.contains(where: { $0.memberID == member.memberID }) { removed.append(member) }
            }
            return response
        }
        self.removeMembers(removed, from: group, retry: nil, now, &effects)
        return responses
    }

    // MARK: Checks

    /// - Parameter generation: nil: any.
    static func classicMember(
        _ memberID: String, _ instanceID: String?, _ generation: Int32?, of group: ConsumerGroup
    ) -> Result<ConsumerGroupMember, GroupRefusal> {
        let found = self.member(memberID, instanceID, of: group)
        guard case .success(let member) = found else { return found }
        guard member.usesClassicProtocol else { return .failure(.noMember(memberID, group.groupID)) }
        if let generation, generation != member.epoch {
            return .failure(GroupRefusal(.illegalGeneration, "The generation is not the member's epoch."))
        }
        return .success(member)
    }

    private static func member(
        _ memberID: String, _ instanceID: String?, of group: ConsumerGroup
    ) -> Result<ConsumerGroupMember, GroupRefusal> {
        guard let instanceID else {
            return group.members[memberID].map { .success($0) } ?? .failure(.noMember(memberID, group.groupID))
        }
        guard let member = group.staticMember(instanceID) else {
            return .failure(.noMember(memberID, group.groupID))
        }
        if member.memberID != memberID { return .failure(.fenced(instanceID, memberID, by: member.memberID)) }
        return .success(member)
    }

    private func touchClassic(
        _ member: ConsumerGroupMember, of group: ConsumerGroup, _ effects: inout GroupEffects
    ) {
        effects.setTimer(
            .consumerGroup(group.groupID, .session(member.memberID)),
            afterMs: Int64(member.classic?.sessionTimeoutMs ?? 0))
    }

    /// Told for the first time, it has its rebalance timeout to do it.
    private mutating func tellToRejoin(
        _ member: ConsumerGroupMember, of group: ConsumerGroup, _ effects: inout GroupEffects
    ) {
        guard self.consumerGroups[group.groupID]?.toldToRejoin.insert(member.memberID).inserted == true else { return }
        effects.setTimer(
            .consumerGroup(group.groupID, .join(member.memberID)), afterMs: Int64(max(member.rebalanceTimeoutMs, 0)))
    }
}
