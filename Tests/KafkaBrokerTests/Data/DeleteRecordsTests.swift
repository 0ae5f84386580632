import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

@Suite struct DeleteRecordsTests {
    private func delete(
        _ client: TestClient, _ topic: String, _ asked: [(partition: Int32, offset: Int64)], version: Int16 = 2
    ) throws -> [(code: ErrorCode, low: Int64)] {
        var request = DeleteRecordsRequest()
        request.timeoutMs = 5000
        var entry = DeleteRecordsRequest.Topic()
        entry.name = topic
        entry.partitions = asked.map { asked in
            var partition = DeleteRecordsRequest.Partition()
            (partition.partitionIndex, partition.offset) = (asked.partition, asked.offset)
            return partition
        }
        request.topics = [entry]
        let response = try client.send(request, version: version)
        #expect(response.topics.map(\.name) == [topic])
        #expect(response.topics[0].partitions.map(\.partitionIndex) == asked.map(\.partition))
        return response.topics[0].partitions.map { ($0.errorCode, $0.lowWatermark) }
    }

    @Test(arguments: Array(DeleteRecordsRequest.validVersions))
    func everyAnswer(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let compacted = try test.makeTopic("compacted", configs: ["cleanup.policy": "compact"])
        let both = try test.makeTopic("both", configs: ["cleanup.policy": "compact,delete"])
        let client = try test.client()
        for _ in 0..<10 { try client.produce(topic, batch(count: 3)) }
        try client.produce(compacted, batch())
        try client.produce(both, batch())
        func deleted(_ topic: String, _ offset: Int64, _ partition: Int32 = 0) throws -> String {
            let answer = try self.delete(client, topic, [(partition, offset)], version: version)[0]
            return "\(answer.code.name) \(answer.low)"
        }
        #expect(try deleted("t", 0) == "NONE 0")
        #expect(try deleted("t", 10) == "NONE 10")
        // Backwards it does not go, and that is no error.
        #expect(try deleted("t", 3) == "NONE 10")
        #expect(try deleted("t", 31) == "OFFSET_OUT_OF_RANGE -1")
        #expect(try deleted("t", -2) == "OFFSET_OUT_OF_RANGE -1")
        #expect(try deleted("t", -1) == "NONE 30")
        #expect(try deleted("t", -1, 1) == "NONE 0")
        #expect(try deleted("t", 0, 2) == "UNKNOWN_TOPIC_OR_PARTITION -1")
        #expect(try deleted("t", 0, -1) == "UNKNOWN_TOPIC_OR_PARTITION -1")
        #expect(try deleted("nothing", 0) == "UNKNOWN_TOPIC_OR_PARTITION -1")
        #expect(try deleted("compacted", 1) == "POLICY_VIOLATION -1")
        #expect(try deleted("both", 1) == "NONE 1")
        _ = try test.makeTopic("__consumer_offsets")
        #expect(try deleted("__consumer_offsets", 0) == "INVALID_TOPIC_EXCEPTION -1")
        #expect(
            try self.delete(client, "t", [(1, 5), (0, 30), (7, 0)], version: version).map(\.code)
                == [.offsetOutOfRange, .none, .unknownTopicOrPartition])
    }

    @Test func aFetchThatWaitsIsToldThatItsOffsetIsGone() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let (reader, client) = (try test.client(), try test.client())
        try client.produce(topic, batch(count: 5))
        let id = try reader.sendOnly(
            FetchRequest(topic, from: 2, maxWaitMs: 30_000, minBytes: 1 << 20), version: 12)
        try test.waitForWaiters(1, of: test.partition(topic))
        #expect(try self.delete(client, "t", [(0, 4)]).map(\.low) == [4])
        let answer = try reader.receive(FetchRequest.self, version: 12, correlationID: id).only
        #expect(answer.errorCode == .offsetOutOfRange)
        #expect(try client.send(FetchRequest(topic, from: 4), version: 12).only.logStartOffset == 4)
    }

    @Test func whatIsDeletedStaysSoAndItsFilesGo() throws {
        let test = try TestBroker("log.segment.delete.delay.ms=0", "log.segment.bytes=1048576")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        for _ in 0..<5 { try client.produce(topic, batch(String(repeating: "x", count: 500_000))) }
        let log = try test.partition(topic).log
        #expect(log.segmentCount == 3)
        #expect(try self.delete(client, "t", [(0, -1)]).map(\.low) == [5])
        #expect(
            try test.broker.replicaManager.logManager.log(for: log.topicPartition)?.deleteOldSegments(now: wallMs())
                == 2)
        #expect(log.segmentCount == 1)
        try test.restart()
        #expect(try test.partition(topic).log.snapshot.logStartOffset == 5)
        #expect(try test.client().send(FetchRequest(topic, from: 4), version: 12).only.errorCode == .offsetOutOfRange)
        #expect(try test.client().produce(topic, batch()).baseOffset == 5)
    }
}
