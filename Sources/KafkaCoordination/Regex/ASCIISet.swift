/// A set of ASCII characters.
struct ASCIISet: Hashable, Sendable {
    private var low: UInt64 = 0
    private var high: UInt64 = 0

    static var all: ASCIISet { ~ASCIISet() }
    static var letters: ASCIISet { ASCIISet("A"..."Z", "a"..."z") }

    init(_ ranges: ClosedRange<Unicode.Scalar>...) {
        for range in ranges { self.insert(range) }
    }

    init(where isMember: (Unicode.Scalar) -> Bool) {
        for value in UInt8(0)..<128 where isMember(Unicode.Scalar(value)) { self.insert(value) }
    }

    func contains(_ byte: UInt8) -> Bool {
        byte < 64 ? self.low >> UInt64(byte) & 1 != 0 : byte < 128 && self.high >> UInt64(byte &- 64) & 1 != 0
    }

    private mutating func insert(_ byte: UInt8) {
        if byte < 64 { self.low |= 1 << UInt64(byte) } else { self.high |= 1 << UInt64(byte &- 64) }
    }

    /// What of the range is ASCII.
    mutating func insert(_ range: ClosedRange<Unicode.Scalar>) {
        guard range.lowerBound.isASCII else { return }
        for value in range.lowerBound.value...min(range.upperBound.value, 127) { self.insert(UInt8(value)) }
    }

    /// With the other case of each letter.
    var folded: ASCIISet {
        var result = self
        result.high |= (self.letterBits << 32) | (self.letterBits >> 32)
        return result
    }

    /// Of the upper half: bit 5 tells the cases apart, and the letters are at 1...26 above 64 and above 96.
    private var letterBits: UInt64 { self.high & 0x07ff_fffe_07ff_fffe }

    static func | (left: ASCIISet, right: ASCIISet) -> ASCIISet {
        var result = left
        result.low |= right.low
        result.high |= right.high
        return result
    }

    static prefix func ~ (set: ASCIISet) -> ASCIISet {
        var result = set
        result.low = ~set.low
        result.high = ~set.high
        return result
    }
}
