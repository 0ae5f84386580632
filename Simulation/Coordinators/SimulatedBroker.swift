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

/// A process: the real coordinator's shards and runtime over the real log, which writes to a simulated disk. It can be
/// killed, and its machine can lose its power.
final class SimulatedBroker: @unchecked Sendable {
    static let topic = "__consumer_offsets"
    static let partitions: Int32 = 2

    let world: World
    let disk: SimulatedDisk
    /// A power cut loses what was not synced: only where an answer waits for the sync may there be one.
    let flushesBeforeAck: Bool
    private let config: GroupCoordinatorConfig
    private let topicID = KafkaUUID(high: 1, low: 2)
    private var manager: LogManager?
    private(set) var coordinator: GroupCoordinator?
    private var jobs = Jobs()
    /// Which of the lives of the process; connections do not outlive one.
    private(set) var life = 0
    private var leaderEpoch: Int32 = 0

    init(_ world: World, config: GroupCoordinatorConfig) {
        self.world = world
        self.config = config
        self.flushesBeforeAck = world.random.oneIn(2)
        self.disk = SimulatedDisk(seed: world.random.next(), pageShift: 9, isStrict: world.random.oneIn(2))
        SimulatedDisk.current = self.disk
    }

    var now: CoordinatorTime {
        CoordinatorTime(monotonicMs: self.world.now, wallMs: 1_700_000_000_000 + self.world.now)
    }

    // MARK: Lives

    func start() throws {
        self.life += 1
        self.disk.clock = self.now.wallMs
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
        let (topicID, logConfig) = (self.topicID, log)
        let manager = try LogManager.open(configuration, background: jobs, now: self.disk.clock)
        self.manager = manager
        manager.schedule.withLock { $0.retention = .max }
        _ = try manager.load(now: self.disk.clock, topicID: { _ in topicID }, config: { _, _ in logConfig })
        let world = self.world
        let coordinator = GroupCoordinator(config: self.config, partitions: Int(Self.partitions)) { note in
            world.note("      (\(note))")
        }
        self.coordinator = coordinator
        self.leaderEpoch += 1
        for partition in 0..<Self.partitions {
            _ = try manager.create(
                TopicPartition(topic: Self.topic, partition: partition), topicID: self.topicID, config: log,
                now: self.disk.clock)
            guard coordinator.runtime.beginLoading(partition, epoch: self.leaderEpoch) else { continue }
            // Requests come while it loads.
            self.world.after(Int64(self.world.random.below(300))) { [weak self] in
                guard let self, self.life == life else { return }
                try self.load(partition)
            }
        }
        self.tick(life)
    }

    private func log(_ partition: Int32) -> PartitionLog? {
        self.manager?.log(for: TopicPartition(topic: Self.topic, partition: partition))
    }

    private func load(_ partition: Int32) throws {
        guard let coordinator = self.coordinator, let log = self.log(partition) else { return }
        var loader = coordinator.makeLoader()
        let scratch = DecompressionScratch()
        var offset = log.snapshot.logStartOffset
        while offset < log.logEndOffset {
            guard
                case .success(let read) = log.read(
                    from: offset, maxBytes: 1 << 16, upTo: log.logEndOffset, minOneMessage: true),
                let slice = read.slice
            else { throw Violation("partition \(partition) cannot be read at \(offset)") }
            var bytes = [UInt8](repeating: 0, count: slice.length)
            let count = try bytes.withUnsafeMutableBytes {
                try FileSystem.read(slice.file, $0, at: Int(slice.position))
            }
            guard count == slice.length else { throw Violation("partition \(partition) is cut off") }
            bytes.withUnsafeBytes { _ = loader.replay($0, scratch: scratch) }
            guard loader.nextOffset > offset else {
                throw Violation("partition \(partition) does not load at \(offset)")
            }
            offset = loader.nextOffset
        }
        if let fault = loader.faults.first { throw Violation("partition \(partition): \(fault)") }
        self.world.note("partition \(partition) is loaded, \(loader.recordCount) records")
        coordinator.runtime.finishLoading(
            partition, epoch: self.leaderEpoch, shard: loader.shard,
            log: Port(broker: self, log: log, leaderEpoch: self.leaderEpoch), endOffset: log.logEndOffset,
            highWatermark: log.highWatermark, now: self.now)
    }

    /// Ends the process in the midst of whatever it does, and begins another one.
    func crash(powerCut: Bool) throws {
        self.world.note(powerCut ? "POWER CUT" : "KILL")
        self.jobs.onSubmit = {}
        self.jobs = Jobs()
        self.coordinator = nil
        self.disk.stopsAfter = 0
        self.manager = nil
        self.life += 1
        if powerCut {
            self.world.totals.powerCuts += 1
            self.disk.cutPower(keep: self.world.random.below(9))
        } else {
            self.world.totals.crashes += 1
            self.disk.restartProcess()
        }
        let life = self.life
        self.world.after(Int64(self.world.random.below(1000))) { [weak self] in
            guard let self, self.life == life else { return }
            try self.start()
        }
    }

    private func jobWaits(_ life: Int) {
        let jobs = self.jobs
        self.world.after(Int64(self.world.random.below(10))) { [weak self] in
            guard let self, self.life == life else { return }
            jobs.runFirst()
            self.watermarksMoved()
        }
    }

    private func watermarksMoved() {
        for partition in 0..<Self.partitions {
            guard let log = self.log(partition) else { continue }
            self.coordinator?.runtime.highWatermarkAdvanced(partition, to: log.highWatermark, now: self.now)
        }
    }

    private func tick(_ life: Int) {
        self.world.after(100) { [weak self] in
            guard let self, self.life == life else { return }
            self.disk.clock = self.now.wallMs
            self.coordinator?.advance(now: self.now)
            self.tick(life)
        }
    }

    // MARK: Requests

    func perform(
        _ request: GroupCoordinatorShard.Request, for group: String,
        respond: @escaping @Sendable (GroupCoordinatorShard.Reply) -> Void
    ) {
        self.disk.clock = self.now.wallMs
        self.coordinator?.perform(request, for: group, now: self.now, respond: respond)
    }

    func endTransaction(_ marker: CoordinatorMarker, of group: String, respond: @escaping @Sendable (ErrorCode) -> Void)
    {
        guard let coordinator = self.coordinator else { return }
        self.disk.clock = self.now.wallMs
        coordinator.runtime.appendMarker(marker, on: coordinator.partition(for: group), now: self.now, respond: respond)
    }
}

/// As the broker's own port (PartitionCoordinatorLog).
private struct Port: CoordinatorLog, @unchecked Sendable {
    let broker: SimulatedBroker
    let log: PartitionLog
    let leaderEpoch: Int32

    var maxBatchBytes: Int { 1 << 20 }

    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
        batch.withUnsafeMutableBytes { bytes in
            guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(bytes)) else {
                return .failed(.unknownServerError)
            }
            switch self.log.append(
                bytes, validated: validated, leaderEpoch: self.leaderEpoch, now: now.wallMs, origin: .coordinator)
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
