import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

@Suite struct ProduceTests {
    /// Every version of Produce with every codec that it may carry, read back in every version of Fetch.
    @Test func bytesComeBackUnchanged() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", leaderEpoch: 3)
        let client = try test.client()
        var offset: Int64 = 0
        for produceVersion: Int16 in 3...13 {
            for compression in [CompressionType.none, .gzip, .snappy, .lz4, .zstd] {
                if compression == .zstd, produceVersion < 7 { continue }
                let sent = batch("v\(produceVersion)", count: 3, compression: compression)
                let response = try client.send(ProduceRequest(topic, sent), version: produceVersion)
                let answer = try #require(response.responses.first?.partitionResponses.first)
                #expect(answer.errorCode == .none && answer.baseOffset == offset && answer.logAppendTimeMs == -1)
                #expect(answer.logStartOffset == (produceVersion >= 5 ? 0 : -1))
                #expect(response.responses[0].name == (produceVersion < 13 ? "t" : ""))
                #expect(response.responses[0].topicID == (produceVersion < 13 ? .zero : topic.id))
                // Clients with the topic's own codec have it again, byte for byte.
                for fetchVersion: Int16 in compression == .none || produceVersion == 13 ? 4...18 : 12...12 {
                    let fetched = try client.send(FetchRequest(topic, from: offset), version: fetchVersion)
                    let partition = try fetched.only
                    #expect(partition.records == stamped(sent, offset: offset, leaderEpoch: 3), "\(fetchVersion)")
                    #expect(partition.errorCode == .none && partition.highWatermark == offset + 3)
                    #expect(partition.lastStableOffset == offset + 3)
                    #expect(partition.logStartOffset == (fetchVersion >= 5 ? 0 : -1))
                    #expect(partition.abortedTransactions == nil && partition.preferredReadReplica == -1)
                    #expect(fetched.responses[0].topic == (fetchVersion < 13 ? "t" : ""))
                    #expect(fetched.responses[0].topicID == (fetchVersion < 13 ? .zero : topic.id))
                    #expect(fetched.sessionID == 0 && fetched.errorCode == .none)
                }
                offset += 3
            }
        }
    }

    @Test func acks() throws {
        let test = try TestBroker("min.insync.replicas=2")
        let topic = try test.makeTopic("t")
        let log = try test.partition(topic).log
        let client = try test.client()
        // Nothing is answered to 0; what follows is.
        for _ in 0..<3 { try client.sendOnly(ProduceRequest(topic, batch(), acks: 0), version: 9) }
        // One replica is all that there can be, so it is enough (KIP-966).
        #expect(try client.produce(topic, batch(), acks: 1).baseOffset == 3)
        #expect(try client.produce(topic, batch(), acks: -1).baseOffset == 4)
        for acks: Int16 in [7, 2, -2, .min, .max] {
            let answer = try client.produce(topic, batch(), acks: acks)
            #expect(answer.errorCode == .invalidRequiredAcks && answer.baseOffset == -1)
        }
        #expect(log.logEndOffset == 5)
        // An error cannot be told with 0, so the connection ends; what was right in the request is in the log.
        var mixed = ProduceRequest(topic, [(0, batch()), (7, batch())], acks: 0)
        mixed.timeoutMs = 0
        #expect(try client.isClosed(after: mixed, version: 9))
        #expect(log.logEndOffset == 6)
    }

    @Test(arguments: [3, 8, 9, 12, 13] as [Int16])
    func unknownTopicsAndPartitions(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        let nobody = TestTopic(name: "nobody", id: KafkaUUID(high: 1, low: 2))
        var request = ProduceRequest(topic, [(0, batch()), (2, batch()), (-1, batch()), (.max, batch()), (1, batch())])
        request.add(nobody, [(0, batch())])
        request.add(TestTopic(name: "", id: .zero), [(0, batch())])
        let response = try client.send(request, version: version)
        let missing: ErrorCode = version >= 13 ? .unknownTopicID : .unknownTopicOrPartition
        #expect(
            response.responses.map { $0.partitionResponses.map(\.errorCode) } == [
                [.none, .unknownTopicOrPartition, .unknownTopicOrPartition, .unknownTopicOrPartition, .none],
                [missing], [missing],
            ])
        #expect(response.responses[0].partitionResponses.map(\.index) == [0, 2, -1, .max, 1])
        #expect(response.responses[0].partitionResponses.map(\.baseOffset) == [0, -1, -1, -1, 0])
        // Who is not there is more to the point than what is wrong besides.
        let code = try client.produce(nobody, nil, version: version, acks: 7).errorCode
        #expect(code == missing)
    }

    @Test func recordsThatAreRefused() throws {
        let test = try TestBroker()
        let small = ["max.message.bytes": "300", "message.timestamp.before.max.ms": "10000"]
        let topic = try test.makeTopic("t", configs: small)
        let compacted = try test.makeTopic("c", configs: ["cleanup.policy": "compact"])
        let client = try test.client()
        func changed(_ bytes: [UInt8] = batch(), _ change: (inout [UInt8]) -> Void) -> [UInt8] {
            var bytes = bytes
            change(&bytes)
            return bytes
        }
        func sealed(_ change: (inout RecordBatchHeader) -> Void) throws -> [UInt8] {
            var bytes = batch(count: 2)
            try bytes.withUnsafeMutableBytes { raw in
                var header = try #require(RecordBatchHeader(UnsafeRawBufferPointer(raw)))
                change(&header)
                header.seal(raw)
            }
            return bytes
        }
        let table: [(String, [UInt8]?, ErrorCode, Int16)] = [
            ("null", nil, .invalidRecord, 9),
            ("nothing", [], .invalidRecord, 9),
            ("a part", Array(batch().dropLast(5)), .invalidRecord, 9),
            ("two batches", batch() + batch(), .invalidRecord, 9),
            ("rest", batch() + [0], .invalidRecord, 9),
            ("magic 1", changed { $0[16] = 1 }, .invalidRecord, 9),
            ("CRC", changed { $0[17] ^= 1 }, .corruptMessage, 9),
            ("value", changed { $0[$0.count - 2] ^= 1 }, .corruptMessage, 9),
            ("base offset", batch(baseOffset: 9), .invalidRecord, 9),
            ("control", batch(isControl: true), .invalidRecord, 9),
            ("count", try sealed { $0.recordsCount = 3 }, .invalidRecord, 9),
            ("deltas", try sealed { $0.lastOffsetDelta = 5 }, .invalidRecord, 9),
            ("too large", batch(String(repeating: "x", count: 300)), .messageTooLarge, 9),
            ("zstd", batch(compression: .zstd), .unsupportedCompressionType, 6),
            ("zstd from 7", batch(compression: .zstd), .none, 7),
            ("codec 7", try sealed { $0.attributes |= 7 }, .unsupportedCompressionType, 9),
            ("sequence", batch(producerID: 5, epoch: 0, sequence: -1), .invalidRecord, 9),
        ]
        for (name, records, code, version) in table {
            let answer = try client.produce(topic, records, version: version)
            #expect(answer.errorCode == code, "\(name)")
            #expect((answer.baseOffset >= 0) == (code == .none), "\(name)")
        }
        #expect(try test.partition(topic).log.logEndOffset == 1)

        let old = batch(count: 2, timestamp: wallMs() - 20_000)
        let future = batch(count: 2, timestamp: wallMs() + 7_200_000)
        for version: Int16 in 3...13 {
            for (records, at, code) in [
                (old, topic, ErrorCode.invalidTimestamp), (future, topic, .invalidTimestamp),
                (batch(count: 2, key: nil), compacted, .invalidRecord),
                (batch(count: 2, logAppendTime: 5), topic, .invalidTimestamp),
            ] {
                let answer = try client.produce(at, records, version: version)
                #expect(answer.errorCode == code)
                #expect(answer.recordErrors.map(\.batchIndex) == (version >= 8 ? [0, 1] : []))
                #expect((answer.errorMessage != nil) == (version >= 8))
                #expect(answer.recordErrors.allSatisfy { $0.batchIndexErrorMessage != nil })
                #expect(answer.logStartOffset == (version >= 5 ? 0 : -1))
            }
        }
        #expect(try test.partition(compacted).log.logEndOffset == 0)
        #expect(try client.produce(topic, batch(timestamp: -1)).errorCode == .none)
    }

    @Test func clientsMayNotWriteWhatIsKafkasOwn() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        for name in ["__transaction_state", "__share_group_state"] {
            let internalTopic = try test.makeTopic(name)
            #expect(try client.produce(internalTopic, batch()).errorCode == .invalidTopicException)
            #expect(try test.partition(internalTopic).log.logEndOffset == 0)
        }
        // Nor what is of a transaction without saying of which.
        for version: Int16 in 3...13 {
            let records = batch(producerID: 5, epoch: 0, sequence: 0, isTransactional: true)
            let code = try client.produce(topic, records, version: version).errorCode
            #expect(code == .transactionalIDAuthorizationFailed)
        }
        #expect(try test.partition(topic).log.logEndOffset == 0)
    }

    @Test func idempotentProducers() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        func send(_ sequence: Int32, count: Int = 2, id: Int64 = 7, epoch: Int16 = 1) throws -> (ErrorCode, Int64) {
            let records = batch(count: count, producerID: id, epoch: epoch, sequence: sequence)
            let answer = try client.produce(topic, records)
            return (answer.errorCode, answer.baseOffset)
        }
        for index in 0..<7 { #expect(try send(Int32(index) * 2) == (.none, Int64(index) * 2)) }
        // The last five are known, with the offsets that they have; those before are not.
        for index in 2..<7 { #expect(try send(Int32(index) * 2) == (.none, Int64(index) * 2)) }
        for index in 0..<2 { #expect(try send(Int32(index) * 2) == (.outOfOrderSequenceNumber, -1)) }
        #expect(try test.partition(topic).log.logEndOffset == 14)
        // A duplicate has the same first and last sequence.
        #expect(try send(12, count: 1) == (.outOfOrderSequenceNumber, -1))
        #expect(try send(13, count: 3) == (.outOfOrderSequenceNumber, -1))
        #expect(try send(16) == (.outOfOrderSequenceNumber, -1))
        #expect(try send(14) == (.none, 14))
        // Epochs: an older one is fenced, a newer one begins with 0.
        #expect(try send(16, epoch: 0) == (.invalidProducerEpoch, -1))
        #expect(try send(5, epoch: 2) == (.outOfOrderSequenceNumber, -1))
        #expect(try send(0, epoch: 2) == (.none, 16))
        #expect(try send(16, epoch: 1) == (.invalidProducerEpoch, -1))
        // Who is not known may begin anywhere, and goes on from 0 after the last number that there is.
        #expect(try send(.max - 1, id: 8, epoch: 0) == (.none, 18))
        #expect(try send(1, id: 8, epoch: 0) == (.outOfOrderSequenceNumber, -1))
        #expect(try send(0, id: 8, epoch: 0) == (.none, 20))
        #expect(try send(.max - 1, id: 8, epoch: 0) == (.none, 18))
        #expect(try send(.max, id: 9, epoch: 0) == (.none, 22))
        #expect(try send(1, id: 9, epoch: 0) == (.none, 24))
        #expect(try send(.max, id: 9, epoch: 0) == (.none, 22))

        // All of it is known after a restart too.
        try test.restart()
        let again = try test.client()
        for (sequence, id, epoch, offset) in [
            (0, 7, 2, 16), (.max - 1, 8, 0, 18), (0, 8, 0, 20), (.max, 9, 0, 22), (1, 9, 0, 24),
        ] as [(Int32, Int64, Int16, Int64)] {
            let records = batch(count: 2, producerID: id, epoch: epoch, sequence: sequence)
            #expect(try again.produce(topic, records).baseOffset == offset)
        }
        #expect(try test.partition(topic).log.logEndOffset == 26)
    }

    @Test(arguments: CompressionType.allCases)
    func topicsOwnTimeAndCodec(codec: CompressionType) throws {
        let test = try TestBroker()
        let configs = ["message.timestamp.type": "LogAppendTime", "compression.type": codec.configName]
        let topic = try test.makeTopic("t", configs: configs)
        let client = try test.client()
        for (index, sent) in CompressionType.allCases.enumerated() {
            let before = wallMs()
            let records = batch(
                count: 3, compression: sent, timestamp: 1000, producerID: 3, epoch: 0, sequence: Int32(index * 3))
            let answer = try client.produce(topic, records)
            #expect(answer.errorCode == .none && answer.baseOffset == Int64(index * 3))
            #expect(before...wallMs() ~= answer.logAppendTimeMs)
            let read = try client.send(FetchRequest(topic, from: answer.baseOffset), version: 12).only
            let stored = try #require(try batches(in: read.records).first)
            #expect(stored.header.compression == codec && stored.header.timestampType == .logAppendTime)
            #expect(stored.header.maxTimestamp == answer.logAppendTimeMs && stored.header.producerID == 3)
            #expect(stored.header.baseSequence == Int32(index * 3) && stored.header.lastOffsetDelta == 2)
            #expect(stored.records.map(\.value) == (0..<3).map { Array("value-\($0)".utf8) })
            #expect(stored.records.map(\.timestamp) == Array(repeating: answer.logAppendTimeMs, count: 3))
        }
    }

    @Test func answersComeInOrder() throws {
        let test = try TestBroker()
        let topics = try ["a", "b"].map { try test.makeTopic($0, partitions: 4) }
        let client = try test.client()
        var expected: [(id: Int32, request: ProduceRequest, version: Int16)] = []
        for round in 0..<60 {
            let version = Int16(3 + round % 10)
            var request = ProduceRequest(topics[0], [(3, batch()), (1, batch(count: 2))], acks: round % 4 == 3 ? 0 : 1)
            request.add(topics[1], [(0, batch())])
            // Twice the same partition: both are written.
            request.add(topics[0], [(3, batch()), (9, batch())])
            if request.acks == 0 { request.topicData[2].partitionData.removeLast() }
            let id = try client.sendOnly(request, version: version)
            if request.acks != 0 { expected.append((id, request, version)) }
        }
        var last: Int64 = -1
        for (id, request, version) in expected {
            let response = try client.receive(ProduceRequest.self, version: version, correlationID: id)
            #expect(response.responses.map(\.name) == request.topicData.map(\.name))
            #expect(
                response.responses.map { $0.partitionResponses.map(\.errorCode) }
                    == [[.none, .none], [.none], [.none, .unknownTopicOrPartition]])
            let first = response.responses[0].partitionResponses[0].baseOffset
            #expect(first > last && response.responses[2].partitionResponses[0].baseOffset == first + 1)
            last = first
        }
        #expect(last == 116)
        #expect(try test.partition(topics[0], 1).log.logEndOffset == 120)
    }

    @Test func aRequestOfTooManyPartitionsIsNotCarriedOut() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        let many = ProduceRequest(topic, (0..<10_001).map { _ in (0, nil) } + [(0, batch())])
        #expect(try client.isClosed(after: many, version: 9))
        #expect(try test.partition(topic).log.logEndOffset == 0)
        let other = try test.client()
        let fewer = ProduceRequest(topic, (0..<9_999).map { _ in (0, nil) } + [(0, batch())])
        #expect(try other.send(fewer, version: 9).responses[0].partitionResponses.count == 10_000)
    }
}

extension CompressionType {
    /// As `compression.type` has it.
    var configName: String { self == .none ? "uncompressed" : self.name }
}
