import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// What came of a Produce of one batch.
struct ProduceAnswer: Sendable {
    var error: ErrorCode
    var firstOffset: Int64 = -1
}

// Transactions, with the decisions of TransactionCoordinatorService, TransactionMarkerWriter, ProduceTransaction and
// OffsetVerification. What those do at once, on one machine, may take a while here, be lost, or be done twice.
extension SimulatedBroker {
    func perform(
        _ request: TransactionCoordinatorShard.Request, for transactionalID: String,
        respond: @escaping @Sendable (TransactionCoordinatorShard.Reply) -> Void
    ) {
        guard let transactions = self.transactions else { return }
        self.disk.clock = self.now.wallMs
        transactions.perform(
            request, on: transactions.partition(for: transactionalID), now: self.now, respond: respond)
    }

    /// What a shard of the transaction coordinator cannot do itself.
    func carryOut(_ work: TransactionCoordinatorShard.Work, _ partition: Int32, _ epoch: Int32) {
        switch work {
        case .allocateProducerID(let ticket):
            // In the order in which they were asked for.
            self.after(5) { broker in
                let result: Result<Int64, ErrorCode> =
                    broker.world.loses() ? .failure(.coordinatorLoadInProgress) : .success(broker.allocateProducerID())
                broker.transactions?.workDone(.producerID(ticket, result), on: partition, epoch: epoch, now: broker.now)
            }
        case .writeMarkers(let markers):
            let count = markers.partitions.count
            let gather = Gather(count) { [weak self] failures in
                let outcome = TransactionMarkersOutcome(
                    transactionalID: markers.transactionalID, producer: markers.producer, failures: failures)
                self?.after(Int64(self?.world.random.below(3) ?? 0)) { broker in
                    broker.transactions?.workDone(
                        .markersWritten(outcome), on: partition, epoch: epoch, now: broker.now)
                }
            }
            for topic in markers.partitions.topics {
                for index in topic.partitions { self.send(markers, epoch, to: topic.name, index, gather) }
            }
        }
    }

    /// Carries one marker to its partition, and its answer back.
    private func send(
        _ markers: TransactionMarkers, _ epoch: Int32, to topic: String, _ partition: Int32, _ gather: Gather
    ) {
        let world = self.world
        if world.loses() {
            return self.after(world.delay()) { _ in gather.done(topic, partition, .requestTimedOut) }
        }
        let isAnswerLost = world.loses()
        // With version 2 a late one does no harm. With version 1 it would end the next transaction: that it cannot come
        // late is up to who sends it.
        if markers.transactionVersion >= 2, !world.isCalm, world.random.oneIn(20) {
            self.after(world.delay() + Int64(world.random.below(2000))) { broker in
                broker.write(markers, epoch, to: topic, partition) { _ in }
            }
        }
        self.after(world.random.oneIn(3) ? world.delay() : 0) { broker in
            broker.write(markers, epoch, to: topic, partition) { error in
                gather.done(topic, partition, isAnswerLost ? .requestTimedOut : error)
            }
        }
    }

    private func write(
        _ markers: TransactionMarkers, _ epoch: Int32, to topic: String, _ partition: Int32,
        _ completion: @escaping (ErrorCode) -> Void
    ) {
        guard let log = self.log(topic, partition) else { return completion(.notLeaderOrFollower) }
        let done = UncheckedBox(completion)
        if topic == Self.offsetsTopic {
            let marker = CoordinatorMarker(
                producerID: markers.producer.id, producerEpoch: markers.producer.epoch, isCommitted: markers.isCommit,
                coordinatorEpoch: epoch, transactionVersion: markers.transactionVersion)
            self.groups?.runtime.appendMarker(marker, on: partition, now: self.now) { error in
                switch error {
                case .notCoordinator, .coordinatorLoadInProgress, .coordinatorNotAvailable:
                    done.value(.notLeaderOrFollower)
                default:
                    done.value(error)
                }
            }
            return
        }
        var batch = RecordBatchBuilder.endTransaction(
            committed: markers.isCommit, marker: EndTransactionMarker(coordinatorEpoch: epoch),
            producerID: markers.producer.id, producerEpoch: markers.producer.epoch, timestamp: self.now.wallMs)
        switch self.append(&batch, to: log, .coordinator, .marker(version: markers.transactionVersion)) {
        case .failure(let error): completion(error.code)
        case .success(let info): self.whenCommitted(log, info.lastOffset + 1) { completion(.none) }
        }
    }

