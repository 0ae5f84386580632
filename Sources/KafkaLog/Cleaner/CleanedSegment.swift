import KafkaRecords

/// The segment that a cleaning writes, in files that end with `.cleaned` until it is whole.
struct CleanedSegment {
    static let cleaned = ".cleaned"
    static let swap = ".swap"

    let folder: PartitionFolder
    let baseOffset: Int64
    let file: LogFile
    private var aborted: [AbortedTransaction] = []
    private var segment: ActiveSegment
    private var buffer: GrowingBytes
    private var buffered = 0
    private var written = 0
    private var writtenBack = 0
    private let indexInterval: Int

    /// Bytes after which writeback is started, so that the sync at the end is short.
    private static let writebackBytes = 8 << 20

    /// Leftovers of the same name go.
    init(
        folder: PartitionFolder, baseOffset: Int64, indexInterval: Int, buffer: GrowingBytes
    ) throws(IOError) {
        for suffix in PartitionFolder.Suffix.segmentSuffixes {
            try FileSystem.unlink(folder.path(baseOffset, suffix) + Self.cleaned)
        }
        self.folder = folder
        self.baseOffset = baseOffset
        self.indexInterval = indexInterval
        self.file = try FileSystem.open(folder.path(baseOffset, .log) + Self.cleaned, .createNew)
        self.segment = ActiveSegment(baseOffset: baseOffset, createdMs: 0)
        self.buffer = buffer
    }

    var size: Int { self.segment.size }
    var hasTransactionIndex: Bool { !self.aborted.isEmpty }
    var largest: TimestampOffset { self.segment.largest }

    /// Whether the batch has room: positions in the index have 31 bits, relative offsets too.
    func fits(_ header: RecordBatchHeader) -> Bool {
        self.size + header.sizeInBytes <= Int(Int32.max)
            && header.lastOffset &- self.baseOffset <= Int64(Int32.max)
    }

    mutating func append(_ batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader) throws(IOError) {
        if self.buffered + batch.count > self.buffer.count { try self.writeOut() }
        if batch.count > self.buffer.count {
            try self.write(batch)
        } else {
            UnsafeMutableRawBufferPointer(start: self.buffer.base + self.buffered, count: batch.count)
                .copyMemory(from: batch)
            self.buffered += batch.count
        }
        self.segment.add(
            header, baseOffset: header.baseOffset, maxTimestamp: header.maxTimestamp, interval: self.indexInterval)
    }

    private mutating func writeOut() throws(IOError) {
        try self.write(UnsafeRawBufferPointer(self.buffer.prefix(self.buffered)))
        self.buffered = 0
    }

    private mutating func write(_ bytes: UnsafeRawBufferPointer) throws(IOError) {
        guard bytes.count > 0 else { return }
        try FileSystem.writeAll(self.file, bytes, at: self.written)
        self.written += bytes.count
        if self.written - self.writtenBack >= Self.writebackBytes {
            FileSystem.startWriteback(self.file, at: self.writtenBack, count: self.written - self.writtenBack)
            self.writtenBack = self.written
        }
    }

    /// Writes what is left, the indexes too, and syncs all of it.
    /// - Parameter modifiedMs: of the newest segment that went into it; retention goes by it where no record has a time.
    mutating func finish(transactions: [AbortedTransaction], modifiedMs: Int64) throws(IOError) {
        try self.writeOut()
        self.segment.addTimeIndexEntry()
        let index = self.folder.path(self.baseOffset, .index) + Self.cleaned
        let times = self.folder.path(self.baseOffset, .timeindex) + Self.cleaned
        try self.segment.offsetIndex.write(to: index)
        try self.segment.timeIndex.write(to: times)
        try FileSystem.sync(FileSystem.open(index, .create))
        try FileSystem.sync(FileSystem.open(times, .create))
        self.aborted = transactions
        if !transactions.isEmpty {
            let path = self.folder.path(self.baseOffset, .txnindex) + Self.cleaned
            var index = IndexTail<AbortedTransaction>()
            for transaction in transactions { index.append(transaction) }
            try index.write(to: path)
            try FileSystem.sync(FileSystem.open(path, .readWrite))
        }
        FileSystem.setModified(self.file, ms: modifiedMs)
        try FileSystem.sync(self.file)
    }

    /// The segment for the log, open while its files have no names of their own.
    func sealed(nextOffset: Int64) throws(IOError) -> SealedSegment {
        let index = self.folder.path(self.baseOffset, .index) + Self.cleaned
        let times = self.folder.path(self.baseOffset, .timeindex) + Self.cleaned
        let view = SegmentView(
            baseOffset: self.baseOffset, file: self.file, end: self.size,
            offsetIndex: IndexFile(
                file: try FileSystem.open(index, .read), count: self.segment.offsetIndex.count),
            timeIndex: IndexFile(file: try FileSystem.open(times, .read), count: self.segment.timeIndex.count))
        return SealedSegment(
            baseOffset: self.baseOffset, size: self.size, nextOffset: nextOffset, folder: self.folder,
            largest: self.largest, uncheckedBefore: 0, pinned: view, aborted: self.aborted)
    }

    /// Deletes what was written; whether nothing is left of it.
    func discard() -> Bool {
        var isGone = true
        for suffix in PartitionFolder.Suffix.segmentSuffixes {
            do throws(IOError) {
                try FileSystem.unlink(self.folder.path(self.baseOffset, suffix) + Self.cleaned)
            } catch {
                isGone = false
            }
        }
        return isGone
    }
}

extension PartitionFolder.Suffix {
    /// The log first.
    static let segmentSuffixes: [Self] = [.log, .index, .timeindex, .txnindex]
}
