import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import Logging
import NIOCore
import Synchronization

/// A coordinator with a shard for each partition of an internal topic.
protocol InternalTopicCoordinator: AnyObject, Sendable {
    associatedtype Shard: CoordinatorShard

    var runtime: CoordinatorRuntime<Shard> { get }

    /// Fires the timers that are due.
    func advance(now: CoordinatorTime)
}

extension GroupCoordinator: InternalTopicCoordinator {}
extension TransactionCoordinator: InternalTopicCoordinator {}

/// Keeps the coordinator of an internal topic while the topic is there: makes it, has the shards of the partitions that
/// are led here loaded on a background thread, and drives its timers by one tick.
final class CoordinatorHost<Coordinator: InternalTopicCoordinator>: Sendable {
    private struct Active: Sendable {
        var coordinator: Coordinator
        var topicID: KafkaUUID
        var logs: [PartitionLog?] = []

        func log(of partition: Int32) -> PartitionLog? {
            self.logs.indices.contains(Int(partition)) ? self.logs[Int(partition)] : nil
        }
    }

    private let topic: String
    private let replicaManager: ReplicaManager
    private let background: any BackgroundExecutor
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let wake: @Sendable (Partition) -> Void
    private let active = Mutex<Active?>(nil)
    private let tick = Mutex<RepeatedTask?>(nil)
    /// Where shards work whose disk is slow, so that no event loop waits for it. Not the folder's own writer: an append
    /// waits for what that one has queued.
    let aside = BackgroundThreads(threads: 1)
    /// Timers are looked at there.
    private let ticksAside = Atomic<Bool>(false)

    /// How often timers are looked at. Sessions last seconds.
    private static var tickMs: Int64 { 50 }
    /// Read at once while loading.
    static var loadBufferBytes: Int { 1 << 20 }

    /// - Parameters:
    ///   - topic: the internal topic's name.
    ///   - eventLoop: on which the tick runs.
    ///   - wake: tells those who wait for a partition that it has grown.
    init(
        topic: String, replicaManager: ReplicaManager, background: any BackgroundExecutor, eventLoop: any EventLoop,
        logger: Logger, wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.topic = topic
        self.replicaManager = replicaManager
        self.background = background
        self.eventLoop = eventLoop
        self.logger = logger
        self.wake = wake
    }

    /// Nil while there is no such topic.
    var coordinator: Coordinator? { self.active.withLock { $0?.coordinator } }

    /// The coordinator, and the thread on which to ask the shard of the partition that `choose` gives; nil: the caller's.
    func coordinator(
        choosing choose: (Coordinator) -> Int32
    ) -> (coordinator: Coordinator, partition: Int32, aside: BackgroundThreads?)? {
        let found = self.active.withLock { active in
            active.map { active in
                let partition = choose(active.coordinator)
                return (coordinator: active.coordinator, partition: partition, log: active.log(of: partition))
            }
        }
        guard let found else { return nil }
        return (found.coordinator, found.partition, found.log?.isSlow ?? false ? self.aside : nil)
    }

    /// Does something with a shard: here, or on the thread for those whose disk is slow. False: there is no coordinator.
    @discardableResult
    func run(on partition: Int32, _ job: @escaping @Sendable (Coordinator) -> Void) -> Bool {
        guard let (coordinator, _, aside) = self.coordinator(choosing: { _ in partition }) else { return false }
        if let aside { aside.submit { job(coordinator) } } else { job(coordinator) }
        return true
    }

    /// The partition in which what has this name lives; nil while there is no such topic.
    func partition(for name: String) -> Partition? {
        guard let topic = self.replicaManager.table.topic(named: self.topic) else { return nil }
        let count = self.coordinator?.runtime.partitionCount ?? topic.partitions.count
        return topic.partition(GroupCoordinator.partition(for: name, of: count))
    }

    /// Asks every shard; none while there is no topic.
    /// - Parameter ask: called for each partition.
    func askAll<Reply: Sendable>(
        _ completion: @escaping @Sendable ([Reply]) -> Void,
        _ ask:
            @escaping @Sendable (Coordinator, _ partition: Int32, _ respond: @escaping @Sendable (Reply) -> Void) ->
            Void
    ) {
        guard let coordinator = self.coordinator else { return completion([]) }
        let count = coordinator.runtime.partitionCount
        let gather = Gather<Reply>(count, completion)
        for index in 0..<count {
            // The same coordinator for all, even if there is another by now: each of its shards answers, if only that it is
            // none.
            let job = { @Sendable in ask(coordinator, Int32(index)) { gather.set(index, $0) } }
            let log = self.active.withLock { $0?.log(of: Int32(index)) }
            if log?.isSlow ?? false { self.aside.submit(job) } else { job() }
        }
    }

    // MARK: The broker's changes

