import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    /// Carries a member's change through: its metadata, the group's epoch, the target assignment where it is due, and
    /// the member's step towards it. `change.after` is the member as it is then, once the records are stored.
    mutating func change(
        _ change: inout MemberChange, of group: ConsumerGroup,
        reported: [ConsumerGroupHeartbeatRequest.TopicPartitions]?, _ now: CoordinatorTime,
        _ records: inout [CoordinatorRecord], _ effects: inout GroupEffects
    ) -> GroupRefusal? {
        let groupID = group.groupID
        if change.isNew && change.replacedID == nil || change.after != change.before {
            records.append(ConsumerGroupRecords.member(groupID, change.after))
        }
        let topicsChanged = change.after.subscribedTopics != change.before.subscribedTopics
        let regexChanged: RegexChange
        switch self.changeRegex(change, of: group, now, &records, &effects) {
        case .failure(let refusal): return refusal
        case .success(let result): regexChanged = result
        }

        // A regex that is not resolved yet raises the epoch when it is.
        var epoch = group.epoch
        if topicsChanged || regexChanged == .resolved || group.isNew {
            epoch = group.nextEpoch
            self.appendEpoch(epoch, of: group, topics: group.topics(with: change), &records)
        }

        var targetEpoch = group.assignmentEpoch
        var target = group.targets[change.replacedID ?? change.after.memberID] ?? PartitionSet()
        if epoch > group.assignmentEpoch {
            let settings = self.image.settings(of: groupID)
            let delayMs = group.assignmentDelayMs(settings, nowMs: now.wallMs)
            if delayMs == 0, !group.isAssigning, self.assignsAtOnce(group, change, settings) {
                let assignor = group.preferredAssignor(self.config.consumerAssignors, with: change)
                let targets = assignor.assign(group.assignmentInput(with: change, in: self.image))
                    .mapValues { PartitionSet($0) }
                var members = Set(group.members.keys)
                members.insert(change.after.memberID)
                if let replacedID = change.replacedID, replacedID != change.after.memberID {
                    members.remove(replacedID)
                }
                let (memberID, former) = (change.after.memberID, target)
                records += group.targetRecords(
                    targets, members: members, epoch: epoch, timestampMs: now.wallMs,
                    before: { $0 == memberID ? former : group.targets[$0] ?? PartitionSet() })
                targetEpoch = epoch
                target = targets[memberID] ?? PartitionSet()
            } else if !group.isAssigning {
                effects.setTimer(.consumerGroup(groupID, .assignment), afterMs: delayMs)
            }
        }

        let subscriptionChanged = topicsChanged || regexChanged != .none
        guard subscriptionChanged || !change.after.isReconciled(to: targetEpoch) else { return nil }
        let (member, image) = (change.after, self.image)
        guard
            let next = member.reconciled(
                to: ReconciliationTarget(
                    epoch: targetEpoch, partitions: target,
                    isSubscribed: { topicID in
                        image.topic(withID: topicID).map { group.isSubscribed(member, to: $0.name) } ?? false
                    },
                    isOwned: { group.epoch(of: $0) != -1 }, reported: reported,
                    subscriptionChanged: subscriptionChanged))
        else {
            return GroupRefusal(
                .fencedMemberEpoch,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin."
            )
        }
        if next != member {
            records.append(ConsumerGroupRecords.current(groupID, next))
            // Members of the classic protocol have times for JoinGroup and SyncGroup instead. Not cancelled when it is done:
            // that may not be stored; a timer that finds nothing to give up does nothing.
            if !next.usesClassicProtocol, next.state == .unrevokedPartitions {
                effects.setTimer(
                    .consumerGroup(groupID, .rebalance(next.memberID)),
                    afterMs: Int64(max(next.rebalanceTimeoutMs, 0)))
            }
        }
        change.after = next
        return nil
    }

    func appendEpoch(
        _ epoch: Int32, of group: ConsumerGroup, topics: Set<String>, _ records: inout [CoordinatorRecord]
    ) {
        let hash = MetadataHash.hash(of: topics, in: self.image)
        records.append(ConsumerGroupRecords.group(group.groupID, epoch: epoch, metadataHash: hash))
        if group.hasPartitionMetadata {
            records.append(ConsumerGroupRecords.partitionMetadataTombstone(group.groupID))
        }
    }

    /// A small assignment is made where it is needed, so that who joins is told it at once.
    private func assignsAtOnce(
        _ group: ConsumerGroup, _ change: MemberChange?, _ settings: ConsumerGroupSettings
    ) -> Bool {
        !settings.offloadsAssignors
            || group.assignmentCost(with: change, in: self.image) <= self.config.maxAssignedAtOnce
    }

    // MARK: Members that go

    /// Takes members out, and, where those who stay all use the classic protocol, makes a classic group of the rest.
    /// - Parameter retry: the timer to set again if it cannot be stored.
    mutating func removeMembers(
        _ removed: [ConsumerGroupMember], from group: ConsumerGroup, retry: TimerKey?, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        guard !removed.isEmpty else { return }
        if let classic = self.downgraded(group, without: removed, now) {
            effects.records += ConsumerGroupRecords.tombstones(of: group)
            effects.records.append(GroupRecords.groupMetadata(group.groupID, classic.value(nowMs: now.wallMs)))
            effects.continuation = .downgraded(
                Downgrade(
                    classic: classic, former: Array(group.members.keys), joined: nil, rebalances: true, retry: retry))
            return
        }
        for member in removed { effects.records += ConsumerGroupRecords.removal(group.groupID, member.memberID) }
        let left = group.regexes(with: nil, without: removed)
        for regex in group.resolvedRegexes.keys.sorted() where left[regex] == nil {
            effects.records.append(ConsumerGroupRecords.regex(group.groupID, regex, nil))
        }
        self.appendEpoch(
            group.nextEpoch, of: group, topics: group.topics(with: nil, without: removed), &effects.records)
        effects.continuation = .membersRemoved(group.groupID, removed.map(\.memberID), retry: retry)
        if removed.count < group.members.count, !group.isAssigning {
            let settings = self.image.settings(of: group.groupID)
            effects.setTimer(
                .consumerGroup(group.groupID, .assignment),
                afterMs: group.assignmentDelayMs(settings, nowMs: now.wallMs))
        }
    }

    func cancelTimers(of memberID: String, _ groupID: String, _ effects: inout GroupEffects) {
        effects.cancelTimer(.consumerGroup(groupID, .session(memberID)))
        effects.cancelTimer(.consumerGroup(groupID, .rebalance(memberID)))
        effects.cancelTimer(.consumerGroup(groupID, .join(memberID)))
        effects.cancelTimer(.consumerGroup(groupID, .sync(memberID)))
    }

    // MARK: Timers

    /// After an append that failed.
    static let retryMs: Int64 = 500

    mutating func consumerTimerFired(
        _ groupID: String, _ key: ConsumerGroup.TimerKey, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        guard let group = self.consumerGroups[groupID] else { return }
        func fence(
            _ memberID: String, _ reason: String, when isRight: (ConsumerGroupMember) -> Bool = { _ in true }
        ) {
            guard let member = group.members[memberID], isRight(member) else { return }
            effects.notes.append("Group \(groupID) fences \(memberID): \(reason)")
            self.removeMembers(
                [member], from: group, retry: .consumerGroup(groupID, key), now, &effects)
        }
        switch key {
        case .session(let memberID):
            fence(memberID, "the member session expired")
        case .rebalance(let memberID):
            fence(memberID, "it did not give up its partitions in time", when: { $0.state == .unrevokedPartitions })
        case .join(let memberID):
            fence(
                memberID, "the classic member failed to join within the rebalance timeout", when: \.usesClassicProtocol)
        case .sync(let memberID):
            fence(memberID, "the member failed to sync within timeout", when: \.usesClassicProtocol)
        case .assignment:
            self.assign(group, now, &effects)
        case .metadata:
            self.refreshMetadata(of: group, now, &effects)
        case .regexes:
            self.resolveRegexes(of: group, now, &effects)
        }
    }

    /// The time for a new target assignment has come.
    private mutating func assign(
        _ group: ConsumerGroup, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        guard group.epoch > group.assignmentEpoch, !group.isEmpty, !group.isAssigning else { return }
        let key = TimerKey.consumerGroup(group.groupID, .assignment)
        let settings = self.image.settings(of: group.groupID)
        let delayMs = group.assignmentDelayMs(settings, nowMs: now.wallMs)
        guard delayMs == 0 else { return effects.setTimer(key, afterMs: delayMs) }
        let assignor = group.preferredAssignor(self.config.consumerAssignors, with: nil)
        if self.assignsAtOnce(group, nil, settings) {
            let targets = assignor.assign(group.assignmentInput(with: nil, in: self.image))
            effects.records += group.targetRecords(
                targets.mapValues { PartitionSet($0) }, members: group.members.keys, epoch: group.epoch,
                timestampMs: now.wallMs, before: { group.targets[$0] ?? PartitionSet() })
            effects.continuation = .retried(key)
        } else {
            self.nextToken &+= 1
            self.consumerGroups[group.groupID]?.assigningToken = self.nextToken
            effects.work.append(.assign(group, assignor, self.image, token: self.nextToken))
        }
    }

    /// The target assignment is there. The group may have changed while it was computed: who has gone is left out, who
    /// took a static member's place takes its target. What else has changed waits for the next one.
    private mutating func assigned(
        _ groupID: String, epoch: Int32, _ result: AssignedTargets, token: UInt64, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        guard let group = self.consumerGroups[groupID], group.assigningToken == token else { return }
        self.consumerGroups[groupID]?.assigningToken = nil
        let key = TimerKey.consumerGroup(groupID, .assignment)
        // Not reached: nobody else assigns meanwhile.
        guard epoch > group.assignmentEpoch else { return effects.setTimer(key, afterMs: 0) }
        var targets: [String: PartitionSet] = [:]
        for (memberID, target) in result.targets {
            if group.members[memberID] != nil {
                targets[memberID] = target
            } else if let successor = result.instances[memberID].flatMap({ group.staticMembers[$0] }) {
                targets[successor] = target
            }
        }
        effects.records += group.targetRecords(
            targets, members: group.members.keys, epoch: epoch, timestampMs: now.wallMs,
            before: { group.targets[$0] ?? PartitionSet() })
        effects.continuation = .retried(key)
        if group.epoch > epoch {
            effects.setTimer(key, afterMs: Int64(self.image.settings(of: groupID).assignmentIntervalMs))
        }
    }

    // MARK: Work

    package mutating func workDone(_ result: GroupWorkResult, now: CoordinatorTime, effects: inout GroupEffects) {
        switch result {
        case .assigned(let groupID, let epoch, let targets, let token):
            self.assigned(groupID, epoch: epoch, targets, token: token, now, &effects)
        case .resolved(let groupID, let regexes, let revision, let token):
            self.resolved(groupID, regexes, revision: revision, token: token, now, &effects)
        }
    }

    // MARK: Topics that change

    /// The topics of the groups are not what they were, or the settings are not.
    mutating func metadataChanged(
        _ image: GroupMetadataImage, _ topics: ChangedTopics, _ effects: inout GroupEffects
    ) {
        guard image.revision >= self.image.revision else { return }
        self.image = image
        for (groupID, group) in self.consumerGroups where !group.isEmpty {
            let isConcerned =
                switch topics {
                case .all: true
                case .these(let names): names.contains { group.isSubscribed(to: $0) }
                }
            if isConcerned { effects.setTimer(.consumerGroup(groupID, .metadata), afterMs: 0) }
            if !group.regexCounts.isEmpty {
                effects.setTimer(.consumerGroup(groupID, .regexes), afterMs: 0)
            }
        }
    }

    private mutating func refreshMetadata(
        of group: ConsumerGroup, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        let topics = group.subscribedTopics
        guard !group.isEmpty, MetadataHash.hash(of: topics, in: self.image) != group.metadataHash else { return }
        self.appendEpoch(group.nextEpoch, of: group, topics: topics, &effects.records)
        effects.continuation = .retried(.consumerGroup(group.groupID, .metadata))
        self.scheduleAssignment(of: group, now, &effects)
    }

    func scheduleAssignment(of group: ConsumerGroup, _ now: CoordinatorTime, _ effects: inout GroupEffects) {
        guard !group.isAssigning else { return }
        effects.setTimer(
            .consumerGroup(group.groupID, .assignment),
            afterMs: group.assignmentDelayMs(self.image.settings(of: group.groupID), nowMs: now.wallMs))
    }
}

/// Which topics are not what they were.
package enum ChangedTopics: Sendable {
    case all
    case these([String])
}

extension ConsumerGroup {
    var isAssigning: Bool { self.assigningToken != nil }

    /// An epoch that has come to its end stays there: a group would have to change every millisecond for a month.
    var nextEpoch: Int32 { self.epoch == .max ? .max : self.epoch + 1 }
}
