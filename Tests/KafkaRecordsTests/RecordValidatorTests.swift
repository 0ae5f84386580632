import KafkaPrimitives
import KafkaRecords
import Testing

/// A batch that is right but for one thing, and the code that it must get.
struct Refusal: Sendable, CustomTestStringConvertible {
    let name: String
    let code: ErrorCode
    let rules: ValidationRules
    let bytes: [UInt8]

    init(
        _ name: String, _ code: ErrorCode, _ bytes: [UInt8] = clientBatch(),
        rules: ValidationRules = ruled { _ in }, change: (inout [UInt8]) -> Void = { _ in }
    ) {
        self.name = name
        self.code = code
        self.rules = rules
        var changed = bytes
        change(&changed)
        self.bytes = changed
    }

    /// As `init`, with a CRC that fits the change.
    static func sealed(
        _ name: String, _ code: ErrorCode, _ bytes: [UInt8] = clientBatch(),
        rules: ValidationRules = ruled { _ in }, change: (inout [UInt8]) -> Void
    ) -> Refusal {
        Refusal(name, code, bytes, rules: rules) {
            change(&$0)
            $0 = $0.withRightCRC()
        }
    }

    /// One record of these bytes (without their length), uncompressed.
    static func record(_ name: String, _ body: [UInt8], count: Int32 = 1, tail: [UInt8] = []) -> Refusal {
        Refusal(name, .invalidRecord, clientBatch(1).withPayload([UInt8(body.count * 2)] + body + tail, count: count))
    }

    var testDescription: String { self.name }
}

private func ruled(_ change: (inout ValidationRules) -> Void) -> ValidationRules {
    var rules = ValidationRules(now: testNow, topic: "t", partition: 3)
    change(&rules)
    return rules
}

extension Refusal {
    static let ofBatches: [Refusal] = [
        // No batch, several, another magic.
        Refusal("nothing", .invalidRecord, []),
        Refusal("16 bytes", .invalidRecord, Array(clientBatch()[..<16])),
        Refusal("header only", .invalidRecord, Array(clientBatch()[..<61])),
        Refusal("last byte missing", .invalidRecord) { $0.removeLast() },
        Refusal("two batches", .invalidRecord, clientBatch() + clientBatch()),
        Refusal("a byte after the batch", .invalidRecord) { $0.append(0) },
        Refusal("magic 0", .invalidRecord) { $0[16] = 0 },
        Refusal("magic 1", .invalidRecord) { $0[16] = 1 },
        Refusal("magic 3", .invalidRecord) { $0[16] = 3 },
        // Codecs.
        Refusal(
            "zstd in v6", .unsupportedCompressionType, clientBatch(compression: .zstd),
            rules: ruled { $0.produceVersion = 6 }),
        Refusal.sealed("codec 5", .unsupportedCompressionType) { $0.set(Int16(5), at: 21) },
        Refusal.sealed("codec 7", .unsupportedCompressionType) { $0.set(Int16(7), at: 21) },
        Refusal.sealed("not gzip", .invalidRecord) { $0.set(Int16(1), at: 21) },
        Refusal.sealed("not snappy", .invalidRecord) { $0.set(Int16(2), at: 21) },
        Refusal.sealed("not lz4", .invalidRecord) { $0.set(Int16(3), at: 21) },
        Refusal.sealed("not zstd", .invalidRecord) { $0.set(Int16(4), at: 21) },
        Refusal(
            "unpacks to too much", .messageTooLarge, clientBatch(1, compression: .zstd, valueSize: 100_000),
            rules: ruled { $0.maxUnpackedBytes = 99_999 }),
        // Length, size, CRC.
        Refusal("length 0", .corruptMessage) { $0.set(Int32(0), at: 8) },
        Refusal("length -1", .corruptMessage) { $0.set(Int32(-1), at: 8) },
        Refusal("length below a header", .corruptMessage) { $0.set(Int32(48), at: 8) },
        Refusal("length minimal", .corruptMessage) { $0.set(Int32.min, at: 8) },
        Refusal("length maximal", .invalidRecord) { $0.set(Int32.max, at: 8) },
        Refusal("last bit changed", .corruptMessage) { $0[$0.count - 1] ^= 1 },
        Refusal("CRC changed", .corruptMessage) { $0[17] ^= 0x80 },
        Refusal("too large", .messageTooLarge, rules: ruled { $0.maxMessageBytes = clientBatch().count - 1 }),
        // Too large is said before the CRC is computed.
        Refusal("too large and broken", .messageTooLarge, rules: ruled { $0.maxMessageBytes = 100 }) { $0[17] ^= 1 },
    ]

