import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Ends transactions in partitions that this broker leads: appends the markers and tells when they are committed.
///
/// Where the partition is one of `__consumer_offsets` its group coordinator appends it, since the offsets that were
/// committed in the transaction count from then on.
package final class TransactionMarkerWriter: Sendable {
    package struct Marker: Sendable {
        package var producer: ProducerIdentity
        package var isCommit: Bool
        /// Of the transaction coordinator that has decided it.
        package var coordinatorEpoch: Int32
        package var transactionVersion: Int16
    }

    package typealias Completion = @Sendable (ErrorCode) -> Void

    private struct Waiting: Sendable {
        var partition: Partition
        var endOffset: Int64
        var completion: Completion
    }

    private let replicaManager: ReplicaManager
    private let groupCoordinator: GroupCoordinatorService
    private let background: any BackgroundExecutor
    private let wake: @Sendable (Partition) -> Void
    /// Markers that are appended and not committed yet, by log.
    private let waiting = Mutex<[ObjectIdentifier: [Waiting]]>([:])
    /// So many partitions' markers are written where they are asked for; more are on a thread of their own.
    private static let inlinePartitions = 256

    init(
        replicaManager: ReplicaManager, groupCoordinator: GroupCoordinatorService, background: any BackgroundExecutor,
        wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.replicaManager = replicaManager
        self.groupCoordinator = groupCoordinator
        self.background = background
        self.wake = wake
    }

    /// Writes a marker to each partition. Those that are no more need none.
    /// - Parameter completion: called once, with the partitions that have not got it.
    func write(
        _ marker: Marker, to partitions: TransactionPartitions,
        _ completion: @escaping @Sendable ([TransactionMarkersOutcome.Failure]) -> Void
    ) {
        let count = partitions.count
        if count > Self.inlinePartitions {
            return self.background.submit { self.writeAll(marker, partitions, count, completion) }
        }
        self.writeAll(marker, partitions, count, completion)
    }

    private func writeAll(
        _ marker: Marker, _ partitions: TransactionPartitions, _ count: Int,
        _ completion: @escaping @Sendable ([TransactionMarkersOutcome.Failure]) -> Void
    ) {
        guard count > 0 else { return completion([]) }
        let gather = FailureGather(count, completion)
        let table = self.replicaManager.table
        var batch = Self.batch(marker)
        for topic in partitions.topics {
            let entry = table.topic(named: topic.name)
            for index in topic.partitions {
                guard let entry, index >= 0, Int(index) < entry.partitions.count else {
                    gather.done(topic.name, index, .none)
                    continue
                }
                guard let partition = entry.partitions[Int(index)] else {
                    gather.done(topic.name, index, .kafkaStorageError)
                    continue
                }
                self.write(marker, &batch, to: partition) { gather.done(topic.name, index, $0) }
            }
        }
    }

    /// Writes a marker to one partition; NONE once it is committed.
    func write(_ marker: Marker, to partition: Partition, _ completion: @escaping Completion) {
        var batch = Self.batch(marker)
        self.write(marker, &batch, to: partition, completion)
    }

    private static func batch(_ marker: Marker) -> [UInt8] {
        RecordBatchBuilder.endTransaction(
            committed: marker.isCommit, marker: EndTransactionMarker(coordinatorEpoch: marker.coordinatorEpoch),
            producerID: marker.producer.id, producerEpoch: marker.producer.epoch, timestamp: wallClockMs())
    }

    /// - Parameter batch: stamped in place.
    private func write(
        _ marker: Marker, _ batch: inout [UInt8], to partition: Partition, _ completion: @escaping Completion
    ) {
        if partition.topic == InternalTopics.consumerOffsets {
            let marker = CoordinatorMarker(
                producerID: marker.producer.id, producerEpoch: marker.producer.epoch, isCommitted: marker.isCommit,
                coordinatorEpoch: marker.coordinatorEpoch, transactionVersion: marker.transactionVersion)
            return self.groupCoordinator.appendMarker(marker, to: partition.index) { error in
                switch error {
                case .notCoordinator, .coordinatorLoadInProgress, .coordinatorNotAvailable:
                    completion(.notLeaderOrFollower)
                default:
                    completion(error)
                }
            }
        }
        // A disk that is slow is not waited for on an event loop.
        if partition.log.isSlow {
            let bytes = batch
            return self.background.submit {
                var bytes = bytes
                self.append(marker, &bytes, to: partition, completion)
            }
        }
        self.append(marker, &batch, to: partition, completion)
    }

    private func append(
        _ marker: Marker, _ batch: inout [UInt8], to partition: Partition, _ completion: @escaping Completion
    ) {
        let now = wallClockMs()
        let result = batch.withUnsafeMutableBytes { bytes -> Result<AppendInfo, AppendError> in
            guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(bytes)) else {
                return .failure(.protocolError(.unknownServerError, nil))
            }
            return partition.log.append(
                bytes, validated: validated, leaderEpoch: partition.leaderEpoch, now: now, origin: .coordinator,
                transaction: .marker(version: marker.transactionVersion))
        }
        switch result {
        case .failure(let error):
            completion(error.code)
        case .success(let info):
            // Readers of committed records have waited for it.
            self.wake(partition)
            if info.isCommitted { return completion(.none) }
            self.waiting.withLock {
                $0[ObjectIdentifier(partition.log), default: []].append(
                    Waiting(partition: partition, endOffset: info.lastOffset &+ 1, completion: completion))
            }
            // It may have been committed meanwhile, when nobody waited.
            self.highWatermarkAdvanced(partition)
        }
    }

    /// The high watermark of a partition moved without an append.
    func highWatermarkAdvanced(_ partition: Partition) {
        let isWaited = self.waiting.withLock { $0[ObjectIdentifier(partition.log)] != nil }
        guard isWaited else { return }
        let highWatermark = partition.log.highWatermark
        for waiting in self.take(partition, { $0.endOffset <= highWatermark }) { waiting.completion(.none) }
    }

    /// The partition takes no records any more, and what was not committed never will be.
    func storageFailed(_ partition: Partition) {
        for waiting in self.take(partition, { _ in true }) { waiting.completion(.kafkaStorageError) }
    }

    /// Topics may be gone, and with them whatever was to be written to them.
    func topicsChanged() {
        let gone = self.waiting.withLock { all in
            all.values.compactMap { $0.first?.partition }.filter {
                self.replicaManager.table.topic(id: $0.topicID)?.partition($0.index)?.log !== $0.log
            }
        }
        for partition in gone {
            for waiting in self.take(partition, { _ in true }) { waiting.completion(.none) }
        }
    }

    private func take(_ partition: Partition, _ isTaken: (Waiting) -> Bool) -> [Waiting] {
        self.waiting.withLock { all in
            let key = ObjectIdentifier(partition.log)
            guard let list = all[key] else { return [] }
            let left = list.filter { !isTaken($0) }
            all[key] = left.isEmpty ? nil : left
            return list.filter(isTaken)
        }
    }
}

/// Waits for so many answers; keeps those that are errors.
private final class FailureGather: Sendable {
    private let state: Mutex<(left: Int, failures: [TransactionMarkersOutcome.Failure])>
    private let completion: @Sendable ([TransactionMarkersOutcome.Failure]) -> Void

    init(_ count: Int, _ completion: @escaping @Sendable ([TransactionMarkersOutcome.Failure]) -> Void) {
        self.state = Mutex((count, []))
        self.completion = completion
    }

    func done(_ topic: String, _ partition: Int32, _ error: ErrorCode) {
        let failures = self.state.withLock { state -> [TransactionMarkersOutcome.Failure]? in
            if error != .none {
                state.failures.append(.init(topic: topic, partition: partition, error: error))
            }
            state.left -= 1
            return state.left == 0 ? state.failures : nil
        }
        if let failures { self.completion(failures) }
    }
}
