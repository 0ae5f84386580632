import Glibc
import KafkaRecords

/// Reading a segment anew: after a crash, or because its indexes cannot be used.
enum SegmentRecovery {
    /// A run without an index entry that is longer than this, and not one batch, means that entries are missing.
    private static let longestUnindexedRun = 1 << 20
    private static let blockSize = 256 << 10

    // MARK: indexes of a segment whose batches are trusted

    /// An index cannot be held against a log that is damaged where it is looked at. It is kept: each entry is checked when
    /// it is used.
    static func isUsable(
        in view: SegmentView, _ check: (SegmentView) throws(IOError) -> Bool
    ) throws(IOError) -> Bool {
        do throws(IOError) { return try check(view) } catch {
            guard error.code == EBADMSG else { throw error }
            return true
        }
    }

    static func areIndexesUsable(_ view: SegmentView) throws(IOError) -> Bool {
        guard let index = view.offsetIndex, let times = view.timeIndex else { return false }
        var walkFrom = 0
        if index.count > 0 {
            guard let last = try index.entry(index.count - 1), try view.agrees(last) else { return false }
            walkFrom = Int(last.position)
        }
        guard try self.isUsable(times, view) else { return false }
        let isLong = view.end - walkFrom > Self.longestUnindexedRun
        var batches = 0
        var newest: Int64 = -1
        let end = try view.walk(from: walkFrom) { _, header in
            batches += 1
            newest = max(newest, header.maxTimestamp)
            return !isLong || batches <= 2
        }
        if case .stopped = end { return false }
        // The last time index entry is written when the segment is sealed, maybe after its last sync.
        let last = try times.entry(times.count - 1)
        return last?.timestamp ?? -1 >= newest
    }

    /// Whether the index files of the active segment, which may have no entry yet, are those of its log.
    static func areActiveIndexesUsable(_ view: SegmentView) throws(IOError) -> Bool {
        if let index = view.offsetIndex {
            guard let last = try index.entry(index.count - 1), try view.agrees(last) else { return false }
        }
        if let times = view.timeIndex { return try self.isUsable(times, view) }
        return true
    }

    /// The last entry must name a batch that has its timestamp. None at all is right only where no batch has one.
    private static func isUsable(_ times: IndexFile<TimeIndexEntry>, _ view: SegmentView) throws(IOError) -> Bool {
        if times.count == 0 {
            let first = try view.header(at: 0)
            return (first?.maxTimestamp ?? -1) < 0
        }
        guard let last = try times.entry(times.count - 1), last.timestamp >= 0, last.relativeOffset >= 0,
            let batch = try view.locate(view.baseOffset &+ Int64(last.relativeOffset))
        else { return false }
        return batch.header.maxTimestamp == last.timestamp
    }

    /// Writes both index files of a sealed segment from the headers of the batches. Each is whole and on disk when it gets
    /// its name: nobody syncs them later, and where a part of one is missing can hardly be seen.
    static func rebuildIndexes(
        _ view: SegmentView, folder: PartitionFolder, interval: Int = LogConfig().indexIntervalBytes
    ) throws(IOError) {
        var segment = ActiveSegment(baseOffset: view.baseOffset, createdMs: 0)
        var position = 0
        var nextOffset = view.baseOffset
        while position < view.end {
            let end = try view.walk(from: position, block: 64 << 10) { at, header in
                segment.size = at
                segment.add(
                    header, baseOffset: header.baseOffset, maxTimestamp: header.maxTimestamp, interval: interval)
                nextOffset = header.lastOffset + 1
                return true
            }
            guard case .invalid(let damaged) = end else { break }
            // What lies behind damage is found by the index too.
            var checker = BatchChecker(view, from: damaged, nextOffset: nextOffset, limit: .max, now: 0)
            defer { checker.free() }
            _ = try checker.next()
            position = max(checker.position, damaged + 1)
            nextOffset = checker.nextOffset
        }
        segment.addTimeIndexEntry()
        try segment.offsetIndex.replace(folder.path(view.baseOffset, .index))
        try segment.timeIndex.replace(folder.path(view.baseOffset, .timeindex))
    }

