import KafkaMessages
import KafkaPrimitives

/// The transactional ids of one partition of `__transaction_state`, and their transactions.
///
/// Requests come in by `decide`, one function each in the extensions of this type. Stored state changes in `replay`
/// alone. What waits for something outside of the shard (markers, producer ids) leaves as work.
///
/// A transaction goes through the log in three records: ongoing, with its partitions; prepared, which decides it; complete.
/// Markers leave once the prepare record is committed, the complete record follows once all of them are written. A crash
/// in between therefore loses nothing: a shard that finds a prepared transaction when it is loaded has its markers written
/// again, which does no harm where they are written already.
package struct TransactionCoordinatorShard: CoordinatorShard {
    package enum Request: Sendable {
        case initProducerID(InitProducerID)
        case addPartitions(AddPartitions)
        case endTransaction(EndTransaction)
        case describe(String)
        case list(ListFilter)
        /// Not a request of a client: the level of the feature `transaction.version` is another.
        case useTransactionVersion(Int16)
    }

    package struct InitProducerID: Sendable {
        package var transactionalID: String
        package var timeoutMs: Int32
        /// Who the producer has been so far (KIP-360); nil: a new instance.
        package var expected: ProducerIdentity?
        package var isTwoPhase = false
        package var keepsPreparedTransaction = false

        package init(transactionalID: String, timeoutMs: Int32, expected: ProducerIdentity?) {
            self.transactionalID = transactionalID
            self.timeoutMs = timeoutMs
            self.expected = expected
        }
    }

    package struct AddPartitions: Sendable {
        package var transactionalID: String
        package var producer: ProducerIdentity
        package var partitions: TransactionPartitions
        /// Nothing is to be added: are they part of the transaction?
        package var isVerification: Bool
        /// 2 where a broker asks for a producer of version 2, which announces nothing itself.
        package var clientVersion: Int16

        package init(
            transactionalID: String, producer: ProducerIdentity, partitions: TransactionPartitions,
            isVerification: Bool, clientVersion: Int16
        ) {
            self.transactionalID = transactionalID
            self.producer = producer
            self.partitions = partitions
            self.isVerification = isVerification
            self.clientVersion = clientVersion
        }
    }

    package struct EndTransaction: Sendable {
        package var transactionalID: String
        package var producer: ProducerIdentity
        package var isCommit: Bool
        /// 2: the epoch rises with the end of the transaction.
        package var clientVersion: Int16

        package init(transactionalID: String, producer: ProducerIdentity, isCommit: Bool, clientVersion: Int16) {
            self.transactionalID = transactionalID
            self.producer = producer
            self.isCommit = isCommit
            self.clientVersion = clientVersion
        }
    }

    /// Of ListTransactions; nil and empty: all.
    package struct ListFilter: Sendable {
        package var states: Set<TransactionState> = []
        package var producerIDs: Set<Int64> = []
        /// Those that began more than so many ms ago; negative: all.
        package var durationMs: Int64 = -1
        package var matches: (@Sendable (String) -> Bool)?

        package init() {}
    }

    package enum Reply: Sendable, Equatable {
        case producer(ErrorCode, ProducerIdentity)
        /// One error for all partitions.
        case partitionsAdded(ErrorCode)
        /// Those that are part of the transaction, or an error for all.
        case partitionsVerified(ErrorCode, TransactionPartitions)
        case ended(ErrorCode, ProducerIdentity)
        case described(DescribeTransactionsResponse.TransactionState)
        case listed(ErrorCode, [ListTransactionsResponse.TransactionState])
        case usesTransactionVersion(ErrorCode)
    }

    package enum TimerKey: Hashable, Sendable {
        /// The transaction of this id takes too long.
        case transaction(String)
        /// Its markers are to be tried again.
        case markers(String)
        /// The periodic look for ids that nobody uses.
        case expiration
    }

    package enum Continuation: Sendable {
        /// What is soft about an id is set once its record is there.
        case settled(String, lastProducerEpoch: Int16)
        case began(String)
        case prepared(String, lastProducerEpoch: Int16)
        case completed(String)
    }

    package enum Work: Sendable, Equatable {
        case writeMarkers(TransactionMarkers)
        /// A fresh producer id is needed for the request that this names.
        case allocateProducerID(ReplyTicket)
    }

    package enum WorkResult: Sendable {
        case markersWritten(TransactionMarkersOutcome)
        case producerID(ReplyTicket, Result<Int64, ErrorCode>)
    }

    package let config: TransactionCoordinatorConfig
    package internal(set) var transactions: [String: TransactionMetadata] = [:]
    /// Records of kinds that are not ours: left alone.
    package internal(set) var unknownRecordCount = 0
    package internal(set) var malformedRecordCount = 0
    /// The level of the feature `transaction.version`.
    var transactionVersion: Int16
    /// Requests that wait for a producer id.
    var awaitingProducerID: [ReplyTicket: Request] = [:]
    /// Partitions without their marker, of those prepared transactions for which that is not all.
    var unwritten: [String: (partitions: TransactionPartitions, attempts: Int)] = [:]
    /// Where the expiry goes on when one pass did not see all ids.
    var expirationQueue: [String] = []
    /// Monotonic ms; the grid of the timeouts begins here.
    var loadedAtMs: Int64 = 0

    package init(config: TransactionCoordinatorConfig) {
        self.config = config
        self.transactionVersion = config.transactionVersion
    }

    // MARK: Deciding

    package mutating func decide(
        _ request: Request, ticket: ReplyTicket, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
    ) {
        // Whatever is answered rests on what was decided before.
        effects.readsState = true
        self.decide(request, producerID: nil, ticket: ticket, now: now, effects: &effects)
    }

    /// - Parameter producerID: a fresh one, where the request has waited for it.
    private mutating func decide(
        _ request: Request, producerID: Int64?, ticket: ReplyTicket, now: CoordinatorTime,
        effects: inout CoordinatorEffects<Self>
    ) {
        switch request {
        case .initProducerID(let request):
            self.initProducerID(request, fresh: producerID, ticket, now, &effects)
        case .addPartitions(let request):
            self.addPartitions(request, ticket, now, &effects)
        case .endTransaction(let request):
            self.endTransaction(request, fresh: producerID, ticket, now, &effects)
        case .describe(let id):
            effects.reply(ticket, .described(self.describe(id)))
        case .list(let filter):
            effects.reply(ticket, .listed(.none, self.list(filter, now)))
        case .useTransactionVersion(let version):
            self.transactionVersion = version
            effects.reply(ticket, .usesTransactionVersion(.none))
        }
    }

    /// The request is decided anew when there is an id for it.
    mutating func awaitProducerID(
        _ request: Request, _ ticket: ReplyTicket, _ effects: inout CoordinatorEffects<Self>
    ) {
        self.awaitingProducerID[ticket] = request
        effects.work.append(.allocateProducerID(ticket))
    }

    package mutating func workDone(
        _ result: WorkResult, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
    ) {
        switch result {
        case .markersWritten(let outcome):
            self.markersWritten(outcome, now, &effects)
        case .producerID(let ticket, let result):
            guard let request = self.awaitingProducerID.removeValue(forKey: ticket) else { return }
            effects.readsState = true
            switch result {
            case .success(let id):
                self.decide(request, producerID: id, ticket: ticket, now: now, effects: &effects)
            case .failure(let error):
                effects.reply(ticket, Self.failure(of: request, error))
            }
        }
    }

    package mutating func appended(
        _ continuation: Continuation, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
    ) {
        switch continuation {
        case .settled(let id, let lastProducerEpoch):
            self.transactions[id]?.lastProducerEpoch = lastProducerEpoch
        case .began(let id):
            self.armTimeout(of: id, now, &effects)
        case .prepared(let id, let lastProducerEpoch):
            self.transactions[id]?.lastProducerEpoch = lastProducerEpoch
            effects.cancelTimer(.transaction(id))
            self.writeMarkers(of: id, &effects)
        case .completed(let id):
            self.unwritten[id] = nil
            effects.cancelTimer(.markers(id))
        }
    }

    package mutating func appendFailed(
        _ continuation: Continuation, error: ErrorCode, now: CoordinatorTime,
        effects: inout CoordinatorEffects<Self>
    ) {
        // Replies say it to those who have asked. What nobody has asked for is tried again.
        switch continuation {
        case .settled, .began: break
        case .prepared(let id, _): self.armTimeout(of: id, now, &effects)
        case .completed(let id): self.completionFailed(of: id, &effects)
        }
    }

    package mutating func timerFired(
        _ key: TimerKey, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
    ) {
        switch key {
        case .transaction(let id): self.timeOut(id, now, &effects)
        case .markers(let id): self.retryMarkers(of: id, &effects)
        case .expiration: self.expire(now, &effects)
        }
    }

    // MARK: What is stored

    package mutating func replay(_ record: CoordinatorRecord, offset: Int64, producerID: Int64?) -> Bool {
        switch TransactionRecords.parse(record) {
        case .transaction(let id, var metadata?) where metadata.state != .dead:
            if metadata.state == .prepareEpochFence { metadata.state = .ongoing }
            metadata.lastProducerEpoch = self.transactions[id]?.lastProducerEpoch ?? -1
            self.transactions[id] = metadata
            if !metadata.state.isPrepared { self.unwritten[id] = nil }
        case .transaction(let id, _):
            self.transactions[id] = nil
            self.unwritten[id] = nil
        case .other:
            self.unknownRecordCount += 1
        case .malformed:
            self.malformedRecordCount += 1
            return false
        }
        return true
    }

    /// Nobody's transactions reach into `__transaction_state`.
    package mutating func replayEndOfTransaction(producerID: Int64, isCommitted: Bool) {}

    package mutating func loaded(now: CoordinatorTime, effects: inout CoordinatorEffects<Self>) {
        // What was read may not be committed either.
        effects.readsState = true
        self.loadedAtMs = now.monotonicMs
        // Mostly few; in an order that does not change from one run to the next.
        for id in self.transactions.filter({ !$0.value.state.isAtRest }).keys.sorted() {
            self.armTimeout(of: id, now, &effects)
            self.writeMarkers(of: id, &effects)
        }
        effects.setTimer(.expiration, afterMs: self.config.removeExpiredIntervalMs)
    }

    package mutating func unloaded(effects: inout CoordinatorEffects<Self>) {
        for (ticket, request) in self.awaitingProducerID {
            effects.reply(ticket, Self.failure(of: request, .notCoordinator))
        }
        self.awaitingProducerID = [:]
    }

    // MARK: Failures

    package static func failure(of request: Request, _ error: ErrorCode) -> Reply {
        switch request {
        case .initProducerID: .producer(error, .none)
        case .addPartitions(let request) where request.isVerification:
            .partitionsVerified(error, TransactionPartitions())
        case .addPartitions: .partitionsAdded(error)
        case .endTransaction: .ended(error, .none)
        case .describe(let id): .described(.init(id, error))
        case .list: .listed(error, [])
        case .useTransactionVersion: .usesTransactionVersion(error)
        }
    }

    package static func failure(of reply: Reply, _ error: ErrorCode) -> Reply {
        switch reply {
        case .producer: .producer(error, .none)
        case .partitionsAdded: .partitionsAdded(error)
        case .partitionsVerified: .partitionsVerified(error, TransactionPartitions())
        case .ended: .ended(error, .none)
        case .described(let state): .described(.init(state.transactionalID, error))
        case .listed: .listed(error, [])
        case .usesTransactionVersion: .usesTransactionVersion(error)
        }
    }
}

extension DescribeTransactionsResponse.TransactionState {
    init(_ transactionalID: String, _ error: ErrorCode) {
        self.init()
        self.transactionalID = transactionalID
        self.errorCode = error
        if error != .none {
            self.producerID = -1
            self.producerEpoch = -1
        }
    }
}
