import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite struct TransactionTests {
    private func folder(_ folder: TemporaryFolder, _ base: Int64, _ suffix: PartitionFolder.Suffix) -> String {
        PartitionFolder(path: folder.path + "/orders-0").path(base, suffix)
    }

    @Test func anOpenTransactionHoldsTheLastStableOffset() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(batch(3))
        #expect(log.snapshot.lastStableOffset == 3)
        log.append(transactionalBatch(2, producer: ProducerStamp(id: 1, sequence: 0)))
        log.append(transactionalBatch(1, producer: ProducerStamp(id: 2, sequence: 0)))
        log.append(batch(1))
        #expect(log.snapshot.lastStableOffset == 3)
        #expect(log.snapshot.highWatermark == 7)
        _ = try log.end(1, committed: true).get()
        #expect(log.snapshot.lastStableOffset == 5)
        _ = try log.end(2, committed: false).get()
        #expect(log.snapshot.lastStableOffset == 9)
        #expect(
            try log.allAborted == [
                AbortedTransaction(producerID: 2, firstOffset: 5, lastOffset: 8, lastStableOffset: 9)
            ])
        #expect(try log.committedOffsets() == [0, 1, 2, 3, 4, 6])
    }

    @Test func anEarlierTransactionOfAnotherProducerStaysInTheEntry() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 1, sequence: 0)))
        log.append(transactionalBatch(producer: ProducerStamp(id: 2, sequence: 0)))
        _ = try log.end(2, committed: false).get()
        _ = try log.end(1, committed: false).get()
        #expect(
            try log.allAborted == [
                AbortedTransaction(producerID: 2, firstOffset: 1, lastOffset: 2, lastStableOffset: 0),
                AbortedTransaction(producerID: 1, firstOffset: 0, lastOffset: 3, lastStableOffset: 4),
            ])
        // The stop rule: what ends the search is a last stable offset at or past the range.
        #expect(try log.abortedTransactions(from: 1, to: 2).get().map(\.producerID) == [2, 1])
        #expect(try log.abortedTransactions(from: 3, to: 4).get().map(\.producerID) == [1])
        #expect(try log.abortedTransactions(from: 4, to: 9).get().isEmpty)
    }

    @Test func aMarkerWithoutRecordsLeavesNoEntry() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        _ = try log.end(5, epoch: 3, committed: false).get()
        #expect(try log.allAborted.isEmpty)
        #expect(log.snapshot.lastStableOffset == 1)
        // But it fences older epochs, and the epoch that it names begins at sequence 0.
        let old = log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 2, sequence: 0)))
        #expect(old.code == .invalidProducerEpoch)
        let gap = log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 3, sequence: 4)))
        #expect(gap.code == .outOfOrderSequenceNumber)
        #expect(log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 3, sequence: 0))).code == .none)
    }

    @Test func sequencesGoOnAfterAMarkerOfTheSameEpoch() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(3, producer: ProducerStamp(id: 5, sequence: 0)))
        _ = try log.end(5, committed: true).get()
        #expect(
            log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: 0))).code
                == .outOfOrderSequenceNumber)
        #expect(log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: 3))).code == .none)
        // A newer epoch, bumped by the marker, starts over.
        _ = try log.end(5, epoch: 1, committed: true).get()
        #expect(
            log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 1, sequence: 4))).code
                == .outOfOrderSequenceNumber)
        #expect(log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 1, sequence: 0))).code == .none)
    }

    @Test func zombiesAreFenced() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 5, epoch: 4, sequence: 0)))
        #expect(log.end(5, epoch: 3, committed: true).code == .invalidProducerEpoch)
        #expect(log.end(5, epoch: 4, committed: false, coordinator: 7).code == .none)
        #expect(log.end(5, epoch: 4, committed: true, coordinator: 6).code == .transactionCoordinatorFenced)
        #expect(log.end(5, epoch: 4, committed: true, coordinator: 7).code == .none)
        // What a leader has taken, a replica takes.
        var stale = markerBatch(committed: true, producer: 5, epoch: 3, coordinator: 1)
        let end = log.logEndOffset
        stale.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: end, leaderEpoch: 0) }
        #expect(log.append(stale, origin: .replica).code == .none)
    }

    @Test func recordsOutsideOfTheOpenTransactionAreRefused() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: 0)))
        #expect(log.append(batch(producer: ProducerStamp(id: 5, sequence: 1))).code == .invalidTxnState)
        _ = try log.end(5, committed: true).get()
        #expect(log.append(batch(producer: ProducerStamp(id: 5, sequence: 1))).code == .none)
    }

    @Test func aMarkerAboveTheHighWatermarkDecidesNothing() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(batch(2))
        log.setHighWatermark(2)
        log.append(transactionalBatch(2, producer: ProducerStamp(id: 1, sequence: 0)))
        _ = try log.end(1, committed: false).get()
        log.append(batch())
        log.setHighWatermark(4)
        #expect(log.snapshot.lastStableOffset == 2)
        log.setHighWatermark(5)
        #expect(log.snapshot.lastStableOffset == 5)
        // Forgotten by the next marker.
        log.append(transactionalBatch(1, producer: ProducerStamp(id: 1, sequence: 2)))
        _ = try log.end(1, committed: false).get()
        #expect(log.state.withLock { $0.producers.endedTransactions.count } == 1)
        #expect(log.snapshot.lastStableOffset == 5)
        log.setHighWatermark(8)
        #expect(log.snapshot.lastStableOffset == 8)
    }

    @Test func deletedRecordsDoNotHoldTheLastStableOffset() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(4, producer: ProducerStamp(id: 1, sequence: 0)))
        log.append(batch(4))
        #expect(log.deleteRecords(before: 6))
        #expect(log.snapshot.lastStableOffset == 6)
    }

    @Test func theFileIsKafkasAndOnlyThereWhenNeeded() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 0x0102, sequence: 0)))
        _ = try log.end(0x0102, committed: true).get()
        log.append(transactionalBatch(producer: ProducerStamp(id: 0x0102, sequence: 1)))
        try log.roll()
        #expect(try !FileSystem.exists(self.folder(folder, 0, .txnindex)))
        _ = try log.end(0x0102, committed: false).get()
        log.append(batch())
        try log.roll()
        #expect(try !FileSystem.exists(self.folder(folder, 0, .txnindex)))
        let expected: [UInt8] =
            [0, 0] + [0, 0, 0, 0, 0, 0, 1, 2] + [0, 0, 0, 0, 0, 0, 0, 2] + [0, 0, 0, 0, 0, 0, 0, 3]
            + [0, 0, 0, 0, 0, 0, 0, 4]
        #expect(contents(self.folder(folder, 3, .txnindex)) == expected)
        #expect(try log.committedOffsets() == [0, 4])
        // It goes with its segment.
        log.append(batch())
        #expect(log.deleteRecords(before: 5))
        try log.deleteOldSegments(now: 5000)
        #expect(try !FileSystem.exists(self.folder(folder, 3, .txnindex)))
        #expect(try log.allAborted.isEmpty)
    }

    @Test(arguments: [60, 700]) func manyEntries(count: Int) throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        for index in 0..<count {
            log.append(transactionalBatch(producer: ProducerStamp(id: 1, sequence: Int32(index))))
            _ = try log.end(1, committed: index % 3 == 0).get()
            if index == count / 2 { log.state.withLock { state in try? state.active.writeIndexes(log.folder) } }
        }
        let all = try log.allAborted
        #expect(all.count == (0..<count).count { $0 % 3 != 0 })
        let committed = (0..<count).filter { $0 % 3 == 0 }.map { Int64(2 * $0) }
        #expect(try log.committedOffsets() == committed)
        #expect(try log.committedOffsets(maxBytes: 500) == committed)
        try log.roll()
        #expect(try log.allAborted == all)
        #expect(try log.committedOffsets(maxBytes: 500) == committed)
        #expect(try log.abortedTransactions(from: Int64(2 * count - 3), to: .max).get().count <= 2)
    }

    @Test func truncationTakesEntriesAndTransactionsAlong() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 1, sequence: 0)))  // 0
        log.append(transactionalBatch(producer: ProducerStamp(id: 2, sequence: 0)))  // 1
        _ = try log.end(1, committed: false).get()  // 2
        try log.roll()
        log.append(batch(2))  // 3, 4
        _ = try log.end(2, committed: false).get()  // 5
        log.append(batch())  // 6
        try log.truncate(to: 5, now: 2000)
        #expect(log.snapshot.lastStableOffset == 1)
        #expect(try log.allAborted.map(\.producerID) == [1])
        // In the log again, it ends as before.
        _ = try log.end(2, committed: true).get()
        #expect(try log.committedOffsets() == [1, 3, 4])
        try log.truncate(to: 2, now: 2000)
        #expect(log.snapshot.lastStableOffset == 0)
        #expect(try log.allAborted.isEmpty)
        #expect(try !FileSystem.exists(self.folder(folder, 0, .txnindex)))
        try log.truncateFullyAndStart(at: 9, now: 2000)
        #expect(log.snapshot.lastStableOffset == 9)
    }

    @Test func producersWithAnOpenTransactionDoNotExpire() {
        var state = ProducerStateManager()
        var entry = ProducerStateEntry(epoch: 0, lastTimestamp: 0)
        entry.currentTransactionFirstOffset = 4
        state.restore(1, entry)
        state.restore(2, ProducerStateEntry(epoch: 0, lastTimestamp: 0))
        state.expire(now: 1 << 40, expirationMs: 1)
        #expect(Array(state.producers.keys) == [1])
        #expect(state.firstUnstableOffset(highWatermark: .max) == 4)
    }

    @Test func anEmptiedMarkerSaysNothing() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 1, epoch: 2, sequence: 0)))
        var builder = RecordBatchBuilder(
            baseOffset: 1, producerID: 1, producerEpoch: 2, isTransactional: true, isControl: true)
        builder.append(timestamp: 5, key: [0, 0, 0, 9], value: [0, 0, 0, 0, 0, 0])
        log.append(builder.build(), origin: .replica)
        #expect(log.snapshot.lastStableOffset == 0)
    }

    @Test func snapshotsCarryOpenTransactions() throws {
        var state = ProducerStateManager()
        var header = RecordBatchHeader(isTransactional: true)
        header.producerID = 9
        header.producerEpoch = 3
        header.maxTimestamp = 70
        // A coordinator's records have no sequence.
        state.update(header, baseOffset: 12, now: 1)
        let bytes = ProducerSnapshot.encode(state.producers)
        let read = try #require(ProducerSnapshot.decode(bytes))
        #expect(read[9]?.currentTransactionFirstOffset == 12)
        #expect(read[9]?.last?.lastOffset == 12)
        #expect(ProducerSnapshot.encode(read) == bytes)
    }
}

extension Result where Failure == AppendError {
    var code: ErrorCode {
        switch self {
        case .success: .none
        case .failure(let error): error.code
        }
    }
}

extension PartitionLog {
    func roll() throws {
        let rolled = try self.state.withLock { state in
            try self.roll(&state, baseOffset: state.logEndOffset, now: 1000)
        }
        if let rolled { self.finish(rolled) }
    }
}
