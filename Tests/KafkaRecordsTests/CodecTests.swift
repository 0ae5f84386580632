import KafkaPrimitives
import KafkaRecords
import Testing

@Suite struct CodecTests {
    static let packed: [CompressionType] = [.gzip, .snappy, .lz4, .zstd]

    /// Batches whose values are random, repeated or nothing, of sizes around the codecs' block sizes.
    @Test(arguments: packed)
    func packsAndUnpacks(codec: CompressionType) throws {
        var generator = SeededGenerator(seed: 1)
        let scratch = DecompressionScratch()
        for size in [0, 1, 60, 32_700, 32_768, 40_000, 65_536, 200_000] {
            for value in [generator.bytes(size), [UInt8](repeating: 9, count: size)] {
                var builder = RecordBatchBuilder(compression: codec)
                builder.append(timestamp: 5, key: nil, value: value)
                let batch = try builder.build().batch(scratch: scratch)
                #expect(batch.header.compression == codec)
                #expect(batch.records == [Record(timestamp: 5, key: nil, value: value)])
            }
        }
    }

    @Test(
        arguments: [
            (CompressionType.gzip, [-1, 1, 6, 9]), (.lz4, [1, 3, 9, 12, 17]), (.zstd, [-131_072, -1, 1, 3, 19, 22]),
            (CompressionType.snappy, [1]),
        ] as [(CompressionType, [Int32])])
    func levels(codec: CompressionType, levels: [Int32]) throws {
        for level in levels {
            var builder = RecordBatchBuilder(compression: codec, level: level)
            for index in 0..<200 { builder.append(timestamp: 5, key: nil, value: Array("value number \(index)".utf8)) }
            let bytes = builder.build()
            #expect(level == -131_072 || bytes.count < 4000)
            #expect(try bytes.batch().records.count == 200)
        }
    }

    @Test func levelsMakeADifference() {
        func size(_ codec: CompressionType, _ level: Int32) -> Int {
            var generator = SeededGenerator(seed: 5)
            var builder = RecordBatchBuilder(compression: codec, level: level)
            for _ in 0..<500 {
                let word = Array("word\(Int.random(in: 0..<50, using: &generator))".utf8)
                builder.append(timestamp: 5, key: word, value: word + word + generator.bytes(3))
            }
            return builder.build().count
        }
        #expect(size(.gzip, 9) < size(.gzip, 1))
        #expect(size(.lz4, 12) < size(.lz4, 9))  // 9 is Kafka's default and means LZ4's fast mode
        #expect(size(.zstd, 19) < size(.zstd, 1))
    }

    /// A megabyte of zeros is a few kilobytes or less: it must stop at the limit, and come out whole just at it.
    @Test(arguments: packed)
    func limitHolds(codec: CompressionType) throws {
        let size = 1 << 20
        let bytes = packedZeros(size, codec)
        for limit in [0, 1, 1000, 65_536, size - 1] {
            let scratch = DecompressionScratch(limit: limit)
            #expect(throws: DecompressionError.tooLarge(limit: limit)) { try unpack(bytes, codec, scratch) }
            #expect(scratch.heldBytes <= limit)
        }
        #expect(try unpack(bytes, codec, DecompressionScratch(limit: size)) == [UInt8](repeating: 0, count: size))
    }

    @Test(arguments: packed)
    func memoryGrowsWithWhatComesOut(codec: CompressionType) throws {
        let scratch = DecompressionScratch()
        _ = try unpack(packedZeros(1000, codec), codec, scratch)
        #expect(scratch.heldBytes <= 1 << 17)
        _ = try unpack(packedZeros(20 << 20, codec), codec, scratch)
        #expect(scratch.heldBytes >= 20 << 20)
        scratch.trim()
        #expect(scratch.heldBytes <= DecompressionScratch.retainedBytes)
        #expect(try unpack(packedZeros(1000, codec), codec, scratch).count == 1000)
    }

    @Test(arguments: packed)
    func rubbishAndTailsAreRefused(codec: CompressionType) throws {
        let good = packedZeros(5000, codec)
        let scratch = DecompressionScratch()
        #expect(try unpack(good, codec, scratch).count == 5000)
        #expect(throws: DecompressionError.malformed) { try unpack([], codec, scratch) }
        #expect(throws: DecompressionError.malformed) { try unpack([1, 2, 3, 4, 5, 6, 7, 8, 9], codec, scratch) }
        #expect(throws: DecompressionError.malformed) { try unpack(good + [0], codec, scratch) }
        #expect(throws: DecompressionError.malformed) { try unpack(good + [9, 9, 9, 9, 9, 9, 9], codec, scratch) }
        for length in 0..<good.count where codec != .snappy || length != 16 {
            #expect(throws: DecompressionError.malformed) { try unpack(Array(good[..<length]), codec, scratch) }
        }
        // The scratch is as good as new after all that.
        #expect(try unpack(good, codec, scratch).count == 5000)
    }

    @Test(arguments: [CompressionType.gzip, .zstd])
    func severalMembersMakeOne(codec: CompressionType) throws {
        let twice = packedZeros(5000, codec) + packedZeros(300, codec)
        #expect(try unpack(twice, codec, DecompressionScratch()).count == 5300)
    }

