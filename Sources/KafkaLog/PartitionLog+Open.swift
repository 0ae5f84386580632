import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

/// What is known of a partition when its folder is opened.
struct OpenHints: Sendable {
    /// The whole data folder was closed cleanly.
    var isClean = false
    /// Valid: of this boot, or of the clean shutdown.
    var mark: PartitionMark?
    /// The machine has not been restarted since the mark: what came after it was written by the process that took it.
    var isSameBoot = false
    /// No power was cut since the last write: a batch of which all bytes are there, and which is not right, was damaged
    /// and not cut short by a crash.
    var isNothingTorn = false
    var recoveryPoint: Int64 = 0
    var logStartOffset: Int64 = 0
    /// Where the log ends, where that is known though its files cannot be believed.
    var logEndOffset: Int64?
    /// The newest version of the segment list that is noted.
    var listVersion: UInt32 = 0
}

/// What opening a partition took.
struct OpenReport: Sendable {
    var bytesScanned = 0
    var bytesCut = 0
    /// Less counts as on disk than the checkpoint says.
    var lowersRecoveryPoint = false
}

extension PartitionLog {
    /// Makes a partition's folder with an empty segment.
    static func create(
        _ topicPartition: TopicPartition, topicID: KafkaUUID, folder: PartitionFolder, config: LogConfig,
        environment: LogEnvironment, now: Int64
    ) throws(IOError) -> PartitionLog {
        var hints = OpenHints(isClean: true)
        if try FileSystem.exists(folder.path) {
            // Made by a creation that was cut short, or left by a deletion that failed: not to be taken for another topic's.
            let found = try folder.readTopicID()
            let isEmpty = try FileSystem.list(folder.path).isEmpty
            guard found == topicID || (found == nil && isEmpty) else {
                throw IOError(.mkdir, folder.path, code: EEXIST)
            }
            hints.isClean = false
        }
        try FileSystem.makeDirectory(folder.path)
        try folder.writeTopicID(topicID)
        let log = try self.open(
            topicPartition, topicID: topicID, folder: folder, config: config, environment: environment, hints: hints,
            now: now
        ).log
        // Without a mark it is read whole after a crash, so the first may wait until it holds something.
        try log.state.withLock { state throws(IOError) in
            state.marked = (state.active.baseOffset, 0)
            if config.preallocate {
                FileSystem.reserve(try state.active.openFile(folder), count: config.segmentBytes)
                state.active.isPreallocated = true
            }
        }
        return log
    }

    /// Opens a partition's folder; what a crash left in it is put in order.
    static func open(
        _ topicPartition: TopicPartition, topicID: KafkaUUID, folder: PartitionFolder, config: LogConfig,
        environment: LogEnvironment, hints: OpenHints, now: Int64
    ) throws(IOError) -> (log: PartitionLog, report: OpenReport) {
        var loader = LogLoader(folder: folder, config: config, hints: hints, now: now)
        let state = try loader.load(writer: environment.writers.writer(forPartitionAt: folder.path))
        let log = PartitionLog(
            topicPartition: topicPartition, topicID: topicID, folder: folder, environment: environment, state: state)
        for message in loader.notices { log.notice(.warning, message) }
        if state.mustBeListed { log.state.withLock { log.list(&$0) } }
        if config.flushBeforeAck, log.state.withLock({ $0.applyFlushBeforeAck(isOpening: true) }) { log.scheduleSync() }
        return (log, loader.report)
    }

    /// Closes files that nobody uses just now; they are opened again when they are needed.
    /// - Parameter onlyIdle: only those that were not used since the last call.
    /// - Returns: whether they stay open. Where not, the log is to be told to `OpenLogs` when it is opened again.
    @discardableResult
    func releaseFiles(onlyIdle: Bool) -> Bool {
        // They close after the lock is released.
        let released = self.state.withLock { state -> [LogFile?]? in
            defer { state.active.isFileUsed = false }
            if onlyIdle && state.active.isFileUsed { return nil }
            defer {
                state.isPooled = false
                state.active.file = nil
                state.active.offsetIndexFile = nil
                state.active.timeIndexFile = nil
            }
            return [state.active.file, state.active.offsetIndexFile, state.active.timeIndexFile]
        }
        return released == nil
    }

