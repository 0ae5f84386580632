import Glibc
import KafkaPrimitives
import Synchronization

/// All logs of a broker, in one or more data folders.
///
/// `open` checks and locks the folders, `load` opens the partitions in them, `startMaintenance` begins the periodic work
/// on a thread of its own, `shutdown` closes cleanly. Functions said to block belong on a background thread.
package final class LogManager: Sendable {
    package struct Configuration: Sendable {
        /// log.dirs
        package var directories: [String]
        /// node.id
        package var nodeID: Int32
        /// Nil: what the folders say, a new id for new ones.
        package var clusterID: String?
        /// num.recovery.threads.per.data.dir
        package var recoveryThreadsPerDirectory = 2
        /// log.retention.check.interval.ms
        package var retentionCheckIntervalMs: Int64 = 300_000
        /// log.flush.offset.checkpoint.interval.ms and log.flush.start.offset.checkpoint.interval.ms
        package var checkpointIntervalMs: Int64 = 60_000
        /// producer.id.expiration.ms
        package var producerIDExpirationMs: Int64 = 86_400_000
        /// producer.id.expiration.check.interval.ms
        package var producerIDExpirationCheckIntervalMs: Int64 = 600_000
        /// How often marks are written, by which a restart after a crash knows what to read.
        package var markIntervalMs: Int64 = 1000
        /// num.replica.alter.log.dirs.threads
        package var moveThreads = 1
        /// replica.alter.log.dirs.io.max.bytes.per.second; nil: no limit
        package var moveBytesPerSecond: Int64?
        /// Sealed segments that are open at once.
        package var openSegmentLimit = 512
        /// ottla.scrub.bytes.per.second; 0: nothing is scrubbed.
        package var scrubBytesPerSecond = 0
        /// ottla.scrub.interval.ms
        package var scrubIntervalMs: Int64 = 86_400_000
        /// See `LogEnvironment`.
        package var writebackBytes = 4 << 20
        /// log.cleaner.*
        package var cleaner = LogCleaner.Settings()

        package init(directories: [String], nodeID: Int32, clusterID: String? = nil) {
            self.directories = directories
            self.nodeID = nodeID
            self.clusterID = clusterID
        }
    }

    package struct LoadReport: Sendable, Equatable {
        package var partitions = 0
        /// Batches that had to be read.
        package var bytesScanned: Int64 = 0
        /// Torn or damaged ends that were cut off.
        package var bytesCut: Int64 = 0
        /// Whose folder had to be looked into.
        package var foldersRead = 0
        /// Of which less counts as on disk than the checkpoint says.
        package var recoveryPointsLowered = 0
    }

    package let directories: [LogDirectory]
    package let configuration: Configuration
    let environment: LogEnvironment
    let bootID: String
    let state = Mutex(State())
    let schedule: Mutex<Schedule>
    /// Something has changed since the last checkpoints.
    let needsCheckpoint = Atomic(true)
    /// Opened by their marks alone, and still to be looked at.
    let unverified = Mutex<[PartitionLog]>([])
    /// By index of the data folder; see `prepareToLoad`.
    let readings = Mutex<[Int: FolderReading]>([:])
    let maintenance = Mutex<PeriodicThread?>(nil)
    /// See `checkpointLogStartOffsets`.
    let startCheckpoint = Mutex(())
    package let cleaner: LogCleaner
    let folderMoves: FolderMoves
    /// See `report`: the wall clock, ms.
    let fullReported = Mutex<Int64>(0)
    /// Indexes of data folders that get no new partitions: cordoned.log.dirs.
    let cordoned = Mutex<Set<Int>>([])
    let failedFolder = CallbackSlot<FailedFolder>()
    let staleCheckpoints = Mutex(StaleCheckpoints())

    /// What checkpoint files may say of partitions that are no more.
    struct StaleCheckpoints {
        /// Of any: they are of the last run.
        var isOfAny = false
        var partitions: Set<TopicPartition> = []
    }

    struct State {
        var logs = LogTable()
        /// Partitions by folder, as counted when there were `filled`; nil: to be counted.
        var fill: [Int]?
        var filled = 0
        var isClosed = false
    }

    struct Schedule {
        var marks: Int64
        var checkpoints: Int64
        var retention: Int64
        var producers: Int64
        var rolls: Int64 = 0
    }

    let scrubber: LogScrubber

    private init(
        _ configuration: Configuration, _ directories: [LogDirectory], _ environment: LogEnvironment, now: Int64
    ) {
        self.configuration = configuration
        self.directories = directories
        self.environment = environment
        self.bootID = FileSystem.bootID()
        self.cleaner = LogCleaner(configuration.cleaner, report: environment.report)
        self.scrubber = LogScrubber(
            bytesPerSecond: configuration.scrubBytesPerSecond, intervalMs: configuration.scrubIntervalMs,
            counters: environment.counters)
        self.folderMoves = FolderMoves(threads: configuration.moveThreads)
        self.schedule = Mutex(
            Schedule(
                marks: now + configuration.markIntervalMs, checkpoints: now + configuration.checkpointIntervalMs,
                // Kafka's first retention pass comes half a minute after the start.
                retention: now + min(30_000, configuration.retentionCheckIntervalMs),
                producers: now + configuration.producerIDExpirationCheckIntervalMs))
    }

    /// Reads of what is not in memory or not checked.
    package var reads: ReadPool { self.environment.reads }

    package var counters: LogCounters { self.environment.counters }

    /// The id of the cluster that the folders belong to.
    package var clusterID: String { self.directories[0].properties.clusterID }

    /// Checks and locks the data folders; makes them where they are missing.
    package static func open(
        _ configuration: Configuration, background: any BackgroundExecutor, syncs: (any BackgroundExecutor)? = nil,
        now: Int64,
        report: @escaping @Sendable (LogNotice) -> Void = { _ in }
    ) throws(LogDirectoryError) -> LogManager {
        try self.open(
            configuration, background: background, syncs: syncs, reads: ReadPool(), writers: FolderWriters(), now: now,
            report: report)
    }

    static func open(
        _ configuration: Configuration, background: any BackgroundExecutor, syncs: (any BackgroundExecutor)? = nil,
        reads: ReadPool, writers: FolderWriters, now: Int64, report: @escaping @Sendable (LogNotice) -> Void
    ) throws(LogDirectoryError) -> LogManager {
        precondition(!configuration.directories.isEmpty)
        // An id that a folder already has is the one for the others.
        var clusterID = configuration.clusterID
        for path in configuration.directories where clusterID == nil {
            clusterID = (try? MetaProperties.read(path))??.clusterID
        }
        let newID = LogDirectory.randomID().description
        var directories: [LogDirectory] = []
        for path in configuration.directories {
            do throws(LogDirectoryError) {
                directories.append(
                    try LogDirectory.open(path, nodeID: configuration.nodeID, clusterID: clusterID) { newID })
            } catch {
                // Without the first, which holds the metadata, there is nothing to serve.
                guard let failure = error.failure, let clusterID, !directories.isEmpty else { throw error }
                directories.append(
                    LogDirectory.offline(path, nodeID: configuration.nodeID, clusterID: clusterID, failure))
                report(LogNotice(level: .error, message: "\(error); its partitions are offline"))
            }
            clusterID = directories[0].properties.clusterID
        }
        let environment = LogEnvironment(
            background: background, segmentCache: SegmentCache(limit: configuration.openSegmentLimit), trash: Trash(),
            producerIDExpirationMs: configuration.producerIDExpirationMs, writebackBytes: configuration.writebackBytes,
            syncs: syncs,
            // Connections need descriptors too.
            openLogs: OpenLogs(limit: FileSystem.fileLimit / 2), marks: MarksOfFolders(directories.map(\.marks)),
            reads: reads, writers: writers, report: report)
        let manager = LogManager(configuration, directories, environment, now: now)
        environment.events.onStorageFailure { [weak manager] in manager?.storageFailed($0) }
        environment.fileRelief.set { [weak manager] in manager?.environment.openLogs.relieve() }
        return manager
    }

    /// Instead of `load`: gives the folders up as they were found.
    package func abandon() { for directory in self.directories { directory.abandon() } }

    deinit {
        // They hold these lists, and those hold them.
        _ = self.environment.changes.take()
        self.environment.openLogs.removeAll()
    }

    /// What happens to logs without anybody having asked for it.
    package var events: LogEvents { self.environment.events }

    // MARK: logs

    package func log(for partition: TopicPartition) -> PartitionLog? {
        self.state.withLock { $0.logs[partition]?.log }
    }

    /// Those of a topic, by partition.
    package func logs(ofTopic topic: String) -> [Int32: PartitionLog] {
        self.state.withLock { $0.logs.logs(ofTopic: topic) }.mapValues(\.log)
    }

    package var allLogs: [PartitionLog] {
        self.state.withLock { $0.logs.values.map(\.log) }
    }

    /// The data folder that a partition is in.
    package func directory(of partition: TopicPartition) -> LogDirectory? {
        self.state.withLock { $0.logs[partition]?.directory }.map { self.directories[$0] }
    }

    /// The index of the data folder that a log is in; nil where it is in use no more.
    func directoryIndex(of log: PartitionLog) -> Int? {
        self.state.withLock { state in
            state.logs[log.topicPartition].flatMap { $0.log === log ? $0.directory : nil }
        }
    }

    /// Makes a partition's log, in the folder with the fewest. Gives the one that there is where there is one. Blocks.
    /// A folder that fails or is full is passed over where there are others.
    package func create(
        _ partition: TopicPartition, topicID: KafkaUUID, config: LogConfig, now: Int64
    ) throws(IOError) -> PartitionLog {
        if let existing = self.log(for: partition) { return existing }
        try self.renewCheckpoints(before: partition)
        var failure = IOError(.mkdir, partition.description, code: EIO)
        for index in self.foldersByFill() {
            let folder = PartitionFolder(path: self.directories[index].path + "/" + partition.description)
            let log: PartitionLog
            do throws(IOError) {
                do throws(IOError) {
                    log = try PartitionLog.create(
                        partition, topicID: topicID, folder: folder, config: config, environment: self.environment,
                        now: now)
                } catch {
                    guard error.code == EEXIST else { throw error }
                    // Left by a topic of the same name that is no more, or whose folder says nothing.
                    try self.discardFolder(folder.path, as: "stray", dueMs: now)
                    self.environment.report(
                        LogNotice(level: .warning, message: "\(folder.path) is of another topic: it is set aside"))
                    log = try PartitionLog.create(
                        partition, topicID: topicID, folder: folder, config: config, environment: self.environment,
                        now: now)
                }
            } catch {
                self.environment.storageFailed(error, folder.path)
                failure = error
                // Full, or failing: perhaps the next one takes it.
                if error.meaning == .other { break }
                continue
            }
            return self.state.withLock { state in
                if let existing = state.logs[partition] { return existing.log }
                state.logs[partition] = (log, index)
                state.fill?[index] += 1
                state.filled += 1
                return log
            }
        }
        throw failure
    }

    /// The folders that are online, the one with the fewest partitions first; cordoned ones only where there is no other.
    private func foldersByFill() -> [Int] {
        guard self.directories.count > 1 else { return [0] }
        let fill = self.state.withLock { state -> [Int] in
            if let fill = state.fill, state.filled == state.logs.count { return fill }
            var fill = [Int](repeating: 0, count: self.directories.count)
            for entry in state.logs.values { fill[entry.directory] += 1 }
            (state.fill, state.filled) = (fill, state.logs.count)
            return fill
        }
        let cordoned = self.cordoned.withLock { $0 }
        let online = fill.indices.filter { self.directories[$0].isOnline }
        let open = online.filter { !cordoned.contains($0) }
        return (open.isEmpty ? online : open).sorted { (fill[$0], $0) < (fill[$1], $1) }
    }

    /// Takes a partition out of use at once and deletes its files after file.delete.delay.ms. Blocks for a rename.
    package func delete(_ partition: TopicPartition, now: Int64) throws(IOError) {
        guard let entry = self.state.withLock({ $0.logs.removeValue(forKey: partition) }) else { return }
        self.staleCheckpoints.withLock { _ = $0.partitions.insert(partition) }
        self.cancelMove(of: partition)
        let delay = entry.log.config.fileDeleteDelayMs
        entry.log.markDeleted()
        self.cleaner.forget(partition, in: self.directories[entry.directory])
        let path = entry.log.path
        do throws(IOError) { try self.discardFolder(path, dueMs: now &+ delay) } catch {
            self.environment.storageFailed(error, path)
            throw error
        }
    }
}

func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
