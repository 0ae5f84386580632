import KafkaPrimitives
import KafkaRecords

/// The partition of an internal topic that a shard writes to: a port, which the broker fills with its log and
/// tests with an array.
package protocol CoordinatorLog: Sendable {
    /// The most that a batch may take (`max.message.bytes` of the internal topic).
    var maxBatchBytes: Int { get }

    /// Appends one batch. Called with the shard's lock held, so it takes no lock but the log's own, waits for
    /// nothing, and calls nobody back. The bytes may be stamped in place.
    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult

    /// The same for a batch of a kind, for a log that looks at transactions.
    func append(
        _ batch: inout [UInt8], _ kind: CoordinatorBatchKind, recordCount: Int, now: CoordinatorTime
    ) -> CoordinatorAppendResult
}

extension CoordinatorLog {
    package func append(
        _ batch: inout [UInt8], _ kind: CoordinatorBatchKind, recordCount: Int, now: CoordinatorTime
    ) -> CoordinatorAppendResult {
        self.append(&batch, recordCount: recordCount, now: now)
    }
}

/// What a log is told of a batch beside its bytes.
package enum CoordinatorBatchKind: Hashable, Sendable {
    case records
    case transaction(OffsetVerification)
    case marker(transactionVersion: Int16)
}

package enum CoordinatorAppendResult: Sendable, Equatable {
    case appended(CoordinatorAppend)
    /// Nothing was written.
    case failed(ErrorCode)
}

/// Where a batch came to lie.
package struct CoordinatorAppend: Sendable, Equatable {
    package var firstOffset: Int64
    /// The offset after the last record.
    package var endOffset: Int64
    /// As it is after the append: with one replica mostly `endOffset`.
    package var highWatermark: Int64

    package init(firstOffset: Int64, endOffset: Int64, highWatermark: Int64) {
        self.firstOffset = firstOffset
        self.endOffset = endOffset
        self.highWatermark = highWatermark
    }
}

/// Packs records into batches that a log accepts.
enum CoordinatorBatch {
    struct Batch {
        var bytes: [UInt8]
        var records: Range<Int>
    }

    /// One batch, or, unless `isAtomic`, as many as are needed. Nil if the records do not fit.
    static func pack(
        _ records: [CoordinatorRecord], isAtomic: Bool, transaction: TransactionalProducer? = nil, maxBytes: Int,
        timestamp: Int64
    ) -> [Batch]? {
        var batches: [Batch] = []
        let isAtomic = isAtomic || transaction != nil
        // A coordinator's sequences are not looked at; Kafka writes 0.
        var builder =
            transaction.map {
                RecordBatchBuilder(
                    producerID: $0.producerID, producerEpoch: $0.producerEpoch, baseSequence: 0, isTransactional: true)
            } ?? RecordBatchBuilder()
        var start = 0
        for (index, record) in records.enumerated() {
            let size = builder.sizeOf(key: record.key, value: record.value, timestamp: timestamp)
            if builder.sizeInBytes + size > maxBytes {
                guard !isAtomic, builder.recordsCount > 0 else { return nil }
                batches.append(Batch(bytes: builder.build(), records: start..<index))
                builder = RecordBatchBuilder()
                start = index
                let size = builder.sizeOf(key: record.key, value: record.value, timestamp: timestamp)
                guard builder.sizeInBytes + size <= maxBytes else { return nil }
            }
            builder.append(timestamp: timestamp, key: record.key, value: record.value)
        }
        batches.append(Batch(bytes: builder.build(), records: start..<records.count))
        return batches
    }
}
