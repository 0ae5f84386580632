import Glibc
import KafkaPrimitives
import Synchronization

// Group commit: while one sync of a log runs, appends gather for the next. At most one is under way or queued a log; the
// logs of a broker are synced in parallel by the threads of `LogEnvironment.syncs`.
extension PartitionLog {
    package enum Commitment: Sendable, Equatable {
        case committed
        /// The waiter is told by `LogEvents.onRelease`.
        case waiting
        case failed(ErrorCode)
    }

    /// Whether all before `offset` may be acknowledged. If it may not yet, `waiter` is kept until it may.
    package func whenCommitted(_ offset: Int64, _ waiter: AppendWaiter) -> Commitment {
        self.state.withLock { state in
            if offset <= state.committedOffset { return .committed }
            guard state.status == .open else { return .failed(state.refusal.code) }
            state.syncState.add(waiter, for: offset)
            return .waiting
        }
    }

    /// Whoever waits no more. One that is being released at this moment may still be told.
    package func stopWaiting(_ waiter: AppendWaiter) {
        self.state.withLock { $0.sync?.remove(waiter) }
    }

    func scheduleSync() { self.environment.syncs.submit { self.runSync() } }

    private struct SyncPlan {
        var target: Int64
        var generation: Int
        var segments: [(base: Int64, file: LogFile?)]
        /// The last of them.
        var newest: Int64
        /// A segment's name is not on disk yet.
        var needsNames: Bool
        /// Nor is that of the partition's folder.
        var needsFolder: Bool
    }

    /// What is to be told once no lock is held.
    struct SyncOutcome {
        var released: [ReleasedWaiter] = []
        var hasMoved = false
        /// The log takes nothing any more.
        var failure: IOError?
        var mustScheduleAgain = false
    }

    func tell(_ outcome: SyncOutcome) {
        if outcome.hasMoved { self.environment.events.highWatermarkMoved(self) }
        if let failure = outcome.failure {
            self.notice(.error, "takes no more records, a sync failed: \(failure)")
            self.environment.storageFailed(failure, self.folder.path, ending: self)
        }
        self.environment.events.released(outcome.released)
        // At the end of the queue: others wait too.
        if outcome.mustScheduleAgain { self.scheduleSync() }
    }

    /// Syncs what was appended so far: the records and the names of their files. Indexes and the like need none: a start
    /// after a power cut makes them anew from the recovery point on.
    func runSync() {
        let outcome = self.syncing.withLock { _ -> SyncOutcome in
            guard let plan = self.state.withLock({ state -> SyncPlan? in self.planSync(&state) }) else {
                return self.state.withLock { state in
                    state.sync?.phase = .idle
                    return SyncOutcome(released: state.sync?.takeAll(state.refusal.code) ?? [])
                }
            }
            do throws(IOError) {
                try self.carryOut(plan)
                return self.state.withLock { state in self.syncDone(plan, &state) }
            } catch {
                return self.syncFailed(error)
            }
        }
        self.tell(outcome)
    }

    private func planSync(_ state: inout State) -> SyncPlan? {
        guard state.status == .open, let sync = state.sync else { return nil }
        sync.phase = .running
        let target = state.logEndOffset
        var segments = state.sealed.reversed().prefix { $0.nextOffset > sync.synced }
            .map { (base: $0.baseOffset, file: LogFile?.none) }
        segments.reverse()
        var newest = segments.last?.base ?? state.active.baseOffset
        if state.active.size > 0, target > state.active.baseOffset {
            newest = state.active.baseOffset
            segments.append((newest, try? state.active.openFile(self.folder)))
        }
        return SyncPlan(
            target: target, generation: sync.generation, segments: segments, newest: newest,
            needsNames: newest > sync.namedSegment, needsFolder: !state.isFolderSynced)
    }

    private func carryOut(_ plan: SyncPlan) throws(IOError) {
        for segment in plan.segments {
            let file: LogFile
            if let open = segment.file {
                file = open
            } else if let open = try self.openToSync(segment.base) {
                file = open
            } else {
                continue
            }
            do throws(IOError) { try FileSystem.syncData(file) } catch {
                throw IOError(error.call, self.folder.path(segment.base, .log), code: error.code)
            }
        }
        if plan.needsNames { try FileSystem.syncDirectory(self.folder.path) }
        if plan.needsFolder { try FileSystem.syncDirectory(FileSystem.parent(of: self.folder.path)) }
    }

    /// Nil where retention has deleted the segment meanwhile.
    func openToSync(_ base: Int64) throws(IOError) -> LogFile? {
        let path = self.folder.path(base, .log)
        for attempt in 0..<2 {
            do throws(IOError) { return try FileSystem.open(path, .readWrite) } catch {
                if error.code == EMFILE, attempt == 0 {
                    self.environment.fileRelief()
                    continue
                }
                let isThere = self.state.withLock { state in
                    state.status != .deleted
                        && (state.active.baseOffset == base || state.sealed.contains { $0.baseOffset == base })
                }
                if error.code == ENOENT, !isThere { return nil }
                throw error
            }
        }
        return nil
    }

    private func syncDone(_ plan: SyncPlan, _ state: inout State) -> SyncOutcome {
        guard let sync = state.sync else { return SyncOutcome() }
        sync.phase = .idle
        guard state.status == .open else { return SyncOutcome(released: sync.takeAll(state.refusal.code)) }
        guard sync.generation == plan.generation else {
            return SyncOutcome(mustScheduleAgain: !sync.isDone && state.queueSync(sync))
        }
        if plan.needsNames { sync.namedSegment = max(sync.namedSegment, plan.newest) }
        state.isFolderSynced = true
        // The start after a power cut reads from the recovery point's segment on, whole, and makes its indexes anew. Those
        // of the segments before it must be on disk, for which the flush after the roll cares: so the recovery point stays
        // within this one, one short of its end.
        if state.active.baseOffset <= plan.newest, state.recoveryPoint >= state.active.baseOffset {
            state.recoveryPoint = max(state.recoveryPoint, min(plan.target, state.logEndOffset) - 1)
        }
        var outcome = state.synced(upTo: plan.target)
        outcome.mustScheduleAgain = !sync.isDone && state.queueSync(sync)
        return outcome
    }

    // MARK: failure

    /// A sync that somebody waits for did not come off: those who wait are told, never acknowledged.
    private func syncFailed(_ error: IOError) -> SyncOutcome {
        if error.call == .sync { return self.fail(error) }
        // It was not tried: a file could not be opened, say. The records are as they were, and the next append or tick
        // tries again.
        self.notice(.error, "a sync cannot be begun: \(error)")
        return self.state.withLock { state in
            state.sync?.phase = .idle
            return SyncOutcome(released: state.sync?.takeAll(.kafkaStorageError) ?? [])
        }
    }

    /// After a sync that failed nobody knows which of the bytes since the last good one are on disk, and the next sync
    /// would say that all is well: the kernel tells of an error once, and takes the pages for clean. The log takes no
    /// appends until it is opened anew; recovery reads then what there is. To be called under `syncing`.
    func fail(_ error: IOError) -> SyncOutcome {
        self.state.withLock { state in
            guard state.status == .open else { return SyncOutcome() }
            state.status = .failed
            state.sync?.phase = .idle
            return SyncOutcome(released: state.sync?.takeAll(.kafkaStorageError) ?? [], failure: error)
        }
    }
}
