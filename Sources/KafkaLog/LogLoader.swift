import Glibc
import KafkaRecords

/// Opens a partition's folder: finds out which bytes are to be trusted, reads the others, cuts what is not whole.
///
/// Three ways, from the cheapest:
/// - a mark that is valid (of this boot, or written with the clean shutdown): what came after it is read, where the boot
///   is the same by headers but for the end;
/// - a clean shutdown without a mark (Kafka's own): the end of the last segment is read;
/// - otherwise: every segment beyond the recovery point is read, with CRCs.
struct LogLoader {
    let folder: PartitionFolder
    let config: LogConfig
    var hints: OpenHints
    let now: Int64
    var report = OpenReport()
    var notices: [String] = []

    /// Segments by base offset, with their sizes.
    private var segments: [(base: Int64, size: Int)] = []
    /// Of segments that were read with CRCs: see `ActiveSegment.uncheckedBefore`.
    private var uncheckedBefore: [Int64: Int] = [:]
    private var snapshots: [Int64] = []
    private var epochs = LeaderEpochCache()
    private var producers = ProducerStateManager()
    /// The base of the segment whose indexes were made anew.
    private var reindexed: Int64 = -1
    /// How what no mark vouches for is read.
    private var check = SegmentRecovery.Check.headersAndCRC

    init(folder: PartitionFolder, config: LogConfig, hints: OpenHints, now: Int64) {
        self.folder = folder
        self.config = config
        self.hints = hints
        self.now = now
    }

    mutating func load(writer: FolderWriter) throws(IOError) -> PartitionLog.State {
        try self.takeStock()
        if self.segments.isEmpty {
            let base = max(0, self.hints.logStartOffset)
            _ = try FileSystem.open(self.folder.path(base, .log), .create)
            self.segments = [(base, 0)]
            // From now on the file's name alone says where the log starts.
            if base > 0 { try FileSystem.syncDirectory(self.folder.path) }
        }
        if let epochs = try self.folder.readLeaderEpochs() { self.epochs = epochs }

        var active: ActiveSegment
        var logEnd: Int64
        var resumed: PartitionMark?
        if let mark = self.hints.mark, let trusted = try self.trust(mark) {
            if self.hints.isSameBoot { self.check = .headersAndLastCRCs }
            resumed = mark
            (active, logEnd) = try self.resume(mark, trusted)
        } else if self.hints.isClean, let (found, end) = try self.openClean() {
            (active, logEnd) = (found, end)
            self.producers = try self.replayProducers(segments: self.segments, upTo: end)
        } else {
            (active, logEnd) = try self.recover()
            // An earlier start may have cut and dropped the same, and have been killed before that was on disk. One that cut
            // off everything left a byte until it was.
            if logEnd > 0 {
                try FileSystem.sync(active.openFile(self.folder))
                try FileSystem.syncDirectory(self.folder.path)
            }
        }
        // Opened again on first use: an idle partition needs no descriptor.
        active.file = nil
        active.rollJitterMs = PartitionLog.jitter(self.config)
        active.isPreallocated = self.config.preallocate
        logEnd = max(logEnd, active.baseOffset)
        let knownStart = max(self.hints.logStartOffset, self.hints.mark?.logStartOffset ?? 0)
        if knownStart > logEnd {
            active = try self.beginAnew(at: knownStart)
            logEnd = knownStart
            resumed = nil
        }
        let logStart = max(self.segments[0].base, knownStart)
        self.epochs.truncateFromEnd(logEnd)
        self.epochs.truncateFromStart(logStart)
        // One of a log that was longer must not be taken for this one's when it has grown as long.
        try self.dropSnapshots(after: logEnd)
        let sealed = self.segments.indices.dropLast().map { index in
            SealedSegment(
                baseOffset: self.segments[index].base, size: self.segments[index].size,
                nextOffset: self.segments[index + 1].base, folder: self.folder,
                uncheckedBefore: self.uncheckedBefore[self.segments[index].base])
        }
        // Not raised to the log's start, of which a power cut might know nothing.
        var recoveryPoint = self.hints.isClean ? logEnd : min(self.hints.recoveryPoint, logEnd)
        // No flush comes for what lies before the recovery point, and a transaction index that is lost would not be missed.
        if active.baseOffset < recoveryPoint, active.transactionIndex.count > 0,
            self.reindexed == active.baseOffset || active.transactionIndex.unwritten > 0
        {
            try active.writeIndexes(self.folder)
            try self.syncIndexes(of: active.baseOffset)
        }
        // Index files made anew are not on disk yet: the next start must not leave this segment out, should it be sealed.
        if self.reindexed >= 0, recoveryPoint == logEnd, active.size > 0 { recoveryPoint -= 1 }
        self.report.lowersRecoveryPoint = recoveryPoint < self.hints.recoveryPoint
        if self.config.flushBeforeAck, recoveryPoint < logEnd {
            self.producers.endedTransactions = try self.endedTransactions(from: recoveryPoint, to: logEnd)
        }
        var state = PartitionLog.State(
            sharedConfig: .shared(self.config), logStartOffset: logStart, logEndOffset: logEnd, highWatermark: logEnd,
            writer: writer, recoveryPoint: recoveryPoint, sealed: sealed, active: active, epochs: self.epochs,
            producers: self.producers, lastFlushMs: self.now)
        if let resumed {
            // That mark goes on to hold.
            state.marked = (resumed.segmentBase, resumed.position)
            state.needsMark = resumed.logEndOffset != logEnd || resumed.logStartOffset != logStart
        }
        // Whatever was noted of the list, this is a later one.
        state.listVersion = self.hints.listVersion &+ 1
        state.needsMark = state.needsMark || !state.sealed.isEmpty || self.hints.listVersion > 0
        return state
    }

