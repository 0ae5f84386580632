import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaCoordination

/// A group coordinator with one partition on a log in memory and a clock that the scenario moves. What a scenario
/// may say is in testdata/README.md.
final class GroupScenario {
    typealias Shard = GroupCoordinatorShard

    var config = GroupCoordinatorConfig()
    var log = InMemoryLog()
    var now = CoordinatorTime(monotonicMs: 0, wallMs: 1_000_000)
    private var started: GroupCoordinator?
    private var nextID: UInt64 = 1
    private var logSeen: Int64 = 0
    private var shown: [String: String] = [:]
    let lines = Lines()
    /// By name.
    private var topics: [String: Int32] = [:]
    private var settings = ConsumerGroupSettings()
    private var settingsOfGroups: [String: ConsumerGroupSettings] = [:]
    private var revision: Int64 = 0
    /// Work that shards want done, and whether it is held back.
    private let work = Works()
    private var holdsWork = false

    private final class Works: Sendable {
        let all = Mutex<[(work: GroupWork, epoch: Int32)]>([])
    }

    final class Lines: Sendable {
        let all = Mutex<[String]>([])
    }

    var coordinator: GroupCoordinator {
        get throws {
            if let started { return started }
            return try self.start()
        }
    }

    var shard: Shard {
        get throws {
            guard let shard = try self.coordinator.runtime.withShard(0, { $0 }) else {
                throw DataDriven.Mismatch(description: "not loaded")
            }
            return shard
        }
    }

    /// Loads whatever is in the log, as after a start of the broker.
    func start() throws -> GroupCoordinator {
        let coordinator = GroupCoordinator(
            config: self.config, partitions: 1,
            carryOut: { [work] asked, _, epoch in
                work.all.withLock { $0.append((asked, epoch)) }
            })
        self.started = coordinator
        _ = coordinator.runtime.beginLoading(0, epoch: 0)
        try self.load(coordinator)
        self.tellMetadata(.all, coordinator)
        return coordinator
    }

    private func tellMetadata(_ changed: ChangedTopics, _ coordinator: GroupCoordinator) {
        self.revision += 1
        var image = GroupMetadataImage(
            revision: self.revision,
            topics: self.topics.map {
                GroupTopic(name: $0.key, id: KafkaCoordinationTests.topicID(named: $0.key), partitionCount: $0.value)
            })
        image.settings = self.settings
        image.settingsOfGroups = self.settingsOfGroups
        coordinator.perform(.metadataChanged(image, changed), on: 0, now: self.now) { _ in }
        coordinator.advance(now: self.now)
    }

    private func doWork() throws {
        while true {
            let works = self.work.all.withLock { all in
                defer { all = [] }
                return all
            }
            if works.isEmpty { return }
            for (work, epoch) in works {
                try self.coordinator.runtime.workDone(work.run(), on: 0, epoch: epoch, now: self.now)
            }
            try self.coordinator.advance(now: self.now)
        }
    }

    func load(_ coordinator: GroupCoordinator) throws {
        var loader = coordinator.makeLoader()
        let bytes = self.log.bytes
        let scratch = DecompressionScratch()
        let used = bytes.withUnsafeBytes { loader.replay($0, scratch: scratch) }
        guard used == bytes.count, loader.faultCount == 0 else {
            throw DataDriven.Mismatch(description: "load: \(loader.faults)")
        }
        coordinator.runtime.finishLoading(
            0, epoch: 0, shard: loader.shard, log: self.log, endOffset: self.log.endOffset,
            highWatermark: self.log.highWatermark, now: self.now)
    }

    // MARK: Commands

