import KafkaPrimitives
import KafkaRecords

/// A batch of an idempotent producer, as much of it as duplicates are known by.
struct ProducerBatch: Sendable, Equatable {
    var lastSequence: Int32
    var lastOffset: Int64
    /// Last minus first offset; last minus first sequence too.
    var offsetDelta: Int32
    var timestamp: Int64

    var firstOffset: Int64 { self.lastOffset &- Int64(self.offsetDelta) }
    var firstSequence: Int32 { Self.sequence(self.lastSequence, minus: self.offsetDelta) }

    /// Sequences run from 0 to `Int32.max` and on from 0.
    static func sequence(_ sequence: Int32, minus delta: Int32) -> Int32 {
        sequence >= delta ? sequence - delta : Int32(truncatingIfNeeded: Int64(sequence) - Int64(delta) + (1 << 31))
    }
}

/// What is remembered of a producer: its epoch and its last five batches.
struct ProducerStateEntry: Sendable {
    /// As many requests as an idempotent producer may have in flight.
    static let batchesKept = 5

    var epoch: Int16
    var coordinatorEpoch: Int32 = -1
    /// The greatest timestamp of the last batch, as snapshots keep it.
    var lastTimestamp: Int64
    /// The wall clock at the last append, -1 where it is not known. Kafka expires by `lastTimestamp` alone, and so
    /// forgets producers of old records while they still send.
    var lastAppendMs: Int64 = -1
    /// The first offset of the open transaction, -1 for none.
    var currentTransactionFirstOffset: Int64 = -1
    private var batches = InlineArray<5, ProducerBatch>(
        repeating: ProducerBatch(lastSequence: -1, lastOffset: -1, offsetDelta: 0, timestamp: -1))
    private(set) var batchCount = 0
    /// Where the next batch goes.
    private var next = 0

    init(epoch: Int16, lastTimestamp: Int64) {
        self.epoch = epoch
        self.lastTimestamp = lastTimestamp
    }

    /// Oldest first.
    func batch(_ index: Int) -> ProducerBatch {
        self.batches[(self.next + Self.batchesKept - self.batchCount + index) % Self.batchesKept]
    }

    /// Nothing is known of a producer but its id.
    static let noEpoch: Int16 = -1

    var last: ProducerBatch? { self.batchCount == 0 ? nil : self.batch(self.batchCount - 1) }

    mutating func append(_ batch: ProducerBatch) {
        self.batches[self.next] = batch
        self.next = (self.next + 1) % Self.batchesKept
        self.batchCount = min(self.batchCount + 1, Self.batchesKept)
        self.lastTimestamp = batch.timestamp
    }

    mutating func startEpoch(_ epoch: Int16) {
        self.epoch = epoch
        self.batchCount = 0
    }

    func duplicate(of header: RecordBatchHeader) -> ProducerBatch? {
        guard header.producerEpoch == self.epoch else { return nil }
        let last = header.lastSequence
        for index in 0..<self.batchCount {
            let batch = self.batch(index)
            if batch.lastSequence == last && batch.firstSequence == header.baseSequence { return batch }
        }
        return nil
    }
}

/// The producers of one partition. A value: what it decides, the log carries out.
struct ProducerStateManager: Sendable {
    private(set) var producers: [Int64: ProducerStateEntry] = [:]
    /// Transactions without a marker, by first offset. Empty, and so without memory of its own, in most logs.
    var openTransactions: [OpenTransaction] = []
    /// Those with one that was at or above the high watermark when last looked at.
    var endedTransactions: [EndedTransaction] = []
    /// Producers whose transaction is being verified, by id. Mostly empty.
    var verifications: [Int64: ProducerVerification] = [:]

    enum Decision: Equatable {
        case append
        case duplicate(ProducerBatch)
        case refuse(ErrorCode, String)
    }

    var isEmpty: Bool { self.producers.isEmpty }
    var count: Int { self.producers.count }

    /// Whether a batch may be appended. Changes nothing: the batch is not in the log yet.
    /// - Parameters:
    ///   - marker: of a control batch.
    ///   - check: what more is asked of a batch of a transaction.
    func check(
        _ header: RecordBatchHeader, origin: RecordOrigin, marker: TransactionMarker? = nil,
        _ check: TransactionCheck = .none
    ) -> Decision {
        guard let index = self.producers.index(forKey: header.producerID) else {
            // Kafka accepts any first sequence of a producer of which nothing is known: its records may have been
            // deleted by retention.
            return self.verify(header, nil, check) ?? .append
        }
        let entry = self.producers.values[index]
        if origin == .client, let duplicate = entry.duplicate(of: header) { return .duplicate(duplicate) }
        if header.producerEpoch < entry.epoch {
            guard origin != .replica else { return .append }
            return .refuse(
                .invalidProducerEpoch,
                "Epoch \(header.producerEpoch) of producer \(header.producerID) is older than its epoch \(entry.epoch)")
        }
        if header.isControl {
            if let refusal = Self.check(markerEpoch: header, entry, check) { return refusal }
            guard origin != .replica, let marker, marker.coordinatorEpoch < entry.coordinatorEpoch else {
                return .append
            }
            return .refuse(
                .transactionCoordinatorFenced,
                "A marker for producer \(header.producerID) is of coordinator epoch \(marker.coordinatorEpoch), the "
                    + "last one was of \(entry.coordinatorEpoch)")
        }
        if let refusal = self.verify(header, entry, check) { return refusal }
        if origin == .client, let refusal = Self.checkSequence(header, entry) { return refusal }
        if entry.currentTransactionFirstOffset >= 0, !header.isTransactional {
            return .refuse(
                .invalidTxnState,
                "Producer \(header.producerID) has an open transaction, and the batch is not of it")
        }
        return .append
    }