    /// A power cut has taken so much that all that is left was deleted before. As in Kafka the offsets that were given out
    /// are not given out again.
    private mutating func beginAnew(at offset: Int64) throws(IOError) -> ActiveSegment {
        try self.dropSegments(after: -1)
        try self.dropSnapshots(after: -1)
        self.producers.removeAll()
        self.epochs.removeAll()
        _ = try FileSystem.open(self.folder.path(offset, .log), .create)
        self.segments = [(offset, 0)]
        // From now on the file's name alone says where the log starts.
        try FileSystem.syncDirectory(self.folder.path)
        return ActiveSegment(baseOffset: offset, createdMs: self.now)
    }

    // MARK: files

    /// What is in the folder; leftovers of deletions, cleanings and of a segment made ahead go.
    private mutating func takeStock() throws(IOError) {
        var names = try FileSystem.list(self.folder.path)
        if try SwapRecovery.finish(self.folder, names) { names = try FileSystem.list(self.folder.path) }
        for name in names
        where name.hasSuffix(".deleted") || name.hasSuffix(".tmp") || name == PartitionFolder.nextSegment {
            try FileSystem.unlink(self.folder.path + "/" + name)
        }
        var bases: Set<Int64> = []
        for name in names {
            guard let (offset, suffix) = PartitionFolder.parse(name) else { continue }
            if suffix == "snapshot" { self.snapshots.append(offset) }
            guard suffix == "log", let status = try FileSystem.status(self.folder.path + "/" + name) else { continue }
            bases.insert(offset)
            self.segments.append((offset, status.size))
        }
        self.segments.sort { $0.base < $1.base }
        try self.dropEmptySegments(&bases)
        self.snapshots.sort()
        for name in names {
            // An index without its log.
            guard let (offset, suffix) = PartitionFolder.parse(name), !bases.contains(offset),
                suffix == "index" || suffix == "timeindex" || suffix == "txnindex"
            else { continue }
            try FileSystem.unlink(self.folder.path + "/" + name)
        }
    }

    /// Files that a roll that failed has left, or of which a power cut took all, and the log ends before them. Not the
    /// first, which tells where the log begins.
    private mutating func dropEmptySegments(_ bases: inout Set<Int64>) throws(IOError) {
        var dropped: Set<Int64> = []
        var kept: Int?
        for index in self.segments.indices {
            let (base, size) = self.segments[index]
            let isLast = index == self.segments.count - 1
            let staysEmpty =
                if let kept {
                    isLast ? try self.continues(kept, at: base) : false
                } else {
                    isLast || self.segments[index + 1].base > self.hints.logStartOffset
                }
            if size > 0 || staysEmpty {
                kept = index
                continue
            }
            try FileSystem.unlink(self.folder.path(base, .log))
            dropped.insert(base)
        }
        bases.subtract(dropped)
        self.segments.removeAll { dropped.contains($0.base) }
    }

