import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaCoordination

/// Clients of one group, of both protocols, that come, go, forget, lose answers and are late, against a coordinator
/// whose log refuses an append now and then and which is loaded anew now and then. After each step the group is looked
/// at; `problems` is what was wrong.
struct ConsumerGroupClients {
    private struct Client {
        var memberID: String
        var instanceID: String?
        var usesClassicProtocol = false
        var epoch: Int32 = 0
        /// What it works on, and may have gone on to work on.
        var has = PartitionSet()
        var topics: [String] = ["t"]
        var lastSeenMs: Int64 = 0
    }

    private final class Inbox: Sendable {
        let answers = Mutex<[(client: Int, reply: GroupCoordinatorShard.Reply)]>([])
        let work = Mutex<[(work: GroupWork, epoch: Int32)]>([])
    }

    var problems: [String] = []
    private var random: SeededRandom
    private let log = InMemoryLog()
    private var config = GroupCoordinatorConfig()
    private var coordinator: GroupCoordinator
    private var now = CoordinatorTime(monotonicMs: 0, wallMs: 1_000_000)
    private var clients: [Client] = []
    private let inbox = Inbox()
    private var topics: [String: Int32] = ["t": 4, "u": 3]
    private var revision: Int64 = 0
    private var nextID: UInt64 = 1
    private var loads: Int32 = 0

    init(seed: UInt64) {
        self.random = SeededRandom(seed: seed)
        self.config.minSessionTimeoutMs = 1_000
        self.config.initialRebalanceDelayMs = 0
        self.config.maxAssignedAtOnce = seed % 2 == 0 ? 300 : 3
        self.config.consumerMigrationPolicy = [.bidirectional, .upgrade, .downgrade, .disabled][Int(seed % 4)]
        self.coordinator = GroupCoordinator(config: self.config, partitions: 1)
        self.clients = (0..<6).map { index in
            Client(memberID: "m\(index)", instanceID: index < 2 ? "i\(index)" : nil)
        }
        self.load()
    }

    /// A new coordinator on the same log.
    private mutating func load() {
        self.coordinator.runtime.unload(0)
        self.inbox.work.withLock { $0 = [] }
        self.coordinator = GroupCoordinator(
            config: self.config, partitions: 1,
            carryOut: { [inbox] work, _, epoch in inbox.work.withLock { $0.append((work, epoch)) } })
        var loader = self.coordinator.makeLoader()
        let bytes = self.log.bytes
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        if loader.faultCount > 0 { self.problems.append("load: \(loader.faults)") }
        _ = self.coordinator.runtime.beginLoading(0, epoch: self.loads)
        self.coordinator.runtime.finishLoading(
            0, epoch: self.loads, shard: loader.shard.knowing(self.image), log: self.log,
            endOffset: self.log.endOffset, highWatermark: self.log.highWatermark, now: self.now)
        self.loads += 1
        self.coordinator.advance(now: self.now)
    }

    private var image: GroupMetadataImage {
        var image = GroupMetadataImage(
            revision: self.revision,
            topics: self.topics.map { GroupTopic(name: $0.key, id: topicID(named: $0.key), partitionCount: $0.value) })
        image.settings.sessionTimeoutMs = 20_000
        return image
    }

    // MARK: Steps

