import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// Reads partitions as a consumer does: of committed records it leaves out what the broker says is aborted.
final class Reader: @unchecked Sendable {
    private let world: World
    private let broker: SimulatedBroker
    private let transactions: Transactions
    private let process: SimulatedProcess
    private let connection: Connection
    private let committedOnly: Bool
    private var positions: [TopicPartition: Int64] = [:]

    init(_ process: SimulatedProcess, _ broker: SimulatedBroker, _ transactions: Transactions, committedOnly: Bool) {
        self.process = process
        self.world = process.world
        self.broker = broker
        self.transactions = transactions
        self.connection = Connection(process.world, broker)
        self.committedOnly = committedOnly
    }

    /// One fetch; nil where there was no answer.
    func fetch(
        _ partition: TopicPartition, from start: Int64,
        _ then: @escaping (_ records: [(offset: Int64, record: SimulatedRecord)]?, _ next: Int64) throws -> Void
    ) {
        let (broker, committedOnly) = (self.broker, self.committedOnly)
        let maxBytes = [200, 1000, 1 << 16][self.world.random.below(3)]
        self.connection.send(
            { respond in
                broker.fetch(
                    partition.topic, partition.partition, from: start, committedOnly: committedOnly, maxBytes: maxBytes,
                    respond: respond)
            },
            answer: { (answer: FetchAnswer?) in
                try self.process.run {
                    guard let answer, answer.error == .none else { return try then(nil, start) }
                    let (records, next) = try self.records(of: answer, from: start)
                    try self.transactions.audit(partition).isShown(
                        Dictionary(uniqueKeysWithValues: records.map { ($0.offset, $0.record) }), from: start, to: next,
                        committedOnly: committedOnly)
                    try then(records, next)
                }
            })
    }

    private func records(
        of answer: FetchAnswer, from start: Int64
    ) throws -> (records: [(offset: Int64, record: SimulatedRecord)], next: Int64) {
        var records: [(offset: Int64, record: SimulatedRecord)] = []
        var next = start
        var ahead = answer.aborted.sorted { $0.firstOffset < $1.firstOffset }[...]
        var skipped: Set<Int64> = []
        let scratch = DecompressionScratch()
        try answer.bytes.withUnsafeBytes { bytes in
            var slices = RecordBatchSlices(bytes)
            while let (header, batch) = try slices.next() {
                next = max(next, header.lastOffset + 1)
                if self.committedOnly {
                    while let first = ahead.first, first.firstOffset <= header.lastOffset {
                        skipped.insert(first.producerID)
                        ahead.removeFirst()
                    }
                }
                var iterator = try RecordBatchIterator(batch, scratch: scratch)
                while let view = try iterator.next() {
                    if header.isControl {
                        if let key = view.key, ControlRecordType(key: key) == .abort {
                            skipped.remove(header.producerID)
                        }
                    } else if view.offset >= start, !header.isTransactional || !skipped.contains(header.producerID),
                        let record = SimulatedRecord(view.value)
                    {
                        records.append((view.offset, record))
                    }
                }
            }
        }
        return (records, next)
    }

    /// Goes on for ever, from one partition to another.
    func run() {
        let partitions = Transactions.data
        let partition = partitions[self.world.random.below(partitions.count)]
        let start = self.world.random.oneIn(20) ? 0 : self.positions[partition] ?? 0
        let pauseMs = Int64(self.world.isCalm ? 3000 : 100 + self.world.random.below(400))
        self.fetch(partition, from: start) { _, next in
            self.positions[partition] = next
            self.process.after(pauseMs) { self.run() }
        }
    }
}
