import Glibc
import KafkaRecords

/// Takes out of batches what has been superseded. Its memory is used again for each batch.
final class BatchFilter {
    enum Outcome {
        case dropped
        /// As it is, byte for byte.
        case unchanged(records: Int)
        /// Other bytes, good until the next batch.
        case changed(UnsafeRawBufferPointer, RecordBatchHeader)
    }

    private let rules: RetentionRules
    private let hasher: KeyHasher
    private let map: OffsetMap
    private let scratch: DecompressionScratch
    private var kept: [KeyedRecord] = []
    private var output = GrowingBytes()
    /// Records without a key, which do not belong into a compacted log.
    private(set) var unkeyedRecords = 0

    init(rules: RetentionRules, hasher: KeyHasher, map: OffsetMap, scratch: DecompressionScratch) {
        self.rules = rules
        self.hasher = hasher
        self.map = map
        self.scratch = scratch
    }

    deinit { self.output.free() }

    /// - Parameter batch: one whole batch, its CRC checked.
    func filter(
        _ batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader, _ decision: RetentionRules.Decision
    ) throws(BatchDamage) -> Outcome {
        if decision.retention == .delete { return .dropped }
        var hasTombstones = false
        self.kept.removeAll(keepingCapacity: true)
        if !decision.dropsRecords {
            try self.collect(batch, header, &hasTombstones)
        }
        guard !self.kept.isEmpty else {
            guard decision.retention == .retainEmpty else { return .dropped }
            if header.recordsCount == 0, batch.count == RecordBatchHeader.size, !header.hasDeleteHorizon {
                return .unchanged(records: 0)
            }
            return self.emptied(header)
        }
        let needsHorizon = (hasTombstones || decision.isUnneededMarker) && !header.hasDeleteHorizon
        if !needsHorizon, self.kept.count == Int(header.recordsCount) { return .unchanged(records: self.kept.count) }
        return try self.rebuilt(header, needsHorizon: needsHorizon)
    }

    /// Finds the records that stay.
    private func collect(
        _ batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader, _ hasTombstones: inout Bool
    ) throws(BatchDamage) {
        let records = try self.scratch.records(of: batch, header)
        guard var cursor = records.baseAddress else {
            if header.recordsCount > 0 { throw .records }
            return
        }
        let limit = cursor + records.count
        let latest = self.map.latestOffset
        let areTombstonesDue = self.rules.areTombstonesDue(header)
        for _ in 0..<header.recordsCount {
            guard let record = KeyedRecord(&cursor, limit) else { throw .records }
            let offset = header.baseOffset &+ Int64(record.offsetDelta)
            if !header.isControl, offset <= latest {
                guard let key = record.key else {
                    self.unkeyedRecords += 1
                    continue
                }
                if !record.hasValue && areTombstonesDue { continue }
                if offset < self.map.offset(self.hasher.hash(key)) { continue }
            }
            if !record.hasValue { hasTombstones = true }
            self.kept.append(record)
        }
        guard cursor == limit else { throw .records }
    }

    /// The header alone, with the offsets and sequence numbers that the batch had.
    private func emptied(_ header: RecordBatchHeader) -> Outcome {
        var header = header
        header.attributes &= ~(RecordBatchHeader.compressionBits | RecordBatchHeader.deleteHorizonBit)
        header.baseTimestamp = RecordBatchHeader.noTimestamp
        header.recordsCount = 0
        self.output.makeRoom(RecordBatchHeader.size)
        let batch = self.output.prefix(RecordBatchHeader.size)
        header.seal(batch)
        return .changed(UnsafeRawBufferPointer(batch), header)
    }

