import KafkaLog
import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// Over the wire, against a whole broker.
@Suite struct AdminApiTests {
    @Test func topicsAreMadeChangedAndDeletedAndSurviveARestart() throws {
        let test = try TestBroker()
        var client = try test.client()
        for version in CreateTopicsRequest.validVersions {
            var create = CreateTopicsRequest()
            let assigned = CreateTopicsRequest.CreatableTopic("v\(version)", assignments: [(0, [1]), (1, [1])])
            create.topics = [assigned]
            let made = try client.send(create, version: version)
            #expect(made.topics.map(\.errorCode) == [.none], "\(version)")
            if version >= 5 {
                #expect(made.topics[0].numPartitions == 2 && made.topics[0].configs?.isEmpty == false)
            }
            if version >= 7 { #expect(made.topics[0].topicID != .zero) }
        }
        var create = CreateTopicsRequest()
        create.topics = [.init("t", partitions: 3, configs: ["segment.bytes": "2097152"])]
        let id = try client.send(create, version: 7).topics[0].topicID
        let log = try #require(test.broker.replicaManager.table.topic(named: "t")?.partition(2)?.log)
        #expect(log.config.segmentBytes == 2_097_152)

        for version in MetadataRequest.validVersions {
            var request = MetadataRequest()
            request.topics = version == 0 ? [] : nil
            let response = try client.send(request, version: version)
            let topic = try #require(response.topics.first { $0.name == "t" })
            #expect(topic.partitions.map(\.errorCode) == [.none, .none, .none])
            #expect(
                response.brokers.map(\.port) == [Int32(test.broker.port)] && response.brokers[0].host == "127.0.0.1")
            if version >= 10 { #expect(topic.topicID == id) }
            if version >= 2 { #expect(response.clusterID == test.broker.clusterID) }
        }

        for version in CreatePartitionsRequest.validVersions {
            var request = CreatePartitionsRequest()
            var topic = CreatePartitionsRequest.Topic()
            topic.name = "t"
            topic.count = 4 + Int32(version)
            topic.assignments = nil
            request.topics = [topic]
            #expect(try client.send(request, version: version).results.map(\.errorCode) == [.none])
        }
        #expect(test.broker.replicaManager.table.topic(named: "t")?.partitions.compactMap { $0 }.count == 7)

        try test.restart()
        client = try test.client()
        var byID = MetadataRequest()
        var asked = MetadataRequest.Topic()
        asked.name = nil
        asked.topicID = id
        byID.topics = [asked]
        #expect(try client.send(byID, version: 13).topics.first?.partitions.count == 7)

        for version in DeleteTopicsRequest.validVersions {
            var request = DeleteTopicsRequest()
            if version >= 6 {
                var state = DeleteTopicsRequest.DeleteTopicState()
                state.topicID = id
                state.name = nil
                request.topics = [state]
            } else {
                request.topicNames = ["v\(version + 1)", "nope"]
            }
            let codes = try client.send(request, version: version).responses.map(\.errorCode)
            #expect(Set(codes) == (version >= 6 ? [.none] : [.none, .unknownTopicOrPartition]))
        }
        var all = MetadataRequest()
        all.topics = nil
        #expect(try client.send(all, version: 13).topics.map(\.name) == ["v7"])
        #expect(test.broker.replicaManager.table.topics.map(\.name) == ["v7"])
    }

    @Test func topicIsMadeOnFirstUse() throws {
        let test = try TestBroker("num.partitions=2")
        let client = try test.client()
        var request = MetadataRequest()
        var topic = MetadataRequest.Topic()
        topic.name = "fresh"
        request.topics = [topic]
        request.allowAutoTopicCreation = false
        #expect(try client.send(request, version: 4).topics.map(\.errorCode) == [.unknownTopicOrPartition])
        request.allowAutoTopicCreation = true
        let answer = try client.send(request, version: 9).topics
        #expect(answer.map(\.errorCode) == [.none] && answer[0].partitions.count == 2)
        topic.name = "not/valid"
        request.topics = [topic]
        #expect(try client.send(request, version: 9).topics.map(\.errorCode) == [.invalidTopicException])

        let closed = try TestBroker("auto.create.topics.enable=false")
        topic.name = "fresh"
        request.topics = [topic]
        #expect(
            try closed.client().send(request, version: 9).topics.map(\.errorCode) == [.unknownTopicOrPartition])
    }

    @Test func configsTakeEffectAtOnce() throws {
        let test = try TestBroker()
        let client = try test.client()
        var create = CreateTopicsRequest()
        create.topics = [.init("t")]
        _ = try client.send(create, version: 7)
        let log = try #require(test.broker.replicaManager.table.topic(named: "t")?.partition(0)?.log)

        func incremental(_ type: Int8, _ name: String, _ config: String, _ operation: Int8, _ value: String?) throws {
            var change = IncrementalAlterConfigsRequest.AlterableConfig()
            change.name = config
            change.configOperation = operation
            change.value = value
            var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
            resource.resourceType = type
            resource.resourceName = name
            resource.configs = [change]
            var request = IncrementalAlterConfigsRequest()
            request.resources = [resource]
            for version in IncrementalAlterConfigsRequest.validVersions {
                #expect(try client.send(request, version: version).responses.map(\.errorCode) == [.none])
            }
        }
        try incremental(4, "", "log.retention.ms", 0, "1111")
        #expect(log.config.retentionMs == 1111 && test.broker.config.layers.clusterDefault.count == 1)
        try incremental(4, "1", "log.retention.ms", 0, "2222")
        #expect(log.config.retentionMs == 2222)
        // librdkafka's suite changes this one; without a SASL listener it has no effect in Kafka either.
        try incremental(4, "1", "sasl.kerberos.min.time.before.relogin", 0, "58000")
        #expect(test.broker.config.layers.broker["sasl.kerberos.min.time.before.relogin"] == "58000")
        try incremental(2, "t", "retention.ms", 0, "3333")
        #expect(log.config.retentionMs == 3333)
        try incremental(2, "t", "cleanup.policy", 2, "compact")
        #expect(log.config.cleanupPolicy == [.delete, .compact])
        try test.restart()
        let again = try #require(test.broker.replicaManager.table.topic(named: "t")?.partition(0)?.log)
        #expect(again.config.retentionMs == 3333 && test.broker.config.layers.broker["log.retention.ms"] == "2222")
        let second = try test.client()

        for version in AlterConfigsRequest.validVersions {
            var config = AlterConfigsRequest.AlterableConfig()
            config.name = "max.message.bytes"
            config.value = "77\(version)"
            var resource = AlterConfigsRequest.Resource()
            resource.resourceType = 2
            resource.resourceName = "t"
            resource.configs = [config]
            var request = AlterConfigsRequest()
            request.resources = [resource]
            #expect(try second.send(request, version: version).responses.map(\.errorCode) == [.none])
            #expect(again.config.maxMessageBytes == 770 + Int(version))
        }
        // What was not named went with it: the broker's default holds again.
        #expect(again.config.retentionMs == 2222)

        for version in DescribeConfigsRequest.validVersions {
            var request = DescribeConfigsRequest()
            request.includeSynonyms = true
            request.includeDocumentation = true
            request.resources = [(Int8(2), "t"), (4, "1"), (4, ""), (8, "1")].map { type, name in
                var resource = DescribeConfigsRequest.Resource()
                resource.resourceType = type
                resource.resourceName = name
                resource.configurationKeys = nil
                return resource
            }
            let results = try second.send(request, version: version).results
            #expect(results.map(\.errorCode) == [.none, .none, .none, .none])
            let retention = try #require(results[0].configs.first { $0.name == "retention.ms" })
            #expect(retention.value == "2222" && retention.configSource == 2 && retention.synonyms.count == 4)
            if version >= 3 { #expect(retention.documentation?.isEmpty == false && retention.configType == 5) }
        }
    }

    @Test func theRestAnswersInEveryVersion() throws {
        let test = try TestBroker()
        let client = try test.client()
        var ids = Set<Int64>()
        for version in Int16(0)...5 {
            var request = InitProducerIdRequest()
            request.transactionalID = nil
            request.transactionTimeoutMs = 60_000
            let response = try client.send(request, version: version)
            #expect(response.errorCode == .none && response.producerEpoch == 0)
            ids.insert(response.producerID)
            // No coordinator, as long as nobody has looked for one.
            request.transactionalID = "tx"
            #expect(try client.send(request, version: version).errorCode == .notCoordinator)
        }
        #expect(ids.count == 6)
        for (id, epoch, code) in [
            (Int64(5), Int16(0), ErrorCode.none), (5, -1, .invalidRequest), (-1, 3, .invalidRequest),
        ] {
            var request = InitProducerIdRequest()
            request.transactionalID = nil
            request.producerID = id
            request.producerEpoch = epoch
            #expect(try client.send(request, version: 5).errorCode == code)
        }
        for version in DescribeClusterRequest.validVersions {
            let response = try client.send(DescribeClusterRequest(), version: version)
            #expect(response.errorCode == .none && response.brokers.map(\.brokerID) == [1])
            #expect(response.clusterID == test.broker.clusterID)
        }
        for version in ListConfigResourcesRequest.validVersions {
            #expect(try client.send(ListConfigResourcesRequest(), version: version).errorCode == .none)
        }
        #expect(try client.send(DescribeTopicPartitionsRequest(), version: 0).topics.isEmpty)
        // Nothing asked, nothing answered, but answered.
        #expect(try client.send(CreateTopicsRequest(), version: 7).topics.isEmpty)
        #expect(try client.send(DeleteTopicsRequest(), version: 6).responses.isEmpty)
        #expect(try client.send(CreatePartitionsRequest(), version: 3).results.isEmpty)
        #expect(try client.send(AlterConfigsRequest(), version: 2).responses.isEmpty)
    }
}
