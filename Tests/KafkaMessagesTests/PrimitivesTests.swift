import KafkaMessages
import KafkaPrimitives
import Testing

@Suite struct PrimitivesTests {
    /// Runs `body` with a reader over `bytes`; its value, or the error.
    private func read<T>(
        _ bytes: [UInt8], _ body: (inout ByteReader) throws(DecodingError) -> T
    ) -> Result<T, DecodingError> {
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            do throws(DecodingError) {
                return .success(try body(&reader))
            } catch {
                return .failure(error)
            }
        }
    }

    @Test(
        arguments: [
            (0, [0]), (1, [1]), (127, [0x7f]), (128, [0x80, 1]), (300, [0xac, 2]), (0x3fff, [0xff, 0x7f]),
            (0x4000, [0x80, 0x80, 1]), (UInt32.max, [0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] as [(UInt32, [UInt8])])
    func unsignedVarints(_ value: UInt32, _ bytes: [UInt8]) {
        #expect(withEncoded { $0.writeUnsignedVarint(value) } == bytes)
        #expect(ByteWriter.size(ofUnsignedVarint: value) == bytes.count)
        #expect(
            self.read(bytes) { (reader) throws(DecodingError) in try reader.readUnsignedVarint() } == .success(value))
    }

    @Test(
        arguments: [
            ([0x80], .truncated), ([], .truncated), ([0xff, 0xff, 0xff, 0xff, 0x10], .invalidVarint),
            ([0xff, 0xff, 0xff, 0xff, 0xff, 0], .invalidVarint),
        ] as [([UInt8], DecodingError)])
    func malformedVarints(_ bytes: [UInt8], _ error: DecodingError) {
        #expect(
            self.read(bytes) { (reader) throws(DecodingError) in try reader.readUnsignedVarint() } == .failure(error))
    }

    @Test(arguments: [0, -1, 1, 63, -64, 64, Int64.max, Int64.min, 1 << 40])
    func zigzag(_ value: Int64) {
        let bytes = withEncoded { $0.writeVarlong(value) }
        #expect(bytes.count <= 10)
        #expect(self.read(bytes) { (reader) throws(DecodingError) in try reader.readVarlong() } == .success(value))
        let short = Int32(truncatingIfNeeded: value)
        let shortBytes = withEncoded { $0.writeVarint(short) }
        #expect(self.read(shortBytes) { (reader) throws(DecodingError) in try reader.readVarint() } == .success(short))
    }

    @Test func zigzagBytes() {
        #expect(withEncoded { $0.writeVarint(-1) } == [1])
        #expect(withEncoded { $0.writeVarint(1) } == [2])
        #expect(withEncoded { $0.writeVarlong(Int64.min) } == [UInt8](repeating: 0xff, count: 9) + [1])
    }

    @Test func strings() {
        func nullable(_ bytes: [UInt8], _ flexible: Bool) -> Result<String?, DecodingError> {
            self.read(bytes) { (reader) throws(DecodingError) in try reader.readNullableString(flexible: flexible) }
        }
        #expect(nullable([0xff, 0xff], false) == .success(nil))
        #expect(nullable([0, 0], false) == .success(""))
        #expect(nullable([0, 1, 0x61], false) == .success("a"))
        #expect(nullable([0xff, 0xfe], false) == .failure(.invalidLength(-2)))
        #expect(nullable([0x7f, 0xff, 0x61], false) == .failure(.truncated))
        #expect(nullable([0], true) == .success(nil))
        #expect(nullable([1], true) == .success(""))
        #expect(nullable([2, 0x61], true) == .success("a"))
        #expect(nullable([3, 0x61], true) == .failure(.truncated))
        #expect(nullable([0xff, 0xff, 0xff, 0xff, 0x0f], true) == .failure(.invalidLength(0xffff_fffe)))
        // Not UTF-8.
        #expect(nullable([3, 0x61, 0xff], true) == .success("a\u{fffd}"))
        let strict = self.read([0]) { (reader) throws(DecodingError) in try reader.readString(flexible: true) }
        #expect(strict == .failure(.unexpectedNull))
    }

    @Test func longStringsAreCutAtACharacter() {
        let bytes = withEncoded { $0.writeString(String(repeating: "é", count: 20_000), flexible: false) }
        #expect(bytes.count == 2 + 32_766)
        #expect(bytes[..<2] == [0x7f, 0xfe])
        let text = self.read(bytes) { (reader) throws(DecodingError) in try reader.readString(flexible: false) }
        #expect(text == .success(String(repeating: "é", count: 16_383)))
    }

    @Test func countsAreCheckedAgainstWhatIsLeft() {
        func int32s(_ bytes: [UInt8]) -> Result<[Int32]?, DecodingError> {
            self.read(bytes) { (reader) throws(DecodingError) in try reader.readNullableInt32s(flexible: false) }
        }
        #expect(int32s([0, 0, 0, 1, 0, 0, 0, 5]) == .success([5]))
        #expect(int32s([0xff, 0xff, 0xff, 0xff]) == .success(nil))
        #expect(int32s([0, 0, 0, 2, 0, 0, 0, 5]) == .failure(.invalidLength(2)))
        #expect(int32s([0x7f, 0xff, 0xff, 0xff]) == .failure(.invalidLength(0x7fff_ffff)))
        #expect(int32s([0x80, 0, 0, 0]) == .failure(.invalidLength(-0x8000_0000)))
    }

    @Test func budget() {
        let outcome = self.read([0, 0]) { (reader) throws(DecodingError) -> Int in
            #expect(reader.budget == 4096 + 128)
            try reader.charge(4224)
            try reader.charge(1)
            return 0
        }
        #expect(outcome == .failure(.memoryExceeded))
        // As many strings as the input can hold, each with its own memory: within the budget.
        let strings = [String](repeating: String(repeating: "x", count: 16), count: 10_000)
        let bytes = withEncoded { $0.writeNullableStrings(strings, flexible: true) }
        #expect(
            self.read(bytes) { (reader) throws(DecodingError) in try reader.readStrings(flexible: true) }
                == .success(strings))
    }

    @Test func nestingIsBounded() {
        let outcome = self.read([]) { (reader) throws(DecodingError) -> Int in
            for _ in 0..<ByteReader.maximumDepth { try reader.enter() }
            try reader.enter()
            return 0
        }
        #expect(outcome == .failure(.nestedTooDeeply))
    }

    @Test(
        arguments: [
            ([0], .success([])),
            ([2, 1, 1, 7, 5, 0], .success([RawTaggedField(tag: 1, bytes: [7]), RawTaggedField(tag: 5, bytes: [])])),
            ([2, 5, 0, 1, 0], .failure(.tagOutOfOrder(1))), ([2, 5, 0, 5, 0], .failure(.tagOutOfOrder(5))),
            ([1, 5, 2, 0], .failure(.truncated)), ([3, 5, 0, 6, 0], .failure(.invalidLength(3))),
        ] as [([UInt8], Result<[RawTaggedField], DecodingError>)])
    func taggedFields(_ bytes: [UInt8], _ expected: Result<[RawTaggedField], DecodingError>) {
        #expect(self.read(bytes) { (reader) throws(DecodingError) in try reader.readUnknownTaggedFields() } == expected)
        if case .success(let fields) = expected {
            #expect(withEncoded { $0.writeUnknownTaggedFields(fields.reversed()) } == bytes)
        }
    }

    /// Unknown tags stand between the known ones; a known tag must be as long as it says.
    @Test func unknownTagsAreMerged() throws {
        var request = FetchRequest()
        request.clusterID = "c"
        request.replicaState.replicaID = 3
        request.unknownTaggedFields = [RawTaggedField(tag: 7, bytes: [1]), RawTaggedField(tag: 1, bytes: [9])]
        let bytes = request.encoded(version: 18)
        // Three fields: 0 (clusterID), 1 (replicaState, not the unknown one of the same tag), 7.
        let replicaState: [UInt8] = [1, 13, 0, 0, 0, 3, 255, 255, 255, 255, 255, 255, 255, 255, 0]
        let tail: [UInt8] = [3, 0, 2, 2, 0x63] + replicaState + [7, 1, 1]
        #expect(Array(bytes.suffix(tail.count)) == tail)
        let decoded = try FetchRequest(decoding: bytes, version: 18)
        #expect(decoded.unknownTaggedFields == [RawTaggedField(tag: 7, bytes: [1])])
        #expect(decoded.replicaState.replicaID == 3)
        var damaged = bytes
        damaged[bytes.count - tail.count + 2] = 3
        #expect(throws: DecodingError.self) { try FetchRequest(decoding: damaged, version: 18) }
    }

    @Test func fieldsOfOtherVersionsAreLeftOut() throws {
        var request = HeartbeatRequest()
        request.groupInstanceID = "i"
        #expect(try HeartbeatRequest(decoding: request.encoded(version: 2), version: 2) == HeartbeatRequest())
        #expect(try HeartbeatRequest(decoding: request.encoded(version: 3), version: 3) == request)
        #expect(throws: DecodingError.unsupportedVersion(5)) { try HeartbeatRequest(decoding: [], version: 5) }
        // Null topics, which version 0 does not have.
        var metadata = MetadataRequest()
        metadata.topics = nil
        #expect(metadata.encoded(version: 0) == [0, 0, 0, 0])
        #expect(metadata.encoded(version: 1) == [255, 255, 255, 255])
    }

    @Test func writerCountsPastItsMemory() {
        withUnsafeTemporaryAllocation(byteCount: 4, alignment: 1) { memory in
            var writer = ByteWriter(memory)
            writer.writeInt16(1)
            writer.writeString("hello", flexible: false)
            #expect(writer.overflowed && writer.count == 9)
        }
        #expect(withEncoded(capacity: 1) { $0.writeString("hello", flexible: false) } == [0, 5] + Array("hello".utf8))
    }

    @Test func uuids() throws {
        let id = KafkaUUID(high: 0x0123_4567_89ab_cdef, low: 0xfedc_ba98_7654_3210)
        #expect(id.description == "ASNFZ4mrze_-3LqYdlQyEA")
        #expect(KafkaUUID("ASNFZ4mrze_-3LqYdlQyEA") == id)
        #expect(KafkaUUID("ASNFZ4mrze_-3LqYdlQyEA==") == id)
        #expect(KafkaUUID.zero.description == "AAAAAAAAAAAAAAAAAAAAAA")
        for text in [
            "", "ASNFZ4mrze_-3LqYdlQyE", "ASNFZ4mrze_-3LqYdlQyEB", "ASNFZ4mrze_-3LqYdlQyEA=", "ASNFZ4mrze/+3LqYdlQyEA",
        ] {
            #expect(KafkaUUID(text) == nil, "\(text)")
        }
        var generator = SeededGenerator(seed: 1)
        for _ in 0..<1000 {
            let random = KafkaUUID.random(using: &generator)
            #expect(KafkaUUID(random.description) == random)
            #expect(!random.description.hasPrefix("-"))
            #expect(random.high >> 12 & 0xf == 4 && random.low >> 62 == 2)
        }
        #expect(KafkaUUID(high: 0, low: 1) < KafkaUUID(high: 1, low: 0))
    }

    @Test func errorCodes() {
        #expect(ErrorCode.unknownServerError.name == "UNKNOWN_SERVER_ERROR")
        #expect(ErrorCode.none.name == "NONE")
        #expect(ErrorCode(rawValue: 133).name == "SHARE_SESSION_LIMIT_REACHED")
        #expect(ErrorCode.unknownTopicID.rawValue == 100)
        #expect(ErrorCode.fencedInstanceID.description == "FENCED_INSTANCE_ID (82)")
        #expect(ErrorCode(rawValue: 134).name == "ERROR_134" && ErrorCode(rawValue: -2).name == "ERROR_-2")
        #expect(Set((-1...133).map { ErrorCode(rawValue: $0).name }).count == 135)
        #expect(Set((-1...133).map { ErrorCode(rawValue: $0).defaultMessage }).count == 135)
    }

    @Test func messageIndex() throws {
        for (index, api) in MessageIndex.apis.enumerated() { #expect(Int(api.key) == index) }
        #expect(MessageIndex.api(93) == nil && MessageIndex.api(-1) == nil)
        #expect(MessageIndex.api(4)?.versions == nil)
        let producerIDs = try #require(MessageIndex.api(22))
        #expect(producerIDs.versions == 0...6 && producerIDs.stableVersions == 0...5)
        #expect(MessageIndex.requestHeaderVersion(apiKey: 18, version: 3) == 2)
        #expect(MessageIndex.responseHeaderVersion(apiKey: 18, version: 3) == 0)
        #expect(MessageIndex.requestHeaderVersion(apiKey: 12, version: 3) == 1)
        #expect(MessageIndex.responseHeaderVersion(apiKey: 12, version: 4) == 1)
        #expect(HeartbeatRequest.responseHeaderVersion(4) == 1 && ApiVersionsRequest.responseHeaderVersion(4) == 0)
        for (name, type) in allMessages {
            guard let request = type as? any KafkaRequest.Type else { continue }
            let api = try #require(MessageIndex.api(request.apiKey))
            #expect(api.name + "Request" == name && api.versions == request.validVersions)
            #expect(api.firstFlexibleVersion == request.firstFlexibleVersion)
        }
    }
}