    func run(_ command: DataDriven.Command) throws -> [String] {
        let group = command.arguments.first ?? ""
        let client = command.options["client"] ?? "client"
        let version = Int16(try command.int("v") ?? 9)
        switch command.name {
        case "config":
            try self.configure(command)
        case "join":
            var request = JoinGroupRequest()
            request.groupID = group
            request.memberID = self.expand(command.options["member"] ?? "")
            request.groupInstanceID = command.options["instance"]
            request.sessionTimeoutMs = Int32(try command.int("session") ?? 10_000)
            request.rebalanceTimeoutMs = Int32(try command.int("rebalance") ?? 60_000)
            request.protocolType = command.options["type"] ?? "consumer"
            request.protocols = self.protocols(
                command.options["protocols"] ?? "range:t", request.protocolType, owned: command.options["owned"])
            request.reason = command.options["reason"]
            let origin = RequestOrigin(
                apiVersion: version, clientID: client, clientHost: "/127.0.0.1",
                randomID: KafkaUUID(high: 0, low: self.nextID))
            self.nextID += 1
            try self.perform(.joinGroup(request, origin), client)
        case "sync":
            var request = SyncGroupRequest()
            request.groupID = group
            request.memberID = self.expand(command.options["member"] ?? "")
            request.groupInstanceID = command.options["instance"]
            request.generationID = Int32(try command.int("generation") ?? 1)
            request.protocolType = command.options["type"]
            request.protocolName = command.options["protocol"]
            for pair in (command.options["assign"] ?? "").split(separator: ",") {
                let parts = pair.split(separator: ":", maxSplits: 1).map(String.init)
                var assignment = SyncGroupRequest.Assignment()
                assignment.memberID = self.expand(parts[0])
                assignment.assignment = Array((parts.count > 1 ? parts[1] : "").utf8)
                request.assignments.append(assignment)
            }
            for word in (command.options["assign-partitions"] ?? "").split(separator: "/") {
                let parts = word.split(separator: ":").map(String.init)
                var topic = ConsumerProtocolAssignment.TopicPartition()
                topic.topic = parts[1]
                topic.partitions = parts[2].split(separator: ",").compactMap { Int32($0) }
                var assigned = ConsumerProtocolAssignment()
                assigned.assignedPartitions = [topic]
                var assignment = SyncGroupRequest.Assignment()
                assignment.memberID = self.expand(parts[0])
                assignment.assignment = withEncoded {
                    $0.writeInt16(1)
                    assigned.encode(into: &$0, version: 1)
                }
                request.assignments.append(assignment)
            }
            try self.perform(.syncGroup(request), client)
        case "heartbeat":
            var request = HeartbeatRequest()
            request.groupID = group
            request.memberID = self.expand(command.options["member"] ?? "")
            request.groupInstanceID = command.options["instance"]
            request.generationID = Int32(try command.int("generation") ?? 1)
            try self.perform(.heartbeat(request), client)
        case "leave":
            var request = LeaveGroupRequest()
            request.groupID = group
            for name in command.arguments.dropFirst() {
                var identity = LeaveGroupRequest.MemberIdentity()
                let parts = name.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
                identity.memberID = self.expand(parts[0])
                identity.groupInstanceID = parts.count > 1 ? parts[1] : nil
                identity.reason = command.options["reason"]
                request.members.append(identity)
            }
            try self.perform(.leaveGroup(request), client)
        case "commit": try self.commit(command, group, client, version)
        case "fetch":
            var request = OffsetFetchRequest.Group()
            request.groupID = group
            request.memberEpoch = Int32(try command.int("epoch") ?? -1)
            request.memberID = command.options["member"].map(self.expand)
            request.topics = command.arguments.count == 1 ? nil : command.arguments.dropFirst().map(self.fetchTopic)
            try self.perform(.offsetFetch(request, requireStable: command.options["stable"] != nil), client)
        case "delete-offsets":
            var request = OffsetDeleteRequest()
            request.groupID = group
            for word in command.arguments.dropFirst() {
                let parsed = self.fetchTopic(word)
                var topic = OffsetDeleteRequest.Topic()
                topic.name = parsed.name
                topic.partitions = parsed.partitionIndexes.map {
                    var partition = OffsetDeleteRequest.Partition()
                    partition.partitionIndex = $0
                    return partition
                }
                request.topics.append(topic)
            }
            try self.perform(.offsetDelete(request), client)
        case "describe": try self.perform(.describeGroups(command.arguments, apiVersion: version), client)
        case "list":
            var request = ListGroupsRequest()
            request.statesFilter = (command.options["states"] ?? "").split(separator: ",").map(String.init)
            request.typesFilter = (command.options["types"] ?? "").split(separator: ",").map(String.init)
            try self.perform(.listGroups(request), client)
        case "delete-groups": try self.perform(.deleteGroups(command.arguments), client)
        case "topic-deleted":
            let topics = command.arguments.map { name in
                Shard.DeletedTopic(name: name, topicID: self.topicID(command.options["id"]))
            }
            try self.perform(.topicsDeleted(topics), client)
        case "advance":
            // In steps, as the broker's tick does, so that one timer's consequences are seen by the next.
            let target = self.now.monotonicMs + (Int64(group) ?? 0)
            while self.now.monotonicMs < target {
                let next = min(
                    target, max(try self.coordinator.runtime.nextDeadline ?? target, self.now.monotonicMs + 1))
                self.now.wallMs += next - self.now.monotonicMs
                self.now.monotonicMs = next
                let before = self.lines.all.withLock { $0.count }
                try self.coordinator.advance(now: self.now)
                if !self.holdsWork { try self.doWork() }
                if self.lines.all.withLock({ $0.count }) != before || self.logSeen != self.log.endOffset {
                    self.print("at \(self.now.monotonicMs) ms:", at: before)
                }
                try self.showLog()
            }
        case "topic":
            for word in command.arguments {
                let parts = word.split(separator: ":").map(String.init)
                self.topics[parts[0]] = parts.count > 1 ? Int32(parts[1]) : nil
            }
            self.tellMetadata(
                .these(command.arguments.map { String($0.split(separator: ":")[0]) }), try self.coordinator)
        case "group-config":
            var settings = self.settingsOfGroups[group] ?? self.settings
            try Self.set(command, &settings)
            self.settingsOfGroups[group] = settings
            self.tellMetadata(.these([]), try self.coordinator)
        case "hold-work": self.holdsWork = true
        case "do-work":
            self.holdsWork = false
        case "poll": try self.poll(command, group, client)
        case "describe-consumer-groups": try self.perform(.consumerGroupDescribe(command.arguments), client)
        case "hold-high-watermark": self.log.state.withLock { $0.holdsHighWatermark = true }
        case "high-watermark":
            let end = self.log.state.withLock { state in
                state.highWatermark = Int64(group) ?? state.endOffset
                return state.highWatermark
            }
            try self.coordinator.runtime.highWatermarkAdvanced(0, to: end, now: self.now)
        case "fail-next-append":
            self.log.state.withLock { $0.nextError = ErrorCode.named(group) }
        case "restart":
            self.started?.runtime.unload(0)
            self.started = nil
            self.shown = [:]
            _ = try self.coordinator
        case "record":
            var value = GroupMetadataValue()
            value.generation = Int32(try command.int("generation") ?? 0)
            value.leader = nil
            value.protocol = nil
            var builder = RecordBatchBuilder()
            let record = GroupRecords.groupMetadata(group, value)
            builder.append(timestamp: 0, key: record.key, value: record.value)
            var batch = builder.build()
            _ = self.log.append(&batch, recordCount: 1, now: self.now)
        case "txn-commit": try self.transactionalCommit(command, group, client)
        case "end-transaction": try self.endTransaction(command)
        case "unload": try self.coordinator.runtime.unload(0)
        case "begin-loading":
            _ = try self.coordinator.runtime.beginLoading(0, epoch: Int32(try command.int("epoch") ?? 1))
        case "timers":
            for line in try self.coordinator.runtime.timers(of: 0) { self.print(shortenIDs(line)) }
        default: throw DataDriven.Mismatch(description: "unknown command \(command.name)")
        }
        if !self.holdsWork { try self.doWork() }
        try self.showLog()
        self.showGroups()
        return self.lines.all.withLock { lines in
            defer { lines = [] }
            return lines
        }
    }

