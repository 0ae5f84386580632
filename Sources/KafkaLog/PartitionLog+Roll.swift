import Glibc
import KafkaRecords
import Synchronization

/// A segment that was just sealed, for what is still to be done with it.
struct RolledSegment: Sendable {
    var segment: SealedSegment
    var file: LogFile?
    var isPreallocated: Bool
    var producers: [Int64: ProducerStateEntry]
}

extension PartitionLog {
    /// Kafka's rule: the segment would grow too long, its first batch is too old, an index is full, or an offset would not
    /// fit into 32 bits relative to its base.
    func shouldRoll(
        _ state: inout State, size: Int, lastOffset: Int64, timestamp: Int64, now: Int64
    ) throws(IOError) -> Bool {
        guard state.active.size > 0 else {
            return lastOffset - state.active.baseOffset > Int64(Int32.max)
        }
        if state.active.size > min(state.config.segmentBytes, Int(Int32.max)) - size { return true }
        if lastOffset - state.active.baseOffset > Int64(Int32.max) { return true }
        if state.active.offsetIndex.count >= state.config.maxOffsetIndexEntries { return true }
        if state.active.timeIndex.count >= state.config.maxTimeIndexEntries { return true }
        let first: Int64
        if let known = state.active.firstTimestamp {
            first = known
        } else {
            let view = SegmentView(
                baseOffset: state.active.baseOffset, file: try state.active.openFile(self.folder),
                end: state.active.size, offsetIndex: nil, timeIndex: nil)
            first = try view.header(at: 0)?.maxTimestamp ?? -1
            state.active.firstTimestamp = first
        }
        let waited = first >= 0 ? timestamp &- first : now &- state.active.createdMs
        return waited > state.config.maxSegmentMs - state.active.rollJitterMs
    }

    /// Seals the active segment and begins one at `baseOffset`. On an error nothing has changed.
    func roll(_ state: inout State, baseOffset: Int64, now: Int64) throws(IOError) -> RolledSegment? {
        if state.active.size == 0 {
            // Nothing to keep: only the base changes.
            let old = state.active
            guard old.baseOffset != baseOffset else { return nil }
            try self.segmentsChange(&state)
            state.active = try self.beginSegment(&state, baseOffset: baseOffset, now: now)
            try? FileSystem.unlink(self.folder.path(old.baseOffset, .log))
            try? SegmentRecovery.removeAllIndexes(old.baseOffset, self.folder)
            return nil
        }
        let file = try state.active.openFile(self.folder)
        try self.segmentsChange(&state)
        if !state.active.areIndexFilesChecked { try self.checkActiveIndexes(&state) }
        try state.active.seal(self.folder)
        let isPreallocated = state.active.isPreallocated
        let next = try self.beginSegment(&state, baseOffset: baseOffset, now: now)
        let segment = SealedSegment(
            baseOffset: state.active.baseOffset, size: state.active.size, nextOffset: baseOffset, folder: self.folder,
            largest: state.active.largest, uncheckedBefore: state.active.uncheckedBefore, checks: state.active.checks)
        segment.isTransactionIndexChecked = true
        state.sealed.append(segment)
        state.active = next
        // Its last index entries, and its size after a recovery, are not on disk yet: it is synced once more.
        state.recoveryPoint = min(state.recoveryPoint, baseOffset - 1)
        return RolledSegment(
            segment: segment, file: file, isPreallocated: isPreallocated, producers: state.producers.producers)
    }

    /// The file made ahead under its new name, else a new one.
    private func beginSegment(_ state: inout State, baseOffset: Int64, now: Int64) throws(IOError) -> ActiveSegment {
        let path = self.folder.path(baseOffset, .log)
        let file: LogFile
        if let ready = state.nextFile,
            (try? FileSystem.rename(self.folder.path + "/" + PartitionFolder.nextSegment, to: path)) != nil
        {
            file = ready
        } else {
            file = try FileSystem.open(path, .create)
            do throws(IOError) {
                if try FileSystem.size(file) > 0 { try FileSystem.truncate(file, to: 0) }
            } catch {
                // A start would take it for the log's last segment.
                try? FileSystem.unlink(path)
                throw error
            }
            if state.config.preallocate { FileSystem.reserve(file, count: state.config.segmentBytes) }
        }
        state.nextFile = nil
        state.nextFileRequested = false
        var segment = ActiveSegment(baseOffset: baseOffset, createdMs: now, file: file)
        segment.rollJitterMs = Self.jitter(state.config)
        segment.isPreallocated = state.config.preallocate
        return segment
    }

