import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// A transactional producer as clients have it: it asks again until there is an answer, and follows the errors.
final class ProducerClient: @unchecked Sendable {
    enum Outcome {
        case done
        /// The transaction can only be aborted.
        case mustAbort(ErrorCode)
        /// Another has taken its place, or its time is over.
        case fenced(ErrorCode)
    }

    typealias Then = (Outcome) throws -> Void

    let transactionalID: String
    /// 1: it announces what it writes to. 2: the broker does (KIP-890), and each transaction has an epoch of its own.
    let version: Int16
    let timeoutMs: Int32
    let process: SimulatedProcess
    private let world: World
    private let broker: SimulatedBroker
    private let transactions: Transactions
    private let connection: Connection
    private(set) var identity = ProducerIdentity.none
    private(set) var current: ClientTransaction?
    private var sequences: [TopicPartition: Int32] = [:]
    private var announced: Set<TopicPartition> = []
    /// Something was sent that may be part of the transaction.
    private var isBegun = false
    /// Nobody knows what has become of a batch: its numbers cannot be used again.
    private var isUnresolved = false

    private var ledger: TransactionLedger { self.transactions.ledger }

    init(
        _ process: SimulatedProcess, _ broker: SimulatedBroker, _ transactions: Transactions, transactionalID: String,
        version: Int16, timeoutMs: Int32
    ) {
        self.process = process
        self.world = process.world
        self.broker = broker
        self.transactions = transactions
        self.connection = Connection(process.world, broker)
        self.transactionalID = transactionalID
        self.version = version
        self.timeoutMs = timeoutMs
    }

    private func note(_ what: @autoclosure () -> String) {
        self.world.note("\(self.transactionalID)/\(self.identity.id):\(self.identity.epoch): \(what())")
    }

    private func send<Answer: Sendable>(
        _ request: @escaping (@escaping @Sendable (Answer) -> Void) -> Void,
        answer: @escaping (Answer?) throws -> Void
    ) {
        self.connection.send(request, answer: { reply in try self.process.run { try answer(reply) } })
    }

    private func again(_ action: @escaping () throws -> Void) {
        self.process.after(Int64(20 + self.world.random.below(100)), action)
    }

    private static func isPassing(_ error: ErrorCode?) -> Bool {
        switch error {
        case nil, .coordinatorLoadInProgress, .notCoordinator, .coordinatorNotAvailable, .concurrentTransactions,
            .notEnoughReplicas, .notLeaderOrFollower, .requestTimedOut, .kafkaStorageError:
            true
        default: false
        }
    }

    // MARK: Who it is

    /// Becomes the producer of its transactional id, or, after an error, goes on with a new epoch (KIP-360).
    func initialise(_ then: @escaping Then) {
        let expected = self.identity.id < 0 ? nil : self.identity
        self.initialise(expected, then)
    }

    private func initialise(_ expected: ProducerIdentity?, _ then: @escaping Then) {
        let request = TransactionCoordinatorShard.InitProducerID(
            transactionalID: self.transactionalID, timeoutMs: self.timeoutMs, expected: expected)
        let (broker, id, ledger, process) = (self.broker, self.transactionalID, self.ledger, self.process)
        self.send(
            { respond in
                if expected == nil { ledger.appears(process, as: id) } else { ledger.disturbs(id) }
                broker.perform(.initProducerID(request), for: id) { reply in
                    guard case .producer(let error, let identity) = reply else { return }
                    if error == .none, !broker.disk.isStopped { ledger.isTold(identity, process, id, fences: true) }
                    respond((error, identity))
                }
            },
            answer: { (answer: (ErrorCode, ProducerIdentity)?) in
                self.note("begins: \(answer?.0.name ?? "no answer") \(answer.map { "\($0.1.id):\($0.1.epoch)" } ?? "")")
                if Self.isPassing(answer?.0) { return self.again { self.initialise(expected, then) } }
                guard let (error, identity) = answer else { return }
                switch error {
                case .none:
                    self.identity = identity
                    self.sequences = [:]
                    self.isUnresolved = false
                    self.isBegun = false
                    self.announced = []
                    try then(.done)
                case .producerFenced, .invalidProducerEpoch, .invalidProducerIDMapping: try then(.fenced(error))
                default: throw Violation("\(id): InitProducerId answers \(error.name)")
                }
            })
    }

    // MARK: A transaction

    func begin() -> ClientTransaction {
        let transaction = self.ledger.begin(self.transactionalID)
        self.current = transaction
        self.announced = []
        self.isBegun = false
        return transaction
    }

