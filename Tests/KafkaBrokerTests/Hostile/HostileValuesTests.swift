import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Requests that are well formed and mean harm: the largest and smallest of everything. Each is answered, or its
/// connection closed; then the broker serves others as before, and has not grown much.
@Suite(.serialized) struct HostileValuesTests {
    private static let longName = String(repeating: "x", count: 32_700)
    private static let names = [
        "", ".", "..", "/", "a/b", "../../etc/passwd", "a\0b", "a\nb\u{1b}[31m", "ä", "\u{fffd}", "a b", "*", ".*",
        "^a|b$",
        "[a-z]+", "(a+)+$", String(repeating: "a", count: 249), String(repeating: "a", count: 250), longName,
        "%s%n", "'; DROP TABLE kv; --",
    ]
    private static let integers: [Int32] = [.min, -2, -1, 0, 1, 7, 10_001, 1_000_000_000, .max]
    private static let longs: [Int64] = [
        .min, .min + 1, -6, -5, -4, -3, -2, -1, 0, 1, 1 << 31, 1 << 62, .max - 1, .max,
    ]

    /// Sends each in each version that is served (or only in the newest), expects a fate for each, and work as usual after.
    private func send<Request: KafkaRequest>(
        _ test: TestBroker, _ requests: [Request], newestOnly: Bool = true, mayHold: Bool = false
    ) throws {
        for request in requests {
            var bodies = RequestBody.all(request)
            if newestOnly { bodies = bodies.suffix(1) }
            for body in bodies {
                let outcome = try test.outcome(of: body, withinMs: mayHold ? 50 : 20_000)
                #expect(mayHold || outcome != .silence, "\(body): no fate")
            }
        }
    }

    private func aftermath(_ test: TestBroker, _ before: Int, mebibytes: Int = 512) throws {
        try test.expectNormalWork("after")
        let grown = residentBytes() - before
        #expect(grown < mebibytes << 20, "resident memory grew by \(grown >> 20) MiB")
    }

    @Test func namesOfAllKinds() throws {
        let test = try TestBroker()
        let before = residentBytes()
        try test.expectNormalWork("before")
        try self.send(
            test,
            Self.names.map { name in
                var request = MetadataRequest()
                var topic = MetadataRequest.Topic()
                topic.name = name
                request.topics = [topic, topic]
                return request
            }, newestOnly: false)
        try self.send(
            test,
            Self.names.map { name in
                var request = CreateTopicsRequest()
                request.topics = [
                    .init(name, partitions: 1), .init(name + "2", partitions: 1), .init(name, partitions: 1),
                ]
                return request
            })
        try self.send(
            test,
            Self.names.map { name in
                var request = DeleteTopicsRequest()
                request.topicNames = [name, name, name + "2"]
                request.topics = request.topicNames.map {
                    var topic = DeleteTopicsRequest.DeleteTopicState()
                    topic.name = $0
                    return topic
                }
                return request
            }, newestOnly: false)
        try self.send(
            test,
            Self.names.map { name in
                var request = FindCoordinatorRequest()
                request.key = name
                request.coordinatorKeys = [name, name]
                return request
            }, newestOnly: false)
        try self.send(
            test,
            Self.names.flatMap { name in
                [Int32.min, 0, 5_999, 6_000, 1_800_000, .max].map { timeout in
                    var request = JoinGroupRequest()
                    request.groupID = name
                    request.groupInstanceID = timeout == 6_000 ? name : nil
                    request.sessionTimeoutMs = timeout
                    request.rebalanceTimeoutMs = timeout &+ 1
                    request.protocolType = "consumer"
                    var offered = JoinGroupRequest.RequestProtocol()
                    offered.name = name
                    offered.metadata = [0, 0, 0x7f, 0xff, 0xff, 0xff]
                    request.protocols = [offered, offered]
                    return request
                }
            }, mayHold: true)
        try self.send(
            test,
            Self.names.map { name in
                var request = OffsetFetchRequest()
                request.groupID = name
                var group = OffsetFetchRequest.Group()
                group.groupID = name
                group.topics = nil
                request.groups = [group, group]
                request.topics = nil
                return request
            })
        try self.send(
            test,
            Self.names.map { name in
                var request = DescribeGroupsRequest()
                request.groups = [name, name]
                return request
            }, newestOnly: false)
        try self.send(
            test,
            [1, 2, 4, 8, 16, 32, -1, 127].flatMap { (type: Int8) in
                Self.names.map { name in
                    var request = DescribeConfigsRequest()
                    var resource = DescribeConfigsRequest.Resource()
                    resource.resourceType = type
                    resource.resourceName = name
                    resource.configurationKeys = name.isEmpty ? nil : [name]
                    request.resources = [resource, resource]
                    return request
                }
            })
        try self.send(
            test,
            [1, 2, 4, 8, 16, 32, -1, 127].flatMap { (type: Int8) in
                Self.names.map { name in
                    var request = AlterConfigsRequest()
                    var resource = AlterConfigsRequest.Resource()
                    resource.resourceType = type
                    resource.resourceName = name
                    var config = AlterConfigsRequest.AlterableConfig()
                    config.name = name
                    config.value = name
                    resource.configs = [config]
                    request.resources = [resource]
                    request.validateOnly = type == 4 && name.isEmpty
                    return request
                }
            })
        try self.aftermath(test, before)
    }

