import CSnappy

/// xerial's framing, which Kafka's Java client writes: this, two int32 (version, lowest compatible version), then
/// blocks with an int32 length before each. librdkafka writes one block without any framing ("raw").
private let xerialMagic: [UInt8] = [0x82, 0x53, 0x4E, 0x41, 0x50, 0x50, 0x59, 0x00]
private let xerialHeaderSize = 16
private let xerialBlockSize = 32 << 10

extension DecompressionScratch {
    func unsnappy(_ input: UnsafeRawBufferPointer) throws(DecompressionError) {
        guard input.count >= xerialHeaderSize, input.prefix(xerialMagic.count).elementsEqual(xerialMagic) else {
            return try self.unsnappyBlock(input)
        }
        guard input.bigEndian(at: 8, as: Int32.self) >= 1 else { throw .malformed }
        var position = xerialHeaderSize
        while position < input.count {
            guard input.count - position >= 4 else { throw .malformed }
            let length = Int(input.bigEndian(at: position, as: Int32.self))
            position += 4
            guard length > 0, length <= input.count - position else { throw .malformed }
            try self.unsnappyBlock(UnsafeRawBufferPointer(rebasing: input[position..<(position + length)]))
            position += length
        }
    }

    private func unsnappyBlock(_ block: UnsafeRawBufferPointer) throws(DecompressionError) {
        let source = block.baseAddress?.assumingMemoryBound(to: CChar.self)
        var length = 0
        guard source != nil, snappy_uncompressed_length(source, block.count, &length) == SNAPPY_OK else {
            throw .malformed
        }
        // The densest element is a copy of 64 bytes in 3: a block that claims more than 64/3 of itself lies.
        guard length <= block.count * 22 else { throw .malformed }
        guard length <= self.limit - self.count else { throw .tooLarge(limit: self.limit) }
        // A block may hold nothing; snappy wants an address all the same.
        if length == 0 {
            var nothing: CChar = 0
            guard snappy_uncompress(source, block.count, &nothing, &length) == SNAPPY_OK else { throw .malformed }
            return
        }
        let room = try self.room(atLeast: length)
        let target = room.baseAddress?.assumingMemoryBound(to: CChar.self)
        guard snappy_uncompress(source, block.count, target, &length) == SNAPPY_OK else { throw .malformed }
        self.count += length
    }
}

/// In xerial's framing, which every client reads.
func snappy(_ input: UnsafeRawBufferPointer, roomBefore: Int) -> [UInt8]? {
    let blocks = (input.count + xerialBlockSize - 1) / xerialBlockSize
    let bound = xerialHeaderSize + blocks * (4 + snappy_max_compressed_length(xerialBlockSize))
    return packed(roomBefore: roomBefore, bound: bound) { output in
        output.copyBytes(from: xerialMagic)
        output.setBigEndian(Int32(1), at: 8)
        output.setBigEndian(Int32(1), at: 12)
        var position = xerialHeaderSize
        var taken = 0
        while taken < input.count {
            let block = UnsafeRawBufferPointer(rebasing: input[taken..<min(taken + xerialBlockSize, input.count)])
            let room = UnsafeMutableRawBufferPointer(rebasing: output[(position + 4)...])
            var length = room.count
            guard
                snappy_compress(
                    block.baseAddress?.assumingMemoryBound(to: CChar.self), block.count,
                    room.baseAddress?.assumingMemoryBound(to: CChar.self), &length) == SNAPPY_OK
            else { return nil }
            output.setBigEndian(Int32(length), at: position)
            position += 4 + length
            taken += block.count
        }
        return position
    }
}
