import Glibc
import KafkaRecords
import Synchronization

extension PartitionLog.State {
    /// A partition as its mark says, without a look into its folder.
    /// - Parameter epochs: those of the mark, or of their file where the mark has none.
    init(
        resuming mark: PartitionMark, segments: [SegmentList.Segment], epochs: LeaderEpochCache, hints: OpenHints,
        folder: PartitionFolder, writer: FolderWriter, config: LogConfig, now: Int64
    ) {
        var active = ActiveSegment(resuming: mark, createdMs: now)
        active.areIndexFilesChecked = false
        active.rollJitterMs = PartitionLog.jitter(config)
        active.isPreallocated = config.preallocate
        let sealed = segments.enumerated().map { index, segment in
            SealedSegment(
                baseOffset: segment.baseOffset, size: segment.size,
                nextOffset: index + 1 < segments.count ? segments[index + 1].baseOffset : mark.segmentBase,
                folder: folder, largest: segment.largest)
        }
        let first = sealed.first?.baseOffset ?? mark.segmentBase
        let logStart = max(first, min(max(hints.logStartOffset, mark.logStartOffset), mark.logEndOffset))
        var epochs = epochs
        epochs.truncateFromEnd(mark.logEndOffset)
        epochs.truncateFromStart(logStart)
        var producers = ProducerStateManager()
        for (id, entry) in mark.producers { producers.restore(id, entry) }
        let recoveryPoint = hints.isClean ? mark.logEndOffset : max(hints.recoveryPoint, mark.recoveryPoint)
        self.init(
            sharedConfig: .shared(config), logStartOffset: logStart, logEndOffset: mark.logEndOffset,
            highWatermark: mark.logEndOffset, writer: writer, recoveryPoint: min(recoveryPoint, mark.logEndOffset),
            sealed: sealed, active: active, epochs: epochs, producers: producers, lastFlushMs: now)
        self.marked = (mark.segmentBase, mark.position)
        self.needsMark = logStart != mark.logStartOffset
        self.listVersion = mark.listVersion
        self.listNoted = mark.listVersion
        self.isUnverified = true
        if hints.isClean { self.closedEnd = mark.logEndOffset }
        self.epochs.needsWrite = !hints.isClean && mark.logEndOffset > 0
    }
}

extension ActiveSegment {
    /// As the mark says; its index files are taken to have what the mark counts.
    init(resuming mark: PartitionMark, createdMs: Int64, file: LogFile? = nil) {
        self.init(baseOffset: mark.segmentBase, createdMs: createdMs, file: file)
        self.size = mark.position
        self.largest = mark.largest
        self.bytesSinceIndexEntry = mark.bytesSinceIndexEntry
        self.lastBatchPosition = mark.lastBatchPosition
        self.lastBatchCRC = mark.lastBatchCRC
        self.writtenBack = mark.position
        self.uncheckedBefore = mark.position
        self.offsetIndex = IndexTail(persisted: mark.offsetIndexCount, unwritten: mark.offsetEntries)
        self.timeIndex = IndexTail(persisted: mark.timeIndexCount, unwritten: mark.timeEntries)
        self.transactionIndex = IndexTail(persisted: mark.transactionIndexCount, unwritten: mark.transactionEntries)
        self.transactionIndexCRC = mark.transactionIndexCRC
        self.lastIndexedTimestamp = mark.lastIndexedTimestamp
    }
}

