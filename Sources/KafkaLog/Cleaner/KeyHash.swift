/// A keyed hash of 128 bits: SipHash-2-4-128 (Aumasson, Bernstein). The compactor tells keys apart by it alone, so two keys
/// that collide would cost data: with a secret key nobody can make them, and by chance they never do.
struct KeyHash: Equatable {
    var high: UInt64
    var low: UInt64
}

/// The hash's secret, of this process.
struct KeyHasher: Sendable {
    private let v0: UInt64
    private let v1: UInt64
    private let v2: UInt64
    private let v3: UInt64

    init(key0: UInt64, key1: UInt64) {
        self.v0 = key0 ^ 0x736F_6D65_7073_6575
        // The variant of 128 bits differs here, and at the end.
        self.v1 = key1 ^ 0x646F_7261_6E64_6F6D ^ 0xEE
        self.v2 = key0 ^ 0x6C79_6765_6E65_7261
        self.v3 = key1 ^ 0x7465_6462_7974_6573
    }

    static func random() -> KeyHasher {
        KeyHasher(key0: FileSystem.random64(), key1: FileSystem.random64())
    }

    @inline(__always)
    func hash(_ bytes: UnsafeRawBufferPointer) -> KeyHash {
        var state = State(v0: self.v0, v1: self.v1, v2: self.v2, v3: self.v3)
        let count = bytes.count
        var last = UInt64(truncatingIfNeeded: count) << 56
        if let base = bytes.baseAddress {
            let whole = count & ~7
            var at = 0
            while at < whole {
                let word = UInt64(littleEndian: base.loadUnaligned(fromByteOffset: at, as: UInt64.self))
                state.v3 ^= word
                state.round()
                state.round()
                state.v0 ^= word
                at += 8
            }
            var shift: UInt64 = 0
            while at < count {
                last |= UInt64(base.load(fromByteOffset: at, as: UInt8.self)) << shift
                shift += 8
                at += 1
            }
        }
        state.v3 ^= last
        state.round()
        state.round()
        state.v0 ^= last
        state.v2 ^= 0xEE
        for _ in 0..<4 { state.round() }
        let first = state.v0 ^ state.v1 ^ state.v2 ^ state.v3
        state.v1 ^= 0xDD
        for _ in 0..<4 { state.round() }
        return KeyHash(high: first, low: state.v0 ^ state.v1 ^ state.v2 ^ state.v3)
    }

    private struct State {
        var v0: UInt64
        var v1: UInt64
        var v2: UInt64
        var v3: UInt64

        @inline(__always)
        mutating func round() {
            self.v0 = self.v0 &+ self.v1
            self.v1 = rotated(self.v1, 13) ^ self.v0
            self.v0 = rotated(self.v0, 32)
            self.v2 = self.v2 &+ self.v3
            self.v3 = rotated(self.v3, 16) ^ self.v2
            self.v0 = self.v0 &+ self.v3
            self.v3 = rotated(self.v3, 21) ^ self.v0
            self.v2 = self.v2 &+ self.v1
            self.v1 = rotated(self.v1, 17) ^ self.v2
            self.v2 = rotated(self.v2, 32)
        }
    }
}

@inline(__always)
private func rotated(_ value: UInt64, _ by: UInt64) -> UInt64 { value << by | value >> (64 - by) }
