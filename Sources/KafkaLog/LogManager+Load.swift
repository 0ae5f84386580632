import Glibc
import KafkaPrimitives
import Synchronization

extension LogManager {
    /// What a data folder's own files say of its partitions.
    struct FolderContents: Sendable {
        var partitions: [TopicPartition] = []
        var marks = BootMarks.Contents()
        var startOffsets: [TopicPartition: Int64] = [:]
        var deleted: [String] = []
        /// Copies of partitions that were on their way to this folder.
        var futures: [(partition: TopicPartition, path: String)] = []
    }

    /// Begins to read, on a thread for each data folder, what `load` will need. Its caller has other things to read
    /// meanwhile.
    package func prepareToLoad() {
        for (index, directory) in self.directories.enumerated() where directory.isOnline {
            let reading = FolderReading()
            self.readings.withLock { $0[index] = reading }
            reading.start { () throws(IOError) in try Self.read(directory) }
        }
    }

    private static func read(_ directory: LogDirectory) throws(IOError) -> FolderContents {
        var contents = FolderContents()
        contents.marks = try BootMarks.read(directory: directory.path)
        contents.startOffsets = try directory.readLogStartOffsets()
        let names = try FileSystem.list(directory.path)
        contents.partitions.reserveCapacity(names.count)
        for name in names {
            let path = directory.path + "/" + name
            if name.hasSuffix("-delete") {
                contents.deleted.append(path)
            } else if let partition = PartitionFolder.partition(ofFuture: name) {
                contents.futures.append((partition, path))
            } else if name != KafkaFolder.metadataLog, let partition = TopicPartition(directoryName: name) {
                if contents.marks.marks[partition] != nil {
                    contents.partitions.append(partition)
                } else if try FileSystem.status(path)?.isDirectory == true {
                    contents.partitions.append(partition)
                }
            } else if name.hasSuffix(".tmp") {
                try FileSystem.unlink(path)
            }
        }
        return contents
    }

    /// The reading of one data folder's files, under way or done.
    final class FolderReading: Sendable {
        private let result = Mutex<Result<FolderContents, IOError>?>(nil)
        private let thread = Mutex<pthread_t?>(nil)

        func start(_ read: @escaping @Sendable () throws(IOError) -> FolderContents) {
            let body: @Sendable () -> Void = {
                let result = Result { () throws(IOError) in try read() }
                self.result.withLock { $0 = result }
            }
            let thread = Threads.start(body)
            if thread == nil { body() }
            self.thread.withLock { $0 = thread }
        }

        func finish() throws(IOError) -> FolderContents {
            if let thread = self.thread.withLock({ $0.take() }) { pthread_join(thread, nil) }
            guard let result = self.result.withLock({ $0.take() }) else { return FolderContents() }
            return try result.get()
        }
    }

    /// Opens every partition in the folders, several at once. Blocks.
    /// - Parameter topicID: the id of the topic of that name, for a folder that does not tell whose it is: a power cut may
    ///   leave its `partition.metadata` empty, with records in the log.
    /// - Parameter config: the configuration of a partition's topic; its topic id is nil where it is not known.
    package func load(
        now: Int64, topicID: @escaping @Sendable (TopicPartition) -> KafkaUUID? = { _ in nil },
        config: @escaping @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
    ) throws(LogDirectoryError) -> LoadReport {
        var report = LoadReport()
        for index in self.directories.indices where self.directories[index].isOnline {
            let directory = self.directories[index]
            do throws(IOError) {
                let part = try self.load(directory, index, now, topicID, config)
                report.add(part)
            } catch {
                guard index > 0, error.meaning != .full, error.meaning != .other else {
                    throw .io(directory.path, error)
                }
                self.fail(index, error)
            }
        }
        return report
    }

