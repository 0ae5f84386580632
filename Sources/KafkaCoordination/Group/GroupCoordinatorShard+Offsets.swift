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
    mutating func offsetFetch(
        _ request: OffsetFetchRequest.Group, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        var response = OffsetFetchResponse.Group()
        response.groupID = request.groupID
        let committed = self.offsets[request.groupID]
        if let topics = request.topics {
            response.topics = topics.map { topic in
                let partitions = committed?[topic.name]
                var topicResponse = OffsetFetchResponse.Topics()
                topicResponse.name = topic.name
                topicResponse.topicID = topic.topicID
                topicResponse.partitions = topic.partitionIndexes.map { index in
                    Self.fetched(index, partitions?[index].flatMap { $0.belongs(to: topic.topicID) ? $0 : nil })
                }
                return topicResponse
            }
        } else if let committed {
            response.topics = committed.sorted { $0.key < $1.key }.map { name, partitions in
                var topicResponse = OffsetFetchResponse.Topics()
                topicResponse.name = name
                topicResponse.partitions = partitions.sorted { $0.key < $1.key }.map(Self.fetched)
                return topicResponse
            }
        }
        effects.readsState = true
        effects.reply(ticket, .offsetFetch(response))
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
        guard let group = self.groups[request.groupID] else {
            response.errorCode = .groupIDNotFound
            return effects.reply(ticket, .offsetDelete(response))
        }
        // What the members of other kinds of groups are about is not known.
        guard group.state == .empty || group.usesConsumerProtocol else {
            response.errorCode = .nonEmptyGroup
            return effects.reply(ticket, .offsetDelete(response))
        }
        response.topics = request.topics.map { topic in
            var topicResponse = OffsetDeleteResponse.Topic()
            topicResponse.name = topic.name
            let isSubscribed = group.isSubscribed(to: topic.name)
            topicResponse.partitions = topic.partitions.map { partition in
                var partitionResponse = OffsetDeleteResponse.Partition()
                partitionResponse.partitionIndex = partition.partitionIndex
                if isSubscribed {
                    partitionResponse.errorCode = .groupSubscribedToTopic
                } else if self.offsets[request.groupID]?[topic.name]?[partition.partitionIndex] != nil {
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
        effects.isAtomic = false
        effects.reply(ticket, .topicsDeleted(.none))
    }

    /// One pass over the groups, or a part of one: writes tombstones for offsets whose retention is over and for
    /// empty groups that have none left.
    mutating func expireOffsets(_ now: CoordinatorTime, _ effects: inout GroupEffects) {
        if self.expirationQueue.isEmpty { self.expirationQueue = self.groups.keys.sorted(by: >) }
        while effects.records.count < self.config.maxExpiredOffsetsAPass, let groupID = self.expirationQueue.popLast() {
            guard let group = self.groups[groupID] else { continue }
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
        guard let committed = self.offsets[group.groupID] else { return true }
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
        var allExpired = true
        for (topic, partitions) in committed.sorted(by: { $0.key < $1.key }) {
            if group.isSubscribed(to: topic) {
                allExpired = false
                continue
            }
            for (partition, offset) in partitions.sorted(by: { $0.key < $1.key }) {
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
}