    /// Whether an empty segment follows the one before it: at its end, or before the recovery point, where cleanings leave
    /// gaps.
    private func continues(_ index: Int, at base: Int64) throws(IOError) -> Bool {
        let end = try self.endOffset(of: index)
        return end == base || (end < base && base <= max(self.hints.recoveryPoint, self.hints.mark?.recoveryPoint ?? 0))
    }

    /// Where a segment's last batch ends, as far as it can be told by headers.
    private func endOffset(of index: Int) throws(IOError) -> Int64 {
        let segment = self.segments[index]
        let view = SegmentView(
            baseOffset: segment.base, file: try FileSystem.open(self.folder.path(segment.base, .log), .read),
            end: segment.size, offsetIndex: nil, timeIndex: nil)
        var from = 0
        let path = self.folder.path(segment.base, .index)
        if let size = try FileSystem.status(path)?.size {
            let offsets = IndexFile<OffsetIndexEntry>(
                file: try FileSystem.open(path, .read), count: size / OffsetIndexEntry.size)
            if let last = try offsets.entry(offsets.count - 1), try view.agrees(last) { from = Int(last.position) }
        }
        var end = segment.base
        _ = try view.walk(from: from) { _, header in
            end = header.lastOffset + 1
            return true
        }
        return end
    }

    // MARK: by a mark

    /// The segment of a mark, opened, where the files fit it: at least as long, with the same last batch.
    private func trust(_ mark: PartitionMark) throws(IOError) -> (index: Int, file: LogFile?)? {
        guard let index = self.segments.firstIndex(where: { $0.base == mark.segmentBase }),
            self.segments[index].size >= mark.position
        else { return nil }
        if mark.position == 0 { return mark.logEndOffset == mark.segmentBase ? (index, nil) : nil }
        // Closed cleanly and of the same length: not opened for a look.
        if self.hints.isClean, self.segments[index].size == mark.position, index == self.segments.count - 1 {
            return (index, nil)
        }
        let file = try FileSystem.open(self.folder.path(mark.segmentBase, .log), .readWrite)
        let view = SegmentView(
            baseOffset: mark.segmentBase, file: file, end: mark.position, offsetIndex: nil, timeIndex: nil)
        guard let last = try view.header(at: mark.lastBatchPosition), last.crc == mark.lastBatchCRC,
            last.lastOffset + 1 == mark.logEndOffset, mark.lastBatchPosition + last.sizeInBytes == mark.position
        else { return nil }
        return (index, file)
    }

    private mutating func resume(
        _ mark: PartitionMark, _ trusted: (index: Int, file: LogFile?)
    ) throws(IOError) -> (ActiveSegment, Int64) {
        self.hints.recoveryPoint = max(self.hints.recoveryPoint, min(mark.recoveryPoint, mark.logEndOffset))
        for (id, entry) in mark.producers { self.producers.restore(id, entry) }
        // Where the mark has them it is right: the file may be older, and from before a truncation. Newer ones come with
        // the batches after the mark.
        if !mark.epochs.isEmpty {
            let isNew = self.epochs.entries != mark.epochs
            self.epochs = LeaderEpochCache(entries: mark.epochs)
            self.epochs.needsWrite = isNew
        }
        self.epochs.truncateFromEnd(mark.logEndOffset)
        var segment = ActiveSegment(resuming: mark, createdMs: self.now, file: trusted.file)
        if self.isSettled(trusted.index) {
            // Nothing is added to them.
            segment.areIndexFilesChecked = false
        } else if try self.areIndexesOf(mark, fileSize: self.segments[trusted.index].size),
            try self.cutIndex(mark.segmentBase, .index, OffsetIndexEntry.size * mark.offsetIndexCount),
            try self.cutIndex(mark.segmentBase, .timeindex, TimeIndexEntry.size * mark.timeIndexCount),
            try self.cutIndex(mark.segmentBase, .txnindex, AbortedTransaction.size * mark.transactionIndexCount),
            try self.transactionIndexCRC(mark) == mark.transactionIndexCRC
        {
            segment.areIndexFilesChecked = false
        } else {
            segment = try self.reindex(segment, upTo: mark.position)
        }
        var next = mark.logEndOffset
        return try self.readOn(from: trusted.index, segment, &next)
    }

