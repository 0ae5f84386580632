import KafkaRecords

/// Writes record batches of version 2 into one buffer, on its own: what the log is tested with should not come out of the
/// code that the log uses.
struct BatchEncoder {
    struct Stamp {
        var producerID: Int64 = -1
        var producerEpoch: Int16 = -1
        var baseSequence: Int32 = -1
        var isTransactional = false
        var codec = CompressionType.none
        /// The broker's time, where it counts.
        var logAppendTime: Int64?
    }

    struct Record {
        var timestamp: Int64
        /// -1: none.
        var key: Int32
        /// -1: none (a tombstone).
        var valueSize: Int
        var headers = 0
    }

    private(set) var bytes: [UInt8] = []

    /// The bytes of a batch at base offset 0, leader epoch 0. `unique` goes into the values.
    mutating func encode(_ records: [Record], _ stamp: Stamp, unique: UInt64) -> [UInt8] {
        self.begin(records.count, records.map(\.timestamp), stamp, attributes: self.attributes(stamp))
        if let time = stamp.logAppendTime { self.patch(UInt64(bitPattern: time), 8, at: 35) }
        let base = records[0].timestamp
        for (index, record) in records.enumerated() {
            let key = record.key < 0 ? 0 : 4
            let value = max(0, record.valueSize)
            let delta = record.timestamp - base
            // Each has a key of one byte and a value of three.
            let headers = 1 + record.headers * 6
            let length =
                1 + Self.size(delta) + Self.size(Int64(index)) + Self.size(Int64(record.key < 0 ? -1 : key)) + key
                + Self.size(Int64(record.valueSize)) + value + headers
            self.varint(Int64(length))
            self.bytes.append(0)
            self.varint(delta)
            self.varint(Int64(index))
            self.varint(Int64(record.key < 0 ? -1 : key))
            if record.key >= 0 { self.big(UInt64(UInt32(bitPattern: record.key)), 4) }
            self.varint(Int64(record.valueSize))
            for at in 0..<value {
                self.bytes.append(UInt8(truncatingIfNeeded: unique &>> UInt64(at & 7 &* 8) &+ UInt64(at + index)))
            }
            self.varint(Int64(record.headers))
            for header in 0..<record.headers {
                self.varint(1)
                self.bytes.append(UInt8(truncatingIfNeeded: 65 + header))
                self.varint(3)
                self.big(unique &+ UInt64(header), 3)
            }
        }
        if stamp.codec != .none {
            self.bytes = self.bytes.withUnsafeBytes { all in
                let records = UnsafeRawBufferPointer(rebasing: all[RecordBatchHeader.size...])
                guard var packed = compress(records, stamp.codec, level: nil, roomBefore: RecordBatchHeader.size) else {
                    return []
                }
                packed.replaceSubrange(..<RecordBatchHeader.size, with: all[..<RecordBatchHeader.size])
                return packed
            }
        }
        return self.end()
    }

    private func attributes(_ stamp: Stamp) -> UInt64 {
        UInt64(stamp.codec.rawValue) | (stamp.isTransactional ? 0x10 : 0) | (stamp.logAppendTime != nil ? 0x08 : 0)
    }

    /// The marker that ends a transaction.
    mutating func encodeMarker(
        commits: Bool, producerID: Int64, producerEpoch: Int16, coordinatorEpoch: Int32, timestamp: Int64
    ) -> [UInt8] {
        self.begin(
            1, [timestamp],
            Stamp(producerID: producerID, producerEpoch: producerEpoch, baseSequence: -1, isTransactional: true),
            attributes: 0x30)
        self.varint(Int64(1 + 1 + 1 + 1 + 4 + 1 + 6 + 1))
        self.bytes.append(0)
        self.varint(0)
        self.varint(0)
        self.varint(4)
        self.big(0, 2)
        self.big(commits ? 1 : 0, 2)
        self.varint(6)
        self.big(0, 2)
        self.big(UInt64(UInt32(bitPattern: coordinatorEpoch)), 4)
        self.varint(0)
        return self.end()
    }

    private mutating func begin(_ count: Int, _ times: [Int64], _ stamp: Stamp, attributes: UInt64) {
        self.bytes.removeAll(keepingCapacity: true)
        self.big(0, 8)
        self.big(0, 4)
        self.big(0, 4)
        self.bytes.append(2)
        self.big(0, 4)
        self.big(attributes, 2)
        self.big(UInt64(count - 1), 4)
        self.big(UInt64(bitPattern: times[0]), 8)
        self.big(UInt64(bitPattern: times.max() ?? -1), 8)
        self.big(UInt64(bitPattern: stamp.producerID), 8)
        self.big(UInt64(UInt16(bitPattern: stamp.producerEpoch)), 2)
        self.big(UInt64(UInt32(bitPattern: stamp.baseSequence)), 4)
        self.big(UInt64(count), 4)
    }

    private mutating func end() -> [UInt8] {
        self.patch(UInt64(self.bytes.count - 12), 4, at: 8)
        self.patch(UInt64(Self.crc(self.bytes)), 4, at: 17)
        return self.bytes
    }

    static func crc(_ batch: [UInt8]) -> UInt32 {
        batch.withUnsafeBytes { crc32c(UnsafeRawBufferPointer(rebasing: $0[21...])) }
    }

    /// What the log stamps into a batch.
    static func stamp(_ batch: inout [UInt8], baseOffset: Int64, leaderEpoch: Int32) {
        for index in 0..<8 { batch[index] = UInt8(truncatingIfNeeded: baseOffset >> Int64(56 - 8 * index)) }
        for index in 0..<4 { batch[12 + index] = UInt8(truncatingIfNeeded: leaderEpoch >> Int32(24 - 8 * index)) }
    }

    private mutating func patch(_ value: UInt64, _ count: Int, at position: Int) {
        for index in 0..<count {
            self.bytes[position + index] = UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - index)))
        }
    }

    private mutating func big(_ value: UInt64, _ count: Int) {
        for index in 0..<count {
            self.bytes.append(UInt8(truncatingIfNeeded: value >> UInt64(8 * (count - 1 - index))))
        }
    }

    private mutating func varint(_ value: Int64) {
        var zigzag = UInt64(bitPattern: value << 1 ^ value >> 63)
        while zigzag >= 0x80 {
            self.bytes.append(UInt8(zigzag & 0x7F) | 0x80)
            zigzag >>= 7
        }
        self.bytes.append(UInt8(zigzag))
    }

    private static func size(_ value: Int64) -> Int {
        var zigzag = UInt64(bitPattern: value << 1 ^ value >> 63)
        var size = 1
        while zigzag >= 0x80 {
            zigzag >>= 7
            size += 1
        }
        return size
    }
}
