import KafkaRecords
import Testing

@Suite struct RecordBatchTests {
    @Test func headerRoundTrip() {
        var header = RecordBatchHeader(
            baseOffset: -3, partitionLeaderEpoch: 4, compression: .zstd, timestampType: .logAppendTime,
            isTransactional: true, isControl: true, hasDeleteHorizon: true)
        header.lastOffsetDelta = 11
        header.baseTimestamp = 12
        header.maxTimestamp = 13
        header.producerID = 14
        header.producerEpoch = 15
        header.baseSequence = .max - 5
        header.recordsCount = 17
        var bytes = [UInt8](repeating: 0xEE, count: 70)
        bytes.withUnsafeMutableBytes { header.seal($0) }
        #expect(bytes.batchHeader == header)
        #expect(header.sizeInBytes == 70)
        #expect(header.compression == .zstd)
        #expect(header.timestampType == .logAppendTime)
        #expect(header.isTransactional && header.isControl && header.hasDeleteHorizon)
        #expect(header.lastOffset == 8)
        // 2^31 - 6 + 11 wraps to 5.
        #expect(header.lastSequence == 5)
        #expect(bytes.withUnsafeBytes { header.isCRCValid(in: $0) })
        bytes[69] = 0
        #expect(!bytes.withUnsafeBytes { header.isCRCValid(in: $0) })
        #expect(!bytes[..<69].withUnsafeBytes { header.isCRCValid(in: $0) })
    }

    @Test func sequencesWrap() {
        #expect(RecordBatchHeader.sequence(5, plus: 6) == 11)
        #expect(RecordBatchHeader.sequence(.max, plus: 1) == 0)
        #expect(RecordBatchHeader.sequence(.max - 1, plus: 3) == 1)
        #expect(RecordBatchHeader().lastSequence == -1)
    }

    @Test func gapsStayWhereCompactionLeftThem() throws {
        var builder = RecordBatchBuilder(baseOffset: 100)
        builder.append(offset: 103, timestamp: 10, key: [1], value: nil)
        builder.append(offset: 200, timestamp: 5, key: [2], value: [])
        #expect(builder.nextOffset == 201)
        let batch = try builder.build().batch()
        #expect(batch.records.map(\.offset) == [103, 200])
        #expect(batch.records.map(\.timestamp) == [10, 5])
        #expect(batch.header.lastOffset == 200)
        #expect(batch.header.maxTimestamp == 10)
        #expect(batch.header.baseTimestamp == 10)
    }

    @Test func deleteHorizon() throws {
        var builder = RecordBatchBuilder(deleteHorizon: 5000)
        builder.append(timestamp: 4000, key: [1], value: nil)
        let batch = try builder.build().batch()
        #expect(batch.header.hasDeleteHorizon)
        #expect(batch.header.baseTimestamp == 5000)
        #expect(batch.records.map(\.timestamp) == [4000])
    }

    @Test func sizesAreKnownBeforehand() {
        var generator = SeededGenerator(seed: 3)
        var builder = RecordBatchBuilder(baseOffset: 5)
        for index in 0..<400 {
            let key = index.isMultiple(of: 3) ? nil : generator.bytes(Int.random(in: 0...200, using: &generator))
            let value = index.isMultiple(of: 7) ? nil : generator.bytes(Int.random(in: 0...300, using: &generator))
            let headers = [RecordHeader("é", nil), RecordHeader("x", generator.bytes(70))].prefix(index % 3)
            let timestamp = Int64.random(in: -1...(1 << 50), using: &generator)
            let before = builder.sizeInBytes
            let size = builder.sizeOf(key: key, value: value, headers: Array(headers), timestamp: timestamp)
            builder.append(timestamp: timestamp, key: key, value: value, headers: Array(headers))
            #expect(builder.sizeInBytes == before + size)
        }
        #expect(builder.build().count == builder.sizeInBytes)
        #expect(builder.recordsCount == 400)
    }

    /// Timestamps and lengths at every varint's edge, read back.
    @Test func varintEdges() throws {
        var builder = RecordBatchBuilder()
        var expected: [Int64] = [0]
        builder.append(timestamp: 0, key: nil, value: nil)
        for bits in 0..<63 {
            for timestamp in [Int64(1) << bits, (1 << bits) - 1, -(1 << bits), .min, .max] {
                builder.append(timestamp: timestamp, key: nil, value: nil)
                expected.append(timestamp)
            }
        }
        #expect(try builder.build().batch().records.map(\.timestamp) == expected)
        for size in [62, 63, 64, 65, 8191, 8192, 8193, 1_048_575, 1_048_576, 1_048_577] {
            var builder = RecordBatchBuilder()
            builder.append(timestamp: 0, key: [UInt8](repeating: 1, count: size), value: nil)
            #expect(try builder.build().batch().records.first?.key?.count == size)
        }
    }