    /// Whether a segment was sealed and then synced, with its indexes, which are complete: nobody would sync again what was
    /// done to them now, and a power cut might leave a part of it.
    private func isSettled(_ index: Int) -> Bool {
        index + 1 < self.segments.count && self.segments[index + 1].base <= self.hints.recoveryPoint
    }

    /// Whether the entries that a mark counts are of the batches before it. Since then the files may have been made anew,
    /// with others.
    private func areIndexesOf(_ mark: PartitionMark, fileSize: Int) throws(IOError) -> Bool {
        // Nothing was appended: they end where they did.
        if fileSize == mark.position { return true }
        if mark.offsetIndexCount > 0 {
            let path = self.folder.path(mark.segmentBase, .index)
            guard try FileSystem.status(path) != nil else { return false }
            let index = IndexFile<OffsetIndexEntry>(
                file: try FileSystem.open(path, .read), count: mark.offsetIndexCount)
            guard let last = try index.entry(index.count - 1), Int(last.position) < mark.position else { return false }
            let isLast =
                if let next = mark.offsetEntries.first {
                    last.position < next.position
                } else {
                    mark.position - Int(last.position) == mark.bytesSinceIndexEntry
                }
            guard isLast else { return false }
        }
        if mark.timeIndexCount > 0 {
            let path = self.folder.path(mark.segmentBase, .timeindex)
            guard try FileSystem.status(path) != nil else { return false }
            let index = IndexFile<TimeIndexEntry>(file: try FileSystem.open(path, .read), count: mark.timeIndexCount)
            guard let last = try index.entry(index.count - 1),
                mark.segmentBase &+ Int64(last.relativeOffset) < mark.logEndOffset
            else { return false }
            let isLast =
                if let next = mark.timeEntries.first {
                    last.timestamp < next.timestamp
                } else {
                    last.timestamp == mark.lastIndexedTimestamp
                }
            guard isLast else { return false }
        }
        return true
    }

    private func transactionIndexCRC(_ mark: PartitionMark) throws(IOError) -> UInt32 {
        guard mark.transactionIndexCount > 0 else { return 0 }
        return try TransactionIndex(self.folder, mark.segmentBase)?.crc() ?? 0
    }

    /// Makes an index file exactly so long; false where it is shorter.
    private func cutIndex(_ base: Int64, _ suffix: PartitionFolder.Suffix, _ size: Int) throws(IOError) -> Bool {
        let path = self.folder.path(base, suffix)
        guard let status = try FileSystem.status(path) else { return size == 0 }
        guard status.size >= size else { return false }
        if status.size > size { try FileSystem.truncate(FileSystem.open(path, .readWrite), to: size) }
        return true
    }

    /// The same segment with indexes made from its batches, which are trusted.
    private mutating func reindex(_ old: ActiveSegment, upTo size: Int) throws(IOError) -> ActiveSegment {
        // The transaction index needs to know which transactions were open where the segment begins.
        let index = self.segments.firstIndex { $0.base == old.baseOffset } ?? 0
        var producers = try self.replayProducers(segments: Array(self.segments[..<index]), upTo: old.baseOffset)
        try SegmentRecovery.removeAllIndexes(old.baseOffset, self.folder)
        self.reindexed = old.baseOffset
        var segment = ActiveSegment(baseOffset: old.baseOffset, createdMs: self.now, file: old.file)
        let file = try segment.openFile(self.folder)
        var next = old.baseOffset
        _ = try SegmentRecovery.scan(
            file, into: &segment, fileSize: size, check: .headers, interval: self.config.indexIntervalBytes,
            nextOffset: &next
        ) { producers.update($0, baseOffset: $0.baseOffset, now: -1, marker: $1) }
        segment.writtenBack = segment.size
        return segment
    }

