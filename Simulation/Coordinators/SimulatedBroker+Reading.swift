import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// An answer to Fetch of one partition.
struct FetchAnswer: Sendable {
    var error: ErrorCode
    var bytes: [UInt8] = []
    /// For readers of committed records.
    var aborted: [AbortedTransaction] = []
    var lastStableOffset: Int64 = -1
    var highWatermark: Int64 = -1
}

extension SimulatedBroker {
    /// The batches from an offset on, as many as one file gives; nil where there are none.
    func read(
        _ log: PartitionLog, from offset: Int64, upTo limit: Int64, maxBytes: Int = 1 << 16
    ) throws -> (bytes: [UInt8], upperBound: Int64)? {
        switch log.read(from: offset, maxBytes: maxBytes, upTo: limit, minOneMessage: true) {
        case .failure(let error):
            if self.disk.isStopped { return nil }
            throw Violation("\(log.topicPartition) cannot be read at \(offset): \(error.name)")
        case .success(let read):
            guard let slice = read.slice else { return nil }
            var bytes = [UInt8](repeating: 0, count: slice.length)
            let count = try bytes.withUnsafeMutableBytes {
                try FileSystem.read(slice.file, $0, at: Int(slice.position))
            }
            guard count == slice.length else { throw Violation("\(log.topicPartition) is cut off") }
            return (bytes, read.upperBound)
        }
    }

    /// Fetch, as FetchOperation does it.
    func fetch(
        _ topic: String, _ partition: Int32, from offset: Int64, committedOnly: Bool, maxBytes: Int,
        respond: @escaping @Sendable (FetchAnswer) -> Void
    ) {
        guard let log = self.log(topic, partition) else { return }
        let offsets = log.snapshot
        var answer = FetchAnswer(error: .none)
        answer.lastStableOffset = offsets.lastStableOffset
        answer.highWatermark = offsets.highWatermark
        guard offset >= offsets.logStartOffset, offset <= offsets.highWatermark else {
            answer.error = .offsetOutOfRange
            return respond(answer)
        }
        do {
            let limit = committedOnly ? offsets.lastStableOffset : offsets.highWatermark
            if let read = try self.read(log, from: offset, upTo: limit, maxBytes: maxBytes) {
                answer.bytes = read.bytes
                if committedOnly {
                    switch log.abortedTransactions(from: offset, to: read.upperBound) {
                    case .success(let aborted): answer.aborted = aborted
                    case .failure(let error): answer = FetchAnswer(error: error)
                    }
                }
            }
        } catch let violation as Violation { self.world.violation = violation } catch {
            answer = FetchAnswer(error: .kafkaStorageError)
        }
        respond(answer)
    }
}
