import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Jobs of the log (syncs too) that wait until it is their turn.
final class Jobs: BackgroundExecutor, @unchecked Sendable {
    private(set) var jobs: [@Sendable () -> Void] = []
    var onSubmit: () -> Void = {}

    func submit(_ job: @escaping @Sendable () -> Void) {
        self.jobs.append(job)
        self.onSubmit()
    }

    func runFirst() { if !self.jobs.isEmpty { self.jobs.removeFirst()() } }
}

/// A process: the real coordinators' shards and runtime over the real log, which writes to a simulated disk. It can be
/// killed, and its machine can lose its power, also in the midst of what it does.
final class SimulatedBroker: @unchecked Sendable {
    struct Topic {
        var name: String
        var partitions: Int32
        var id: KafkaUUID
    }

    static let offsetsTopic = "__consumer_offsets"
    static let transactionsTopic = "__transaction_state"
    static let internalPartitions: Int32 = 2

    let world: World
    let disk: SimulatedDisk
    /// A power cut loses what was not synced: only where an answer waits for the sync may there be one.
    let flushesBeforeAck: Bool
    let groupConfig: GroupCoordinatorConfig
    let transactionConfig: TransactionCoordinatorConfig
    private let raisesLeaderEpoch: Bool
    private let segmentBytes: Int
    private let topics: [Topic]
    private(set) var manager: LogManager?
    private(set) var groups: GroupCoordinator?
    private(set) var transactions: TransactionCoordinator?
    private var jobs = Jobs()
    /// Which of the lives of the process; connections do not outlive one.
    private(set) var life = 0
    private(set) var leaderEpoch: Int32 = 0
    /// Of the next crash that comes in the midst of something.
    private var cutsPower = false
    /// The metadata that groups know. Outlives the process.
    private(set) var image: GroupMetadataImage
    /// The next producer id, which is stored elsewhere.
    private var nextProducerID: Int64 = 1000
    /// Appends that are not committed yet.
    private var uncommitted: [(log: PartitionLog, endOffset: Int64, then: () -> Void)] = []
    /// Told of each start of a process that follows a power cut.
    var powerWasCut: () -> Void = {}

    /// - Parameter topics: those with records; their ids are by their order.
    init(
        _ world: World, groups: GroupCoordinatorConfig, transactions: TransactionCoordinatorConfig,
        topics: [(name: String, partitions: Int32)]
    ) {
        self.world = world
        self.groupConfig = groups
        self.transactionConfig = transactions
        self.flushesBeforeAck = world.random.oneIn(2)
        self.raisesLeaderEpoch = world.random.oneIn(2)
        self.segmentBytes = world.random.oneIn(2) ? 1 << 20 : 4096
        self.disk = SimulatedDisk(seed: world.random.next(), pageShift: 9, isStrict: world.random.oneIn(2))
        let all =
            [(Self.offsetsTopic, Self.internalPartitions), (Self.transactionsTopic, Self.internalPartitions)] + topics
        self.topics = all.enumerated().map {
            Topic(name: $1.0, partitions: $1.1, id: KafkaUUID(high: 1, low: UInt64($0) + 2))
        }
        self.image = GroupMetadataImage(
            revision: 1,
            topics: self.topics.map { GroupTopic(name: $0.name, id: $0.id, partitionCount: $0.partitions) })
        SimulatedDisk.current = self.disk
    }

    var now: CoordinatorTime {
        CoordinatorTime(monotonicMs: self.world.now, wallMs: 1_700_000_000_000 + self.world.now)
    }

    /// Those that are open; none while the process is dead.
    func log(_ topic: String, _ partition: Int32) -> PartitionLog? {
        self.manager?.log(for: TopicPartition(topic: topic, partition: partition))
    }

    func topic(named name: String) -> Topic? { self.topics.first { $0.name == name } }

    /// Every partition with records.
    var partitions: [TopicPartition] {
        self.topics.flatMap { topic in
            (0..<topic.partitions).map { TopicPartition(topic: topic.name, partition: $0) }
        }
    }

    // MARK: Lives

    func start() throws {
        self.life += 1
        do { try self.startProcess() } catch {
            // It may have been killed while it started.
            guard self.disk.isStopped else { throw error }
        }
    }