    @Test func numbersAtTheirEnds() throws {
        let test = try TestBroker()
        let before = residentBytes()
        let live = try LiveRequests(test)
        // Something to find, and a log of more than one epoch's worth of batches.
        let client = try test.client()
        for _ in 0..<3 {
            _ = try client.send(live.produce(LiveRequests.batch(.none, sequence: -1)), version: 11)
        }
        try self.send(
            test,
            Self.longs.flatMap { long in
                Self.integers.map { int in
                    var request = ListOffsetsRequest()
                    request.replicaID = int
                    request.timeoutMs = int
                    request.isolationLevel = Int8(truncatingIfNeeded: int)
                    var topic = ListOffsetsRequest.Topic()
                    topic.name = LiveRequests.topic
                    for index: Int32 in [0, 0, 1, int] {
                        var partition = ListOffsetsRequest.Partition()
                        partition.partitionIndex = index
                        partition.timestamp = long
                        partition.currentLeaderEpoch = index == 0 ? -1 : int
                        topic.partitions.append(partition)
                    }
                    var single = topic
                    single.partitions = [topic.partitions[3]]
                    request.topics = [topic, single, single]
                    return request
                }
            })
        try self.send(
            test,
            Self.longs.flatMap { long in
                Self.integers.map { int in
                    var request = FetchRequest()
                    request.maxWaitMs = int
                    request.minBytes = int &+ 1
                    request.maxBytes = int
                    request.sessionEpoch = int
                    request.sessionID = int
                    request.isolationLevel = Int8(truncatingIfNeeded: int)
                    var topic = FetchRequest.Topic()
                    topic.topicID = live.topicID
                    for index: Int32 in [0, 0, 1, int] {
                        var partition = FetchRequest.Partition()
                        partition.partition = index
                        partition.fetchOffset = long
                        partition.lastFetchedEpoch = index == 1 ? int : -1
                        partition.partitionMaxBytes = int
                        topic.partitions.append(partition)
                    }
                    request.topics = [topic, topic]
                    return request
                }
            }, mayHold: true)
        try self.send(
            test,
            Self.integers.map { int in
                var request = OffsetForLeaderEpochRequest()
                request.replicaID = int
                var topic = OffsetForLeaderEpochRequest.OffsetForLeaderTopic()
                topic.topic = LiveRequests.topic
                for index: Int32 in [0, int] {
                    var partition = OffsetForLeaderEpochRequest.OffsetForLeaderPartition()
                    partition.partition = index
                    partition.leaderEpoch = int
                    topic.partitions.append(partition)
                }
                request.topics = [topic]
                return request
            })
        try self.send(
            test,
            Self.longs.flatMap { long in
                Self.integers.map { int in
                    var partition = OffsetCommitRequest.Partition()
                    partition.partitionIndex = int
                    partition.committedOffset = long
                    partition.committedLeaderEpoch = int
                    partition.committedMetadata = String(repeating: "m", count: 4_096)
                    var zero = partition
                    zero.partitionIndex = 0
                    var topic = OffsetCommitRequest.Topic()
                    topic.name = LiveRequests.topic
                    topic.partitions = [partition, zero, zero]
                    var request = OffsetCommitRequest()
                    request.groupID = "numbers"
                    request.retentionTimeMs = long
                    request.generationIDOrMemberEpoch = int < 0 ? -1 : int
                    request.topics = [topic, topic]
                    return request
                }
            }, newestOnly: false)
        try self.send(
            test,
            Self.integers.flatMap { int in
                [Int16.min, -1, 0, 1, 2, .max].map { factor in
                    var topic = CreateTopicsRequest.CreatableTopic()
                    topic.name = "n\(int)-\(factor)".replacing("--", with: "-")
                    topic.numPartitions = int
                    topic.replicationFactor = factor
                    var request = CreateTopicsRequest()
                    request.topics = [topic]
                    request.timeoutMs = int
                    request.validateOnly = int == 7
                    return request
                }
            })
        try self.send(
            test,
            Self.integers.map { int in
                var topic = CreatePartitionsRequest.Topic()
                topic.name = LiveRequests.topic
                topic.count = int
                topic.assignments = int == 7 ? [.init(), .init(), .init(), .init()] : nil
                var request = CreatePartitionsRequest()
                request.topics = [topic]
                request.timeoutMs = int
                return request
            })
        try self.send(
            test,
            Self.integers.map { int in
                var request = DescribeTopicPartitionsRequest()
                var cursor = DescribeTopicPartitionsRequest.Cursor()
                cursor.topicName = LiveRequests.topic
                cursor.partitionIndex = int
                request.cursor = cursor
                request.responsePartitionLimit = int
                return request
            })
        try self.send(
            test,
            Self.longs.map { long in
                var request = InitProducerIdRequest()
                request.transactionalID = nil
                request.producerID = long
                request.producerEpoch = Int16(truncatingIfNeeded: long)
                request.transactionTimeoutMs = Int32(truncatingIfNeeded: long)
                return request
            })
        let holes: [[Int32]] = [[0, 2], [1], [-1], [0, 0], [.max], [.min, 0], [0, 1, .max]]
        try self.send(
            test,
            holes.flatMap { indexes in
                [[1], [], [1, 1], [2], [-1], [.max]].map { (brokers: [Int32]) in
                    var topic = CreateTopicsRequest.CreatableTopic(
                        "holes", assignments: indexes.map { ($0, brokers) })
                    topic.numPartitions = -1
                    topic.replicationFactor = -1
                    var request = CreateTopicsRequest()
                    request.topics = [topic]
                    return request
                }
            })
        try self.aftermath(test, before)
    }

