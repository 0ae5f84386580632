// Tagged fields (KIP-482): at the end of every structure of a flexible version stand a count and then, for each
// field, tag, size and contents, in ascending order of tags.

/// Goes through the tagged fields of one structure:
///
///     var tags = try TaggedFieldReader(&reader)
///     while let tag = try tags.next(&reader) {
///         switch tag {
///         case 0: self.clusterID = try reader.readNullableString(flexible: true)
///         default: try tags.keep(&reader, in: &self.unknownTaggedFields)
///         }
///     }
package struct TaggedFieldReader {
    private var remaining: UInt32
    private var previous: Int64 = -1
    /// The reader's end outside the field being read; -1 between fields.
    private var outerEnd = -1

    @inline(never)
    package init(_ reader: inout ByteReader) throws(DecodingError) {
        self.remaining = try reader.readUnsignedVarint()
        // A tagged field takes two bytes at least.
        guard Int(self.remaining) &* 2 <= reader.remaining else { throw .invalidLength(Int(self.remaining)) }
    }

    /// The tag of the next field; the reader is then limited to its contents, all of which must be read before the
    /// next call. Nil at the end.
    @inline(never)
    package mutating func next(_ reader: inout ByteReader) throws(DecodingError) -> UInt32? {
        if self.outerEnd >= 0 {
            guard reader.remaining == 0 else { throw .taggedFieldSize(UInt32(truncatingIfNeeded: self.previous)) }
            reader.widen(to: self.outerEnd)
            self.outerEnd = -1
        }
        if self.remaining == 0 { return nil }
        self.remaining &-= 1
        let tag = try reader.readUnsignedVarint()
        guard Int64(tag) > self.previous else { throw .tagOutOfOrder(tag) }
        self.previous = Int64(tag)
        self.outerEnd = try reader.narrow(to: Int(try reader.readUnsignedVarint()))
        return tag
    }

    /// Keeps the field whose tag `next` just returned, as it is.
    @inline(never)
    package mutating func keep(
        _ reader: inout ByteReader, in fields: inout [RawTaggedField]
    ) throws(DecodingError) {
        let stride = MemoryLayout<RawTaggedField>.stride
        if fields.isEmpty {
            // All the fields that may follow, so that the array never grows: it would hold both copies then.
            let capacity = Int(self.remaining) &+ 1
            try reader.chargeArray(count: capacity, stride: stride)
            fields.reserveCapacity(capacity)
        }
        let bytes = try reader.readBytes(reader.remaining)
        fields.append(RawTaggedField(tag: UInt32(truncatingIfNeeded: self.previous), bytes: bytes))
    }
}

extension ByteReader {
    /// The tagged fields of a structure that defines none.
    @inline(never)
    package mutating func readUnknownTaggedFields() throws(DecodingError) -> [RawTaggedField] {
        if self.passNoTaggedFields() { return [] }
        var fields: [RawTaggedField] = []
        var tags = try TaggedFieldReader(&self)
        while try tags.next(&self) != nil {
            try tags.keep(&self, in: &fields)
        }
        return fields
    }

    /// Passes over the tagged fields of a structure, without keeping any. They are checked all the same.
    @inlinable
    @inline(__always)
    package mutating func skipTaggedFields() throws(DecodingError) {
        if !self.passNoTaggedFields() { try self.skipSomeTaggedFields() }
    }

    /// Passes over the count of tagged fields where it is zero, which it nearly always is.
    @inlinable
    @inline(__always)
    package mutating func passNoTaggedFields() -> Bool {
        guard self.position < self.end, self.bytes.load(fromByteOffset: self.position, as: UInt8.self) == 0 else {
            return false
        }
        self.advance(by: 1)
        return true
    }

    @inline(never)
    @usableFromInline
    package mutating func skipSomeTaggedFields() throws(DecodingError) {
        var tags = try TaggedFieldReader(&self)
        while try tags.next(&self) != nil {
            try self.skip(self.remaining)
        }
    }
}

/// Writes the tagged fields of one structure: those that it defines, given in ascending order, between the unknown
/// ones that it carries. An unknown field whose tag is among `present` is left out.
package struct TaggedFieldWriter {
    private var unknown: [RawTaggedField]
    private var index = 0

    /// Writes the count. `present` has bit n set for each defined field with tag n that will be written.
    @inline(never)
    package init(present: UInt64, unknown: [RawTaggedField], into writer: inout ByteWriter) {
        self.unknown = unknown
        if !unknown.isEmpty {
            self.unknown = unknown.filter { $0.tag >= 64 || present & 1 << UInt64($0.tag) == 0 }
            self.unknown.sort { $0.tag < $1.tag }
        }
        writer.writeUnsignedVarint(UInt32(truncatingIfNeeded: present.nonzeroBitCount &+ self.unknown.count))
    }

    /// Writes a defined field. `body` is called twice: first to measure.
    @inline(never)
    package mutating func write(_ tag: UInt32, into writer: inout ByteWriter, _ body: (inout ByteWriter) -> Void) {
        self.writeUnknown(below: UInt64(tag), into: &writer)
        var measure = ByteWriter.measuring
        body(&measure)
        writer.writeUnsignedVarint(tag)
        writer.writeUnsignedVarint(UInt32(truncatingIfNeeded: measure.count))
        body(&writer)
    }

    /// Writes what is left of the unknown fields.
    @inline(never)
    package mutating func finish(into writer: inout ByteWriter) {
        self.writeUnknown(below: UInt64.max, into: &writer)
    }

    private mutating func writeUnknown(below tag: UInt64, into writer: inout ByteWriter) {
        while self.index < self.unknown.count, UInt64(self.unknown[self.index].tag) < tag {
            let field = self.unknown[self.index]
            self.index += 1
            writer.writeUnsignedVarint(field.tag)
            writer.writeUnsignedVarint(UInt32(truncatingIfNeeded: field.bytes.count))
            writer.writeRaw(field.bytes)
        }
    }
}

extension ByteWriter {
    /// The tagged fields of a structure that defines none.
    @inline(never)
    package mutating func writeUnknownTaggedFields(_ fields: [RawTaggedField]) {
        if fields.isEmpty {
            self.writeUInt8(0)
            return
        }
        var tagged = TaggedFieldWriter(present: 0, unknown: fields, into: &self)
        tagged.finish(into: &self)
    }
}