    private func startProcess() throws {
        self.disk.clock = self.now.wallMs
        if !self.world.isCalm, self.world.random.oneIn(8) { self.dieSoon() }
        let jobs = Jobs()
        self.jobs = jobs
        let life = self.life
        jobs.onSubmit = { [weak self] in self?.jobWaits(life) }
        var configuration = LogManager.Configuration(directories: ["/data"], nodeID: 1, clusterID: "simulated")
        configuration.recoveryThreadsPerDirectory = 1
        configuration.retentionCheckIntervalMs = .max / 4
        configuration.producerIDExpirationCheckIntervalMs = .max / 4
        var log = LogConfig()
        log.flushBeforeAck = self.flushesBeforeAck
        log.segmentBytes = self.segmentBytes
        let logConfig = log
        let ids = Dictionary(uniqueKeysWithValues: self.topics.map { ($0.name, $0.id) })
        let manager = try LogManager.open(configuration, background: jobs, now: self.disk.clock)
        self.manager = manager
        manager.schedule.withLock { $0.retention = .max }
        _ = try manager.load(now: self.disk.clock, topicID: { ids[$0] }, config: { _, _ in logConfig })
        for topic in self.topics {
            for partition in 0..<topic.partitions {
                _ = try manager.create(
                    TopicPartition(topic: topic.name, partition: partition), topicID: topic.id, config: logConfig,
                    now: self.disk.clock)
            }
        }
        if self.raisesLeaderEpoch || self.leaderEpoch == 0 { self.leaderEpoch += 1 }
        let world = self.world
        let groups = GroupCoordinator(
            config: self.groupConfig, partitions: Int(Self.internalPartitions),
            note: { note in world.note("      (\(note))") },
            carryOut: { [weak self] work, partition, epoch in
                world.after(Int64(world.random.below(50))) {
                    guard let self, self.life == life else { return }
                    self.groups?.runtime.workDone(work.run(), on: partition, epoch: epoch, now: self.now)
                }
            })
        self.groups = groups
        let transactions = TransactionCoordinator(
            config: self.transactionConfig, partitions: Int(Self.internalPartitions),
            note: { note in world.note("      (\(note))") },
            carryOut: { [weak self] work, partition, epoch in
                guard let self, self.life == life else { return }
                self.carryOut(work, partition, epoch)
            })
        self.transactions = transactions
        for partition in 0..<Self.internalPartitions {
            // Requests come while it loads.
            if groups.runtime.beginLoading(partition, epoch: self.leaderEpoch) {
                self.after(Int64(self.world.random.below(300))) {
                    try $0.load(Self.offsetsTopic, partition, groups.makeLoader(), groups.runtime) {
                        $0.knowing(self.image)
                    }
                }
            }
            if transactions.runtime.beginLoading(partition, epoch: self.leaderEpoch) {
                self.after(Int64(self.world.random.below(300))) {
                    try $0.load(Self.transactionsTopic, partition, transactions.makeLoader(), transactions.runtime) {
                        $0
                    }
                }
            }
        }
        self.tick()
    }

    private func load<Shard: CoordinatorShard>(
        _ topic: String, _ partition: Int32, _ loader: CoordinatorLoader<Shard>, _ runtime: CoordinatorRuntime<Shard>,
        _ prepare: (Shard) -> Shard
    ) throws {
        guard let log = self.log(topic, partition) else { return }
        var loader = loader
        let scratch = DecompressionScratch()
        var offset = log.snapshot.logStartOffset
        while offset < log.logEndOffset {
            guard let bytes = try self.read(log, from: offset, upTo: log.logEndOffset)?.bytes else {
                throw Violation("\(topic)-\(partition) cannot be read at \(offset)")
            }
            bytes.withUnsafeBytes { _ = loader.replay($0, scratch: scratch) }
            guard loader.nextOffset > offset else {
                throw Violation("\(topic)-\(partition) does not load at \(offset)")
            }
            offset = loader.nextOffset
        }
        if let fault = loader.faults.first { throw Violation("\(topic)-\(partition): \(fault)") }
        self.world.note("\(topic)-\(partition) is loaded, \(loader.recordCount) records")
        runtime.finishLoading(
            partition, epoch: self.leaderEpoch, shard: prepare(loader.shard),
            log: Port(broker: self, log: log, leaderEpoch: self.leaderEpoch), endOffset: log.logEndOffset,
            highWatermark: log.highWatermark, now: self.now)
    }

    /// The process will be killed in the midst of something that it does to the disk.
    func dieSoon() { self.disk.stopsAfter = self.disk.changes + self.world.random.below(40) }

    /// The same, by a power cut.
    func losePowerSoon() {
        self.cutsPower = true
        self.dieSoon()
    }

    /// To be called after each event.
    func look() throws { if self.disk.isStopped { try self.crash(powerCut: self.cutsPower) } }

    /// Ends the process, and begins another one.
    func crash(powerCut: Bool) throws {
        self.world.note(powerCut ? "POWER CUT" : "KILL")
        self.endProcess()
        self.cutsPower = false
        self.life += 1
        if powerCut {
            self.world.totals.powerCuts += 1
            self.disk.cutPower(keep: self.world.random.below(9))
            self.powerWasCut()
        } else {
            self.world.totals.crashes += 1
            self.disk.restartProcess()
        }
        self.after(Int64(self.world.random.below(1000))) { try $0.start() }
    }

