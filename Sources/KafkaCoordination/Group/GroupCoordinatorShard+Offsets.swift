import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    // MARK: OffsetFetch

    /// Null topics are all topics. A group that is not there has no offsets; that is not an error.
    /// - Parameter requireStable: an offset that a transaction may be about to change is an error (KIP-447).
    mutating func offsetFetch(
        _ request: OffsetFetchRequest.Group, requireStable: Bool, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        var response = OffsetFetchResponse.Group()
        response.groupID = request.groupID
        if let error = self.refusalOfConsumerFetch(
            request.groupID, memberID: request.memberID, epoch: request.memberEpoch)
        {
            response.errorCode = error
            return effects.reply(ticket, .offsetFetch(response))
        }
        let (offsets, pending) = (self.offsets, self.pendingOffsets)
        func isUnstable(_ topic: String, _ index: Int32) -> Bool {
            requireStable && pending.contains(request.groupID, topic, index)
        }
        if let topics = request.topics {
            response.topics = topics.map { topic in
                var topicResponse = OffsetFetchResponse.Topics()
                topicResponse.name = topic.name
                topicResponse.topicID = topic.topicID
                topicResponse.partitions = topic.partitionIndexes.map { index in
                    if isUnstable(topic.name, index) { return Self.unstable(index) }
                    let committed = offsets[request.groupID, topic.name, index]
                    return Self.fetched(index, committed.flatMap { $0.belongs(to: topic.topicID) ? $0 : nil })
                }
                return topicResponse
            }
        } else {
            for at in offsets.partitions(of: request.groupID) {
                if response.topics.last?.name != at.topic {
                    var topic = OffsetFetchResponse.Topics()
                    topic.name = at.topic
                    response.topics.append(topic)
                }
                response.topics[response.topics.count - 1].partitions.append(
                    isUnstable(at.topic, at.partition)
                        ? Self.unstable(at.partition) : Self.fetched(at.partition, at.committed))
            }
        }
        effects.readsState = true
        effects.reply(ticket, .offsetFetch(response))
    }

    private static func unstable(_ index: Int32) -> OffsetFetchResponse.Partitions {
        var response = Self.fetched(index, nil)
        response.errorCode = .unstableOffsetCommit
        return response
    }

    private static func fetched(_ index: Int32, _ committed: CommittedOffset?) -> OffsetFetchResponse.Partitions {
        var response = OffsetFetchResponse.Partitions()
        response.partitionIndex = index
        response.committedOffset = committed?.offset ?? -1
        response.committedLeaderEpoch = committed?.leaderEpoch ?? -1
        response.metadata = committed?.metadata ?? ""
        return response
    }

    // MARK: OffsetDelete

    mutating func offsetDelete(
        _ request: OffsetDeleteRequest, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        var response = OffsetDeleteResponse()
        // What is not there may be gone by a tombstone that is not committed yet.
        effects.readsState = true
        guard !request.groupID.isEmpty else {
            response.errorCode = .invalidGroupID
            return effects.reply(ticket, .offsetDelete(response))
        }
        let group = self.groups[request.groupID]
        let consumerGroup = self.consumerGroups[request.groupID]
        guard group != nil || consumerGroup != nil else {
            response.errorCode = .groupIDNotFound
            return effects.reply(ticket, .offsetDelete(response))
        }
        // What the members of other kinds of groups are about is not known.
        guard group.map({ $0.state == .empty || $0.usesConsumerProtocol }) ?? true else {
            response.errorCode = .nonEmptyGroup
            return effects.reply(ticket, .offsetDelete(response))
        }
        response.topics = request.topics.map { topic in
            var topicResponse = OffsetDeleteResponse.Topic()
            topicResponse.name = topic.name
            let isSubscribed =
                group?.isSubscribed(to: topic.name) ?? consumerGroup?.isSubscribed(to: topic.name) ?? false
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetDeleteResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                if isSubscribed {
                    partitionResponse.errorCode = .groupSubscribedToTopic
                } else if self.offsets[request.groupID, topic.name, partition.partitionIndex] != nil
                    || self.pendingOffsets.contains(request.groupID, topic.name, partition.partitionIndex)
                {
                    effects.records.append(
                        GroupRecords.offsetCommit(
                            request.groupID, topic: topic.name, partition: partition.partitionIndex, nil))
                }
                return partitionResponse
            }
            return topicResponse
        }
        effects.isAtomic = false
        effects.reply(ticket, .offsetDelete(response))
    }

    // MARK: Deleted topics, expiry

    /// Between two parts of a pass over the offsets.
    static let expirationPauseMs: Int64 = 10

    /// Drops all offsets of topics that are gone.
    mutating func topicsDeleted(
        _ topics: [DeletedTopic], _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        let names = Set(topics.map(\.name))
        for (groupID, at) in self.offsets.partitions(ofTopics: names)
        where topics.contains(where: { $0.name == at.topic && at.committed.belongs(to: $0.topicID) }) {
            effects.records.append(GroupRecords.offsetCommit(groupID, topic: at.topic, partition: at.partition, nil))
        }
        for groupID in self.pendingOffsets.groups.sorted() {
            for (topic, partition) in self.pendingOffsets.partitions(of: groupID)
            where names.contains(topic) && self.offsets[groupID, topic, partition] == nil {
                effects.records.append(GroupRecords.offsetCommit(groupID, topic: topic, partition: partition, nil))
            }
        }
        effects.isAtomic = false
        effects.reply(ticket, .topicsDeleted(.none))
    }

    /// One pass over the groups, or a part of one: writes tombstones for offsets whose retention is over and for
    /// empty groups that have none left.
    mutating func expireOffsets(_ now: CoordinatorTime, _ effects: inout GroupEffects) {
        if self.expirationQueue.isEmpty {
            self.expirationQueue = (Array(self.groups.keys) + Array(self.consumerGroups.keys)).sorted(by: >)
        }
        var looked = 0
        while effects.records.count < self.config.maxExpiredOffsetsAPass, looked < self.config.maxOffsetsLookedAtAPass,
            let groupID = self.expirationQueue.popLast()
        {
            looked += 1 + self.offsets.count(of: groupID)
            guard let group = self.groups[groupID] else {
                // Of a consumer group (KIP-848) each counts from its commit; those of its members' topics are kept.
                guard let group = self.consumerGroups[groupID] else { continue }
                let areGone = self.expireOffsets(
                    of: groupID, now, &effects, isSubscribed: group.isSubscribed, base: { $0.commitTimestampMs })
                if areGone, group.isEmpty { effects.records += ConsumerGroupRecords.tombstones(of: group) }
                continue
            }
            if self.expireOffsets(of: group, now, &effects), group.state == .empty, group.pendingJoinMembers.isEmpty {
                effects.records.append(GroupRecords.groupMetadata(groupID, nil))
            }
        }
        effects.isAtomic = false
        effects.setTimer(
            .offsetExpiration,
            afterMs: self.expirationQueue.isEmpty
                ? self.config.offsetsRetentionCheckIntervalMs : Self.expirationPauseMs)
    }

    /// Returns whether no offset is left.
    private func expireOffsets(
        of group: ClassicGroup, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) -> Bool {
        let groupID = group.groupID
        guard self.offsets.contains(groupID) else { return !self.pendingOffsets.contains(groupID) }
        // A group without members ever, which has no protocol type, counts from each commit; so does one with members, for
        // topics that they do not subscribe to. An empty one counts from when its last member left.
        if group.protocolType == nil {
            return self.expireOffsets(of: groupID, now, &effects, base: { $0.commitTimestampMs })
        }
        if group.state == .empty {
            return self.expireOffsets(
                of: groupID, now, &effects, isSubscribed: group.isSubscribed,
                base: { group.currentStateTimestampMs ?? $0.commitTimestampMs })
        }
        guard group.usesConsumerProtocol, group.subscribedTopics != nil, group.state == .stable else { return false }
        return self.expireOffsets(
            of: groupID, now, &effects, isSubscribed: group.isSubscribed, base: { $0.commitTimestampMs })
    }

    /// Those whose retention is over since `base`, with no transaction that may be about to change them. Returns whether
    /// no offset is left.
    private func expireOffsets(
        of groupID: String, _ now: CoordinatorTime, _ effects: inout GroupEffects,
        isSubscribed: (_ topic: String) -> Bool = { _ in false }, base: (CommittedOffset) -> Int64
    ) -> Bool {
        let expired = self.offsets.partitions(of: groupID) { at in
            at.committed.isExpired(
                base: base(at.committed), now: now.wallMs, retentionMs: self.config.offsetsRetentionMs)
                && !isSubscribed(at.topic) && !self.pendingOffsets.contains(groupID, at.topic, at.partition)
        }
        for at in expired {
            effects.records.append(GroupRecords.offsetCommit(groupID, topic: at.topic, partition: at.partition, nil))
        }
        return expired.count == self.offsets.count(of: groupID) && !self.pendingOffsets.contains(groupID)
    }
}
