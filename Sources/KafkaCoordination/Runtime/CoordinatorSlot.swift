import KafkaPrimitives
import KafkaRecords

/// What is behind one shard's lock.
struct SlotState<Shard: CoordinatorShard> {
    typealias Respond = @Sendable (Shard.Reply) -> Void

    var phase = CoordinatorRuntime<Shard>.Phase.unloaded
    /// The leader epoch by which the partition is ours.
    var epoch: Int32 = -1
    var active: ActiveShard<Shard>?

    var nextDeadline: Int64? { self.active?.nextDeadline }

    mutating func perform(
        _ request: Shard.Request, respond: @escaping Respond, now: CoordinatorTime, commitTimeoutMs: Int64
    ) -> Released<Shard> {
        if let active { return active.perform(request, respond: respond, now: now, commitTimeoutMs: commitTimeoutMs) }
        var released = Released<Shard>()
        released.append(
            respond,
            Shard.failure(of: request, self.phase == .loading ? .coordinatorLoadInProgress : .notCoordinator))
        return released
    }

    mutating func appendMarker(
        _ marker: CoordinatorMarker, respond: @escaping ParkedMarkers.Respond, now: CoordinatorTime,
        commitTimeoutMs: Int64
    ) -> Released<Shard> {
        if let active {
            return active.appendMarker(marker, respond: respond, now: now, commitTimeoutMs: commitTimeoutMs)
        }
        var released = Released<Shard>()
        released.markers.append((respond, self.phase == .loading ? .coordinatorLoadInProgress : .notCoordinator))
        return released
    }

    mutating func advance(now: CoordinatorTime, limit: Int, commitTimeoutMs: Int64) -> Released<Shard> {
        self.active?.advance(now: now, limit: limit, commitTimeoutMs: commitTimeoutMs) ?? Released()
    }

    mutating func highWatermarkAdvanced(to offset: Int64) -> Released<Shard> {
        var released = Released<Shard>()
        self.active?.highWatermarkAdvanced(to: offset, &released)
        return released
    }

    mutating func workDone(
        _ result: Shard.WorkResult, epoch: Int32, now: CoordinatorTime, commitTimeoutMs: Int64
    ) -> Released<Shard> {
        guard let active, self.epoch == epoch else { return Released() }
        return active.workDone(result, now: now, commitTimeoutMs: commitTimeoutMs)
    }

    mutating func open(
        _ shard: Shard, log: any CoordinatorLog, endOffset: Int64, highWatermark: Int64, now: CoordinatorTime,
        commitTimeoutMs: Int64
    ) -> Released<Shard> {
        let active = ActiveShard(shard, log: log, endOffset: endOffset, highWatermark: highWatermark)
        self.active = active
        self.phase = .active
        return active.loaded(now: now, commitTimeoutMs: commitTimeoutMs)
    }

    mutating func unload() -> Released<Shard> {
        let released = self.active?.unload() ?? Released()
        self.active = nil
        self.phase = .unloaded
        return released
    }
}

/// A shard at work. A class, so that it is changed in place; touched under the slot's lock only.
final class ActiveShard<Shard: CoordinatorShard> {
    typealias Respond = @Sendable (Shard.Reply) -> Void

    private(set) var shard: Shard
    private let log: any CoordinatorLog
    private var timers = TimerQueue<Shard.TimerKey>()
    /// Requests that are not answered yet.
    private var waiting: [ReplyTicket: Respond] = [:]
    private var nextTicket: ReplyTicket = 1
    /// Replies that wait for the high watermark, in the order of the offsets that they wait for.
    private var parked: [Parked] = []
    private var firstParked = 0
    private var parkedMarkers = ParkedMarkers()
    /// Work that waits likewise, for as long as it takes.
    private var parkedWork: [(endOffset: Int64, work: Shard.Work)] = []
    /// The offset after the last record that the shard appended.
    private var endOffset: Int64
    private var highWatermark: Int64
    /// Kept for its capacity.
    private var effects = CoordinatorEffects<Shard>()

    private struct Parked {
        var endOffset: Int64
        var deadline: Int64
        var respond: Respond
        var reply: Shard.Reply
    }

    init(_ shard: Shard, log: any CoordinatorLog, endOffset: Int64, highWatermark: Int64) {
        self.shard = shard
        self.log = log
        self.endOffset = endOffset
        self.highWatermark = highWatermark
    }

