/// The records of one batch, one after the other, without copying them (out of the scratch, if compressed).
///
/// Offset deltas may have gaps here: compaction leaves them. Everything else must fit, or `next` throws.
package struct RecordBatchIterator {
    package let header: RecordBatchHeader
    /// Records not read yet.
    package private(set) var remainingCount: Int32
    private var cursor: UnsafeRawPointer
    private let limit: UnsafeRawPointer
    /// Held, as the records of a compressed batch lie in it.
    private let scratch: DecompressionScratch

    /// - Parameters:
    ///   - batch: one whole batch; bytes after its end are left alone.
    ///   - scratch: where a compressed batch is unpacked to; the records point into it until it is used again.
    ///   - checkCRC: false for bytes that were checked before.
    package init(
        _ batch: UnsafeRawBufferPointer, scratch: DecompressionScratch, checkCRC: Bool = true
    ) throws(RecordBatchError) {
        guard let header = RecordBatchHeader(batch) else {
            throw batch.count < RecordBatchHeader.size ? .tooShort : .unsupportedMagic(batch.bigEndian(at: 16))
        }
        guard header.sizeInBytes >= RecordBatchHeader.size, header.sizeInBytes <= batch.count else {
            throw .badBatchLength(header.batchLength)
        }
        if checkCRC, let computed = header.computedCRC(of: batch), computed != header.crc {
            throw .wrongCRC(stored: header.crc, computed: computed)
        }
        guard let compression = header.compression else { throw .unknownCompression }
        guard header.recordsCount >= 0 else { throw .negativeCount(header.recordsCount) }
        var records = UnsafeRawBufferPointer(rebasing: batch[RecordBatchHeader.size..<header.sizeInBytes])
        // A batch that compaction emptied has no records, whatever its codec.
        if compression != .none, header.recordsCount > 0 {
            do { records = try scratch.decompress(records, compression) } catch { throw .decompression(error) }
        }
        self.header = header
        self.scratch = scratch
        self.remainingCount = header.recordsCount
        // `records` of no bytes may have no address; any pointer does then, as it is never read.
        let start = records.baseAddress ?? batch.baseAddress.unsafelyUnwrapped
        self.cursor = start
        self.limit = start + records.count
    }

    /// The next record, nil after the last.
    package mutating func next() throws(RecordBatchError) -> RecordView? {
        guard self.remainingCount > 0 else {
            if self.cursor != self.limit {
                throw .record(RecordFault(.trailingBytes, at: self.header.recordsCount))
            }
            return nil
        }
        let index = self.header.recordsCount &- self.remainingCount
        do {
            let view = try self.read(at: index)
            self.remainingCount &-= 1
            return view
        } catch { throw .record(error) }
    }

    private mutating func read(at index: Int32) throws(RecordFault) -> RecordView {
        let length = readVarint(&self.cursor, self.limit)
        guard length > 0, length <= self.limit - self.cursor else {
            throw RecordFault(length == invalidVarint ? .badVarint : length < 0 ? .badLength : .cutOff, at: index)
        }
        let end = self.cursor + length
        self.cursor += 1
        var timestampDelta: Int64 = 0
        guard readVarlong(&self.cursor, end, &timestampDelta) else { throw RecordFault(.badVarint, at: index) }
        let offsetDelta = readVarint(&self.cursor, end)
        guard offsetDelta != invalidVarint else { throw RecordFault(.badVarint, at: index) }
        var key: UnsafeRawBufferPointer?
        var value: UnsafeRawBufferPointer?
        guard readBytes(&self.cursor, end, &key), readBytes(&self.cursor, end, &value) else {
            throw RecordFault(.badLength, at: index)
        }
        let headerCount = readVarint(&self.cursor, end)
        let headersStart = self.cursor
        self.cursor = try skipHeaders(headerCount, headersStart, end, index)
        guard self.cursor == end else { throw RecordFault(.lengthMismatch, at: index) }
        let createTimestamp = self.header.baseTimestamp &+ timestampDelta
        return RecordView(
            offset: self.header.baseOffset &+ Int64(offsetDelta),
            timestamp: self.header.timestampType == .createTime ? createTimestamp : self.header.maxTimestamp,
            createTimestamp: createTimestamp, key: key, value: value,
            headers: RecordHeaderViews(count: headerCount, cursor: headersStart, end: end))
    }
}

/// The batches in some bytes of a log or of a Fetch response, one after the other.
package struct RecordBatchSlices {
    private var rest: UnsafeRawBufferPointer

    package init(_ bytes: UnsafeRawBufferPointer) { self.rest = bytes }

    /// Bytes after the last whole batch: not 0 where an answer ends within a batch.
    package var remainingBytes: Int { self.rest.count }

    /// The next whole batch; nil if there is none. Throws for a header that cannot be one.
    package mutating func next() throws(RecordBatchError) -> (header: RecordBatchHeader, bytes: UnsafeRawBufferPointer)?
    {
        guard self.rest.count >= RecordBatchHeader.size else { return nil }
        guard let header = RecordBatchHeader(self.rest) else { throw .unsupportedMagic(self.rest.bigEndian(at: 16)) }
        guard header.sizeInBytes >= RecordBatchHeader.size else { throw .badBatchLength(header.batchLength) }
        guard header.sizeInBytes <= self.rest.count else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: self.rest[..<header.sizeInBytes])
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest[header.sizeInBytes...])
        return (header, bytes)
    }
}

/// A batch with its records in memory of their own.
package struct RecordBatch: Sendable, Equatable {
    package var header: RecordBatchHeader
    package var records: [Record]

    /// The batch at the start of `bytes`, its CRC checked.
    package init(
        _ bytes: UnsafeRawBufferPointer, scratch: DecompressionScratch, checkCRC: Bool = true
    ) throws(RecordBatchError) {
        var iterator = try RecordBatchIterator(bytes, scratch: scratch, checkCRC: checkCRC)
        self.header = iterator.header
        self.records = []
        while let record = try iterator.next() { self.records.append(record.owned()) }
    }

    /// All whole batches in `bytes`.
    package static func all(
        in bytes: UnsafeRawBufferPointer, scratch: DecompressionScratch, checkCRC: Bool = true
    ) throws(RecordBatchError) -> [RecordBatch] {
        var slices = RecordBatchSlices(bytes)
        var batches: [RecordBatch] = []
        while let slice = try slices.next() {
            batches.append(try RecordBatch(slice.bytes, scratch: scratch, checkCRC: checkCRC))
        }
        return batches
    }
}
