import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    /// ConsumerGroupHeartbeat: a member joins, says what it has and wants, or leaves.
    ///
    /// In three steps: the member's new metadata, which may raise the group's epoch; a new target assignment where that
    /// is due; and the member's next step towards its target.
    mutating func consumerGroupHeartbeat(
        _ request: ConsumerGroupHeartbeatRequest, _ origin: RequestOrigin, _ ticket: ReplyTicket,
        _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        guard self.config.servesConsumerProtocol else {
            return Self.refuse(
                GroupRefusal(.unsupportedVersion, "The consumer group protocol is not enabled."), ticket, &effects)
        }
        if let refusal = request.refusal(apiVersion: origin.apiVersion, assignors: self.config.consumerAssignors) {
            return Self.refuse(refusal, ticket, &effects)
        }
        if request.memberEpoch < 0 { return self.leaveConsumerGroup(request, ticket, now, &effects) }
        if self.isSteady(request, origin) { return self.answerSteady(request, ticket, &effects) }

        let joins = request.memberEpoch == 0
        var records: [CoordinatorRecord] = []
        var upgrade: ClassicGroup?
        let group: ConsumerGroup
        switch self.consumerGroup(request.groupID, creates: joins, &records, upgrade: &upgrade) {
        case .failure(let refusal): return Self.refuse(refusal, ticket, &effects)
        case .success(let found): group = found
        }
        let memberID = request.memberID.isEmpty ? "\(origin.randomID)" : request.memberID
        if group.members.count >= Int(self.config.consumerMaxSize), group.members[memberID] == nil {
            return Self.refuse(self.groupIsFull, ticket, &effects)
        }
        var change: MemberChange
        switch self.member(memberID, of: group, request, joins: joins, &records) {
        case .failure(let refusal): return Self.refuse(refusal, ticket, &effects)
        case .success(let found): change = found
        }
        change.after = change.before.updated(by: request, origin)
        let added = change.after.sizeInBytes - (change.isNew ? 0 : change.before.sizeInBytes)
        guard added <= 0 || group.heldBytes + added <= self.config.maxGroupBytes else {
            return Self.refuse(
                GroupRefusal(.groupMaxSizeReached, "The consumer group holds too much."), ticket, &effects)
        }
        if let refusal = self.change(&change, of: group, reported: request.topicPartitions, now, &records, &effects) {
            return Self.refuse(refusal, ticket, &effects)
        }

        let settings = self.image.settings(of: request.groupID)
        effects.setTimer(
            .consumerGroup(request.groupID, .session(memberID)), afterMs: Int64(settings.sessionTimeoutMs))
        effects.records += records
        if let upgrade { effects.continuation = .upgraded(upgrade) }
        var response = ConsumerGroupHeartbeatResponse()
        response.memberID = memberID
        response.memberEpoch = change.after.epoch
        response.heartbeatIntervalMs = settings.heartbeatIntervalMs
        if joins || request.isFull || change.before.assigned != change.after.assigned {
            response.assignment = change.after.assignmentForClient
        }
        effects.reply(ticket, .consumerGroupHeartbeat(response))
    }

    static func refuse(_ refusal: GroupRefusal, _ ticket: ReplyTicket, _ effects: inout GroupEffects) {
        effects.reply(ticket, .consumerGroupHeartbeat(.failure(refusal.error, refusal.message)))
    }

    var groupIsFull: GroupRefusal {
        GroupRefusal(
            .groupMaxSizeReached,
            "The consumer group has reached its maximum capacity of \(self.config.consumerMaxSize) members.")
    }

    // MARK: Most heartbeats

    /// A member that has what it is to have, and says nothing new.
    private func isSteady(_ request: ConsumerGroupHeartbeatRequest, _ origin: RequestOrigin) -> Bool {
        guard request.memberEpoch > 0, request.subscribedTopicNames == nil, request.subscribedTopicRegex == nil,
            request.serverAssignor == nil, request.topicPartitions == nil, request.rackID == nil,
            request.rebalanceTimeoutMs == -1
        else { return false }
        guard let index = self.consumerGroups.index(forKey: request.groupID) else { return false }
        func check(_ group: borrowing ConsumerGroup) -> Bool {
            guard group.epoch == group.assignmentEpoch || group.isAssigning,
                let member = group.members.index(forKey: request.memberID)
            else { return false }
            func check(_ member: borrowing ConsumerGroupMember) -> Bool {
                member.epoch == request.memberEpoch && member.isReconciled(to: group.assignmentEpoch)
                    && member.classic == nil && member.instanceID == request.instanceID
                    && member.clientID == origin.clientID && member.clientHost == origin.clientHost
            }
            return check(group.members.values[member])
        }
        return check(self.consumerGroups.values[index])
    }

    private func answerSteady(
        _ request: ConsumerGroupHeartbeatRequest, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        let settings = self.image.settings(of: request.groupID)
        effects.setTimer(
            .consumerGroup(request.groupID, .session(request.memberID)), afterMs: Int64(settings.sessionTimeoutMs))
        var response = ConsumerGroupHeartbeatResponse()
        response.memberID = request.memberID
        response.memberEpoch = request.memberEpoch
        response.heartbeatIntervalMs = settings.heartbeatIntervalMs
        effects.reply(ticket, .consumerGroupHeartbeat(response))
    }

    // MARK: Finding group and member

    /// The group as it is; or, for who joins, as it will be once `records` are stored.
    /// - Parameter upgrade: the classic group that becomes this one.
    func consumerGroup(
        _ groupID: String, creates: Bool, _ records: inout [CoordinatorRecord], upgrade: inout ClassicGroup?
    ) -> Result<ConsumerGroup, GroupRefusal> {
        if let group = self.consumerGroups[groupID] { return .success(group) }
        if self.otherGroups[groupID] != nil { return .failure(.noConsumerGroup(groupID)) }
        guard let classic = self.groups[groupID] else {
            return creates ? .success(ConsumerGroup(groupID: groupID)) : .failure(.noGroup(groupID))
        }
        guard creates else { return .failure(.noConsumerGroup(groupID)) }
        if classic.state == .empty {
            records.append(GroupRecords.groupMetadata(groupID, nil))
            return .success(ConsumerGroup(groupID: groupID))
        }
        guard self.mayUpgrade(classic), let converted = ConsumerGroup(upgrading: classic, in: self.image) else {
            return .failure(.noConsumerGroup(groupID))
        }
        upgrade = classic
        records.append(GroupRecords.groupMetadata(groupID, nil))
        records += ConsumerGroupRecords.all(of: converted)
        return .success(converted)
    }

    private func member(
        _ memberID: String, of group: ConsumerGroup, _ request: ConsumerGroupHeartbeatRequest, joins: Bool,
        _ records: inout [CoordinatorRecord]
    ) -> Result<MemberChange, GroupRefusal> {
        if let instanceID = request.instanceID {
            if let existing = group.staticMember(instanceID) {
                if existing.memberID == memberID && existing.epoch >= 0 && !existing.usesClassicProtocol || !joins {
                    if existing.memberID != memberID {
                        return .failure(.fenced(instanceID, memberID, by: existing.memberID))
                    }
                    if let refusal = existing.refusal(
                        ofEpoch: request.memberEpoch, reported: request.topicPartitions)
                    {
                        return .failure(refusal)
                    }
                    return .success(MemberChange(before: existing, after: existing, isNew: false))
                }
                // It comes back. Who uses the consumer protocol says so when it goes for a while; until its session
                // ends nobody else can have its place.
                guard existing.epoch == ConsumerGroupMember.leaveStaticEpoch || existing.usesClassicProtocol else {
                    return .failure(
                        GroupRefusal(
                            .unreleasedInstanceID,
                            "Static member \(memberID) with instance id \(instanceID) cannot join the group because"
                                + " the instance id is owned by \(existing.memberID) member."))
                }
                return .success(group.replacing(existing, by: memberID, &records))
            }
            guard joins else {
                return .failure(GroupRefusal(.unknownMemberID, "Instance id \(instanceID) is unknown."))
            }
        }
        if let member = group.members[memberID] {
            if let refusal = member.refusal(ofEpoch: request.memberEpoch, reported: request.topicPartitions) {
                return .failure(refusal)
            }
            return .success(MemberChange(before: member, after: member, isNew: false))
        }
        guard joins else { return .failure(.noMember(memberID, group.groupID)) }
        let member = ConsumerGroupMember(memberID: memberID)
        return .success(MemberChange(before: member, after: member, isNew: true))
    }

    // MARK: Leaving

    private mutating func leaveConsumerGroup(
        _ request: ConsumerGroupHeartbeatRequest, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        guard let group = self.consumerGroups[request.groupID] else {
            let exists = self.groups[request.groupID] != nil || self.otherGroups[request.groupID] != nil
            return Self.refuse(
                exists ? .noConsumerGroup(request.groupID) : .noGroup(request.groupID), ticket, &effects)
        }
        let member: ConsumerGroupMember
        if let instanceID = request.instanceID {
            guard let existing = group.staticMember(instanceID) else {
                let refusal = GroupRefusal(.unknownMemberID, "Instance id \(instanceID) is unknown.")
                return Self.refuse(refusal, ticket, &effects)
            }
            guard existing.memberID == request.memberID else {
                return Self.refuse(.fenced(instanceID, request.memberID, by: existing.memberID), ticket, &effects)
            }
            member = existing
        } else {
            guard let existing = group.members[request.memberID] else {
                return Self.refuse(.noMember(request.memberID, request.groupID), ticket, &effects)
            }
            member = existing
        }
        var response = ConsumerGroupHeartbeatResponse()
        response.memberID = request.memberID
        response.memberEpoch = request.memberEpoch
        if request.memberEpoch == ConsumerGroupMember.leaveStaticEpoch {
            // It keeps its partitions until it comes back or its session ends.
            var away = member
            away.epoch = ConsumerGroupMember.leaveStaticEpoch
            away.pendingRevocation = HeldPartitions()
            effects.records.append(ConsumerGroupRecords.current(group.groupID, away))
        } else {
            self.removeMembers([member], from: group, retry: nil, now, &effects)
        }
        effects.reply(ticket, .consumerGroupHeartbeat(response))
    }
}