    // MARK: after a clean shutdown without a mark

    /// The last segment, its end found from its last index entry. Nil where that does not come out even.
    private mutating func openClean() throws(IOError) -> (ActiveSegment, Int64)? {
        let last = self.segments[self.segments.count - 1]
        var segment = ActiveSegment(baseOffset: last.base, createdMs: self.now)
        if last.size == 0 {
            _ = try self.cutIndex(last.base, .index, 0)
            _ = try self.cutIndex(last.base, .timeindex, 0)
            try FileSystem.unlink(self.folder.path(last.base, .txnindex))
            return (segment, last.base)
        }
        let file = try segment.openFile(self.folder)
        let indexPath = self.folder.path(last.base, .index)
        let timesPath = self.folder.path(last.base, .timeindex)
        if last.size <= self.config.indexIntervalBytes, try !FileSystem.exists(indexPath) {
            // Nothing in it has an entry yet, and Ottla makes the file with the first.
            _ = try FileSystem.open(indexPath, .create)
        }
        guard let indexSize = try FileSystem.status(indexPath)?.size,
            let timesSize = try FileSystem.status(timesPath)?.size,
            indexSize % OffsetIndexEntry.size == 0, timesSize % TimeIndexEntry.size == 0
        else { return nil }
        let view = SegmentView(
            baseOffset: last.base, file: file, end: last.size,
            offsetIndex: IndexFile(
                file: try FileSystem.open(indexPath, .read), count: indexSize / OffsetIndexEntry.size),
            timeIndex: IndexFile(
                file: try FileSystem.open(timesPath, .read), count: timesSize / TimeIndexEntry.size))
        guard try SegmentRecovery.areIndexesUsable(view), let index = view.offsetIndex, let times = view.timeIndex
        else {
            return nil
        }
        if let entry = try times.entry(times.count - 1) {
            segment.largest = TimestampOffset(
                timestamp: entry.timestamp, offset: last.base &+ Int64(entry.relativeOffset))
            segment.lastIndexedTimestamp = entry.timestamp
        }
        segment.offsetIndex = IndexTail(persisted: index.count)
        segment.timeIndex = IndexTail(persisted: times.count)
        // The batch of the last entry counts as bytes since it.
        segment.size = Int(try index.entry(index.count - 1)?.position ?? 0)
        segment.uncheckedBefore = segment.size
        let start = segment.size
        var next = last.base
        let isWhole = try SegmentRecovery.scan(
            file, into: &segment, fileSize: last.size, check: .headers, interval: .max, nextOffset: &next,
            visit: { _, _ in nil })
        if let transactions = try TransactionIndex(self.folder, last.base) {
            guard try transactions.isPlausible(baseOffset: last.base, nextOffset: next) else { return nil }
            segment.transactionIndex = IndexTail(persisted: transactions.count)
            segment.transactionIndexCRC = try transactions.crc()
            _ = try self.cutIndex(last.base, .txnindex, AbortedTransaction.size * transactions.count)
        }
        segment.bytesSinceIndexEntry = segment.size - start
        segment.writtenBack = segment.size
        if start > 0 { segment.firstTimestamp = nil }
        return isWhole ? (segment, next) : nil
    }

    // MARK: after a crash

    private mutating func recover() throws(IOError) -> (ActiveSegment, Int64) {
        // The first segment that holds something beyond the recovery point.
        var first = self.segments.count - 1
        while first > 0, self.segments[first].base > self.hints.recoveryPoint { first -= 1 }
        let base = self.segments[first].base
        self.producers = try self.replayProducers(segments: Array(self.segments[..<first]), upTo: base)
        self.epochs.truncateFromEnd(base)
        try SegmentRecovery.removeAllIndexes(base, self.folder)
        self.reindexed = base
        var next = base
        return try self.readOn(from: first, ActiveSegment(baseOffset: base, createdMs: self.now), &next)
    }

