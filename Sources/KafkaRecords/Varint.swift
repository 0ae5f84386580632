// Zigzag varints as records of magic 2 use them. Readers take a cursor and its end, never read beyond it, and
// refuse an encoding that is too long or has more bits than the type (Java drops those bits, others do not).

/// What `readVarint` gives for a varint that is cut off or too long. No value of 32 bits.
@inlinable package var invalidVarint: Int { .min }

/// A varint of 32 bits, or `invalidVarint`.
@inlinable @inline(__always)
package func readVarint(_ cursor: inout UnsafeRawPointer, _ end: UnsafeRawPointer) -> Int {
    let available = end - cursor
    guard available > 0 else { return invalidVarint }
    let first = UInt(cursor.load(as: UInt8.self))
    if first < 0x80 {
        cursor += 1
        return zigzag(first)
    }
    if available > 1 {
        let second = UInt(cursor.load(fromByteOffset: 1, as: UInt8.self))
        if second < 0x80 {
            cursor += 2
            return zigzag(first & 0x7F | second << 7)
        }
    }
    let long = readLongVarint(cursor, end)
    cursor += long.size
    return long.value
}

@inlinable @inline(__always)
package func zigzag(_ value: UInt) -> Int { Int(bitPattern: value >> 1) ^ -Int(bitPattern: value & 1) }

// The cursor is not lent to these two: it would live in memory on the fast path too, at twice the time.

@usableFromInline @inline(never)
func readLongVarint(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) -> (value: Int, size: Int) {
    var value: UInt = 0
    for size in 0..<min(5, end - start) {
        let byte = UInt(start.load(fromByteOffset: size, as: UInt8.self))
        value |= (byte & 0x7F) << UInt(7 * size)
        if byte < 0x80 { return value <= UInt(UInt32.max) ? (zigzag(value), size + 1) : (invalidVarint, 0) }
    }
    return (invalidVarint, 0)
}

/// A varint of 64 bits. False: cut off or too long.
@inlinable @inline(__always)
package func readVarlong(_ cursor: inout UnsafeRawPointer, _ end: UnsafeRawPointer, _ value: inout Int64) -> Bool {
    let available = end - cursor
    guard available > 0 else { return false }
    let first = UInt(cursor.load(as: UInt8.self))
    if first < 0x80 {
        cursor += 1
        value = Int64(zigzag(first))
        return true
    }
    if available > 1 {
        let second = UInt(cursor.load(fromByteOffset: 1, as: UInt8.self))
        if second < 0x80 {
            cursor += 2
            value = Int64(zigzag(first & 0x7F | second << 7))
            return true
        }
    }
    let long = readLongVarlong(cursor, end)
    cursor += long.size
    value = long.value
    return long.size > 0
}

/// `size` 0: cut off or too long.
@usableFromInline @inline(never)
func readLongVarlong(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) -> (value: Int64, size: Int) {
    var bits: UInt64 = 0
    for size in 0..<min(10, end - start) {
        let byte = UInt64(start.load(fromByteOffset: size, as: UInt8.self))
        // The tenth byte has room for the 64th bit only.
        if size == 9, byte > 1 { return (0, 0) }
        bits |= (byte & 0x7F) << UInt64(7 * size)
        if byte < 0x80 { return (Int64(bitPattern: bits >> 1) ^ -Int64(bitPattern: bits & 1), size + 1) }
    }
    return (0, 0)
}

// MARK: - Writing

extension [UInt8] {
    @inline(__always)
    mutating func appendVarint(_ value: Int32) { self.appendVarlong(Int64(value)) }

    mutating func appendVarlong(_ value: Int64) {
        var bits = UInt64(bitPattern: value << 1 ^ value >> 63)
        while bits >= 0x80 {
            self.append(UInt8(truncatingIfNeeded: bits) | 0x80)
            bits >>= 7
        }
        self.append(UInt8(bits))
    }
}

/// Bytes that a varint (or varlong) of `value` takes: 1 to 10.
package func sizeOfVarint(_ value: Int64) -> Int {
    let bits = UInt64(bitPattern: value << 1 ^ value >> 63)
    return bits == 0 ? 1 : (64 - bits.leadingZeroBitCount + 6) / 7
}