extension PartitionLog {
    /// Opens a partition that has not changed since its mark. Nothing of its files is read, with the same boot only the
    /// log's size is asked for; the rest is looked at on first use, or in the background soon after the start.
    /// - Returns: nil where its folder must be looked into.
    static func resume(
        _ mark: PartitionMark, segments: [SegmentList.Segment], folder: PartitionFolder, config: LogConfig,
        environment: LogEnvironment, hints: OpenHints, now: Int64
    ) throws(IOError) -> PartitionLog? {
        if let last = segments.last, last.baseOffset >= mark.segmentBase { return nil }
        if !hints.isClean {
            // A process that was killed may have written on.
            guard let status = try FileSystem.status(folder.path(mark.segmentBase, .log)),
                status.size == mark.position
            else { return nil }
        }
        if mark.position == 0 && mark.logEndOffset != mark.segmentBase { return nil }
        // Transactions that ended behind what is synced are in no mark.
        if config.flushBeforeAck, !hints.isClean, mark.recoveryPoint < mark.logEndOffset, mark.hasEndedTransactions {
            return nil
        }
        var epochs = LeaderEpochCache(entries: mark.epochs)
        if mark.epochs.isEmpty, mark.logEndOffset > 0, let found = try folder.readLeaderEpochs() { epochs = found }
        let state = State(
            resuming: mark, segments: segments, epochs: epochs, hints: hints, folder: folder,
            writer: environment.writers.writer(forPartitionAt: folder.path), config: config, now: now)
        let log = PartitionLog(
            topicPartition: mark.partition, topicID: mark.topicID, folder: folder, environment: environment,
            state: state)
        if state.mustBeListed { log.state.withLock { log.list(&$0) } }
        if config.flushBeforeAck, log.state.withLock({ $0.applyFlushBeforeAck(isOpening: true) }) { log.scheduleSync() }
        return log
    }

    @inline(__always) func verifyIfNeeded(_ state: inout State) {
        guard state.isUnverified else { return }
        // What cannot be looked at now fails when it is read or written.
        do throws(IOError) { try self.verify(&state) } catch { self.notice(.error, "\(error)") }
    }

    /// What `verify` and `checkActiveIndexes` will read under the lock is read here without it, so that it is in the page
    /// cache then and nobody waits for the disk with it. Nothing is concluded from it.
    func lookAhead() {
        let found = self.state.withLock {
            state -> (sealed: [Int64], base: Int64, end: Int, last: Int, offsets: Int, times: Int)? in
            guard state.status == .open, state.isUnverified || !state.active.areIndexFilesChecked else { return nil }
            return (
                state.isUnverified ? state.sealed.map(\.baseOffset) : [], state.active.baseOffset, state.active.size,
                state.active.lastBatchPosition, state.active.offsetIndex.persisted, state.active.timeIndex.persisted
            )
        }
        guard let found else { return }
        for base in found.sealed { _ = try? FileSystem.status(self.folder.path(base, .log)) }
        guard let file = try? FileSystem.open(self.folder.path(found.base, .log), .read) else { return }
        FileSystem.advise(file, .random)
        var view = SegmentView(
            baseOffset: found.base, file: file, end: found.end, offsetIndex: nil, timeIndex: nil)
        _ = try? view.header(at: found.last)
        if let transactions = try? TransactionIndex(self.folder, found.base) { _ = try? transactions.crc() }
        if found.offsets > 0, let index = try? FileSystem.open(self.folder.path(found.base, .index), .read) {
            view.offsetIndex = IndexFile(file: index, count: found.offsets)
        }
        if found.times > 0, let index = try? FileSystem.open(self.folder.path(found.base, .timeindex), .read) {
            view.timeIndex = IndexFile(file: index, count: found.times)
        }
        _ = try? SegmentRecovery.areActiveIndexesUsable(view)
    }

    var isUnverified: Bool { self.state.withLock { $0.isUnverified } }

    /// As `verify`, for who has time: the topic's id in the folder too.
    func verifyInBackground() {
        self.lookAhead()
        do throws(IOError) {
            let isOpen = try self.state.withLock { state throws(IOError) -> Bool in
                try self.verify(&state)
                return state.status == .open
            }
            guard isOpen, try self.folder.readTopicID() != self.topicID else { return }
            try self.folder.writeTopicID(self.topicID)
            self.notice(.warning, "\(PartitionFolder.partitionMetadata) was damaged and is written anew")
        } catch {
            if error.code != ENOENT { self.notice(.error, "\(error)") }
        }
    }