    func dispose() {
        self.endProcess()
        self.powerWasCut = {}
    }

    /// What was in its memory is gone; nothing more reaches the disk.
    private func endProcess() {
        self.jobs.onSubmit = {}
        self.jobs = Jobs()
        self.disk.stopsAfter = 0
        self.groups = nil
        self.transactions = nil
        self.manager = nil
        self.uncommitted = []
    }

    /// Something that happens later in this life, or not at all.
    func after(_ delayMs: Int64, _ event: @escaping (SimulatedBroker) throws -> Void) {
        let life = self.life
        self.world.after(delayMs) { [weak self] in
            guard let self, self.life == life else { return }
            self.disk.clock = self.now.wallMs
            try event(self)
        }
    }

    private func jobWaits(_ life: Int) {
        guard self.life == life else { return }
        let jobs = self.jobs
        self.after(Int64(self.world.random.below(10))) { broker in
            jobs.runFirst()
            broker.watermarksMoved()
        }
    }

    private func tick() {
        self.after(100) { broker in
            broker.groups?.advance(now: broker.now)
            broker.transactions?.advance(now: broker.now)
            broker.tick()
        }
    }

    // MARK: What is committed

    private func watermarksMoved() {
        for partition in 0..<Self.internalPartitions {
            if let log = self.log(Self.offsetsTopic, partition) {
                self.groups?.runtime.highWatermarkAdvanced(partition, to: log.highWatermark, now: self.now)
            }
            if let log = self.log(Self.transactionsTopic, partition) {
                self.transactions?.runtime.highWatermarkAdvanced(partition, to: log.highWatermark, now: self.now)
            }
        }
        let ready = self.uncommitted.filter { $0.log.highWatermark >= $0.endOffset }
        guard !ready.isEmpty else { return }
        self.uncommitted.removeAll { $0.log.highWatermark >= $0.endOffset }
        for waiting in ready { waiting.then() }
    }

    /// Called once what lies before `endOffset` is committed.
    func whenCommitted(_ log: PartitionLog, _ endOffset: Int64, _ then: @escaping () -> Void) {
        if log.highWatermark >= endOffset { return then() }
        self.uncommitted.append((log, endOffset, then))
    }

    func allocateProducerID() -> Int64 {
        defer { self.nextProducerID += 1 }
        return self.nextProducerID
    }

    // MARK: Groups

    func perform(
        _ request: GroupCoordinatorShard.Request, for group: String,
        respond: @escaping @Sendable (GroupCoordinatorShard.Reply) -> Void
    ) {
        self.disk.clock = self.now.wallMs
        self.groups?.perform(request, for: group, now: self.now, respond: respond)
    }

    func hasLoaded(_ group: String) -> Bool {
        guard let groups = self.groups else { return false }
        return groups.runtime.phase(of: groups.partition(for: group)) == .active
    }

    /// Topics or settings have changed.
    func change(_ image: GroupMetadataImage, _ topics: ChangedTopics) {
        self.image = image
        for partition in 0..<Self.internalPartitions {
            self.groups?.perform(.metadataChanged(image, topics), on: partition, now: self.now) { _ in }
        }
    }
}

/// As the broker's own port (PartitionCoordinatorLog).
private struct Port: CoordinatorLog, @unchecked Sendable {
    let broker: SimulatedBroker
    let log: PartitionLog
    let leaderEpoch: Int32

    var maxBatchBytes: Int { 4000 }

    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
        self.append(&batch, .records, recordCount: recordCount, now: now)
    }

    func append(
        _ batch: inout [UInt8], _ kind: CoordinatorBatchKind, recordCount: Int, now: CoordinatorTime
    ) -> CoordinatorAppendResult {
        batch.withUnsafeMutableBytes { bytes in
            guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(bytes)) else {
                return .failed(.unknownServerError)
            }
            switch self.log.append(
                bytes, validated: validated, leaderEpoch: self.leaderEpoch, now: now.wallMs, origin: .coordinator,
                transaction: TransactionCheck(kind))
            {
            case .success(let info):
                return .appended(
                    CoordinatorAppend(
                        firstOffset: info.firstOffset, endOffset: info.lastOffset + 1,
                        highWatermark: self.log.highWatermark))
            case .failure(let error): return .failed(error.code)
            }
        }
    }
}

extension TransactionCheck {
    fileprivate init(_ kind: CoordinatorBatchKind) {
        self =
            switch kind {
            case .records, .transaction(.off): .none
            case .transaction(.open): .verified(nil)
            case .transaction(.shown(let number)): .verified(VerificationGuard(number: number))
            case .marker(let version): .marker(version: version)
            }
    }
}
