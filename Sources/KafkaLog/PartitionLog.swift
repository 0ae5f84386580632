import KafkaPrimitives
import KafkaRecords
import Synchronization

/// The log of one partition: segments, indexes, leader epochs, producers.
///
/// One leaf lock guards `State`. Under it: decisions, one write per batch, the index files' appends. Not under it: reads
/// of files, syncs, creation ahead, deletion. It may be used from any thread.
package final class PartitionLog: Sendable {
    package let topicPartition: TopicPartition
    package let topicID: KafkaUUID
    /// Changes when the partition moves to another data folder, under the lock of `state`.
    let place: Mutex<PartitionFolder>
    let environment: LogEnvironment
    let state: Mutex<State>
    /// One sync at a time: the kernel tells of a failure once, and whoever is told must stop the others from believing
    /// theirs. Never taken on an event loop, nor under `state`.
    let syncing = Mutex(())

    enum Status: Sendable {
        case open, closed, deleted
        /// Its data folder has failed.
        case offline
        /// A sync failed: see `storageFailed`.
        case failed
    }

    struct State: Sendable {
        var sharedConfig: SharedLogConfig
        var config: LogConfig {
            @inline(__always) _read { yield self.sharedConfig.value }
        }
        var status = Status.open
        var logStartOffset: Int64
        var logEndOffset: Int64
        var highWatermark: Int64
        /// The high watermark follows each append, or each sync where appends wait for one. False where replicas move it.
        var highWatermarkFollows = true
        /// Nil until somebody waits for a sync.
        var sync: SyncState?
        /// Of the data folder that the partition is in.
        var writer: FolderWriter
        /// Appends that wait for `writer`; those that come queue behind them.
        var queued: Int32 = 0
        /// The partition's folder is in its data folder on disk too.
        var isFolderSynced = false
        /// Everything before it is on disk.
        var recoveryPoint: Int64
        /// By offset, oldest first.
        var sealed: [SealedSegment]
        var active: ActiveSegment
        var epochs: LeaderEpochCache
        var producers: ProducerStateManager
        var readEnds = ReadEnds()
        /// Made ahead for the next roll, under `PartitionFolder.nextSegment`.
        var nextFile: LogFile?
        var nextFileRequested = false
        /// A write failed and cutting off what it left did too: to be done before the next append.
        var mustTruncate = false
        var lastFlushMs: Int64
        var unflushedMessages: Int64 = 0
        /// Something changed since the last mark.
        var needsMark = true
        /// Where the last mark was taken; nil where it must be taken anew, however little has changed.
        var marked: (base: Int64, position: Int)?
        var markRoundsLeftOut = 0
        /// Nil until the log is first cleaned or cut.
        var cleaning: CleaningState?
        /// It is among `LogEnvironment.openLogs`.
        var isPooled = false
        /// It is among `LogEnvironment.changes`.
        var isListed = false
        /// Counts the changes of the list of segments, and which of its versions the marks file has.
        var listVersion: UInt32 = 0
        var listNoted: UInt32 = 0
        /// Taken over with a mark; nobody has looked at the files yet. See `verify`.
        var isUnverified = false
        /// The log end with which the folder was left as a clean shutdown leaves it; -1: with none.
        var closedEnd: Int64 = -1

        /// Whether so little has changed since the last mark that the next may wait.
        mutating func putsMarkOff(bytes: Int, rounds: Int) -> Bool {
            guard self.needsMark, let marked = self.marked, marked.base == self.active.baseOffset,
                self.active.size >= marked.position, self.active.size - marked.position < bytes,
                self.markRoundsLeftOut < rounds
            else { return false }
            self.markRoundsLeftOut += 1
            return true
        }
    }

    init(
        topicPartition: TopicPartition, topicID: KafkaUUID, folder: PartitionFolder, environment: LogEnvironment,
        state: State
    ) {
        self.topicPartition = topicPartition
        self.topicID = topicID
        self.place = Mutex(folder)
        self.environment = environment
        self.state = Mutex(state)
    }

    var folder: PartitionFolder { self.place.withLock { $0 } }

    /// The folder's path.
    package var path: String { self.folder.path }

    // MARK: offsets

    package var snapshot: LogOffsets {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.offsets
        }
    }

    /// The same for an event loop; nil where nobody has looked at the files since the start: `readNow` has that done.
    package var snapshotNow: LogOffsets? {
        self.state.withLock { $0.isUnverified && $0.status == .open ? nil : $0.offsets }
    }

    package var logEndOffset: Int64 {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.logEndOffset
        }
    }

    package var highWatermark: Int64 {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.highWatermark
        }
    }

    /// All before it survives a power cut.
    package var recoveryPoint: Int64 { self.state.withLock { $0.recoveryPoint } }

    /// Moves the high watermark, which no longer follows the log's end then. It stays within the log.
    package func setHighWatermark(_ offset: Int64) {
        self.state.withLock { state in
            state.highWatermarkFollows = false
            state.highWatermark = min(max(offset, state.logStartOffset), state.logEndOffset)
        }
    }

    /// Bytes of all segments.
    package var sizeInBytes: Int64 { self.state.withLock { $0.sizeInBytes } }

    package var segmentCount: Int { self.state.withLock { $0.sealed.count + 1 } }

    package var producerCount: Int { self.state.withLock { $0.producers.count } }

    // MARK: config

    package var config: LogConfig { self.state.withLock { $0.config } }

    /// Takes effect with the next append, roll, read or retention pass.
    package func update(config: LogConfig) {
        let mustSync = self.state.withLock { state -> Bool in
            if config.segmentJitterMs != state.config.segmentJitterMs || config.segmentMs != state.config.segmentMs {
                state.active.rollJitterMs = Self.jitter(config)
            }
            state.sharedConfig = .shared(config)
            // What was appended before may be due by flush.ms now.
            if config.flushMs < .max { self.list(&state) }
            return state.applyFlushBeforeAck(isOpening: false)
        }
        if mustSync { self.scheduleSync() }
    }

    static func jitter(_ config: LogConfig) -> Int64 {
        let limit = min(config.segmentJitterMs, config.segmentMs)
        return limit <= 0 ? 0 : Int64(FileSystem.random64() % UInt64(limit))
    }

    // MARK: leader epochs

    /// The epoch of the last batch; nil in an empty log.
    package var latestEpoch: Int32? { self.state.withLock { $0.epochs.latestEpoch } }

    /// Where an epoch ended, for OffsetForLeaderEpoch: the largest epoch at or below the one asked for and the offset at
    /// which the next one begins. (-1, -1) where it is not known (KIP-101, KIP-279).
    package func endOffset(forEpoch epoch: Int32) -> (epoch: Int32, endOffset: Int64) {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.epochs.endOffset(forEpoch: epoch, logEndOffset: state.logEndOffset)
        }
    }

    /// The epoch of the batch that holds an offset; nil where it is not known.
    package func leaderEpoch(forOffset offset: Int64) -> Int32? {
        self.state.withLock { $0.epochs.epoch(forOffset: offset) }
    }

    /// A leader's epoch begins at the log's end.
    package func assignLeaderEpoch(_ epoch: Int32) {
        self.state.withLock { state in
            state.epochs.assign(epoch: epoch, startOffset: state.logEndOffset)
            self.changed(&state)
        }
    }

    // MARK: producers

    /// Forgets producers that have been silent for producer.id.expiration.ms.
    package func expireProducers(now: Int64) {
        self.state.withLock { state in
            let before = state.producers.count
            state.producers.expire(now: now, expirationMs: self.environment.producerIDExpirationMs)
            if state.producers.count != before { self.changed(&state) }
        }
    }

    // MARK: for LogManager

    struct CheckpointValues: Sendable {
        var recoveryPoint: Int64
        var highWatermark: Int64
        var logStartOffset: Int64
        var firstSegmentBase: Int64
        var logEndOffset: Int64
    }

    var checkpointValues: CheckpointValues {
        self.state.withLock { state in
            CheckpointValues(
                recoveryPoint: state.recoveryPoint, highWatermark: state.highWatermark,
                logStartOffset: state.logStartOffset,
                firstSegmentBase: state.sealed.first?.baseOffset ?? state.active.baseOffset,
                logEndOffset: state.logEndOffset)
        }
    }

    func notice(_ level: LogNotice.Level, _ message: String) {
        self.environment.report(LogNotice(level: level, message: "\(self.topicPartition): \(message)"))
    }
}

extension PartitionLog.State {
    var offsets: LogOffsets {
        LogOffsets(
            logStartOffset: self.logStartOffset, logEndOffset: self.logEndOffset, highWatermark: self.highWatermark,
            lastStableOffset: self.lastStableOffset)
    }

    /// All before it is decided and below the high watermark: what a consumer of committed records may see.
    var lastStableOffset: Int64 {
        guard let first = self.producers.firstUnstableOffset(highWatermark: self.highWatermark) else {
            return self.highWatermark
        }
        return min(max(first, self.logStartOffset), self.highWatermark)
    }

    var sizeInBytes: Int64 {
        Int64(self.sealed.reduce(0) { $0 + $1.size } + self.active.size)
    }

    /// The segment that holds an offset: an index of `sealed`; nil for the active one.
    func sealedIndex(of offset: Int64) -> Int? {
        if offset >= self.active.baseOffset || self.sealed.isEmpty { return nil }
        var low = 0
        var high = self.sealed.count
        while low < high {
            let middle = (low + high) / 2
            if self.sealed[middle].baseOffset <= offset { low = middle + 1 } else { high = middle }
        }
        return max(0, low - 1)
    }
}
