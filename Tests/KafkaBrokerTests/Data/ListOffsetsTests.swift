import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

@Suite struct ListOffsetsTests {
    private func request(
        _ topic: String, _ asked: [(partition: Int32, timestamp: Int64)], epoch: Int32 = -1, replica: Int32 = -1,
        isolation: Int8 = 0
    ) -> ListOffsetsRequest {
        var request = ListOffsetsRequest()
        request.replicaID = replica
        request.isolationLevel = isolation
        var entry = ListOffsetsRequest.Topic()
        entry.name = topic
        entry.partitions = asked.map { asked in
            var partition = ListOffsetsRequest.Partition()
            partition.partitionIndex = asked.partition
            partition.timestamp = asked.timestamp
            partition.currentLeaderEpoch = epoch
            return partition
        }
        request.topics = [entry]
        return request
    }

    private struct Found: Equatable, CustomStringConvertible {
        var code: ErrorCode = .none
        var timestamp: Int64 = -1
        var offset: Int64 = -1
        var epoch: Int32 = -1

        init(_ code: ErrorCode = .none, _ timestamp: Int64 = -1, _ offset: Int64 = -1, _ epoch: Int32 = -1) {
            (self.code, self.timestamp, self.offset, self.epoch) = (code, timestamp, offset, epoch)
        }

        init(_ answer: ListOffsetsResponse.PartitionResponse) {
            self.init(answer.errorCode, answer.timestamp, answer.offset, answer.leaderEpoch)
        }

        var description: String { "\(self.code) time \(self.timestamp) offset \(self.offset) epoch \(self.epoch)" }
    }

