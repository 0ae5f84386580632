import KafkaPrimitives
import Synchronization

extension LogManager {
    /// Does on a thread of its own what `tick` does.
    package func startMaintenance() {
        let thread = PeriodicThread(intervalMs: max(50, min(1000, self.configuration.markIntervalMs))) {
            self.tick(now: wallClockMs())
        }
        self.maintenance.withLock { $0 = thread }
        thread.start()
        self.cleaner.start(self)
        self.scrubber.start { [weak self] in self?.allLogs ?? [] }
        self.resumeMoves()
    }

    /// Other settings of log.cleaner.*, while the broker runs. Blocks until a cleaning under way has ended.
    package func update(cleaner settings: LogCleaner.Settings) { self.cleaner.update(settings, self) }

    /// Does what is due: marks, checkpoints, retention, expiry of producers, flush.ms, deletion of files. Blocks.
    package func tick(now: Int64) {
        let due = self.schedule.withLock { schedule -> Schedule in
            let due = schedule
            let configuration = self.configuration
            if due.marks <= now { schedule.marks = now + configuration.markIntervalMs }
            if due.checkpoints <= now { schedule.checkpoints = now + configuration.checkpointIntervalMs }
            if due.retention <= now { schedule.retention = now + configuration.retentionCheckIntervalMs }
            if due.producers <= now {
                schedule.producers = now + configuration.producerIDExpirationCheckIntervalMs
            }
            if due.rolls <= now { schedule.rolls = now + Self.rollLookoutMs }
            return due
        }
        if due.retention <= now { self.deleteOldSegments(now: now) }
        if due.rolls <= now {
            // An idle folder's failure shows too.
            if self.directories.count > 1 { self.probeFolders() }
            for log in self.environment.openLogs.all {
                log.prepareIfRollIsNear(now: now, withinMs: 3 * Self.rollLookoutMs)
            }
        }
        if due.producers <= now { for log in self.allLogs { log.expireProducers(now: now) } }
        self.verifySome()
        let changed = self.takeChanged()
        for log in changed { log.flushIfDue(now: now) }
        if due.marks <= now { self.writeMarks(changed, lazily: true) }
        self.putBack(changed)
        if due.checkpoints <= now, self.needsCheckpoint.exchange(false, ordering: .acquiringAndReleasing) {
            self.checkpoint()
        }
        self.environment.trash.empty(now: now)
        self.environment.openLogs.trim()
    }

    /// How often segments that will soon be too old are looked for.
    private static let rollLookoutMs: Int64 = 10_000

    func releaseFiles(onlyIdle: Bool) {
        for log in self.allLogs { log.releaseFiles(onlyIdle: onlyIdle) }
    }

    /// One retention pass over all partitions. Blocks.
    package func deleteOldSegments(now: Int64) {
        for log in self.allLogs {
            do throws(IOError) { try log.deleteOldSegments(now: now) } catch {
                self.environment.storageFailed(error, log.path)
                log.notice(.error, "retention: \(error)")
            }
        }
    }

    /// Writes Kafka's checkpoints. Blocks.
    package func checkpoint() {
        for index in self.directories.indices where self.directories[index].isOnline {
            do throws(IOError) { try self.checkpoint(index) } catch {
                self.environment.storageFailed(error, self.directories[index].path)
                self.report(error, "checkpoints: \(error)")
            }
        }
    }

    func checkpoint(_ index: Int) throws(IOError) {
        var recoveryPoints: [TopicPartition: Int64] = [:]
        var highWatermarks: [TopicPartition: Int64] = [:]
        for log in self.logs(in: index) {
            let values = log.checkpointValues
            recoveryPoints[log.topicPartition] = values.recoveryPoint
            highWatermarks[log.topicPartition] = values.highWatermark
        }
        let directory = self.directories[index]
        try directory.writeCheckpoint(LogDirectory.recoveryPoints, recoveryPoints)
        try self.checkpointLogStartOffsets(index)
        try directory.writeCheckpoint(LogDirectory.highWatermarks, highWatermarks)
    }

    /// Before a partition is made whose name is still in the checkpoints: where the deleted one began, and up to where it
    /// was on disk, would be taken for its own after a crash. Once for all that were deleted until now.
    func renewCheckpoints(before partition: TopicPartition) throws(IOError) {
        let stale = self.staleCheckpoints.withLock { stale -> StaleCheckpoints? in
            guard stale.isOfAny || stale.partitions.contains(partition) else { return nil }
            defer { stale = StaleCheckpoints() }
            return stale
        }
        guard let stale else { return }
        do throws(IOError) {
            for index in self.directories.indices where self.directories[index].isOnline {
                try self.checkpoint(index)
                try self.cleaner.renewCheckpoint(self.directories[index])
            }
        } catch {
            self.staleCheckpoints.withLock { now in
                now.isOfAny = now.isOfAny || stale.isOfAny
                now.partitions.formUnion(stale.partitions)
            }
            throw error
        }
    }

