import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaCoordination

/// Clients that behave at random, right and wrong, against a coordinator; after each of their requests:
/// - a shard loaded from the log is what the live one is, as far as groups are stable or empty, offsets included;
/// - nobody waits without a timer that ends the waiting;
/// and in the end every request has got exactly one answer.
@Suite struct ReplayPropertyTests {
    @Test(arguments: UInt64(1)...30)
    func loadedStateIsLiveState(_ seed: UInt64) throws {
        var world = RandomClients(seed: seed)
        for _ in 0..<300 {
            world.step()
            try world.compareWithLoaded()
            try world.checkTimers()
        }
        world.coordinator.runtime.unload(0)
        #expect(world.inbox.answers.withLock { $0.count } == world.requestCount)
        #expect(world.inbox.answers.withLock { $0.values.allSatisfy { $0 == 1 } })
    }
}

private struct RandomClients {
    struct Client {
        var memberID = ""
        var instanceID: String?
        var generation: Int32 = -1
        var isLeader = false
        var members: [String] = []
    }

    var random: SeededRandom
    let log = InMemoryLog()
    let coordinator: GroupCoordinator
    var now = CoordinatorTime(monotonicMs: 0, wallMs: 1_000_000)
    var clients: [Client]
    var requestCount = 0
    /// What clients were told, to be read at their next step.
    let inbox = Inbox()

    final class Inbox: Sendable {
        let answers = Mutex<[Int: Int]>([:])
        let joined = Mutex<[(client: Int, JoinGroupResponse)]>([])

        func takeJoined() -> [(client: Int, JoinGroupResponse)] {
            self.joined.withLock { all in
                defer { all = [] }
                return all
            }
        }
    }

    init(seed: UInt64) {
        self.random = SeededRandom(seed: seed)
        var config = GroupCoordinatorConfig()
        config.initialRebalanceDelayMs = 100
        config.maxSize = 5
        config.minSessionTimeoutMs = 1_000
        config.offsetsRetentionMs = 60_000
        config.offsetsRetentionCheckIntervalMs = 10_000
        config.maxExpiredOffsetsAPass = 3
        self.coordinator = GroupCoordinator(config: config, partitions: 1)
        self.clients = (0..<8).map { Client(instanceID: $0 < 3 ? "i\($0)" : nil) }
        _ = self.coordinator.runtime.beginLoading(0, epoch: 0)
        self.coordinator.runtime.finishLoading(
            0, epoch: 0, shard: GroupCoordinatorShard(config: config), log: self.log, endOffset: 0, highWatermark: 0,
            now: self.now)
    }

    func group(of client: Int) -> String { client % 4 == 3 ? "h" : "g" }

    mutating func step() {
        for (index, response) in self.inbox.takeJoined() {
            if response.errorCode == .none || response.errorCode == .memberIDRequired {
                self.clients[index].memberID = response.memberID
                self.clients[index].generation = response.generationID
                self.clients[index].isLeader = response.leader == response.memberID
                self.clients[index].members = response.members.map(\.memberID)
            } else if response.errorCode == .unknownMemberID || response.errorCode == .fencedInstanceID {
                self.clients[index].memberID = ""
            }
        }
        let index = Int.random(in: 0..<self.clients.count, using: &self.random)
        let client = self.clients[index]
        if Int.random(in: 0..<40, using: &self.random) == 0 {
            self.log.state.withLock { $0.nextError = .notEnoughReplicas }
        }
        switch Int.random(in: 0..<20, using: &self.random) {
        case 0..<6: self.join(index)
        case 6..<10: self.sync(index)
        case 10..<12:
            var request = HeartbeatRequest()
            request.groupID = self.group(of: index)
            request.memberID = client.memberID
            request.generationID = client.generation
            request.groupInstanceID = client.instanceID
            self.perform(.heartbeat(request), index)
        case 12:
            var request = LeaveGroupRequest()
            request.groupID = self.group(of: index)
            var identity = LeaveGroupRequest.MemberIdentity()
            identity.memberID = client.memberID
            identity.groupInstanceID = client.instanceID
            request.members = [identity]
            self.perform(.leaveGroup(request), index)
        case 13..<15: self.commit(index)
        case 15:
            if Int.random(in: 0..<4, using: &self.random) == 0 {
                self.perform(.deleteGroups(["g", "h", "x"]), index)
            } else {
                self.perform(.topicsDeleted([.init(name: "t")]), index)
            }
        default:
            let elapsed = Int64.random(in: 0..<3_000, using: &self.random)
            self.now.monotonicMs += elapsed
            self.now.wallMs += elapsed
            self.coordinator.advance(now: self.now)
        }
    }

    private mutating func join(_ index: Int) {
        var client = self.clients[index]
        // A restart: it forgets its id.
        if Int.random(in: 0..<5, using: &self.random) == 0 { client.memberID = "" }
        var request = JoinGroupRequest()
        request.groupID = self.group(of: index)
        request.memberID = client.memberID
        request.groupInstanceID = client.instanceID
        request.sessionTimeoutMs = Int32.random(in: 1_000..<9_000, using: &self.random)
        request.rebalanceTimeoutMs = Int32.random(in: 1_000..<9_000, using: &self.random)
        request.protocolType = "consumer"
        for name in ["range", "sticky", "roundrobin"] where Int.random(in: 0..<4, using: &self.random) > 0 {
            var offered = JoinProtocol()
            offered.name = name
            offered.metadata = [0, 0, 0, 0, 0, 1, 0, 1, UInt8(ascii: Bool.random(using: &self.random) ? "t" : "u")]
            request.protocols.append(offered)
        }
        let versions: [Int16] = [3, 8, 9]
        let version = versions[Int.random(in: 0..<3, using: &self.random)]
        let origin = RequestOrigin(
            apiVersion: version, clientID: "c\(index)", clientHost: "/127.0.0.1",
            randomID: KafkaUUID(high: 0, low: UInt64(self.requestCount)))
        self.perform(.joinGroup(request, origin), index)
    }