    /// Looks whether the files are what the mark says, once, before anything of them is served: somebody may have changed
    /// them while nobody had them open. Where they are not, the folder is read as after a crash, with CRCs.
    func verify(_ state: inout State) throws(IOError) {
        guard state.isUnverified else { return }
        guard state.status == .open else { return }
        // It was whole when it was closed: a gap between segments was left by compaction, and costs nothing behind it.
        var hints = OpenHints(
            isSameBoot: true, logStartOffset: state.logStartOffset, listVersion: state.listVersion &+ 1)
        switch try self.fit(state) {
        case .same:
            state.isUnverified = false
            return
        case .longer:
            // What a start cut off may be there again after a power cut, where that start was killed too. What was known of
            // the rest holds.
            self.notice(.warning, "its last file is longer than when it was closed")
            hints.isNothingTorn = true
            hints.mark = self.mark(of: state, epochs: state.epochs.entries)
            hints.recoveryPoint = state.recoveryPoint
        case .damaged:
            self.notice(.warning, "its files are not what they were when they were closed, and are read anew")
            hints.isNothingTorn = true
            hints.logEndOffset = state.logEndOffset
            // Those before are as they were. Nor would a start after a power cut, which goes by the checkpoint, look at
            // indexes that were made anew there and not synced.
            hints.recoveryPoint = state.recoveryPoint
        case .other:
            self.notice(.warning, "its files are not what they were when they were closed, and are read anew")
        }
        var loader = LogLoader(folder: self.folder, config: state.config, hints: hints, now: wallClockMs())
        var found = try loader.load(writer: state.writer)
        for message in loader.notices { self.notice(.warning, message) }
        found.highWatermarkFollows = state.highWatermarkFollows
        try self.environment.marks.note(
            SegmentListNote(
                partition: self.topicPartition, topicID: self.topicID, version: found.listVersion),
            folder: self.folder.path)
        for segment in state.sealed { self.environment.segmentCache.remove(segment) }
        found.isListed = state.isListed
        found.queued = state.queued
        found.cleaning = state.cleaning
        state = found
        // What must be synced is, in the next round.
        if state.config.flushBeforeAck, state.applyFlushBeforeAck(isOpening: true) { state.sync?.phase = .idle }
        self.changed(&state)
    }

    private enum Fit {
        case same
        /// The last file has more than it had.
        case longer
        /// The log's files are as long as they were; something in them is wrong.
        case damaged
        /// Somebody has cut or replaced them.
        case other
    }

    private func fit(_ state: borrowing State) throws(IOError) -> Fit {
        for segment in state.sealed {
            let path = self.folder.path(segment.baseOffset, .log)
            guard try FileSystem.status(path)?.size == segment.size else { return .other }
        }
        let active = state.active
        let size = try FileSystem.status(self.folder.path(active.baseOffset, .log))?.size
        // The empty file of a new partition may be gone: nothing is lost with it.
        let isMissing = size == nil && active.size == 0 && state.sealed.isEmpty
        guard isMissing || size ?? 0 >= active.size, isMissing || size != nil else { return .other }
        let fit = size ?? 0 > active.size ? Fit.longer : .same
        let differs = fit == .same ? Fit.damaged : .other
        try self.cutIndex(.index, active.baseOffset, active.offsetIndex.persisted * OffsetIndexEntry.size)
        try self.cutIndex(.timeindex, active.baseOffset, active.timeIndex.persisted * TimeIndexEntry.size)
        try self.cutIndex(
            .txnindex, active.baseOffset, active.transactionIndex.persisted * AbortedTransaction.size)
        if active.transactionIndex.persisted > 0 {
            // It has no checksum of its own, and those who read it believe it.
            guard let index = try TransactionIndex(self.folder, active.baseOffset),
                index.count == active.transactionIndex.persisted, try index.crc() == active.transactionIndexCRC
            else { return differs }
        }
        guard active.size > 0 else { return fit }
        let file = try FileSystem.open(self.folder.path(active.baseOffset, .log), .read)
        let view = SegmentView(
            baseOffset: active.baseOffset, file: file, end: active.size, offsetIndex: nil, timeIndex: nil)
        guard let last = try view.header(at: active.lastBatchPosition) else { return differs }
        let isLast =
            last.crc == active.lastBatchCRC && last.lastOffset + 1 == state.logEndOffset
            && active.lastBatchPosition + last.sizeInBytes == active.size
        return isLast ? fit : differs
    }

    /// An index file has no more than `size` bytes afterwards. One that has less, or is wrong, is made anew on first use.
    private func cutIndex(_ suffix: PartitionFolder.Suffix, _ base: Int64, _ size: Int) throws(IOError) {
        let path = self.folder.path(base, suffix)
        guard let status = try FileSystem.status(path), status.size > size else { return }
        try FileSystem.truncate(FileSystem.open(path, .readWrite), to: size)
    }
}
