import KafkaRecords
import Synchronization

// A crash in the midst of a truncation leaves a first part of the log: files go newest first, and what is cut off is
// gone for good, also after a power cut, before anything is appended in its place.
extension PartitionLog {
    /// Cuts the log: `offset` and all after it are gone. A batch that holds it goes whole. Blocks for a sync.
    ///
    /// After an error the log ends somewhere between, as its offsets say.
    package func truncate(to offset: Int64, now: Int64) throws(IOError) {
        let cleaning = self.pauseCleaning(truncatingTo: offset)
        defer { cleaning.resume() }
        var removed: [SealedSegment] = []
        defer { for segment in removed { self.environment.segmentCache.remove(segment) } }
        try self.state.withLock { state throws(IOError) in
            if state.isUnverified { try self.verify(&state) }
            guard offset < state.logEndOffset else { return }
            try self.segmentsChange(&state)
            state.closedEnd = -1
            while offset < state.active.baseOffset, let last = state.sealed.last {
                removed.append(last)
                try self.dropActiveSegment(&state, now: now)
            }
            if !removed.isEmpty { try FileSystem.syncDirectory(self.folder.path) }
            try self.cutActiveSegment(&state, to: offset, now: now)
        }
        try self.rebuildProducers()
    }

    /// The segment before the active one becomes it.
    private func dropActiveSegment(_ state: inout State, now: Int64) throws(IOError) {
        let base = state.active.baseOffset
        try FileSystem.unlink(self.folder.path(base, .log))
        let target = state.sealed.removeLast()
        state.active = ActiveSegment(baseOffset: target.baseOffset, createdMs: now)
        state.active.size = target.size
        state.endsAt(base)
        try SegmentRecovery.removeAllIndexes(base, self.folder)
        try SegmentRecovery.removeIndexes(target.baseOffset, self.folder)
        let count = try TransactionIndex(self.folder, target.baseOffset)?.count ?? 0
        state.active.transactionIndex = IndexTail(persisted: count)
    }

    private func cutActiveSegment(_ state: inout State, to offset: Int64, now: Int64) throws(IOError) {
        let base = state.active.baseOffset
        let file = try state.active.openFile(self.folder)
        let view = SegmentView(
            baseOffset: base, file: file, end: state.active.size, offsetIndex: nil, timeIndex: nil)
        let end = try view.locate(offset, from: 0)?.position ?? state.active.size
        try SegmentRecovery.removeIndexes(base, self.folder)
        try FileSystem.truncate(file, to: end)
        var segment = ActiveSegment(baseOffset: base, createdMs: now, file: file)
        var next = base
        _ = try SegmentRecovery.scan(
            file, into: &segment, fileSize: end, check: .headers, interval: state.config.indexIntervalBytes,
            nextOffset: &next, visit: { _, _ in nil })
        segment.transactionIndex = state.active.transactionIndex
        try segment.cutTransactionIndex(before: next, self.folder)
        state.active = segment
        state.mustTruncate = false
        state.endsAt(next)
        try FileSystem.sync(file)
    }

    /// Empties the log, which begins at `offset` afterwards. Blocks for a sync.
    package func truncateFullyAndStart(at offset: Int64, now: Int64) throws(IOError) {
        let cleaning = self.pauseCleaning(truncatingTo: 0)
        defer { cleaning.resume() }
        var removed: [SealedSegment] = []
        defer { for segment in removed { self.environment.segmentCache.remove(segment) } }
        try self.removeSnapshots { _ in true }
        try self.state.withLock { state throws(IOError) in
            try self.segmentsChange(&state)
            state.isUnverified = false
            state.closedEnd = -1
            while let last = state.sealed.last {
                removed.append(last)
                try self.dropActiveSegment(&state, now: now)
            }
            let old = state.active.baseOffset
            try FileSystem.unlink(self.folder.path(old, .log))
            state.active = ActiveSegment(baseOffset: offset, createdMs: now)
            state.logStartOffset = offset
            state.logEndOffset = offset
            state.highWatermark = offset
            state.recoveryPoint = min(state.recoveryPoint, offset)
            state.epochs.removeAll()
            state.producers.removeAll()
            state.readEnds.removeAll()
            state.mustTruncate = false
            state.syncTruncated()
            try SegmentRecovery.removeAllIndexes(old, self.folder)
            _ = try state.active.openFile(self.folder)
            try FileSystem.syncDirectory(self.folder.path)
        }
    }
}

extension PartitionLog.State {
    /// What lay behind `offset` is gone.
    fileprivate mutating func endsAt(_ offset: Int64) {
        self.logEndOffset = offset
        self.highWatermark = min(self.highWatermark, offset)
        self.recoveryPoint = min(self.recoveryPoint, offset)
        self.logStartOffset = min(self.logStartOffset, offset)
        self.epochs.truncateFromEnd(offset)
        self.readEnds.removeAll()
        self.syncTruncated()
    }
}
