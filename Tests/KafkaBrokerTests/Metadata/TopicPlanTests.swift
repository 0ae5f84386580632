import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// An image and settings without a broker.
struct TestCluster {
    let store = LocalMetadataStore.inMemory()
    let metadata: MetadataManager
    let config: KafkaConfig

    init(_ overrides: String..., brokers: [Int32] = []) throws {
        self.metadata = MetadataManager(store: self.store)
        self.config = try KafkaConfig.load(file: nil, overrides: overrides).config
        for id in brokers {
            let registration = BrokerRegistration(
                id: id, rack: "r\(id)", listeners: [.init(name: "PLAINTEXT", host: "h\(id)", port: 9092)])
            _ = try self.store.commitAndWait(
                MetadataTransaction(changes: [.put(MetadataKeys.broker(id), registration.record.bytes)]))
        }
        try self.metadata.start()
    }

    var manager: TopicManager { TopicManager(metadata: self.metadata, config: self.config) }
    var context: TopicContext { self.manager.context }
    var image: MetadataImage { self.metadata.image }

    func create(_ name: String, partitions: Int32 = 1, configs: [String: String] = [:]) throws -> TopicImage {
        let plan = try TopicPlan.make(.init(name, partitions: partitions, configs: configs), self.context).get()
        let manager = self.manager
        _ = try waitFor { manager.create(plan, $0) }.get()
        return try #require(self.image.topic(name))
    }
}

func waitFor<Value: Sendable>(_ start: (@escaping @Sendable (Value) -> Void) -> Void) throws -> Value {
    try waitForResult { (done: @escaping @Sendable (MetadataResult<Value>) -> Void) in
        start { done(.success($0)) }
    }
}

extension CreateTopicsRequest.CreatableTopic {
    init(_ name: String, partitions: Int32 = -1, factor: Int16 = -1, configs: [String: String?] = [:]) {
        self.init()
        self.name = name
        self.numPartitions = partitions
        self.replicationFactor = factor
        self.configs = configs.sorted { $0.key < $1.key }.map { name, value in
            var entry = CreateTopicsRequest.CreatableTopicConfig()
            entry.name = name
            entry.value = value
            return entry
        }
    }

    init(_ name: String, assignments: [(Int32, [Int32])], partitions: Int32 = -1, factor: Int16 = -1) {
        self.init(name, partitions: partitions, factor: factor)
        self.assignments = assignments.map { index, brokers in
            var assignment = CreateTopicsRequest.CreatableReplicaAssignment()
            assignment.partitionIndex = index
            assignment.brokerIDs = brokers
            return assignment
        }
    }
}

@Suite struct TopicPlanTests {
    private func refusal(_ topic: CreateTopicsRequest.CreatableTopic, _ context: TopicContext) -> ErrorCode? {
        if case .failure(let error) = TopicPlan.make(topic, context) { return error.code }
        return nil
    }

    @Test(arguments: [
        "", ".", "..", "a b", "a/b", "ä", "a\u{0}b", "a\n", String(repeating: "x", count: 250), "a:b", "a*",
    ])
    func badNames(_ name: String) throws {
        let cluster = try TestCluster()
        #expect(self.refusal(.init(name), cluster.context) == .invalidTopicException)
    }

    @Test(arguments: ["a", "...", "A-Z_0.9", "-", String(repeating: "x", count: 249)])
    func goodNames(_ name: String) throws {
        let cluster = try TestCluster()
        #expect(self.refusal(.init(name), cluster.context) == nil)
    }

