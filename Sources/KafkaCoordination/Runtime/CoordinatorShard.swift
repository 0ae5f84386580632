import KafkaPrimitives

/// The time of a decision. Deadlines run on the monotonic clock, so that a step of the wall clock expires nobody;
/// what is stored or shown (commit timestamps, state timestamps) is wall time. Milliseconds both.
package struct CoordinatorTime: Hashable, Sendable {
    package var monotonicMs: Int64
    /// Since 1970.
    package var wallMs: Int64

    package init(monotonicMs: Int64, wallMs: Int64) {
        self.monotonicMs = monotonicMs
        self.wallMs = wallMs
    }
}

/// Names a request whose answer is due. Given out by the runtime, unique within a shard.
package typealias ReplyTicket = UInt64

/// A record of an internal topic; `value` is nil in a tombstone.
package struct CoordinatorRecord: Hashable, Sendable {
    package var key: [UInt8]
    package var value: [UInt8]?

    package init(key: [UInt8], value: [UInt8]?) {
        self.key = key
        self.value = value
    }

    /// Key and value in place.
    func withUnsafeBytes<Result>(
        _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer?) -> Result
    ) -> Result {
        self.key.withUnsafeBytes { key in
            guard let value = self.value else { return body(key, nil) }
            return value.withUnsafeBytes { body(key, $0) }
        }
    }
}

/// What a shard wants done. Filled by the shard, carried out by `CoordinatorRuntime`, in this order: records are
/// appended and replayed, the continuation runs, timers are set, replies and work leave once everything that they
/// rest on is committed.
package struct CoordinatorEffects<Shard: CoordinatorShard>: Sendable {
    package enum TimerChange: Sendable {
        /// Set or moved; the delay counts from the time of the decision.
        case set(Shard.TimerKey, afterMs: Int64)
        case cancel(Shard.TimerKey)
    }

    /// To append to the shard's partition.
    package var records: [CoordinatorRecord] = []
    /// Whether the records must be in one batch. A clean-up need not be: it may be split to fit.
    package var isAtomic = true
    /// Set where the records are part of a producer's transaction: they are one batch, and count when its marker comes.
    package var transaction: TransactionalProducer?
    /// What the shard does once the records are appended and replayed, or could not be appended.
    package var continuation: Shard.Continuation?
    package var replies: [(ticket: ReplyTicket, reply: Shard.Reply)] = []
    package var timers: [TimerChange] = []
    /// To be carried out outside of the shard, when its lock is released and the records of the decision are
    /// committed; what is not committed when the shard is unloaded is never carried out. The results, where there are
    /// any, come back by `workDone`.
    package var work: [Shard.Work] = []
    /// Set by a read: its reply waits until all that was appended before is committed; its work too.
    package var readsState = false
    /// Worth a line in the log.
    package var notes: [String] = []

    package init() {}

    package mutating func reset() {
        self.records.removeAll(keepingCapacity: true)
        self.isAtomic = true
        self.transaction = nil
        self.continuation = nil
        self.replies.removeAll(keepingCapacity: true)
        self.timers.removeAll(keepingCapacity: true)
        self.work.removeAll(keepingCapacity: true)
        self.readsState = false
        self.notes.removeAll(keepingCapacity: true)
    }

    package mutating func reply(_ ticket: ReplyTicket, _ reply: Shard.Reply) {
        self.replies.append((ticket, reply))
    }

    package mutating func setTimer(_ key: Shard.TimerKey, afterMs: Int64) {
        self.timers.append(.set(key, afterMs: afterMs))
    }

    package mutating func cancelTimer(_ key: Shard.TimerKey) {
        self.timers.append(.cancel(key))
    }
}

/// A coordinator's state for one partition of its internal topic: a value without clock, I/O or task.
///
/// What is in the partition is changed by `replay` alone, in life as on load. What a crash may forget (who waits
/// for an answer, a rebalance in progress, timers) may change at once in `decide`.
package protocol CoordinatorShard: Sendable {
    associatedtype Request: Sendable
    associatedtype Reply: Sendable
    associatedtype TimerKey: Hashable & Sendable
    /// The second half of a decision that waits for its records.
    associatedtype Continuation: Sendable
    /// What a decision wants done outside of the shard, and what comes of it. `Never` where there is none.
    associatedtype Work: Sendable
    associatedtype WorkResult: Sendable

    /// Answers a request, now or later: `ticket` names it.
    mutating func decide(
        _ request: Request, ticket: ReplyTicket, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>)

    mutating func timerFired(_ key: TimerKey, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>)

    /// The records of the decision are appended and replayed. More records may be asked for.
    mutating func appended(
        _ continuation: Continuation, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>)

    /// They could not be appended; `error` is what a client may be told.
    mutating func appendFailed(
        _ continuation: Continuation, error: ErrorCode, now: CoordinatorTime,
        effects: inout CoordinatorEffects<Self>)

    /// What came of a piece of work that this shard asked for, since it was loaded.
    mutating func workDone(_ result: WorkResult, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>)

    /// Applies a record. Whatever its bytes, it must not trap; returns false for one that it could not use.
    /// - Parameter producerID: of a record that is part of a transaction; it counts when the transaction is committed.
    mutating func replay(_ record: CoordinatorRecord, offset: Int64, producerID: Int64?) -> Bool

    /// The same for a record where it lies, as it is loaded; a shard of which many are loaded need not copy them.
    mutating func replay(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?, offset: Int64, producerID: Int64?
    ) -> Bool

    /// A marker in the partition: the producer's transaction has ended.
    mutating func replayEndOfTransaction(producerID: Int64, isCommitted: Bool)

    /// Everything is replayed: arms timers.
    mutating func loaded(now: CoordinatorTime, effects: inout CoordinatorEffects<Self>)

    /// Leadership is lost: answers whoever still waits.
    mutating func unloaded(effects: inout CoordinatorEffects<Self>)

    /// The answer to a request that the shard never saw.
    static func failure(of request: Request, _ error: ErrorCode) -> Reply

    /// What becomes of a reply whose records are not stored.
    static func failure(of reply: Reply, _ error: ErrorCode) -> Reply
}

extension CoordinatorShard {
    package mutating func replay(
        key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?, offset: Int64, producerID: Int64?
    ) -> Bool {
        let record = CoordinatorRecord(key: Array(key), value: value.map(Array.init))
        return self.replay(record, offset: offset, producerID: producerID)
    }
}

extension CoordinatorShard where WorkResult == Never {
    package mutating func workDone(
        _ result: Never, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
    ) {}
}

extension ErrorCode {
    /// What clients of a coordinator are told when its partition refuses an append, as Kafka maps it.
    package var asCoordinatorError: ErrorCode {
        switch self {
        case .unknownTopicOrPartition, .notEnoughReplicas, .notEnoughReplicasAfterAppend, .requestTimedOut:
            .coordinatorNotAvailable
        case .notLeaderOrFollower, .kafkaStorageError:
            .notCoordinator
        case .messageTooLarge, .recordListTooLarge, .invalidFetchSize:
            .unknownServerError
        default:
            self
        }
    }
}
