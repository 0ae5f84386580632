import KafkaPrimitives
import Synchronization

extension LogManager {
    /// Moves the start of logs forward (DeleteRecords, KIP-107). When it returns, the new starts are on disk: what was
    /// deleted stays so, whatever happens to the process or the machine. Blocks.
    /// - Parameter offsets: where each log is to start; -1 is its high watermark. A start that lies further on is kept.
    /// - Returns: where each starts now; OFFSET_OUT_OF_RANGE, POLICY_VIOLATION, UNKNOWN_TOPIC_OR_PARTITION or
    ///   KAFKA_STORAGE_ERROR, in the order of `offsets`.
    package func deleteRecords(
        before offsets: [(log: PartitionLog, offset: Int64)]
    ) -> [Result<Int64, ErrorCode>] {
        var results = offsets.map { $0.log.deleteRecords(upTo: $0.offset) }
        var failed: Set<Int> = []
        for index in self.directories.indices {
            let isTouched = zip(offsets, results).contains { entry, result in
                (try? result.get()) != nil && self.directoryIndex(of: entry.log) == index
            }
            guard isTouched else { continue }
            do throws(IOError) { try self.checkpointLogStartOffsets(index) } catch {
                failed.insert(index)
                self.environment.storageFailed(error, self.directories[index].path)
                self.environment.report(LogNotice(level: .error, message: "\(LogDirectory.logStartOffsets): \(error)"))
            }
        }
        if failed.isEmpty { return results }
        for (at, entry) in offsets.enumerated() {
            if let index = self.directoryIndex(of: entry.log), failed.contains(index), (try? results[at].get()) != nil {
                results[at] = .failure(.kafkaStorageError)
            }
        }
        return results
    }

    /// Writes a folder's `log-start-offset-checkpoint`. One at a time: an older one must not replace a newer.
    func checkpointLogStartOffsets(_ index: Int) throws(IOError) {
        try self.startCheckpoint.withLock { _ throws(IOError) in
            var starts: [TopicPartition: Int64] = [:]
            for log in self.logs(in: index) {
                let values = log.checkpointValues
                if values.logStartOffset > values.firstSegmentBase {
                    starts[log.topicPartition] = values.logStartOffset
                }
            }
            try self.directories[index].writeLogStartOffsets(starts)
        }
    }
}

extension PartitionLog {
    /// - Parameter offset: -1 for the high watermark.
    /// - Returns: the log start offset afterwards.
    func deleteRecords(upTo offset: Int64) -> Result<Int64, ErrorCode> {
        self.state.withLock { state in
            guard state.status == .open else { return .failure(state.refusalCode) }
            if state.config.cleanupPolicy == .compact { return .failure(.policyViolation) }
            let target = offset == -1 ? state.highWatermark : offset
            guard state.startAt(target) else { return .failure(.offsetOutOfRange) }
            self.list(&state)
            return .success(state.logStartOffset)
        }
    }
}

extension PartitionLog.State {
    /// The log starts at `offset` from now on, or where it does if that is further on.
    /// - Returns: false where the offset is negative or behind the high watermark.
    mutating func startAt(_ offset: Int64) -> Bool {
        guard offset >= 0, offset <= self.highWatermark else { return false }
        if offset > self.logStartOffset {
            self.logStartOffset = offset
            self.epochs.truncateFromStart(offset)
            self.needsMark = true
        }
        return true
    }
}
