import KafkaPrimitives

/// A structure of the protocol: a message, or a part of one. The version is an argument, not a field, so that a value
/// means the same in every version.
package protocol KafkaStruct: Sendable, Equatable {
    /// Every field at its default.
    init()

    /// Reads the structure in the form that it has in `version`. Fields that do not exist then are at their default.
    init(from reader: inout ByteReader, version: Int16) throws(DecodingError)

    /// Writes the structure in the form that it has in `version`. Fields that do not exist then are left out; null
    /// where it cannot be written becomes empty.
    func encode(into writer: inout ByteWriter, version: Int16)
}

/// A whole message: request, response, header, or the key or value of a record of an internal topic.
package protocol KafkaMessage: KafkaStruct {
    static var validVersions: ClosedRange<Int16> { get }
    /// From this version on lengths are varints and structures end with tagged fields (KIP-482). Nil: in none.
    static var firstFlexibleVersion: Int16? { get }
}

package protocol KafkaRequest: KafkaMessage {
    associatedtype Response: KafkaMessage
    static var apiKey: Int16 { get }
}

extension KafkaMessage {
    package static func isFlexible(_ version: Int16) -> Bool {
        guard let first = self.firstFlexibleVersion else { return false }
        return version >= first
    }

    /// The bytes of the message alone. For tests and records; an answer is encoded into its connection's buffer.
    package func encoded(version: Int16) -> [UInt8] {
        withEncoded { self.encode(into: &$0, version: version) }
    }

    /// Reads a message that takes up all of `bytes`.
    package init(decoding bytes: UnsafeRawBufferPointer, version: Int16) throws(DecodingError) {
        var reader = ByteReader(bytes)
        try self.init(from: &reader, version: version)
        try reader.finish()
    }

    /// Reads a message that takes up all of `bytes`.
    package init(decoding bytes: [UInt8], version: Int16) throws(DecodingError) {
        let result: Result<Self, DecodingError> = bytes.withUnsafeBytes { buffer in
            do throws(DecodingError) {
                return .success(try Self(decoding: buffer, version: version))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }
}

extension KafkaRequest {
    /// The version of RequestHeader that stands before this request.
    package static func requestHeaderVersion(_ version: Int16) -> Int16 {
        self.isFlexible(version) ? 2 : 1
    }

    /// The version of ResponseHeader that stands before the answer. Always 0 for ApiVersions, whose client may not
    /// know yet what the broker speaks (KIP-511).
    package static func responseHeaderVersion(_ version: Int16) -> Int16 {
        self.isFlexible(version) && self.apiKey != 18 ? 1 : 0
    }
}