    var nextDeadline: Int64? {
        let parked = self.firstParked < self.parked.count ? self.parked[self.firstParked].deadline : Int64.max
        let next = min(parked, self.parkedMarkers.nextDeadline ?? .max, self.timers.nextDeadline ?? .max)
        return next == .max ? nil : next
    }

    var pendingTimers: [String] { self.timers.pending.map { "\($0.deadline) ms \($0.key)" } }

    func perform(
        _ request: Shard.Request, respond: @escaping Respond, now: CoordinatorTime, commitTimeoutMs: Int64
    ) -> Released<Shard> {
        var released = Released<Shard>()
        let ticket = self.nextTicket
        self.nextTicket &+= 1
        self.effects.reset()
        self.shard.decide(request, ticket: ticket, now: now, effects: &self.effects)
        self.carryOut(now, commitTimeoutMs, current: (ticket, respond), &released)
        return released
    }

    func appendMarker(
        _ marker: CoordinatorMarker, respond: @escaping ParkedMarkers.Respond, now: CoordinatorTime,
        commitTimeoutMs: Int64
    ) -> Released<Shard> {
        var released = Released<Shard>()
        var batch = marker.batch(timestamp: now.wallMs)
        let kind = CoordinatorBatchKind.marker(transactionVersion: marker.transactionVersion)
        switch self.log.append(&batch, kind, recordCount: 1, now: now) {
        case .failed(let error):
            released.markers.append((respond, error))
        case .appended(let appended):
            self.endOffset = appended.endOffset
            self.shard.replayEndOfTransaction(
                producerID: marker.producer.producerID, isCommitted: marker.isCommitted)
            self.parkedMarkers.park(
                respond, endOffset: appended.endOffset, deadline: now.monotonicMs &+ commitTimeoutMs)
            self.highWatermarkAdvanced(to: appended.highWatermark, &released)
        }
        return released
    }

    func advance(now: CoordinatorTime, limit: Int, commitTimeoutMs: Int64) -> Released<Shard> {
        var released = Released<Shard>()
        for _ in 0..<limit {
            guard let key = self.timers.popFirst(now: now.monotonicMs) else { break }
            self.effects.reset()
            self.shard.timerFired(key, now: now, effects: &self.effects)
            self.carryOut(now, commitTimeoutMs, current: nil, &released)
        }
        while self.firstParked < self.parked.count, self.parked[self.firstParked].deadline <= now.monotonicMs {
            let late = self.takeFirstParked()
            let error = ErrorCode.requestTimedOut.asCoordinatorError
            released.append(late.respond, Shard.failure(of: late.reply, error))
        }
        released.markers += self.parkedMarkers.take(dueAt: now.monotonicMs).map { ($0, .requestTimedOut) }
        return released
    }

    func loaded(now: CoordinatorTime, commitTimeoutMs: Int64) -> Released<Shard> {
        var released = Released<Shard>()
        self.effects.reset()
        self.shard.loaded(now: now, effects: &self.effects)
        self.carryOut(now, commitTimeoutMs, current: nil, &released)
        return released
    }

    func highWatermarkAdvanced(to offset: Int64, _ released: inout Released<Shard>) {
        self.highWatermark = max(self.highWatermark, offset)
        while self.firstParked < self.parked.count,
            self.parked[self.firstParked].endOffset <= self.highWatermark
        {
            let ready = self.takeFirstParked()
            released.append(ready.respond, ready.reply)
        }
        released.markers += self.parkedMarkers.take(upTo: self.highWatermark).map { ($0, .none) }
        let ready = self.parkedWork.prefix { $0.endOffset <= self.highWatermark }
        guard !ready.isEmpty else { return }
        released.work += ready.map(\.work)
        self.parkedWork.removeFirst(ready.count)
    }

    func workDone(
        _ result: Shard.WorkResult, now: CoordinatorTime, commitTimeoutMs: Int64
    ) -> Released<Shard> {
        var released = Released<Shard>()
        self.effects.reset()
        self.shard.workDone(result, now: now, effects: &self.effects)
        self.carryOut(now, commitTimeoutMs, current: nil, &released)
        return released
    }

    func unload() -> Released<Shard> {
        var released = Released<Shard>()
        while self.firstParked < self.parked.count {
            let parked = self.takeFirstParked()
            released.append(parked.respond, Shard.failure(of: parked.reply, .notCoordinator))
        }
        released.markers += self.parkedMarkers.takeAll().map { ($0, .notCoordinator) }
        self.effects.reset()
        self.shard.unloaded(effects: &self.effects)
        for (ticket, reply) in self.effects.replies {
            if let respond = self.waiting.removeValue(forKey: ticket) { released.append(respond, reply) }
        }
        return released
    }

