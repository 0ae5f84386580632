/// What is wrong with the records of a batch, at the record with the 0-based number `index`.
package struct RecordFault: Error, Equatable, Sendable, CustomStringConvertible {
    package enum Kind: UInt8, Sendable {
        /// The bytes end before the record does.
        case cutOff
        /// A length, a delta or a count is a varint that is too long or does not end.
        case badVarint
        /// Key, value or header are longer than their record, or a length is negative that must not be.
        case badLength
        /// The record's length is not that of its parts.
        case lengthMismatch
        /// The number of headers is negative or larger than the bytes that are left.
        case badHeaderCount
        /// Offset deltas are not 0, 1, 2 ….
        case badOffsetDelta
        /// Bytes follow the last record.
        case trailingBytes
    }

    package var kind: Kind
    package var index: Int32

    package init(_ kind: Kind, at index: Int32) {
        self.kind = kind
        self.index = index
    }

    package var description: String { "record \(self.index): \(self.kind)" }
}

/// Why a codec could not unpack.
package enum DecompressionError: Error, Equatable, Sendable {
    /// Not what the codec writes, or cut off, or followed by something else.
    case malformed
    /// Would unpack to more than `limit` bytes.
    case tooLarge(limit: Int)
    /// The system has no memory for it.
    case outOfMemory
}

/// Why a batch could not be read.
package enum RecordBatchError: Error, Equatable, Sendable {
    /// Fewer bytes than a header.
    case tooShort
    case unsupportedMagic(Int8)
    /// The batch's length is below that of its header, or above the bytes that are there.
    case badBatchLength(Int32)
    case wrongCRC(stored: UInt32, computed: UInt32)
    /// The attributes name a codec that there is not.
    case unknownCompression
    case negativeCount(Int32)
    case decompression(DecompressionError)
    case record(RecordFault)
}
