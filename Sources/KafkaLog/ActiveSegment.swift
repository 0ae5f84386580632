import KafkaRecords

/// The segment that grows. A value inside the log's state, changed under its lock.
struct ActiveSegment: Sendable {
    let baseOffset: Int64
    /// Bytes of whole batches; the file may be longer for a moment, after a failed write.
    var size = 0
    /// Opened on first use.
    var file: LogFile?
    /// Since somebody last looked for files that could be closed.
    var isFileUsed = false
    /// The wall clock when it was made or opened.
    var createdMs: Int64
    /// Taken off segment.ms, so that partitions do not roll together.
    var rollJitterMs: Int64 = 0
    /// The greatest timestamp of the first batch: nil where it has not been read yet.
    var firstTimestamp: Int64?
    var largest: TimestampOffset
    var bytesSinceIndexEntry = 0
    var offsetIndex = IndexTail<OffsetIndexEntry>()
    var timeIndex = IndexTail<TimeIndexEntry>()
    /// Transactions whose abort markers are in this segment.
    var transactionIndex = IndexTail<AbortedTransaction>()
    /// Of those that are in the file.
    var transactionIndexCRC: UInt32 = 0
    /// Open since a read had to look into them.
    var offsetIndexFile: LogFile?
    var timeIndexFile: LogFile?
    /// False where the index files were taken over with a mark and nobody has looked into them yet.
    var areIndexFilesChecked = true
    /// The timestamp of the last time index entry, -1 for none.
    var lastIndexedTimestamp: Int64 = -1
    var recent = RecentBatches()
    /// Behind the last batch.
    private var nextRelativeOffset: Int32 = 0
    /// The last batch, by which a mark is known to fit the file.
    var lastBatchPosition = 0
    var lastBatchCRC: UInt32 = 0
    /// What comes before was not written by this process, nor checked when it started: it is before it is served.
    var uncheckedBefore = 0
    /// What of that is known; and damage, wherever it is. Made when there is something to know.
    var checks: SegmentChecks?
    /// It may have blocks behind its end, to be given back when it is sealed or closed.
    var isPreallocated = false
    /// Up to here writeback has been started.
    var writtenBack = 0

    init(baseOffset: Int64, createdMs: Int64, file: LogFile? = nil) {
        self.baseOffset = baseOffset
        self.createdMs = createdMs
        self.file = file
        self.largest = TimestampOffset(timestamp: -1, offset: baseOffset)
    }

    /// Notes a batch that begins at `size`. Entries come when more than `interval` bytes have passed since the last.
    mutating func add(_ header: RecordBatchHeader, baseOffset: Int64, maxTimestamp: Int64, interval: Int) {
        let position = self.size
        let lastOffset = baseOffset + Int64(header.lastOffsetDelta)
        if position == 0 { self.firstTimestamp = maxTimestamp }
        if maxTimestamp > self.largest.timestamp {
            self.largest = TimestampOffset(timestamp: maxTimestamp, offset: lastOffset)
        }
        if self.bytesSinceIndexEntry > interval {
            self.offsetIndex.append(
                OffsetIndexEntry(
                    relativeOffset: Int32(truncatingIfNeeded: lastOffset - self.baseOffset),
                    position: Int32(truncatingIfNeeded: position)))
            self.addTimeIndexEntry()
            self.bytesSinceIndexEntry = 0
        }
        // Where compaction left a gap, the batch before an offset need not be the one that is to be read for it.
        if baseOffset - self.baseOffset != Int64(self.nextRelativeOffset) { self.recent.removeAll() }
        self.nextRelativeOffset = Int32(truncatingIfNeeded: lastOffset - self.baseOffset + 1)
        self.recent.append(
            relativeOffset: Int32(truncatingIfNeeded: baseOffset - self.baseOffset),
            position: Int32(truncatingIfNeeded: position))
        self.lastBatchPosition = position
        self.lastBatchCRC = header.crc
        let size = header.sizeInBytes
        self.size += size
        self.bytesSinceIndexEntry += size
    }

    /// An entry for the greatest timestamp so far, unless it has one.
    mutating func addTimeIndexEntry() {
        guard self.largest.timestamp > self.lastIndexedTimestamp else { return }
        self.timeIndex.append(
            TimeIndexEntry(
                timestamp: self.largest.timestamp,
                relativeOffset: Int32(truncatingIfNeeded: self.largest.offset - self.baseOffset)))
        self.lastIndexedTimestamp = self.largest.timestamp
    }

    mutating func writeIndexes(_ folder: PartitionFolder) throws(IOError) {
        try self.offsetIndex.write(to: folder.path(self.baseOffset, .index))
        try self.timeIndex.write(to: folder.path(self.baseOffset, .timeindex))
        guard self.transactionIndex.unwritten > 0 else { return }
        let crc = TransactionIndex.crc(self.transactionIndex.unwrittenEntries, seed: self.transactionIndexCRC)
        try self.transactionIndex.write(to: folder.path(self.baseOffset, .txnindex))
        self.transactionIndexCRC = crc
    }

    /// Completes the index files; afterwards nothing is added. Kafka's files exist also where they have no entry.
    mutating func seal(_ folder: PartitionFolder) throws(IOError) {
        self.addTimeIndexEntry()
        try self.writeIndexes(folder)
        if self.offsetIndex.count == 0 { _ = try FileSystem.open(folder.path(self.baseOffset, .index), .create) }
        if self.timeIndex.count == 0 { _ = try FileSystem.open(folder.path(self.baseOffset, .timeindex), .create) }
    }

    mutating func openFile(_ folder: PartitionFolder) throws(IOError) -> LogFile {
        self.isFileUsed = true
        if let file = self.file { return file }
        let file = try FileSystem.open(folder.path(self.baseOffset, .log), .create)
        FileSystem.advise(file, .random)
        self.file = file
        return file
    }
}
