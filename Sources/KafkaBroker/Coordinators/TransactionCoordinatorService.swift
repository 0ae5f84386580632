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
    private let config: TransactionCoordinatorConfig
    private let producerIDs: ProducerIDManager
    private let logger: Logger
    let host: CoordinatorHost<TransactionCoordinator>
    let markers: TransactionMarkerWriter
    /// The level of the feature `transaction.version`, where it is not the config's.
    private let transactionVersion = Mutex<Int16?>(nil)

    /// - Parameters:
    ///   - eventLoop: on which the tick runs.
    ///   - wake: tells those who wait for a partition that it has grown.
    init(
        config: TransactionCoordinatorConfig, replicaManager: ReplicaManager, producerIDs: ProducerIDManager,
        markers: TransactionMarkerWriter, background: any BackgroundExecutor, eventLoop: any EventLoop, logger: Logger,
        wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.config = config
        self.producerIDs = producerIDs
        self.markers = markers
        self.logger = logger
        self.host = CoordinatorHost(
            topic: InternalTopics.transactionState, replicaManager: replicaManager, background: background,
            eventLoop: eventLoop, logger: logger, wake: wake)
    }

    // MARK: Requests

    /// Carries out a request for a transactional id; `respond` is called once, on whichever thread has the answer, which
    /// may be this one.
    func perform(
        _ request: TransactionCoordinatorShard.Request, for transactionalID: String,
        respond: @escaping TransactionCoordinator.Respond
    ) {
        guard
            let (coordinator, partition, aside) = self.host.coordinator(
                choosing: { $0.partition(for: transactionalID) })
        else { return respond(TransactionCoordinatorShard.failure(of: request, .notCoordinator)) }
        if let aside {
            return aside.submit { coordinator.perform(request, on: partition, now: .current, respond: respond) }
        }
        coordinator.perform(request, on: partition, now: .current, respond: respond)
    }

    /// Asks every shard; none while there is no topic.
    func performOnAll(
        _ request: TransactionCoordinatorShard.Request,
        _ completion: @escaping @Sendable ([TransactionCoordinatorShard.Reply]) -> Void
    ) {
        self.host.askAll(completion) { $0.perform(request, on: $1, now: .current, respond: $2) }
    }

    /// The partition of `__transaction_state` for a transactional id; nil while there is no such topic.
    package func partition(for transactionalID: String) -> Partition? { self.host.partition(for: transactionalID) }

    /// The level of the feature `transaction.version` is another.
    package func use(transactionVersion: Int16) {
        let isNew = self.transactionVersion.withLock { version in
            defer { version = transactionVersion }
            return version != transactionVersion
        }
        guard isNew else { return }
        self.performOnAll(.useTransactionVersion(transactionVersion)) { _ in }
    }

    private var coordinator: TransactionCoordinator? { self.host.coordinator }

    // MARK: The broker's changes

    /// The topics of this broker have changed, or are there for the first time: takes up the partitions of
    /// `__transaction_state` that it leads. One call at a time, not on an event loop.
    package func follow() {
        self.markers.topicsChanged()
        self.host.follow(make: { self.makeCoordinator(partitions: $0) }, load: { self.load($0, into: $1) })
    }

    private func makeCoordinator(partitions: Int) -> TransactionCoordinator {
        let logger = self.logger
        var config = self.config
        if let version = self.transactionVersion.withLock({ $0 }) { config.transactionVersion = version }
        return TransactionCoordinator(
            config: config, partitions: partitions, note: { logger.info("\($0)") },
            carryOut: { [weak self] work, partition, epoch in self?.carryOut(work, partition, epoch) })
    }

    /// Partitions of `__transaction_state` are offline: their transactional ids have no coordinator.
    package func unload(_ partitions: [Int32]) { self.host.unload(partitions) }

    /// The high watermark of a partition moved without an append of ours.
    package func highWatermarkAdvanced(_ partition: Partition) {
        self.markers.highWatermarkAdvanced(partition)
        guard partition.topic == InternalTopics.transactionState else { return }
        self.host.highWatermarkAdvanced(partition)
    }

    /// A partition takes no records any more.
    package func storageFailed(_ partition: Partition) {
        self.markers.storageFailed(partition)
        guard partition.topic == InternalTopics.transactionState else { return }
        self.host.unload([partition.index])
    }

    /// The broker stops: whoever waits is sent to look for a coordinator.
    package func stop() { self.host.stop() }

    // MARK: Work of the shards

    private func carryOut(_ work: TransactionCoordinatorShard.Work, _ partition: Int32, _ epoch: Int32) {
        switch work {
        case .allocateProducerID(let ticket):
            self.producerIDs.next { result in
                let result = result.mapError(\.code)
                self.host.run(on: partition) {
                    $0.workDone(.producerID(ticket, result), on: partition, epoch: epoch, now: .current)
                }
            }
        case .writeMarkers(let markers):
            let marker = TransactionMarkerWriter.Marker(
                producer: markers.producer, isCommit: markers.isCommit, coordinatorEpoch: epoch,
                transactionVersion: markers.transactionVersion)
            self.markers.write(marker, to: markers.partitions) { failures in
                let outcome = TransactionMarkersOutcome(
                    transactionalID: markers.transactionalID, producer: markers.producer, failures: failures)
                self.host.run(on: partition) {
                    $0.workDone(.markersWritten(outcome), on: partition, epoch: epoch, now: .current)
                }
            }
        }
    }

    private func load(_ partition: Partition, into coordinator: TransactionCoordinator) {
        let began = CoordinatorTime.current
        var loader = coordinator.makeLoader()
        if let error = loader.load(partition.log, bufferBytes: CoordinatorHost<TransactionCoordinator>.loadBufferBytes)
        {
            return self.host.cannotLoad("transactions", of: partition, into: coordinator, error)
        }
        let shard = loader.shard
        self.host.report(loader, of: partition, since: began, "\(shard.transactions.count) transactional ids")
        let now = CoordinatorTime.current
        self.host.finishLoading(shard, of: partition, into: coordinator, now: now)
        // It may be another than when the shard was made, when nobody could be told.
        if let version = self.transactionVersion.withLock({ $0 }) {
            coordinator.perform(.useTransactionVersion(version), on: partition.index, now: now) { _ in }
        }
    }
}

extension TransactionCoordinatorConfig {
    package init(_ config: KafkaConfig) {
        self.init()
        self.maxTimeoutMs = Int32(clamping: config.transactionMaxTimeoutMs)
        self.idExpirationMs = config.int64("transactional.id.expiration.ms")
        self.abortIntervalMs = config.int64("transaction.abort.timed.out.transaction.cleanup.interval.ms")
        self.removeExpiredIntervalMs = config.int64("transaction.remove.expired.transaction.cleanup.interval.ms")
        self.isTwoPhaseCommitEnabled = config.isOn("transaction.two.phase.commit.enable")
    }
}

extension KafkaConfig {
    var verifiesTransactions: Bool { self.isOn("transaction.partition.verification.enable") }
}