    @Test func batchesOneAfterTheOther() throws {
        let first = clientBatch(2)
        let second = clientBatch(3, compression: .lz4)
        let scratch = DecompressionScratch()
        func counts(_ bytes: [UInt8]) throws -> ([Int], Int) {
            try bytes.withUnsafeBytes { all in
                var slices = RecordBatchSlices(all)
                var sizes: [Int] = []
                while let slice = try slices.next() { sizes.append(slice.bytes.count) }
                return (sizes, slices.remainingBytes)
            }
        }
        let both = first + second
        #expect(try counts(both) == ([first.count, second.count], 0))
        #expect(try counts(Array(both.dropLast())) == ([first.count], second.count - 1))
        #expect(try counts(first + second.prefix(20)) == ([first.count], 20))
        #expect(try counts([]) == ([], 0))
        let all = try both.withUnsafeBytes { bytes in
            try RecordBatch.all(in: bytes, scratch: scratch)
        }
        #expect(all.map(\.records.count) == [2, 3])
        var broken = both
        broken.set(Int32(5), at: first.count + 8)
        #expect(throws: RecordBatchError.badBatchLength(5)) { try counts(broken) }
        broken[first.count + 16] = 1
        #expect(throws: RecordBatchError.unsupportedMagic(1)) { try counts(broken) }
    }

    @Test func errorsSayWhy() throws {
        let good = clientBatch(2)
        func error(_ change: (inout [UInt8]) -> Void, seal: Bool = true) -> RecordBatchError? {
            var bytes = good
            change(&bytes)
            if seal { bytes = bytes.withRightCRC() }
            do {
                _ = try bytes.batch()
                return nil
            } catch { return error as? RecordBatchError }
        }
        #expect(error { _ in } == nil)
        #expect(error { $0.removeLast($0.count - 60) } == .tooShort)
        #expect(error { $0[16] = 1 } == .unsupportedMagic(1))
        #expect(error { $0.set(Int32(48), at: 8) } == .badBatchLength(48))
        #expect(error { $0.set(Int32(5000), at: 8) } == .badBatchLength(5000))
        #expect(error { $0.set(Int16(6), at: 21) } == .unknownCompression)
        #expect(error { $0.set(Int32(-1), at: 57) } == .negativeCount(-1))
        #expect(error { $0.set(Int32(3), at: 57) } == .record(RecordFault(.badVarint, at: 2)))
        #expect(error { $0.set(Int32(1), at: 57) } == .record(RecordFault(.trailingBytes, at: 1)))
        #expect(error { $0.set(Int16(4), at: 21) } == .decompression(.malformed))
        guard case .wrongCRC = error({ $0[40] ^= 1 }, seal: false) else {
            Issue.record("no CRC error")
            return
        }
    }

    @Test func anEmptiedBatchHasNoRecords() throws {
        var bytes = Array(clientBatch(3, compression: .gzip)[..<61])
        bytes.set(Int32(49), at: 8)
        bytes.set(Int32(0), at: 57)
        let batch = try bytes.withRightCRC().batch()
        #expect(batch.records == [])
        #expect(batch.header.lastOffset == 2)
    }

    @Test func controlRecords() {
        #expect(ControlRecordType.commit.key == [0, 0, 0, 1])
        #expect(ControlRecordType.abort.key == [0, 0, 0, 0])
        func type(_ key: [UInt8]) -> ControlRecordType? { key.withUnsafeBytes { ControlRecordType(key: $0) } }
        #expect(type([0, 0, 0, 1]) == .commit)
        #expect(type([0, 5, 0, 0]) == .abort)
        #expect(type([0, 0, 0]) == nil)
        #expect(type([0xFF, 0xFF, 0, 1]) == nil)
        #expect(type([0, 0, 0, 99]) == nil)
        let marker = EndTransactionMarker(coordinatorEpoch: -2)
        #expect(marker.value == [0, 0, 0xFF, 0xFF, 0xFF, 0xFE])
        #expect(marker.value.withUnsafeBytes { EndTransactionMarker(value: $0) } == marker)
        #expect([0, 0, 0 as UInt8].withUnsafeBytes { EndTransactionMarker(value: $0) } == nil)
    }
}