    private func load(
        _ directory: LogDirectory, _ index: Int, _ now: Int64,
        _ knownTopicID: @escaping @Sendable (TopicPartition) -> KafkaUUID?,
        _ config: @escaping @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
    ) throws(IOError) -> LoadReport {
        if self.readings.withLock({ $0[index] == nil }) { self.prepareToLoad() }
        let contents = try self.readings.withLock { $0.removeValue(forKey: index) }?.finish() ?? FolderContents()
        for path in contents.deleted { self.environment.trash.add(path, isDirectory: true, dueMs: now) }
        for future in contents.futures { self.foundFuture(future.partition, future.path, in: index) }
        let loading = FolderLoading(self, directory, index, contents, now, knownTopicID, config)
        let work = LoadWork(contents.partitions, name: directory.path, report: self.environment.report)
        Threads.run(min(self.configuration.recoveryThreadsPerDirectory, contents.partitions.count)) {
            while let some = work.next() {
                var opened: [(TopicPartition, PartitionLog)] = []
                var report = LoadReport()
                opened.reserveCapacity(some.count)
                for partition in some {
                    do throws(IOError) {
                        let log = try loading.open(partition, &report)
                        opened.append((log.topicPartition, log))
                    } catch {
                        work.failed(error)
                    }
                }
                if self.directories.count > 1 {
                    for (partition, log) in opened {
                        do throws(IOError) { try self.adopt(log, in: index, topicID: knownTopicID(partition)) } catch {
                            work.failed(error)
                        }
                    }
                    opened = opened.filter { self.log(for: $0.0) === $0.1 }
                }
                self.state.withLock { state in
                    if state.logs.capacity < contents.partitions.count {
                        state.logs.reserveCapacity(contents.partitions.count)
                    }
                    for (partition, log) in opened { state.logs[partition] = (log, index) }
                }
                let unverified = opened.map(\.1).filter(\.isUnverified)
                if !unverified.isEmpty { self.unverified.withLock { $0 += unverified } }
                work.done(report)
            }
        }
        let report = try work.result()
        // From now on this start's marks count; only then may the sign of the last shutdown go.
        if loading.areMarksValid, BootMarks.canGoOn(with: contents.marks, bootID: self.bootID) {
            try directory.marks.goOn(with: contents.marks, bootID: self.bootID)
            try directory.removeCleanShutdown(durable: false)
        } else {
            try self.rewriteMarks(index, nonce: "", durable: false, withoutIndexWrites: true)
            try directory.removeCleanShutdown(durable: true)
        }
        return report
    }

    /// How the partitions of one data folder are opened.
    private final class FolderLoading: Sendable {
        private let manager: LogManager
        private let directory: LogDirectory
        private let contents: FolderContents
        private let now: Int64
        private let topicID: @Sendable (TopicPartition) -> KafkaUUID?
        private let config: @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
        let areMarksValid: Bool
        private let isClean: Bool
        private let isSameBoot: Bool
        /// Read when the first partition needs it: those with a valid mark do not.
        private let recoveryPoints = Mutex<[TopicPartition: Int64]?>(nil)

        init(
            _ manager: LogManager, _ directory: LogDirectory, _ index: Int, _ contents: FolderContents, _ now: Int64,
            _ topicID: @escaping @Sendable (TopicPartition) -> KafkaUUID?,
            _ config: @escaping @Sendable (TopicPartition, KafkaUUID?) -> LogConfig
        ) {
            self.manager = manager
            self.directory = directory
            self.contents = contents
            self.now = now
            self.topicID = topicID
            self.config = config
            let marks = contents.marks
            let nonce = directory.wasClean ? directory.cleanShutdownNonce() : nil
            self.isSameBoot = !manager.bootID.isEmpty && marks.bootID == manager.bootID
            self.areMarksValid = self.isSameBoot || (nonce != nil && nonce == marks.nonce)
            // Ours goes with our marks; Kafka's has no nonce.
            self.isClean = directory.wasClean && (nonce == nil || nonce == marks.nonce)
        }

