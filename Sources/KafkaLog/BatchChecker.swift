import Glibc
import KafkaRecords

/// Reads the batches of a segment, one after the other, and says which are whole: CRC, header, offsets that ascend and lie
/// in the segment. Where one is not, it finds out where the next one begins. Blocks; to be freed by who made it.
struct BatchChecker {
    enum Found {
        case batch(position: Int, RecordBatchHeader)
        case damage(DamagedRange)
        case end
    }

    let view: SegmentView
    /// All offsets are below it.
    let limit: Int64
    /// Epochs are not above it; they are not covered by the CRC either.
    let latestEpoch: Int32
    /// Where the next batch begins.
    private(set) var position: Int
    /// The least offset that it may have.
    private(set) var nextOffset: Int64
    var window: FileWindow
    /// For looks ahead, after damage.
    private var probe: FileWindow?
    private let now: Int64
    /// Of the batches so far; epochs never fall.
    private var epoch: Int32 = -1

    static let blockSize = 256 << 10
    /// No more is read to find out where damage ends.
    private static let searchLimit = 256 << 20

    init(
        _ view: SegmentView, from position: Int, nextOffset: Int64, limit: Int64, latestEpoch: Int32 = .max, now: Int64
    ) {
        self.view = view
        self.limit = limit
        self.latestEpoch = latestEpoch
        self.position = position
        self.nextOffset = nextOffset
        self.now = now
        self.window = FileWindow(
            view.file, end: view.end, capacity: min(Self.blockSize, max(0, view.end - position)))
    }

    func free() {
        self.window.free()
        self.probe?.free()
    }

    mutating func next() throws(IOError) -> Found {
        guard self.position < self.view.end else { return .end }
        let start = self.position
        do throws(IOError) {
            if let header = try self.wholeBatch(at: start, nextOffset: self.nextOffset, &self.window) {
                self.position = start + header.sizeInBytes
                self.nextOffset = header.lastOffset + 1
                self.epoch = header.partitionLeaderEpoch
                return .batch(position: start, header)
            }
        } catch {
            guard error.code == EIO else { throw error }
            return .damage(try self.passUnreadable(from: start, error.code))
        }
        return .damage(try self.pass(from: start, searchFrom: start + 1, kind: .corrupt))
    }

    // MARK: one batch

    /// The batch that begins at a position, nil where there is no whole one that fits what is before and behind it.
    private func wholeBatch(
        at position: Int, nextOffset: Int64, _ window: inout FileWindow
    ) throws(IOError) -> RecordBatchHeader? {
        guard let bytes = try window.bytes(at: position, atLeast: RecordBatchHeader.size),
            let header = RecordBatchHeader(bytes), self.fits(header, at: position, nextOffset: nextOffset),
            try window.isCRCValid(header, at: position)
        else { return nil }
        // Neither the base offset nor the length is covered by the CRC. One that leaves a gap before it, which compaction
        // does too, must not overlap with the batch behind it.
        if header.baseOffset > nextOffset, position + header.sizeInBytes < self.view.end,
            let bytes = try window.bytes(at: position + header.sizeInBytes, atLeast: RecordBatchHeader.size),
            let behind = RecordBatchHeader(bytes), behind.isPlausible, behind.baseOffset <= header.lastOffset
        {
            return nil
        }
        return header
    }

    private func fits(_ header: RecordBatchHeader, at position: Int, nextOffset: Int64) -> Bool {
        header.isPlausible && header.sizeInBytes <= self.view.end - position && header.baseOffset >= nextOffset
            && header.lastOffset < self.limit && header.lastOffset &- self.view.baseOffset <= Int64(Int32.max)
            && header.partitionLeaderEpoch >= self.epoch && header.partitionLeaderEpoch <= self.latestEpoch
    }

    // MARK: damage

    /// The disk refuses a block somewhere in the batch.
    private mutating func passUnreadable(from start: Int, _ code: CInt) throws(IOError) -> DamagedRange {
        let page = 4096
        var bad = start
        var byte: [UInt8] = [0]
        while bad < self.view.end {
            do throws(IOError) { _ = try FileSystem.readInto(&byte, self.view.file, at: bad) } catch { break }
            bad = (bad / page + 1) * page
        }
        return try self.pass(
            from: start, searchFrom: min(self.view.end, (bad / page + 1) * page), kind: .unreadable(code))
    }

    /// Goes on behind damage that begins at `start`.
    private mutating func pass(
        from start: Int, searchFrom: Int, kind: DamagedRange.Kind
    ) throws(IOError) -> DamagedRange {
        let first = self.nextOffset
        var probe = self.probe ?? FileWindow(self.view.file, end: self.view.end, capacity: 64 << 10)
        defer { self.probe = probe }
        let (end, offset) = try self.nextWhole(from: start, searchFrom: searchFrom, &probe)
        self.position = end
        self.nextOffset = max(first, offset)
        return DamagedRange(
            start: start, end: end, firstOffset: first, endOffset: self.nextOffset, kind: kind, foundMs: self.now)
    }

