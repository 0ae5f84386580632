import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// Records of a transaction.
func transactionalBatch(
    _ count: Int = 1, producer: ProducerStamp, size: Int = 10, timestamp: Int64 = 1000
) -> [UInt8] {
    var builder = RecordBatchBuilder(
        producerID: producer.id, producerEpoch: producer.epoch, baseSequence: producer.sequence,
        isTransactional: true)
    for _ in 0..<count {
        builder.append(timestamp: timestamp, key: nil, value: [UInt8](repeating: 7, count: size))
    }
    return builder.build()
}

func markerBatch(
    committed: Bool, producer: Int64, epoch: Int16 = 0, coordinator: Int32 = 0, timestamp: Int64 = 1000
) -> [UInt8] {
    RecordBatchBuilder.endTransaction(
        committed: committed, marker: EndTransactionMarker(coordinatorEpoch: coordinator), producerID: producer,
        producerEpoch: epoch, timestamp: timestamp)
}

extension PartitionLog {
    @discardableResult
    func end(
        _ producer: Int64, epoch: Int16 = 0, committed: Bool, coordinator: Int32 = 0
    ) -> Result<AppendInfo, AppendError> {
        self.append(
            markerBatch(committed: committed, producer: producer, epoch: epoch, coordinator: coordinator),
            origin: .coordinator)
    }

    /// The offsets that a consumer of committed records delivers, by what the broker tells it and nothing else (as
    /// Kafka's client does it).
    func committedOffsets(from start: Int64 = 0, maxBytes: Int = 1 << 20) throws -> [Int64] {
        var offsets: [Int64] = []
        var next = start
        while true {
            let read = try self.read(
                from: next, maxBytes: maxBytes, upTo: self.snapshot.lastStableOffset, minOneMessage: true
            ).get()
            guard let slice = read.slice else { return offsets }
            var aborted = try self.abortedTransactions(from: next, to: read.upperBound).get()
                .sorted { $0.firstOffset < $1.firstOffset }[...]
            var skipped: Set<Int64> = []
            let batches = slice.batches()
            guard let last = batches.last else { return offsets }
            #expect(last.baseOffset < read.upperBound)
            for header in batches {
                while let first = aborted.first, first.firstOffset <= header.lastOffset {
                    skipped.insert(first.producerID)
                    aborted = aborted.dropFirst()
                }
                if header.isControl {
                    // Whether abort or commit: after it the producer's records are of its next transaction.
                    skipped.remove(header.producerID)
                } else if !header.isTransactional || !skipped.contains(header.producerID) {
                    offsets += (max(next, header.baseOffset)...header.lastOffset)
                }
            }
            next = last.lastOffset + 1
        }
    }

    /// All entries of all transaction indexes, files and memory.
    var allAborted: [AbortedTransaction] {
        get throws { try self.abortedTransactions(from: 0, to: .max).get() }
    }
}
