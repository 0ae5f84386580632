import KafkaRecords
import Synchronization

extension PartitionLog {
    /// What the cleaner looks at, at one moment.
    struct CleanableView {
        var config: LogConfig
        var sealed: [SealedSegment]
        var activeBaseOffset: Int64
        var offsets: LogOffsets
        var cleaning: CleaningState?
        var truncatedTo: Int64?
    }

    /// Nil where there is nothing to compact: another policy, all in the active segment, or something is under way.
    func cleanableView() throws(IOError) -> CleanableView? {
        try self.state.withLock { state throws(IOError) -> CleanableView? in
            guard state.status == .open, state.config.cleanupPolicy.contains(.compact), !state.sealed.isEmpty,
                state.cleaning?.isFree ?? true
            else { return nil }
            if state.isUnverified { try self.verify(&state) }
            return CleanableView(
                config: state.config, sealed: state.sealed, activeBaseOffset: state.active.baseOffset,
                offsets: state.offsets, cleaning: state.cleaning, truncatedTo: state.cleaning?.truncatedTo)
        }
    }

    /// The base of the first segment with a record younger than min.compaction.lag.ms; where none has a time, the file's
    /// age counts.
    func firstTooYoung(_ segments: [SealedSegment], lagMs: Int64, now: Int64) throws(IOError) -> Int64? {
        guard lagMs > 0 else { return nil }
        for segment in segments {
            var time = try segment.largestTimestamp(self.environment.segmentCache).timestamp
            if time < 0 {
                time = try FileSystem.status(self.folder.path(segment.baseOffset, .log))?.modifiedMs ?? now
            }
            if time > now &- lagMs { return segment.baseOffset }
        }
        return nil
    }

    /// Whether the first batch of one of the segments is older than max.compaction.lag.ms.
    func isOverdue(_ segments: [SealedSegment], lagMs: Int64, now: Int64) throws(IOError) -> Bool {
        guard lagMs < .max else { return false }
        for segment in segments where segment.size > 0 {
            let time = try segment.view(self.environment.segmentCache).header(at: 0)?.maxTimestamp ?? -1
            if time > 0, time < now &- max(0, lagMs) { return true }
        }
        return false
    }
}

extension CleaningStats {
    /// One line for an operator.
    func line(from: Int64, to: Int64) -> String {
        let seconds = Double(max(self.totalNs, 1)) / 1e9
        let percent = self.bytesRead > 0 ? 100 * Double(self.bytesWritten) / Double(self.bytesRead) : 0
        return "cleaned, dirty from offset \(from) to \(to): \(mb(self.bytesRead)) MB read, "
            + "\(mb(self.bytesWritten)) MB written (\(tenths(percent)) %), "
            + "\(self.recordsWritten) of \(self.recordsRead) records kept, "
            + "\(self.segmentsBefore) segments made \(self.segmentsAfter), \(tenths(seconds)) s "
            + "(\(tenths(Double(self.mapNs) / 1e9)) s of it for \(self.keys) keys in \(mb(self.mapBytes)) MB), "
            + "\(mb(Int64(Double(self.bytesRead) / seconds))) MB/s, map \(tenths(100 * self.mapUtilization)) % full"
    }
}

private func mb(_ bytes: Int64) -> String { tenths(Double(bytes) / 1_048_576) }

private func tenths(_ value: Double) -> String {
    let scaled = Int64(min(max(value, 0), 1e15) * 10 + 0.5)
    return "\(scaled / 10).\(scaled % 10)"
}