extension GroupRefusal {
    static func fenced(_ instanceID: String, _ memberID: String, by other: String) -> GroupRefusal {
        GroupRefusal(
            .fencedInstanceID,
            "Static member \(memberID) with instance id \(instanceID) was fenced by member \(other).")
    }
}

extension ConsumerGroupMember {
    /// With what the request says, and without what it says nothing of.
    fileprivate func updated(
        by request: ConsumerGroupHeartbeatRequest, _ origin: RequestOrigin
    ) -> ConsumerGroupMember {
        var member = self
        if let instanceID = request.instanceID { member.instanceID = instanceID }
        if let rackID = request.rackID { member.rackID = rackID }
        if request.rebalanceTimeoutMs != -1 { member.rebalanceTimeoutMs = request.rebalanceTimeoutMs }
        if let assignor = request.serverAssignor { member.serverAssignor = assignor }
        if let topics = request.subscribedTopicNames { member.subscribedTopics = topics.sortedWithoutRepetitions() }
        if let regex = request.subscribedTopicRegex { member.subscribedRegex = regex }
        member.clientID = origin.clientID
        member.clientHost = origin.clientHost
        member.classic = nil
        return member
    }

    var assignmentForClient: ConsumerGroupHeartbeatResponse.Assignment {
        var assignment = ConsumerGroupHeartbeatResponse.Assignment()
        assignment.topicPartitions = self.assigned.topics.map { topic in
            var partitions = ConsumerGroupHeartbeatResponse.TopicPartitions()
            partitions.topicID = topic.topicID
            partitions.partitions = topic.partitions
            return partitions
        }
        return assignment
    }
}

extension ConsumerGroup {
    /// A static member goes on under another id, with all that it had.
    func replacing(
        _ existing: ConsumerGroupMember, by memberID: String, _ records: inout [CoordinatorRecord]
    ) -> MemberChange {
        let member = existing.renamed(memberID)
        records += ConsumerGroupRecords.removal(self.groupID, existing.memberID)
        records.append(ConsumerGroupRecords.member(self.groupID, member))
        records.append(
            ConsumerGroupRecords.target(self.groupID, memberID, self.targets[existing.memberID] ?? PartitionSet()))
        records.append(ConsumerGroupRecords.current(self.groupID, member))
        return MemberChange(before: member, after: member, isNew: true, replacedID: existing.memberID)
    }
}