    static func removeIndexes(_ baseOffset: Int64, _ folder: PartitionFolder) throws(IOError) {
        try FileSystem.unlink(folder.path(baseOffset, .index))
        try FileSystem.unlink(folder.path(baseOffset, .timeindex))
    }

    /// Those that batches alone tell, and the transaction index, for which the producers must be known too.
    static func removeAllIndexes(_ baseOffset: Int64, _ folder: PartitionFolder) throws(IOError) {
        try self.removeIndexes(baseOffset, folder)
        try FileSystem.unlink(folder.path(baseOffset, .txnindex))
    }

    // MARK: batches that are not trusted

    enum Check {
        case headers, headersAndCRC
        /// CRCs of the batches that end the file only: what a process wrote before it was killed is whole up to its last
        /// write.
        case headersAndLastCRCs
    }

    /// So much at a file's end has its CRCs checked also where the rest is trusted.
    private static let lastBytes = 1 << 20

    /// Reads the batches of a file from `segment.size` on, adds each whole and valid one to `segment` and calls `visit`
    /// with it, and with its marker where it ends a transaction; what that returns goes into the transaction index.
    /// `nextOffset` is the least offset that the next batch may have, and is moved on.
    /// - Parameter keepsDamage: what is not right but has whole batches behind it, or all its bytes, stays in the log, to be
    ///   found when it is to be served.
    /// - Parameter knownEnd: where the offsets of the file end, where that is known.
    /// - Returns: whether everything up to `fileSize` was valid.
    static func scan(
        _ file: LogFile, into segment: inout ActiveSegment, fileSize: Int, check: Check, interval: Int,
        keepsDamage: Bool = false, knownEnd: Int64? = nil, nextOffset: inout Int64,
        visit: (RecordBatchHeader, TransactionMarker?) -> AbortedTransaction?
    ) throws(IOError) -> Bool {
        guard segment.size < fileSize else { return segment.size == fileSize }
        let checkedFrom =
            switch check {
            case .headers: Int.max
            case .headersAndCRC: 0
            case .headersAndLastCRCs: fileSize - Self.lastBytes
            }
        var window = FileWindow(
            file, end: fileSize, capacity: min(Self.blockSize, fileSize - segment.size), isSparse: true)
        defer { window.free() }
        while segment.size < fileSize {
            let position = segment.size
            guard let bytes = try window.bytes(at: position, atLeast: RecordBatchHeader.size),
                let header = RecordBatchHeader(bytes), header.isPlausible,
                header.sizeInBytes <= fileSize - position, header.baseOffset >= nextOffset,
                header.lastOffset &- segment.baseOffset <= Int64(Int32.max), header.lastOffset < knownEnd ?? .max,
                try self.fitsWhatFollows(header, file, at: position, fileSize, nextOffset, keepsDamage)
            else {
                guard keepsDamage, try self.pass(file, &segment, fileSize, knownEnd, &nextOffset) else { return false }
                continue
            }
            let isChecked = position + header.sizeInBytes > checkedFrom
            if isChecked, try !window.isCRCValid(header, at: position) {
                guard keepsDamage else { return false }
                if try self.isFollowed(header, file, at: position, fileSize) {
                    // Nothing that it says of producers and epochs is believed.
                    var known = header
                    if position + header.sizeInBytes == fileSize {
                        known.lastOffsetDelta = self.lastOffsetDelta(ofDamaged: header, knownEnd)
                    }
                    segment.add(
                        known, baseOffset: header.baseOffset, maxTimestamp: header.maxTimestamp, interval: interval)
                    segment.uncheckedBefore = segment.size
                    nextOffset = known.lastOffset + 1
                } else if try !self.pass(file, &segment, fileSize, knownEnd, &nextOffset) {
                    return false
                }
                continue
            }
            if !isChecked { segment.uncheckedBefore = position + header.sizeInBytes }
            var marker: TransactionMarker?
            if header.isControl, header.sizeInBytes <= TransactionMarker.maxBatchSize,
                let whole = try window.bytes(at: position, atLeast: header.sizeInBytes)
            {
                marker = TransactionMarker(batch: whole, header)
            }
            segment.add(header, baseOffset: header.baseOffset, maxTimestamp: header.maxTimestamp, interval: interval)
            nextOffset = header.lastOffset + 1
            if let aborted = visit(header, marker) { segment.transactionIndex.append(aborted) }
        }
        return true
    }

