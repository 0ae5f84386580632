import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// Metadata 0-13. An empty list means all topics in version 0 and none from 1 on, where null means all. 1 brings rack,
// controller and isInternal, 2 the cluster id, 4 allowAutoTopicCreation, 5 offline replicas, 7 leader epochs, 8 authorized
// operations (those of the cluster end with 10), 10 topic ids in answers, 12 topic ids in requests (KIP-516), 13 an error
// for the whole.
//
// A topic that is made because of a request is in the answer to that request. (Kafka answers UNKNOWN_TOPIC_OR_PARTITION
// at once and lets the client ask again.)
extension ApiHandler {
    static let metadata = ApiHandler.ordinary(MetadataRequest.self) { request, context, respond in
        let query = MetadataQuery(request, version: context.apiVersion)
        if let error = query.error { return respond(query.response(error: error)) }
        let broker = context.broker
        let cluster = ClusterView(context)
        let missing =
            query.mayCreate && broker.config.autoCreateTopicsEnable
            ? query.creatableNames(broker.metadata.image, numPartitions: broker.config.numPartitions) : []
        let gather = Gather<ApiError?>(missing.count) { errors in
            var response = query.response(
                broker.metadata.image, cluster,
                creationErrors: Dictionary(zip(missing, errors).map { ($0, $1) }, uniquingKeysWith: { $1 }))
            response.clusterID = broker.clusterID
            respond(response)
        }
        for (index, name) in missing.enumerated() {
            broker.topicManager.autoCreate(name) { gather.set(index, $0) }
        }
    }
}

/// The brokers as this client sees them.
struct ClusterView: Sendable {
    struct Node: Sendable, Equatable {
        var id: Int32
        var host: String
        var port: Int32
        var rack: String?
    }
    /// In order of id.
    var nodes: [Node]
    /// Whom a client may send what only a controller does in Kafka; here every broker does it.
    var controllerID: Int32
    /// What this broker has open; nil: all.
    var table: TopicTable?

    init(nodes: [Node], controllerID: Int32) {
        self.nodes = nodes
        self.controllerID = controllerID
    }

    init(_ context: RequestContext) {
        let broker = context.broker
        self.controllerID = broker.nodeID
        self.table = broker.replicaManager.table
        let own = Node(
            id: broker.nodeID, host: context.endpoint.host, port: context.endpoint.port, rack: broker.config.rack)
        self.nodes = [own]
        for other in broker.metadata.image.brokers.values where other.id != broker.nodeID {
            guard let listener = other.listeners.first(where: { $0.name == context.listenerName }) else { continue }
            self.nodes.append(Node(id: other.id, host: listener.host, port: listener.port, rack: other.rack))
        }
        self.nodes.sort { $0.id < $1.id }
    }

    func isAlive(_ id: Int32) -> Bool { self.nodes.contains { $0.id == id } }

    /// The broker is there, and has (as far as is known) the partition's log open.
    func isOnline(_ id: Int32, _ topicID: KafkaUUID, _ index: Int32) -> Bool {
        guard self.isAlive(id) else { return false }
        guard id == self.controllerID, let topic = self.table?.topic(id: topicID) else { return true }
        return topic.partition(index) != nil
    }
}

/// AclOperation bit fields of one who may do everything.
enum AuthorizedOperations {
    /// READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS
    static let topic: Int32 = 0b1101_1111_1000
    /// CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS, IDEMPOTENT_WRITE
    static let cluster: Int32 = 0b1_1111_1010_0000
}

/// What a Metadata request asks for.
struct MetadataQuery: Sendable {
    let version: Int16
    let isAllTopics: Bool
    /// In the order of the request, without repetitions.
    private(set) var names: [String] = []
    private(set) var ids: [KafkaUUID] = []
    let mayCreate: Bool
    let wantsTopicOperations: Bool
    let wantsClusterOperations: Bool
    private(set) var error: ErrorCode?

    init(_ request: MetadataRequest, version: Int16) {
        self.version = version
        let topics = request.topics ?? []
        self.isAllTopics = request.topics == nil || (version == 0 && topics.isEmpty)
        self.wantsTopicOperations = version >= 8 && request.includeTopicAuthorizedOperations
        self.wantsClusterOperations = (8...10).contains(version) && request.includeClusterAuthorizedOperations
        var seenNames = Set<String>()
        var seenIDs = Set<KafkaUUID>()
        for topic in topics {
            if version < 12, topic.name == nil || topic.topicID != .zero { self.error = .invalidRequest }
            if topic.topicID != .zero {
                if seenIDs.insert(topic.topicID).inserted { self.ids.append(topic.topicID) }
            } else if let name = topic.name {
                if seenNames.insert(name).inserted { self.names.append(name) }
            } else {
                self.error = .invalidRequest
            }
        }
        // As in Kafka: where there is an id, names do not count.
        if !self.ids.isEmpty, self.error == nil { self.names = [] }
        self.mayCreate = request.allowAutoTopicCreation && !self.isAllTopics
    }