    /// Nil where the sequence is the one that must come.
    private static func checkSequence(_ header: RecordBatchHeader, _ entry: ProducerStateEntry) -> Decision? {
        if header.producerEpoch != entry.epoch {
            guard header.baseSequence != 0, entry.epoch != ProducerStateEntry.noEpoch else { return nil }
            return .refuse(
                .outOfOrderSequenceNumber,
                "Producer \(header.producerID) begins epoch \(header.producerEpoch) with sequence "
                    + "\(header.baseSequence), not 0")
        }
        let lastSequence = entry.last?.lastSequence ?? -1
        let inSequence =
            Int64(header.baseSequence) == Int64(lastSequence) + 1
            || (header.baseSequence == 0 && lastSequence == .max)
        if inSequence { return nil }
        return .refuse(
            .outOfOrderSequenceNumber,
            "Producer \(header.producerID) sent sequence \(header.baseSequence) after \(lastSequence)")
    }

    /// A batch is in the log, at `baseOffset`.
    /// - Parameter now: the wall clock; -1 when batches are replayed.
    /// - Parameter marker: of a control batch.
    /// - Parameter highWatermark: what ended at or above it is kept in mind until it has passed; `Int64.max` when
    ///   batches are replayed.
    /// - Returns: where the batch aborts a transaction, its entry for the transaction index.
    @discardableResult
    mutating func update(
        _ header: RecordBatchHeader, baseOffset: Int64, now: Int64, marker: TransactionMarker? = nil,
        highWatermark: Int64 = .max
    ) -> AbortedTransaction? {
        guard header.producerID >= 0 else { return nil }
        // What was verified is written, or the transaction is over: a record that comes later is verified anew.
        if header.isTransactional, !self.verifications.isEmpty { self.verifications[header.producerID] = nil }
        if let index = self.producers.index(forKey: header.producerID) {
            let open = self.producers.values[index].currentTransactionFirstOffset
            Self.apply(header, baseOffset, now, marker, to: &self.producers.values[index])
            if header.isControl {
                guard let marker, open >= 0 else { return nil }
                return self.end(
                    OpenTransaction(firstOffset: open, producerID: header.producerID), with: marker,
                    lastOffset: baseOffset, highWatermark)
            }
            if open < 0, header.isTransactional { self.begin(header.producerID, at: baseOffset) }
        } else {
            var entry = ProducerStateEntry(epoch: header.producerEpoch, lastTimestamp: header.maxTimestamp)
            Self.apply(header, baseOffset, now, marker, to: &entry)
            self.producers[header.producerID] = entry
            if !header.isControl, header.isTransactional { self.begin(header.producerID, at: baseOffset) }
        }
        return nil
    }

    private static func apply(
        _ header: RecordBatchHeader, _ baseOffset: Int64, _ now: Int64, _ marker: TransactionMarker?,
        to entry: inout ProducerStateEntry
    ) {
        entry.lastAppendMs = now
        if header.isControl {
            // A marker has no sequence; it carries the producer's epoch and its coordinator's. One that compaction has
            // emptied says nothing.
            guard let marker else { return }
            if header.producerEpoch != entry.epoch { entry.startEpoch(header.producerEpoch) }
            entry.coordinatorEpoch = marker.coordinatorEpoch
            entry.currentTransactionFirstOffset = -1
            entry.lastTimestamp = header.maxTimestamp
            return
        }
        if header.producerEpoch != entry.epoch { entry.startEpoch(header.producerEpoch) }
        if header.isTransactional, entry.currentTransactionFirstOffset < 0 {
            entry.currentTransactionFirstOffset = baseOffset
        }
        entry.append(
            ProducerBatch(
                lastSequence: header.lastSequence,
                lastOffset: baseOffset &+ Int64(header.lastOffsetDelta), offsetDelta: header.lastOffsetDelta,
                timestamp: header.maxTimestamp))
    }

    /// Forgets producers from which nothing came for `expirationMs` (producer.id.expiration.ms).
    mutating func expire(now: Int64, expirationMs: Int64) {
        if !self.verifications.isEmpty {
            self.verifications = self.verifications.filter { now &- $0.value.beganMs < expirationMs }
        }
        guard !self.producers.isEmpty else { return }
        let expired = self.producers.filter {
            now &- max($0.value.lastTimestamp, $0.value.lastAppendMs) >= expirationMs
                && $0.value.currentTransactionFirstOffset < 0
        }
        for id in expired.keys { self.producers[id] = nil }
    }

    mutating func removeAll() { self = ProducerStateManager() }

    mutating func restore(_ id: Int64, _ entry: ProducerStateEntry) {
        self.producers[id] = entry
        if entry.currentTransactionFirstOffset >= 0 { self.begin(id, at: entry.currentTransactionFirstOffset) }
    }
}