    /// Reads what follows in a segment, and the segments after it, with CRCs. At the first batch that is not whole the log
    /// ends.
    private mutating func readOn(
        from first: Int, _ start: ActiveSegment, _ next: inout Int64
    ) throws(IOError) -> (ActiveSegment, Int64) {
        var segment = start
        var index = first
        while true {
            let size = self.segments[index].size
            var isWhole = true
            if segment.size < size {
                let file = try segment.openFile(self.folder)
                let from = segment.size
                isWhole = try self.scan(
                    file, &segment, size,
                    knownEnd: index + 1 < self.segments.count ? self.segments[index + 1].base : self.hints.logEndOffset,
                    &next)
                self.report.bytesScanned += segment.size - from
                segment.writtenBack = segment.size
                if !isWhole {
                    try self.cut(file, to: segment.size, after: index)
                    self.report.bytesCut += size - segment.size
                    self.notices.append(
                        "\(PartitionFolder.name(segment.baseOffset)).log is cut from \(size) to \(segment.size) bytes: "
                            + "no whole batch at offset \(next)")
                }
            }
            self.segments[index].size = segment.size
            if !isWhole, self.isSettled(index) { segment = try self.reindex(segment, upTo: segment.size) }
            if !isWhole || index == self.segments.count - 1 {
                try self.dropSegments(after: index)
                try self.dropSnapshots(after: next)
                return (segment, next)
            }
            if !self.isSettled(index) { try segment.seal(self.folder) }
            self.uncheckedBefore[segment.baseOffset] = segment.uncheckedBefore
            index += 1
            let base = self.segments[index].base
            // A power cut may take what was not synced from the end of a segment and leave the one after it.
            let isLost = base > next && base > self.hints.recoveryPoint && !self.hints.isSameBoot
            guard base >= next, !isLost else {
                // It overlaps with what is before, or something is missing between: not of this log.
                try self.dropSegments(after: index - 1)
                return try self.reopenAsActive(index - 1, next)
            }
            next = base
            if !self.isSettled(index) { try SegmentRecovery.removeAllIndexes(base, self.folder) }
            segment = ActiveSegment(baseOffset: base, createdMs: self.now)
        }
    }

    /// Of a segment whose indexes were made anew, and which no flush may come to.
    private func syncIndexes(of base: Int64) throws(IOError) {
        for suffix in [PartitionFolder.Suffix.index, .timeindex, .txnindex] {
            let path = self.folder.path(base, suffix)
            if try FileSystem.exists(path) { try FileSystem.sync(FileSystem.open(path, .readWrite)) }
        }
        try FileSystem.syncDirectory(self.folder.path)
    }

    /// Cuts off what is not whole, in a segment and behind it. On disk when it returns: else a power cut could bring it back
    /// behind what is appended now. A start that is killed in between leaves something to be cut, so that the next one
    /// syncs too.
    private mutating func cut(_ file: LogFile, to size: Int, after index: Int) throws(IOError) {
        if index + 1 < self.segments.count {
            try self.dropSegments(after: index)
        } else {
            try FileSystem.syncDirectory(self.folder.path)
        }
        try FileSystem.truncate(file, to: max(size, 1))
        try FileSystem.sync(file)
        guard size == 0 else { return }
        try FileSystem.truncate(file, to: 0)
        try FileSystem.sync(file)
    }

    private mutating func scan(
        _ file: LogFile, _ segment: inout ActiveSegment, _ size: Int, knownEnd: Int64?, _ next: inout Int64
    ) throws(IOError) -> Bool {
        var producers = self.producers
        var epochs = self.epochs
        self.producers.removeAll()
        let isWhole = try SegmentRecovery.scan(
            file, into: &segment, fileSize: size, check: self.check, interval: self.config.indexIntervalBytes,
            keepsDamage: self.hints.isNothingTorn, knownEnd: self.hints.isNothingTorn ? knownEnd : nil,
            nextOffset: &next
        ) { header, marker in
            epochs.assign(epoch: header.partitionLeaderEpoch, startOffset: header.baseOffset)
            return producers.update(header, baseOffset: header.baseOffset, now: -1, marker: marker)
        }
        self.producers = producers
        self.epochs = epochs
        return isWhole
    }