    /// Where the first whole batch behind `start` begins, and its offset; the segment's end where there is none.
    private func nextWhole(
        from start: Int, searchFrom: Int, _ probe: inout FileWindow
    ) throws(IOError) -> (position: Int, offset: Int64) {
        // The length is right more often than not.
        if let behind = self.quietly({ () throws(IOError) in try self.byLength(start, &probe) }) ?? nil,
            behind.position >= searchFrom
        {
            return behind
        }
        // A batch that the index names, and from which one can go on in any case.
        let known = try self.nextIndexed(after: searchFrom, &probe)
        let goal = known?.position ?? self.view.end
        let limit = probe.bytesRead + Self.searchLimit
        var at = searchFrom
        while at < goal, probe.bytesRead < limit {
            guard
                let bytes = self.quietly({ () throws(IOError) in
                    try probe.bytes(at: at, atLeast: RecordBatchHeader.size)
                })
            else {
                // Another block that cannot be read.
                at = (at / 4096 + 1) * 4096
                continue
            }
            guard let bytes else { break }
            let last = min(bytes.count - RecordBatchHeader.size, goal - 1 - at)
            var index = 0
            var candidate: Int?
            while index <= last {
                if bytes[index + 16] == 2, bytes[index] == 0, candidate == nil,
                    let header = RecordBatchHeader(UnsafeRawBufferPointer(rebasing: bytes[index...])),
                    self.fits(header, at: at + index, nextOffset: self.nextOffset)
                {
                    candidate = index
                    break
                }
                index += 1
            }
            guard let candidate else {
                at += last + 1
                continue
            }
            // `bytes` is gone from here on.
            let position = at + candidate
            if let offset = self.quietly({ () throws(IOError) in
                try self.leads(from: position, to: goal, isIndexed: known != nil, &probe)
            }) ?? nil {
                return (position, offset)
            }
            at = position + 1
        }
        return known ?? (self.view.end, self.limit)
    }

    /// The batch behind one whose header is right in its length.
    private func byLength(
        _ start: Int, _ probe: inout FileWindow
    ) throws(IOError) -> (position: Int, offset: Int64)? {
        guard let bytes = try probe.bytes(at: start, atLeast: RecordBatchHeader.size),
            let header = RecordBatchHeader(bytes), header.batchLength >= Int32(RecordBatchHeader.size - 12),
            header.sizeInBytes <= self.view.end - start
        else { return nil }
        let end = start + header.sizeInBytes
        if end == self.view.end { return (end, self.limit) }
        guard let behind = try self.wholeBatch(at: end, nextOffset: self.nextOffset, &probe) else { return nil }
        return (end, behind.baseOffset)
    }

    /// Whether whole batches follow one another from here up to a place where one is known to begin: records may hold
    /// what looks like a batch. The offset of the first.
    private func leads(
        from start: Int, to goal: Int, isIndexed: Bool, _ probe: inout FileWindow
    ) throws(IOError) -> Int64? {
        var first: Int64?
        var next = self.nextOffset
        var position = start
        var count = 0
        while position < goal {
            guard let header = try self.wholeBatch(at: position, nextOffset: next, &probe) else {
                // More damage further on, where nothing is known: several in a row are taken for the log's.
                return !isIndexed && count >= 4 ? first : nil
            }
            if first == nil { first = header.baseOffset }
            next = header.lastOffset + 1
            position += header.sizeInBytes
            count += 1
            if !isIndexed && position - start > 1 << 20 { return first }
        }
        return position == goal ? first : nil
    }

    /// The first batch at or behind a position that an index entry names rightly.
    private func nextIndexed(
        after position: Int, _ probe: inout FileWindow
    ) throws(IOError) -> (position: Int, offset: Int64)? {
        guard let index = self.view.offsetIndex, index.count > 0 else { return nil }
        var low = 0
        var high = index.count
        while low < high {
            let middle = (low + high) / 2
            guard let entry = try index.entry(middle) else { return nil }
            if Int(entry.position) < position { low = middle + 1 } else { high = middle }
        }
        // A few: the one found may be wrong, or name a damaged batch too.
        for at in low..<min(index.count, low + 64) {
            guard let entry = try index.entry(at), Int(entry.position) >= position, Int(entry.position) < self.view.end
            else { continue }
            let start = Int(entry.position)
            guard
                let header = self.quietly({ () throws(IOError) in
                    try self.wholeBatch(at: start, nextOffset: self.nextOffset, &probe)
                }) ?? nil,
                header.lastOffset &- self.view.baseOffset == Int64(entry.relativeOffset)
            else { continue }
            return (start, header.baseOffset)
        }
        return nil
    }

    /// Nil where the disk refuses.
    private func quietly<T>(_ body: () throws(IOError) -> T) -> T? {
        do throws(IOError) { return try body() } catch { return nil }
    }
}