    private func ask(_ client: TestClient, _ request: ListOffsetsRequest, version: Int16) throws -> [Found] {
        let response = try client.send(request, version: version)
        #expect(response.topics.map(\.name) == request.topics.map(\.name))
        #expect(
            response.topics.map { $0.partitions.map(\.partitionIndex) }
                == request.topics.map { $0.partitions.map(\.partitionIndex) })
        return response.topics.flatMap(\.partitions).map { Found($0) }
    }

    @Test(arguments: Array(ListOffsetsRequest.validVersions))
    func everyTimestamp(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2, leaderEpoch: 4)
        let client = try test.client()
        // Times 1000, 1007, 1003, 1010, 1001: not in order, and the greatest is not the last.
        for (index, timestamp) in ([1000, 1007, 1003, 1010, 1001] as [Int64]).enumerated() {
            let codec: CompressionType = index % 2 == 0 ? .none : .lz4
            try client.produce(topic, batch(compression: codec, timestamp: timestamp))
        }
        let epoch: Int32 = version >= 4 ? 4 : -1
        let none = Found()
        for (timestamp, expected) in [
            (-1, Found(.none, -1, 5, epoch)), (-2, Found(.none, -1, 0, epoch)),
            (-3, version >= 7 ? Found(.none, 1010, 3, epoch) : Found(.unsupportedVersion)),
            (-4, version >= 8 ? Found(.none, -1, 0, epoch) : Found(.unsupportedVersion)),
            (-5, version >= 9 ? none : Found(.unsupportedVersion)),
            (-6, version >= 11 ? none : Found(.unsupportedVersion)),
            (-7, Found(.unsupportedVersion)), (.min, Found(.unsupportedVersion)),
            (0, Found(.none, 1000, 0, epoch)), (1000, Found(.none, 1000, 0, epoch)),
            (1001, Found(.none, 1007, 1, epoch)), (1007, Found(.none, 1007, 1, epoch)),
            (1008, Found(.none, 1010, 3, epoch)), (1010, Found(.none, 1010, 3, epoch)),
            (1011, none), (.max, none),
        ] as [(Int64, Found)] {
            #expect(
                try self.ask(client, request("t", [(0, timestamp)]), version: version) == [expected], "\(timestamp)")
        }
        // An empty partition has a leader's epoch all the same.
        for (timestamp, expected) in [
            (-1, Found(.none, -1, 0, epoch)), (-2, Found(.none, -1, 0, epoch)),
            (-3, version >= 7 ? none : Found(.unsupportedVersion)), (0, none),
        ] as [(Int64, Found)] {
            #expect(
                try self.ask(client, request("t", [(1, timestamp)]), version: version) == [expected], "\(timestamp)")
        }
        // What is wrong with single partitions, and with those asked for twice.
        let mixed = request("t", [(0, -1), (7, -1), (1, -1), (-1, -2), (1, -2), (9, -9)])
        #expect(
            try self.ask(client, mixed, version: version) == [
                Found(.none, -1, 5, epoch), Found(.unknownTopicOrPartition), Found(.invalidRequest),
                Found(.unknownTopicOrPartition), Found(.invalidRequest), Found(.unsupportedVersion),
            ])
        #expect(
            try self.ask(client, request("nobody", [(0, -1)]), version: version) == [Found(.unknownTopicOrPartition)])
        // So many look-ups that they are done elsewhere.
        var many = request("t", [(0, 1008)])
        for index in 0..<20 { many.topics += request("nobody-\(index)", [(0, 1008)]).topics }
        let found = try self.ask(client, many, version: version)
        #expect(found == [Found(.none, 1010, 3, epoch)] + Array(repeating: Found(.unknownTopicOrPartition), count: 20))
        // Leader epochs are told from 4 on.
        for (asked, code) in [(4, .none), (3, .fencedLeaderEpoch), (5, .unknownLeaderEpoch)] as [(Int32, ErrorCode)] {
            let found = try self.ask(client, request("t", [(0, -1)], epoch: asked), version: version)
            #expect(found.map(\.code) == [version >= 4 ? code : .none])
        }
    }

    @Test(arguments: Array(ListOffsetsRequest.validVersions))
    func consumersSeeWhatIsBelowTheWatermark(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        for timestamp: Int64 in [1000, 2000, 3000] { try client.produce(topic, batch(timestamp: timestamp)) }
        try test.partition(topic).log.setHighWatermark(2)
        for (replica, isolation, end) in [(-1, 0, 2), (-1, 1, 2), (-2, 0, 3), (77, 0, 3)] as [(Int32, Int8, Int64)] {
            func offset(_ timestamp: Int64) throws -> Int64 {
                let request = request("t", [(0, timestamp)], replica: replica, isolation: isolation)
                return try self.ask(client, request, version: version)[0].offset
            }
            #expect(try offset(-1) == end)
            #expect(try offset(2000) == 1)
            #expect(try offset(2001) == (end == 3 ? 2 : -1))
            if version >= 7 { #expect(try offset(-3) == (end == 3 ? 2 : -1)) }
        }
    }

    @Test(arguments: Array(OffsetForLeaderEpochRequest.validVersions))
    func endsOfEpochs(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2, leaderEpoch: 2)
        let log = try test.partition(topic).log
        let client = try test.client()
        for _ in 0..<3 { try client.produce(topic, batch()) }
        log.assignLeaderEpoch(5)
        log.assignLeaderEpoch(7)
        func ask(_ topic: String, _ partition: Int32, epoch: Int32, current: Int32 = -1) throws -> [Int64] {
            var request = OffsetForLeaderEpochRequest()
            request.replicaID = -1
            var entry = OffsetForLeaderEpochRequest.OffsetForLeaderTopic()
            entry.topic = topic
            var asked = OffsetForLeaderEpochRequest.OffsetForLeaderPartition()
            asked.partition = partition
            asked.leaderEpoch = epoch
            asked.currentLeaderEpoch = current
            entry.partitions = [asked]
            request.topics = [entry]
            let response = try client.send(request, version: version)
            #expect(response.topics.map(\.topic) == [topic])
            let answer = try #require(response.topics.first?.partitions.first)
            #expect(answer.partition == partition)
            return [Int64(answer.errorCode.rawValue), Int64(answer.leaderEpoch), answer.endOffset]
        }
        // Nothing was written under 5, so 7 has taken its place.
        for (epoch, expected) in [
            (-1, [0, -1, -1]), (0, [0, 0, 0]), (1, [0, 1, 0]), (2, [0, 2, 3]), (3, [0, 2, 3]), (5, [0, 2, 3]),
            (6, [0, 2, 3]), (7, [0, 7, 3]), (8, [0, -1, -1]),
        ] as [(Int32, [Int64])] {
            #expect(try ask("t", 0, epoch: epoch) == expected, "\(epoch)")
        }
        // The epoch of a leader who has not written yet.
        #expect(try ask("t", 1, epoch: 2) == [0, 2, 0])
        for (current, code) in [(2, .none), (1, .fencedLeaderEpoch), (3, .unknownLeaderEpoch)] as [(Int32, ErrorCode)] {
            let answer = try ask("t", 1, epoch: 2, current: current)
            #expect(answer == (code == .none ? [0, 2, 0] : [Int64(code.rawValue), -1, -1]))
        }
        for (name, partition) in [("t", 2), ("t", -1), ("nobody", 0)] as [(String, Int32)] {
            #expect(
                try ask(name, partition, epoch: 0) == [Int64(ErrorCode.unknownTopicOrPartition.rawValue), -1, -1])
        }
    }
}
