import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import Logging
import NIOCore
import Synchronization

/// The transaction coordinator as the broker runs it: a shard for each partition of `__transaction_state` that is led here,
/// loaded on a background thread, with timers driven by one tick. It writes the markers that the shards decide.
///
/// Before the topic exists there is no coordinator; the first FindCoordinator for a transactional id makes the topic.
package final class TransactionCoordinatorService: Sendable {
    private struct Active: Sendable {
        var coordinator: TransactionCoordinator
        var topicID: KafkaUUID
    }

    private let config: TransactionCoordinatorConfig
    private let replicaManager: ReplicaManager
    private let producerIDs: ProducerIDManager
    private let background: any BackgroundExecutor
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let wake: @Sendable (Partition) -> Void
    let markers: TransactionMarkerWriter
    private let active = Mutex<Active?>(nil)
    private let tick = Mutex<RepeatedTask?>(nil)
    /// The level of the feature `transaction.version`, where it is not the config's.
    private let transactionVersion = Mutex<Int16?>(nil)

    private static let tickMs: Int64 = 50
    /// Read at once while loading.
    private static let loadBufferBytes = 1 << 20

    /// - Parameters:
    ///   - eventLoop: on which the tick runs.
    ///   - wake: tells those who wait for a partition that it has grown.
    init(
        config: TransactionCoordinatorConfig, replicaManager: ReplicaManager, producerIDs: ProducerIDManager,
        markers: TransactionMarkerWriter, background: any BackgroundExecutor, eventLoop: any EventLoop, logger: Logger,
        wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.config = config
        self.replicaManager = replicaManager
        self.producerIDs = producerIDs
        self.markers = markers
        self.background = background
        self.eventLoop = eventLoop
        self.logger = logger
        self.wake = wake
    }

    // MARK: Requests

    /// Carries out a request for a transactional id; `respond` is called once, on whichever thread has the answer, which
    /// may be this one.
    func perform(
        _ request: TransactionCoordinatorShard.Request, for transactionalID: String,
        respond: @escaping TransactionCoordinator.Respond
    ) {
        guard let coordinator = self.coordinator else {
            return respond(TransactionCoordinatorShard.failure(of: request, .notCoordinator))
        }
        coordinator.perform(
            request, on: coordinator.partition(for: transactionalID), now: .current, respond: respond)
    }

    /// Asks every shard; none while there is no topic.
    func performOnAll(
        _ request: TransactionCoordinatorShard.Request,
        _ completion: @escaping @Sendable ([TransactionCoordinatorShard.Reply]) -> Void
    ) {
        guard let coordinator = self.coordinator else { return completion([]) }
        let count = coordinator.runtime.partitionCount
        let gather = Gather<TransactionCoordinatorShard.Reply>(count, completion)
        for index in 0..<count {
            coordinator.perform(request, on: Int32(index), now: .current) { gather.set(index, $0) }
        }
    }

    /// The partition of `__transaction_state` for a transactional id; nil while there is no such topic.
    package func partition(for transactionalID: String) -> Partition? {
        guard let topic = self.replicaManager.table.topic(named: InternalTopics.transactionState) else { return nil }
        let count = self.coordinator?.runtime.partitionCount ?? topic.partitions.count
        return topic.partition(GroupCoordinator.partition(for: transactionalID, of: count))
    }

    /// The level of the feature `transaction.version` is another.
    package func use(transactionVersion: Int16) {
        let isNew = self.transactionVersion.withLock { version in
            defer { version = transactionVersion }
            return version != transactionVersion
        }
        guard isNew else { return }
        self.performOnAll(.useTransactionVersion(transactionVersion)) { _ in }
    }

    private var coordinator: TransactionCoordinator? { self.active.withLock { $0?.coordinator } }

    // MARK: The broker's changes

    /// The topics of this broker have changed, or are there for the first time: takes up the partitions of
    /// `__transaction_state` that it leads. One call at a time, not on an event loop.
    package func follow() {
        self.markers.topicsChanged()
        guard let topic = self.replicaManager.table.topic(named: InternalTopics.transactionState),
            !topic.partitions.isEmpty
        else { return self.drop() }
        if self.active.withLock({ $0?.topicID != topic.id }) {
            self.drop()
            let coordinator = self.makeCoordinator(partitions: topic.partitions.count)
            self.active.withLock { $0 = Active(coordinator: coordinator, topicID: topic.id) }
            self.startTicking()
        }
        guard let coordinator = self.coordinator else { return }
        for case let partition? in topic.partitions
        where coordinator.runtime.beginLoading(partition.index, epoch: partition.leaderEpoch) {
            self.background.submit { self.load(partition, into: coordinator) }
        }
    }

    private func makeCoordinator(partitions: Int) -> TransactionCoordinator {
        let logger = self.logger
        var config = self.config
        if let version = self.transactionVersion.withLock({ $0 }) { config.transactionVersion = version }
        // Transactional ids are spread by the number of partitions, which therefore stays what it is until a restart.
        return TransactionCoordinator(
            config: config, partitions: partitions, note: { logger.info("\($0)") },
            carryOut: { [weak self] work, partition, epoch in self?.carryOut(work, partition, epoch) })
    }

    /// Partitions of `__transaction_state` are offline: their transactional ids have no coordinator.
    package func unload(_ partitions: [Int32]) {
        guard let coordinator = self.coordinator else { return }
        for partition in partitions { coordinator.runtime.unload(partition) }
    }

    /// The high watermark of a partition moved without an append of ours.
    package func highWatermarkAdvanced(_ partition: Partition) {
        self.markers.highWatermarkAdvanced(partition)
        guard partition.topic == InternalTopics.transactionState else { return }
        self.coordinator?.runtime.highWatermarkAdvanced(
            partition.index, to: partition.log.highWatermark, now: .current)
    }

    /// A partition takes no records any more.
    package func storageFailed(_ partition: Partition) {
        self.markers.storageFailed(partition)
        guard partition.topic == InternalTopics.transactionState else { return }
        self.coordinator?.runtime.unload(partition.index)
    }

    /// The broker stops: whoever waits is sent to look for a coordinator.
    package func stop() { self.drop() }

    // MARK: Work of the shards

    private func carryOut(_ work: TransactionCoordinatorShard.Work, _ partition: Int32, _ epoch: Int32) {
        switch work {
        case .allocateProducerID(let ticket):
            self.producerIDs.next { result in
                let result = result.mapError(\.code)
                self.coordinator?.workDone(.producerID(ticket, result), on: partition, epoch: epoch, now: .current)
            }
        case .writeMarkers(let markers):
            let marker = TransactionMarkerWriter.Marker(
                producer: markers.producer, isCommit: markers.isCommit, coordinatorEpoch: epoch,
                transactionVersion: markers.transactionVersion)
            self.markers.write(marker, to: markers.partitions) { failures in
                let outcome = TransactionMarkersOutcome(
                    transactionalID: markers.transactionalID, producer: markers.producer, failures: failures)
                self.coordinator?.workDone(.markersWritten(outcome), on: partition, epoch: epoch, now: .current)
            }
        }
    }

    private func load(_ partition: Partition, into coordinator: TransactionCoordinator) {
        let began = CoordinatorTime.current
        let name = "\(partition.topic)-\(partition.index)"
        var loader = coordinator.makeLoader()
        if let error = loader.load(partition.log, bufferBytes: Self.loadBufferBytes) {
            self.logger.error("transactions of \(name) cannot be loaded: \(error.name)")
            coordinator.runtime.unload(partition.index)
            return
        }
        for fault in loader.faults {
            self.logger.error("\(name) at offset \(fault.offset): \(fault.description); left out")
        }
        if loader.faultCount > loader.faults.count {
            self.logger.error("\(name): \(loader.faultCount) faults in all")
        }
        let offsets = partition.log.snapshot
        let now = CoordinatorTime.current
        if loader.recordCount > 0 {
            let tookMs = now.monotonicMs - began.monotonicMs
            self.logger.info("loaded \(loader.shard.transactions.count) transactional ids of \(name) in \(tookMs) ms")
        }
        coordinator.finishLoading(
            partition.index, epoch: partition.leaderEpoch, shard: loader.shard,
            log: PartitionCoordinatorLog(partition: partition, wake: self.wake), endOffset: offsets.logEndOffset,
            highWatermark: offsets.highWatermark, now: now)
        // Both may have changed between the look and now, when nobody could be told.
        if let version = self.transactionVersion.withLock({ $0 }) {
            coordinator.perform(.useTransactionVersion(version), on: partition.index, now: now) { _ in }
        }
        self.highWatermarkAdvanced(partition)
    }

    private func drop() {
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

    private func startTicking() {
        let task = self.eventLoop.scheduleRepeatedTask(
            initialDelay: .milliseconds(Self.tickMs), delay: .milliseconds(Self.tickMs)
        ) { [weak self] _ in
            self?.coordinator?.advance(now: .current)
        }
        self.tick.withLock { $0 = task }
    }
}

extension TransactionCoordinatorConfig {
    package init(_ config: KafkaConfig) {
        self.init()
        func number(_ name: String) -> Int64? { config.lookup([name]).flatMap { Int64($0.value) } }
        self.maxTimeoutMs = Int32(clamping: config.transactionMaxTimeoutMs)
        self.idExpirationMs = number("transactional.id.expiration.ms") ?? self.idExpirationMs
        self.abortIntervalMs =
            number("transaction.abort.timed.out.transaction.cleanup.interval.ms") ?? self.abortIntervalMs
        self.removeExpiredIntervalMs =
            number("transaction.remove.expired.transaction.cleanup.interval.ms") ?? self.removeExpiredIntervalMs
        self.isTwoPhaseCommitEnabled = config.isOn("transaction.two.phase.commit.enable")
    }
}

extension KafkaConfig {
    var verifiesTransactions: Bool { self.isOn("transaction.partition.verification.enable") }

    /// A setting of type boolean.
    func isOn(_ name: String) -> Bool { self.lookup([name])?.value == "true" }
}
