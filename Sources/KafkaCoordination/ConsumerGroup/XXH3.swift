/// XXH3 with 64 bits and seed 0 (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md): the hash by which
/// Kafka tells whether the topics of a group have changed. All input is kept until the end; it is short.
struct XXH3 {
    private var bytes: [UInt8] = []

    mutating func add(_ byte: UInt8) { self.bytes.append(byte) }

    mutating func add(_ value: Int32) {
        withUnsafeBytes(of: value.littleEndian) { self.bytes.append(contentsOf: $0) }
    }

    mutating func add(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { self.bytes.append(contentsOf: $0) }
    }

    /// UTF-16 units, then how many there were.
    mutating func add(_ text: String) {
        var count: Int32 = 0
        for unit in text.utf16 {
            self.bytes.append(UInt8(truncatingIfNeeded: unit))
            self.bytes.append(UInt8(truncatingIfNeeded: unit >> 8))
            count &+= 1
        }
        self.add(count)
    }

    func finish() -> UInt64 { self.bytes.withUnsafeBytes { Self.hash($0) } }

    // MARK: The algorithm

    static func hash(_ input: UnsafeRawBufferPointer) -> UInt64 {
        switch input.count {
        case 0: self.avalanche64(self.secret64(56) ^ self.secret64(64))
        case 1...3: self.hash1to3(input)
        case 4...8: self.hash4to8(input)
        case 9...16: self.hash9to16(input)
        case 17...128: self.hash17to128(input)
        case 129...240: self.hash129to240(input)
        default: self.hashLong(input)
        }
    }

    private static let prime32x1: UInt64 = 0x9E37_79B1
    private static let prime32x2: UInt64 = 0x85EB_CA77
    private static let prime32x3: UInt64 = 0xC2B2_AE3D
    private static let prime64x1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime64x2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime64x3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime64x4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime64x5: UInt64 = 0x27D4_EB2F_1656_67C5

    private static let secret: [UInt8] = [
        0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4,
        0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e,
        0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43,
        0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
        0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19,
        0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7,
        0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78,
        0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
        0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16,
        0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
        0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
    ]

    private static func secret64(_ offset: Int) -> UInt64 {
        self.secret.withUnsafeBytes { self.read64($0, offset) }
    }

    private static func read64(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    private static func read32(_ bytes: UnsafeRawBufferPointer, _ offset: Int) -> UInt64 {
        UInt64(UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }

    private static func avalanche(_ hash: UInt64) -> UInt64 {
        var hash = hash ^ (hash >> 37)
        hash = hash &* 0x1656_6791_9E37_79F9
        return hash ^ (hash >> 32)
    }

    private static func avalanche64(_ hash: UInt64) -> UInt64 {
        var hash = hash ^ (hash >> 33)
        hash = hash &* self.prime64x2
        hash ^= hash >> 29
        hash = hash &* self.prime64x3
        return hash ^ (hash >> 32)
    }

    private static func multiplyFold(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.low ^ product.high
    }

    private static func hash1to3(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let count = input.count
        let first = UInt64(input[0])
        let middle = UInt64(input[count >> 1])
        let last = UInt64(input[count - 1])
        let combined = first << 16 | middle << 24 | last | UInt64(count) << 8
        let flip = self.secret.withUnsafeBytes { self.read32($0, 0) ^ self.read32($0, 4) }
        return self.avalanche64(combined ^ flip)
    }

    private static func hash4to8(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let first = self.read32(input, 0)
        let last = self.read32(input, input.count - 4)
        let flip = self.secret64(8) ^ self.secret64(16)
        var hash = (last &+ first << 32) ^ flip
        hash ^= (hash << 49 | hash >> 15) ^ (hash << 24 | hash >> 40)
        hash = hash &* 0x9FB2_1C65_1E98_DF25
        hash ^= (hash >> 35) &+ UInt64(input.count)
        hash = hash &* 0x9FB2_1C65_1E98_DF25
        return hash ^ (hash >> 28)
    }

    private static func hash9to16(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let low = self.read64(input, 0) ^ (self.secret64(24) ^ self.secret64(32))
        let high = self.read64(input, input.count - 8) ^ (self.secret64(40) ^ self.secret64(48))
        return self.avalanche(UInt64(input.count) &+ low.byteSwapped &+ high &+ self.multiplyFold(low, high))
    }

    private static func mix16(_ input: UnsafeRawBufferPointer, _ offset: Int, _ secretOffset: Int) -> UInt64 {
        self.multiplyFold(
            self.read64(input, offset) ^ self.secret64(secretOffset),
            self.read64(input, offset + 8) ^ self.secret64(secretOffset + 8))
    }

    private static func hash17to128(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let count = input.count
        var sum = UInt64(count) &* self.prime64x1
        for round in stride(from: (count - 1) / 32, through: 0, by: -1) {
            sum = sum &+ self.mix16(input, 16 * round, 32 * round)
            sum = sum &+ self.mix16(input, count - 16 * (round + 1), 32 * round + 16)
        }
        return self.avalanche(sum)
    }

    private static func hash129to240(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let count = input.count
        var sum = UInt64(count) &* self.prime64x1
        for round in 0..<8 { sum = sum &+ self.mix16(input, 16 * round, 16 * round) }
        sum = self.avalanche(sum)
        for round in 8..<(count / 16) { sum = sum &+ self.mix16(input, 16 * round, 16 * (round - 8) + 3) }
        sum = sum &+ self.mix16(input, count - 16, 136 - 17)
        return self.avalanche(sum)
    }

    private static func hashLong(_ input: UnsafeRawBufferPointer) -> UInt64 {
        let count = input.count
        var lanes: [UInt64] = [
            self.prime32x3, self.prime64x1, self.prime64x2, self.prime64x3, self.prime64x4, self.prime32x2,
            self.prime64x5, self.prime32x1,
        ]
        func accumulate(_ offset: Int, _ secretOffset: Int) {
            for lane in 0..<8 {
                let value = self.read64(input, offset + 8 * lane)
                let key = value ^ self.secret64(secretOffset + 8 * lane)
                lanes[lane ^ 1] = lanes[lane ^ 1] &+ value
                lanes[lane] = lanes[lane] &+ (key & 0xffff_ffff) &* (key >> 32)
            }
        }
        let stripesABlock = (self.secret.count - 64) / 8
        let blockBytes = 64 * stripesABlock
        let blocks = (count - 1) / blockBytes
        for block in 0..<blocks {
            for stripe in 0..<stripesABlock { accumulate(block * blockBytes + 64 * stripe, 8 * stripe) }
            for lane in 0..<8 {
                let key = self.secret64(self.secret.count - 64 + 8 * lane)
                lanes[lane] = ((lanes[lane] ^ (lanes[lane] >> 47)) ^ key) &* self.prime32x1
            }
        }
        let stripes = ((count - 1) - blockBytes * blocks) / 64
        for stripe in 0..<stripes { accumulate(blocks * blockBytes + 64 * stripe, 8 * stripe) }
        accumulate(count - 64, self.secret.count - 64 - 7)
        var result = UInt64(count) &* self.prime64x1
        for pair in 0..<4 {
            result =
                result
                &+ self.multiplyFold(
                    lanes[2 * pair] ^ self.secret64(11 + 16 * pair),
                    lanes[2 * pair + 1] ^ self.secret64(11 + 16 * pair + 8))
        }
        return self.avalanche(result)
    }
}
