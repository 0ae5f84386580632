import Glibc
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// Syncs everything appended so far.
    package func flush() throws(IOError) {
        try self.flush(upTo: .max)
    }

    /// Whether there is something to sync.
    var needsFlush: Bool { self.state.withLock { $0.logEndOffset > $0.recoveryPoint && $0.status == .open } }

    /// flush.ms; and a sync that somebody waits for, where it could not be tried.
    func flushIfDue(now: Int64) {
        let (isDue, isLate) = self.state.withLock { state -> (Bool, Bool) in
            guard state.status == .open else { return (false, false) }
            if let sync = state.sync, !sync.isDone, state.queueSync(sync) { return (false, true) }
            guard state.config.flushMs < .max, now &- state.lastFlushMs >= state.config.flushMs else {
                return (false, false)
            }
            state.lastFlushMs = now
            return (state.logEndOffset > state.recoveryPoint, false)
        }
        if isLate { self.scheduleSync() }
        guard isDue else { return }
        self.environment.syncs.submit {
            do throws(IOError) { try self.flush() } catch { self.notice(.error, "flush: \(error)") }
        }
    }

    /// Syncs the segments that hold offsets from the recovery point on up to `limit`, then moves the recovery point.
    /// - Parameter isSyncedLater: the caller syncs the file system, before anybody learns of the new recovery point.
    func flush(upTo limit: Int64, isSyncedLater: Bool = false) throws(IOError) {
        let result = self.syncing.withLock { _ -> Result<SyncOutcome, FlushError> in
            do throws(IOError) {
                return .success(try self.flushLocked(upTo: limit, isSyncedLater: isSyncedLater))
            } catch {
                // Whatever else failed leaves the records as they were, and is tried again.
                let outcome = error.call == .sync ? self.fail(error) : SyncOutcome()
                return .failure(FlushError(error: error, outcome: outcome))
            }
        }
        switch result {
        case .success(let outcome):
            self.tell(outcome)
        case .failure(let failure):
            self.tell(failure.outcome)
            throw failure.error
        }
    }

    private struct FlushError: Error {
        var error: IOError
        var outcome: SyncOutcome
    }

    private func flushLocked(upTo limit: Int64, isSyncedLater: Bool) throws(IOError) -> SyncOutcome {
        struct Plan {
            var segments: [(base: Int64, file: LogFile?)]
            var recoveryPoint: Int64
            var epochs: LeaderEpochCache
            var epochsChanged: Bool
            var needsFolder: Bool
        }
        let plan = try self.state.withLock { state throws(IOError) -> Plan? in
            guard state.status != .failed else { throw IOError(.sync, self.folder.path, code: EIO) }
            // Its folder may be another topic's of the same name.
            guard state.status != .deleted else { return nil }
            let target = min(limit, state.logEndOffset)
            guard target > state.recoveryPoint else { return nil }
            var segments = state.sealed.filter { $0.nextOffset > state.recoveryPoint && $0.baseOffset < target }
                .map { (base: $0.baseOffset, file: LogFile?.none) }
            if target > state.active.baseOffset {
                try state.active.writeIndexes(self.folder)
                segments.append((state.active.baseOffset, state.active.file))
            }
            let epochsChanged = state.epochs.needsWrite
            state.epochs.needsWrite = false
            return Plan(
                segments: segments, recoveryPoint: target, epochs: state.epochs, epochsChanged: epochsChanged,
                needsFolder: !state.isFolderSynced)
        }
        guard let plan else { return SyncOutcome() }
        do throws(IOError) {
            for segment in plan.segments where !isSyncedLater {
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
                for suffix in [PartitionFolder.Suffix.index, .timeindex, .txnindex] {
                    let path = self.folder.path(segment.base, suffix)
                    if try FileSystem.exists(path) { try FileSystem.sync(FileSystem.open(path, .readWrite)) }
                }
            }
            if !isSyncedLater || plan.epochsChanged {
                try self.folder.writeLeaderEpochs(plan.epochs, durable: !isSyncedLater)
            }
            if plan.needsFolder, !isSyncedLater {
                try FileSystem.syncDirectory(FileSystem.parent(of: self.folder.path))
            }
        } catch {
            self.state.withLock { $0.epochs.needsWrite = true }
            // Deleted meanwhile: nothing to keep.
            if error.code == ENOENT, self.state.withLock({ $0.status == .deleted }) {
                return SyncOutcome()
            }
            throw error
        }
        return self.state.withLock { state in
            if !isSyncedLater { state.isFolderSynced = true }
            state.recoveryPoint = min(max(state.recoveryPoint, plan.recoveryPoint), state.logEndOffset)
            self.changed(&state)
            return isSyncedLater ? SyncOutcome() : state.synced(upTo: plan.recoveryPoint)
        }
    }
}
