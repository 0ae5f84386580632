import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

@testable import KafkaLog

/// A program with a transactional id.
protocol TransactionProgram: AnyObject {
    var producer: ProducerClient { get }
    /// When it last ended a transaction, or saw that there is nothing to do.
    var lastEnd: Int64 { get }
    func start()
    func die()
}

/// Writes records to some partitions in each transaction, now and then with offsets, and commits or aborts it.
final class PlainProducer: TransactionProgram, @unchecked Sendable {
    let producer: ProducerClient
    private(set) var lastEnd: Int64 = -1
    private let transactions: Transactions
    private let world: World
    private var offset: Int64 = 0

    init(_ producer: ProducerClient, _ transactions: Transactions) {
        self.producer = producer
        self.transactions = transactions
        self.world = producer.process.world
    }

    private var group: String { "stored-by-\(self.producer.transactionalID)" }

    func start() {
        self.producer.initialise { outcome in
            guard case .done = outcome else { return self.ends() }
            self.rest()
        }
    }

    func die() { self.producer.die() }

    private func ends() {
        self.producer.die()
        self.transactions.hasEnded(self)
    }

    private func rest() {
        let pauseMs = self.world.isCalm ? 2000 + self.world.random.below(2000) : self.world.random.below(600)
        self.producer.process.after(Int64(pauseMs)) {
            if self.transactions.isSettled {
                self.lastEnd = self.world.now
                return
            }
            _ = self.producer.begin()
            try self.send(1 + self.world.random.below(4))
        }
    }

    private func send(_ left: Int) throws {
        guard left > 0 else { return try self.finish() }
        // It may think for longer than its transaction may take.
        let thinkMs = !self.world.isCalm && self.world.random.oneIn(30) ? 9000 : self.world.random.below(60)
        self.producer.process.after(Int64(thinkMs)) {
            guard let transaction = self.producer.current else { return }
            if self.world.random.oneIn(6) {
                let place = Int64(transaction.serial)
                self.offset = max(self.offset, place)
                return try self.producer.commit([0: place], of: "orders", group: self.group) { outcome in
                    try self.goOn(outcome) { try self.send(left - 1) }
                }
            }
            let records = (0..<1 + self.world.random.below(3)).map {
                SimulatedRecord(serial: transaction.serial, number: left * 10 + $0)
            }
            let partition = Int32(self.world.random.below(Int(Transactions.partitions)))
            try self.producer.produce(records, to: TopicPartition(topic: "input", partition: partition)) { outcome in
                try self.goOn(outcome) { try self.send(left - 1) }
            }
        }
    }

    private func goOn(_ outcome: ProducerClient.Outcome, _ then: () throws -> Void) throws {
        switch outcome {
        case .done: try then()
        case .fenced: self.ends()
        case .mustAbort:
            try self.producer.end(commits: false) { outcome in
                guard case .done = outcome else { return self.ends() }
                self.lastEnd = self.world.now
                self.rest()
            }
        }
    }

    private func finish() throws {
        try self.producer.end(commits: !self.world.random.oneIn(3)) { outcome in
            guard case .done = outcome else { return self.ends() }
            self.lastEnd = self.world.now
            self.rest()
        }
    }
}

/// Copies records from one topic to another, each once: a member of a group that stores in the transaction of the copies
/// how far it has read (KIP-447).
final class Copier: TransactionProgram, @unchecked Sendable {
    static let group = "copiers"

    let producer: ProducerClient
    private(set) var lastEnd: Int64 = -1
    private let transactions: Transactions
    private let world: World
    private let member: ClassicMember
    private let reader: Reader
    private let ledger: Ledger

    init(
        _ producer: ProducerClient, _ broker: SimulatedBroker, _ transactions: Transactions, _ ledger: Ledger,
        name: String
    ) {
        self.producer = producer
        self.transactions = transactions
        self.ledger = ledger
        self.world = producer.process.world
        self.member = ClassicMember(
            producer.process, broker, ledger, group: Self.group, name: name, instanceID: nil, topic: "input",
            partitions: Transactions.partitions)
        self.reader = Reader(producer.process, broker, transactions, committedOnly: true)
        self.member.work = { [weak self] _ in try self?.copy() }
    }