    /// The topics of this broker have changed, or are there for the first time: takes up the partitions that it leads. One
    /// call at a time, not on an event loop.
    /// - Parameters:
    ///   - make: of so many partitions. Names are spread by their number, which therefore stays what it is until a restart.
    ///   - load: loads a shard, on a background thread.
    func follow(
        make: (_ partitions: Int) -> Coordinator, load: @escaping @Sendable (Partition, Coordinator) -> Void
    ) {
        guard let topic = self.replicaManager.table.topic(named: self.topic), !topic.partitions.isEmpty else {
            return self.drop()
        }
        if self.active.withLock({ $0?.topicID != topic.id }) {
            self.drop()
            let coordinator = make(topic.partitions.count)
            self.active.withLock { $0 = Active(coordinator: coordinator, topicID: topic.id) }
            self.startTicking()
        }
        let logs = topic.partitions.map { $0?.log }
        self.active.withLock { $0?.logs = logs }
        guard let coordinator = self.coordinator else { return }
        for case let partition? in topic.partitions
        where coordinator.runtime.beginLoading(partition.index, epoch: partition.leaderEpoch) {
            self.background.submit { load(partition, coordinator) }
        }
    }

    /// Partitions are offline: what lives in them has no coordinator.
    func unload(_ partitions: [Int32]) {
        guard let coordinator = self.coordinator else { return }
        for partition in partitions { coordinator.runtime.unload(partition) }
    }

    /// The high watermark of a partition of the topic moved without an append of ours.
    func highWatermarkAdvanced(_ partition: Partition) {
        self.coordinator?.runtime.highWatermarkAdvanced(
            partition.index, to: partition.log.highWatermark, now: .current)
    }

    /// Whoever waits is sent to look for a coordinator.
    func drop() {
        self.tick.withLock { tick in
            tick?.cancel()
            tick = nil
        }
        let dropped = self.active.withLock { active in
            defer { active = nil }
            return active?.coordinator
        }
        guard let dropped else { return }
        for partition in 0..<dropped.runtime.partitionCount { dropped.runtime.unload(Int32(partition)) }
    }

    /// The broker stops. What was begun for a slow disk is waited for.
    func stop() {
        self.drop()
        self.aside.stop()
    }

    // MARK: Loading

    /// The partition cannot be read.
    /// - Parameter what: lives in it, in a word.
    func cannotLoad(_ what: String, of partition: Partition, into coordinator: Coordinator, _ error: ErrorCode) {
        self.logger.error("\(what) of \(Self.name(partition)) cannot be loaded: \(error.name)")
        coordinator.runtime.unload(partition.index)
    }

    /// Tells what was left out and, where there was something, what was loaded.
    func report(
        _ loader: CoordinatorLoader<Coordinator.Shard>, of partition: Partition, since began: CoordinatorTime,
        _ loaded: @autoclosure () -> String
    ) {
        let name = Self.name(partition)
        for fault in loader.faults {
            self.logger.error("\(name) at offset \(fault.offset): \(fault.description); left out")
        }
        if loader.faultCount > loader.faults.count {
            self.logger.error("\(name): \(loader.faultCount) faults in all")
        }
        if loader.recordCount > 0 {
            let tookMs = CoordinatorTime.current.monotonicMs - began.monotonicMs
            self.logger.info("loaded \(loaded()) of \(name) in \(tookMs) ms")
        }
    }

    /// Opens a loaded shard.
    func finishLoading(
        _ shard: Coordinator.Shard, of partition: Partition, into coordinator: Coordinator, now: CoordinatorTime
    ) {
        let offsets = partition.log.snapshot
        coordinator.runtime.finishLoading(
            partition.index, epoch: partition.leaderEpoch, shard: shard,
            log: PartitionCoordinatorLog(partition: partition, wake: self.wake), endOffset: offsets.logEndOffset,
            highWatermark: offsets.highWatermark, now: now)
        // It may have moved between the look and now, when nobody could be told.
        self.highWatermarkAdvanced(partition)
    }

    private static func name(_ partition: Partition) -> String { "\(partition.topic)-\(partition.index)" }

    private func startTicking() {
        let task = self.eventLoop.scheduleRepeatedTask(
            initialDelay: .milliseconds(Self.tickMs), delay: .milliseconds(Self.tickMs)
        ) { [weak self] _ in
            self?.advance()
        }
        self.tick.withLock { $0 = task }
    }

    private func advance() {
        let found = self.active.withLock { active in active.map { ($0.coordinator, $0.logs) } }
        guard let (coordinator, logs) = found else { return }
        guard coordinator.runtime.nextDeadline ?? .max <= CoordinatorTime.current.monotonicMs else { return }
        // Most of the time all partitions are in one folder, and what is due is in one of them.
        guard logs.contains(where: { $0?.isSlow ?? false }) else { return coordinator.advance(now: .current) }
        guard !self.ticksAside.exchange(true, ordering: .acquiringAndReleasing) else { return }
        self.aside.submit { [weak self] in
            coordinator.advance(now: .current)
            self?.ticksAside.store(false, ordering: .releasing)
        }
    }
}
