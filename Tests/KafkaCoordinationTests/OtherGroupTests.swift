import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaCoordination

/// Records that Kafka left and that are no classic group's; offsets in transactions.
@Suite final class OtherGroupTests {
    private typealias Shard = GroupCoordinatorShard
    private static let now = CoordinatorTime(monotonicMs: 1_000, wallMs: 1_000)

    private var shard = Shard(config: GroupCoordinatorConfig())
    private var next: Int64 = 0

    private func replay(_ record: CoordinatorRecord, producerID: Int64? = nil) {
        let isUsed = self.shard.replay(record, offset: self.next, producerID: producerID)
        #expect(isUsed)
        self.next += 1
    }

    private func commit(
        _ group: String, _ partition: Int32, _ offset: Int64?, producerID: Int64? = nil, atMs: Int64 = 1_000
    ) {
        let committed = offset.map { CommittedOffset(offset: $0, commitTimestampMs: atMs) }
        self.replay(
            GroupRecords.offsetCommit(group, topic: "t", partition: partition, committed), producerID: producerID)
    }

    private func key(_ type: Int16, _ group: String, member: String? = nil, value: [UInt8]?) {
        var key: [UInt8] = [0, UInt8(type), 0, UInt8(group.utf8.count)] + Array(group.utf8)
        if let member { key += [0, UInt8(member.utf8.count)] + Array(member.utf8) }
        self.replay(CoordinatorRecord(key: key, value: value))
    }

    /// The reply; what the decision wrote is replayed.
    private func perform(_ request: Shard.Request, wallMs: Int64 = 1_000) -> Shard.Reply? {
        var effects = GroupEffects()
        let now = CoordinatorTime(monotonicMs: wallMs, wallMs: wallMs)
        self.shard.decide(request, ticket: 1, now: now, effects: &effects)
        for record in effects.records { self.replay(record) }
        return effects.replies.first?.reply
    }

    private func fetch(_ group: String, stable: Bool, all: Bool = false) -> [String] {
        var request = OffsetFetchRequest.Group()
        request.groupID = group
        if all {
            request.topics = nil
        } else {
            var topic = OffsetFetchRequest.Topics()
            topic.name = "t"
            topic.partitionIndexes = [0, 1, 2]
            request.topics = [topic]
        }
        guard case .offsetFetch(let response)? = self.perform(.offsetFetch(request, requireStable: stable)) else {
            return []
        }
        return response.topics.flatMap { topic in
            topic.partitions.map {
                $0.errorCode == .none
                    ? "\($0.partitionIndex)=\($0.committedOffset)" : "\($0.partitionIndex) \($0.errorCode.name)"
            }
        }
    }

    // MARK: transactions

    @Test func pendingOffsets() {
        self.commit("g", 0, 5)
        self.commit("g", 0, 7, producerID: 9)
        self.commit("g", 1, 8, producerID: 9)
        #expect(self.fetch("g", stable: false) == ["0=5", "1=-1", "2=-1"])
        #expect(self.fetch("g", stable: true) == ["0 UNSTABLE_OFFSET_COMMIT", "1 UNSTABLE_OFFSET_COMMIT", "2=-1"])
        // As in Kafka only what is committed is told where all is asked for.
        #expect(self.fetch("g", stable: true, all: true) == ["0 UNSTABLE_OFFSET_COMMIT"])
        #expect(self.fetch("g", stable: false, all: true) == ["0=5"])
        self.shard.replayEndOfTransaction(producerID: 8, isCommitted: true)
        #expect(self.fetch("g", stable: false) == ["0=5", "1=-1", "2=-1"])
        self.shard.replayEndOfTransaction(producerID: 9, isCommitted: true)
        #expect(self.fetch("g", stable: true) == ["0=7", "1=8", "2=-1"])
        #expect(self.shard.pendingOffsets.isEmpty)
        // Its next transaction.
        self.commit("g", 2, 1, producerID: 9)
        self.shard.replayEndOfTransaction(producerID: 9, isCommitted: false)
        #expect(self.fetch("g", stable: true) == ["0=7", "1=8", "2=-1"])
    }

    /// What was committed after an offset of a transaction, and before its end, is the newer.
    @Test func theNewerCommitCounts() {
        self.commit("g", 0, 5, producerID: 9)
        self.commit("g", 0, 3)
        self.commit("g", 1, 5, producerID: 9)
        self.commit("g", 1, 6, producerID: 10)
        self.shard.replayEndOfTransaction(producerID: 10, isCommitted: true)
        #expect(self.fetch("g", stable: true) == ["0 UNSTABLE_OFFSET_COMMIT", "1 UNSTABLE_OFFSET_COMMIT", "2=-1"])
        self.shard.replayEndOfTransaction(producerID: 9, isCommitted: true)
        #expect(self.fetch("g", stable: true) == ["0=3", "1=6", "2=-1"])
    }

    @Test func tombstonesTakePendingOffsetsAlong() {
        self.commit("g", 0, 5, producerID: 9)
        self.commit("g", 0, nil)
        self.shard.replayEndOfTransaction(producerID: 9, isCommitted: true)
        #expect(self.fetch("g", stable: true) == ["0=-1", "1=-1", "2=-1"])
        self.commit("g", 1, 5, producerID: 9)
        _ = self.perform(.deleteGroups(["g"]))
        #expect(self.shard.pendingOffsets.isEmpty)
        self.commit("h", 1, 5, producerID: 9)
        _ = self.perform(.topicsDeleted([.init(name: "t")]))
        #expect(self.shard.pendingOffsets.isEmpty)
    }

