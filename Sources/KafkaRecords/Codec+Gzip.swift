import CZlib

extension DecompressionScratch {
    /// One gzip member or several, and nothing after them.
    func gunzip(_ input: UnsafeRawBufferPointer) throws(DecompressionError) {
        let stream: UnsafeMutablePointer<z_stream>
        if let inflater {
            stream = inflater
            inflateReset(stream)
        } else {
            stream = .allocate(capacity: 1)
            stream.initialize(to: z_stream())
            // 15: the largest window; + 16: gzip's header and trailer, not zlib's.
            guard inflateInit2_(stream, 15 + 16, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size)) == Z_OK else {
                stream.deallocate()
                throw .outOfMemory
            }
            self.inflater = stream
        }
        guard input.count <= Int(UInt32.max), let base = input.baseAddress else { throw .malformed }
        stream.pointee.next_in = UnsafeMutablePointer(mutating: base.assumingMemoryBound(to: UInt8.self))
        stream.pointee.avail_in = UInt32(input.count)
        while true {
            // A member may end exactly at the limit: only if bytes are still to come is it too large.
            var full: UInt8 = 0
            let atLimit = self.count >= self.limit
            let produced: Int
            let status: CInt
            if atLimit {
                (status, produced) = withUnsafeMutableBytes(of: &full) { Self.inflateInto($0, stream) }
                if produced > 0 { throw .tooLarge(limit: self.limit) }
            } else {
                (status, produced) = Self.inflateInto(try self.room(atLeast: Int(stream.pointee.avail_in) * 2), stream)
                self.count += produced
            }
            switch status {
            case Z_OK:
                // All input taken, room left, and not at the end: cut off.
                if stream.pointee.avail_in == 0, stream.pointee.avail_out > 0 { throw .malformed }
            case Z_STREAM_END:
                if stream.pointee.avail_in == 0 { return }
                inflateReset(stream)
            case Z_MEM_ERROR:
                throw .outOfMemory
            default:
                throw .malformed
            }
        }
    }

    private static func inflateInto(
        _ room: UnsafeMutableRawBufferPointer, _ stream: UnsafeMutablePointer<z_stream>
    ) -> (CInt, Int) {
        let size = UInt32(clamping: room.count)
        stream.pointee.next_out = room.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.pointee.avail_out = size
        let status = inflate(stream, Z_NO_FLUSH)
        return (status, Int(size - stream.pointee.avail_out))
    }
}

/// - Parameter level: 1 to 9, or -1: zlib's own choice, Kafka's default.
func gzip(_ input: UnsafeRawBufferPointer, level: Int32?, roomBefore: Int) -> [UInt8]? {
    guard input.count <= Int(UInt32.max) else { return nil }
    var stream = z_stream()
    guard
        deflateInit2_(
            &stream, level ?? Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
            CInt(MemoryLayout<z_stream>.size)) == Z_OK
    else { return nil }
    defer { deflateEnd(&stream) }
    let bound = Int(deflateBound(&stream, UInt(input.count)))
    guard bound <= Int(UInt32.max) else { return nil }
    return packed(roomBefore: roomBefore, bound: bound) { output in
        stream.next_in = input.baseAddress.map {
            UnsafeMutablePointer(mutating: $0.assumingMemoryBound(to: UInt8.self))
        }
        stream.avail_in = UInt32(input.count)
        stream.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
        stream.avail_out = UInt32(output.count)
        return deflate(&stream, Z_FINISH) == Z_STREAM_END ? output.count - Int(stream.avail_out) : nil
    }
}
