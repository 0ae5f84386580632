import KafkaMessages
import KafkaPrimitives
import KafkaTransport
import NIOCore

/// The longest answer that is made of an ordinary request, bytes.
let maximalResponseBytes = 512 << 20

/// Nil where it would be longer than `maximalResponseBytes`. Otherwise length, correlation id, tagged fields of the header where it has them, and the body: one buffer, encoded once when
/// the guess at its size was good and twice when it was not.
func encodeResponse<Response: KafkaMessage>(
    _ response: Response, version: Int16, correlationID: Int32, flexibleHeader: Bool, sizeGuess: Int = 512
) -> ByteBuffer? {
    var room = sizeGuess
    var buffer = ByteBufferAllocator().buffer(capacity: room)
    while true {
        var needed = 0
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: room) { raw in
            var writer = ByteWriter(raw)
            writer.writeInt32(0)
            writer.writeInt32(correlationID)
            if flexibleHeader { writer.writeUnsignedVarint(0) }
            response.encode(into: &writer, version: version)
            needed = writer.count
            return writer.count <= raw.count ? writer.count : 0
        }
        if buffer.readableBytes > 0 { return buffer }
        if needed > maximalResponseBytes { return nil }
        room = needed
    }
}