    private mutating func reopenAsActive(_ index: Int, _ next: Int64) throws(IOError) -> (ActiveSegment, Int64) {
        let segment = try self.reindex(
            ActiveSegment(baseOffset: self.segments[index].base, createdMs: self.now), upTo: self.segments[index].size)
        return (segment, next)
    }

    private mutating func dropSegments(after index: Int) throws(IOError) {
        // The newest first: what is left, should this be cut short, has no hole.
        for segment in self.segments[(index + 1)...].reversed() {
            self.report.bytesCut += segment.size
            self.notices.append("\(PartitionFolder.name(segment.base)).log is dropped: the log ends before it")
            for suffix in PartitionFolder.Suffix.allCases {
                try FileSystem.unlink(self.folder.path(segment.base, suffix))
            }
        }
        if index + 1 < self.segments.count {
            // Else a power cut could bring them back behind what is appended now.
            try FileSystem.syncDirectory(self.folder.path)
        }
        self.segments.removeSubrange((index + 1)...)
    }

    private mutating func dropSnapshots(after offset: Int64) throws(IOError) {
        let gone = self.snapshots.filter { $0 > offset }
        guard !gone.isEmpty else { return }
        for snapshot in gone { try FileSystem.unlink(self.folder.path(snapshot, .snapshot)) }
        self.snapshots.removeAll { $0 > offset }
        // A power cut must not bring one back when the log has grown as long with other records.
        try FileSystem.syncDirectory(self.folder.path)
    }

    // MARK: producers

    /// The transactions whose markers are at or behind `highWatermark`: where consumers must wait for a sync, they must
    /// not be told how these ended before it.
    private mutating func endedTransactions(
        from highWatermark: Int64, to end: Int64
    ) throws(IOError) -> [EndedTransaction] {
        guard self.producers.haveEndedTransactions else { return [] }
        return try self.replayProducers(segments: self.segments, upTo: end, highWatermark: highWatermark)
            .endedTransactions
    }

    /// The producers at `end`: the newest snapshot that can be read, and the batches after it.
    /// - Parameter highWatermark: transactions with a marker at or behind it are kept in mind.
    mutating func replayProducers(
        segments: [(base: Int64, size: Int)], upTo end: Int64, highWatermark: Int64 = .max
    ) throws(IOError) -> ProducerStateManager {
        if self.snapshots.isEmpty {
            self.snapshots = try FileSystem.list(self.folder.path).compactMap {
                guard let (offset, suffix) = PartitionFolder.parse($0), suffix == "snapshot" else { return nil }
                return offset
            }.sorted()
        }
        var producers = ProducerStateManager()
        // What lies before the log's start is not replayed, as in Kafka.
        var from = self.hints.logStartOffset
        // One from before the first file knows nothing of what was deleted since: no word of a producer is better than
        // an old one, with which its next batch would be refused.
        let floor = segments.first?.base ?? end
        for snapshot in self.snapshots.reversed() where snapshot <= min(end, highWatermark) && snapshot >= floor {
            guard let entries = try self.folder.readSnapshot(snapshot) else {
                self.notices.append("\(PartitionFolder.name(snapshot)).snapshot cannot be read and is left out")
                continue
            }
            for (id, entry) in entries { producers.restore(id, entry) }
            from = snapshot
            break
        }
        for (index, segment) in segments.enumerated() {
            let nextBase = index + 1 < segments.count ? segments[index + 1].base : end
            guard nextBase > from, segment.size > 0 else { continue }
            let file = try FileSystem.open(self.folder.path(segment.base, .log), .read)
            let view = SegmentView(
                baseOffset: segment.base, file: file, end: segment.size, offsetIndex: nil, timeIndex: nil)
            var failure: IOError?
            _ = try view.walk(from: 0, block: 64 << 10) { position, header in
                if header.lastOffset >= from, header.baseOffset < end, header.producerID >= 0 {
                    do throws(IOError) {
                        producers.update(
                            header, baseOffset: header.baseOffset, now: -1,
                            marker: try view.marker(at: position, header), highWatermark: highWatermark)
                    } catch {
                        failure = error
                        return false
                    }
                }
                return header.baseOffset < end
            }
            if let failure { throw failure }
        }
        return producers
    }
}
