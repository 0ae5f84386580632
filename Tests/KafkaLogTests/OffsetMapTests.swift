import KafkaRecords
import Testing

@testable import KafkaLog

@Suite("The compactor's map of keys")
struct OffsetMapTests {
    @Test("SipHash-2-4-128 gives the reference's values")
    func sipHash() {
        let hasher = KeyHasher(key0: 0x0706_0504_0302_0100, key1: 0x0F0E_0D0C_0B0A_0908)
        let expected: [Int: String] = [
            0: "a3817f04ba25a8e66df67214c7550293", 1: "da87c1d86b99af44347659119b22fc45",
            2: "8177228da4a45dc7fca38bdef60affe4", 15: "5493e99933b0a8117e08ec0f97cfc3d9",
            16: "6ee2a4ca67b054bbfd3315bf85230577", 33: "77c6077146f01c32b6b69d5f4ea9ffcf",
        ]
        for (count, text) in expected {
            let bytes = (0..<count).map { UInt8($0) }
            let hash = bytes.withUnsafeBytes { hasher.hash($0) }
            #expect(hex(hash.high) + hex(hash.low) == text)
        }
    }

    private func hex(_ word: UInt64) -> String {
        withUnsafeBytes(of: word.littleEndian) { bytes in
            bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
    }

    @Test("Holds what a dictionary holds, while it grows")
    func asADictionary() throws {
        let map = try #require(OffsetMap(bytes: 1 << 20, loadFactor: 0.9))
        var expected: [UInt64: Int64] = [:]
        var generator = SystemRandomNumberGenerator()
        for step in 0..<60_000 {
            let number = UInt64.random(in: 0..<30_000, using: &generator)
            let offset = Int64.random(in: 0...Int64(step) + 1, using: &generator)
            #expect(map.put(self.hash(number), offset))
            expected[number] = max(offset, expected[number] ?? -1)
        }
        #expect(map.count == expected.count)
        for number in UInt64(0)..<31_000 {
            #expect(map.offset(self.hash(number)) == expected[number] ?? -1)
        }
    }

    @Test("Is never fuller than it may be, and still takes keys that it has")
    func full() throws {
        let map = try #require(OffsetMap(bytes: 100 * OffsetMap.entrySize, loadFactor: 0.9))
        for number in UInt64(0)..<90 { #expect(map.put(self.hash(number), Int64(number))) }
        #expect(!map.put(self.hash(90), 90))
        #expect(map.offset(self.hash(90)) == -1)
        #expect(map.put(self.hash(5), 1000))
        #expect(map.offset(self.hash(5)) == 1000)
        #expect(map.count == 90)
        #expect(map.utilization == 0.9)
    }

    private func hash(_ number: UInt64) -> KeyHash {
        let hasher = KeyHasher(key0: 3, key1: 4)
        return withUnsafeBytes(of: number) { hasher.hash($0) }
    }
}