    private func add(_ partition: TopicPartition, _ then: @escaping Then) throws {
        if self.version >= 2 || self.announced.contains(partition) { return try then(.done) }
        let request = TransactionCoordinatorShard.AddPartitions(
            transactionalID: self.transactionalID, producer: self.identity,
            partitions: TransactionPartitions([(partition.topic, [partition.partition])]), isVerification: false,
            clientVersion: 1)
        let (broker, id) = (self.broker, self.transactionalID)
        self.isBegun = true
        self.send(
            { respond in
                broker.perform(.addPartitions(request), for: id) { reply in
                    if case .partitionsAdded(let error) = reply { respond(error) }
                }
            },
            answer: { (error: ErrorCode?) in
                if Self.isPassing(error) { return self.again { try self.add(partition, then) } }
                self.note("adds \(partition): \(error?.name ?? "")")
                if error == ErrorCode.none { self.announced.insert(partition) }
                try then(try self.outcome(error ?? .none))
            })
    }

    private func outcome(_ error: ErrorCode) throws -> Outcome {
        switch error {
        case .none:
            return .done
        case .producerFenced, .invalidProducerEpoch, .invalidProducerIDMapping:
            // Nobody else is there, and it is in time: who has fenced it?
            let hasTime =
                self.current.map {
                    self.world.now - $0.begun < Int64(self.timeoutMs)
                        && self.ledger.disturbed(self.transactionalID) < $0.begun
                } ?? false
            if error != .invalidProducerIDMapping, hasTime, self.ledger.isLatest(self.process, of: self.transactionalID)
            {
                throw Violation("\(self.transactionalID) is refused without a reason: \(error.name)")
            }
            return .fenced(error)
        default:
            return .mustAbort(error)
        }
    }

    /// Sends records to a partition, until they are there.
    func produce(_ records: [SimulatedRecord], to partition: TopicPartition, _ then: @escaping Then) throws {
        try self.add(partition) { outcome in
            guard case .done = outcome else { return try then(outcome) }
            let sequence = self.sequences[partition] ?? 0
            var batch = RecordBatchBuilder(
                producerID: self.identity.id, producerEpoch: self.identity.epoch, baseSequence: sequence,
                isTransactional: true)
            for record in records { batch.append(timestamp: self.broker.now.wallMs, key: nil, value: record.bytes) }
            self.isBegun = true
            self.send(batch.build(), records, partition, attempts: 0, then)
        }
    }

    private func send(
        _ batch: [UInt8], _ records: [SimulatedRecord], _ partition: TopicPartition, attempts: Int,
        _ then: @escaping Then
    ) {
        let (broker, id, version) = (self.broker, self.transactionalID, self.version >= 2 ? Int16(12) : 11)
        let epoch = self.identity
        self.send(
            { respond in
                broker.produce(
                    batch, to: partition.topic, partition.partition, transactionalID: id, version: version,
                    respond: respond)
            },
            answer: { (answer: ProduceAnswer?) in
                self.note(
                    "sends \(records.count) of T\(records[0].serial) to \(partition): \(answer?.error.name ?? "no answer")"
                )
                if Self.isPassing(answer?.error) {
                    if answer == nil { self.isUnresolved = true }
                    // It gives up after a while.
                    if attempts > 8, !self.world.isCalm { return try then(.mustAbort(.requestTimedOut)) }
                    return self.again { self.send(batch, records, partition, attempts: attempts + 1, then) }
                }
                guard let answer, epoch == self.identity else { return }
                guard answer.error == .none else {
                    self.isUnresolved = true
                    return try then(try self.outcome(answer.error))
                }
                self.isUnresolved = false
                self.sequences[partition] = (self.sequences[partition] ?? 0) &+ Int32(records.count)
                for (index, record) in records.enumerated() {
                    let offset = answer.firstOffset + Int64(index)
                    self.current?.records.append((partition, offset, record.number))
                    try self.transactions.audit(partition).acknowledge(record, at: offset)
                }
                try then(.done)
            })
    }