    private mutating func sync(_ index: Int) {
        let client = self.clients[index]
        var request = SyncGroupRequest()
        request.groupID = self.group(of: index)
        request.memberID = client.memberID
        request.groupInstanceID = client.instanceID
        request.generationID = client.generation
        for member in client.members {
            var assignment = SyncGroupRequest.Assignment()
            assignment.memberID = member
            assignment.assignment = [UInt8.random(in: 0...255, using: &self.random)]
            request.assignments.append(assignment)
        }
        self.perform(.syncGroup(request), index)
    }

    private mutating func commit(_ index: Int) {
        let client = self.clients[index]
        var request = OffsetCommitRequest()
        let isMember = Bool.random(using: &self.random)
        request.groupID = isMember ? self.group(of: index) : "x"
        request.memberID = isMember ? client.memberID : ""
        request.generationIDOrMemberEpoch = isMember ? client.generation : -1
        request.groupInstanceID = isMember ? client.instanceID : nil
        var topic = OffsetCommitRequest.Topic()
        topic.name = Bool.random(using: &self.random) ? "t" : "u"
        for number in 0..<Int32.random(in: 1..<4, using: &self.random) {
            var partition = OffsetCommitRequest.Partition()
            partition.partitionIndex = number
            partition.committedOffset = Int64.random(in: 0..<100, using: &self.random)
            topic.partitions.append(partition)
        }
        request.topics = [topic]
        self.perform(.offsetCommit(request, apiVersion: 9), index)
    }

    private mutating func perform(_ request: GroupCoordinatorShard.Request, _ client: Int) {
        let number = self.requestCount
        self.requestCount += 1
        self.coordinator.perform(request, on: 0, now: self.now) { [inbox] reply in
            inbox.answers.withLock { $0[number, default: 0] += 1 }
            if case .joinGroup(let response) = reply { inbox.joined.withLock { $0.append((client, response)) } }
        }
    }

    // MARK: Invariants

    func compareWithLoaded() throws {
        var loader = self.coordinator.makeLoader()
        let bytes = self.log.bytes
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        try #require(loader.faultCount == 0)
        let live = try #require(self.coordinator.runtime.withShard(0) { $0.groups })
        let offsets = try #require(self.coordinator.runtime.withShard(0) { $0.offsets.all })
        #expect(offsets == loader.shard.offsets.all)
        // A failed append of a leaving may leave a group empty that the log still knows with members.
        for (id, group) in live where group.state == .stable {
            #expect(Stored(group) == loader.shard.groups[id].map(Stored.init))
        }
        #expect(Set(loader.shard.groups.keys) == Set(live.keys))
    }

    func checkTimers() throws {
        let live = try #require(self.coordinator.runtime.withShard(0) { $0.groups })
        let timers = self.coordinator.runtime.timers(of: 0)
        func has(_ text: String) -> Bool { timers.contains { $0.contains(text) } }
        for (id, group) in live {
            for member in group.members.values where !member.hasSatisfiedHeartbeat {
                #expect(has("\"\(id)\"") && has("session(\"\(member.memberID)\")"))
            }
            for memberID in group.pendingJoinMembers.sorted { #expect(has("session(\"\(memberID)\")")) }
            if group.state == .preparingRebalance {
                #expect(timers.contains { $0.contains("\"\(id)\"") && $0.contains("TimerKey.join") })
            }
            if group.state == .completingRebalance {
                #expect(timers.contains { $0.contains("\"\(id)\"") && $0.contains("TimerKey.sync") })
            }
            #expect(group.awaitingJoinCount == group.members.values.filter { $0.awaitingJoin != nil }.count)
            #expect(group.heldBytes == group.members.values.reduce(0) { $0 + $1.sizeInBytes })
            #expect(group.leaderID == nil || group.members[group.leaderID ?? ""] != nil)
            #expect(group.awaitingJoinCount <= 5)
        }
    }
}

/// What of a group must be the same after a restart.
private struct Stored: Equatable {
    struct Member: Equatable {
        var memberID: String
        var instanceID: String?
        var clientID: String
        var sessionTimeoutMs: Int32
        var rebalanceTimeoutMs: Int32
        var subscription: [UInt8]?
        var assignment: [UInt8]
    }

    var state: ClassicGroup.State
    var timestamp: Int64?
    var generation: Int32
    var protocolType: String?
    var protocolName: String?
    var leader: String?
    var topics: Set<String>?
    var staticMembers: [String: String]
    var members: [Member]

    init(_ group: ClassicGroup) {
        self.state = group.state
        self.timestamp = group.currentStateTimestampMs
        self.generation = group.generation
        self.protocolType = group.protocolType
        self.protocolName = group.protocolName
        self.leader = group.leaderID
        self.topics = group.subscribedTopics
        self.staticMembers = group.staticMembers
        self.members = group.orderedMembers.map { member in
            Member(
                memberID: member.memberID, instanceID: member.instanceID, clientID: member.clientID,
                sessionTimeoutMs: member.sessionTimeoutMs, rebalanceTimeoutMs: member.rebalanceTimeoutMs,
                subscription: member.metadata(for: group.protocolName ?? ""), assignment: member.assignment)
        }
    }
}
