import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    // MARK: OffsetCommit

    /// Topics come by name; the id, where it is known, is stored beside the offset.
    mutating func offsetCommit(
        _ request: OffsetCommitRequest, _ apiVersion: Int16, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        if let error = self.validateCommit(request, apiVersion) {
            effects.reply(ticket, .offsetCommit(OffsetCommitResponse(refusing: request, error)))
            return
        }
        if let group = self.groups[request.groupID], group.state == .stable || group.state == .preparingRebalance {
            group.touch(request.memberID, effects: &effects)
        }
        let expireTimestampMs: Int64? =
            request.retentionTimeMs == -1
            ? nil : now.wallMs.addingReportingOverflow(request.retentionTimeMs).partialValue
        var response = OffsetCommitResponse()
        response.topics = request.topics.map { topic in
            var topicResponse = OffsetCommitResponse.Topic()
            topicResponse.name = topic.name
            topicResponse.topicID = topic.topicID
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetCommitResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                let metadata = partition.committedMetadata ?? ""
                if metadata.utf16.count > Int(self.config.offsetMetadataMaxSize) {
                    partitionResponse.errorCode = .offsetMetadataTooLarge
                } else {
                    effects.records.append(
                        GroupRecords.offsetCommit(
                            request.groupID, topic: topic.name, partition: partition.partitionIndex,
                            CommittedOffset(
                                offset: partition.committedOffset, leaderEpoch: partition.committedLeaderEpoch,
                                metadata: metadata, commitTimestampMs: now.wallMs,
                                expireTimestampMs: expireTimestampMs, topicID: topic.topicID)))
                }
                return partitionResponse
            }
            return topicResponse
        }
        effects.reply(ticket, .offsetCommit(response))
    }

    private func validateCommit(_ request: OffsetCommitRequest, _ apiVersion: Int16) -> ErrorCode? {
        let generation = request.generationIDOrMemberEpoch
        if let error = self.refusalOfCommit(request.groupID, generation: generation) { return error }
        guard let group = self.groups[request.groupID] else {
            // Without a generation: a program that only stores its offsets here. Its group comes into being.
            if generation < 0 { return nil }
            return apiVersion >= 9 ? .groupIDNotFound : .illegalGeneration
        }
        if generation < 0 && group.state == .empty { return nil }
        guard generation >= 0 || !request.memberID.isEmpty || request.groupInstanceID != nil else {
            // Not a member, and the group has members.
            return .unknownMemberID
        }
        if let error = group.validate(
            memberID: request.memberID, instanceID: request.groupInstanceID, generation: generation)
        {
            return error
        }
        // It knows the new generation and commits before it has its assignment: it cannot own a partition.
        return group.state == .completingRebalance ? .rebalanceInProgress : nil
    }

    // MARK: OffsetFetch

    /// Null topics are all topics. A group that is not there has no offsets; that is not an error.
    /// - Parameter requireStable: an offset that a transaction may be about to change is an error (KIP-447).
    mutating func offsetFetch(
        _ request: OffsetFetchRequest.Group, requireStable: Bool, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        var response = OffsetFetchResponse.Group()
        response.groupID = request.groupID
        let committed = self.offsets[request.groupID]
        let pending = self.pendingOffsets
        func isUnstable(_ topic: String, _ index: Int32) -> Bool {
            requireStable && pending.contains(request.groupID, topic, index)
        }
        if let topics = request.topics {
            response.topics = topics.map { topic in
                let partitions = committed?[topic.name]
                var topicResponse = OffsetFetchResponse.Topics()
                topicResponse.name = topic.name
                topicResponse.topicID = topic.topicID
                topicResponse.partitions = topic.partitionIndexes.map { index in
                    if isUnstable(topic.name, index) { return Self.unstable(index) }
                    return Self.fetched(index, partitions?[index].flatMap { $0.belongs(to: topic.topicID) ? $0 : nil })
                }
                return topicResponse
            }
        } else if let committed {
            response.topics = committed.sorted { $0.key < $1.key }.map { name, partitions in
                var topicResponse = OffsetFetchResponse.Topics()
                topicResponse.name = name
                topicResponse.partitions = partitions.sorted { $0.key < $1.key }.map { index, committed in
                    isUnstable(name, index) ? Self.unstable(index) : Self.fetched(index, committed)
                }
                return topicResponse
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
        guard !request.groupID.isEmpty else {
            response.errorCode = .invalidGroupID
            return effects.reply(ticket, .offsetDelete(response))
        }
        let group = self.groups[request.groupID]
        let other = self.otherGroups[request.groupID]
        guard group != nil || other?.kind == .consumer else {
            response.errorCode = .groupIDNotFound
            return effects.reply(ticket, .offsetDelete(response))
        }
        // What the members of other kinds of groups are about is not known.
        guard group.map({ $0.state == .empty || $0.usesConsumerProtocol }) ?? (other?.isEmpty == true) else {
            response.errorCode = .nonEmptyGroup
            return effects.reply(ticket, .offsetDelete(response))
        }
        response.topics = request.topics.map { topic in
            var topicResponse = OffsetDeleteResponse.Topic()
            topicResponse.name = topic.name
            let isSubscribed = group?.isSubscribed(to: topic.name) ?? false
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetDeleteResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                if isSubscribed {
                    partitionResponse.errorCode = .groupSubscribedToTopic
                } else if self.offsets[request.groupID]?[topic.name]?[partition.partitionIndex] != nil
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
        var affected: [String] = []
        for (groupID, committed) in self.offsets.groups where topics.contains(where: { committed[$0.name] != nil }) {
            affected.append(groupID)
        }
        for groupID in affected.sorted() {
            for topic in topics {
                let partitions = self.offsets[groupID]?[topic.name] ?? [:]
                for (partition, offset) in partitions.sorted(by: { $0.key < $1.key })
                where offset.belongs(to: topic.topicID) {
                    effects.records.append(
                        GroupRecords.offsetCommit(groupID, topic: topic.name, partition: partition, nil))
                }
            }
        }
        let names = Set(topics.map(\.name))
        for groupID in self.pendingOffsets.groups.sorted() {
            for (topic, partition) in self.pendingOffsets.partitions(of: groupID)
            where names.contains(topic) && self.offsets[groupID]?[topic]?[partition] == nil {
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
            let others = self.otherGroups.filter { $0.value.kind == .consumer && $0.value.isEmpty }.keys
            self.expirationQueue = (Array(self.groups.keys) + others).sorted(by: >)
        }
        while effects.records.count < self.config.maxExpiredOffsetsAPass, let groupID = self.expirationQueue.popLast() {
            guard let group = self.groups[groupID] else {
                if self.otherGroups[groupID]?.isEmpty == true, self.expireSingleOffsets(of: groupID, now, &effects) {
                    effects.records += OtherGroup.tombstones(ofConsumerGroup: groupID)
                }
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
        guard let committed = self.offsets[group.groupID] else { return !self.pendingOffsets.contains(group.groupID) }
        // An empty group keeps its offsets for the retention time after its last member left; members keep those
        // of the topics that they subscribe to; a group without members ever counts from each commit.
        let countsFromState: Bool
        if group.protocolType == nil {
            countsFromState = false
        } else if group.state == .empty {
            countsFromState = true
        } else if group.usesConsumerProtocol && group.subscribedTopics != nil && group.state == .stable {
            countsFromState = false
        } else {
            return false
        }
        var allExpired = !self.pendingOffsets.contains(group.groupID)
        for (topic, partitions) in committed.sorted(by: { $0.key < $1.key }) {
            if group.isSubscribed(to: topic) {
                allExpired = false
                continue
            }
            for (partition, offset) in partitions.sorted(by: { $0.key < $1.key })
            where !self.pendingOffsets.contains(group.groupID, topic, partition) {
                let base =
                    countsFromState
                    ? group.currentStateTimestampMs ?? offset.commitTimestampMs : offset.commitTimestampMs
                if offset.isExpired(base: base, now: now.wallMs, retentionMs: self.config.offsetsRetentionMs) {
                    effects.records.append(
                        GroupRecords.offsetCommit(group.groupID, topic: topic, partition: partition, nil))
                } else {
                    allExpired = false
                }
            }
        }
        return allExpired
    }

    /// Of an empty consumer group (KIP-848), whose offsets each count from their commit. Returns whether no offset is left.
    private func expireSingleOffsets(
        of groupID: String, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) -> Bool {
        var allExpired = !self.pendingOffsets.contains(groupID)
        for (topic, partitions) in (self.offsets[groupID] ?? [:]).sorted(by: { $0.key < $1.key }) {
            for (partition, offset) in partitions.sorted(by: { $0.key < $1.key })
            where !self.pendingOffsets.contains(groupID, topic, partition) {
                if offset.isExpired(
                    base: offset.commitTimestampMs, now: now.wallMs, retentionMs: self.config.offsetsRetentionMs)
                {
                    effects.records.append(GroupRecords.offsetCommit(groupID, topic: topic, partition: partition, nil))
                } else {
                    allExpired = false
                }
            }
        }
        return allExpired
    }
}
