import KafkaMessages
import KafkaPrimitives

/// The groups of one partition of `__consumer_offsets`, and their offsets.
///
/// Requests come in by `decide`, one function an API in the extensions of this type; what they do to a group's
/// members is `ClassicGroup`'s business. Stored state changes in `replay` alone.
package struct GroupCoordinatorShard: CoordinatorShard {
    package enum Request: Sendable {
        case joinGroup(JoinGroupRequest, RequestOrigin)
        case syncGroup(SyncGroupRequest)
        case heartbeat(HeartbeatRequest)
        case leaveGroup(LeaveGroupRequest)
        case offsetCommit(OffsetCommitRequest, apiVersion: Int16)
        /// With the ids of its topics, which the request has not, and what the log is to be shown of its transaction.
        case transactionalOffsetCommit(
            TxnOffsetCommitRequest, topicIDs: [String: KafkaUUID], verification: OffsetVerification, apiVersion: Int16)
        case offsetFetch(OffsetFetchRequest.Group, requireStable: Bool)
        case offsetDelete(OffsetDeleteRequest)
        case describeGroups([String], apiVersion: Int16)
        case listGroups(ListGroupsRequest)
        case deleteGroups([String])
        /// Not a request of a client: topics are gone.
        case topicsDeleted([DeletedTopic])
        case consumerGroupHeartbeat(ConsumerGroupHeartbeatRequest, RequestOrigin)
        case consumerGroupDescribe([String])
        /// Not a request of a client: topics or settings have changed.
        case metadataChanged(GroupMetadataImage, ChangedTopics)
    }

    package enum Reply: Sendable, Equatable {
        case joinGroup(JoinGroupResponse)
        case syncGroup(SyncGroupResponse)
        case heartbeat(HeartbeatResponse)
        case leaveGroup(LeaveGroupResponse)
        case offsetCommit(OffsetCommitResponse)
        case transactionalOffsetCommit(TxnOffsetCommitResponse)
        case offsetFetch(OffsetFetchResponse.Group)
        case offsetDelete(OffsetDeleteResponse)
        case describeGroups([DescribeGroupsResponse.DescribedGroup])
        case listGroups(ListGroupsResponse)
        case deleteGroups([DeleteGroupsResponse.DeletableGroupResult])
        case topicsDeleted(ErrorCode)
        case consumerGroupHeartbeat(ConsumerGroupHeartbeatResponse)
        case consumerGroupDescribe([ConsumerGroupDescribeResponse.DescribedGroup])
        case metadataChanged
    }

    package enum TimerKey: Hashable, Sendable {
        case group(String, ClassicGroup.TimerKey)
        case consumerGroup(String, ConsumerGroup.TimerKey)
        /// The periodic look for offsets whose retention is over.
        case offsetExpiration
    }

    package enum Continuation: Sendable {
        /// The group did not exist; now it does.
        case joinCreated(JoinGroupRequest, RequestOrigin, ReplyTicket)
        case group(String, GroupContinuation)
        /// Members of a consumer group have gone; what to try again if they could not.
        case membersRemoved(String, [String], retry: TimerKey?)
        /// A timer's work; the timer is set again if it could not be stored.
        case retried(TimerKey)
        /// A classic group with members became a consumer group, or the other way round.
        case upgraded(ClassicGroup)
        case downgraded(Downgrade)
    }

    package enum GroupContinuation: Sendable {
        case assigned
        case staticMemberReplaced(StaticReplacement)
        case becameEmpty(GroupMetadataValue)
    }

    package typealias Work = GroupWork
    package typealias WorkResult = GroupWorkResult

    /// A topic that was deleted; zero where its id is not known.
    package struct DeletedTopic: Sendable, Equatable {
        package var name: String
        package var topicID: KafkaUUID

        package init(name: String, topicID: KafkaUUID = .zero) {
            self.name = name
            self.topicID = topicID
        }
    }

    package let config: GroupCoordinatorConfig
    package internal(set) var groups: [String: ClassicGroup] = [:]
    package internal(set) var offsets = CommittedOffsets()
    package internal(set) var pendingOffsets = PendingOffsets()
    /// Groups of KIP-848, by id. No id is in two of the tables.
    package internal(set) var consumerGroups: [String: ConsumerGroup] = [:]
    /// Share and streams groups, by id.
    package internal(set) var otherGroups: [String: OtherGroup] = [:]
    /// Records of kinds that are not ours: left alone.
    package internal(set) var unknownRecordCount = 0
    package internal(set) var malformedRecordCount = 0
    /// Where the expiry goes on when one pass did not see all groups.
    var expirationQueue: [String] = []
    /// Topics and settings, as the broker told last.
    package internal(set) var image = GroupMetadataImage.empty
    /// Names work that is done outside of the shard.
    var nextToken: UInt64 = 0

    package init(config: GroupCoordinatorConfig) {
        self.config = config
    }

    package mutating func decide(
        _ request: Request, ticket: ReplyTicket, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        switch request {
        case .heartbeat(let request): self.heartbeat(request, ticket, &effects)
        case .joinGroup(let request, let origin): self.joinGroup(request, origin, ticket, now, &effects)
        case .syncGroup(let request): self.syncGroup(request, ticket, now, &effects)
        case .leaveGroup(let request): self.leaveGroup(request, ticket, now, &effects)
        case .offsetCommit(let request, let version): self.offsetCommit(request, version, ticket, now, &effects)
        case .transactionalOffsetCommit(let request, let topicIDs, let verification, let version):
            self.transactionalOffsetCommit(request, topicIDs, verification, version, ticket, now, &effects)
        case .offsetFetch(let request, let requireStable):
            self.offsetFetch(request, requireStable: requireStable, ticket, &effects)
        case .offsetDelete(let request): self.offsetDelete(request, ticket, &effects)
        case .describeGroups(let groups, let version): self.describeGroups(groups, version, ticket, &effects)
        case .listGroups(let request): self.listGroups(request, ticket, &effects)
        case .deleteGroups(let groups): self.deleteGroups(groups, ticket, &effects)
        case .topicsDeleted(let topics): self.topicsDeleted(topics, ticket, &effects)
        case .consumerGroupHeartbeat(let request, let origin):
            self.consumerGroupHeartbeat(request, origin, ticket, now, &effects)
        case .consumerGroupDescribe(let groups): self.describeConsumerGroups(groups, ticket, &effects)
        case .metadataChanged(let image, let topics):
            self.metadataChanged(image, topics, &effects)
            effects.reply(ticket, .metadataChanged)
        }
    }

    package mutating func timerFired(_ key: TimerKey, now: CoordinatorTime, effects: inout GroupEffects) {
        switch key {
        case .group(let groupID, .session(let memberID)):
            self.groups[groupID]?.sessionTimerFired(memberID, config: self.config, now: now, effects: &effects)
        case .group(let groupID, .join):
            self.groups[groupID]?.joinTimerFired(config: self.config, now: now, effects: &effects)
        case .group(let groupID, .sync):
            self.groups[groupID]?.syncTimerFired(config: self.config, now: now, effects: &effects)
        case .consumerGroup(let groupID, let key):
            self.consumerTimerFired(groupID, key, now: now, effects: &effects)
        case .offsetExpiration:
            self.expireOffsets(now, &effects)
        }
    }

    package mutating func appended(
        _ continuation: Continuation, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        switch continuation {
        case .joinCreated(let request, let origin, let ticket):
            self.groups[request.groupID]?.join(
                request, origin: origin, ticket: ticket, config: self.config, now: now, effects: &effects)
        case .group(let groupID, .assigned):
            self.groups[groupID]?.assigned(effects: &effects)
        case .group(let groupID, .staticMemberReplaced(let replacement)):
            self.groups[groupID]?.staticMemberReplaced(replacement, effects: &effects)
        case .group(_, .becameEmpty), .retried:
            break
        case .membersRemoved(let groupID, let memberIDs, _):
            for memberID in memberIDs { self.cancelTimers(of: memberID, groupID, &effects) }
        case .upgraded(let classic):
            self.upgraded(classic, &effects)
        case .downgraded(let downgrade):
            self.downgraded(downgrade, now, &effects)
        }
    }

    package mutating func appendFailed(
        _ continuation: Continuation, error: ErrorCode, now: CoordinatorTime, effects: inout GroupEffects
    ) {
        switch continuation {
        case .joinCreated(let request, _, let ticket):
            effects.reply(ticket, .joinGroup(.failure(error, memberID: request.memberID)))
        case .group(let groupID, .assigned):
            self.groups[groupID]?.assignmentFailed(error, config: self.config, now: now, effects: &effects)
        case .group(_, .staticMemberReplaced(let replacement)):
            effects.reply(replacement.ticket, .joinGroup(.failure(error, memberID: "")))
        case .group(let groupID, .becameEmpty(let value)):
            // There is nobody to tell. After a crash the generation before comes back, with members that will
            // not be heard of.
            self.groups[groupID]?.replay(value)
        case .membersRemoved(_, _, let retry):
            if let retry { effects.setTimer(retry, afterMs: Self.retryMs) }
        case .retried(let key):
            effects.setTimer(key, afterMs: Self.retryMs)
        case .upgraded:
            break
        case .downgraded(let downgrade):
            if let retry = downgrade.retry { effects.setTimer(retry, afterMs: Self.retryMs) }
            if let joined = downgrade.joined {
                effects.reply(joined.ticket, .joinGroup(.failure(error, memberID: joined.response.memberID)))
            }
        }
    }

    /// Sessions begin anew: a member has its whole timeout to find this coordinator.
    package mutating func loaded(now: CoordinatorTime, effects: inout GroupEffects) {
        for groupID in self.groups.keys.sorted() {
            guard let group = self.groups[groupID] else { continue }
            for member in group.orderedMembers {
                effects.setTimer(
                    .group(groupID, .session(member.memberID)), afterMs: Int64(member.sessionTimeoutMs))
            }
            if group.members.count > Int(self.config.maxSize) {
                self.groups[groupID]?.prepareRebalance(
                    "loaded with more members than group.max.size", self.config, now, &effects)
            }
        }
        self.armConsumerGroups(now, &effects)
        effects.setTimer(.offsetExpiration, afterMs: self.config.offsetsRetentionCheckIntervalMs)
    }

    package mutating func unloaded(effects: inout GroupEffects) {
        for groupID in self.groups.keys.sorted() { self.groups[groupID]?.unload(effects: &effects) }
    }

    /// The only way in which stored state changes, in life as on load.
    package mutating func replay(_ record: CoordinatorRecord, offset: Int64, producerID: Int64?) -> Bool {
        self.replay(GroupRecords.parse(record), offset: offset, producerID: producerID)
    }

    package mutating func replay(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?, offset: Int64, producerID: Int64?
    ) -> Bool {
        self.replay(GroupRecords.parse(key: key, value: value), offset: offset, producerID: producerID)
    }

    private mutating func replay(_ record: GroupRecords.Parsed, offset: Int64, producerID: Int64?) -> Bool {
        switch record {
        case .offsetCommit(let groupID, let topic, let partition, let value):
            self.replay(
                offset: value, groupID, topic, partition, recordOffset: offset, producerID: producerID)
        case .groupMetadata(let groupID, let value?):
            self.otherGroups[groupID] = nil
            self.consumerGroups[groupID] = nil
            self.groups[groupID, default: ClassicGroup(groupID: groupID, nowMs: nil)].replay(value)
        case .groupMetadata(let groupID, nil):
            self.groups[groupID] = nil
        case .consumerGroup(let groupID, let record):
            return self.replay(consumerGroup: groupID, record)
        case .otherGroup(let groupID, let kind, let isThere):
            self.replay(otherGroup: groupID, kind, isThere: isThere)
        case .otherMember(let groupID, let kind, let member, let isThere):
            self.replay(otherMember: member, of: groupID, kind, isThere: isThere)
        case .other:
            self.unknownRecordCount += 1
        case .malformed:
            self.malformedRecordCount += 1
            return false
        }
        return true
    }
}