    /// Names that could be made: valid, and not there. No more than one request may make; whoever wants the others asks
    /// again.
    func creatableNames(_ image: MetadataImage, numPartitions: Int32) -> [String] {
        let limit = max(1, TopicPlan.maximalPartitionsPerRequest / max(1, Int(numPartitions)))
        return Array(
            self.names.lazy.filter { image.topic($0) == nil && TopicNames.refusal(of: $0) == nil }.prefix(limit))
    }

    func response(error: ErrorCode) -> MetadataResponse {
        var response = MetadataResponse()
        response.errorCode = error
        response.topics = self.names.map { name in
            var topic = MetadataResponse.Topic()
            topic.name = name
            topic.errorCode = error
            return topic
        }
        return response
    }

    func response(
        _ image: MetadataImage, _ cluster: ClusterView, creationErrors: [String: ApiError?] = [:]
    ) -> MetadataResponse {
        var response = MetadataResponse()
        response.controllerID = cluster.controllerID
        response.brokers = cluster.nodes.map { node in
            var broker = MetadataResponse.Broker()
            broker.nodeID = node.id
            broker.host = node.host
            broker.port = node.port
            broker.rack = node.rack
            return broker
        }
        if self.wantsClusterOperations { response.clusterAuthorizedOperations = AuthorizedOperations.cluster }
        if self.isAllTopics {
            response.topics = image.topics.sorted { $0.name < $1.name }.map { self.topic($0, cluster) }
            return response
        }
        for id in self.ids {
            if let topic = image.topic(id: id) {
                response.topics.append(self.topic(topic, cluster))
            } else {
                var topic = MetadataResponse.Topic()
                topic.errorCode = .unknownTopicID
                topic.name = nil
                topic.topicID = id
                response.topics.append(topic)
            }
        }
        for name in self.names {
            if let topic = image.topic(name) {
                response.topics.append(self.topic(topic, cluster))
            } else {
                response.topics.append(self.missing(name, creationErrors[name] ?? nil))
            }
        }
        return response
    }

    private func missing(_ name: String, _ creationError: ApiError?) -> MetadataResponse.Topic {
        var topic = MetadataResponse.Topic()
        topic.name = name
        topic.isInternal = InternalTopics.contains(name)
        topic.errorCode =
            creationError?.code ?? TopicNames.refusal(of: name)?.code ?? .unknownTopicOrPartition
        if self.wantsTopicOperations { topic.topicAuthorizedOperations = AuthorizedOperations.topic }
        return topic
    }

    private func topic(_ topic: TopicImage, _ cluster: ClusterView) -> MetadataResponse.Topic {
        var answer = MetadataResponse.Topic()
        answer.name = topic.name
        answer.topicID = topic.id
        answer.isInternal = topic.isInternal
        if self.wantsTopicOperations { answer.topicAuthorizedOperations = AuthorizedOperations.topic }
        answer.partitions.reserveCapacity(topic.partitions.count)
        for (index, partition) in topic.partitions.enumerated() {
            answer.partitions.append(self.partition(Int32(index), partition, cluster, topic.id))
        }
        return answer
    }

    private func partition(
        _ index: Int32, _ partition: PartitionRegistration, _ cluster: ClusterView, _ topicID: KafkaUUID
    ) -> MetadataResponse.Partition {
        func isOnline(_ id: Int32) -> Bool { cluster.isOnline(id, topicID, index) }
        var answer = MetadataResponse.Partition()
        answer.partitionIndex = index
        answer.leaderEpoch = partition.leaderEpoch
        answer.replicaNodes = partition.replicas
        answer.isrNodes = partition.isr
        answer.offlineReplicas = partition.replicas.filter { !isOnline($0) }
        // Version 0 tells of what cannot be reached by an error, later ones by offlineReplicas.
        if self.version == 0, !answer.offlineReplicas.isEmpty {
            answer.replicaNodes = partition.replicas.filter { isOnline($0) }
            answer.isrNodes = partition.isr.filter { isOnline($0) }
            answer.errorCode = .replicaNotAvailable
        }
        if isOnline(partition.leader) {
            answer.leaderID = partition.leader
        } else {
            answer.leaderID = -1
            answer.errorCode = .leaderNotAvailable
        }
        return answer
    }
}