    static let ofHeaders: [Refusal] = [
        Refusal("base offset 1", .invalidRecord) { $0.set(Int64(1), at: 0) },
        Refusal.sealed("no records", .invalidRecord) { $0.set(Int32(0), at: 57) },
        Refusal.sealed("no records, delta -1", .invalidRecord) {
            $0.set(Int32(0), at: 57)
            $0.set(Int32(-1), at: 23)
        },
        Refusal.sealed("-1 records", .invalidRecord) { $0.set(Int32(-1), at: 57) },
        Refusal.sealed("minimal count", .invalidRecord) {
            $0.set(Int32.min, at: 57)
            $0.set(Int32.max, at: 23)
        },
        Refusal.sealed("last offset delta too small", .invalidRecord) { $0.set(Int32(1), at: 23) },
        Refusal.sealed("last offset delta too large", .invalidRecord) { $0.set(Int32(3), at: 23) },
        Refusal.sealed("last offset delta negative", .invalidRecord) { $0.set(Int32(-3), at: 23) },
        Refusal.sealed("count and delta too small", .invalidRecord) {
            $0.set(Int32(2), at: 57)
            $0.set(Int32(1), at: 23)
        },
        Refusal.sealed("count and delta too large", .invalidRecord) {
            $0.set(Int32(4), at: 57)
            $0.set(Int32(3), at: 23)
        },
        Refusal.sealed("count and delta huge", .invalidRecord) {
            $0.set(Int32.max, at: 57)
            $0.set(Int32.max - 1, at: 23)
        },
        Refusal("control batch", .invalidRecord, clientBatch(isTransactional: true, isControl: true)),
        Refusal.sealed("delete horizon", .invalidRecord) { $0.set(Int16(0x40), at: 21) },
        Refusal("producer without sequence", .invalidRecord, clientBatch(producerID: 5, producerEpoch: 0)),
        Refusal("producer without epoch", .invalidRecord, clientBatch(producerID: 5, baseSequence: 0)),
        Refusal("producer -2", .invalidRecord, clientBatch(producerID: -2, producerEpoch: 0, baseSequence: 0)),
        // Timestamps.
        Refusal.sealed("LogAppendTime from a client", .invalidTimestamp) { $0.set(Int16(8), at: 21) },
        Refusal.sealed(
            "LogAppendTime from a client on such a topic", .invalidTimestamp,
            rules: ruled { $0.timestampType = .logAppendTime }
        ) { $0.set(Int16(8), at: 21) },
        Refusal("timestamp -2", .invalidTimestamp, clientBatch(1, timestamps: [-2])),
        Refusal("timestamp minimal", .invalidTimestamp, clientBatch(1, timestamps: [.min])),
        Refusal("timestamp maximal", .invalidTimestamp, clientBatch(1, timestamps: [.max])),
        Refusal("timestamp after", .invalidTimestamp, clientBatch(1, timestamps: [testNow + 3_600_001])),
        Refusal(
            "timestamp before", .invalidTimestamp, clientBatch(2, timestamps: [testNow, testNow - 1001]),
            rules: ruled { $0.timestampBeforeMaxMs = 1000 }),
        // Keys.
        Refusal("no key, compacted", .invalidRecord, clientBatch(keys: false), rules: ruled { $0.compacted = true }),
        Refusal(
            "no key, compacted and compressed", .invalidRecord, clientBatch(keys: false, compression: .lz4),
            rules: ruled { $0.compacted = true }),
    ]