    /// The batch with `kept` alone. Offsets and sequence numbers stay; the base timestamp becomes the delete horizon, or
    /// the time of the first record that is left.
    private func rebuilt(_ old: RecordBatchHeader, needsHorizon: Bool) throws(BatchDamage) -> Outcome {
        var header = old
        let isLogAppendTime = old.timestampType == .logAppendTime
        func timestamp(_ record: KeyedRecord) -> Int64 {
            isLogAppendTime ? old.maxTimestamp : old.baseTimestamp &+ record.timestampDelta
        }
        if needsHorizon {
            header.attributes |= RecordBatchHeader.deleteHorizonBit
            let (horizon, overflow) = self.rules.now.addingReportingOverflow(self.rules.deleteRetentionMs)
            header.baseTimestamp = overflow ? .max : horizon
        } else if !old.hasDeleteHorizon {
            header.baseTimestamp = timestamp(self.kept[0])
        }
        header.recordsCount = Int32(truncatingIfNeeded: self.kept.count)
        var room = RecordBatchHeader.size
        for record in self.kept { room += record.end - record.tail + 16 }
        self.output.makeRoom(room)
        var maxTimestamp = RecordBatchHeader.noTimestamp
        var cursor = self.output.base + RecordBatchHeader.size
        for record in self.kept {
            let time = timestamp(record)
            maxTimestamp = max(maxTimestamp, time)
            Self.write(record, timestampDelta: time &- header.baseTimestamp, &cursor)
        }
        header.maxTimestamp = isLogAppendTime ? old.maxTimestamp : maxTimestamp
        let size = cursor - self.output.base
        guard size <= Int(Int32.max) else { throw .tooLong }
        if let compression = old.compression, compression != .none {
            let records = UnsafeRawBufferPointer(start: self.output.base, count: size)[RecordBatchHeader.size...]
            guard
                var packed = compress(
                    UnsafeRawBufferPointer(rebasing: records), compression, level: nil,
                    roomBefore: RecordBatchHeader.size),
                packed.count <= Int(Int32.max)
            else { throw .compression }
            self.output.makeRoom(packed.count)
            let batch = self.output.prefix(packed.count)
            packed.withUnsafeMutableBytes { bytes in
                header.seal(bytes)
                batch.copyMemory(from: UnsafeRawBufferPointer(bytes))
            }
            return .changed(UnsafeRawBufferPointer(batch), header)
        }
        let batch = self.output.prefix(size)
        header.seal(batch)
        return .changed(UnsafeRawBufferPointer(batch), header)
    }

    @inline(__always)
    private static func write(_ record: KeyedRecord, timestampDelta: Int64, _ cursor: inout UnsafeMutableRawPointer) {
        let tail = record.end - record.tail
        writeVarlong(Int64(1 + sizeOfVarint(timestampDelta) + tail), &cursor)
        cursor.storeBytes(of: 0, as: UInt8.self)
        cursor += 1
        writeVarlong(timestampDelta, &cursor)
        cursor.copyMemory(from: record.tail, byteCount: tail)
        cursor += tail
    }
}

@inline(__always)
private func writeVarlong(_ value: Int64, _ cursor: inout UnsafeMutableRawPointer) {
    var bits = UInt64(bitPattern: value << 1 ^ value >> 63)
    while bits >= 0x80 {
        cursor.storeBytes(of: UInt8(truncatingIfNeeded: bits) | 0x80, as: UInt8.self)
        cursor += 1
        bits >>= 7
    }
    cursor.storeBytes(of: UInt8(truncatingIfNeeded: bits), as: UInt8.self)
    cursor += 1
}

/// Memory that grows and is used again; what is in it is not kept when it grows.
struct GrowingBytes {
    private(set) var base: UnsafeMutableRawPointer
    private(set) var count: Int

    init(_ count: Int = 64 << 10) {
        self.base = .allocate(byteCount: count, alignment: 64)
        self.count = count
    }

    mutating func makeRoom(_ wanted: Int) {
        guard wanted > self.count else { return }
        self.base.deallocate()
        self.count = max(wanted, self.count * 2)
        self.base = .allocate(byteCount: self.count, alignment: 64)
    }

    func prefix(_ count: Int) -> UnsafeMutableRawBufferPointer {
        UnsafeMutableRawBufferPointer(start: self.base, count: count)
    }

    func free() { self.base.deallocate() }
}