    /// ConsumerGroupHeartbeat. `join` in short: all that a joining member says.
    private func poll(_ command: DataDriven.Command, _ group: String, _ client: String) throws {
        var request = ConsumerGroupHeartbeatRequest()
        request.groupID = group
        request.memberID = command.options["member"] ?? client
        request.memberEpoch = Int32(try command.int("epoch") ?? 0)
        request.instanceID = command.options["instance"]
        request.rackID = command.options["rack"]
        request.serverAssignor = command.options["assignor"]
        request.rebalanceTimeoutMs = Int32(try command.int("rebalance") ?? (request.memberEpoch == 0 ? 60_000 : -1))
        if let topics = command.options["topics"] {
            request.subscribedTopicNames = topics.split(separator: "+").map(String.init)
        }
        request.subscribedTopicRegex = command.options["regex"]
        if let has = command.options["has"] ?? (request.memberEpoch == 0 ? "" : nil) {
            // has=t:0,1/u:2
            request.topicPartitions = has.split(separator: "/").map { word in
                let parts = word.split(separator: ":").map(String.init)
                var topic = ConsumerGroupHeartbeatRequest.TopicPartitions()
                topic.topicID = KafkaCoordinationTests.topicID(named: parts[0])
                topic.partitions = (parts.count > 1 ? parts[1] : "").split(separator: ",").compactMap { Int32($0) }
                return topic
            }
        }
        let origin = RequestOrigin(
            apiVersion: Int16(try command.int("v") ?? 1), clientID: client, clientHost: "/127.0.0.1",
            randomID: KafkaUUID(high: 0, low: self.nextID))
        self.nextID += 1
        try self.perform(.consumerGroupHeartbeat(request, origin), client)
        // As the broker does, for what is due at once.
        try self.coordinator.advance(now: self.now)
    }