    static let ofRecords: [Refusal] = [
        // Body: attributes, timestamp, offset, key, value, headers.
        Refusal.record("empty record", []),
        Refusal.record("attributes only", [0]),
        Refusal.record("no value", [0, 0, 0, 1]),
        Refusal.record("no header count", [0, 0, 0, 1, 1]),
        Refusal.record("offset delta 1", [0, 0, 2, 1, 1, 0]),
        Refusal.record("offset delta -1", [0, 0, 1, 1, 1, 0]),
        Refusal.record("key too long", [0, 0, 0, 8, 1, 0]),
        Refusal.record("value too long", [0, 0, 0, 1, 4, 0]),
        Refusal.record("bytes after the headers", [0, 0, 0, 1, 1, 0, 0]),
        Refusal.record("-1 headers", [0, 0, 0, 1, 1, 1]),
        Refusal.record("more headers than bytes", [0, 0, 0, 1, 1, 4, 0]),
        Refusal.record("null header name", [0, 0, 0, 1, 1, 2, 1, 1]),
        Refusal.record("header name too long", [0, 0, 0, 1, 1, 2, 4, 1]),
        Refusal.record("header value too long", [0, 0, 0, 1, 1, 2, 0, 2]),
        Refusal.record("header value missing", [0, 0, 0, 1, 1, 2, 0]),
        Refusal.record("timestamp of 11 bytes", [0] + [UInt8](repeating: 0x80, count: 10) + [0, 0, 1, 1, 0]),
        Refusal.record("timestamp of 65 bits", [0] + [UInt8](repeating: 0x80, count: 9) + [2, 0, 1, 1, 0]),
        Refusal.record("offset of 6 bytes", [0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 1, 1, 0]),
        Refusal.record("offset of 33 bits", [0, 0, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 1, 0]),
        Refusal.record("key length minimal", [0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 1, 0]),
        Refusal.record("key length maximal", [0, 0, 0, 0xFE, 0xFF, 0xFF, 0xFF, 0x0F, 1, 0]),
        Refusal.record("a byte after the last record", [0, 0, 0, 1, 1, 0], tail: [0]),
        Refusal.record("a record too few", [0, 0, 0, 1, 1, 0], count: 2),
        Refusal.record("a record too many", [0, 0, 0, 1, 1, 0], tail: [12, 0, 0, 2, 1, 1, 0]),
        Refusal.record("same offset twice", [0, 0, 0, 1, 1, 0], count: 2, tail: [12, 0, 0, 0, 1, 1, 0]),
        Refusal("negative record length", .invalidRecord, clientBatch(1).withPayload([1])),
        Refusal("record length cut off", .invalidRecord, clientBatch(1).withPayload([0x80])),
        Refusal(
            "record length of 6 bytes", .invalidRecord, clientBatch(1).withPayload([UInt8](repeating: 0x80, count: 6))),
        Refusal("no bytes at all", .invalidRecord, clientBatch(1).withPayload([])),
    ]
}

@Suite struct RecordValidatorTests {
    @Test(arguments: Refusal.ofBatches + Refusal.ofHeaders + Refusal.ofRecords)
    func refuses(refusal: Refusal) throws {
        var bytes = refusal.bytes
        guard case .failure(let failure) = validate(&bytes, refusal.rules) else {
            Issue.record("accepted")
            return
        }
        #expect(failure.code == refusal.code, "\(failure.detail)")
        #expect(failure.detail != "")
        #expect(bytes == refusal.bytes)
        // The same inside a compressed batch.
        guard let header = bytes.batchHeader, header.sizeInBytes == bytes.count,
            bytes.withUnsafeBytes({ header.isCRCValid(in: $0) }), header.compression == CompressionType.none
        else { return }
        for codec in CodecTests.packed {
            let packed = try bytes.withUnsafeBytes { input in
                try RecordValidator.recompress(input, to: codec, scratch: DecompressionScratch())
            }
            var rules = refusal.rules
            rules.maxMessageBytes = refusal.code == .messageTooLarge ? packed.count - 1 : rules.maxMessageBytes
            guard case .failure(let failure) = validated(packed, rules) else {
                Issue.record("accepted in \(codec.name)")
                continue
            }
            #expect(failure.code == refusal.code, "\(codec.name): \(failure.detail)")
        }
    }

