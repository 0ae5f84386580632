import KafkaRecords

/// Writes big-endian values to an array. For small files; not for the data path.
struct Bytes {
    private(set) var array: [UInt8] = []

    var count: Int { self.array.count }

    mutating func reserve(_ count: Int) { self.array.reserveCapacity(self.array.count + count) }

    mutating func put<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.bigEndian) { self.array.append(contentsOf: $0) }
    }

    mutating func put(_ string: String) {
        let utf8 = string.utf8
        self.put(UInt32(truncatingIfNeeded: utf8.count))
        self.array.append(contentsOf: utf8)
    }

    mutating func append(_ bytes: some Sequence<UInt8>) { self.array.append(contentsOf: bytes) }

    /// Overwrites what was put at `position` before.
    mutating func patch<T: FixedWidthInteger>(_ value: T, at position: Int) {
        withUnsafeBytes(of: value.bigEndian) {
            for (index, byte) in $0.enumerated() { self.array[position + index] = byte }
        }
    }

    func crc(from position: Int) -> UInt32 {
        self.array.withUnsafeBytes { crc32c(UnsafeRawBufferPointer(rebasing: $0[position...])) }
    }
}

/// Reads what `Bytes` wrote; nil where it ends too early.
struct BytesReader {
    private let array: ArraySlice<UInt8>
    private(set) var position: Int

    init(_ array: ArraySlice<UInt8>) {
        self.array = array
        self.position = array.startIndex
    }

    var remaining: Int { self.array.endIndex - self.position }

    mutating func get<T: FixedWidthInteger>(_ type: T.Type = T.self) -> T? {
        guard self.remaining >= MemoryLayout<T>.size else { return nil }
        let start = self.position - self.array.startIndex
        self.position += MemoryLayout<T>.size
        return T(bigEndian: self.array.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: start, as: T.self) })
    }

    mutating func skip(_ count: Int) { self.position += min(count, self.remaining) }

    /// - Parameter other: what to give where it is the same text: one string in memory instead of two.
    mutating func getString(sharing other: String = "") -> String? {
        guard let count = self.get(UInt32.self), count <= self.remaining else { return nil }
        defer { self.position += Int(count) }
        if other.utf8.count == count {
            let start = self.position - self.array.startIndex
            let isOther = self.array.withUnsafeBytes { bytes in
                let own = UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(count)])
                return other.utf8.withContiguousStorageIfAvailable { own.elementsEqual($0) } ?? false
            }
            if isOther { return other }
        }
        return String(decoding: self.array[self.position..<self.position + Int(count)], as: UTF8.self)
    }
}

func crc32c(_ bytes: ArraySlice<UInt8>) -> UInt32 {
    bytes.withUnsafeBytes { KafkaRecords.crc32c($0) }
}
