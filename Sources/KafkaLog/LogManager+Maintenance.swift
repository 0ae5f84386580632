import KafkaPrimitives
import Synchronization

extension LogManager {
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
            if due.rolls <= now { schedule.rolls = now + Self.rollLookoutMs }
            return due
        }
        let logs = self.allLogs
        if due.retention <= now { self.deleteOldSegments(now: now) }
        if due.rolls <= now {
            for log in logs { log.prepareIfRollIsNear(now: now, withinMs: 3 * Self.rollLookoutMs) }
        }
        if due.producers <= now { for log in logs { log.expireProducers(now: now) } }
        for log in logs { log.flushIfDue(now: now) }
        if due.marks <= now { self.writeMarks(lazily: true) }
        if due.checkpoints <= now { self.checkpoint() }
        self.environment.trash.empty(now: now)
        // Connections need descriptors too.
        if LogFile.openCount > FileSystem.fileLimit / 2 { self.releaseFiles(onlyIdle: true) }
    }

    /// How often segments that will soon be too old are looked for.
    private static let rollLookoutMs: Int64 = 10_000

    func releaseFiles(onlyIdle: Bool) {
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

    func checkpoint(_ index: Int) throws(IOError) {
        var recoveryPoints: [TopicPartition: Int64] = [:]
        var highWatermarks: [TopicPartition: Int64] = [:]
        for log in self.logs(in: index) {
            let values = log.checkpointValues
            recoveryPoints[log.topicPartition] = values.recoveryPoint
            highWatermarks[log.topicPartition] = values.highWatermark
        }
        let directory = self.directories[index]
        try directory.writeCheckpoint(LogDirectory.recoveryPoints, recoveryPoints)
        try self.checkpointLogStartOffsets(index)
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

    func rewriteMarks(
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

    func logs(in directory: Int) -> [PartitionLog] {
        self.state.withLock { $0.logs.values.filter { $0.directory == directory }.map(\.log) }
    }
}
