/// A 128-bit id as Kafka writes it: 16 bytes on the wire, 22 characters of URL-safe base64 as text.
@usableFromInline package struct KafkaUUID: Hashable, Sendable, Comparable, CustomStringConvertible {
    @usableFromInline package var high: UInt64
    @usableFromInline package var low: UInt64

    /// All bits zero: "no id" on the wire.
    package static var zero: KafkaUUID { KafkaUUID(high: 0, low: 0) }

    @inlinable
    package init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// An id of version 4 (random). As in Kafka it never begins with "-" in its text form, which shells would take
    /// for an option.
    package static func random(using generator: inout some RandomNumberGenerator) -> KafkaUUID {
        while true {
            let high = (generator.next() & 0xffff_ffff_ffff_0fff) | 0x4000
            let low = (generator.next() & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000
            // The first character is the first six bits; "-" stands for 62.
            if high >> 58 != 62 { return KafkaUUID(high: high, low: low) }
        }
    }

    /// Reads the text form: 22 characters of URL-safe base64, with or without the padding "==". Anything else: nil.
    package init?(_ base64url: some StringProtocol) { self.init(base64URL: base64url.utf8) }

    /// As `init(_:)`, of the text's bytes.
    package init?(base64URL bytes: some Sequence<UInt8>) {
        // Not generic from here on: every partition's key has an id in it.
        if let id = bytes.withContiguousStorageIfAvailable({ Self.parse($0) }) {
            guard let id else { return nil }
            self = id
        } else {
            guard let id = ContiguousArray(bytes.prefix(25)).withUnsafeBufferPointer({ Self.parse($0) }) else {
                return nil
            }
            self = id
        }
    }

    private static func parse(_ bytes: UnsafeBufferPointer<UInt8>) -> KafkaUUID? {
        var high: UInt64 = 0
        var low: UInt64 = 0
        var count = 0
        for byte in bytes {
            if count >= 22 {
                guard byte == UInt8(ascii: "="), count < 24 else { return nil }
                count += 1
                continue
            }
            guard let value = Self.value(ofDigit: byte) else { return nil }
            if count == 21 {
                // 22 digits hold 132 bits; the last four are padding and must be zero.
                guard value & 0x0f == 0 else { return nil }
                high = high << 2 | low >> 62
                low = low << 2 | UInt64(value >> 4)
            } else {
                high = high << 6 | low >> 58
                low = low << 6 | UInt64(value)
            }
            count += 1
        }
        guard count == 22 || count == 24 else { return nil }
        return KafkaUUID(high: high, low: low)
    }

    @usableFromInline package var description: String {
        String(unsafeUninitializedCapacity: 22) { text in
            for index in 0..<22 {
                let shift = 128 - 6 * (index + 1)
                let bits: UInt64
                if shift >= 64 {
                    bits = self.high >> UInt64(shift - 64)
                } else if shift >= 0 {
                    bits = self.low >> UInt64(shift) | (shift > 58 ? self.high << UInt64(64 - shift) : 0)
                } else {
                    bits = self.low << UInt64(-shift)
                }
                text[index] = Self.digit(UInt8(bits & 0x3f))
            }
            return 22
        }
    }

    @usableFromInline package static func < (left: KafkaUUID, right: KafkaUUID) -> Bool {
        (left.high, left.low) < (right.high, right.low)
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") + value
        case 26..<52: UInt8(ascii: "a") + value - 26
        case 52..<62: UInt8(ascii: "0") + value - 52
        case 62: UInt8(ascii: "-")
        default: UInt8(ascii: "_")
        }
    }

    private static func value(ofDigit byte: UInt8) -> UInt8? {
        switch byte {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0") + 52
        case UInt8(ascii: "-"): 62
        case UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
