import Glibc
import KafkaPrimitives
import Synchronization

extension LogManager {
    /// What a data folder's own files say of its partitions.
    struct FolderContents: Sendable {
        var topics: [TopicFolders] = []
        var marks = BootMarks.Contents()
        var startOffsets: [TopicPartition: Int64] = [:]
        var deleted: [String] = []
        /// Copies of partitions that were on their way to this folder.
        var futures: [(partition: TopicPartition, path: String)] = []

        var partitionCount: Int { self.topics.reduce(0) { $0 + $1.partitions.count } }
    }

    /// A topic's folders that were found.
    struct TopicFolders: Sendable {
        var topic: String
        var partitions: [Int32]
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
        var indexes: [String: Int] = [:]
        for name in try FileSystem.list(directory.path) {
            if name.hasSuffix("-delete") {
                contents.deleted.append(directory.path + "/" + name)
            } else if let partition = PartitionFolder.partition(ofFuture: name) {
                contents.futures.append((partition, directory.path + "/" + name))
            } else if name != KafkaFolder.metadataLog, let partition = TopicPartition(directoryName: name) {
                if let index = indexes[partition.topic] {
                    contents.topics[index].partitions.append(partition.partition)
                } else {
                    indexes[partition.topic] = contents.topics.count
                    contents.topics.append(TopicFolders(topic: partition.topic, partitions: [partition.partition]))
                }
            } else if name.hasSuffix(".tmp") {
                try FileSystem.unlink(directory.path + "/" + name)
            }
        }
        // What has a mark was a folder then.
        for index in contents.topics.indices {
            let topic = contents.topics[index].topic
            let marks = contents.marks.marks.topic(topic)
            var folders: [Int32] = []
            for partition in contents.topics[index].partitions {
                if !marks.has(partition) {
                    let name = TopicPartition(topic: topic, partition: partition).description
                    guard try FileSystem.status(directory.path + "/" + name)?.isDirectory == true else { continue }
                }
                folders.append(partition)
            }
            contents.topics[index].partitions = folders
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
    /// - Parameter config: the configuration of a topic; its id is nil where it is not known.
    package func load(
        now: Int64, topicID: @escaping @Sendable (String) -> KafkaUUID? = { _ in nil },
        config: @escaping @Sendable (String, KafkaUUID?) -> LogConfig
    ) throws(LogDirectoryError) -> LoadReport {
        var report = LoadReport()
        self.staleCheckpoints.withLock { $0.isOfAny = true }
        for index in self.directories.indices where self.directories[index].isOnline {
            let directory = self.directories[index]
            do throws(IOError) {
                let part = try self.load(directory, index, now, topicID, config)
                report.add(part)
                self.cleaner.loaded(directory) { self.log(for: $0)?.checkpointValues.logEndOffset }
            } catch {
                // What was not on disk yet may be lost: the next start of this boot must read what there is.
                if error.call == .sync { try? directory.marks.invalidate() }
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
        _ knownTopicID: @escaping @Sendable (String) -> KafkaUUID?,
        _ config: @escaping @Sendable (String, KafkaUUID?) -> LogConfig
    ) throws(IOError) -> LoadReport {
        if self.readings.withLock({ $0[index] == nil }) { self.prepareToLoad() }
        let contents = try self.readings.withLock { $0.removeValue(forKey: index) }?.finish() ?? FolderContents()
        for path in contents.deleted { self.environment.trash.add(path, isDirectory: true, dueMs: now) }
        for future in contents.futures { self.foundFuture(future.partition, future.path, in: index) }
        let loading = try FolderLoading(self, directory, index, contents, now, knownTopicID, config)
        let work = LoadWork(contents.topics, name: directory.path, report: self.environment.report)
        Threads.run(min(self.configuration.recoveryThreadsPerDirectory, contents.partitionCount)) {
            while let (some, ofTopic) = work.next() {
                var opened: [PartitionLog] = []
                var report = LoadReport()
                opened.reserveCapacity(some.partitions.count)
                let topic = loading.topic(some.topic)
                for partition in some.partitions {
                    do throws(IOError) {
                        opened.append(try loading.open(partition, of: topic, &report))
                    } catch {
                        work.failed(error)
                    }
                }
                if self.directories.count > 1 {
                    for log in opened {
                        do throws(IOError) { try self.adopt(log, in: index, topicID: topic.id) } catch {
                            work.failed(error)
                        }
                    }
                    opened = opened.filter { self.log(for: $0.topicPartition) === $0 }
                }
                self.state.withLock { $0.logs.add(opened, ofTopic: some.topic, in: index, expecting: ofTopic) }
                let unverified = opened.filter(\.isUnverified)
                if !unverified.isEmpty { self.unverified.withLock { $0 += unverified } }
                work.done(report)
            }
        }
        let report = try work.result()
        // What is appended or written now must not count as synced after a power cut.
        if report.recoveryPointsLowered > 0 { try self.checkpoint(index) }
        // From now on this start's marks count; only then may the sign of the last shutdown go.
        if loading.areMarksValid, BootMarks.canGoOn(with: contents.marks, bootID: self.bootID) {
            try directory.marks.goOn(with: contents.marks, bootID: self.bootID, wasClean: directory.wasClean)
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
        private let topicID: @Sendable (String) -> KafkaUUID?
        private let config: @Sendable (String, KafkaUUID?) -> LogConfig
        let areMarksValid: Bool
        private let isClean: Bool
        private let isSameBoot: Bool
        /// Read when the first partition needs it: those with a valid mark do not.
        private let recoveryPoints = Mutex<[TopicPartition: Int64]?>(nil)

        init(
            _ manager: LogManager, _ directory: LogDirectory, _ index: Int, _ contents: FolderContents, _ now: Int64,
            _ topicID: @escaping @Sendable (String) -> KafkaUUID?,
            _ config: @escaping @Sendable (String, KafkaUUID?) -> LogConfig
        ) throws(IOError) {
            self.manager = manager
            self.directory = directory
            self.contents = contents
            self.now = now
            self.topicID = topicID
            self.config = config
            let marks = contents.marks
            let nonce = directory.wasClean ? try directory.cleanShutdownNonce() : nil
            self.isSameBoot = !manager.bootID.isEmpty && marks.bootID == manager.bootID
            self.areMarksValid = self.isSameBoot || (nonce != nil && nonce == marks.nonce)
            // Ours goes with our marks; Kafka's has no nonce.
            self.isClean = directory.wasClean && (nonce == nil || nonce == marks.nonce)
        }

        /// What is the same for all partitions of a topic.
        struct Topic {
            var name: String
            /// As the metadata has it.
            var id: KafkaUUID?
            /// Of a topic with that id.
            var config: LogConfig
            var marks: BootMarks.Marks.OfTopic
        }

        func topic(_ name: String) -> Topic {
            let id = self.topicID(name)
            return Topic(
                name: name, id: id, config: self.config(name, id),
                marks: self.areMarksValid ? self.contents.marks.marks.topic(name) : BootMarks.Marks().topic(name))
        }

        func open(
            _ number: Int32, of topic: Topic, _ report: inout LoadReport
        ) throws(IOError) -> PartitionLog {
            report.partitions += 1
            let partition = TopicPartition(topic: topic.name, partition: number)
            let folder = PartitionFolder(path: self.directory.path + "/" + partition.description)
            var hints = OpenHints(
                isClean: self.isClean, logStartOffset: self.contents.startOffsets[partition] ?? 0)
            hints.listVersion = self.contents.marks.notes[partition]?.version ?? 0
            let mark = topic.marks.mark(number)
            hints.isSameBoot = self.isSameBoot
            hints.isNothingTorn = self.isSameBoot || self.isClean
            let known = topic.id
            if let mark, mark.topicID == known, let segments = self.contents.marks.segments(of: mark),
                let log = try PartitionLog.resume(
                    mark, segments: segments, folder: folder, config: topic.config,
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
                partition, topicID: topicID ?? KafkaUUID.zero, folder: folder,
                config: topicID == known ? topic.config : self.config(topic.name, topicID),
                environment: self.manager.environment,
                hints: hints, now: self.now)
            report.bytesScanned += Int64(opened.bytesScanned)
            report.bytesCut += Int64(opened.bytesCut)
            if opened.lowersRecoveryPoint { report.recoveryPointsLowered += 1 }
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
        /// So many at a time, of one topic: mostly each takes microseconds.
        private static let chunk = 128
        private static let progressMs: Int64 = 1000
        private let state: Mutex<State>
        private let name: String
        private let notify: @Sendable (LogNotice) -> Void

        private struct State {
            let topics: [TopicFolders]
            /// Where the next are.
            var topic = 0
            var partition = 0
            var total: Int
            var began = wallClockMs()
            var reported = wallClockMs()
            var report = LoadReport()
            var failure: IOError?
        }

        init(_ topics: [TopicFolders], name: String, report: @escaping @Sendable (LogNotice) -> Void) {
            self.state = Mutex(State(topics: topics, total: topics.reduce(0) { $0 + $1.partitions.count }))
            self.name = name
            self.notify = report
        }

        /// Some partitions of a topic, and how many it has.
        func next() -> (TopicFolders, ofTopic: Int)? {
            self.state.withLock { state in
                guard state.failure == nil, state.topic < state.topics.count else { return nil }
                var some = state.topics[state.topic]
                let ofTopic = some.partitions.count
                some.partitions = Array(some.partitions[state.partition...].prefix(Self.chunk))
                state.partition += some.partitions.count
                if state.partition == ofTopic { (state.topic, state.partition) = (state.topic + 1, 0) }
                return (some, ofTopic)
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

        func failed(_ error: IOError) {
            // Of a failed sync the caller must hear, whatever else fails.
            self.state.withLock { if $0.failure?.call != .sync { $0.failure = error } }
        }

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
        self.recoveryPointsLowered += other.recoveryPointsLowered
    }
}

extension KafkaUUID {
    /// Whether it is `other` with a few flipped bits. Two ids that were drawn at random differ in about 60: a topic of the
    /// same name that is no more is told from damage by that, and its records are not taken for those of the new one.
    fileprivate func isDamaged(_ other: KafkaUUID) -> Bool {
        (self.high ^ other.high).nonzeroBitCount + (self.low ^ other.low).nonzeroBitCount <= 12
    }
}
