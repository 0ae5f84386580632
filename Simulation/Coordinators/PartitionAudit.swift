import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// What is in a partition, read by itself batch by batch as it comes in, and what must follow from that: how far readers of
/// committed records may see, which records those are, whose writes there may be.
final class PartitionAudit {
    enum Fate { case open, committed, aborted, control }

    struct Entry {
        var fate: Fate
        var record: SimulatedRecord?
    }

    private struct Producer {
        var epoch: Int16
        var lastSequence: Int32 = -1
        /// The offsets of the open transaction; empty: none.
        var open: [Int64] = []
        /// The transactions that those are of.
        var serials: Set<Int> = []
        var pending: [TransactionLedger.Place] = []
    }

    let partition: TopicPartition
    private let broker: SimulatedBroker
    private let ledger: TransactionLedger
    /// By offset; the log begins with 0.
    private(set) var entries: [Entry] = []
    private var producers: [Int64: Producer] = [:]
    /// Transactions whose marker may be above the high watermark.
    private var ended: [(first: Int64, marker: Int64)] = []
    /// Transactions that have ended here.
    private var endedSerials: Set<Int> = []
    /// What clients were told is there.
    private var acknowledged: [Int64: SimulatedRecord] = [:]
    /// Of `__transaction_state`: what each transactional id was said to be last.
    private(set) var states: [String: TransactionMetadata] = [:]
    /// The same by producer id, and where it is said.
    private(set) var decisions: [Int64: (metadata: TransactionMetadata, offset: Int64)] = [:]
    /// Told of each transaction that is committed, with its records.
    var committed: ([(offset: Int64, record: SimulatedRecord)]) throws -> Void = { _ in }
    /// The decision about a producer's transaction, where it is committed.
    var decision: (_ producerID: Int64) -> TransactionMetadata? = { _ in nil }
    /// What was read before is read once more: what was decided about it since is no measure.
    private var isReadAgain = false
    private let scratch = DecompressionScratch()

    init(_ partition: TopicPartition, _ broker: SimulatedBroker, _ ledger: TransactionLedger) {
        self.partition = partition
        self.broker = broker
        self.ledger = ledger
    }

    var next: Int64 { Int64(self.entries.count) }

    /// Power was lost: what was not synced may be gone.
    func forget() {
        self.entries = []
        self.producers = [:]
        self.ended = []
        self.endedSerials = []
        self.decisions = [:]
        self.states = [:]
        self.isReadAgain = true
    }

    // MARK: Looking

    /// Reads on, and compares what the log says with what is in it.
    func look() throws {
        guard let log = self.broker.log(self.partition.topic, self.partition.partition) else { return }
        let offsets = log.snapshot
        if self.broker.disk.isStopped { return }
        if offsets.logEndOffset < self.next {
            throw Violation("\(self.partition) ends at \(offsets.logEndOffset), after \(self.next)")
        }
        while self.next < offsets.logEndOffset {
            guard let read = try self.broker.read(log, from: self.next, upTo: .max) else {
                if self.broker.disk.isStopped { return }
                throw Violation("\(self.partition) gives nothing at \(self.next)")
            }
            try read.bytes.withUnsafeBytes { bytes in
                var slices = RecordBatchSlices(bytes)
                while let (header, batch) = try slices.next() { try self.take(header, batch) }
            }
        }
        self.isReadAgain = false
        self.ended.removeAll { $0.marker < offsets.highWatermark }
        let open = self.producers.values.compactMap(\.open.first).min() ?? .max
        let stable = min(offsets.highWatermark, open, self.ended.map(\.first).min() ?? .max)
        if offsets.lastStableOffset != stable {
            throw Violation(
                "\(self.partition): the last stable offset is \(offsets.lastStableOffset), not \(stable)")
        }
    }