    @Test func recordsThatLie() throws {
        let test = try TestBroker("log.message.timestamp.after.max.ms=9223372036854775807")
        let live = try LiveRequests(test)
        let before = residentBytes()
        let client = try test.client()
        func send(_ batch: [UInt8]) throws {
            for version: Int16 in [3, 7, 11] {
                _ = try client.send(live.produce(batch, partition: 1), version: version)
            }
        }
        // Zip bombs: a record of 400 MB of zeros, in a kilobyte or so.
        for codec in [CompressionType.gzip, .snappy, .lz4, .zstd] {
            var builder = RecordBatchBuilder(compression: codec)
            builder.append(
                timestamp: 0, key: nil, value: [UInt8](repeating: 0, count: codec == .snappy ? 20 << 20 : 150 << 20))
            let batch = builder.build()
            for _ in 0..<2 { _ = try client.send(live.produce(batch, partition: 1), version: 11) }
        }
        // Fields at their ends, with a CRC that fits.
        let good = [CompressionType.none, .lz4].map { LiveRequests.batch($0, sequence: -1) }
        for batch in good {
            for long in Self.longs {
                for offset in [0, 27, 35, 43] {
                    var bad = batch
                    for index in 0..<8 {
                        bad[offset + index] = UInt8(truncatingIfNeeded: long >> Int64(56 - 8 * index))
                    }
                    LiveRequests.fit(&bad)
                    try send(bad)
                }
            }
            for int in Self.integers {
                for offset in [12, 23, 53, 57] {
                    var bad = batch
                    for index in 0..<4 { bad[offset + index] = UInt8(truncatingIfNeeded: int >> Int32(24 - 8 * index)) }
                    LiveRequests.fit(&bad)
                    try send(bad)
                }
                var length = batch
                for index in 0..<4 { length[8 + index] = UInt8(truncatingIfNeeded: int >> Int32(24 - 8 * index)) }
                try send(length)
            }
        }
        // Timestamps and sequences at their ends, as a builder makes them.
        for timestamp in Self.longs {
            var builder = RecordBatchBuilder()
            builder.append(timestamp: timestamp, key: nil, value: nil)
            builder.append(timestamp: .max, key: nil, value: nil)
            builder.append(timestamp: .min, key: nil, value: nil)
            try send(builder.build())
        }
        for producerID in [Int64.max, 0, -1, .min] {
            for epoch in [Int16.max, 0, -1, .min] {
                for sequence in [Int32.max, .max - 1, 0, -1, .min] {
                    var builder = RecordBatchBuilder(
                        producerID: producerID, producerEpoch: epoch, baseSequence: sequence)
                    for _ in 0..<4 { builder.append(timestamp: 0, key: nil, value: nil) }
                    try send(builder.build())
                }
            }
        }
        var list = ListOffsetsRequest()
        list.replicaID = -1
        for timestamp in Self.longs {
            var partition = ListOffsetsRequest.Partition()
            partition.partitionIndex = 1
            partition.timestamp = timestamp
            var topic = ListOffsetsRequest.Topic()
            topic.name = LiveRequests.topic
            topic.partitions = [partition]
            list.topics = [topic]
            _ = try client.send(list, version: 11)
        }
        test.broker.replicaManager.logManager.deleteOldSegments(now: wallClockMs())
        try live.expectReadable()
        try self.aftermath(test, before)
        try test.restart()
        try live.expectReadable()
        try test.expectNormalWork("restarted")
    }

