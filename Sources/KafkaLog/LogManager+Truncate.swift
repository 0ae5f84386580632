import KafkaPrimitives
import Synchronization

extension LogManager {
    /// Cuts a log: `offset` and all after it are gone. Blocks for syncs.
    ///
    /// Before, the recovery point on disk is lowered and the marks are dropped: what is appended in the place of what was cut
    /// off must neither count as synced nor be taken for what a mark speaks of.
    package func truncate(_ partition: TopicPartition, to offset: Int64, now: Int64) throws(IOError) {
        guard let log = self.log(for: partition), let index = self.directoryIndex(of: log),
            log.lowerRecoveryPoint(to: offset)
        else { return }
        try self.forget(index)
        try log.truncate(to: offset, now: now)
        self.cleaner.truncated(partition, to: log.checkpointValues.logEndOffset, in: self.directories[index])
        try self.rewriteMarks(index, nonce: "", durable: false)
    }

    /// Empties a log, which begins at `offset` afterwards. Blocks for syncs.
    package func truncateFully(_ partition: TopicPartition, startAt offset: Int64, now: Int64) throws(IOError) {
        guard let log = self.log(for: partition), let index = self.directoryIndex(of: log) else { return }
        _ = log.lowerRecoveryPoint(to: 0)
        try self.forget(index)
        self.cleaner.truncated(partition, to: 0, in: self.directories[index])
        try log.truncateFullyAndStart(at: offset, now: now)
        try self.rewriteMarks(index, nonce: "", durable: false)
    }

    private func forget(_ index: Int) throws(IOError) {
        try self.checkpoint(index)
        try self.directories[index].marks.invalidate()
    }
}

extension PartitionLog {
    /// To the base of the segment that holds `offset`: the batch that does may begin before it.
    /// - Returns: false where the log ends before.
    func lowerRecoveryPoint(to offset: Int64) -> Bool {
        self.state.withLock { state in
            guard offset < state.logEndOffset else { return false }
            let base = state.sealedIndex(of: offset).map { state.sealed[$0].baseOffset } ?? state.active.baseOffset
            state.recoveryPoint = min(state.recoveryPoint, base, offset)
            return true
        }
    }
}