    /// Closes the log: everything is synced, indexes are complete, the producers are in a snapshot.
    /// - Parameter isSyncedLater: everything is written, and the caller syncs the file system.
    package func close(isSyncedLater: Bool = false) throws(IOError) {
        if self.closeUnchanged() { return }
        try self.state.withLock { state throws(IOError) in
            if state.mustTruncate, state.status == .open { try self.cutOffFailedWrite(&state) }
        }
        // Kafka's look-ups by time need an entry for the newest timestamp at the end of a closed segment.
        self.state.withLock { $0.active.addTimeIndexEntry() }
        try self.flush(upTo: .max, isSyncedLater: isSyncedLater)
        let epochs = self.state.withLock { state -> LeaderEpochCache? in
            defer { state.epochs.needsWrite = false }
            return state.epochs.needsWrite ? state.epochs : nil
        }
        if let epochs { try self.folder.writeLeaderEpochs(epochs, durable: !isSyncedLater) }
        let (offset, producers, needsSnapshot) = self.state.withLock { state in
            (state.logEndOffset, state.producers.producers, state.logEndOffset > 0)
        }
        if needsSnapshot, try !FileSystem.exists(self.folder.path(offset, .snapshot)) {
            try self.folder.writeSnapshot(offset, producers, durable: !isSyncedLater)
            self.removeOldSnapshots()
        }
        var hasNextSegment = false
        // With nothing to flush they are written here: those that were made anew at the start, say.
        var unsynced: [String] = []
        let segments = try self.state.withLock { state throws(IOError) -> [SealedSegment] in
            guard state.status == .open else { return [] }
            let base = state.active.baseOffset
            if state.active.offsetIndex.unwritten > 0 { unsynced.append(self.folder.path(base, .index)) }
            if state.active.timeIndex.unwritten > 0 { unsynced.append(self.folder.path(base, .timeindex)) }
            if state.active.transactionIndex.unwritten > 0 { unsynced.append(self.folder.path(base, .txnindex)) }
            try state.active.writeIndexes(self.folder)
            if state.active.isPreallocated {
                try FileSystem.truncate(try state.active.openFile(self.folder), to: state.active.size)
            }
            state.status = .closed
            hasNextSegment = state.nextFile != nil
            state.nextFile = nil
            self.changed(&state)
            return state.sealed
        }
        if !isSyncedLater, !unsynced.isEmpty {
            for path in unsynced { try FileSystem.sync(FileSystem.open(path, .readWrite)) }
            try FileSystem.syncDirectory(self.folder.path)
        }
        if hasNextSegment { try FileSystem.unlink(self.folder.path + "/" + PartitionFolder.nextSegment) }
        self.releaseFiles(onlyIdle: false)
        for segment in segments { self.environment.segmentCache.remove(segment) }
    }

    /// Closes a log whose files are as a clean shutdown leaves them: an empty one, and one in which nothing was written.
    private func closeUnchanged() -> Bool {
        let (isClosed, files, segments) = self.state.withLock { state -> (Bool, [LogFile?], [SealedSegment]) in
            let isEmpty = state.logEndOffset == 0 && state.active.size == 0 && state.sealed.isEmpty
            let isUnchanged =
                state.closedEnd == state.logEndOffset && state.recoveryPoint == state.logEndOffset
                && !state.epochs.needsWrite && state.active.offsetIndex.unwritten == 0
                && state.active.timeIndex.unwritten == 0 && state.active.transactionIndex.unwritten == 0
            guard state.status == .open, isEmpty || isUnchanged, state.nextFile == nil, !state.mustTruncate,
                !state.active.isPreallocated || state.isUnverified
            else {
                return (false, [], [])
            }
            state.status = .closed
            let files = [state.active.file, state.active.offsetIndexFile, state.active.timeIndexFile]
            (state.active.file, state.active.offsetIndexFile, state.active.timeIndexFile) = (nil, nil, nil)
            return (true, files, state.sealed)
        }
        withExtendedLifetime(files) {}
        for segment in segments { self.environment.segmentCache.remove(segment) }
        return isClosed
    }

    /// Drops the log out of use, before its folder is renamed. Waits for the end of a sync and of a cleaning.
    func markDeleted() {
        defer { self.abortCleaning() }
        let segments = self.syncing.withLock { _ in
            self.state.withLock { state -> [SealedSegment] in
                state.status = .deleted
                state.nextFile = nil
                state.active.file = nil
                return state.sealed
            }
        }
        for segment in segments { self.environment.segmentCache.remove(segment) }
    }

    // MARK: snapshots

    func removeSnapshots(where isGone: (Int64) -> Bool) throws(IOError) {
        var areGone = false
        for name in try FileSystem.list(self.folder.path) {
            guard let (offset, suffix) = PartitionFolder.parse(name), suffix == "snapshot", isGone(offset) else {
                continue
            }
            try FileSystem.unlink(self.folder.path(offset, .snapshot))
            areGone = true
        }
        // A power cut must not bring one back when the log has grown as long with other records.
        if areGone { try FileSystem.syncDirectory(self.folder.path) }
    }

    /// After a truncation: the producers as the batches that are left tell.
    func rebuildProducers() throws(IOError) {
        let (sealed, active, start, end, highWatermark) = try self.state.withLock { state throws(IOError) in
            (
                state.sealed, try self.activeView(&state), state.logStartOffset, state.logEndOffset,
                state.highWatermark
            )
        }
        try self.removeSnapshots { $0 > end }
        var loader = LogLoader(
            folder: self.folder, config: self.config, hints: OpenHints(logStartOffset: start), now: 0)
        let producers = try loader.replayProducers(
            segments: sealed.map { ($0.baseOffset, $0.size) } + [(active.baseOffset, active.end)], upTo: end,
            // None where all is below it: then the newest snapshot will do.
            highWatermark: highWatermark < end ? highWatermark : .max)
        self.state.withLock { $0.producers = producers }
    }
}
