/// Why bytes could not be read as a message.
@usableFromInline package enum DecodingError: Error, Equatable, Sendable {
    /// Fewer bytes are left than the field needs.
    case truncated
    /// A length or count is negative where that is not allowed, or greater than what is left can hold.
    case invalidLength(Int)
    /// A varint is longer than its type allows.
    case invalidVarint
    /// A field is null that must not be.
    case unexpectedNull
    /// A tag is not greater than the one before it.
    case tagOutOfOrder(UInt32)
    /// A tagged field is longer or shorter than its size says.
    case taggedFieldSize(UInt32)
    /// The message does not exist in this version.
    case unsupportedVersion(Int16)
    /// Structures are nested more deeply than any message of Kafka's.
    case nestedTooDeeply
    /// The value would need more memory than its size on the wire justifies.
    case memoryExceeded
    /// Bytes are left after the end of the message.
    case trailingBytes(Int)
}

/// A tagged field that the reader does not know. Kept, so that the message can be written again without loss.
package struct RawTaggedField: Hashable, Sendable {
    package var tag: UInt32
    package var bytes: [UInt8]

    package init(tag: UInt32, bytes: [UInt8]) {
        self.tag = tag
        self.bytes = bytes
    }
}
