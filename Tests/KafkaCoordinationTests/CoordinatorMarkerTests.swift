import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaCoordination

/// Transactions in a shard's partition: what is committed in one, and the marker that ends it.
@Suite struct CoordinatorMarkerTests {
    private let log = InMemoryLog()
    private let now = CoordinatorTime(monotonicMs: 0, wallMs: 77)
    private let answers = Answers()

    private final class Answers: Sendable {
        let all = Mutex<[ErrorCode]>([])
        var codes: [ErrorCode] { self.all.withLock { $0 } }
    }

    private let marker = CoordinatorMarker(producerID: 5, producerEpoch: 2, isCommitted: true, coordinatorEpoch: 9)

    /// A coordinator whose producer 5 has an offset of t-0 pending.
    private func makeCoordinator() throws -> GroupCoordinator {
        let coordinator = GroupCoordinator(config: GroupCoordinatorConfig(), partitions: 1)
        let record = GroupRecords.offsetCommit(
            "g", topic: "t", partition: 0, CommittedOffset(offset: 3, commitTimestampMs: 0))
        let batches = try #require(
            CoordinatorBatch.pack(
                [record], isAtomic: true, transaction: TransactionalProducer(producerID: 5, producerEpoch: 2),
                maxBytes: 1_000, timestamp: 0))
        var bytes = try #require(batches.first?.bytes)
        _ = self.log.append(&bytes, recordCount: 1, now: self.now)
        var loader = coordinator.makeLoader()
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        #expect(coordinator.runtime.beginLoading(0, epoch: 0))
        #expect(self.append(self.marker, coordinator) == [.coordinatorLoadInProgress])
        coordinator.runtime.finishLoading(
            0, epoch: 0, shard: loader.shard, log: self.log, endOffset: self.log.endOffset,
            highWatermark: self.log.highWatermark, now: self.now)
        self.answers.all.withLock { $0 = [] }
        return coordinator
    }

    @discardableResult
    private func append(
        _ marker: CoordinatorMarker, _ coordinator: GroupCoordinator, on partition: Int32 = 0
    ) -> [ErrorCode] {
        coordinator.runtime.appendMarker(marker, on: partition, now: self.now) { [answers] error in
            answers.all.withLock { $0.append(error) }
        }
        return self.answers.codes
    }

    private func committed(_ coordinator: GroupCoordinator) -> Int64? {
        coordinator.runtime.withShard(0) { $0.offsets["g", "t", 0]?.offset } ?? nil
    }

    @Test func recordsOfATransactionAreOneBatchOfItsProducer() throws {
        let record = CoordinatorRecord(key: [1], value: [UInt8](repeating: 7, count: 60))
        let producer = TransactionalProducer(producerID: 5, producerEpoch: 2)
        let batches = try #require(
            CoordinatorBatch.pack([record, record], isAtomic: true, transaction: producer, maxBytes: 300, timestamp: 7))
        let header = try #require(batches[0].bytes.withUnsafeBytes { RecordBatchHeader($0) })
        #expect(batches.count == 1)
        #expect(header.isTransactional && !header.isControl)
        #expect((header.producerID, header.producerEpoch, header.baseSequence) == (5, 2, 0))
        #expect(header.recordsCount == 2)
        // A part of a transaction's batch is never appended alone.
        #expect(
            CoordinatorBatch.pack(
                [record, record], isAtomic: false, transaction: producer, maxBytes: 150, timestamp: 7)
                == nil)
    }

    @Test func theMarkerLetsCountWhatWasPending() throws {
        let coordinator = try self.makeCoordinator()
        #expect(self.committed(coordinator) == nil)
        #expect(self.append(self.marker, coordinator) == [.none])
        #expect(self.committed(coordinator) == 3)
        let bytes = try #require(self.log.state.withLock { $0.batches.last })
        let header = try #require(bytes.withUnsafeBytes { RecordBatchHeader($0) })
        #expect(header.isTransactional && header.isControl)
        #expect((header.producerID, header.producerEpoch, header.baseOffset) == (5, 2, 1))
        let record = try #require(try self.log.records(from: 1).first)
        #expect(record.key == ControlRecordType.commit.key)
        #expect(record.value == EndTransactionMarker(coordinatorEpoch: 9).value)
    }

    @Test func anAbortForgetsIt() throws {
        let coordinator = try self.makeCoordinator()
        var marker = self.marker
        marker.isCommitted = false
        #expect(self.append(marker, coordinator) == [.none])
        #expect(self.committed(coordinator) == nil)
        #expect(coordinator.runtime.withShard(0) { $0.pendingOffsets.isEmpty } == true)
    }

    @Test func theAnswerWaitsForTheHighWatermark() throws {
        let coordinator = try self.makeCoordinator()
        self.log.state.withLock { $0.holdsHighWatermark = true }
        #expect(self.append(self.marker, coordinator).isEmpty)
        coordinator.runtime.highWatermarkAdvanced(0, to: 1, now: self.now)
        #expect(self.answers.codes.isEmpty)
        coordinator.runtime.highWatermarkAdvanced(0, to: 2, now: self.now)
        #expect(self.answers.codes == [.none])
    }

    @Test func itIsGivenUpAfterTheCommitTimeout() throws {
        let coordinator = try self.makeCoordinator()
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.append(self.marker, coordinator)
        #expect(coordinator.runtime.nextDeadline == 5_000)
        coordinator.advance(now: CoordinatorTime(monotonicMs: 5_000, wallMs: 0))
        #expect(self.answers.codes == [.requestTimedOut])
    }

    @Test func refusals() throws {
        let coordinator = try self.makeCoordinator()
        #expect(self.append(self.marker, coordinator, on: 1) == [.notCoordinator])
        self.log.state.withLock { $0.nextError = .transactionCoordinatorFenced }
        #expect(self.append(self.marker, coordinator).last == .transactionCoordinatorFenced)
        #expect(self.committed(coordinator) == nil)
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.append(self.marker, coordinator)
        coordinator.runtime.unload(0)
        #expect(self.answers.codes.last == .notCoordinator)
        #expect(self.append(self.marker, coordinator).last == .notCoordinator)
        #expect(self.answers.codes.count == 4)
    }
}