    // MARK: Carrying out

    /// Appends and replays what was decided, lets the shard go on, sets its timers, and releases or parks replies
    /// and work.
    private func carryOut(
        _ now: CoordinatorTime, _ commitTimeoutMs: Int64, current: (ticket: ReplyTicket, respond: Respond)?,
        _ released: inout Released<Shard>
    ) {
        var current = current
        var waits = self.effects.readsState || !self.effects.records.isEmpty
        // A continuation may ask for records in turn; that they do so for ever would be a bug of the shard's.
        for _ in 0..<8 where !self.effects.records.isEmpty || self.effects.continuation != nil {
            let records = self.effects.records
            let continuation = self.effects.continuation
            self.effects.records.removeAll(keepingCapacity: true)
            self.effects.continuation = nil
            if let error = self.append(records, now, &released) {
                for index in self.effects.replies.indices {
                    self.effects.replies[index].reply = Shard.failure(of: self.effects.replies[index].reply, error)
                }
                self.effects.work.removeAll(keepingCapacity: true)
                waits = false
                if let continuation {
                    self.shard.appendFailed(continuation, error: error, now: now, effects: &self.effects)
                }
            } else if let continuation {
                self.shard.appended(continuation, now: now, effects: &self.effects)
            }
        }
        for change in self.effects.timers {
            switch change {
            case .set(let key, let afterMs):
                // Never in the past because it is too far in the future: that would fire for ever.
                let (deadline, overflow) = now.monotonicMs.addingReportingOverflow(afterMs)
                self.timers.set(key, deadline: overflow ? .max : deadline)
            case .cancel(let key): self.timers.cancel(key)
            }
        }
        released.notes += self.effects.notes
        for (ticket, reply) in self.effects.replies {
            var respond: Respond?
            if let asked = current, asked.ticket == ticket {
                respond = asked.respond
                current = nil
            } else {
                respond = self.waiting.removeValue(forKey: ticket)
            }
            guard let respond else { continue }
            if waits && self.endOffset > self.highWatermark {
                self.parked.append(
                    Parked(
                        endOffset: self.endOffset, deadline: now.monotonicMs &+ commitTimeoutMs, respond: respond,
                        reply: reply))
            } else {
                released.append(respond, reply)
            }
        }
        if let current { self.waiting[current.ticket] = current.respond }
        if waits && self.endOffset > self.highWatermark {
            self.parkedWork += self.effects.work.map { (self.endOffset, $0) }
        } else {
            released.work += self.effects.work
        }
    }

    /// Nil, or the error that clients are told.
    private func append(
        _ records: [CoordinatorRecord], _ now: CoordinatorTime, _ released: inout Released<Shard>
    ) -> ErrorCode? {
        guard !records.isEmpty else { return nil }
        guard
            var batches = CoordinatorBatch.pack(
                records, isAtomic: self.effects.isAtomic, transaction: self.effects.transaction,
                maxBytes: self.log.maxBatchBytes, timestamp: now.wallMs)
        else { return ErrorCode.messageTooLarge.asCoordinatorError }
        let kind = self.effects.transaction.map { CoordinatorBatchKind.transaction($0.verification) } ?? .records
        for index in batches.indices {
            let range = batches[index].records
            switch self.log.append(&batches[index].bytes, kind, recordCount: range.count, now: now) {
            case .failed(let error):
                released.notes.append("An append of \(records.count) records failed: \(error.name)")
                return error.asCoordinatorError
            case .appended(let appended):
                self.endOffset = appended.endOffset
                for (delta, record) in records[range].enumerated() {
                    _ = self.shard.replay(
                        record, offset: appended.firstOffset &+ Int64(delta),
                        producerID: self.effects.transaction?.producerID)
                }
                self.highWatermarkAdvanced(to: appended.highWatermark, &released)
            }
        }
        return nil
    }

    private func takeFirstParked() -> Parked {
        let parked = self.parked[self.firstParked]
        self.firstParked += 1
        if self.firstParked == self.parked.count {
            self.parked.removeAll(keepingCapacity: true)
            self.firstParked = 0
        } else if self.firstParked > 64 && self.firstParked * 2 > self.parked.count {
            self.parked.removeFirst(self.firstParked)
            self.firstParked = 0
        }
        return parked
    }
}