    @Test func refusals() throws {
        let cluster = try TestCluster("num.partitions=4")
        _ = try cluster.create("a.b")
        let context = cluster.context
        let cases: [(CreateTopicsRequest.CreatableTopic, ErrorCode?)] = [
            (.init("a.b"), .topicAlreadyExists), (.init("a_b"), .invalidTopicException),
            (.init("n", partitions: 0), .invalidPartitions), (.init("n", partitions: -2), .invalidPartitions),
            (.init("n", partitions: .max), .policyViolation), (.init("n", partitions: 10_000), nil),
            (.init("n", factor: 0), .invalidReplicationFactor), (.init("n", factor: -3), .invalidReplicationFactor),
            (.init("n", factor: 2), .invalidReplicationFactor), (.init("n", factor: 1), nil),
            (.init("n", configs: ["retention.ms": nil]), .invalidConfig),
            (.init("n", configs: ["retention.ms": "x"]), .invalidConfig),
            (.init("n", configs: ["nonsense": "x"]), .invalidConfig),
            (.init("n", configs: ["retention.ms": "77"]), nil),
            (.init("__cluster_metadata"), .invalidRequest),
            (.init("n", assignments: [(0, [1])]), nil),
            (.init("n", assignments: [(0, [1])], partitions: 1), .invalidRequest),
            (.init("n", assignments: [(0, [1])], factor: 1), .invalidRequest),
            (.init("n", assignments: [(0, [])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(0, [2])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(0, [1, 1])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(0, [1]), (0, [1])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(0, [1]), (2, [1])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(1, [1])]), .invalidReplicaAssignment),
            (.init("n", assignments: [(1, [1]), (0, [1])]), nil),
        ]
        for (topic, expected) in cases {
            #expect(self.refusal(topic, context) == expected, "\(topic)")
        }
        #expect(try TopicPlan.make(.init("n"), context).get().partitions == [[1], [1], [1], [1]])
    }

    @Test func replicasGoRoundTheBrokers() throws {
        let cluster = try TestCluster(brokers: [2, 3])
        #expect(cluster.context.brokers == [1, 2, 3])
        let plan = try TopicPlan.make(.init("n", partitions: 4, factor: 2), cluster.context).get()
        #expect(plan.partitions == [[1, 2], [2, 3], [3, 1], [1, 2]])
        #expect(
            self.refusal(.init("n", assignments: [(0, [1, 2]), (1, [3])]), cluster.context)
                == .invalidReplicaAssignment)
        #expect(
            try TopicPlan.make(.init("n", assignments: [(0, [3, 1])]), cluster.context).get().partitions == [[3, 1]])
    }

    @Test func requestAsAWhole() throws {
        let cluster = try TestCluster()
        var request = CreateTopicsRequest()
        request.topics = [
            .init("a"), .init("twice"), .init("b", partitions: 9_999), .init("c", partitions: 2), .init("twice"),
        ]
        let decisions = decideCreateTopics(request, cluster.context)
        #expect(decisions.map(\.name) == ["a", "b", "c", "twice"])
        let codes = decisions.map { decision -> ErrorCode? in
            if case .failure(let error) = decision.plan { return error.code }
            return nil
        }
        #expect(codes == [nil, nil, .policyViolation, .invalidRequest])
    }
}

@Suite struct TopicManagerTests {
    @Test func autoCreationUsesTheSettings() throws {
        let cluster = try TestCluster(
            "num.partitions=3", "offsets.topic.replication.factor=3", "transaction.state.log.min.isr=2")
        let manager = cluster.manager
        #expect(try waitFor { manager.autoCreate("plain", $0) } == nil)
        #expect(try waitFor { manager.autoCreate("plain", $0) } == nil)
        #expect(cluster.image.topic("plain")?.partitions.count == 3)
        #expect(try waitFor { manager.autoCreate("__consumer_offsets", $0) } == nil)
        let offsets = try #require(cluster.image.topic("__consumer_offsets"))
        #expect(offsets.partitions.count == 50 && offsets.partitions[0].replicas == [1] && offsets.isInternal)
        #expect(offsets.configs["cleanup.policy"] == "compact" && offsets.configs["segment.bytes"] == "104857600")
        #expect(try waitFor { manager.autoCreate("__transaction_state", $0) } == nil)
        #expect(cluster.image.topic("__transaction_state")?.configs["min.insync.replicas"] == "1")
        #expect(try waitFor { manager.autoCreate("__share_group_state", $0) } == nil)
        #expect(try waitFor { manager.autoCreate("pl.ain/", $0) }?.code == .invalidTopicException)
    }

