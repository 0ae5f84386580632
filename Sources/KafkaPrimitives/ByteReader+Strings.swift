// Strings, byte strings and arrays of plain values. In flexible versions their length is an unsigned varint, one
// higher than the length, zero for null; before, a big-endian integer (int16 for strings, int32 for the others),
// -1 for null.

extension ByteReader {
    /// The length of a string; -1 for null. Never more than what is left.
    @inline(never)
    package mutating func readStringLength(flexible: Bool) throws(DecodingError) -> Int {
        let length = flexible ? Int(try self.readShortVarint()) &- 1 : Int(try self.readInt16())
        guard length >= -1, length <= 0x7fff else { throw .invalidLength(length) }
        guard length <= self.remaining else { throw .truncated }
        return length
    }

    /// The length of a byte string; -1 for null. Never more than what is left.
    @inline(never)
    package mutating func readBytesLength(flexible: Bool) throws(DecodingError) -> Int {
        let length = flexible ? Int(try self.readShortVarint()) &- 1 : Int(try self.readInt32())
        guard length >= -1 else { throw .invalidLength(length) }
        guard length <= self.remaining else { throw .truncated }
        return length
    }

    /// The count of an array whose elements take at least `minimumSize` bytes each; -1 for null. Never more than
    /// what is left can hold.
    @inline(never)
    package mutating func readArrayCount(flexible: Bool, minimumSize: Int) throws(DecodingError) -> Int {
        let count = flexible ? Int(try self.readShortVarint()) &- 1 : Int(try self.readInt32())
        guard count >= -1, count <= 0x7fff_ffff else { throw .invalidLength(count) }
        guard count &* minimumSize <= self.remaining else { throw .invalidLength(count) }
        return count
    }

    /// Bytes that are not UTF-8 are replaced by U+FFFD, as Kafka does it.
    @inline(never)
    package mutating func readNullableString(flexible: Bool) throws(DecodingError) -> String? {
        let length = try self.readStringLength(flexible: flexible)
        guard length >= 0 else { return nil }
        return try self.readString(length)
    }

    @inline(never)
    package mutating func readString(flexible: Bool) throws(DecodingError) -> String {
        let length = try self.readStringLength(flexible: flexible)
        guard length >= 0 else { throw .unexpectedNull }
        return try self.readString(length)
    }

    private mutating func readString(_ length: Int) throws(DecodingError) -> String {
        let view = try self.readView(length)
        // A string of up to 15 bytes lies in the value itself.
        if length > 15 { try self.charge(length &+ Self.allocationOverhead) }
        if let string = String(validating: view, as: UTF8.self) { return string }
        // Repairing triples a byte in the worst case and grows its buffer as it goes.
        try self.charge(12 &* length &+ 4 &* Self.allocationOverhead)
        return String(decoding: view, as: UTF8.self)
    }

    @inline(never)
    package mutating func readNullableBytes(flexible: Bool) throws(DecodingError) -> [UInt8]? {
        let length = try self.readBytesLength(flexible: flexible)
        guard length >= 0 else { return nil }
        return try self.readBytes(length)
    }

    @inline(never)
    package mutating func readBytes(flexible: Bool) throws(DecodingError) -> [UInt8] {
        let length = try self.readBytesLength(flexible: flexible)
        guard length >= 0 else { throw .unexpectedNull }
        return try self.readBytes(length)
    }

    /// A copy of the next `length` bytes.
    package mutating func readBytes(_ length: Int) throws(DecodingError) -> [UInt8] {
        let view = try self.readView(length)
        try self.chargeArray(count: length, stride: 1)
        return [UInt8](view)
    }

    // MARK: Arrays of plain values

    @inline(never)
    package mutating func readNullableInt8s(flexible: Bool) throws(DecodingError) -> [Int8]? {
        try self.readIntegers(flexible: flexible)
    }

    @inline(never)
    package mutating func readNullableInt16s(flexible: Bool) throws(DecodingError) -> [Int16]? {
        try self.readIntegers(flexible: flexible)
    }

    @inline(never)
    package mutating func readNullableInt32s(flexible: Bool) throws(DecodingError) -> [Int32]? {
        try self.readIntegers(flexible: flexible)
    }

    @inline(never)
    package mutating func readNullableInt64s(flexible: Bool) throws(DecodingError) -> [Int64]? {
        try self.readIntegers(flexible: flexible)
    }

    @inline(never)
    package mutating func readNullableUUIDs(flexible: Bool) throws(DecodingError) -> [KafkaUUID]? {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: 16)
        guard count >= 0 else { return nil }
        try self.chargeArray(count: count, stride: 16)
        var values: [KafkaUUID] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try self.readUUID()) }
        return values
    }

    @inline(never)
    package mutating func readNullableStrings(flexible: Bool) throws(DecodingError) -> [String]? {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: flexible ? 1 : 2)
        guard count >= 0 else { return nil }
        try self.chargeArray(count: count, stride: MemoryLayout<String>.stride)
        var values: [String] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try self.readString(flexible: flexible)) }
        return values
    }

    package mutating func readInt8s(flexible: Bool) throws(DecodingError) -> [Int8] {
        try Self.unwrap(try self.readNullableInt8s(flexible: flexible))
    }

    package mutating func readInt16s(flexible: Bool) throws(DecodingError) -> [Int16] {
        try Self.unwrap(try self.readNullableInt16s(flexible: flexible))
    }

    package mutating func readInt32s(flexible: Bool) throws(DecodingError) -> [Int32] {
        try Self.unwrap(try self.readNullableInt32s(flexible: flexible))
    }

    package mutating func readInt64s(flexible: Bool) throws(DecodingError) -> [Int64] {
        try Self.unwrap(try self.readNullableInt64s(flexible: flexible))
    }

    package mutating func readUUIDs(flexible: Bool) throws(DecodingError) -> [KafkaUUID] {
        try Self.unwrap(try self.readNullableUUIDs(flexible: flexible))
    }

    package mutating func readStrings(flexible: Bool) throws(DecodingError) -> [String] {
        try Self.unwrap(try self.readNullableStrings(flexible: flexible))
    }

    private mutating func readIntegers<T: FixedWidthInteger & BitwiseCopyable>(
        flexible: Bool
    ) throws(DecodingError) -> [T]? {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: MemoryLayout<T>.size)
        guard count >= 0 else { return nil }
        try self.chargeArray(count: count, stride: MemoryLayout<T>.stride)
        var values: [T] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try self.readInteger()) }
        return values
    }

    private static func unwrap<T>(_ value: T?) throws(DecodingError) -> T {
        guard let value else { throw .unexpectedNull }
        return value
    }
}