    func append(
        _ batch: inout [UInt8], to log: PartitionLog, _ origin: RecordOrigin, _ check: TransactionCheck
    ) -> Result<AppendInfo, AppendError> {
        batch.withUnsafeMutableBytes { bytes in
            guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(bytes)) else {
                return .failure(.protocolError(.corruptMessage, nil))
            }
            return log.append(
                bytes, validated: validated, leaderEpoch: self.leaderEpoch, now: self.now.wallMs, origin: origin,
                transaction: check)
        }
    }

    // MARK: Produce

    /// Produce of one batch to one partition.
    /// - Parameter version: of the request: from 12 on nobody has announced the partition.
    func produce(
        _ batch: [UInt8], to topic: String, _ partition: Int32, transactionalID: String, version: Int16,
        respond: @escaping @Sendable (ProduceAnswer) -> Void
    ) {
        self.disk.clock = self.now.wallMs
        guard let log = self.log(topic, partition), let header = batch.withUnsafeBytes({ RecordBatchHeader($0) }) else {
            return
        }
        let producer = ProducerIdentity(id: header.producerID, epoch: header.producerEpoch)
        let adds = version >= 12
        let guardian = log.beginVerification(
            of: producer.id, epoch: producer.epoch, sequence: header.baseSequence, bumpsEpochs: adds,
            now: self.now.wallMs)
        guard let guardian else { return self.append(batch, to: log, .verified(nil), respond) }
        let request = TransactionCoordinatorShard.AddPartitions(
            transactionalID: transactionalID, producer: producer,
            partitions: TransactionPartitions([(topic, [partition])]), isVerification: !adds, clientVersion: 2)
        let life = self.life
        self.ask(request, until: self.world.now + (adds ? 100 : 0)) { [weak self] answer in
            guard let self, self.life == life else { return }
            if let refusal = TransactionRefusal(
                ofProduce: answer.error(for: topic, partition), version: version)
            {
                if !refusal.isPassing { log.endVerification(of: producer.id, guardian) }
                return respond(ProduceAnswer(error: refusal.code))
            }
            // It is carried out when its event loop has time.
            if self.world.random.oneIn(2) { return self.append(batch, to: log, .verified(guardian), respond) }
            self.after(Int64(self.world.random.below(30))) { $0.append(batch, to: log, .verified(guardian), respond) }
        }
    }

    /// Produce without a transaction.
    func produceAlone(
        _ batch: [UInt8], to partition: TopicPartition, respond: @escaping @Sendable (ProduceAnswer) -> Void
    ) {
        self.disk.clock = self.now.wallMs
        guard let log = self.log(partition.topic, partition.partition) else { return }
        self.append(batch, to: log, .none, respond)
    }

    /// The transaction before may not be complete yet: it is waited for a little.
    private func ask(
        _ request: TransactionCoordinatorShard.AddPartitions, until deadline: Int64,
        _ then: @escaping (TransactionCoordinatorShard.Reply) -> Void
    ) {
        let done = UncheckedBox(then)
        let life = self.life
        self.perform(.addPartitions(request), for: request.transactionalID) { [weak self] reply in
            guard let self, self.life == life else { return }
            guard case .partitionsAdded(.concurrentTransactions) = reply, self.world.now + 20 < deadline else {
                return done.value(reply)
            }
            self.after(20) { $0.ask(request, until: deadline, done.value) }
        }
    }

    private func append(
        _ batch: [UInt8], to log: PartitionLog, _ check: TransactionCheck,
        _ respond: @escaping @Sendable (ProduceAnswer) -> Void
    ) {
        var batch = batch
        switch self.append(&batch, to: log, .client, check) {
        case .failure(let error):
            respond(ProduceAnswer(error: error.code))
        case .success(let info):
            self.whenCommitted(log, info.lastOffset + 1) {
                respond(ProduceAnswer(error: .none, firstOffset: info.firstOffset))
            }
        }
    }

    // MARK: Offsets in transactions

    /// TxnOffsetCommit.
    func commitOffsets(
        _ request: TxnOffsetCommitRequest, version: Int16,
        respond: @escaping @Sendable (TxnOffsetCommitResponse) -> Void
    ) {
        guard let groups = self.groups else { return }
        self.disk.clock = self.now.wallMs
        let partition = groups.partition(for: request.groupID)
        guard let log = self.log(Self.offsetsTopic, partition) else { return }
        let producer = ProducerIdentity(id: request.producerID, epoch: request.producerEpoch)
        let life = self.life
        let commit: @Sendable (OffsetVerification) -> Void = { [weak self] verification in
            guard let self, self.life == life else { return }
            let ids = Dictionary(
                request.topics.map { ($0.name, self.topic(named: $0.name)?.id ?? .zero) },
                uniquingKeysWith: { first, _ in first })
            self.perform(
                .transactionalOffsetCommit(request, topicIDs: ids, verification: verification, apiVersion: version),
                for: request.groupID
            ) { if case .transactionalOffsetCommit(let response) = $0 { respond(response) } }
        }
        let guardian = log.beginVerification(
            of: producer.id, epoch: producer.epoch, sequence: 0, bumpsEpochs: version >= 5, now: self.now.wallMs)
        guard let guardian else { return commit(.open) }
        let asked = TransactionCoordinatorShard.AddPartitions(
            transactionalID: request.transactionalID, producer: producer,
            partitions: TransactionPartitions([(Self.offsetsTopic, [partition])]), isVerification: version < 5,
            clientVersion: 2)
        self.perform(.addPartitions(asked), for: request.transactionalID) { [weak self] reply in
            guard let self, self.life == life else { return }
            let error = reply.error(for: Self.offsetsTopic, partition)
            if let refusal = TransactionRefusal(ofOffsets: error, version: version) {
                log.endVerification(of: producer.id, guardian)
                return respond(TxnOffsetCommitResponse(refusing: request, refusal.code))
            }
            if self.world.random.oneIn(2) { return commit(.shown(guardian.number)) }
            self.after(Int64(self.world.random.below(30))) { _ in commit(.shown(guardian.number)) }
        }
    }
}

/// Waits for the answers of so many partitions.
private final class Gather: @unchecked Sendable {
    private var left: Int
    private var failures: [TransactionMarkersOutcome.Failure] = []
    private let completion: ([TransactionMarkersOutcome.Failure]) -> Void

    init(_ count: Int, _ completion: @escaping ([TransactionMarkersOutcome.Failure]) -> Void) {
        self.left = count
        self.completion = completion
        if count == 0 { completion([]) }
    }

    func done(_ topic: String, _ partition: Int32, _ error: ErrorCode) {
        if error != .none { self.failures.append(.init(topic: topic, partition: partition, error: error)) }
        self.left -= 1
        if self.left == 0 { self.completion(self.failures) }
    }
}

/// All of it runs in one thread.
struct UncheckedBox<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