    @Test func deletedTopicLeavesNothing() throws {
        let cluster = try TestCluster()
        let topic = try cluster.create("t", partitions: 3, configs: ["retention.ms": "5"])
        let manager = cluster.manager
        #expect(try waitFor { manager.delete(topic, $0) } == nil)
        #expect(cluster.image.topicCount == 0)
        #expect(try cluster.store.readAndWait(.all).entries.isEmpty)
        #expect(try waitFor { manager.delete(topic, $0) }?.code == .unknownTopicID)
        // The same name again is another topic.
        #expect(try cluster.create("t").id != topic.id)
    }

    @Test func partitionsAreAdded() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("t", partitions: 2)
        let manager = cluster.manager
        func add(_ count: Int32, _ assignments: [[Int32]]? = nil, validateOnly: Bool = false) throws -> ErrorCode? {
            var request = CreatePartitionsRequest.Topic()
            request.name = "t"
            request.count = count
            request.assignments = assignments.map { list in
                list.map {
                    var assignment = CreatePartitionsRequest.Assignment()
                    assignment.brokerIDs = $0
                    return assignment
                }
            }
            let topic = request
            return try waitFor { manager.createPartitions(topic, validateOnly: validateOnly, $0) }?.code
        }
        #expect(try add(2) == .invalidPartitions && add(1) == .invalidPartitions && add(-5) == .invalidPartitions)
        #expect(try add(.max) == .policyViolation)
        #expect(try add(4, [[1]]) == .invalidReplicaAssignment)
        #expect(try add(3, [[9]]) == .invalidReplicaAssignment)
        #expect(try add(3, [[]]) == .invalidReplicaAssignment)
        #expect(try add(5, validateOnly: true) == nil)
        #expect(cluster.image.topic("t")?.partitions.count == 2)
        #expect(try add(5) == nil && add(6, [[1]]) == nil)
        #expect(cluster.image.topic("t")?.partitions.count == 6)
        var unknown = CreatePartitionsRequest.Topic()
        unknown.name = "u"
        unknown.count = 2
        let topic = unknown
        #expect(
            try waitFor { manager.createPartitions(topic, validateOnly: false, $0) }?.code == .unknownTopicOrPartition)
    }

    @Test func concurrentChangesOfConfigsAllCount() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("t")
        let manager = cluster.manager
        let names = ["retention.ms", "segment.ms", "flush.ms", "file.delete.delay.ms", "delete.retention.ms"]
        let errors = try waitFor { (done: @escaping @Sendable ([ApiError?]) -> Void) in
            let gather = Gather<ApiError?>(names.count, done)
            for (index, name) in names.enumerated() {
                let done: @Sendable (ApiError?) -> Void = { gather.set(index, $0) }
                manager.alterTopicConfigs("t", validateOnly: false, done) { before, _ in
                    .success(before.merging([name: "123"]) { $1 })
                }
            }
        }
        #expect(errors == [nil, nil, nil, nil, nil])
        #expect(cluster.image.topic("t")?.configs.count == 5)
    }

    @Test func producerIDsAreNeverRepeated() throws {
        let cluster = try TestCluster()
        let first = ProducerIDManager(metadata: cluster.metadata)
        var seen = Set<Int64>()
        for _ in 0..<2_500 { seen.insert(try waitFor { first.next($0) }.get()) }
        #expect(seen.count == 2_500 && seen.max() == 2_499)
        // After a restart, or on another broker: from a block of its own.
        let second = ProducerIDManager(metadata: cluster.metadata)
        #expect(try waitFor { second.next($0) }.get() == 3_000)
        #expect(try waitFor { first.next($0) }.get() == 2_500)
        #expect(cluster.image.nextProducerID == 4_000)
        // Many at once.
        let ids = try waitFor { (done: @escaping @Sendable ([Int64]) -> Void) in
            let gather = Gather<Int64>(3_000, done)
            for index in 0..<3_000 {
                second.next { gather.set(index, (try? $0.get()) ?? -1) }
            }
        }
        #expect(Set(ids).count == 3_000 && !ids.contains(-1) && Set(ids).isDisjoint(with: seen))
    }
}