    private static func set(_ command: DataDriven.Command, _ settings: inout ConsumerGroupSettings) throws {
        if let value = try command.int("session") { settings.sessionTimeoutMs = Int32(value) }
        if let value = try command.int("heartbeat") { settings.heartbeatIntervalMs = Int32(value) }
        if let value = try command.int("interval") { settings.assignmentIntervalMs = Int32(value) }
        if let value = command.options["offload"] { settings.offloadsAssignors = value == "true" }
    }

    private func configure(_ command: DataDriven.Command) throws {
        for key in command.options.keys.sorted() {
            if key == "group.consumer.migration.policy" {
                self.config.consumerMigrationPolicy =
                    ConsumerGroupMigrationPolicy(rawValue: command.options[key] ?? "") ?? .disabled
                continue
            }
            let value = try command.int(key) ?? 0
            switch key {
            case "group.consumer.session.timeout.ms": self.settings.sessionTimeoutMs = Int32(value)
            case "group.consumer.assignment.interval.ms": self.settings.assignmentIntervalMs = Int32(value)
            case "group.consumer.max.size": self.config.consumerMaxSize = Int32(value)
            case "group.min.session.timeout.ms": self.config.minSessionTimeoutMs = Int32(value)
            case "group.max.session.timeout.ms": self.config.maxSessionTimeoutMs = Int32(value)
            case "group.initial.rebalance.delay.ms": self.config.initialRebalanceDelayMs = Int32(value)
            case "group.max.size": self.config.maxSize = Int32(value)
            case "offset.metadata.max.bytes": self.config.offsetMetadataMaxSize = Int32(value)
            case "offsets.retention.ms": self.config.offsetsRetentionMs = value
            case "offsets.retention.check.interval.ms": self.config.offsetsRetentionCheckIntervalMs = value
            case "offset.commit.timeout.ms": self.config.offsetCommitTimeoutMs = value
            case "max-assigned-at-once": self.config.maxAssignedAtOnce = Int(value)
            case "max-pending-members": self.config.maxPendingMembers = Int(value)
            case "max-pending-bytes": self.config.maxPendingBytes = Int(value)
            case "max-group-bytes": self.config.maxGroupBytes = Int(value)
            case "max-expired-offsets-a-pass": self.config.maxExpiredOffsetsAPass = Int(value)
            case "max-batch-bytes": self.log = InMemoryLog(maxBatchBytes: Int(value))
            default: throw DataDriven.Mismatch(description: "unknown setting \(key)")
            }
        }
    }

    /// What is committed: `topic-partition:offset`.
    static func topicPartitionOffset(_ word: String) -> (topic: String, partition: Int32, offset: Int64) {
        let parts = word.split(separator: ":").map(String.init)
        let name = parts[0].split(separator: "-").map(String.init)
        return (name[0], Int32(name[1]) ?? 0, Int64(parts[1]) ?? 0)
    }

    private func commit(_ command: DataDriven.Command, _ group: String, _ client: String, _ version: Int16) throws {
        var request = OffsetCommitRequest()
        request.groupID = group
        request.memberID = self.expand(command.options["member"] ?? "")
        request.groupInstanceID = command.options["instance"]
        request.generationIDOrMemberEpoch = Int32(try command.int("generation") ?? -1)
        request.retentionTimeMs = try command.int("retention") ?? -1
        for word in command.arguments.dropFirst() {
            let (name, index, offset) = Self.topicPartitionOffset(word)
            var partition = OffsetCommitRequest.Partition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            partition.committedLeaderEpoch = Int32(try command.int("epoch") ?? -1)
            partition.committedMetadata = command.options["metadata"]
            if request.topics.last?.name != name {
                var topic = OffsetCommitRequest.Topic()
                topic.name = name
                topic.topicID = self.topicID(command.options["id"])
                request.topics.append(topic)
            }
            request.topics[request.topics.count - 1].partitions.append(partition)
        }
        try self.perform(.offsetCommit(request, apiVersion: version), client)
    }