    /// So much of all partitions together is soon read after a crash; beyond it marks are put off less.
    private static let unmarkedLimit = 256 << 20
    private static let lazyBytesAboveLimit = 64 << 10

    /// Notes for each partition that has changed what is valid of it now. Blocks.
    /// - Parameter lazily: leaves out those that have changed little, for a few rounds.
    /// - Returns: false where something could not be written.
    @discardableResult
    package func writeMarks(lazily: Bool = false) -> Bool {
        let changed = self.takeChanged()
        defer { self.putBack(changed) }
        return self.writeMarks(changed, lazily: lazily)
    }

    private func takeChanged() -> [PartitionLog] {
        let changed = self.environment.changes.take()
        if !changed.isEmpty { self.needsCheckpoint.store(true, ordering: .releasing) }
        return changed
    }

    private func putBack(_ logs: [PartitionLog]) {
        let stay = logs.filter { $0.staysListed() }
        if !stay.isEmpty { self.environment.changes.add(stay) }
    }

    @discardableResult
    private func writeMarks(_ logs: [PartitionLog], lazily: Bool) -> Bool {
        guard !logs.isEmpty else { return true }
        var lazyBytes = lazily ? PartitionLog.lazyMarkBytes : 0
        if lazily, logs.reduce(0, { $0 + $1.unmarkedBytes }) > Self.unmarkedLimit {
            lazyBytes = Self.lazyBytesAboveLimit
        }
        var taken = [TakenMarks](repeating: TakenMarks(), count: self.directories.count)
        var areWritten = true
        var failures = 0
        var failure: (partition: TopicPartition, error: IOError)?
        for log in logs {
            guard let index = self.directoryIndex(of: log) else { continue }
            do throws(IOError) {
                guard let mark = try log.takeMark(lazyBytes: lazyBytes) else { continue }
                taken[index].marks.append(mark)
                if let list = log.takeSegmentList(always: false) { taken[index].lists.append(list) }
            } catch {
                failures += 1
                failure = (log.topicPartition, error)
                self.environment.storageFailed(error, log.path)
            }
            // The making of index files may take long; what is done counts.
            if taken[index].marks.count == 100 {
                areWritten = self.append(taken[index], index) && areWritten
                taken[index] = TakenMarks()
            }
        }
        if let failure {
            // One line, not one a partition: a full disk is full for all.
            self.report(
                failure.error, "no marks of \(failures) partitions, such as \(failure.partition): \(failure.error)")
        }
        for index in taken.indices where !taken[index].marks.isEmpty {
            areWritten = self.append(taken[index], index) && areWritten
        }
        return areWritten && failures == 0
    }

    /// Marks, and the lists of segments that are new with them.
    private struct TakenMarks {
        var marks: [PartitionMark] = []
        var lists: [SegmentList] = []
    }

    /// So many partitions are looked at in a second after the start.
    private static let verifiedPerTick = 20_000

    /// Looks at the files of those that were opened by their marks alone: what somebody changed while the broker was
    /// stopped is noticed soon, also where nobody reads.
    private func verifySome() {
        let some = self.unverified.withLock { unverified -> [PartitionLog] in
            let some = Array(unverified.suffix(Self.verifiedPerTick))
            unverified.removeLast(some.count)
            if unverified.isEmpty { unverified = [] }
            return some
        }
        for log in some { log.verifyInBackground() }
    }

    private func append(_ taken: TakenMarks, _ index: Int) -> Bool {
        do throws(IOError) {
            if try self.directories[index].marks.append(taken.marks, taken.lists) {
                try self.rewriteMarks(index, nonce: "", durable: false)
            }
            return true
        } catch {
            self.environment.storageFailed(error, self.directories[index].path)
            self.report(error, "\(BootMarks.name): \(error)")
            return false
        }
    }

    func rewriteMarks(
        _ index: Int, nonce: String, durable: Bool, withoutIndexWrites: Bool = false
    ) throws(IOError) {
        let logs = self.logs(in: index)
        try self.directories[index].marks.rewrite(bootID: self.bootID, nonce: nonce, durable: durable) {
            () throws(IOError) -> (marks: [PartitionMark], lists: [SegmentList]) in
            var marks: [PartitionMark] = []
            var lists: [SegmentList] = []
            marks.reserveCapacity(logs.count)
            for log in logs {
                if let list = log.takeSegmentList(always: true) { lists.append(list) }
                if let mark = try log.takeMark(always: true, withoutIndexWrites: withoutIndexWrites) {
                    marks.append(mark)
                }
            }
            return (marks, lists)
        }
    }

    func logs(in directory: Int) -> [PartitionLog] {
        self.state.withLock { $0.logs.values.filter { $0.directory == directory }.map(\.log) }
    }
}
