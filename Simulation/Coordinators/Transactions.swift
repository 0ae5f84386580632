import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// Producers and copiers with transactional ids, readers of what they write, and those who look at stored offsets.
final class Transactions: Part, @unchecked Sendable {
    /// Of each topic.
    static let partitions: Int32 = 2
    static let data = ["input", "output"].flatMap { topic in
        (0..<Transactions.partitions).map { TopicPartition(topic: topic, partition: $0) }
    }

    let ledger: TransactionLedger
    private let world: World
    private let broker: SimulatedBroker
    private let groupLedger: Ledger
    /// Those of the decisions first.
    private var audits: [PartitionAudit] = []
    private var auditOf: [TopicPartition: PartitionAudit] = [:]
    private var programs: [any TransactionProgram] = []
    private var ids: [String] = []
    /// By partition: the offset of the last record that was copied.
    private var copied: [Int32: Int64] = [:]
    private var nextName = 0
    private var seen = (life: 0, changes: -1)
    /// Nobody begins anything new.
    private(set) var isSettled = false

    init(_ world: World, _ broker: SimulatedBroker, _ ledger: Ledger) {
        self.world = world
        self.broker = broker
        self.groupLedger = ledger
        self.ledger = TransactionLedger(world)
        let decisions = { (partition: TopicPartition) in partition.topic == SimulatedBroker.transactionsTopic }
        for partition in broker.partitions.filter(decisions) + broker.partitions.filter({ !decisions($0) }) {
            let audit = PartitionAudit(partition, broker, self.ledger)
            self.audits.append(audit)
            self.auditOf[partition] = audit
            audit.decision = { [weak self] in self?.decision($0) }
            if partition.topic == "output" {
                audit.committed = { [weak self] in try self?.isCopied($0, partition.partition) }
            }
        }
        let before = broker.powerWasCut
        broker.powerWasCut = { [weak self] in
            before()
            for audit in self?.audits ?? [] { audit.forget() }
            self?.copied = [:]
        }
    }

    func audit(_ partition: TopicPartition) throws -> PartitionAudit {
        guard let audit = self.auditOf[partition] else { throw Violation("there is no \(partition)") }
        return audit
    }

    // MARK: Programs

    func begin() {
        let producers = 1 + self.world.random.below(2)
        self.ids = (0..<producers).map { "producer-\($0)" }
        if !self.world.random.oneIn(4) {
            for number in 0..<1 + self.world.random.below(3) { self.ids.append("copier-\(number)") }
        }
        for id in self.ids { self.run(id) }
        for isCommitted in [true, false] {
            Reader(SimulatedProcess(self.world), self.broker, self, committedOnly: isCommitted).run()
        }
        self.observe(Connection(self.world, self.broker))
    }

    private func run(_ id: String) {
        self.nextName += 1
        let process = SimulatedProcess(self.world)
        let producer = ProducerClient(
            process, self.broker, self, transactionalID: id, version: self.world.random.oneIn(2) ? 1 : 2,
            timeoutMs: Int32(2000 + self.world.random.below(5000)))
        let program: any TransactionProgram =
            id.hasPrefix("copier")
            ? Copier(producer, self.broker, self, self.groupLedger, name: "c\(self.nextName)")
            : PlainProducer(producer, self)
        self.programs.removeAll { $0.producer.process.isDead }
        self.programs.append(program)
        self.world.note("\(id): process \(self.nextName) starts, version \(producer.version)")
        program.start()
    }

    /// It has found out that it cannot go on.
    func hasEnded(_ program: any TransactionProgram) {
        self.world.totals.fenced += 1
        self.startAnother(program.producer.transactionalID)
    }

    private func startAnother(_ id: String) {
        self.world.after(Int64(self.world.random.below(3000))) {
            // There may be one that has taken its place, or is about to.
            let isThere = self.programs.contains {
                $0.producer.transactionalID == id && !$0.producer.process.isDead && !$0.producer.process.isPaused
                    && ($0.producer.identity.id < 0 || self.ledger.isLatest($0.producer.process, of: id))
            }
            if !isThere { self.run(id) }
        }
    }