    func perform(_ request: Shard.Request, _ client: String) throws {
        try self.coordinator.perform(request, on: 0, now: self.now) { [lines] reply in
            let text = describe(reply).map(shortenIDs)
            lines.all.withLock { $0 += text.map { "\(client) <- \($0)" } }
        }
    }

    // MARK: Words

    /// `a-1` for `a-00000000-0000-0000-0000-000000000001`, and back.
    func expand(_ name: String) -> String {
        guard let dash = name.lastIndex(of: "-"), let number = UInt64(name[name.index(after: dash)...]) else {
            return name
        }
        return "\(name[..<dash])-\(KafkaUUID(high: 0, low: number).javaDescription)"
    }

    func topicID(_ name: String?) -> KafkaUUID {
        name.flatMap { UInt64($0) }.map { KafkaUUID(high: 1, low: $0) } ?? .zero
    }

    private func fetchTopic(_ word: String) -> OffsetFetchRequest.Topics {
        // topic:0,1 or topic@id:0,1
        let parts = word.split(separator: ":").map(String.init)
        let name = parts[0].split(separator: "@").map(String.init)
        var topic = OffsetFetchRequest.Topics()
        topic.name = name[0]
        topic.topicID = self.topicID(name.count > 1 ? name[1] : nil)
        topic.partitionIndexes = parts.count > 1 ? parts[1].split(separator: ",").compactMap { Int32($0) } : []
        return topic
    }

    /// `range:t1+t2,roundrobin:t1`: the topics become a consumer's subscription.
    private func protocols(_ text: String, _ type: String, owned: String?) -> [JoinProtocol] {
        text.split(separator: ",").map { word in
            let parts = word.split(separator: ":", maxSplits: 1).map(String.init)
            var offered = JoinProtocol()
            offered.name = parts[0]
            let content = parts.count > 1 ? parts[1] : ""
            if type == ClassicGroup.consumerProtocolType {
                var subscription = ConsumerProtocolSubscription()
                subscription.topics = content.split(separator: "+").map(String.init)
                if let owned {
                    let parts = owned.split(separator: ":").map(String.init)
                    var topic = ConsumerProtocolSubscription.TopicPartition()
                    topic.topic = parts[0]
                    topic.partitions = (parts.count > 1 ? parts[1] : "").split(separator: ",").compactMap { Int32($0) }
                    subscription.ownedPartitions = [topic]
                }
                offered.metadata = withEncoded {
                    $0.writeInt16(1)
                    subscription.encode(into: &$0, version: 1)
                }
            } else {
                offered.metadata = Array(content.utf8)
            }
            return offered
        }
    }

    func print(_ line: String, at index: Int? = nil) {
        self.lines.all.withLock { $0.insert(line, at: index ?? $0.count) }
    }

    private func showLog() throws {
        for batch in try self.log.batchesRead where batch.header.lastOffset >= self.logSeen {
            for record in batch.records { self.print(shortenIDs("log " + describe(record, in: batch.header))) }
        }
        self.logSeen = self.log.endOffset
    }

    private func showGroups() {
        guard let shard = try? self.shard else { return }
        for (id, group) in shard.groups.sorted(by: { $0.key < $1.key }) {
            let text = shortenIDs("=> " + describe(group))
            if self.shown.updateValue(text, forKey: id) != text { self.print(text) }
        }
        for (id, group) in shard.consumerGroups.sorted(by: { $0.key < $1.key }) {
            let text = shortenIDs("=> " + KafkaCoordinationTests.describe(group))
            if self.shown.updateValue(text, forKey: id) != text { self.print(text) }
        }
        for id in self.shown.keys.sorted() where shard.groups[id] == nil && shard.consumerGroups[id] == nil {
            self.shown[id] = nil
            self.print("=> \(id) Dead")
        }
    }
}

extension ErrorCode {
    static func named(_ name: String) -> ErrorCode {
        (-1...150).lazy.map(ErrorCode.init(rawValue:)).first { $0.name == name } ?? .unknownServerError
    }
}
