import KafkaRecords

/// A batch taken apart, by this program's own reading of the format.
struct ParsedBatch {
    struct Record: Equatable {
        var delta: Int32
        var timestamp: Int64
        /// Nil: none.
        var key: UInt64?
        var isTombstone: Bool
        /// Of everything from the offset on.
        var hash: UInt64
    }

    var header: RecordBatchHeader
    var records: [Record]

    private static let scratch = Scratch()

    private final class Scratch: @unchecked Sendable { let value = DecompressionScratch() }

    /// The batch at the begin of `bytes`; nil where there is no whole one, with its CRC.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard let header = RecordBatchHeader(bytes), header.sizeInBytes >= RecordBatchHeader.size,
            header.sizeInBytes <= bytes.count, header.isCRCValid(in: bytes), let codec = header.compression
        else { return nil }
        self.header = header
        self.records = []
        var rest = UnsafeRawBufferPointer(rebasing: bytes[RecordBatchHeader.size..<header.sizeInBytes])
        if codec != .none, header.recordsCount > 0 {
            guard let unpacked = try? Self.scratch.value.decompress(rest, codec) else { return nil }
            rest = unpacked
        }
        var at = 0
        for _ in 0..<header.recordsCount {
            guard let length = Self.varint(rest, &at), length > 0, at + Int(length) <= rest.count else { return nil }
            let end = at + Int(length)
            at += 1
            guard let time = Self.varint(rest, &at) else { return nil }
            let tail = at
            guard let delta = Self.varint(rest, &at), let keySize = Self.varint(rest, &at), at + Int(keySize) <= end
            else { return nil }
            var key: UInt64?
            if keySize >= 0 {
                key = Self.hash(rest[at..<at + Int(keySize)])
                at += Int(keySize)
            }
            guard let valueSize = Self.varint(rest, &at), end <= rest.count else { return nil }
            self.records.append(
                Record(
                    delta: Int32(delta),
                    timestamp: header.timestampType == .logAppendTime
                        ? header.maxTimestamp : header.baseTimestamp &+ time,
                    key: key, isTombstone: valueSize < 0, hash: Self.hash(rest[tail..<end])))
            at = end
        }
        guard at == rest.count else { return nil }
    }

    private static func hash(_ bytes: Slice<UnsafeRawBufferPointer>) -> UInt64 {
        bytes.reduce(0xCBF2_9CE4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01B3 }
    }

    private static func varint(_ bytes: UnsafeRawBufferPointer, _ at: inout Int) -> Int64? {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while at < bytes.count, shift < 64 {
            let byte = bytes[at]
            at += 1
            value |= UInt64(byte & 0x7F) << shift
            if byte & 0x80 == 0 { return Int64(bitPattern: value >> 1) ^ -Int64(bitPattern: value & 1) }
            shift += 7
        }
        return nil
    }

    /// All that is in a file; nil where it does not end with a whole batch.
    static func all(in bytes: UnsafeRawBufferPointer) -> [(batch: ParsedBatch, range: Range<Int>)]? {
        var batches: [(batch: ParsedBatch, range: Range<Int>)] = []
        var at = 0
        while at < bytes.count {
            guard let batch = ParsedBatch(UnsafeRawBufferPointer(rebasing: bytes[at...])) else { return nil }
            batches.append((batch, at..<at + batch.header.sizeInBytes))
            at += batch.header.sizeInBytes
        }
        return batches
    }
}
