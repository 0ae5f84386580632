import KafkaRecords

/// A record as compaction sees it, where it lies.
struct KeyedRecord {
    var offsetDelta: Int32
    var timestampDelta: Int64
    /// Nil: none.
    var key: UnsafeRawBufferPointer?
    var hasValue: Bool
    /// From the offset delta to the record's end: what a copy with another timestamp takes over.
    var tail: UnsafeRawPointer
    var end: UnsafeRawPointer

    /// The record at `cursor`, which moves on behind it; nil where there is no whole one.
    @inline(__always)
    init?(_ cursor: inout UnsafeRawPointer, _ limit: UnsafeRawPointer) {
        let length = readVarint(&cursor, limit)
        guard length > 0, length <= limit - cursor else { return nil }
        let end = cursor + length
        // The attributes: no bit of them has a meaning.
        cursor += 1
        var timestampDelta: Int64 = 0
        guard readVarlong(&cursor, end, &timestampDelta) else { return nil }
        self.tail = cursor
        let offsetDelta = readVarint(&cursor, end)
        guard offsetDelta >= 0, let delta = Int32(exactly: offsetDelta) else { return nil }
        let keyLength = readVarint(&cursor, end)
        if keyLength < 0 {
            guard keyLength != invalidVarint else { return nil }
            self.key = nil
        } else {
            guard keyLength <= end - cursor else { return nil }
            self.key = UnsafeRawBufferPointer(start: cursor, count: keyLength)
            cursor += keyLength
        }
        let valueLength = readVarint(&cursor, end)
        guard valueLength <= end - cursor, valueLength != invalidVarint else { return nil }
        self.hasValue = valueLength >= 0
        self.offsetDelta = delta
        self.timestampDelta = timestampDelta
        self.end = end
        cursor = end
    }
}

/// Why a batch cannot be cleaned: its partition is left alone then.
enum BatchDamage: Error, Equatable {
    case crc
    case compression
    case records
    /// It would be longer than a batch can be.
    case tooLong
}

extension DecompressionScratch {
    /// The records of a batch whose CRC is right, unpacked if need be.
    func records(
        of batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader
    ) throws(BatchDamage) -> UnsafeRawBufferPointer {
        guard let compression = header.compression, header.recordsCount >= 0 else { throw .compression }
        let packed = UnsafeRawBufferPointer(rebasing: batch[RecordBatchHeader.size...])
        if compression == .none || header.recordsCount == 0 { return packed }
        do { return try self.decompress(packed, compression) } catch { throw .compression }
    }
}

/// What the control record of a batch of markers says; nil where there is none any more.
func controlType(of batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader) throws(BatchDamage)
    -> ControlRecordType?
{
    guard header.recordsCount > 0 else { return nil }
    guard header.compression == CompressionType.none, var cursor = batch.baseAddress else { throw .records }
    let limit = cursor + batch.count
    cursor += RecordBatchHeader.size
    guard let record = KeyedRecord(&cursor, limit), let key = record.key else { throw .records }
    // One that is not known is kept, as those of the controllers are.
    return ControlRecordType(key: key) ?? .leaderChange
}