    @Test func onlyOneLZ4FrameAsTheJavaClientReads() {
        let twice = packedZeros(5000, .lz4) + packedZeros(300, .lz4)
        #expect(throws: DecompressionError.malformed) { try unpack(twice, .lz4, DecompressionScratch()) }
    }

    /// What other writers' frames have: liblz4's with checksums and content size; blocks that depend on each other
    /// are refused, as the Java client cannot read them.
    @Test func lz4FramesOfOthers() throws {
        // LZ4F of "aaaa…" (100 times) with content size, block and content checksum, 256 kB blocks.
        let full = try #require([UInt8](hex: lz4WithEverything))
        #expect(try unpack(full, .lz4, DecompressionScratch()) == [UInt8](repeating: 0x61, count: 100))
        for place in 0..<full.count {
            var damaged = full
            damaged[place] ^= 0x10
            #expect(throws: DecompressionError.self, "byte \(place)") {
                try unpack(damaged, .lz4, DecompressionScratch())
            }
        }
        let linked = try #require([UInt8](hex: lz4Linked))
        #expect(throws: DecompressionError.malformed) { try unpack(linked, .lz4, DecompressionScratch()) }
    }

    @Test func snappyWithoutFraming() throws {
        // One block: length 10, a literal of one byte, a copy of nine at distance one.
        #expect(
            try unpack([10, 0x00, 0x61, 0b0001_0101, 1], .snappy, DecompressionScratch())
                == [UInt8](repeating: 0x61, count: 10))
        // Says that it holds nothing, and does.
        #expect(try unpack([0], .snappy, DecompressionScratch()) == [])
    }

    /// A length that no block of this size can have: refused before any memory is taken for it.
    @Test func snappyThatLiesAboutItsLength() {
        let scratch = DecompressionScratch()
        let lie: [UInt8] = [0xFF, 0xFF, 0xFF, 0x3F, 0x00, 0x61]  // 128 MB in six bytes
        #expect(throws: DecompressionError.malformed) { try unpack(lie, .snappy, scratch) }
        #expect(scratch.heldBytes == 0)
        let framed: [UInt8] = [0x82, 0x53, 0x4E, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6]
        #expect(throws: DecompressionError.malformed) { try unpack(framed + lie, .snappy, scratch) }
        #expect(scratch.heldBytes == 0)
    }

    /// The densest snappy there can be: copies of 64 bytes in three. It must not be taken for a lie.
    @Test func snappyAtItsDensest() throws {
        let copies = 100_000
        var block: [UInt8] = []
        var length = UInt32(1 + 64 * copies)
        while length >= 0x80 {
            block.append(UInt8(length & 0x7F) | 0x80)
            length >>= 7
        }
        block += [UInt8(length), 0x00, 0x61]
        for _ in 0..<copies { block += [0xFE, 1, 0] }
        #expect(try unpack(block, .snappy, DecompressionScratch()).count == 1 + 64 * copies)
    }

    @Test func zstdOfAStreamHasNoSize() throws {
        // zstd of a pipe: 64 bytes of "b", no content size in the header.
        let bytes = try #require([UInt8](hex: zstdStream))
        #expect(try unpack(bytes, .zstd, DecompressionScratch()) == [UInt8](repeating: 0x62, count: 64))
    }

    @Test func zstdWindowIsLimited() throws {
        // Header with window descriptor 2^41, then an empty last block.
        let huge: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xF8, 0x01, 0x00, 0x00]
        #expect(throws: DecompressionError.malformed) { try unpack(huge, .zstd, DecompressionScratch()) }
        var small = huge
        small[5] = 0x58
        #expect(try unpack(small, .zstd, DecompressionScratch()) == [])
    }

    @Test func names() {
        for codec in CompressionType.allCases { #expect(CompressionType(name: codec.name) == codec) }
        #expect(CompressionType(name: "uncompressed") == CompressionType.none)
        #expect(CompressionType(name: "producer") == nil)
        #expect(TimestampType(name: "CreateTime") == .createTime)
        #expect(TimestampType(name: "LogAppendTime") == .logAppendTime)
        #expect(TimestampType(name: "") == nil)
    }
}

private func unpack(
    _ bytes: [UInt8], _ codec: CompressionType, _ scratch: DecompressionScratch
) throws -> [UInt8] {
    try bytes.withUnsafeBytes { input in
        let output = try scratch.decompress(input, codec)
        return [UInt8](output)
    }
}

/// Zeros as the builder packs them: a batch's payload is replaced to get at a codec without a record around.
private func packedZeros(_ count: Int, _ codec: CompressionType) -> [UInt8] {
    let zeros = [UInt8](repeating: 0, count: count)
    let batch = clientBatch(1).withPayload(zeros)
    let packed = batch.withUnsafeBytes { bytes in
        try? RecordValidator.recompress(bytes, to: codec, scratch: DecompressionScratch())
    }
    return Array((packed ?? [])[61...])
}

/// liblz4's frame of 100 times "a", with content size, block checksums and content checksum.
private let lz4WithEverything = "04224d187c4064000000000000005e0b0000001f6101004b506161616161bac06e87000000008b10e317"
/// An empty frame whose header says that blocks depend on each other.
private let lz4Linked = "04224d184040c000000000"
/// `zstd --no-check` of 64 times "b" through a pipe.
private let zstdStream = "28b52ffd00584500001062620100930016"
