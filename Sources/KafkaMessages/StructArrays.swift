import KafkaPrimitives

// Arrays of structures. For most messages one unspecialised copy of the code serves all types: specialised copies
// were two thirds of the build time. The six hot APIs (Produce, Fetch, ListOffsets, Metadata, OffsetCommit,
// OffsetFetch) use the `Hot` forms, which the compiler specialises.
//
// The underscored attribute that asks for this is used in this file only.

extension ByteReader {
    /// - Parameter minimumSize: the least that an element takes on the wire.
    @inline(never)
    @_semantics("optimize.sil.specialize.generic.never")
    mutating func readNullableStructs<T: KafkaStruct>(
        flexible: Bool, version: Int16, minimumSize: Int
    ) throws(DecodingError) -> [T]? {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: minimumSize)
        guard count >= 0 else { return nil }
        try self.chargeArray(count: count, stride: MemoryLayout<T>.stride)
        try self.enter()
        var values: [T] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try T(from: &self, version: version)) }
        self.leave()
        return values
    }

    @inline(never)
    @_semantics("optimize.sil.specialize.generic.never")
    mutating func readStructs<T: KafkaStruct>(
        flexible: Bool, version: Int16, minimumSize: Int
    ) throws(DecodingError) -> [T] {
        let values: [T]? = try self.readNullableStructs(flexible: flexible, version: version, minimumSize: minimumSize)
        guard let values else { throw .unexpectedNull }
        return values
    }

    mutating func readNullableHotStructs<T: KafkaStruct>(
        flexible: Bool, version: Int16, minimumSize: Int
    ) throws(DecodingError) -> [T]? {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: minimumSize)
        guard count >= 0 else { return nil }
        try self.chargeArray(count: count, stride: MemoryLayout<T>.stride)
        try self.enter()
        var values: [T] = []
        values.reserveCapacity(count)
        for _ in 0..<count { values.append(try T(from: &self, version: version)) }
        self.leave()
        return values
    }

    mutating func readHotStructs<T: KafkaStruct>(
        flexible: Bool, version: Int16, minimumSize: Int
    ) throws(DecodingError) -> [T] {
        let values: [T]? = try self.readNullableHotStructs(
            flexible: flexible, version: version, minimumSize: minimumSize)
        guard let values else { throw .unexpectedNull }
        return values
    }
}

extension ByteWriter {
    @inline(never)
    @_semantics("optimize.sil.specialize.generic.never")
    mutating func writeStructs<T: KafkaStruct>(_ values: [T]?, flexible: Bool, version: Int16) {
        self.writeLength(values?.count, flexible: flexible)
        guard let values else { return }
        for value in values { value.encode(into: &self, version: version) }
    }

    mutating func writeHotStructs<T: KafkaStruct>(_ values: [T]?, flexible: Bool, version: Int16) {
        self.writeLength(values?.count, flexible: flexible)
        guard let values else { return }
        for value in values { value.encode(into: &self, version: version) }
    }
}
