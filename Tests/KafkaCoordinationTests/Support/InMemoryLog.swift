import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaCoordination

/// A partition in memory. Its high watermark follows the end, or is held where the test wants it.
final class InMemoryLog: CoordinatorLog {
    struct State {
        var batches: [[UInt8]] = []
        var endOffset: Int64 = 0
        var highWatermark: Int64 = 0
        var holdsHighWatermark = false
        var nextError: ErrorCode?
    }

    let state = Mutex(State())
    let maxBatchBytes: Int

    init(maxBatchBytes: Int = 1_048_588) { self.maxBatchBytes = maxBatchBytes }

    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
        self.state.withLock { state in
            if let error = state.nextError {
                state.nextError = nil
                return .failed(error)
            }
            let first = state.endOffset
            batch.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: first, leaderEpoch: 0) }
            state.batches.append(batch)
            state.endOffset += Int64(recordCount)
            if !state.holdsHighWatermark { state.highWatermark = state.endOffset }
            return .appended(
                CoordinatorAppend(
                    firstOffset: first, endOffset: state.endOffset, highWatermark: state.highWatermark))
        }
    }

    var endOffset: Int64 { self.state.withLock { $0.endOffset } }
    var highWatermark: Int64 { self.state.withLock { $0.highWatermark } }
    var bytes: [UInt8] { self.state.withLock { Array($0.batches.joined()) } }

    var batchesRead: [RecordBatch] {
        get throws {
            let scratch = DecompressionScratch()
            return try self.state.withLock { $0.batches }.map { batch in
                try batch.withUnsafeBytes { try RecordBatch($0, scratch: scratch) }
            }
        }
    }

    func records(from offset: Int64 = 0) throws -> [Record] {
        let scratch = DecompressionScratch()
        return try self.state.withLock { $0.batches }.flatMap { batch in
            try batch.withUnsafeBytes { try RecordBatch($0, scratch: scratch).records }
        }.filter { $0.offset >= offset }
    }
}