    private func take(_ header: RecordBatchHeader, _ batch: UnsafeRawBufferPointer) throws {
        guard header.baseOffset == self.next else {
            throw Violation("\(self.partition) goes on with \(header.baseOffset) after \(self.next - 1)")
        }
        if header.isControl { return try self.takeMarker(header, batch) }
        var serials: Set<Int> = []
        var places: [TransactionLedger.Place] = []
        var records = try RecordBatchIterator(batch, scratch: self.scratch)
        while let view = try records.next() {
            var entry = Entry(fate: header.isTransactional ? .open : .committed)
            switch self.partition.topic {
            case SimulatedBroker.transactionsTopic:
                if let key = view.key { self.takeDecision(key, view.value, at: view.offset) }
            case SimulatedBroker.offsetsTopic:
                guard header.isTransactional, let key = view.key else { break }
                let record = CoordinatorRecord(key: Array(key), value: view.value.map(Array.init))
                guard case .offsetCommit(let group, let topic, let index, let value?) = GroupRecords.parse(record)
                else {
                    throw Violation("\(self.partition): a record in a transaction that is not an offset")
                }
                if value.metadata.hasPrefix("T"), let serial = Int(value.metadata.dropFirst()) {
                    serials.insert(serial)
                }
                places.append(.init(group: group, topic: topic, partition: index))
            default:
                guard let record = SimulatedRecord(view.value) else {
                    throw Violation("\(self.partition) has a strange record at \(view.offset)")
                }
                serials.insert(record.serial)
                entry.record = record
                if let told = self.acknowledged[view.offset], told != record {
                    throw Violation("\(self.partition): another record than was acknowledged at \(view.offset)")
                }
            }
            self.entries.append(entry)
        }
        if header.producerID >= 0 { try self.takeWrite(header, serials, places) }
    }

    private func takeWrite(
        _ header: RecordBatchHeader, _ serials: Set<Int>, _ places: [TransactionLedger.Place]
    ) throws {
        let id = header.producerID
        let isNew = self.producers[id] == nil
        var producer = self.producers[id] ?? Producer(epoch: header.producerEpoch)
        let fence = max(producer.epoch, self.isReadAgain ? 0 : self.ledger.fences[id] ?? 0)
        if header.producerEpoch < fence {
            throw Violation(
                "\(self.partition): a write of producer \(id) in epoch \(header.producerEpoch) after epoch \(fence)")
        }
        if self.partition.topic != SimulatedBroker.offsetsTopic {
            let expected = header.producerEpoch == producer.epoch && !isNew ? producer.lastSequence &+ 1 : 0
            if header.baseSequence != expected {
                throw Violation("\(self.partition): sequence \(header.baseSequence) of producer \(id), not \(expected)")
            }
        }
        producer.epoch = header.producerEpoch
        producer.lastSequence = header.lastSequence
        guard header.isTransactional else {
            self.producers[id] = producer
            return
        }
        producer.open += header.baseOffset...header.lastOffset
        producer.serials.formUnion(serials)
        producer.pending += places
        self.producers[id] = producer
        if producer.serials.count > 1 {
            throw Violation(
                "\(self.partition): transactions \(producer.serials.sorted().map { "T\($0)" }) in one")
        }
        for serial in serials where self.endedSerials.contains(serial) {
            throw Violation("\(self.partition): a record of T\(serial) after its end")
        }
    }

    private func takeMarker(_ header: RecordBatchHeader, _ batch: UnsafeRawBufferPointer) throws {
        var records = try RecordBatchIterator(batch, scratch: self.scratch)
        guard let view = try records.next(), let key = view.key, let type = ControlRecordType(key: key) else {
            throw Violation("\(self.partition): a control batch without a marker")
        }
        let isCommitted = type == .commit
        let offset = self.next
        self.entries.append(Entry(fate: .control))
        var producer = self.producers[header.producerID] ?? Producer(epoch: header.producerEpoch)
        if header.producerEpoch < producer.epoch {
            throw Violation("\(self.partition): a marker of epoch \(header.producerEpoch) after \(producer.epoch)")
        }
        if header.producerEpoch > producer.epoch { producer.lastSequence = -1 }
        producer.epoch = header.producerEpoch
        let open = producer.open
        let serials = producer.serials
        producer.open = []
        producer.serials = []
        producer.pending = []
        self.producers[header.producerID] = producer
        guard let first = open.first else { return }
        // The decision comes first, and must be there for good.
        let decision = self.decision(header.producerID)
        let isDecided = decision.map { decision in
            decision.producerEpoch == header.producerEpoch
                && decision.state == (isCommitted ? .prepareCommit : .prepareAbort)
        }
        guard self.isReadAgain || isDecided == true else {
            throw Violation(
                "\(self.partition): a marker of producer \(header.producerID) in epoch \(header.producerEpoch), and no "
                    + "such decision is committed: \(decision?.state.name ?? "none")")
        }
        self.ended.append((first, offset))
        for offset in open { self.entries[Int(offset)].fate = isCommitted ? .committed : .aborted }
        for serial in serials.sorted() {
            self.endedSerials.insert(serial)
            try self.ledger.transactions[serial].ends(committed: isCommitted, "\(self.partition)")
        }
        if isCommitted {
            try self.committed(open.compactMap { at in self.entries[Int(at)].record.map { (at, $0) } })
        }
    }

