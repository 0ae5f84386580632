import KafkaPrimitives
import Synchronization

extension LogManager {
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
}
