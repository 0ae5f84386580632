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
        /// Sealed segments that are open at once.
        package var openSegmentLimit = 512
        /// See `LogEnvironment`.
        package var writebackBytes = 4 << 20

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
    }

    package let directories: [LogDirectory]
    package let configuration: Configuration
    let environment: LogEnvironment
    let bootID: String
    private let state = Mutex(State())
    private let schedule: Mutex<Schedule>
    private let maintenance = Mutex<PeriodicThread?>(nil)

    private struct State {
        var logs: [TopicPartition: (log: PartitionLog, directory: Int)] = [:]
        var isClosed = false
    }

    private struct Schedule {
        var marks: Int64
        var checkpoints: Int64
        var retention: Int64
        var producers: Int64
    }

    private init(
        _ configuration: Configuration, _ directories: [LogDirectory], _ environment: LogEnvironment, now: Int64
    ) {
        self.configuration = configuration
        self.directories = directories
        self.environment = environment
        self.bootID = FileSystem.bootID()
        self.schedule = Mutex(
            Schedule(
                marks: now + configuration.markIntervalMs, checkpoints: now + configuration.checkpointIntervalMs,
                // Kafka's first retention pass comes half a minute after the start.
                retention: now + min(30_000, configuration.retentionCheckIntervalMs),
                producers: now + configuration.producerIDExpirationCheckIntervalMs))
    }

    /// The id of the cluster that the folders belong to.
    package var clusterID: String { self.directories[0].properties.clusterID }

    /// Checks and locks the data folders; makes them where they are missing.
    package static func open(
        _ configuration: Configuration, background: any BackgroundExecutor, now: Int64,
        report: @escaping @Sendable (LogNotice) -> Void = { _ in }
    ) throws(LogDirectoryError) -> LogManager {
        precondition(!configuration.directories.isEmpty)
        // An id that a folder already has is the one for the others.
        var clusterID = configuration.clusterID
        for path in configuration.directories where clusterID == nil {
            clusterID = try MetaProperties.read(path)?.clusterID
        }
        let newID = LogDirectory.randomID().description
        var directories: [LogDirectory] = []
        for path in configuration.directories {
            directories.append(
                try LogDirectory.open(path, nodeID: configuration.nodeID, clusterID: clusterID) { newID })
            clusterID = directories[0].properties.clusterID
        }
        let environment = LogEnvironment(
            background: background, segmentCache: SegmentCache(limit: configuration.openSegmentLimit), trash: Trash(),
            producerIDExpirationMs: configuration.producerIDExpirationMs, writebackBytes: configuration.writebackBytes,
            report: report)
        let manager = LogManager(configuration, directories, environment, now: now)
        environment.fileRelief.set { [weak manager] in manager?.releaseFiles(onlyIdle: false) }
        return manager
    }

    // MARK: logs

    package func log(for partition: TopicPartition) -> PartitionLog? {
        self.state.withLock { $0.logs[partition]?.log }
    }

    package var allLogs: [PartitionLog] {
        self.state.withLock { $0.logs.values.map(\.log) }
    }

    /// The data folder that a partition is in.
    package func directory(of partition: TopicPartition) -> LogDirectory? {
        self.state.withLock { $0.logs[partition]?.directory }.map { self.directories[$0] }
    }

    /// Makes a partition's log, in the folder with the fewest. Gives the one that there is where there is one. Blocks.
    package func create(
        _ partition: TopicPartition, topicID: KafkaUUID, config: LogConfig, now: Int64
    ) throws(IOError) -> PartitionLog {
        if let existing = self.log(for: partition) { return existing }
        let index = self.state.withLock { state -> Int in
            guard self.directories.count > 1 else { return 0 }
            var counts = [Int](repeating: 0, count: self.directories.count)
            for entry in state.logs.values { counts[entry.directory] += 1 }
            return counts.indices.min { counts[$0] < counts[$1] } ?? 0
        }
        let folder = PartitionFolder(path: self.directories[index].path + "/" + partition.description)
        let log = try PartitionLog.create(
            partition, topicID: topicID, folder: folder, config: config, environment: self.environment, now: now)
        return self.state.withLock { state in
            if let existing = state.logs[partition] { return existing.log }
            state.logs[partition] = (log, index)
            return log
        }
    }

    /// Takes a partition out of use at once and deletes its files after file.delete.delay.ms. Blocks for a rename.
    package func delete(_ partition: TopicPartition, now: Int64) throws(IOError) {
        guard let entry = self.state.withLock({ $0.logs.removeValue(forKey: partition) }) else { return }
        entry.log.markDeleted()
        let directory = self.directories[entry.directory].path
        // Kafka's form: name, a dot, 32 hexadecimal digits, "-delete"; names of 255 characters at most.
        let suffix = "." + hex(FileSystem.random64()) + hex(FileSystem.random64()) + "-delete"
        let name = String(partition.description.prefix(255 - suffix.utf8.count)) + suffix
        let delay = entry.log.config.fileDeleteDelayMs
        try FileSystem.rename(entry.log.path, to: directory + "/" + name)
        self.environment.trash.add(directory + "/" + name, isDirectory: true, dueMs: now &+ delay)
    }

    // MARK: start

    /// Opens every partition in the folders, several at once. Blocks.
    /// - Parameter topicID: the id of the topic of that name, for a folder that does not tell whose it is: a power cut may
    ///   leave its `partition.metadata` empty, with records in the log.
    /// - Parameter config: the configuration of a partition's topic; its topic id is nil where it is not known.
    package func load(
        now: Int64, topicID: @escaping @Sendable (TopicPartition) -> KafkaUUID? = { _ in nil },
        config: @escaping @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
    ) throws(LogDirectoryError) -> LoadReport {
        var report = LoadReport()
        for index in self.directories.indices {
            let directory = self.directories[index]
            do throws(IOError) {
                let part = try self.load(directory, index, now, topicID, config)
                report.partitions += part.partitions
                report.bytesScanned += part.bytesScanned
                report.bytesCut += part.bytesCut
                try directory.removeCleanShutdown()
            } catch {
                throw .io(directory.path, error)
            }
        }
        return report
    }

    private func load(
        _ directory: LogDirectory, _ index: Int, _ now: Int64,
        _ knownTopicID: @escaping @Sendable (TopicPartition) -> KafkaUUID?,
        _ config: @escaping @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
    ) throws(IOError) -> LoadReport {
        let marks = try BootMarks.read(directory: directory.path)
        let nonce = directory.wasClean ? directory.cleanShutdownNonce() : nil
        let isSameBoot = !self.bootID.isEmpty && marks.bootID == self.bootID
        let areMarksValid = isSameBoot || (nonce != nil && nonce == marks.nonce)
        let recoveryPoints = directory.readCheckpoint(LogDirectory.recoveryPoints)
        let startOffsets = directory.readCheckpoint(LogDirectory.logStartOffsets)
        var partitions: [TopicPartition] = []
        for name in try FileSystem.list(directory.path) {
            let path = directory.path + "/" + name
            if name.hasSuffix("-delete") {
                self.environment.trash.add(path, isDirectory: true, dueMs: now)
            } else if let partition = TopicPartition(directoryName: name),
                try FileSystem.status(path)?.isDirectory == true
            {
                partitions.append(partition)
            } else if name.hasSuffix(".tmp") {
                try FileSystem.unlink(path)
            }
        }
        let work = LoadWork(partitions)
        Threads.run(min(self.configuration.recoveryThreadsPerDirectory, partitions.count)) {
            while let partition = work.next() {
                do throws(IOError) {
                    let folder = PartitionFolder(path: directory.path + "/" + partition.description)
                    var topicID = try folder.readTopicID()
                    if topicID == nil, let known = knownTopicID(partition) {
                        try folder.writeTopicID(known)
                        topicID = known
                    }
                    var hints = OpenHints(
                        isClean: directory.wasClean, recoveryPoint: recoveryPoints[partition] ?? 0,
                        logStartOffset: startOffsets[partition] ?? 0)
                    if areMarksValid, let mark = marks.marks[partition], mark.topicID == topicID ?? KafkaUUID.zero {
                        hints.mark = mark
                        hints.isSameBoot = isSameBoot
                    }
                    let (log, report) = try PartitionLog.open(
                        partition, topicID: topicID ?? KafkaUUID.zero, folder: folder,
                        config: config(partition, topicID), environment: self.environment, hints: hints, now: now)
                    self.state.withLock { $0.logs[partition] = (log, index) }
                    work.done(report)
                } catch {
                    work.failed(error)
                }
            }
        }
        let report = try work.result()
        // From now on this start's marks count; only then may the sign of the last shutdown go.
        if isSameBoot {
            try directory.marks.goOn(with: marks)
        } else {
            try self.rewriteMarks(index, nonce: "", durable: false, withoutIndexWrites: true)
        }
        return report
    }

    /// Partitions that are still to be opened, shared by the threads that open them.
    private final class LoadWork: Sendable {
        private let state: Mutex<State>

        private struct State {
            var partitions: [TopicPartition]
            var report = LoadReport()
            var failure: IOError?
        }

        init(_ partitions: [TopicPartition]) { self.state = Mutex(State(partitions: partitions)) }

        func next() -> TopicPartition? {
            self.state.withLock { $0.failure == nil ? $0.partitions.popLast() : nil }
        }

        func done(_ report: OpenReport) {
            self.state.withLock { state in
                state.report.partitions += 1
                state.report.bytesScanned += Int64(report.bytesScanned)
                state.report.bytesCut += Int64(report.bytesCut)
            }
        }

        func failed(_ error: IOError) { self.state.withLock { $0.failure = error } }

        func result() throws(IOError) -> LoadReport {
            let state = self.state.withLock { $0 }
            if let failure = state.failure { throw failure }
            return state.report
        }
    }

    private final class CloseWork: Sendable {
        private let logs: Mutex<[PartitionLog]>
        private let isSyncedLater: Bool
        private let failed = Atomic(false)

        init(_ logs: [PartitionLog], isSyncedLater: Bool) {
            self.logs = Mutex(logs)
            self.isSyncedLater = isSyncedLater
        }

        var hasFailed: Bool { self.failed.load(ordering: .acquiring) }

        func run() {
            while let log = self.logs.withLock({ $0.popLast() }) {
                do throws(IOError) { try log.close(isSyncedLater: self.isSyncedLater) } catch {
                    log.notice(.error, "close: \(error)")
                    self.failed.store(true, ordering: .releasing)
                }
            }
        }
    }

    // MARK: periodic work

    /// Does on a thread of its own what `tick` does.
    package func startMaintenance() {
        let thread = PeriodicThread(intervalMs: max(50, min(1000, self.configuration.markIntervalMs))) {
            self.tick(now: wallClockMs())
        }
        self.maintenance.withLock { $0 = thread }
        thread.start()
    }

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
            return due
        }
        let logs = self.allLogs
        if due.retention <= now { self.deleteOldSegments(now: now) }
        if due.producers <= now { for log in logs { log.expireProducers(now: now) } }
        for log in logs { log.flushIfDue(now: now) }
        if due.marks <= now { self.writeMarks(lazily: true) }
        if due.checkpoints <= now { self.checkpoint() }
        self.environment.trash.empty(now: now)
        // Connections need descriptors too.
        if LogFile.openCount > FileSystem.fileLimit / 2 { self.releaseFiles(onlyIdle: true) }
    }

    private func releaseFiles(onlyIdle: Bool) {
        for log in self.allLogs { log.releaseFiles(onlyIdle: onlyIdle) }
    }

    /// One retention pass over all partitions. Blocks.
    package func deleteOldSegments(now: Int64) {
        for log in self.allLogs {
            do throws(IOError) { try log.deleteOldSegments(now: now) } catch {
                log.notice(.error, "retention: \(error)")
            }
        }
    }

    /// Writes Kafka's checkpoints. Blocks.
    package func checkpoint() {
        for index in self.directories.indices {
            do throws(IOError) { try self.checkpoint(index) } catch {
                self.environment.report(LogNotice(level: .error, message: "checkpoints: \(error)"))
            }
        }
    }

    private func checkpoint(_ index: Int) throws(IOError) {
        var recoveryPoints: [TopicPartition: Int64] = [:]
        var starts: [TopicPartition: Int64] = [:]
        var highWatermarks: [TopicPartition: Int64] = [:]
        for log in self.logs(in: index) {
            let values = log.checkpointValues
            recoveryPoints[log.topicPartition] = values.recoveryPoint
            highWatermarks[log.topicPartition] = values.highWatermark
            if values.logStartOffset > values.firstSegmentBase { starts[log.topicPartition] = values.logStartOffset }
        }
        let directory = self.directories[index]
        try directory.writeCheckpoint(LogDirectory.recoveryPoints, recoveryPoints)
        try directory.writeCheckpoint(LogDirectory.logStartOffsets, starts)
        try directory.writeCheckpoint(LogDirectory.highWatermarks, highWatermarks)
    }

    /// So much of all partitions together is soon read after a crash; beyond it marks are put off less.
    private static let unmarkedLimit = 256 << 20
    private static let lazyBytesAboveLimit = 64 << 10

    /// Notes for each partition that has changed what is valid of it now. Blocks.
    /// - Parameter lazily: leaves out those that have changed little, for a few rounds.
    package func writeMarks(lazily: Bool = false) {
        var lazyBytes = lazily ? PartitionLog.lazyMarkBytes : 0
        if lazily, self.allLogs.reduce(0, { $0 + $1.unmarkedBytes }) > Self.unmarkedLimit {
            lazyBytes = Self.lazyBytesAboveLimit
        }
        for index in self.directories.indices {
            var marks: [PartitionMark] = []
            var failures = 0
            var failure: (partition: TopicPartition, error: IOError)?
            for log in self.logs(in: index) {
                do throws(IOError) {
                    if let mark = try log.takeMark(lazyBytes: lazyBytes) { marks.append(mark) }
                } catch {
                    failures += 1
                    failure = (log.topicPartition, error)
                }
                // The making of index files may take long; what is done counts.
                if marks.count == 100 {
                    self.append(marks, index)
                    marks = []
                }
            }
            if let failure {
                // One line, not one a partition: a full disk is full for all.
                self.environment.report(
                    LogNotice(
                        level: .error,
                        message: "no marks of \(failures) partitions, such as \(failure.partition): \(failure.error)"))
            }
            if !marks.isEmpty { self.append(marks, index) }
        }
    }

    private func append(_ marks: [PartitionMark], _ index: Int) {
        do throws(IOError) {
            if try self.directories[index].marks.append(marks) {
                try self.rewriteMarks(index, nonce: "", durable: false)
            }
        } catch {
            self.environment.report(LogNotice(level: .error, message: "\(BootMarks.name): \(error)"))
        }
    }

    private func rewriteMarks(
        _ index: Int, nonce: String, durable: Bool, withoutIndexWrites: Bool = false
    ) throws(IOError) {
        var marks: [PartitionMark] = []
        for log in self.logs(in: index) {
            if let mark = try log.takeMark(always: true, withoutIndexWrites: withoutIndexWrites) {
                marks.append(mark)
            }
        }
        try self.directories[index].marks.rewrite(
            bootID: self.bootID, nonce: nonce, marks: marks, durable: durable)
    }

    private func logs(in directory: Int) -> [PartitionLog] {
        self.state.withLock { $0.logs.values.filter { $0.directory == directory }.map(\.log) }
    }

    // MARK: end

    /// From so many logs with something to sync on, the whole file system is synced at once at the end: five syncs for
    /// each would take seconds.
    private static let syncAtOnceFrom = 500

    /// Closes all logs and leaves the sign of a clean shutdown in each folder where that went well. Blocks for the syncs.
    /// The folders are given up at the end.
    /// - Returns: false where the next start must look at the logs' ends.
    @discardableResult
    package func shutdown() -> Bool {
        let thread = self.maintenance.withLock { maintenance -> PeriodicThread? in
            defer { maintenance = nil }
            return maintenance
        }
        thread?.stop()
        guard
            self.state.withLock({ state -> Bool in
                defer { state.isClosed = true }
                return !state.isClosed
            })
        else { return true }
        var isClean = true
        self.releaseFiles(onlyIdle: false)
        for index in self.directories.indices {
            let logs = self.logs(in: index)
            let syncsAtOnce = logs.count { $0.needsFlush } > Self.syncAtOnceFrom
            let work = CloseWork(logs, isSyncedLater: syncsAtOnce)
            Threads.run(min(4, logs.count)) { work.run() }
            guard !work.hasFailed else {
                isClean = false
                continue
            }
            do throws(IOError) {
                if syncsAtOnce { try FileSystem.syncFileSystem(of: self.directories[index].path) }
                try self.checkpoint(index)
                let nonce = hex(FileSystem.random64())
                try self.rewriteMarks(index, nonce: nonce, durable: true)
                try self.directories[index].writeCleanShutdown(nonce: nonce)
            } catch {
                isClean = false
                self.environment.report(LogNotice(level: .error, message: "shutdown: \(error)"))
            }
        }
        for directory in self.directories { directory.releaseLock() }
        return isClean
    }
}

private func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.utf8.count) + digits
}
