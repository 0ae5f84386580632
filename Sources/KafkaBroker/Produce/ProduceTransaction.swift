import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import KafkaTransport
import NIOCore
import Synchronization

/// What the transaction's coordinator says to a Produce of a transactional producer (KIP-890).
struct ProduceTransaction: Sendable {
    enum Verdict: Sendable {
        case append(TransactionCheck)
        case refuse(ErrorCode, String?)
    }

    /// Of partitions that not all others are like.
    private var verdicts: [ObjectIdentifier: Verdict] = [:]
    private var other: Verdict

    init(_ verdict: Verdict) { self.other = verdict }

    mutating func set(_ verdict: Verdict, _ partition: Partition) {
        self.verdicts[ObjectIdentifier(partition)] = verdict
    }

    subscript(_ partition: Partition) -> Verdict {
        self.verdicts.isEmpty ? self.other : self.verdicts[ObjectIdentifier(partition)] ?? self.other
    }
}

/// A partition of a Produce whose transaction is not known there yet.
private struct Unverified: Sendable {
    var partition: Partition
    var guardian: VerificationGuard
}

/// One answer, which comes before `take` is called or after it.
private final class AnswerBox<Answer: Sendable>: Sendable {
    private let state = Mutex<(answer: Answer?, later: (@Sendable (Answer) -> Void)?)>((nil, nil))

    func put(_ answer: Answer) {
        let later = self.state.withLock { state -> (@Sendable (Answer) -> Void)? in
            if state.later == nil { state.answer = answer }
            return state.later
        }
        later?(answer)
    }

    /// The answer that is there, or nil; `later` is called with one that comes after.
    func take(or later: @escaping @Sendable (Answer) -> Void) -> Answer? {
        self.state.withLock { state in
            if state.answer == nil { state.later = later }
            return state.answer
        }
    }
}

extension LoopRequestHandler {
    enum TransactionStep {
        case known(ProduceTransaction)
        /// `resume` is called with it, on this loop.
        case pending
    }

    /// Verifies that what a transactional producer sends is part of its transaction, or, for one of version 2, makes it so.
    ///
    /// Partitions in which the transaction is open already need nothing; so it is but once a transaction and partition that
    /// the coordinator is asked, which mostly answers at once.
    func transaction(
        of walker: ProduceRequestWalker, in frame: UnsafeRawBufferPointer,
        _ resume: @escaping @Sendable (ProduceTransaction) -> Void
    ) -> TransactionStep {
        let verifies = self.broker.verifiesTransactions.load(ordering: .relaxed)
        // From version 12 on nobody has announced the partition.
        let adds = walker.version >= 12
        var found = ProduceTransaction(.append(verifies ? .verified(nil) : .none))
        guard verifies || adds else { return .known(found) }
        var producer: ProducerIdentity?
        var partitions = TransactionPartitions()
        var unverified: [Unverified] = []
        let table = self.broker.replicaManager.table
        let now = wallClockMs()
        var walker = walker
        var topic: TopicEntry?
        while let event = walker.next() {
            switch event {
            case .topic(let asked):
                topic = walker.version >= 13 ? table.topic(id: asked.id) : table.topic(named: asked.name)
            case .partition(let asked):
                guard let topic, let partition = topic.partition(asked.index), let range = asked.records,
                    let header = RecordBatchHeader(UnsafeRawBufferPointer(rebasing: frame[range])),
                    header.isTransactional, header.producerID >= 0
                else { continue }
                let sender = ProducerIdentity(id: header.producerID, epoch: header.producerEpoch)
                if let producer, producer.id != sender.id || producer.epoch != sender.epoch {
                    return .known(ProduceTransaction(.refuse(.invalidProducerIDMapping, Self.severalProducers)))
                }
                producer = sender
                guard
                    let guardian = partition.log.beginVerification(
                        of: sender.id, epoch: sender.epoch, sequence: header.baseSequence, bumpsEpochs: adds, now: now)
                else { continue }
                partitions.insert(topic.name, partition.index)
                unverified.append(Unverified(partition: partition, guardian: guardian))
            }
        }
        guard let producer, !unverified.isEmpty else { return .known(found) }
        let transactionalID = walker.transactionalID.map { String(decoding: $0, as: UTF8.self) } ?? ""
        let request = TransactionCoordinatorShard.AddPartitions(
            transactionalID: transactionalID, producer: producer, partitions: partitions, isVerification: !adds,
            clientVersion: 2)
        let box = AnswerBox<TransactionCoordinatorShard.Reply>()
        self.ask(request, until: adds ? .now() + self.broker.addPartitionsPatience : .now(), box)
        let version = walker.version
        let loop = self.loop.eventLoop
        let (known, asked) = (found, unverified)
        let answer = box.take { answer in
            var found = known
            found.add(answer, asked, producer, version: version, verifies: verifies)
            let done = found
            loop.execute { resume(done) }
        }
        guard let answer else { return .pending }
        found.add(answer, unverified, producer, version: version, verifies: verifies)
        return .known(found)
    }

    private static let severalProducers = "Transactional records contain more than one producer id"

    /// The transaction before may not be complete yet: it is waited for a little, as in Kafka.
    private func ask(
        _ request: TransactionCoordinatorShard.AddPartitions, until deadline: NIODeadline,
        _ box: AnswerBox<TransactionCoordinatorShard.Reply>
    ) {
        Self.ask(request, until: deadline, self.broker, self.loop.eventLoop, box)
    }

    private static func ask(
        _ request: TransactionCoordinatorShard.AddPartitions, until deadline: NIODeadline, _ broker: Broker,
        _ loop: any EventLoop, _ box: AnswerBox<TransactionCoordinatorShard.Reply>
    ) {
        broker.transactionCoordinator.perform(.addPartitions(request), for: request.transactionalID) { reply in
            let again = NIODeadline.now() + broker.addPartitionsBackoff
            guard case .partitionsAdded(.concurrentTransactions) = reply, again < deadline else {
                return box.put(reply)
            }
            loop.scheduleTask(deadline: again) { self.ask(request, until: deadline, broker, loop, box) }
        }
    }
}

extension ProduceTransaction {
    fileprivate mutating func add(
        _ answer: TransactionCoordinatorShard.Reply, _ unverified: [Unverified], _ producer: ProducerIdentity,
        version: Int16, verifies: Bool
    ) {
        for asked in unverified {
            let error = answer.error(for: asked.partition.topic, asked.partition.index)
            guard let refusal = TransactionRefusal(ofProduce: error, version: version) else {
                self.set(.append(verifies ? .verified(asked.guardian) : .none), asked.partition)
                continue
            }
            self.set(.refuse(refusal.code, refusal.message), asked.partition)
            if refusal.isPassing { continue }
            asked.partition.log.endVerification(of: producer.id, asked.guardian)
        }
    }
}

extension Broker {
    /// add.partitions.to.txn.retry.backoff.ms
    var addPartitionsBackoff: TimeAmount {
        .milliseconds(self.config.lookup(["add.partitions.to.txn.retry.backoff.ms"]).flatMap { Int64($0.value) } ?? 20)
    }

    /// add.partitions.to.txn.retry.backoff.max.ms
    var addPartitionsPatience: TimeAmount {
        .milliseconds(
            self.config.lookup(["add.partitions.to.txn.retry.backoff.max.ms"]).flatMap { Int64($0.value) } ?? 100)
    }
}
