/// What one pass over a batch's records finds out, when they are all as they should be.
struct RecordWalk {
    /// The largest timestamp and the first record that has it, as Kafka counts: no timestamp (-1) is never it.
    var maxTimestamp = RecordBatchHeader.noTimestamp
    var indexOfMaxTimestamp: Int32 = -1
    var minTimestamp = Int64.max
    var hasNullKey = false
}

extension RecordWalk {
    /// Walks over `count` records that must fill `bytes` exactly, with the offset deltas 0, 1, 2 ….
    ///
    /// The hot path of Produce: one pass, no allocation, no call for a record without headers whose varints have
    /// three bytes or fewer.
    static func over(
        _ bytes: UnsafeRawBufferPointer, count: Int32, baseTimestamp: Int64
    ) throws(RecordFault) -> RecordWalk {
        var walk = RecordWalk()
        guard let start = bytes.baseAddress else {
            if count > 0 { throw RecordFault(.cutOff, at: 0) }
            return walk
        }
        var cursor = start
        let limit = start + bytes.count
        var index: Int32 = 0
        while index < count {
            let record: WalkedRecord
            if let plain = WalkedRecord(plainAt: cursor, limit, index) {
                record = plain
            } else {
                record = try WalkedRecord(at: cursor, limit, index)
            }
            cursor = record.end
            if record.isKeyNull { walk.hasNullKey = true }
            let timestamp = baseTimestamp &+ record.timestampDelta
            if timestamp > walk.maxTimestamp {
                walk.maxTimestamp = timestamp
                walk.indexOfMaxTimestamp = index
            }
            if timestamp < walk.minTimestamp { walk.minTimestamp = timestamp }
            index &+= 1
        }
        guard cursor == limit else { throw RecordFault(.trailingBytes, at: index) }
        return walk
    }
}

/// A record that is as it should be.
private struct WalkedRecord {
    var end: UnsafeRawPointer
    var timestampDelta: Int64
    var isKeyNull: Bool
}

extension WalkedRecord {
    /// nil: not a plain record (short varints, some bytes left after it), or a wrong one: look closer.
    ///
    /// There is no check a field: the lengths are not negative, so the cursor only moves on, and if it is before the
    /// record's end when key and value are passed, then both were inside. Reads stay below `limit` all the time.
    @inline(__always)
    init?(plainAt start: UnsafeRawPointer, _ limit: UnsafeRawPointer, _ index: Int32) {
        // Four varints of three bytes and one byte are read before the next such check.
        guard limit - start >= 16 else { return nil }
        var cursor = start
        let length = readShortVarint(&cursor)
        guard length & 1 == 0 else { return nil }
        let end = cursor + Int(bitPattern: length >> 1)
        guard end <= limit else { return nil }
        // The attributes: no bit of them has a meaning yet.
        cursor += 1
        let timestamp = readShortVarint(&cursor)
        guard timestamp != longVarint else { return nil }
        guard readShortVarint(&cursor) == UInt(truncatingIfNeeded: index) << 1 else { return nil }
        let key = readShortVarint(&cursor)
        if key & 1 == 0 {
            cursor += Int(bitPattern: key >> 1)
        } else if key != 1 {
            return nil
        }
        guard limit - cursor >= 3 else { return nil }
        let value = readShortVarint(&cursor)
        if value & 1 == 0 {
            cursor += Int(bitPattern: value >> 1)
        } else if value != 1 {
            return nil
        }
        // What is left is the number of headers, mostly 0, and the headers.
        if cursor + 1 != end || cursor.load(as: UInt8.self) != 0 {
            guard headersFill(cursor, end, index) else { return nil }
        }
        self.end = end
        self.timestampDelta = Int64(Int(bitPattern: timestamp >> 1) ^ -Int(bitPattern: timestamp & 1))
        self.isKeyNull = key == 1
    }

    /// Any record, with every check, and what is wrong with it.
    @inline(never)
    init(at start: UnsafeRawPointer, _ limit: UnsafeRawPointer, _ index: Int32) throws(RecordFault) {
        var cursor = start
        let length = readVarint(&cursor, limit)
        guard length > 0, length <= limit - cursor else {
            throw RecordFault(length == invalidVarint ? .badVarint : length < 0 ? .badLength : .cutOff, at: index)
        }
        let end = cursor + length
        cursor += 1
        var timestampDelta: Int64 = 0
        guard readVarlong(&cursor, end, &timestampDelta) else { throw RecordFault(.badVarint, at: index) }
        let offsetDelta = readVarint(&cursor, end)
        guard offsetDelta == Int(index) else {
            throw RecordFault(offsetDelta == invalidVarint ? .badVarint : .badOffsetDelta, at: index)
        }
        var key: UnsafeRawBufferPointer?
        var value: UnsafeRawBufferPointer?
        guard readBytes(&cursor, end, &key), readBytes(&cursor, end, &value) else {
            throw RecordFault(.badLength, at: index)
        }
        cursor = try skipHeaders(readVarint(&cursor, end), cursor, end, index)
        guard cursor == end else { throw RecordFault(.lengthMismatch, at: index) }
        self.end = end
        self.timestampDelta = timestampDelta
        self.isKeyNull = key == nil
    }
}

/// What `readShortVarint` gives for a varint of more than three bytes. Odd, and no value of three.
private let longVarint = UInt.max

/// A varint of one to three bytes, not yet unzigzagged: even numbers are twice the value.
/// - Precondition: three bytes can be read.
@inline(__always)
private func readShortVarint(_ cursor: inout UnsafeRawPointer) -> UInt {
    let first = UInt(cursor.load(as: UInt8.self))
    if first < 0x80 {
        cursor += 1
        return first
    }
    let second = UInt(cursor.load(fromByteOffset: 1, as: UInt8.self))
    if second < 0x80 {
        cursor += 2
        return first & 0x7F | second << 7
    }
    let third = UInt(cursor.load(fromByteOffset: 2, as: UInt8.self))
    if third < 0x80 {
        cursor += 3
        return first & 0x7F | (second & 0x7F) << 7 | third << 14
    }
    return longVarint
}

/// Whether the number of headers at `start` and the headers end exactly at `end`. Also asked where `start` is not before
/// `end` at all.
@inline(never)
private func headersFill(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer, _ index: Int32) -> Bool {
    var cursor = start
    let count = readVarint(&cursor, end)
    guard let after = try? skipHeaders(count, cursor, end, index) else { return false }
    return after == end
}

/// Goes over `count` headers, of which names must not be null and values may be, and gives the place after them.
@inline(never)
func skipHeaders(
    _ count: Int, _ start: UnsafeRawPointer, _ end: UnsafeRawPointer, _ index: Int32
) throws(RecordFault) -> UnsafeRawPointer {
    guard count != invalidVarint else { throw RecordFault(.badVarint, at: index) }
    var cursor = start
    guard count >= 0, count <= end - cursor else { throw RecordFault(.badHeaderCount, at: index) }
    for _ in 0..<count {
        let keyLength = readVarint(&cursor, end)
        guard keyLength != invalidVarint else { throw RecordFault(.badVarint, at: index) }
        guard keyLength >= 0, keyLength <= end - cursor else { throw RecordFault(.badLength, at: index) }
        cursor += keyLength
        let valueLength = readVarint(&cursor, end)
        guard valueLength != invalidVarint else { throw RecordFault(.badVarint, at: index) }
        guard valueLength <= end - cursor else { throw RecordFault(.badLength, at: index) }
        if valueLength > 0 { cursor += valueLength }
    }
    return cursor
}