    func misfortune() {
        let alive = self.programs.filter { !$0.producer.process.isDead }
        guard !alive.isEmpty else { return }
        let victim = alive[self.world.random.below(alive.count)]
        let id = victim.producer.transactionalID
        switch self.world.random.below(8) {
        case 0, 1, 2:
            self.world.note("\(id) dies")
            victim.die()
            self.startAnother(id)
        case 3, 4, 5:
            self.world.note("\(id) stops")
            victim.producer.process.pause(forMs: Int64(self.world.random.below(12_000)))
            if self.world.random.oneIn(2) { self.startAnother(id) }
        case 6:
            // Beside the one that there is.
            self.run(id)
        default: self.writeAsZombie()
        }
    }

    /// Somebody writes by an epoch that is over where a later one is known already, and says nothing of a transaction,
    /// so that only the partition can refuse it.
    private func writeAsZombie() {
        let partition = Self.data[self.world.random.below(Self.data.count)]
        guard let known = self.auditOf[partition]?.latestProducer, known.epoch > 0 else { return }
        let record = SimulatedRecord(serial: 0, number: -1)
        var batch = RecordBatchBuilder(
            producerID: known.id, producerEpoch: known.epoch - 1, baseSequence: 0, isTransactional: false)
        batch.append(timestamp: self.broker.now.wallMs, key: nil, value: record.bytes)
        let bytes = batch.build()
        let broker = self.broker
        Connection(self.world, self.broker).send(
            { respond in
                broker.produceAlone(bytes, to: partition, respond: respond)
            },
            answer: { (answer: ProduceAnswer?) in
                if answer?.error == ErrorCode.none {
                    throw Violation("\(partition): a write of producer \(known.id) is taken after its fence")
                }
            })
    }

    // MARK: What must be

    private func decision(_ producerID: Int64) -> TransactionMetadata? {
        for audit in self.audits where audit.partition.topic == SimulatedBroker.transactionsTopic {
            guard let found = audit.decisions[producerID],
                let log = self.broker.log(audit.partition.topic, audit.partition.partition)
            else { continue }
            return found.offset < log.highWatermark ? found.metadata : nil
        }
        return nil
    }

    func look() throws {
        // What is in a log, and how far it may be read, changes by writes and syncs alone; or by another start.
        let seen = (self.broker.life, self.broker.disk.changes)
        if seen == self.seen { return }
        self.seen = seen
        for audit in self.audits { try audit.look() }
    }

    /// Copies are committed: they are of what comes next in the original, each once.
    private func isCopied(_ records: [(offset: Int64, record: SimulatedRecord)], _ partition: Int32) throws {
        let input = try self.audit(TopicPartition(topic: "input", partition: partition))
        for (offset, record) in records {
            let next = self.next(in: input, after: self.copied[partition] ?? -1)
            guard record.source == next else {
                throw Violation(
                    "output-\(partition): the copy at \(offset) is of \(record.source), not of \(next ?? -1)")
            }
            self.copied[partition] = record.source
        }
    }

    private func next(in audit: PartitionAudit, after offset: Int64) -> Int64? {
        (offset + 1..<max(offset + 1, audit.next)).first { audit.entries[Int($0)].fate == .committed }
    }

    /// Looks at offsets that are stored in transactions.
    private func observe(_ connection: Connection) {
        self.world.after(Int64(self.world.isCalm ? 3000 : 100 + self.world.random.below(400))) {
            let ids = self.ids.filter { $0.hasPrefix("producer") }
            let isOfCopiers = self.ids.count > ids.count && self.world.random.oneIn(2)
            let group =
                isOfCopiers ? Copier.group : "stored-by-\(ids[self.world.random.below(ids.count)])"
            let topic = isOfCopiers ? "input" : "orders"
            let requireStable = self.world.random.oneIn(2)
            var request = OffsetFetchRequest.Group()
            request.groupID = group
            var asked = OffsetFetchRequest.Topics()
            asked.name = topic
            asked.partitionIndexes = [0]
            request.topics = [asked]
            let place = TransactionLedger.Place(group: group, topic: topic, partition: 0)
            let broker = self.broker
            let home = self.auditOf[
                TopicPartition(
                    topic: SimulatedBroker.offsetsTopic,
                    partition: GroupCoordinator.partition(for: group, of: Int(SimulatedBroker.internalPartitions)))]
            let seen = UncheckedBox(home)
            connection.send(
                { respond in
                    let wasPending = seen.value?.isPending(place) ?? false
                    broker.perform(.offsetFetch(request, requireStable: requireStable), for: group) { reply in
                        if case .offsetFetch(let response) = reply, response.errorCode == .none,
                            let error = response.topics.first?.partitions.first?.errorCode
                        {
                            let isPending = wasPending && (seen.value?.isPending(place) ?? false)
                            if error == .none, requireStable, isPending {
                                broker.world.violation = Violation(
                                    "\(group): an offset is shown to who requires stable ones while one is pending")
                            }
                            if error == .unstableOffsetCommit, !requireStable {
                                broker.world.violation = Violation("\(group): unstable for who does not ask")
                            }
                        }
                        respond(reply)
                    }
                },
                answer: { (reply: GroupCoordinatorShard.Reply?) in
                    self.observe(connection)
                    guard case .offsetFetch(let response) = reply, response.errorCode == .none,
                        let partition = response.topics.first?.partitions.first, partition.errorCode == .none
                    else { return }
                    try self.ledger.isShown(
                        group, topic, 0, partition.committedOffset, partition.metadata ?? "", floor: -1)
                })
        }
    }

