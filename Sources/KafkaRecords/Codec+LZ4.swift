import CLZ4

/// What Kafka's Java client reads of LZ4's frame format: one frame, version 1, blocks that do not depend on each
/// other, no dictionary. Read here rather than with LZ4F, which would accept what that client chokes on and
/// allocates two blocks of the size that the frame claims.
extension DecompressionScratch {
    func unlz4(_ input: UnsafeRawBufferPointer) throws(DecompressionError) {
        guard input.count >= 7, input.littleEndian(at: 0) == 0x184D_2204 else { throw .malformed }
        let flags = input[4]
        // Version 1 in the top bits; then independent blocks; bit 1 reserved, bit 0 a dictionary.
        guard flags & 0b1110_0011 == 0b0110_0000 else { throw .malformed }
        let hasBlockChecksum = flags & 0b1_0000 != 0
        let hasContentSize = flags & 0b1000 != 0
        let hasContentChecksum = flags & 0b100 != 0
        let descriptor = input[5]
        guard descriptor & 0b1000_1111 == 0, descriptor >> 4 >= 4 else { throw .malformed }
        // 4 to 7: 64 kB, 256 kB, 1 MB, 4 MB.
        let blockLimit = 1 << (8 + 2 * Int(descriptor >> 4))
        var position = 6 + (hasContentSize ? 8 : 0)
        guard input.count > position else { throw .malformed }
        let headerChecksum = xxHash32(UnsafeRawBufferPointer(rebasing: input[4..<position])) >> 8 & 0xFF
        guard input[position] == UInt8(headerChecksum) else { throw .malformed }
        position += 1

        while true {
            guard input.count - position >= 4 else { throw .malformed }
            let word = input.littleEndian(at: position)
            position += 4
            if word == 0 { break }
            let length = Int(word & 0x7FFF_FFFF)
            guard length > 0, length <= blockLimit, length <= input.count - position else { throw .malformed }
            let block = UnsafeRawBufferPointer(rebasing: input[position..<(position + length)])
            position += length
            if hasBlockChecksum {
                guard input.count - position >= 4, input.littleEndian(at: position) == xxHash32(block) else {
                    throw .malformed
                }
                position += 4
            }
            try self.unlz4Block(block, isCompressed: word & 0x8000_0000 == 0, blockLimit: blockLimit)
        }
        if hasContentChecksum {
            guard input.count - position >= 4, input.littleEndian(at: position) == xxHash32(self.unpacked) else {
                throw .malformed
            }
            position += 4
        }
        if hasContentSize {
            let declared = UInt64(input.littleEndian(at: 6)) | UInt64(input.littleEndian(at: 10)) << 32
            guard declared == UInt64(self.count) else { throw .malformed }
        }
        // The Java client reads one frame and loses what follows.
        guard position == input.count else { throw .malformed }
    }

    private func unlz4Block(
        _ block: UnsafeRawBufferPointer, isCompressed: Bool, blockLimit: Int
    ) throws(DecompressionError) {
        if !isCompressed {
            guard block.count <= self.limit - self.count else { throw .tooLarge(limit: self.limit) }
            try self.room(atLeast: block.count).copyMemory(from: block)
            self.count += block.count
            return
        }
        // One byte stands for 255 at most.
        let most = min(blockLimit, block.count * 255 + 64)
        guard self.count < self.limit else { throw .tooLarge(limit: self.limit) }
        let room = try self.room(atLeast: most)
        let length = LZ4_decompress_safe(
            block.baseAddress?.assumingMemoryBound(to: CChar.self),
            room.baseAddress?.assumingMemoryBound(to: CChar.self),
            CInt(block.count), CInt(min(room.count, most)))
        guard length >= 0 else {
            // LZ4 does not say why: if the limit has left less room than a block may need, assume it was that.
            throw room.count < most ? .tooLarge(limit: self.limit) : .malformed
        }
        self.count += Int(length)
    }
}

/// One frame of independent blocks of 64 kB, without checksums, as the Java client writes.
/// - Parameter level: 1 to 17; 9, the default, means LZ4's fast mode, as it does for Kafka.
func lz4(_ input: UnsafeRawBufferPointer, level: Int32?, roomBefore: Int) -> [UInt8]? {
    var preferences = LZ4F_preferences_t()
    preferences.frameInfo.blockSizeID = LZ4F_max64KB
    preferences.frameInfo.blockMode = LZ4F_blockIndependent
    // 3 to 12 are LZ4's high compression.
    preferences.compressionLevel = level.map { $0 == 9 ? 0 : min(max($0, 3), 12) } ?? 0
    let bound = LZ4F_compressFrameBound(input.count, &preferences)
    return packed(roomBefore: roomBefore, bound: bound) { output in
        let length = LZ4F_compressFrame(output.baseAddress, output.count, input.baseAddress, input.count, &preferences)
        return LZ4F_isError(length) == 0 ? length : nil
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func littleEndian(at offset: Int) -> UInt32 {
        UInt32(littleEndian: self.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
}

/// xxHash of 32 bits with seed 0: the checksums of LZ4 frames.
func xxHash32(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    let prime1: UInt32 = 0x9E37_79B1
    let prime2: UInt32 = 0x85EB_CA77
    let prime3: UInt32 = 0xC2B2_AE3D
    let prime4: UInt32 = 0x27D4_EB2F
    let prime5: UInt32 = 0x1656_67B1
    func rotated(_ value: UInt32, _ by: UInt32) -> UInt32 { value << by | value >> (32 - by) }

    var position = 0
    var hash = prime5
    if bytes.count >= 16 {
        var lanes: SIMD4<UInt32> = [prime1 &+ prime2, prime2, 0, 0 &- prime1]
        while bytes.count - position >= 16 {
            for lane in 0..<4 {
                let word = bytes.littleEndian(at: position + 4 * lane)
                lanes[lane] = rotated(lanes[lane] &+ word &* prime2, 13) &* prime1
            }
            position += 16
        }
        hash = rotated(lanes[0], 1) &+ rotated(lanes[1], 7) &+ rotated(lanes[2], 12) &+ rotated(lanes[3], 18)
    }
    hash = hash &+ UInt32(truncatingIfNeeded: bytes.count)
    while bytes.count - position >= 4 {
        hash = rotated(hash &+ bytes.littleEndian(at: position) &* prime3, 17) &* prime4
        position += 4
    }
    while position < bytes.count {
        hash = rotated(hash &+ UInt32(bytes[position]) &* prime5, 11) &* prime1
        position += 1
    }
    hash = (hash ^ hash >> 15) &* prime2
    hash = (hash ^ hash >> 13) &* prime3
    return hash ^ hash >> 16
}
