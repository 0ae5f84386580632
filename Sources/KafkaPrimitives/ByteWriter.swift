/// Writes Kafka's wire format into memory of a fixed size that somebody else owns.
///
/// When the memory is too small, writing goes on without a store and `count` goes on counting: it then says how
/// much is needed, and the caller encodes again into a buffer of that size. So a writer over no memory measures.
@usableFromInline package struct ByteWriter {
    @usableFromInline package let buffer: UnsafeMutableRawBufferPointer
    /// How many bytes have been written, or would have been.
    @usableFromInline package var count = 0

    @inlinable
    package init(_ buffer: UnsafeMutableRawBufferPointer) {
        self.buffer = buffer
    }

    /// A writer that only counts.
    package static var measuring: ByteWriter {
        ByteWriter(UnsafeMutableRawBufferPointer(start: nil, count: 0))
    }

    /// The memory was too small: what is in it is of no use.
    @inlinable package var overflowed: Bool { self.count > self.buffer.count }

    /// Passes over `size` bytes; returns whether they lie within the memory.
    @inlinable
    package mutating func advance(by size: Int) -> Bool {
        self.count = self.count &+ size
        return self.count <= self.buffer.count
    }

    // MARK: Integers, big-endian

    @inlinable
    package mutating func writeInteger<T: FixedWidthInteger & BitwiseCopyable>(_ value: T) {
        let position = self.count
        if self.advance(by: MemoryLayout<T>.size) {
            self.buffer.storeBytes(of: value.bigEndian, toByteOffset: position, as: T.self)
        }
    }

    @inlinable package mutating func writeInt8(_ value: Int8) { self.writeInteger(value) }
    @inlinable package mutating func writeInt16(_ value: Int16) { self.writeInteger(value) }
    @inlinable package mutating func writeInt32(_ value: Int32) { self.writeInteger(value) }
    @inlinable package mutating func writeInt64(_ value: Int64) { self.writeInteger(value) }
    @inlinable package mutating func writeUInt8(_ value: UInt8) { self.writeInteger(value) }
    @inlinable package mutating func writeUInt16(_ value: UInt16) { self.writeInteger(value) }
    @inlinable package mutating func writeUInt32(_ value: UInt32) { self.writeInteger(value) }
    @inlinable package mutating func writeUInt64(_ value: UInt64) { self.writeInteger(value) }
    @inlinable package mutating func writeFloat64(_ value: Double) { self.writeInteger(value.bitPattern) }
    @inlinable package mutating func writeBool(_ value: Bool) { self.writeInteger(value ? UInt8(1) : 0) }
    @inlinable package mutating func writeErrorCode(_ value: ErrorCode) { self.writeInteger(value.rawValue) }

    @inlinable
    package mutating func writeUUID(_ value: KafkaUUID) {
        self.writeInteger(value.high)
        self.writeInteger(value.low)
    }

    /// The byte before a structure that may be null.
    @inlinable package mutating func writePresence(_ value: Bool) { self.writeInteger(value ? Int8(1) : -1) }

    /// The same of a structure in a tagged field: a varint, 0 for one that is null.
    package mutating func writeTaggedPresence(_ value: Bool) { self.writeInteger(value ? Int8(1) : 0) }

    /// Overwrites four bytes that have been written before.
    @inlinable
    package func patchInt32(_ value: Int32, at position: Int) {
        guard position >= 0, position &+ 4 <= self.buffer.count else { return }
        self.buffer.storeBytes(of: value.bigEndian, toByteOffset: position, as: Int32.self)
    }

    // MARK: Varints

    @inline(never)
    @usableFromInline
    package mutating func writeUnsignedVarint(_ value: UInt32) {
        self.writeShortVarint(value)
    }

    /// The same, with the usual case of one byte in its caller: for the few callers that are hot.
    @inlinable
    @inline(__always)
    package mutating func writeHotVarint(_ value: UInt32) {
        if value < 0x80 {
            self.writeUInt8(UInt8(truncatingIfNeeded: value))
        } else {
            self.writeUnsignedVarint(value)
        }
    }

    /// One byte here, more in a call.
    @inline(__always)
    private mutating func writeShortVarint(_ value: UInt32) {
        if value < 0x80 {
            self.writeUInt8(UInt8(truncatingIfNeeded: value))
        } else {
            self.writeUnsignedVarlong(UInt64(value))
        }
    }

    @inline(never)
    package mutating func writeUnsignedVarlong(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            self.writeUInt8(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        self.writeUInt8(UInt8(truncatingIfNeeded: rest))
    }

    /// A zigzag varint.
    package mutating func writeVarint(_ value: Int32) {
        self.writeUnsignedVarint(UInt32(bitPattern: value &<< 1 ^ value &>> 31))
    }

    /// A zigzag varint.
    package mutating func writeVarlong(_ value: Int64) {
        self.writeUnsignedVarlong(UInt64(bitPattern: value &<< 1 ^ value &>> 63))
    }

    /// How many bytes `writeUnsignedVarint` takes.
    package static func size(ofUnsignedVarint value: UInt32) -> Int {
        (38 &- value.leadingZeroBitCount) / 7 &+ (value == 0 ? 1 : 0)
    }

    // MARK: Strings, byte strings, counts

    @inlinable
    package mutating func writeRaw(_ bytes: UnsafeRawBufferPointer) {
        let position = self.count
        if self.advance(by: bytes.count), let base = bytes.baseAddress {
            self.buffer.baseAddress?.advanced(by: position).copyMemory(from: base, byteCount: bytes.count)
        }
    }

    @inline(never)
    package mutating func writeRaw(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { self.writeRaw($0) }
    }

    /// The length of a string; nil for null.
    @inline(never)
    package mutating func writeStringLength(_ length: Int?, flexible: Bool) {
        if flexible {
            self.writeShortVarint(UInt32(truncatingIfNeeded: (length ?? -1) &+ 1))
        } else {
            self.writeInt16(Int16(truncatingIfNeeded: length ?? -1))
        }
    }

    /// The length of a byte string or the count of an array; nil for null.
    @inline(never)
    package mutating func writeLength(_ length: Int?, flexible: Bool) {
        if flexible {
            self.writeShortVarint(UInt32(truncatingIfNeeded: (length ?? -1) &+ 1))
        } else {
            self.writeInt32(Int32(truncatingIfNeeded: length ?? -1))
        }
    }

    /// `writeLength` for the few callers that are hot.
    @inlinable
    @inline(__always)
    package mutating func writeHotLength(_ length: Int?, flexible: Bool) {
        if flexible {
            self.writeHotVarint(UInt32(truncatingIfNeeded: (length ?? -1) &+ 1))
        } else {
            self.writeInt32(Int32(truncatingIfNeeded: length ?? -1))
        }
    }

    @inline(never)
    package mutating func writeNullableString(_ value: String?, flexible: Bool) {
        guard let value else {
            self.writeStringLength(nil, flexible: flexible)
            return
        }
        self.writeString(value, flexible: flexible)
    }

    /// A string of more than 32,767 bytes cannot be written as such; it is cut at a character before that.
    @inline(never)
    package mutating func writeString(_ value: String, flexible: Bool) {
        var value = value
        value.withUTF8 { utf8 in
            var length = utf8.count
            if length > 0x7fff {
                length = 0x7fff
                while length > 0, utf8[length] & 0xc0 == 0x80 { length &-= 1 }
            }
            self.writeStringLength(length, flexible: flexible)
            self.writeRaw(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(utf8)[0..<length]))
        }
    }

    @inline(never)
    package mutating func writeNullableBytes(_ value: [UInt8]?, flexible: Bool) {
        self.writeLength(value?.count, flexible: flexible)
        if let value { self.writeRaw(value) }
    }

    @inline(never)
    package mutating func writeBytes(_ value: [UInt8], flexible: Bool) {
        self.writeLength(value.count, flexible: flexible)
        self.writeRaw(value)
    }

    // MARK: Arrays of plain values

    @inline(never)
    package mutating func writeNullableInt8s(_ values: [Int8]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeInt8(value) } }
    }

    @inline(never)
    package mutating func writeNullableInt16s(_ values: [Int16]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeInt16(value) } }
    }

    @inline(never)
    package mutating func writeNullableInt32s(_ values: [Int32]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeInt32(value) } }
    }

    @inline(never)
    package mutating func writeNullableInt64s(_ values: [Int64]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeInt64(value) } }
    }

    @inline(never)
    package mutating func writeNullableUUIDs(_ values: [KafkaUUID]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeUUID(value) } }
    }

    @inline(never)
    package mutating func writeNullableStrings(_ values: [String]?, flexible: Bool) {
        self.writeLength(values?.count, flexible: flexible)
        if let values { for value in values { self.writeString(value, flexible: flexible) } }
    }
}

/// What `body` writes, as an array. For tests, tools and records; answers are written into a connection's buffer.
package func withEncoded(capacity: Int = 256, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
    var needed = capacity
    while true {
        var overflowed = false
        let size = needed
        let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
            var writer = ByteWriter(UnsafeMutableRawBufferPointer(start: buffer.baseAddress, count: size))
            body(&writer)
            overflowed = writer.overflowed
            needed = writer.count
            initialized = overflowed ? 0 : writer.count
        }
        if !overflowed { return bytes }
    }
}
