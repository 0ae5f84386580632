import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// Answers as functions of the request and the image.
@Suite struct AdminRequestTests {
    private let view = ClusterView(
        nodes: [.init(id: 1, host: "localhost", port: 9092, rack: "r")], controllerID: 1)

    private func topic(_ name: String?, _ id: KafkaUUID = .zero) -> MetadataRequest.Topic {
        var topic = MetadataRequest.Topic()
        topic.name = name
        topic.topicID = id
        return topic
    }

    @Test func metadataKnowsWhatAllMeans() throws {
        var request = MetadataRequest()
        request.topics = []
        #expect(MetadataQuery(request, version: 0).isAllTopics)
        #expect(!MetadataQuery(request, version: 1).isAllTopics)
        request.topics = nil
        #expect(MetadataQuery(request, version: 1).isAllTopics && !MetadataQuery(request, version: 13).mayCreate)
    }

    @Test func metadataAnswers() throws {
        let cluster = try TestCluster()
        let b = try cluster.create("b", partitions: 2)
        _ = try cluster.create("a")
        _ = try waitFor { cluster.manager.autoCreate("__consumer_offsets", $0) }
        var request = MetadataRequest()
        request.topics = nil
        request.includeTopicAuthorizedOperations = true
        request.includeClusterAuthorizedOperations = true
        var response = MetadataQuery(request, version: 8).response(cluster.image, self.view)
        #expect(response.topics.map(\.name) == ["__consumer_offsets", "a", "b"])
        #expect(response.topics[0].isInternal && !response.topics[1].isInternal)
        #expect(response.topics[2].topicID == b.id && response.topics[2].partitions.map(\.partitionIndex) == [0, 1])
        #expect(response.topics[2].partitions[0].leaderID == 1 && response.topics[2].partitions[0].leaderEpoch == 0)
        #expect(response.topics[1].topicAuthorizedOperations == 3576 && response.clusterAuthorizedOperations == 8096)
        #expect(response.brokers.first?.rack == "r" && response.controllerID == 1)

        request.topics = [self.topic("b"), self.topic("nope"), self.topic("b"), self.topic("no/pe")]
        request.includeTopicAuthorizedOperations = false
        var query = MetadataQuery(request, version: 9)
        response = query.response(cluster.image, self.view)
        #expect(response.topics.map(\.name) == ["b", "nope", "no/pe"])
        #expect(response.topics.map(\.errorCode) == [.none, .unknownTopicOrPartition, .invalidTopicException])
        #expect(response.topics[0].topicAuthorizedOperations == .min)
        #expect(query.creatableNames(cluster.image, numPartitions: 1) == ["nope"])
        response = query.response(
            cluster.image, self.view, creationErrors: ["nope": ApiError(.invalidReplicationFactor)])
        #expect(response.topics[1].errorCode == .invalidReplicationFactor)

        let unknown = KafkaUUID(high: 5, low: 5)
        request.topics = [self.topic(nil, b.id), self.topic(nil, unknown)]
        query = MetadataQuery(request, version: 12)
        response = query.response(cluster.image, self.view)
        #expect(response.topics.map(\.name) == ["b", nil] && response.topics[1].topicID == unknown)
        #expect(response.topics.map(\.errorCode) == [.none, .unknownTopicID])
        // The cluster's operations have an API of their own since version 11.
        #expect(response.clusterAuthorizedOperations == .min)
        for version in Int16(10)...11 {
            #expect(MetadataQuery(request, version: version).error == .invalidRequest)
        }
    }

    @Test func metadataOfAbsentBrokers() throws {
        let cluster = try TestCluster(brokers: [2])
        let plan = TopicPlan(name: "t", partitions: [[1, 2], [2]], configs: [:])
        _ = try waitFor { cluster.manager.create(plan, $0) }.get()
        var request = MetadataRequest()
        request.topics = nil
        // Seen from a listener that broker 2 lacks.
        let new = MetadataQuery(request, version: 9).response(cluster.image, self.view).topics[0].partitions
        #expect(new[0].errorCode == .none && new[0].replicaNodes == [1, 2] && new[0].offlineReplicas == [2])
        #expect(new[1].errorCode == .leaderNotAvailable && new[1].leaderID == -1)
        request.topics = []
        let old = MetadataQuery(request, version: 0).response(cluster.image, self.view).topics[0].partitions
        #expect(old[0].errorCode == .replicaNotAvailable && old[0].replicaNodes == [1])
        #expect(old[1].errorCode == .leaderNotAvailable)
    }