    // MARK: The end

    func settle() { self.isSettled = true }

    func check(since calm: Int64) throws {
        // Where ids expire soon, a copier that has had nothing to do may find at the very end that it is nobody any more.
        let expires = self.broker.transactionConfig.idExpirationMs < 60_000
        for id in self.ids where !expires || !id.hasPrefix("copier") {
            let getsOn = self.programs.contains {
                !$0.producer.process.isDead && $0.producer.transactionalID == id && $0.lastEnd >= calm - 20_000
            }
            guard getsOn else {
                throw Violation("\(id) does not get on")
            }
        }
        for audit in self.audits { try audit.checkEnd() }
        for transaction in self.ledger.transactions { try self.check(transaction) }
        if !expires, self.ids.contains(where: { $0.hasPrefix("copier") }) {
            for partition in 0..<Self.partitions {
                let input = try self.audit(TopicPartition(topic: "input", partition: partition))
                if let next = self.next(in: input, after: self.copied[partition] ?? -1) {
                    throw Violation("input-\(partition): the record at \(next) is not copied")
                }
            }
        }
        try self.checkStates()
    }

    func dispose() { self.programs = [] }

    /// Wholly there, or wholly not.
    private func check(_ transaction: ClientTransaction) throws {
        if transaction.isCommitted, !transaction.records.isEmpty, transaction.outcome != true {
            throw Violation("T\(transaction.serial) was committed, and is not")
        }
        for record in transaction.records {
            let entry = try self.audit(record.partition).entries[Int(record.offset)]
            guard entry.fate == (transaction.outcome == true ? .committed : .aborted) else {
                throw Violation(
                    "T\(transaction.serial) is \(transaction.outcome == true ? "committed" : "aborted"), its record at "
                        + "\(record.partition) \(record.offset) is \(entry.fate)")
            }
        }
    }

    /// ListTransactions and DescribeTransactions say what is stored, and nothing is under way.
    private func checkStates() throws {
        var violation: Violation?
        for audit in self.audits where audit.partition.topic == SimulatedBroker.transactionsTopic {
            let index = audit.partition.partition
            let found = self.broker.transactions?.runtime.withShard(index) { $0.transactions }
            guard let found else { throw Violation("\(audit.partition) is not loaded at the end") }
            guard Set(found.keys) == Set(audit.states.keys) else {
                throw Violation("\(audit.partition): \(found.keys.sorted()) instead of \(audit.states.keys.sorted())")
            }
            let told = UncheckedBox(Told())
            self.broker.transactions?.perform(.list(.init()), on: index, now: self.broker.now) { reply in
                if case .listed(.none, let states) = reply { told.value.states = states }
            }
            // It waits where something has been appended this very moment.
            guard let listed = told.value.states else { continue }
            for state in listed {
                guard let stored = audit.states[state.transactionalID], stored.producerID == state.producerID,
                    stored.state.name == state.transactionState,
                    [TransactionState.empty, .completeCommit, .completeAbort].contains(stored.state)
                else {
                    violation = Violation("\(state.transactionalID) is \(state.transactionState) at the end")
                    continue
                }
            }
            if listed.count != found.count {
                violation = Violation("\(audit.partition): \(listed.count) transactions are listed")
            }
        }
        if let violation { throw violation }
    }

    private final class Told: @unchecked Sendable {
        var states: [ListTransactionsResponse.TransactionState]?
    }
}