        func open(_ partition: TopicPartition, _ report: inout LoadReport) throws(IOError) -> PartitionLog {
            report.partitions += 1
            let folder = PartitionFolder(path: self.directory.path + "/" + partition.description)
            var hints = OpenHints(
                isClean: self.isClean, logStartOffset: self.contents.startOffsets[partition] ?? 0)
            hints.listVersion = self.contents.marks.notes[partition]?.version ?? 0
            let mark = self.areMarksValid ? self.contents.marks.marks[partition] : nil
            hints.isSameBoot = self.isSameBoot
            hints.isNothingTorn = self.isSameBoot || self.isClean
            let known = self.topicID(partition)
            if let mark, mark.topicID == known, let segments = self.contents.marks.segments(of: mark),
                let log = try PartitionLog.resume(
                    mark, segments: segments, folder: folder, config: self.config(partition, known),
                    environment: self.manager.environment, hints: hints, now: self.now)
            {
                return log
            }
            report.foldersRead += 1
            var topicID = try folder.readTopicID()
            if let known, let told = topicID, told != known, told.isDamaged(known) {
                self.manager.environment.report(
                    LogNotice(
                        level: .warning,
                        message: "\(folder.path)/partition.metadata is damaged: topic id \(told), which is \(known)"))
                topicID = nil
            }
            if topicID == nil, let known {
                try folder.writeTopicID(known)
                topicID = known
            }
            hints.recoveryPoint = try self.recoveryPoint(partition)
            if let mark {
                hints.listVersion = max(hints.listVersion, mark.listVersion)
                if mark.topicID == topicID ?? KafkaUUID.zero { hints.mark = mark }
            }
            let (log, opened) = try PartitionLog.open(
                partition, topicID: topicID ?? KafkaUUID.zero, folder: folder, config: self.config(partition, topicID),
                environment: self.manager.environment, hints: hints, now: self.now)
            report.bytesScanned += Int64(opened.bytesScanned)
            report.bytesCut += Int64(opened.bytesCut)
            return log
        }

        private func recoveryPoint(_ partition: TopicPartition) throws(IOError) -> Int64 {
            try self.recoveryPoints.withLock { points throws(IOError) in
                if points == nil { points = try self.directory.readCheckpoint(LogDirectory.recoveryPoints) }
                return points?[partition] ?? 0
            }
        }
    }

    /// Partitions that are still to be opened, shared by the threads that open them.
    private final class LoadWork: Sendable {
        /// So many at a time: mostly each takes microseconds.
        private static let chunk = 64
        private static let progressMs: Int64 = 1000
        private let state: Mutex<State>
        private let name: String
        private let notify: @Sendable (LogNotice) -> Void

        private struct State {
            var partitions: [TopicPartition]
            var total: Int
            var began = wallClockMs()
            var reported = wallClockMs()
            var report = LoadReport()
            var failure: IOError?
        }

        init(_ partitions: [TopicPartition], name: String, report: @escaping @Sendable (LogNotice) -> Void) {
            self.state = Mutex(State(partitions: partitions, total: partitions.count))
            self.name = name
            self.notify = report
        }

        func next() -> [TopicPartition]? {
            self.state.withLock { state in
                guard state.failure == nil, !state.partitions.isEmpty else { return nil }
                let some = Array(state.partitions.suffix(Self.chunk))
                state.partitions.removeLast(some.count)
                return some
            }
        }

        func done(_ report: LoadReport) {
            let line = self.state.withLock { state -> String? in
                state.report.add(report)
                let now = wallClockMs()
                guard now &- state.reported >= Self.progressMs, state.report.partitions < state.total else {
                    return nil
                }
                state.reported = now
                return self.text(state, now)
            }
            if let line { self.notify(LogNotice(level: .info, message: line)) }
        }

        private func text(_ state: State, _ now: Int64) -> String {
            let report = state.report
            return "\(self.name): \(report.partitions) of \(state.total) partitions opened, "
                + "\(report.bytesScanned) bytes read after \(now &- state.began) ms"
        }

        func failed(_ error: IOError) { self.state.withLock { $0.failure = error } }

        func result() throws(IOError) -> LoadReport {
            let state = self.state.withLock { $0 }
            if let failure = state.failure { throw failure }
            return state.report
        }
    }
}

extension LogManager.LoadReport {
    mutating func add(_ other: Self) {
        self.partitions += other.partitions
        self.bytesScanned += other.bytesScanned
        self.bytesCut += other.bytesCut
        self.foldersRead += other.foldersRead
    }
}

extension KafkaUUID {
    /// Whether it is `other` with a few flipped bits. Two ids that were drawn at random differ in about 60: a topic of the
    /// same name that is no more is told from damage by that, and its records are not taken for those of the new one.
    fileprivate func isDamaged(_ other: KafkaUUID) -> Bool {
        (self.high ^ other.high).nonzeroBitCount + (self.low ^ other.low).nonzeroBitCount <= 12
    }
}