    @Test func partitionWithoutALogIsOffline() throws {
        let cluster = try TestCluster()
        let topic = try cluster.create("t")
        var view = self.view
        view.table = TopicTable(topics: [TopicEntry(name: "t", id: topic.id, partitions: [nil])])
        let partition = MetadataQuery(MetadataRequest(), version: 9)
        #expect(partition.response(cluster.image, view).topics.isEmpty)
        var request = MetadataRequest()
        request.topics = nil
        let answer = MetadataQuery(request, version: 9).response(cluster.image, view).topics[0].partitions[0]
        #expect(answer.errorCode == .leaderNotAvailable && answer.leaderID == -1 && answer.offlineReplicas == [1])
        let paged = answerDescribeTopicPartitions(DescribeTopicPartitionsRequest(), cluster.image, view, limit: 9)
        #expect(paged.topics[0].partitions[0].leaderID == -1 && paged.topics[0].partitions[0].offlineReplicas == [1])
    }

    @Test func deleteTopicsSortsOut() throws {
        let cluster = try TestCluster()
        let a = try cluster.create("a")
        let b = try cluster.create("b")
        let c = try cluster.create("c")
        func state(_ name: String?, _ id: KafkaUUID = .zero) -> DeleteTopicsRequest.DeleteTopicState {
            var state = DeleteTopicsRequest.DeleteTopicState()
            state.name = name
            state.topicID = id
            return state
        }
        var request = DeleteTopicsRequest()
        let unknown = KafkaUUID(high: 9, low: 9)
        request.topics = [
            state("a"), state(nil, b.id), state(nil), state("c", c.id), state("x"), state(nil, unknown), state("y"),
            state("y"),
        ]
        var (refused, topics) = decideDeleteTopics(request, cluster.image, isEnabled: true, version: 6)
        #expect(Set(topics.map(\.name)) == ["a", "b"])
        #expect(
            refused.map { "\($0.name ?? "-") \($0.errorCode.name)" } == [
                "- INVALID_REQUEST", "c INVALID_REQUEST", "- UNKNOWN_TOPIC_ID", "x UNKNOWN_TOPIC_OR_PARTITION",
                "y INVALID_REQUEST",
            ])
        // By name and by id at once: neither.
        request.topics = [state("a"), state(nil, a.id)]
        (refused, topics) = decideDeleteTopics(request, cluster.image, isEnabled: true, version: 6)
        #expect(topics.isEmpty && refused.map(\.errorCode) == [.invalidRequest])
        request.topics = []
        request.topicNames = ["a", "nope"]
        (refused, topics) = decideDeleteTopics(request, cluster.image, isEnabled: true, version: 5)
        #expect(topics.map(\.name) == ["a"] && refused.map(\.errorCode) == [.unknownTopicOrPartition])
        (refused, topics) = decideDeleteTopics(request, cluster.image, isEnabled: false, version: 2)
        #expect(topics.isEmpty && refused.map(\.errorCode) == [.invalidRequest, .invalidRequest])
        (refused, topics) = decideDeleteTopics(request, cluster.image, isEnabled: false, version: 3)
        #expect(refused.map(\.errorCode) == [.topicDeletionDisabled, .topicDeletionDisabled])
    }

    @Test func describeTopicPartitionsPages() throws {
        let cluster = try TestCluster()
        for (name, count) in [("a", 3), ("b", 1), ("c", 4)] as [(String, Int32)] {
            _ = try cluster.create(name, partitions: count)
        }
        func page(_ names: [String], _ cursor: (String, Int32)?, limit: Int32) -> DescribeTopicPartitionsResponse {
            var request = DescribeTopicPartitionsRequest()
            request.topics = names.map {
                var topic = DescribeTopicPartitionsRequest.TopicRequest()
                topic.name = $0
                return topic
            }
            request.responsePartitionLimit = limit
            request.cursor = cursor.map {
                var cursor = DescribeTopicPartitionsRequest.Cursor()
                cursor.topicName = $0.0
                cursor.partitionIndex = $0.1
                return cursor
            }
            return answerDescribeTopicPartitions(request, cluster.image, self.view, limit: 2000)
        }
        func shown(_ response: DescribeTopicPartitionsResponse) -> String {
            let topics = response.topics.map { topic in
                "\(topic.name ?? "")\(topic.partitions.map { String($0.partitionIndex) }.joined())"
                    + (topic.errorCode == .none ? "" : "!\(topic.errorCode.rawValue)")
            }
            let cursor = response.nextCursor.map { " >\($0.topicName)\($0.partitionIndex)" } ?? ""
            return topics.joined(separator: " ") + cursor
        }
        #expect(shown(page([], nil, limit: 100)) == "a012 b0 c0123")
        #expect(shown(page([], nil, limit: 2)) == "a01 >a2")
        #expect(shown(page([], ("a", 2), limit: 2)) == "a2 b0 >c0")
        #expect(shown(page([], ("c", 0), limit: 2)) == "c01 >c2")
        #expect(shown(page([], ("c", 2), limit: 2)) == "c23")
        #expect(shown(page(["c", "a"], nil, limit: 3)) == "a012 >c0")
        #expect(shown(page(["c", "a"], ("c", 0), limit: 3)) == "c012 >c3")
        #expect(shown(page(["b", "x", "y/"], nil, limit: 9)) == "b0 x!3 y/!17")
        #expect(shown(page(["b"], ("c", 0), limit: 9)) == "b!42")
        #expect(shown(page(["b"], ("b", -1), limit: 9)) == "b!42")
        #expect(shown(page(["b"], ("b", .max), limit: 9)) == "b")
        #expect(shown(page([], nil, limit: -5)) == "a0 >a1")
        #expect(page(["b"], nil, limit: 9).topics[0].topicAuthorizedOperations == 3576)
    }

    @Test func describeClusterAndLists() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("z")
        _ = try cluster.create("a")
        var request = DescribeClusterRequest()
        var response = answerDescribeCluster(request, self.view, clusterID: "C", version: 1)
        #expect(response.clusterID == "C" && response.brokers.count == 1 && response.controllerID == 1)
        #expect(response.clusterAuthorizedOperations == .min)
        request.includeClusterAuthorizedOperations = true
        response = answerDescribeCluster(request, self.view, clusterID: "C", version: 1)
        #expect(response.clusterAuthorizedOperations == 8096)
        for (type, version, code) in [
            (2, 1, .mismatchedEndpointType), (9, 1, .unsupportedEndpointType), (2, 0, .invalidRequest),
        ] as [(Int8, Int16, ErrorCode)] {
            request.endpointType = type
            #expect(answerDescribeCluster(request, self.view, clusterID: "C", version: version).errorCode == code)
        }

        func list(_ types: [Int8], version: Int16 = 1) -> ListConfigResourcesResponse {
            var request = ListConfigResourcesRequest()
            request.resourceTypes = types
            return answerListConfigResources(request, cluster.image, self.view, version: version)
        }
        #expect(
            list([]).configResources.map { "\($0.resourceType):\($0.resourceName)" } == ["2:a", "2:z", "4:1", "8:1"])
        #expect(list([4]).configResources.map(\.resourceName) == ["1"])
        #expect(list([16, 32]).configResources.isEmpty && list([16]).errorCode == .none)
        #expect(list([2, 99]).errorCode == .unsupportedVersion && list([2, 99]).configResources.isEmpty)
        #expect(list([], version: 0).configResources.isEmpty)
    }

    @Test func describeConfigsOfEachKind() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("t", configs: ["retention.ms": "5"])
        func describe(_ type: Int8, _ name: String, _ keys: [String]? = nil) -> DescribeConfigsResponse.Result {
            var resource = DescribeConfigsRequest.Resource()
            resource.resourceType = type
            resource.resourceName = name
            resource.configurationKeys = keys
            var request = DescribeConfigsRequest()
            request.resources = [resource]
            request.includeSynonyms = true
            return answerDescribeConfigs(
                request, cluster.image, cluster.config, nodeID: 1, logLevel: "INFO"
            ).results[0]
        }
        let topic = describe(2, "t", ["retention.ms", "segment.bytes", "nope"])
        #expect(topic.errorCode == .none && topic.configs.map(\.name) == ["retention.ms", "segment.bytes"])
        #expect(topic.configs[0].value == "5" && topic.configs[0].configSource == 1 && topic.configs[0].configType == 5)
        #expect(topic.configs[1].configSource == 4 && topic.configs[1].documentation == nil)
        #expect(topic.configs[0].synonyms.map(\.source) == [1, 4, 5])
        #expect(describe(2, "t").configs.count == 34 && describe(2, "t", []).configs.count == 34)
        #expect(describe(2, "u").errorCode == .unknownTopicOrPartition)
        #expect(describe(2, "").errorCode == .invalidTopicException)
        #expect(describe(4, "1", ["node.id", "ssl.keystore.password"]).configs.map(\.value) == ["1", nil])
        #expect(describe(4, "").errorCode == .none && describe(4, "").configs.isEmpty)
        #expect(describe(4, "2").errorCode == .invalidRequest && describe(4, "x").errorCode == .invalidRequest)
        #expect(describe(8, "1").configs.map { "\($0.name)=\($0.value ?? "")" } == ["root=INFO"])
        #expect(describe(8, "").errorCode == .invalidRequest && describe(16, "m").configs.isEmpty)
        #expect(describe(32, "g").errorCode == .none && describe(77, "g").errorCode == .invalidRequest)
    }

    @Test func alterConfigsOfEachKind() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("t", configs: ["retention.ms": "5", "cleanup.policy": "compact"])
        let manager = cluster.manager
        typealias Change = ConfigAlteration.Change
        func alter(
            _ type: Int8, _ name: String, _ changes: [Change], incremental: Bool = true, validateOnly: Bool = false
        ) throws -> ErrorCode? {
            let alteration = ConfigAlteration(type: type, name: name, isIncremental: incremental, changes: changes)
            let errors: [ApiError?] = try waitFor { done in
                carryOutAlterations([alteration], manager, nodeID: 1, validateOnly: validateOnly, done)
            }
            return errors[0]?.code
        }
        func configs() -> [String: String]? { cluster.image.topic("t")?.configs }
        func set(_ name: String, _ value: String?) -> Change { Change(name: name, operation: 0, value: value) }

        #expect(
            try alter(2, "t", [set("segment.ms", "9"), Change(name: "retention.ms", operation: 1, value: nil)]) == nil)
        #expect(configs() == ["segment.ms": "9", "cleanup.policy": "compact"])
        #expect(try alter(2, "t", [Change(name: "cleanup.policy", operation: 2, value: "delete,compact")]) == nil)
        #expect(configs()?["cleanup.policy"] == "compact,delete")
        #expect(try alter(2, "t", [Change(name: "cleanup.policy", operation: 3, value: "compact")]) == nil)
        #expect(configs()?["cleanup.policy"] == "delete")
        #expect(try alter(2, "t", [Change(name: "segment.ms", operation: 2, value: "1")]) == .invalidConfig)
        #expect(try alter(2, "t", [set("segment.ms", "0")]) == .invalidConfig)
        #expect(try alter(2, "t", [set("nope", "0")]) == .invalidConfig)
        #expect(try alter(2, "t", [set("segment.ms", nil)]) == .invalidRequest)
        #expect(try alter(2, "t", [set("segment.ms", "1"), set("segment.ms", "2")]) == .invalidRequest)
        #expect(try alter(2, "t", [Change(name: "segment.ms", operation: 7, value: "1")]) == .invalidRequest)
        #expect(try alter(2, "", [set("segment.ms", "1")]) == .invalidRequest)
        #expect(try alter(2, "a b", [set("segment.ms", "1")]) == .invalidTopicException)
        #expect(try alter(2, "u", [set("segment.ms", "1")]) == .unknownTopicOrPartition)
        #expect(try alter(2, "t", [set("segment.ms", "77")], validateOnly: true) == nil)
        #expect(configs()?["segment.ms"] == "9")
        // The old form replaces everything.
        #expect(try alter(2, "t", [set("flush.ms", "1")], incremental: false) == nil)
        #expect(configs() == ["flush.ms": "1"])
        #expect(try alter(2, "t", [], incremental: false) == nil)
        #expect(configs()?.isEmpty == true)

        #expect(try alter(4, "1", [set("log.retention.ms", "500")]) == nil)
        #expect(try alter(4, "", [set("log.retention.ms", "600"), set("max.connections", "7")]) == nil)
        #expect(cluster.image.brokerConfigs(1) == ["log.retention.ms": "500"])
        #expect(cluster.image.brokerDefaultConfigs == ["log.retention.ms": "600", "max.connections": "7"])
        #expect(try alter(4, "1", [set("log.retention.ms", "x")]) == .invalidRequest)
        #expect(try alter(4, "1", [set("log.dirs", "/x")]) == .invalidRequest)
        #expect(try alter(4, "", [set("ssl.keystore.location", "/x")]) == .invalidRequest)
        #expect(try alter(4, "1", [set("listeners", "PLAINTEXT://:1")]) == .invalidRequest)
        #expect(try alter(4, "2", [set("log.retention.ms", "5")]) == .invalidRequest)
        #expect(try alter(4, "x", [set("log.retention.ms", "5")]) == .invalidRequest)
        #expect(try alter(4, "1", [Change(name: "nope", operation: 2, value: "5")]) == .invalidConfig)
        #expect(try alter(4, "1", [Change(name: "log.retention.ms", operation: 1, value: nil)]) == nil)
        #expect(cluster.image.brokerConfigs(1).isEmpty)
        #expect(try alter(32, "g", [set("x", "y")]) == .invalidConfig)
        for type in [8, 16, 0, 99] as [Int8] {
            #expect(try alter(type, "1", [set("x", "y")]) == .invalidRequest)
        }
        let twice = ConfigAlteration(type: 2, name: "t", isIncremental: true, changes: [])
        let errors = try waitFor { carryOutAlterations([twice, twice], manager, nodeID: 1, validateOnly: false, $0) }
        #expect(errors.map { $0?.code } == [.invalidRequest, .invalidRequest])
    }
}
