import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

@Suite struct ProducerStateTests {
    enum Outcome: Equatable {
        case append, duplicate
        case refuse(ErrorCode)
    }

    struct Step: CustomStringConvertible, Sendable {
        var name: String
        /// Batches in the log before, as (epoch, first sequence, records).
        var before: [(Int16, Int32, Int)]
        var batch: (Int16, Int32, Int)
        var outcome: Outcome
        var origin = RecordOrigin.client
        var description: String { self.name }
    }

    static let table: [Step] = [
        Step(name: "unknown, from 0", before: [], batch: (0, 0, 3), outcome: .append),
        Step(name: "unknown, any first sequence", before: [], batch: (0, 500, 3), outcome: .append),
        Step(name: "next", before: [(0, 0, 3)], batch: (0, 3, 2), outcome: .append),
        Step(name: "gap", before: [(0, 0, 3)], batch: (0, 4, 2), outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(name: "the last again", before: [(0, 0, 3)], batch: (0, 0, 3), outcome: .duplicate),
        Step(
            name: "the same start, other length", before: [(0, 0, 3)], batch: (0, 0, 2),
            outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(
            name: "the fifth last again", before: (0..<6).map { (0, Int32($0), 1) }, batch: (0, 1, 1),
            outcome: .duplicate),
        Step(
            name: "the sixth last again", before: (0..<6).map { (0, Int32($0), 1) }, batch: (0, 0, 1),
            outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(
            name: "across two batches", before: [(0, 0, 2), (0, 2, 2)], batch: (0, 0, 4),
            outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(name: "older epoch", before: [(2, 0, 1)], batch: (1, 1, 1), outcome: .refuse(.invalidProducerEpoch)),
        Step(name: "newer epoch from 0", before: [(2, 0, 9)], batch: (3, 0, 1), outcome: .append),
        Step(
            name: "newer epoch from elsewhere", before: [(2, 0, 9)], batch: (3, 9, 1),
            outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(
            name: "a duplicate of an older epoch is none", before: [(2, 0, 1), (3, 0, 1)], batch: (2, 0, 1),
            outcome: .refuse(.invalidProducerEpoch)),
        Step(name: "wrap to 0", before: [(0, .max - 2, 3)], batch: (0, 0, 2), outcome: .append),
        Step(name: "wrap inside a batch", before: [(0, .max - 1, 4)], batch: (0, 2, 1), outcome: .append),
        Step(name: "wrapped batch again", before: [(0, .max - 1, 4)], batch: (0, .max - 1, 4), outcome: .duplicate),
        Step(
            name: "after the wrap not 1", before: [(0, .max - 2, 3)], batch: (0, 1, 2),
            outcome: .refuse(.outOfOrderSequenceNumber)),
        Step(
            name: "a coordinator's sequences are not checked", before: [(0, 0, 3)], batch: (0, 9, 1), outcome: .append,
            origin: .coordinator),
        Step(
            name: "a coordinator's epoch is", before: [(2, 0, 3)], batch: (1, 3, 1),
            outcome: .refuse(.invalidProducerEpoch), origin: .coordinator),
        Step(name: "a leader has checked", before: [(2, 0, 3)], batch: (1, 9, 1), outcome: .append, origin: .replica),
    ]

    private func header(_ batch: (Int16, Int32, Int), base: Int64 = 0, id: Int64 = 11) -> RecordBatchHeader {
        var header = RecordBatchHeader(baseOffset: base)
        header.producerID = id
        header.producerEpoch = batch.0
        header.baseSequence = batch.1
        header.lastOffsetDelta = Int32(batch.2 - 1)
        header.recordsCount = Int32(batch.2)
        header.maxTimestamp = 1000 + base
        return header
    }

    @Test(arguments: table) func rules(step: Step) {
        var state = ProducerStateManager()
        var offset: Int64 = 0
        for batch in step.before {
            state.update(self.header(batch), baseOffset: offset, now: 1)
            offset += Int64(batch.2)
        }
        let outcome: Outcome
        switch state.check(self.header(step.batch), origin: step.origin) {
        case .append: outcome = .append
        case .duplicate: outcome = .duplicate
        case .refuse(let code, _): outcome = .refuse(code)
        }
        #expect(outcome == step.outcome)
    }

    @Test func aDuplicateGetsTheOffsetsOfThen() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(batch(5))
        log.append(batch(3, producer: ProducerStamp(id: 4, sequence: 0)))
        log.append(batch(2, producer: ProducerStamp(id: 4, sequence: 3)))
        let info = try log.append(batch(3, producer: ProducerStamp(id: 4, sequence: 0))).get()
        #expect(info.isDuplicate)
        #expect(info.firstOffset == 5 && info.lastOffset == 7 && info.logEndOffset == 10)
        #expect(log.logEndOffset == 10)
    }

    @Test func expiry() {
        var state = ProducerStateManager()
        state.update(self.header((0, 0, 1), base: 0, id: 1), baseOffset: 0, now: -1)
        state.update(self.header((0, 0, 1), base: 5000, id: 2), baseOffset: 1, now: -1)
        // Old records, but sent just now.
        state.update(self.header((0, 0, 1), base: 0, id: 3), baseOffset: 2, now: 9000)
        state.expire(now: 6000, expirationMs: 5000)
        #expect(Set(state.producers.keys) == [2, 3])
        state.expire(now: 20_000, expirationMs: 5000)
        #expect(state.isEmpty)
    }

    @Test func snapshotsRoundTrip() throws {
        var state = ProducerStateManager()
        for id in Int64(1)...100 {
            for sequence in Int32(0)..<7 {
                state.update(
                    self.header((Int16(id % 5), sequence, 1), base: Int64(sequence), id: id),
                    baseOffset: id * 10 + Int64(sequence), now: 1)
            }
        }
        let bytes = ProducerSnapshot.encode(state.producers)
        let back = try #require(ProducerSnapshot.decode(bytes))
        #expect(back.count == 100)
        for (id, entry) in back {
            #expect(entry.last == state.producers[id]?.last)
            #expect(entry.epoch == state.producers[id]?.epoch)
            #expect(entry.batchCount == 1)
        }
        #expect(ProducerSnapshot.encode(back) == bytes)
        for index in bytes.indices {
            var damaged = bytes
            damaged[index] ^= 4
            #expect(ProducerSnapshot.decode(damaged) == nil, "byte \(index)")
            #expect(ProducerSnapshot.decode(Array(bytes[..<index])) == nil)
        }
    }

    /// Written by Kafka 4.3 (shared/kafka/folders).
    @Test func kafkasSnapshotIsRead() throws {
        let text = """
            00011a519758000000030000000000000012000000000003000000000000001100000003000001a0c451\
            2f53ffffffffffffffffffffffff000000000000000300000000000d000000000000000d000000060000\
            01a0c4509319ffffffffffffffffffffffff00000000000003eb00000000000d000000000000001f0000\
            0006000001a0c45219b9ffffffffffffffffffffffff
            """
        let bytes = stride(from: 0, to: text.count, by: 2).map { index -> UInt8 in
            let start = text.index(text.startIndex, offsetBy: index)
            return UInt8(text[start..<text.index(start, offsetBy: 2)], radix: 16)!
        }
        let producers = try #require(ProducerSnapshot.decode(bytes))
        #expect(Set(producers.keys) == [18, 3, 1003])
        #expect(
            producers[18]?.last
                == ProducerBatch(
                    lastSequence: 3, lastOffset: 17, offsetDelta: 3, timestamp: 0x1a0_c451_2f53))
        #expect(producers[1003]?.last?.firstOffset == 25)
    }
}