    /// No CRC covers the base offset: one that leaves a gap before it, and reaches into the next batch, is wrong.
    private static func fitsWhatFollows(
        _ header: RecordBatchHeader, _ file: LogFile, at position: Int, _ fileSize: Int, _ nextOffset: Int64,
        _ keepsDamage: Bool
    ) throws(IOError) -> Bool {
        guard keepsDamage, header.baseOffset > nextOffset else { return true }
        let view = SegmentView(baseOffset: 0, file: file, end: fileSize, offsetIndex: nil, timeIndex: nil)
        guard let next = try view.header(at: position + header.sizeInBytes) else { return true }
        return !next.isPlausible || next.baseOffset > header.lastOffset
    }

    /// Whether a header, whose batch has a wrong CRC, leads to the next batch or to the end of the file.
    private static func isFollowed(
        _ header: RecordBatchHeader, _ file: LogFile, at position: Int, _ fileSize: Int
    ) throws(IOError) -> Bool {
        let end = position + header.sizeInBytes
        if end == fileSize { return true }
        let view = SegmentView(baseOffset: 0, file: file, end: fileSize, offsetIndex: nil, timeIndex: nil)
        guard let next = try view.header(at: end) else { return false }
        return next.isPlausible && next.baseOffset == header.lastOffset + 1
    }

    /// Of a batch with a wrong CRC at the end of a file: the bit that is wrong may be one of its last offset. Its records
    /// are counted twice in its header.
    private static func lastOffsetDelta(ofDamaged header: RecordBatchHeader, _ knownEnd: Int64?) -> Int32 {
        if let knownEnd, let delta = Int32(exactly: knownEnd &- 1 &- header.baseOffset), delta >= 0 { return delta }
        let byCount = header.recordsCount &- 1
        if header.lastOffsetDelta == byCount { return byCount }
        // Neither offsets that were given out are given out again, nor are there more records than there is room for.
        let room = max(0, (header.sizeInBytes - RecordBatchHeader.size) / Self.leastRecordSize - 1)
        let fitting = [header.lastOffsetDelta, byCount].filter { $0 >= 0 && Int($0) <= room }
        return fitting.max() ?? Int32(clamping: room)
    }

    /// Bytes of a record without key, value and headers.
    private static let leastRecordSize = 7

    /// Goes on behind damage, where there is a whole batch, or where the offsets that it held are known.
    private static func pass(
        _ file: LogFile, _ segment: inout ActiveSegment, _ fileSize: Int, _ knownEnd: Int64?,
        _ nextOffset: inout Int64
    ) throws(IOError) -> Bool {
        let view = SegmentView(
            baseOffset: segment.baseOffset, file: file, end: fileSize, offsetIndex: nil, timeIndex: nil)
        var checker = BatchChecker(view, from: segment.size, nextOffset: nextOffset, limit: knownEnd ?? .max, now: 0)
        defer { checker.free() }
        guard case .damage = try checker.next(), checker.position < fileSize || knownEnd != nil else { return false }
        segment.size = checker.position
        segment.uncheckedBefore = segment.size
        // The batch before the damage is not the one to be read for what lies in it.
        segment.recent.removeAll()
        nextOffset = checker.nextOffset
        if let knownEnd, segment.size >= fileSize { nextOffset = max(knownEnd, segment.baseOffset) }
        return true
    }
}
