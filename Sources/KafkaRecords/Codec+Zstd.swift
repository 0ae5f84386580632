import CZstd

extension DecompressionScratch {
    /// The largest window that zstd's own streaming reader, and so every client, accepts without being told to.
    private static let windowLimit: UInt64 = 1 << 27

    /// One zstd frame or several, with or without their content's size. Each is unpacked in one go, as that needs no
    /// window of its own; where it does not fit, with twice the room again.
    func unzstd(_ input: UnsafeRawBufferPointer) throws(DecompressionError) {
        if self.zstd == nil { self.zstd = ZSTD_createDCtx() }
        guard let context = self.zstd else { throw .outOfMemory }
        guard input.count > 0 else { throw .malformed }
        var rest = input
        while rest.count > 0 {
            let length = ZSTD_findFrameCompressedSize(rest.baseAddress, rest.count)
            guard ZSTD_isError(length) == 0, length > 0, length <= rest.count else { throw .malformed }
            let frame = UnsafeRawBufferPointer(rebasing: rest[..<length])
            rest = UnsafeRawBufferPointer(rebasing: rest[length...])
            guard Self.windowSize(of: frame) <= Self.windowLimit else { throw .malformed }
            try self.unzstdFrame(frame, context)
        }
    }

    private func unzstdFrame(_ frame: UnsafeRawBufferPointer, _ context: OpaquePointer) throws(DecompressionError) {
        // The limit plus nothing is room for an empty frame, for which zstd wants an address all the same.
        var wanted = frame.count * 4
        while true {
            var nothing: UInt8 = 0
            let isFull = self.count >= self.limit
            let room = isFull ? nil : try self.room(atLeast: wanted)
            let result = withUnsafeMutableBytes(of: &nothing) { empty in
                ZSTD_decompressDCtx(
                    context, room?.baseAddress ?? empty.baseAddress, room?.count ?? 0, frame.baseAddress, frame.count)
            }
            if ZSTD_isError(result) == 0 {
                self.count += result
                return
            }
            switch ZSTD_getErrorCode(result) {
            case ZSTD_error_dstSize_tooSmall:
                guard let room, room.count < self.limit - self.count else { throw .tooLarge(limit: self.limit) }
                wanted = room.count * 2
            case ZSTD_error_memory_allocation:
                throw .outOfMemory
            default:
                throw .malformed
            }
        }
    }

    /// The window that a frame's header asks for; 0 for a skippable frame, and for a frame in a single segment, whose
    /// window is what it holds.
    private static func windowSize(of frame: UnsafeRawBufferPointer) -> UInt64 {
        guard frame.count >= 6, frame[0] == 0x28, frame[4] & 0x20 == 0 else { return 0 }
        let base = UInt64(1) << (10 + UInt64(frame[5] >> 3))
        return base + base / 8 * UInt64(frame[5] & 7)
    }
}

/// - Parameter level: -131072 to 22, default 3.
func zstd(_ input: UnsafeRawBufferPointer, level: Int32?, roomBefore: Int) -> [UInt8]? {
    let bound = ZSTD_compressBound(input.count)
    guard ZSTD_isError(bound) == 0 else { return nil }
    return packed(roomBefore: roomBefore, bound: bound) { output in
        let length = ZSTD_compress(output.baseAddress, output.count, input.baseAddress, input.count, level ?? 3)
        return ZSTD_isError(length) == 0 ? length : nil
    }
}