    @Test func pendingOffsetsDoNotExpire() {
        self.commit("g", 0, 5, atMs: 0)
        self.commit("g", 1, 6, atMs: 0)
        self.commit("g", 1, 7, producerID: 9, atMs: 0)
        self.expire(at: 1 << 50)
        #expect(self.shard.groups["g"] != nil)
        self.shard.replayEndOfTransaction(producerID: 9, isCommitted: true)
        #expect(self.fetch("g", stable: true) == ["0=-1", "1=7", "2=-1"])
        self.expire(at: 1 << 50)
        #expect(self.shard.groups["g"] == nil)
    }

    private func expire(at wallMs: Int64) {
        var effects = GroupEffects()
        self.shard.timerFired(
            .offsetExpiration, now: CoordinatorTime(monotonicMs: wallMs, wallMs: wallMs), effects: &effects)
        for record in effects.records { self.replay(record) }
    }

    // MARK: groups of other kinds

    private func listed() -> [String] {
        guard case .listGroups(let response)? = self.perform(.listGroups(ListGroupsRequest())) else { return [] }
        return response.groups.map { "\($0.groupID) \($0.groupType) \($0.protocolType) \($0.groupState)" }
    }

    private func leaveOthers() {
        // Compaction may leave the offsets before the group.
        self.commit("x", 0, 5, atMs: 0)
        self.key(11, "s", value: [0, 0])
        self.key(17, "x", value: [0, 0])
        self.key(19, "x", member: "y", value: [0, 0])
    }

    @Test func othersAreListedAndKept() {
        self.leaveOthers()
        #expect(self.shard.groups.isEmpty)
        #expect(self.listed() == ["s share share Empty", "x streams streams Stable"])
        #expect(self.fetch("x", stable: true, all: true) == ["0=5"])
        guard case .describeGroups(let described)? = self.perform(.describeGroups(["x"], apiVersion: 6)) else { return }
        #expect(
            described[0].errorCode == .groupIDNotFound && described[0].errorMessage == "Group x is not a classic group."
        )
        guard case .consumerGroupDescribe(let groups)? = self.perform(.consumerGroupDescribe(["x", "y"])) else {
            return
        }
        #expect(groups.map(\.errorCode) == [.groupIDNotFound, .groupIDNotFound])
        self.key(11, "s", value: nil)
        #expect(self.listed().count == 1)
    }

    @Test func whatMayBeDoneToThem() {
        self.leaveOthers()
        func commit(_ group: String, member: String = "", generation: Int32 = -1) -> Shard.Request {
            var request = OffsetCommitRequest()
            request.groupID = group
            request.memberID = member
            request.generationIDOrMemberEpoch = generation
            var topic = OffsetCommitRequest.Topic()
            topic.name = "t"
            topic.partitions = [.init()]
            topic.partitions[0].committedOffset = 77
            request.topics = [topic]
            return .offsetCommit(request, apiVersion: 9)
        }
        func error(_ reply: Shard.Reply?) -> ErrorCode? {
            switch reply {
            case .offsetCommit(let response)?: response.topics[0].partitions[0].errorCode
            case .deleteGroups(let results)?: results[0].errorCode
            case .joinGroup(let response)?: response.errorCode
            case .offsetDelete(let response)?: response.errorCode
            case .consumerGroupHeartbeat(let response)?: response.errorCode
            default: nil
            }
        }
        #expect(error(self.perform(commit("s"))) == .groupIDNotFound)

        var delete = OffsetDeleteRequest()
        delete.groupID = "s"
        #expect(error(self.perform(.offsetDelete(delete))) == .groupIDNotFound)

        var join = JoinGroupRequest()
        join.sessionTimeoutMs = 10_000
        join.protocolType = "consumer"
        join.protocols = [JoinProtocol()]
        join.protocols[0].name = "range"
        let origin = RequestOrigin(
            apiVersion: 9, clientID: "c", clientHost: "h", randomID: KafkaUUID(high: 1, low: 1))
        var heartbeat = ConsumerGroupHeartbeatRequest()
        heartbeat.memberID = "m"
        heartbeat.rebalanceTimeoutMs = 1_000
        heartbeat.subscribedTopicNames = ["t"]
        heartbeat.topicPartitions = []
        for group in ["s", "x"] {
            join.groupID = group
            #expect(error(self.perform(.joinGroup(join, origin))) == .inconsistentGroupProtocol)
            heartbeat.groupID = group
            var origin = origin
            origin.apiVersion = 1
            #expect(error(self.perform(.consumerGroupHeartbeat(heartbeat, origin))) == .groupIDNotFound)
        }
        #expect(error(self.perform(.deleteGroups(["x"]))) == .nonEmptyGroup)
        #expect(error(self.perform(.deleteGroups(["s"]))) == .unsupportedVersion)
    }

    @Test func expiryLeavesThemAlone() {
        self.leaveOthers()
        self.expire(at: 1 << 50)
        #expect(self.fetch("x", stable: true, all: true) == ["0=5"])
        #expect(Set(self.shard.otherGroups.keys) == ["s", "x"])
    }
}
