/// Reads Kafka's wire format from memory that somebody else owns and keeps alive.
///
/// Nothing here trusts the bytes: every length and count is checked against what is left before anything is
/// allocated, nesting is bounded, and the memory that decoding may use is bounded by the input's size (`budget`).
///
/// Integers are inlined into the callers; strings, bytes, varints and tags are not, because copies of them in some
/// three hundred decoders cost more build time than they gain.
@usableFromInline package struct ByteReader {
    /// The bytes being read. `end` may be lower than their count while a tagged field is read.
    @usableFromInline package let bytes: UnsafeRawBufferPointer
    /// The next byte, counted from the start of `bytes`.
    @usableFromInline package var position: Int
    @usableFromInline package var end: Int
    /// Bytes of memory that decoding may still allocate.
    package private(set) var budget: Int
    private var depth = 0

    /// Decoding allocates no more than this many times the size of the input …
    package static var budgetPerByte: Int { 64 }
    /// … and this …
    package static var budgetBase: Int { 4096 }
    /// … and never more than this.
    package static var budgetLimit: Int { 256 << 20 }
    /// What an allocation costs beside its contents: the header of a Swift array or string, and malloc's own.
    package static var allocationOverhead: Int { 56 }
    package static var maximumDepth: Int { 16 }

    /// - Parameter position: where to begin; what lies before it has been read by others.
    package init(_ bytes: UnsafeRawBufferPointer, from position: Int = 0) {
        self.bytes = bytes
        self.position = min(max(position, 0), bytes.count)
        self.end = bytes.count
        let (product, overflow) = bytes.count.multipliedReportingOverflow(by: Self.budgetPerByte)
        self.budget = overflow ? Self.budgetLimit : min(product &+ Self.budgetBase, Self.budgetLimit)
    }

    /// How many bytes are left.
    @inlinable package var remaining: Int { self.end &- self.position }

    /// Throws unless everything has been read.
    package func finish() throws(DecodingError) {
        if self.remaining != 0 { throw .trailingBytes(self.remaining) }
    }

    /// Passes over `count` bytes and returns the position of the first.
    @inlinable
    @discardableResult
    package mutating func skip(_ count: Int) throws(DecodingError) -> Int {
        guard count >= 0, count <= self.remaining else { throw .truncated }
        let start = self.position
        self.advance(by: count)
        return start
    }

    /// Passes over `count` bytes and returns a view of them, without a copy.
    @inlinable
    package mutating func readView(_ count: Int) throws(DecodingError) -> UnsafeRawBufferPointer {
        let start = try self.skip(count)
        return UnsafeRawBufferPointer(rebasing: self.bytes[start..<(start &+ count)])
    }

    @inlinable
    package mutating func advance(by count: Int) {
        self.position = self.position &+ count
    }

    // MARK: Integers, big-endian

    @inlinable
    package mutating func readInteger<T: FixedWidthInteger & BitwiseCopyable>(
        _: T.Type = T.self
    ) throws(DecodingError) -> T {
        let size = MemoryLayout<T>.size
        guard size <= self.remaining else { throw .truncated }
        let value = T(bigEndian: self.bytes.loadUnaligned(fromByteOffset: self.position, as: T.self))
        self.advance(by: size)
        return value
    }

    /// One that lies behind: `position` has been passed with `skip`, which has checked it.
    @inlinable
    @inline(__always)
    package func integer<T: FixedWidthInteger & BitwiseCopyable>(at position: Int) -> T {
        T(bigEndian: self.bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    @inlinable package mutating func readInt8() throws(DecodingError) -> Int8 { try self.readInteger() }
    @inlinable package mutating func readInt16() throws(DecodingError) -> Int16 { try self.readInteger() }
    @inlinable package mutating func readInt32() throws(DecodingError) -> Int32 { try self.readInteger() }
    @inlinable package mutating func readInt64() throws(DecodingError) -> Int64 { try self.readInteger() }
    @inlinable package mutating func readUInt8() throws(DecodingError) -> UInt8 { try self.readInteger() }
    @inlinable package mutating func readUInt16() throws(DecodingError) -> UInt16 { try self.readInteger() }
    @inlinable package mutating func readUInt32() throws(DecodingError) -> UInt32 { try self.readInteger() }
    @inlinable package mutating func readUInt64() throws(DecodingError) -> UInt64 { try self.readInteger() }

    @inlinable
    package mutating func readFloat64() throws(DecodingError) -> Double {
        Double(bitPattern: try self.readUInt64())
    }

    /// As in Kafka, any byte but zero is true.
    @inlinable
    package mutating func readBool() throws(DecodingError) -> Bool { try self.readUInt8() != 0 }

    @inlinable
    package mutating func readErrorCode() throws(DecodingError) -> ErrorCode {
        ErrorCode(rawValue: try self.readInt16())
    }

    @inlinable
    package mutating func readUUID() throws(DecodingError) -> KafkaUUID {
        KafkaUUID(high: try self.readUInt64(), low: try self.readUInt64())
    }

    /// The byte before a structure that may be null: negative is null, as in Kafka.
    @inlinable
    package mutating func readPresence() throws(DecodingError) -> Bool { try self.readInt8() >= 0 }

    /// The same of a structure in a tagged field: a varint, 0 for one that is null.
    package mutating func readTaggedPresence() throws(DecodingError) -> Bool { try self.readUnsignedVarint() > 0 }

    // MARK: Varints

    /// An unsigned varint of at most five bytes and 32 bits.
    @inline(never)
    @usableFromInline
    package mutating func readUnsignedVarint() throws(DecodingError) -> UInt32 {
        try self.readShortVarint()
    }

    /// The same, with the usual case of one byte in its caller: for the few callers that are hot.
    @inlinable
    @inline(__always)
    package mutating func readHotVarint() throws(DecodingError) -> UInt32 {
        if self.position < self.end {
            let byte = self.bytes.load(fromByteOffset: self.position, as: UInt8.self)
            if byte < 0x80 {
                self.advance(by: 1)
                return UInt32(byte)
            }
        }
        return try self.readUnsignedVarint()
    }

    /// One byte to three here, more in a call.
    @inline(__always)
    mutating func readShortVarint() throws(DecodingError) -> UInt32 {
        if self.remaining >= 3 {
            let first = UInt32(self.bytes.load(fromByteOffset: self.position, as: UInt8.self))
            if first < 0x80 {
                self.advance(by: 1)
                return first
            }
            let second = UInt32(self.bytes.load(fromByteOffset: self.position &+ 1, as: UInt8.self))
            if second < 0x80 {
                self.advance(by: 2)
                return first & 0x7f | second << 7
            }
            let third = UInt32(self.bytes.load(fromByteOffset: self.position &+ 2, as: UInt8.self))
            if third < 0x80 {
                self.advance(by: 3)
                return first & 0x7f | (second & 0x7f) << 7 | third << 14
            }
        }
        return try self.readLongVarint()
    }

    @inline(never)
    private mutating func readLongVarint() throws(DecodingError) -> UInt32 {
        UInt32(truncatingIfNeeded: try self.readVarint(maximumBytes: 5, lastByteLimit: 0x0f))
    }

    /// An unsigned varint of at most ten bytes and 64 bits.
    @inline(never)
    package mutating func readUnsignedVarlong() throws(DecodingError) -> UInt64 {
        try self.readVarint(maximumBytes: 10, lastByteLimit: 0x01)
    }

    /// A zigzag varint of 32 bits.
    package mutating func readVarint() throws(DecodingError) -> Int32 {
        let raw = try self.readUnsignedVarint()
        return Int32(bitPattern: raw >> 1) ^ -Int32(bitPattern: raw & 1)
    }

    /// A zigzag varint of 64 bits.
    package mutating func readVarlong() throws(DecodingError) -> Int64 {
        let raw = try self.readUnsignedVarlong()
        return Int64(bitPattern: raw >> 1) ^ -Int64(bitPattern: raw & 1)
    }

    private mutating func readVarint(maximumBytes: Int, lastByteLimit: UInt8) throws(DecodingError) -> UInt64 {
        var value: UInt64 = 0
        var index = 0
        while true {
            let position = self.position &+ index
            guard position < self.end else { throw .truncated }
            let byte = self.bytes[position]
            value |= UInt64(byte & 0x7f) << UInt64(7 &* index)
            index &+= 1
            if byte < 0x80 {
                if index == maximumBytes, byte > lastByteLimit { throw .invalidVarint }
                self.position = self.position &+ index
                return value
            }
            if index == maximumBytes { throw .invalidVarint }
        }
    }

    // MARK: Bounds

    /// Takes `bytes` of memory from the budget.
    package mutating func charge(_ bytes: Int) throws(DecodingError) {
        guard bytes <= self.budget else { throw .memoryExceeded }
        self.budget = self.budget &- bytes
    }

    /// Takes an array of `count` elements from the budget, which `count * stride` cannot overflow: counts are below
    /// 2^31. Nothing is taken for an empty array, which allocates nothing.
    package mutating func chargeArray(count: Int, stride: Int) throws(DecodingError) {
        if count > 0 { try self.charge(count &* stride &+ Self.allocationOverhead) }
    }

    /// Called around the elements of an array of structures.
    package mutating func enter() throws(DecodingError) {
        guard self.depth < Self.maximumDepth else { throw .nestedTooDeeply }
        self.depth &+= 1
    }

    package mutating func leave() {
        self.depth &-= 1
    }

    /// Makes the reader end after `size` more bytes; `widen` undoes it. Returns the end to give to `widen`.
    package mutating func narrow(to size: Int) throws(DecodingError) -> Int {
        guard size >= 0, size <= self.remaining else { throw .truncated }
        let outer = self.end
        self.end = self.position &+ size
        return outer
    }

    package mutating func widen(to end: Int) {
        self.end = end
    }
}
