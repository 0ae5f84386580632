import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Runs the shards of one coordinator, one a partition of its internal topic, each behind a lock of its own.
///
/// A request is decided, its records appended and replayed, and its reply parked until the high watermark passes
/// them, all on the caller's thread and under the shard's lock (see `perform`). Nothing needs undoing: what is
/// stored changes only after the append. Replies, log lines and work leave after the lock is released.
///
/// Nothing here runs by itself. The broker calls `advance` when `nextDeadline` has come, and
/// `highWatermarkAdvanced` when a partition's high watermark moved.
package final class CoordinatorRuntime<Shard: CoordinatorShard>: Sendable {
    package typealias Respond = @Sendable (Shard.Reply) -> Void
    /// Does what a shard wants done, or hands it to whoever does it; the partition and the epoch are for `workDone`.
    package typealias CarryOut = @Sendable (_ work: Shard.Work, _ partition: Int32, _ epoch: Int32) -> Void

    package enum Phase: Sendable, Equatable {
        /// Led by somebody else, or not at all: NOT_COORDINATOR.
        case unloaded
        /// COORDINATOR_LOAD_IN_PROGRESS.
        case loading
        case active
    }

    /// How long a reply waits for the high watermark before it is given up, milliseconds.
    private let commitTimeoutMs: Int64
    private let slots: [Slot]
    private let note: @Sendable (String) -> Void
    private let carryOut: CarryOut

    private final class Slot: Sendable {
        let state = Mutex(SlotState<Shard>())
        /// When to look at this shard again, monotonic milliseconds; `Int64.max`: never.
        let nextDeadline = Atomic<Int64>(.max)
    }

    /// - Parameters:
    ///   - partitions: how many the internal topic has.
    ///   - note: given what is worth a line in the log.
    ///   - carryOut: given the shards' work, on whichever thread has let it go, with no lock held.
    package init(
        partitions: Int, commitTimeoutMs: Int64 = 5_000, note: @escaping @Sendable (String) -> Void = { _ in },
        carryOut: @escaping CarryOut = { _, _, _ in }
    ) {
        self.commitTimeoutMs = commitTimeoutMs
        self.slots = (0..<partitions).map { _ in Slot() }
        self.note = note
        self.carryOut = carryOut
    }

    package var partitionCount: Int { self.slots.count }

    // MARK: Requests

    /// Decides a request. `respond` is called once, from here or later from whichever thread lets the reply go.
    package func perform(
        _ request: Shard.Request, on partition: Int32, now: CoordinatorTime, respond: @escaping Respond
    ) {
        guard self.slots.indices.contains(Int(partition)) else {
            return respond(Shard.failure(of: request, .notCoordinator))
        }
        let released = self.locked(Int(partition), now) { state in
            state.perform(request, respond: respond, now: now, commitTimeoutMs: self.commitTimeoutMs)
        }
        self.release(released, of: partition)
    }

    /// Ends a producer's transaction in a partition: appends the marker, lets what the transaction committed count, and
    /// answers once the marker is committed. Answers with the log's own error where the log refuses it (a producer or
    /// coordinator epoch that is over), with NOT_COORDINATOR or COORDINATOR_LOAD_IN_PROGRESS where there is no shard.
    package func appendMarker(
        _ marker: CoordinatorMarker, on partition: Int32, now: CoordinatorTime,
        respond: @escaping @Sendable (ErrorCode) -> Void
    ) {
        guard self.slots.indices.contains(Int(partition)) else { return respond(.notCoordinator) }
        let released = self.locked(Int(partition), now) { state in
            state.appendMarker(marker, respond: respond, now: now, commitTimeoutMs: self.commitTimeoutMs)
        }
        self.release(released, of: partition)
    }

    /// Fires the timers that are due, and gives up replies that waited for too long. Cheap when nothing is due.
    package func advance(now: CoordinatorTime) {
        for index in self.slots.indices { self.advance(Int32(index), now: now) }
    }

    /// The same for one shard.
    package func advance(_ partition: Int32, now: CoordinatorTime) {
        guard self.slots.indices.contains(Int(partition)) else { return }
        let slot = self.slots[Int(partition)]
        // A few at a time, so that a request does not wait for thousands of expired sessions.
        while slot.nextDeadline.load(ordering: .relaxed) <= now.monotonicMs {
            let released = self.locked(Int(partition), now) { state in
                state.advance(now: now, limit: 64, commitTimeoutMs: self.commitTimeoutMs)
            }
            self.release(released, of: partition)
        }
    }

    /// When `advance` has something to do, monotonic milliseconds; it may turn out to be nothing. Nil: never.
    package var nextDeadline: Int64? {
        let next = self.slots.reduce(Int64.max) { min($0, $1.nextDeadline.load(ordering: .relaxed)) }
        return next == .max ? nil : next
    }

    /// The high watermark of a partition moved to `offset`: replies that waited for it leave.
    package func highWatermarkAdvanced(_ partition: Int32, to offset: Int64, now: CoordinatorTime) {
        guard self.slots.indices.contains(Int(partition)) else { return }
        let released = self.locked(Int(partition), now) { $0.highWatermarkAdvanced(to: offset) }
        self.release(released, of: partition)
    }

    /// What came of a piece of work. Without effect if the shard that asked for it is not there any more.
    /// - Parameter epoch: by which the work was given out.
    package func workDone(
        _ result: Shard.WorkResult, on partition: Int32, epoch: Int32, now: CoordinatorTime
    ) {
        guard self.slots.indices.contains(Int(partition)) else { return }
        let released = self.locked(Int(partition), now) { state in
            state.workDone(result, epoch: epoch, now: now, commitTimeoutMs: self.commitTimeoutMs)
        }
        self.release(released, of: partition)
    }

    // MARK: Loading

    package func phase(of partition: Int32) -> Phase {
        guard self.slots.indices.contains(Int(partition)) else { return .unloaded }
        return self.slots[Int(partition)].state.withLock { $0.phase }
    }

    /// This broker leads the partition from `epoch` on. False if it does so already, by this epoch or a later one.
    package func beginLoading(_ partition: Int32, epoch: Int32) -> Bool {
        guard self.slots.indices.contains(Int(partition)) else { return false }
        let (begun, released) = self.slots[Int(partition)].state.withLock { state in
            if state.phase != .unloaded && epoch <= state.epoch { return (false, Released<Shard>()) }
            let released = state.unload()
            state.phase = .loading
            state.epoch = epoch
            return (true, released)
        }
        self.release(released, of: partition)
        return begun
    }

    /// Opens a loaded shard. Without effect if leadership was lost or taken again meanwhile.
    package func finishLoading(
        _ partition: Int32, epoch: Int32, shard: Shard, log: any CoordinatorLog, endOffset: Int64,
        highWatermark: Int64, now: CoordinatorTime
    ) {
        guard self.slots.indices.contains(Int(partition)) else { return }
        let released = self.locked(Int(partition), now) { state -> Released<Shard> in
            guard state.phase == .loading, state.epoch == epoch else { return Released() }
            return state.open(
                shard, log: log, endOffset: endOffset, highWatermark: highWatermark, now: now,
                commitTimeoutMs: self.commitTimeoutMs)
        }
        self.release(released, of: partition)
    }

    /// Leadership is lost, or loading failed: whoever waits gets NOT_COORDINATOR, and the shard is dropped.
    package func unload(_ partition: Int32) {
        guard self.slots.indices.contains(Int(partition)) else { return }
        let slot = self.slots[Int(partition)]
        let released = slot.state.withLock { $0.unload() }
        slot.nextDeadline.store(.max, ordering: .relaxed)
        self.release(released, of: partition)
    }

    /// Looks at a shard: for tests, metrics and the console.
    package func withShard<Result: Sendable>(
        _ partition: Int32, _ body: @Sendable (Shard) -> Result
    ) -> Result? {
        guard self.slots.indices.contains(Int(partition)) else { return nil }
        return self.slots[Int(partition)].state.withLock { state in state.active.map { body($0.shard) } }
    }

    // MARK: Inside

    private func locked(
        _ index: Int, _ now: CoordinatorTime, _ body: (inout SlotState<Shard>) -> Released<Shard>
    ) -> Released<Shard> {
        let slot = self.slots[index]
        return slot.state.withLock { state in
            var released = body(&state)
            released.epoch = state.epoch
            slot.nextDeadline.store(state.nextDeadline ?? .max, ordering: .relaxed)
            return released
        }
    }

    private func release(_ released: Released<Shard>, of partition: Int32) {
        for note in released.notes { self.note(note) }
        // Before the replies: what a client asks for next may need that it is done.
        for work in released.work { self.carryOut(work, partition, released.epoch) }
        if let reply = released.first { reply.respond(reply.reply) }
        for (respond, reply) in released.replies { respond(reply) }
        for (respond, error) in released.markers { respond(error) }
    }
}

/// What leaves once the lock is released. The first reply has a place of its own: mostly it is the only one.
struct Released<Shard: CoordinatorShard>: Sendable {
    typealias Respond = @Sendable (Shard.Reply) -> Void
    var first: (respond: Respond, reply: Shard.Reply)?
    var replies: [(respond: Respond, reply: Shard.Reply)] = []
    var markers: [(respond: ParkedMarkers.Respond, error: ErrorCode)] = []
    var notes: [String] = []
    var work: [Shard.Work] = []
    /// Of the shard that has asked for the work.
    var epoch: Int32 = -1

    mutating func append(_ respond: @escaping Respond, _ reply: Shard.Reply) {
        if self.first == nil && self.replies.isEmpty {
            self.first = (respond, reply)
        } else {
            self.replies.append((respond, reply))
        }
    }
}

extension CoordinatorRuntime {
    /// The timers of a shard, the next one first, as text: for tests and for looking at a running broker.
    package func timers(of partition: Int32) -> [String] {
        guard self.slots.indices.contains(Int(partition)) else { return [] }
        return self.slots[Int(partition)].state.withLock { $0.active?.pendingTimers ?? [] }
    }
}
