/// A small generator with a fixed seed (SplitMix64), so that a failure comes again.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    /// A number below `bound`, or zero.
    mutating func below(_ bound: Int) -> Int {
        bound > 1 ? Int(self.next() % UInt64(bound)) : 0
    }
}

/// Damages `bytes` in one to four places: other bits, bytes that are likely to be limits, large integers, parts that
/// are missing or doubled.
func mutate(_ bytes: inout [UInt8], using generator: inout SeededGenerator) {
    for _ in 0...generator.below(4) {
        let index = generator.below(bytes.count)
        switch generator.below(8) {
        case 0 where !bytes.isEmpty:
            bytes[index] ^= 1 << UInt8(generator.below(8))
        case 1 where !bytes.isEmpty:
            bytes[index] = [0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x02, 0x10][generator.below(8)]
        case 2 where !bytes.isEmpty:
            bytes[index] = UInt8(truncatingIfNeeded: generator.next())
        case 3:
            bytes.removeLast(generator.below(bytes.count))
        case 4:
            let end = min(bytes.count, index + 1 + generator.below(8))
            bytes.removeSubrange(index..<end)
        case 5:
            let end = min(bytes.count, index + 1 + generator.below(16))
            bytes.insert(contentsOf: bytes[index..<end], at: index)
        case 6 where bytes.count >= 4:
            let value = [Int32.max, Int32.min, -1, 0xffff, 0x00ff_ffff][generator.below(5)]
            let start = generator.below(bytes.count - 3)
            for offset in 0..<4 { bytes[start + offset] = UInt8(truncatingIfNeeded: value >> Int32(24 - 8 * offset)) }
        case 7:
            // A varint of many bytes.
            bytes.insert(contentsOf: [UInt8](repeating: 0xff, count: 1 + generator.below(6)), at: index)
        default:
            bytes.append(UInt8(truncatingIfNeeded: generator.next()))
        }
    }
}