    @Test(arguments: CompressionType.allCases)
    func accepts(codec: CompressionType) throws {
        let headers = [RecordHeader("a", nil), RecordHeader("", [1, 2]), RecordHeader("ä", [])]
        let bytes = clientBatch(
            300, compression: codec, headers: headers, producerID: 9, producerEpoch: 0, baseSequence: 7,
            isTransactional: true)
        var copy = bytes
        let batch = try validate(&copy, ValidationRules(compacted: true, now: testNow)).get()
        #expect(copy == bytes)
        #expect(batch.header == bytes.batchHeader)
        #expect(batch.recordCount == 300)
        #expect(batch.sizeInBytes == bytes.count)
        #expect(batch.maxTimestamp == testNow - 701)
        #expect(batch.offsetOfMaxTimestampDelta == 299)
        #expect(batch.isTransactional)
        #expect(!batch.needsRewrite)
        #expect(batch.header.lastSequence == 306)
    }

    @Test func acceptsWhatLooksOddButIsAllowed() throws {
        // A record's attributes are not used; a null key and value; an overlong varint (Java writes none, reads any).
        let odd: [UInt8] = [0xFF, 0x80, 0x00, 0x80, 0x00, 1, 1, 0]
        #expect(throws: Never.self) { try validated(clientBatch(1).withPayload([16] + odd, count: 1)).get() }
        // No timestamp.
        #expect(throws: Never.self) { try validated(clientBatch(2, timestamps: [-1, -1])).get() }
        // At the bounds.
        let rules = ValidationRules(timestampBeforeMaxMs: 1000, timestampAfterMaxMs: 1000, now: testNow)
        #expect(throws: Never.self) {
            try validated(clientBatch(3, timestamps: [testNow - 1000, testNow + 1000, -1]), rules).get()
        }
        // Old, unless that is limited; no bound at all.
        #expect(throws: Never.self) { try validated(clientBatch(1, timestamps: [0])).get() }
        let open = ValidationRules(timestampBeforeMaxMs: .max, timestampAfterMaxMs: .max, now: testNow)
        #expect(throws: Never.self) { try validated(clientBatch(2, timestamps: [0, .max / 4]), open).get() }
        // Far from its own clock, but the topic has the broker's.
        let appendTime = ValidationRules(timestampType: .logAppendTime, now: testNow)
        #expect(throws: Never.self) { try validated(clientBatch(1, timestamps: [testNow * 2]), appendTime).get() }
        // zstd from Produce v7 on; exactly max.message.bytes.
        let zstd = clientBatch(compression: .zstd)
        #expect(throws: Never.self) {
            try validated(zstd, ValidationRules(maxMessageBytes: zstd.count, now: testNow, produceVersion: 7)).get()
        }
    }

    @Test func coordinatorsMayWriteControlBatchesAndReplicasAnythingWhole() throws {
        let marker = RecordBatchBuilder.endTransaction(
            committed: true, marker: EndTransactionMarker(coordinatorEpoch: 1), producerID: 5, producerEpoch: 1,
            timestamp: testNow, baseOffset: 42)
        let rules = ValidationRules(now: testNow, targetCompression: .gzip, origin: .coordinator)
        let batch = try validated(marker, rules).get()
        #expect(!batch.needsRewrite)
        #expect(batch.maxTimestamp == testNow)
        // From the leader: gaps, control batches, any timestamp, not larger checks; but whole and right.
        let replica = ValidationRules(maxMessageBytes: 1, now: testNow, origin: .replica)
        var gaps = RecordBatchBuilder(baseOffset: 10)
        gaps.append(offset: 12, timestamp: .max, key: nil, value: nil)
        gaps.append(offset: 20, timestamp: -5, key: nil, value: nil)
        var bytes = gaps.build()
        #expect(try validate(&bytes, replica).get().header.lastOffset == 20)
        bytes[30] ^= 1
        #expect(validate(&bytes, replica) == .failure(ValidationFailure(.corruptMessage, detail(bytes, replica))))
    }

    private func detail(_ bytes: [UInt8], _ rules: ValidationRules) -> String {
        if case .failure(let failure) = validated(bytes, rules) { failure.detail } else { "" }
    }

    // MARK: - Record errors

    @Test func recordErrorsForKeys() {
        var builder = RecordBatchBuilder()
        for index in 0..<6 {
            builder.append(timestamp: testNow, key: index.isMultiple(of: 2) ? [1] : nil, value: nil)
        }
        let rules = ValidationRules(compacted: true, now: testNow, topic: "t", partition: 3)
        let text = "Compacted topic cannot accept message without key in topic partition t-3"
        let message = """
            One or more records have been rejected due to 3 record errors in total, and only showing the first three \
            errors at most: [RecordError(batchIndex=1, message='\(text)'), RecordError(batchIndex=3, \
            message='\(text)'), RecordError(batchIndex=5, message='\(text)')]
            """
        let errors = [1, 3, 5].map { RecordError(batchIndex: $0, message: text) }
        #expect(
            validated(builder.build(), rules)
                == .failure(ValidationFailure(.invalidRecord, message, message: message, recordErrors: errors)))
    }

    @Test func recordErrorsForTimestamps() {
        let rules = ValidationRules(timestampBeforeMaxMs: 10, timestampAfterMaxMs: 20, now: 1000)
        let message = "One or more records have been rejected due to invalid timestamp"
        let range = "is out of range. The timestamp should be within [990, 1020]"
        let errors = [
            RecordError(batchIndex: 1, message: "Timestamp 989 of message with offset 1 \(range)"),
            RecordError(batchIndex: 3, message: "Timestamp 1021 of message with offset 3 \(range)"),
        ]
        #expect(
            validated(clientBatch(5, timestamps: [990, 989, 1020, 1021, -1]), rules)
                == .failure(ValidationFailure(.invalidTimestamp, message, message: message, recordErrors: errors)))
    }

    /// Kafka: one bad timestamp among records without keys makes the whole batch INVALID_TIMESTAMP.
    @Test func timestampsPrevailOverKeys() throws {
        var builder = RecordBatchBuilder()
        builder.append(timestamp: testNow, key: nil, value: nil)
        builder.append(timestamp: testNow * 2, key: [1], value: nil)
        builder.append(timestamp: testNow * 2, key: nil, value: nil)
        guard case .failure(let failure) = validated(builder.build(), ValidationRules(compacted: true, now: testNow))
        else {
            Issue.record("accepted")
            return
        }
        #expect(failure.code == .invalidTimestamp)
        #expect(failure.recordErrors.map(\.batchIndex) == [0, 1, 2])
        let messages = failure.recordErrors.map { $0.message ?? "" }
        #expect(messages.map { $0.hasPrefix("Timestamp") } == [false, true, false])
    }

    @Test func recordErrorsForTheTimestampType() {
        var bytes = clientBatch(2)
        bytes.set(Int16(8), at: 21)
        guard case .failure(let failure) = validated(bytes.withRightCRC()) else {
            Issue.record("accepted")
            return
        }
        #expect(failure.recordErrors.map(\.batchIndex) == [0, 1])
        #expect(
            failure.recordErrors.first?.message == """
                Invalid timestamp type in message DefaultRecord(offset=0, timestamp=1699999999001, key=2 bytes, \
                value=20 bytes). Producer should not set timestamp type to LogAppendTime.
                """)
    }

    @Test func recordErrorsAreBounded() {
        guard
            case .failure(let failure) = validated(
                clientBatch(5000, keys: false), ValidationRules(compacted: true, now: testNow))
        else {
            Issue.record("accepted")
            return
        }
        #expect(failure.recordErrors.count == RecordValidator.maxRecordErrors)
        #expect(failure.message?.contains("due to 5000 record errors") == true)
    }

    @Test func otherFailuresHaveNoMessageAsInKafka() {
        guard case .failure(let failure) = validated([]) else {
            Issue.record("accepted")
            return
        }
        #expect(failure.message == nil)
        #expect(failure.recordErrors == [])
    }
}