    private func takeDecision(_ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer?, at offset: Int64) {
        let record = CoordinatorRecord(key: Array(key), value: value.map(Array.init))
        guard case .transaction(let id, let metadata) = TransactionRecords.parse(record) else { return }
        self.states[id] = metadata
        guard let metadata else { return }
        self.decisions[metadata.producerID] = (metadata, offset)
    }

    // MARK: What others say

    /// A client was told that its records are there.
    func acknowledge(_ record: SimulatedRecord, at offset: Int64) throws {
        self.acknowledged[offset] = record
        guard offset < self.next else { return }
        guard self.entries[Int(offset)].record == record else {
            throw Violation(
                "\(self.partition): T\(record.serial)/\(record.number) is acknowledged at \(offset), where there is "
                    + "\(self.entries[Int(offset)])")
        }
    }

    /// A reader was given these records, and knows that there is nothing else for it before `next`.
    func isShown(_ shown: [Int64: SimulatedRecord], from start: Int64, to next: Int64, committedOnly: Bool) throws {
        guard next <= self.next else { return }
        for offset in start..<next {
            let entry = self.entries[Int(offset)]
            let mustBeShown = entry.fate == .committed || (!committedOnly && entry.fate != .control)
            guard (shown[offset] != nil) == mustBeShown else {
                throw Violation(
                    "\(self.partition): offset \(offset), \(entry.fate), is\(mustBeShown ? " not" : "") shown to a "
                        + "reader of \(committedOnly ? "committed" : "all") records")
            }
            if let record = shown[offset], record != entry.record {
                throw Violation("\(self.partition): offset \(offset) is read as something else")
            }
        }
    }

    /// The one with the highest id that has nothing open.
    var latestProducer: ProducerIdentity? {
        self.producers.filter { $0.value.open.isEmpty }.max { $0.key < $1.key }
            .map { ProducerIdentity(id: $0.key, epoch: $0.value.epoch) }
    }

    func isPending(_ place: TransactionLedger.Place) -> Bool {
        self.producers.values.contains { $0.pending.contains(place) }
    }

    /// The end: nothing is open, and the log says of its producers what is true.
    func checkEnd() throws {
        if let (id, producer) = self.producers.first(where: { !$0.value.open.isEmpty }) {
            throw Violation("\(self.partition): a transaction of producer \(id) hangs from \(producer.open[0]) on")
        }
        guard let log = self.broker.log(self.partition.topic, self.partition.partition) else {
            throw Violation("\(self.partition) is not there at the end")
        }
        let offsets = log.snapshot
        guard offsets.lastStableOffset == offsets.highWatermark else {
            throw Violation("\(self.partition): the last stable offset is \(offsets) at the end")
        }
        for (offset, record) in self.acknowledged
        where offset >= self.next || self.entries[Int(offset)].record != record {
            throw Violation("\(self.partition): what was acknowledged at \(offset) is lost")
        }
        let active = log.activeProducers
        for producer in active {
            guard let known = self.producers[producer.id], known.epoch == producer.epoch,
                producer.currentTransactionFirstOffset == -1
            else { throw Violation("\(self.partition): DescribeProducers says \(producer)") }
        }
        for id in self.producers.keys where !active.contains(where: { $0.id == id }) {
            throw Violation("\(self.partition): DescribeProducers does not tell of \(id)")
        }
    }
}