    /// Commits offsets in the transaction.
    func commit(
        _ offsets: [Int32: Int64], of topic: String, group: String, memberID: String = "", generation: Int32 = -1,
        instanceID: String? = nil, _ then: @escaping Then
    ) throws {
        let index = GroupCoordinator.partition(for: group, of: Int(SimulatedBroker.internalPartitions))
        try self.add(TopicPartition(topic: SimulatedBroker.offsetsTopic, partition: index)) { outcome in
            guard case .done = outcome else { return try then(outcome) }
            var request = TxnOffsetCommitRequest()
            request.transactionalID = self.transactionalID
            request.groupID = group
            request.producerID = self.identity.id
            request.producerEpoch = self.identity.epoch
            request.memberID = memberID
            request.generationID = generation
            request.groupInstanceID = instanceID
            var asked = TxnOffsetCommitRequest.Topic()
            asked.name = topic
            asked.partitions = offsets.sorted { $0.key < $1.key }.map { index, offset in
                var one = TxnOffsetCommitRequest.Partition()
                one.partitionIndex = index
                one.committedOffset = offset
                one.committedMetadata = "T\(self.current?.serial ?? -1)"
                return one
            }
            request.topics = [asked]
            self.isBegun = true
            self.send(request, then)
        }
    }

    private func send(_ request: TxnOffsetCommitRequest, _ then: @escaping Then) {
        let (broker, version) = (self.broker, self.version >= 2 ? Int16(5) : 4)
        self.send(
            { respond in
                broker.commitOffsets(request, version: version) { response in
                    respond(response.topics.flatMap(\.partitions).map(\.errorCode).first { $0 != .none } ?? .none)
                }
            },
            answer: { (error: ErrorCode?) in
                self.note(
                    "offsets of T\(self.current?.serial ?? -1) for \(request.groupID): \(error?.name ?? "no answer")")
                if Self.isPassing(error) { return self.again { self.send(request, then) } }
                try then(try self.outcome(error ?? .none))
            })
    }

    /// Ends the transaction; after an abort the producer is ready for the next one.
    func end(commits: Bool, _ then: @escaping Then) throws {
        guard let transaction = self.current else { return }
        if commits { transaction.asksCommit = true } else { transaction.asksAbort = true }
        guard self.isBegun else {
            self.current = nil
            return try then(.done)
        }
        let request = TransactionCoordinatorShard.EndTransaction(
            transactionalID: self.transactionalID, producer: self.identity, isCommit: commits,
            clientVersion: self.version)
        self.send(request, transaction, then)
    }

    private func send(
        _ request: TransactionCoordinatorShard.EndTransaction, _ transaction: ClientTransaction, _ then: @escaping Then
    ) {
        let (broker, id, ledger, process) = (self.broker, self.transactionalID, self.ledger, self.process)
        let raisesEpoch = self.version >= 2
        self.send(
            { respond in
                broker.perform(.endTransaction(request), for: id) { reply in
                    guard case .ended(let error, let identity) = reply else { return }
                    if error == .none, raisesEpoch, !broker.disk.isStopped {
                        ledger.isTold(identity, process, id, fences: false)
                    }
                    respond((error, identity))
                }
            },
            answer: { (answer: (ErrorCode, ProducerIdentity)?) in
                self.note(
                    "\(request.isCommit ? "commits" : "aborts") T\(transaction.serial): \(answer?.0.name ?? "no answer")"
                )
                if Self.isPassing(answer?.0) { return self.again { self.send(request, transaction, then) } }
                guard let (error, identity) = answer else { return }
                // Nothing had come to be part of it.
                let isNone = error == .invalidTxnState && !request.isCommit && self.version < 2
                guard error == .none || isNone else {
                    // Of version 2, while the end before it is under way: Kafka takes it for one that is fenced.
                    if error == .producerFenced, !request.isCommit { return try then(.fenced(error)) }
                    let outcome = try self.outcome(error)
                    self.current = nil
                    if case .mustAbort(let error) = outcome { return try then(.fenced(error)) }
                    return try then(outcome)
                }
                if request.isCommit {
                    transaction.isCommitted = true
                    self.world.totals.transactions += 1
                    if transaction.outcome == false {
                        throw Violation("T\(transaction.serial) is committed, and aborted")
                    }
                } else {
                    transaction.isAborted = true
                    if transaction.outcome == true {
                        throw Violation("T\(transaction.serial) is aborted, and committed")
                    }
                }
                self.current = nil
                if raisesEpoch {
                    self.identity = identity
                    self.sequences = [:]
                    self.isUnresolved = false
                } else if !request.isCommit, self.isUnresolved || self.world.random.oneIn(3) {
                    return self.initialise(then)
                }
                try then(.done)
            })
    }

    /// Nothing that it has sent is waited for.
    func die() {
        self.process.die()
        self.connection.forget()
    }
}
