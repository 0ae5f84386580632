import KafkaPrimitives

/// What a log knows of syncs that somebody waits for. Only logs that had such a sync have one. Guarded by the log's lock.
final class SyncState: @unchecked Sendable {
    enum Phase { case idle, queued, running }

    /// All records before it are on disk, with the names of the files that they are in.
    var synced: Int64
    /// Somebody waits until all before it is.
    var requested: Int64
    var phase = Phase.idle
    /// The base offset of the newest segment whose name is on disk; -1 where that is not known of any.
    var namedSegment: Int64 = -1
    /// Changes when the log is cut: a sync of before tells nothing about what was appended after.
    var generation = 0
    /// In no order: a duplicate waits for an offset of long ago.
    private(set) var waiters: [(offset: Int64, waiter: AppendWaiter)] = []

    init(synced: Int64) {
        self.synced = synced
        self.requested = synced
    }

    var isDone: Bool { self.requested <= self.synced }

    func add(_ waiter: AppendWaiter, for offset: Int64) { self.waiters.append((offset, waiter)) }

    func remove(_ waiter: AppendWaiter) { self.waiters.removeAll { $0.waiter == waiter } }

    /// Those who wait for nothing beyond `offset`.
    func take(upTo offset: Int64) -> [ReleasedWaiter] {
        guard !self.waiters.isEmpty else { return [] }
        var released: [ReleasedWaiter] = []
        var left: [(offset: Int64, waiter: AppendWaiter)] = []
        for entry in self.waiters {
            if entry.offset <= offset {
                released.append(ReleasedWaiter(waiter: entry.waiter, error: .none))
            } else {
                left.append(entry)
            }
        }
        self.waiters = left
        return released
    }

    func takeAll(_ error: ErrorCode) -> [ReleasedWaiter] {
        defer { self.waiters = [] }
        return self.waiters.map { ReleasedWaiter(waiter: $0.waiter, error: error) }
    }
}

extension PartitionLog.State {
    /// Up to here an append may be acknowledged: the high watermark, and with ottla.flush.before.ack never beyond what
    /// was synced.
    var committedOffset: Int64 {
        guard let sync = self.sync else { return self.highWatermark }
        return self.config.flushBeforeAck ? min(self.highWatermark, sync.synced) : self.highWatermark
    }

    /// After an append: asks for a sync where the configuration says so, and moves the high watermark where it does not
    /// have to wait.
    /// - Returns: whether a sync is to be scheduled.
    mutating func commitAppend(records: Int64) -> Bool {
        var isRequested = self.config.flushBeforeAck
        if self.config.flushMessages < .max {
            self.unflushedMessages &+= records
            if self.unflushedMessages >= self.config.flushMessages { isRequested = true }
        }
        if isRequested {
            self.unflushedMessages = 0
            self.syncState.requested = self.logEndOffset
        }
        guard let sync = self.sync else {
            if self.highWatermarkFollows { self.highWatermark = self.logEndOffset }
            return false
        }
        if sync.isDone {
            if self.highWatermarkFollows { self.highWatermark = self.logEndOffset }
            return false
        }
        return self.queueSync(sync)
    }

    /// Made on first use.
    var syncState: SyncState {
        mutating get {
            if let sync = self.sync { return sync }
            let sync = SyncState(synced: self.recoveryPoint)
            self.sync = sync
            return sync
        }
    }

    /// True where the caller has to schedule it: one that runs goes on with what came meanwhile.
    func queueSync(_ sync: SyncState) -> Bool {
        guard sync.phase == .idle else { return false }
        sync.phase = .queued
        return true
    }

    /// All before `offset` is on disk.
    /// - Returns: who may be answered, and whether the high watermark moved.
    mutating func synced(upTo offset: Int64) -> PartitionLog.SyncOutcome {
        guard let sync = self.sync else { return PartitionLog.SyncOutcome() }
        sync.synced = max(sync.synced, min(offset, self.logEndOffset))
        let before = self.highWatermark
        if self.highWatermarkFollows {
            // What came after a sync for flush.messages did not ask for one.
            let limit = sync.isDone ? self.logEndOffset : min(sync.synced, self.logEndOffset)
            self.highWatermark = max(self.highWatermark, limit)
        }
        return PartitionLog.SyncOutcome(
            released: sync.take(upTo: self.committedOffset), hasMoved: self.highWatermark > before)
    }

    /// The log was cut at its end.
    mutating func syncTruncated() {
        self.isFolderSynced = false
        guard let sync = self.sync else { return }
        sync.generation &+= 1
        sync.namedSegment = -1
        sync.synced = min(sync.synced, self.logEndOffset)
        sync.requested = min(sync.requested, self.logEndOffset)
    }

    /// A log that is opened, or whose configuration has changed.
    /// - Returns: whether a sync is to be scheduled: what is not known to be on disk is synced at once.
    mutating func applyFlushBeforeAck(isOpening: Bool) -> Bool {
        guard self.config.flushBeforeAck, self.status == .open else { return false }
        let sync = self.syncState
        if isOpening, self.highWatermarkFollows {
            self.highWatermark = max(self.logStartOffset, min(self.highWatermark, sync.synced))
        }
        sync.requested = self.logEndOffset
        return !sync.isDone && self.queueSync(sync)
    }
}
