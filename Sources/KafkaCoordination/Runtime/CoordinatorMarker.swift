import KafkaPrimitives
import KafkaRecords

/// What the log is shown of records in a transaction, so that none begin one that nobody ends (KIP-890).
package enum OffsetVerification: Hashable, Sendable {
    /// The broker does not verify.
    case off
    /// The transaction is open in the partition.
    case open
    /// The transaction's coordinator has said yes; the log's own number of the verification.
    case shown(UInt64)
}

/// A producer in whose transaction records are appended (TxnOffsetCommit).
package struct TransactionalProducer: Hashable, Sendable {
    package var producerID: Int64
    package var producerEpoch: Int16
    package var verification: OffsetVerification

    package init(producerID: Int64, producerEpoch: Int16, verification: OffsetVerification = .off) {
        self.producerID = producerID
        self.producerEpoch = producerEpoch
        self.verification = verification
    }
}

/// The end of a producer's transaction, as the transaction coordinator tells each partition of it (WriteTxnMarkers).
package struct CoordinatorMarker: Hashable, Sendable {
    package var producer: TransactionalProducer
    package var isCommitted: Bool
    /// Of the transaction coordinator that decided it. A partition refuses markers of one older than the last.
    package var coordinatorEpoch: Int32
    /// From 2 on its producer epoch is greater than that of the transaction's records (KIP-890).
    package var transactionVersion: Int16

    package init(
        producerID: Int64, producerEpoch: Int16, isCommitted: Bool, coordinatorEpoch: Int32,
        transactionVersion: Int16 = 1
    ) {
        self.transactionVersion = transactionVersion
        self.producer = TransactionalProducer(producerID: producerID, producerEpoch: producerEpoch)
        self.isCommitted = isCommitted
        self.coordinatorEpoch = coordinatorEpoch
    }

    /// The control batch that says it.
    func batch(timestamp: Int64) -> [UInt8] {
        RecordBatchBuilder.endTransaction(
            committed: self.isCommitted, marker: EndTransactionMarker(coordinatorEpoch: self.coordinatorEpoch),
            producerID: self.producer.producerID, producerEpoch: self.producer.producerEpoch, timestamp: timestamp)
    }
}

/// Markers that were appended, whose answer waits for the high watermark; in the order of their offsets.
struct ParkedMarkers: Sendable {
    typealias Respond = @Sendable (ErrorCode) -> Void

    private struct Parked: Sendable {
        var endOffset: Int64
        var deadline: Int64
        var respond: Respond
    }

    private var parked: [Parked] = []

    /// When the first is given up, monotonic milliseconds.
    var nextDeadline: Int64? { self.parked.first?.deadline }

    mutating func park(_ respond: @escaping Respond, endOffset: Int64, deadline: Int64) {
        self.parked.append(Parked(endOffset: endOffset, deadline: deadline, respond: respond))
    }

    /// Those that everybody may see by now.
    mutating func take(upTo highWatermark: Int64) -> [Respond] {
        self.take { $0.endOffset <= highWatermark }
    }

    /// Those that have waited for too long.
    mutating func take(dueAt monotonicMs: Int64) -> [Respond] {
        self.take { $0.deadline <= monotonicMs }
    }

    mutating func takeAll() -> [Respond] {
        self.take { _ in true }
    }

    private mutating func take(while isTaken: (Parked) -> Bool) -> [Respond] {
        let taken = self.parked.prefix(while: isTaken).map(\.respond)
        if !taken.isEmpty { self.parked.removeFirst(taken.count) }
        return taken
    }
}