    /// Makes the next segment's file in the background. Until it is there a roll makes its own.
    func prepareNextSegment() {
        self.environment.background.submit {
            let path = self.folder.path + "/" + PartitionFolder.nextSegment
            let config = self.config
            guard self.state.withLock({ $0.status == .open && $0.nextFile == nil && $0.nextFileRequested }),
                let file = try? FileSystem.open(path, .create)
            else { return }
            if config.preallocate { FileSystem.reserve(file, count: config.segmentBytes) }
            self.makeIndexFiles()
            self.checkActiveIndexes()
            let isWanted = self.state.withLock { state -> Bool in
                guard state.status == .open, state.nextFile == nil, state.nextFileRequested else { return false }
                state.nextFile = file
                return true
            }
            if !isWanted { try? FileSystem.unlink(path) }
        }
    }

    /// The index files of the active segment, where there are none yet: the roll, on an event loop, only writes to them.
    private func makeIndexFiles() {
        let base = self.state.withLock { $0.active.baseOffset }
        for suffix in [PartitionFolder.Suffix.index, .timeindex] {
            _ = try? FileSystem.open(self.folder.path(base, suffix), .create)
        }
    }

    /// Prepares the next segment where the active one, in use just now, will soon be too old (segment.ms).
    func prepareIfRollIsNear(now: Int64, withinMs: Int64) {
        let isNear = self.state.withLock { state -> Bool in
            guard state.status == .open, !state.nextFileRequested, state.active.size > 0, state.active.file != nil
            else { return false }
            let first = state.active.firstTimestamp ?? -1
            let waited = now &- (first >= 0 ? first : state.active.createdMs)
            guard waited > state.config.maxSegmentMs - state.active.rollJitterMs - withinMs else { return false }
            state.nextFileRequested = true
            return true
        }
        if isNear { self.prepareNextSegment() }
    }

    /// Syncs a sealed segment and writes the producers' snapshot, in the background.
    func finish(_ rolled: RolledSegment) {
        self.environment.background.submit {
            let next = rolled.segment.nextOffset
            do throws(IOError) {
                guard self.isSealed(rolled.segment) else { return }
                if rolled.isPreallocated, let file = rolled.file {
                    // Under the lock: a truncation may make it the active segment again.
                    try self.state.withLock { state throws(IOError) in
                        guard state.sealed.contains(where: { $0 === rolled.segment }) else { return }
                        try FileSystem.truncate(file, to: rolled.segment.size)
                    }
                }
                try self.folder.writeSnapshot(next, rolled.producers)
                // Cut off meanwhile: the snapshot tells of what is no longer there.
                if !self.isSealed(rolled.segment) { try FileSystem.unlink(self.folder.path(next, .snapshot)) }
                try self.noteTransactionIndex(of: rolled.segment)
                try self.flush(upTo: next)
                self.removeOldSnapshots()
            } catch {
                self.notice(.error, "after the roll at offset \(next): \(error)")
                self.environment.storageFailed(error, self.path)
            }
        }
    }

    private func isSealed(_ segment: SealedSegment) -> Bool {
        self.state.withLock { state in state.status == .open && state.sealed.contains { $0 === segment } }
    }

    // MARK: snapshots

    /// Kafka keeps the snapshots at the segments' bases, and the newest.
    func removeOldSnapshots() {
        guard let names = try? FileSystem.list(self.folder.path) else { return }
        let bases = self.state.withLock { state in
            Set(state.sealed.map(\.baseOffset) + [state.active.baseOffset])
        }
        let offsets = names.compactMap { name -> Int64? in
            guard let (offset, suffix) = PartitionFolder.parse(name), suffix == "snapshot" else { return nil }
            return offset
        }
        for offset in offsets where !bases.contains(offset) && offset != offsets.max() {
            try? FileSystem.unlink(self.folder.path(offset, .snapshot))
        }
    }
}
