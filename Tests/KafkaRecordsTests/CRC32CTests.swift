import KafkaRecords
import Testing

@Suite struct CRC32CTests {
    /// RFC 3720, B.4, and the check value of the catalogue of CRCs.
    @Test(
        arguments: [
            (Array("123456789".utf8), 0xE306_9283 as UInt32),
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
            ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
            ([UInt8](0..<32), 0x46DD_794E),
            ([UInt8]((0..<32).reversed()), 0x113F_DB5C),
            ([], 0),
        ] as [([UInt8], UInt32)])
    func knownAnswers(bytes: [UInt8], expected: UInt32) {
        #expect(bytes.withUnsafeBytes { crc32c($0) } == expected)
        #expect(bytes.withUnsafeBytes { portableCRC32C($0) } == expected)
    }

    @Test func acceleratedEqualsPortableAtAnyLengthAndAlignment() {
        var generator = SeededGenerator(seed: 32)
        let bytes = generator.bytes(40_000)
        bytes.withUnsafeBytes { all in
            for round in 0..<3000 {
                let longest = round.isMultiple(of: 10) ? 39_900 : round.isMultiple(of: 3) ? 3_000 : 200
                let start = Int.random(in: 0..<64, using: &generator)
                let part = UnsafeRawBufferPointer(
                    rebasing: all[start..<(start + Int.random(in: 0...longest, using: &generator))])
                let seed = UInt32.random(in: 0...(.max), using: &generator)
                #expect(crc32c(part, seed: seed) == portableCRC32C(part, seed: seed))
            }
        }
    }

    @Test func continuesWhereItStopped() {
        var generator = SeededGenerator(seed: 33)
        let bytes = generator.bytes(20_000)
        bytes.withUnsafeBytes { all in
            let whole = crc32c(all)
            for cut in [0, 1, 7, 8, 63, 191, 1536, 12_288, 12_289, 19_999, 20_000] {
                let head = crc32c(UnsafeRawBufferPointer(rebasing: all[..<cut]))
                #expect(crc32c(UnsafeRawBufferPointer(rebasing: all[cut...]), seed: head) == whole)
            }
        }
    }
}
