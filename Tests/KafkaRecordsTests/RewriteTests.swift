import KafkaPrimitives
import KafkaRecords
import Testing

/// What validation changes in a batch: timestamps in place, the codec by making another one.
@Suite struct RewriteTests {
    @Test(arguments: [CompressionType.none, .zstd])
    func wrongMaxTimestampIsPutRight(codec: CompressionType) throws {
        let right = clientBatch(4, timestamps: [testNow, testNow + 5, testNow + 5, testNow + 1], compression: codec)
        var wrong = right
        wrong.set(Int64(1), at: 35)
        wrong = wrong.withRightCRC()
        let batch = try validate(&wrong).get()
        #expect(wrong == right)
        #expect(batch.header == right.batchHeader)
        #expect(batch.maxTimestamp == testNow + 5)
        #expect(batch.offsetOfMaxTimestampDelta == 1)
    }

    @Test func noTimestampsAtAll() throws {
        var bytes = clientBatch(2, timestamps: [-1, -1])
        let batch = try validate(&bytes).get()
        #expect(batch.maxTimestamp == -1)
        #expect(batch.offsetOfMaxTimestampDelta == -1)
    }

    @Test(arguments: [CompressionType.none, .snappy])
    func logAppendTime(codec: CompressionType) throws {
        let original = clientBatch(3, compression: codec, producerID: 4, producerEpoch: 1, baseSequence: 0)
        var bytes = original
        let batch = try validate(&bytes, ValidationRules(timestampType: .logAppendTime, now: testNow + 77)).get()
        #expect(batch.maxTimestamp == testNow + 77)
        #expect(batch.offsetOfMaxTimestampDelta == 0)
        #expect(batch.header.timestampType == .logAppendTime)
        #expect(batch.header == bytes.batchHeader)
        #expect(bytes[61...] == original[61...])
        let records = try bytes.batch().records
        #expect(records.map(\.timestamp) == [Int64](repeating: testNow + 77, count: 3))
        let before = try original.batch().records
        #expect(records.map(\.value) == before.map(\.value))
    }

    @Test func recompresses() throws {
        for source in CompressionType.allCases {
            for target in CompressionType.allCases {
                var bytes = clientBatch(
                    50, compression: source, headers: [RecordHeader("h", [1])], producerID: 8, producerEpoch: 3,
                    baseSequence: 12, isTransactional: true)
                let original = bytes
                let rules = ValidationRules(now: testNow, targetCompression: target)
                let scratch = DecompressionScratch()
                let first = try validate(&bytes, rules, scratch: scratch).get()
                #expect(bytes == original)
                #expect(first.needsRewrite == (source != target))
                guard first.needsRewrite else { continue }
                let (made, second) = try bytes.withUnsafeBytes {
                    RecordValidator.rewrite($0, validated: first, rules: rules, scratch: scratch)
                }.get()
                #expect(second.header == made.batchHeader)
                #expect(second.header.compression == target)
                #expect(second.sizeInBytes == made.count)
                #expect(!second.needsRewrite)
                let before = try original.batch()
                let after = try made.batch()
                #expect(after.records == before.records)
                var header = after.header
                header.crc = before.header.crc
                header.batchLength = before.header.batchLength
                header.attributes ^= before.header.attributes ^ 0x10
                header.attributes ^= Int16(source.rawValue) ^ Int16(target.rawValue) ^ 0x10
                header.attributes = before.header.attributes
                #expect(header == before.header)
                #expect(after.header.isTransactional)
            }
        }
    }

    @Test func recompressionWithAppendTimeAndWrongMaximum() throws {
        var bytes = clientBatch(3)
        bytes.set(Int64(12), at: 35)
        bytes = bytes.withRightCRC()
        let scratch = DecompressionScratch()
        for (type, expected) in [(TimestampType.createTime, testNow - 998), (.logAppendTime, testNow)] {
            let rules = ValidationRules(timestampType: type, now: testNow, targetCompression: .gzip)
            let first = try validate(&bytes, rules, scratch: scratch).get()
            let (made, second) = try bytes.withUnsafeBytes {
                RecordValidator.rewrite($0, validated: first, rules: rules, scratch: scratch)
            }.get()
            #expect(try made.batch().header == second.header)
            #expect(second.header.maxTimestamp == expected)
            #expect(second.maxTimestamp == expected)
            #expect(second.header.timestampType == type)
        }
    }

    @Test func recompressedToTooMuch() throws {
        var bytes = clientBatch(1, compression: .gzip, valueSize: 5000)
        let rules = ValidationRules(maxMessageBytes: 1000, now: testNow, targetCompression: CompressionType.none)
        let scratch = DecompressionScratch()
        let first = try validate(&bytes, rules, scratch: scratch).get()
        let result = bytes.withUnsafeBytes {
            RecordValidator.rewrite($0, validated: first, rules: rules, scratch: scratch)
        }
        guard case .failure(let failure) = result else {
            Issue.record("accepted")
            return
        }
        #expect(failure.code == .messageTooLarge)
    }

    @Test func stampIsOutsideTheCRC() throws {
        var bytes = clientBatch(3)
        bytes.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: 1 << 40, leaderEpoch: 17) }
        let batch = try bytes.batch()
        #expect(batch.header.partitionLeaderEpoch == 17)
        #expect(batch.records.map(\.offset) == [1 << 40, 1 << 40 + 1, 1 << 40 + 2])
    }
}