    private mutating func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &self.random) }

    mutating func step() {
        let index = self.pick(self.clients.count)
        if self.pick(40) == 0 { self.log.state.withLock { $0.nextError = .notEnoughReplicas } }
        switch self.pick(24) {
        case 0..<12: self.heartbeat(index)
        case 12: self.leave(index)
        case 13: self.restart(index)
        case 14:
            self.clients[index].topics = [["t"], ["u"], ["t", "u"], ["t", "v"]][self.pick(4)]
            self.heartbeat(index, isFull: true)
        case 15:
            if self.pick(4) == 0 { self.changeTopics() }
        case 16:
            if self.pick(4) == 0 { self.load() }
        case 17..<20: self.doWork()
        default: self.advance(Int64(self.pick(3_000)))
        }
        self.look()
    }

    private mutating func changeTopics() {
        switch self.pick(3) {
        case 0: self.topics["t"] = min((self.topics["t"] ?? 0) + 1, 12)
        case 1: self.topics["u"] = self.topics["u"] == nil ? 3 : nil
        default: self.topics["v"] = 2
        }
        self.revision += 1
        self.coordinator.perform(.metadataChanged(self.image, .these(["t", "u", "v"])), on: 0, now: self.now) { _ in }
        self.coordinator.advance(now: self.now)
    }

    private mutating func advance(_ ms: Int64) {
        self.now.monotonicMs += ms
        self.now.wallMs += ms
        self.coordinator.advance(now: self.now)
        self.read()
    }

    private mutating func doWork() {
        let works = self.inbox.work.withLock { all in
            defer { all = [] }
            return all
        }
        for (work, epoch) in works {
            self.coordinator.runtime.workDone(work.run(), on: 0, epoch: epoch, now: self.now)
        }
        self.coordinator.advance(now: self.now)
    }

    private mutating func restart(_ index: Int) {
        self.clients[index].memberID = "m\(index)-\(self.nextID)"
        self.clients[index].epoch = 0
        self.clients[index].has = PartitionSet()
        self.clients[index].usesClassicProtocol = self.pick(3) == 0
        if self.clients[index].usesClassicProtocol { self.clients[index].memberID = "" }
        self.nextID += 1
    }

    private mutating func leave(_ index: Int) {
        let client = self.clients[index]
        if client.usesClassicProtocol {
            var request = LeaveGroupRequest()
            request.groupID = "g"
            var identity = LeaveGroupRequest.MemberIdentity()
            identity.memberID = client.memberID
            identity.groupInstanceID = client.instanceID
            request.members = [identity]
            self.perform(.leaveGroup(request), index)
        } else {
            var request = ConsumerGroupHeartbeatRequest()
            request.groupID = "g"
            request.memberID = client.memberID
            request.instanceID = client.instanceID
            request.memberEpoch = client.instanceID != nil && self.pick(2) == 0 ? -2 : -1
            self.perform(.consumerGroupHeartbeat(request, self.origin(index)), index)
        }
        self.read()
        self.restart(index)
    }

    private func origin(_ index: Int) -> RequestOrigin {
        RequestOrigin(
            apiVersion: self.clients[index].usesClassicProtocol ? 3 : 1, clientID: "c\(index)", clientHost: "/h",
            randomID: KafkaUUID(high: 7, low: self.nextID))
    }

    private mutating func heartbeat(_ index: Int, isFull: Bool = false) {
        let client = self.clients[index]
        self.nextID += 1
        if client.usesClassicProtocol {
            self.beatClassic(index)
        } else {
            var request = ConsumerGroupHeartbeatRequest()
            request.groupID = "g"
            request.memberID = client.memberID
            request.instanceID = client.instanceID
            request.memberEpoch = client.epoch
            if client.epoch == 0 || isFull {
                request.rebalanceTimeoutMs = 8_000
                request.subscribedTopicNames = client.topics
            }
            if client.epoch == 0 || isFull || self.pick(2) == 0 {
                request.topicPartitions = client.has.topics.map { topic in
                    var partitions = ConsumerGroupHeartbeatRequest.TopicPartitions()
                    partitions.topicID = topic.topicID
                    partitions.partitions = topic.partitions
                    return partitions
                }
            }
            self.perform(.consumerGroupHeartbeat(request, self.origin(index)), index)
        }
        // Some answers are lost.
        if self.pick(10) == 0 { self.inbox.answers.withLock { $0 = [] } } else { self.read() }
    }

    private mutating func beatClassic(_ index: Int) {
        let client = self.clients[index]
        switch self.pick(3) {
        case 0 where !client.memberID.isEmpty:
            var request = HeartbeatRequest()
            request.groupID = "g"
            request.memberID = client.memberID
            request.groupInstanceID = client.instanceID
            request.generationID = client.epoch
            self.perform(.heartbeat(request), index)
        case 1 where !client.memberID.isEmpty:
            var request = SyncGroupRequest()
            request.groupID = "g"
            request.memberID = client.memberID
            request.groupInstanceID = client.instanceID
            request.generationID = client.epoch
            self.perform(.syncGroup(request), index)
        default:
            var request = JoinGroupRequest()
            request.groupID = "g"
            request.memberID = client.memberID
            request.groupInstanceID = client.instanceID
            request.sessionTimeoutMs = 10_000
            request.rebalanceTimeoutMs = 6_000
            request.protocolType = "consumer"
            var subscription = ConsumerProtocolSubscription()
            subscription.topics = client.topics
            subscription.ownedPartitions = client.has.topics.map { topic in
                var owned = ConsumerProtocolSubscription.TopicPartition()
                owned.topic = topicName(topic.topicID)
                owned.partitions = topic.partitions
                return owned
            }
            var offered = JoinProtocol()
            offered.name = "cooperative"
            offered.metadata = withEncoded {
                $0.writeInt16(1)
                subscription.encode(into: &$0, version: 1)
            }
            request.protocols = [offered]
            self.perform(.joinGroup(request, self.origin(index)), index)
        }
    }

    private mutating func perform(_ request: GroupCoordinatorShard.Request, _ client: Int) {
        self.coordinator.perform(request, on: 0, now: self.now) { [inbox] reply in
            inbox.answers.withLock { $0.append((client, reply)) }
        }
        self.coordinator.advance(now: self.now)
    }

    /// What clients were told.
    private mutating func read() {
        let answers = self.inbox.answers.withLock { all in
            defer { all = [] }
            return all
        }
        for (index, reply) in answers {
            switch reply {
            case .consumerGroupHeartbeat(let response) where !self.clients[index].usesClassicProtocol:
                switch response.errorCode {
                case .none where response.memberEpoch >= 0:
                    guard response.memberID == self.clients[index].memberID else { continue }
                    self.clients[index].epoch = response.memberEpoch
                    if let assignment = response.assignment {
                        self.clients[index].has = PartitionSet(
                            assignment.topicPartitions.map { (topicID: $0.topicID, partitions: $0.partitions) })
                    }
                case .fencedMemberEpoch, .unknownMemberID, .groupIDNotFound:
                    self.clients[index].epoch = 0
                    self.clients[index].has = PartitionSet()
                case .fencedInstanceID, .unreleasedInstanceID: self.restart(index)
                default: break
                }
            case .joinGroup(let response) where self.clients[index].usesClassicProtocol:
                if response.errorCode == .none {
                    self.clients[index].memberID = response.memberID
                    self.clients[index].epoch = response.generationID
                } else if response.errorCode == .unknownMemberID || response.errorCode == .fencedInstanceID {
                    self.restart(index)
                }
            case .syncGroup(let response) where self.clients[index].usesClassicProtocol:
                if response.errorCode == .none, let assignment = ConsumerProtocol.assignment(response.assignment) {
                    self.clients[index].has = PartitionSet(
                        assignment.assignedPartitions.map {
                            (topicID: topicID(named: $0.topic), partitions: $0.partitions)
                        })
                }
            default: break
            }
        }
    }

    // MARK: What must hold

    private mutating func look() {
        guard let shard = self.coordinator.runtime.withShard(0, { $0 }) else { return }
        if shard.groups["g"] != nil && shard.consumerGroups["g"] != nil { self.problems.append("two groups of one id") }
        guard let group = shard.consumerGroups["g"] else { return }
        var owners: [TopicPartition: String] = [:]
        let timers = self.coordinator.runtime.timers(of: 0)
        for member in group.members.values {
            for held in [member.assigned, member.pendingRevocation] {
                held.visit { partition, epoch in
                    if let other = owners.updateValue(member.memberID, forKey: partition) {
                        self.problems.append("\(partition) is \(other)'s and \(member.memberID)'s")
                    }
                    if group.epoch(of: partition) != epoch {
                        self.problems.append("\(partition) has epoch \(group.epoch(of: partition)), not \(epoch)")
                    }
                }
            }
            if member.epoch > group.assignmentEpoch { self.problems.append("\(member.memberID) is ahead of its group") }
            if !timers.contains(where: { $0.contains("session(\"\(member.memberID)\")") }) {
                self.problems.append("\(member.memberID) has no session timer")
            }
            if member.state == .unrevokedPartitions, !member.usesClassicProtocol,
                !timers.contains(where: { $0.contains("rebalance(\"\(member.memberID)\")") })
            {
                self.problems.append("\(member.memberID) may take for ever to give up partitions")
            }
        }
        var targets: [TopicPartition: String] = [:]
        for (memberID, target) in group.targets {
            if group.members[memberID] == nil { self.problems.append("\(memberID) has a target and is no member") }
            for topic in target.topics {
                for partition in topic.partitions {
                    let partition = TopicPartition(topicID: topic.topicID, partition: partition)
                    if let other = targets.updateValue(memberID, forKey: partition) {
                        self.problems.append("\(partition) is to be \(other)'s and \(memberID)'s")
                    }
                }
            }
        }
        if group.epoch > group.assignmentEpoch, !group.isEmpty, !group.isAssigning,
            !timers.contains(where: { $0.contains("TimerKey.assignment") })
        {
            self.problems.append("no target assignment is coming")
        }
    }

    /// What a coordinator loads is what this one has.
    mutating func compareWithLoaded() {
        var loader = self.coordinator.makeLoader()
        let bytes = self.log.bytes
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        guard let live = self.coordinator.runtime.withShard(0, { $0 }) else { return }
        let stored = loader.shard
        if Set(live.consumerGroups.keys) != Set(stored.consumerGroups.keys) { self.problems.append("other groups") }
        for (id, group) in live.consumerGroups {
            guard let other = stored.consumerGroups[id] else { continue }
            if describe(group) != describe(other) || group.targets != other.targets
                || group.topicCounts != other.topicCounts || group.staticMembers != other.staticMembers
                || group.heldBytes != other.heldBytes || group.metadataHash != other.metadataHash
                || group.resolvedRegexes != other.resolvedRegexes || group.protocolCounts != other.protocolCounts
            {
                self.problems.append("loaded: \(describe(other)), live: \(describe(group))")
            }
        }
    }

    /// No more faults: every client heartbeats, and soon every partition has an owner.
    mutating func settle() {
        self.log.state.withLock { $0.nextError = nil }
        for index in self.clients.indices {
            if self.clients[index].usesClassicProtocol {
                self.clients[index].usesClassicProtocol = false
                self.clients[index].memberID = "m\(index)-\(self.nextID)"
                self.nextID += 1
                self.clients[index].epoch = 0
                self.clients[index].has = PartitionSet()
            }
            self.clients[index].topics = ["t"]
        }
        for _ in 0..<25 {
            self.advance(2_500)
            self.doWork()
            for index in self.clients.indices {
                self.heartbeat(index, isFull: true)
                self.read()
            }
            self.look()
        }
        guard let group = self.coordinator.runtime.withShard(0, { $0.consumerGroups["g"] }) ?? nil else { return }
        let owned = group.members.values.reduce(0) { $0 + $1.assigned.partitions.count }
        if owned != Int(self.topics["t"] ?? 0) {
            self.problems.append("\(owned) partitions of \(self.topics["t"] ?? 0) are owned: \(describe(group))")
        }
    }
}