    func start() {
        self.producer.initialise { outcome in
            guard case .done = outcome else { return self.ends() }
            self.member.join()
        }
    }

    func die() {
        self.member.die()
        self.producer.die()
    }

    private func ends() {
        self.die()
        self.transactions.hasEnded(self)
    }

    private struct Part {
        var partition: Int32
        var records: [SimulatedRecord]
        var next: Int64
    }

    private func copy() throws {
        let owned = self.member.owned
        try self.gather(owned, []) { parts in
            if parts.isEmpty {
                self.lastEnd = self.world.now
                return self.member.goOn()
            }
            let transaction = self.producer.begin()
            let copies = parts.map { part in
                (
                    partition: part.partition,
                    records: part.records.map {
                        SimulatedRecord(serial: transaction.serial, number: $0.number, source: $0.source)
                    }
                )
            }
            try self.send(copies[...]) { try self.commit(parts, transaction) }
        }
    }

    /// What there is to copy.
    private func gather(_ partitions: [Int32], _ found: [Part], _ then: @escaping ([Part]) throws -> Void) throws {
        guard let partition = partitions.first else { return try then(found) }
        let start = self.member.positions[partition] ?? 0
        self.reader.fetch(TopicPartition(topic: "input", partition: partition), from: start) { records, next in
            var found = found
            if let records, !records.isEmpty {
                let taken = records.prefix(self.world.isCalm ? 50 : 1 + self.world.random.below(6))
                found.append(
                    Part(
                        partition: partition,
                        records: taken.map { SimulatedRecord(serial: 0, number: $0.record.number, source: $0.offset) },
                        next: taken.count == records.count ? next : (taken.last?.offset ?? start) + 1))
            } else if records != nil {
                self.member.positions[partition] = next
            }
            try self.gather(Array(partitions.dropFirst()), found, then)
        }
    }

    private func send(
        _ copies: ArraySlice<(partition: Int32, records: [SimulatedRecord])>, _ then: @escaping () throws -> Void
    ) throws {
        guard let first = copies.first else { return try then() }
        try self.producer.produce(
            first.records, to: TopicPartition(topic: "output", partition: first.partition)
        ) { outcome in
            try self.goOn(outcome) { try self.send(copies.dropFirst(), then) }
        }
    }

    private func commit(_ parts: [Part], _ transaction: ClientTransaction) throws {
        let offsets = Dictionary(uniqueKeysWithValues: parts.map { ($0.partition, $0.next) })
        let (generation, latest) = (self.member.generation, self.ledger.generation(Self.group))
        for (partition, offset) in offsets { self.ledger.sends(Self.group, partition, offset) }
        try self.producer.commit(
            offsets, of: "input", group: Self.group, memberID: self.member.memberID, generation: generation
        ) { outcome in
            try self.goOn(outcome) {
                if generation < latest {
                    throw Violation("offsets of generation \(generation) of the copiers are taken in \(latest)")
                }
                let commits = !self.world.random.oneIn(8)
                try self.producer.end(commits: commits) { outcome in
                    guard case .done = outcome else { return self.ends() }
                    guard commits else { return self.member.readOn() }
                    for part in parts {
                        self.member.positions[part.partition] = part.next
                        try self.ledger.committed(
                            Self.group, part.partition, part.next, generation: generation, latest: generation)
                    }
                    self.lastEnd = self.world.now
                    self.member.goOn()
                }
            }
        }
    }

    private func goOn(_ outcome: ProducerClient.Outcome, _ then: () throws -> Void) throws {
        switch outcome {
        case .done: try then()
        case .fenced: self.ends()
        case .mustAbort(let error):
            try self.producer.end(commits: false) { outcome in
                guard case .done = outcome else { return self.ends() }
                switch error {
                case .unknownMemberID, .illegalGeneration, .rebalanceInProgress: self.member.failed(error)
                default: self.member.readOn()
                }
            }
        }
    }
}