    @Test func configsAtTheirEnds() throws {
        let test = try TestBroker()
        let before = residentBytes()
        let live = try LiveRequests(test)
        let client = try test.client()
        let values = [
            "", " ", "-2", "-1", "0", "1", "14", "1048576", "2147483647", "2147483648", "-2147483648",
            "9223372036854775807", "-9223372036854775808", "1e308", "nan", "inf", "true", "compact", "delete,compact",
            "*", "0:0", "\0", "lz4", "gzip", "LogAppendTime", String(repeating: ",", count: 30_000),
        ]
        let names = TopicConfigs.all.map(\.name)
        for name in names {
            for value in values {
                var config = IncrementalAlterConfigsRequest.AlterableConfig()
                config.name = name
                config.value = value
                config.configOperation = value == "*" ? 2 : 0
                var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
                resource.resourceType = 2
                resource.resourceName = LiveRequests.topic
                resource.configs = [config]
                var alter = IncrementalAlterConfigsRequest()
                alter.resources = [resource]
                let code = try client.send(alter, version: 1).responses[0].errorCode
                guard code == .none else { continue }
                // It holds: write, read, look up, let retention look.
                for codec in [CompressionType.none, .zstd] {
                    _ = try client.send(live.produce(LiveRequests.batch(codec, sequence: -1)), version: 11)
                }
                var partition = ListOffsetsRequest.Partition()
                partition.timestamp = wallClockMs() - 1_000
                var topic = ListOffsetsRequest.Topic()
                topic.name = LiveRequests.topic
                topic.partitions = [partition]
                var list = ListOffsetsRequest()
                list.replicaID = -1
                list.topics = [topic]
                _ = try client.send(list, version: 11)
                test.broker.replicaManager.logManager.deleteOldSegments(now: wallClockMs())
            }
            // Back to the default.
            var config = IncrementalAlterConfigsRequest.AlterableConfig()
            config.name = name
            config.configOperation = 1
            config.value = nil
            var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
            resource.resourceType = 2
            resource.resourceName = LiveRequests.topic
            resource.configs = [config]
            var alter = IncrementalAlterConfigsRequest()
            alter.resources = [resource]
            #expect(try client.send(alter, version: 1).responses[0].errorCode == .none)
        }
        // What a broker may be told while it runs.
        for definition in BrokerConfigs.all where definition.updateMode != .readOnly {
            for value in values {
                var config = AlterConfigsRequest.AlterableConfig()
                config.name = definition.name
                config.value = value
                var resource = AlterConfigsRequest.Resource()
                resource.resourceType = 4
                resource.resourceName = "1"
                resource.configs = [config]
                var alter = AlterConfigsRequest()
                alter.resources = [resource]
                let code = try client.send(alter, version: 2).responses[0].errorCode
                // One that would shut everybody out is left to its own test.
                guard code == .none else { continue }
                _ = try client.send(live.produce(LiveRequests.batch(.none, sequence: -1)), version: 11)
            }
            var resource = AlterConfigsRequest.Resource()
            resource.resourceType = 4
            resource.resourceName = "1"
            var alter = AlterConfigsRequest()
            alter.resources = [resource]
            #expect(try client.send(alter, version: 2).responses[0].errorCode == .none)
        }
        try self.aftermath(test, before)
        try test.restart()
        try test.expectNormalWork("restarted")
    }
}
