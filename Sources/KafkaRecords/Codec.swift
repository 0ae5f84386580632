/// `input` packed by `codec`, after `roomBefore` bytes of zeros (a header is written there later).
///
/// nil: the codec failed, which is for want of memory or for more input than it can take.
package func compress(
    _ input: UnsafeRawBufferPointer, _ codec: CompressionType, level: Int32?, roomBefore: Int = 0
) -> [UInt8]? {
    switch codec {
    case .none:
        packed(roomBefore: roomBefore, bound: input.count) { output in
            output.copyMemory(from: input)
            return input.count
        }
    case .gzip: gzip(input, level: level, roomBefore: roomBefore)
    case .snappy: snappy(input, roomBefore: roomBefore)
    case .lz4: lz4(input, level: level, roomBefore: roomBefore)
    case .zstd: zstd(input, level: level, roomBefore: roomBefore)
    }
}

/// Zeros, then what `fill` writes into `bound` bytes; nil if it gives nil.
func packed(
    roomBefore: Int, bound: Int, fill: (UnsafeMutableRawBufferPointer) -> Int?
) -> [UInt8]? {
    var failed = false
    let bytes = [UInt8](unsafeUninitializedCapacity: roomBefore + bound) { buffer, count in
        let all = UnsafeMutableRawBufferPointer(buffer)
        for index in 0..<roomBefore { all[index] = 0 }
        // Not `all.count`: an array may get more than it asked for, and zlib's types are smaller than Int.
        let output = UnsafeMutableRawBufferPointer(rebasing: all[roomBefore..<(roomBefore + bound)])
        guard let written = fill(output) else {
            failed = true
            return
        }
        count = roomBefore + written
    }
    return failed ? nil : bytes
}
