import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

/// What decisions about topics look at.
package struct TopicContext: Sendable {
    package var image: MetadataImage
    package var config: KafkaConfig
    /// Brokers that may be given replicas, in order.
    package var brokers: [Int32]
    /// Those of them that are given new partitions without being asked for by name: a folder at least is not cordoned.
    package var placeable: [Int32]

    package init(image: MetadataImage, config: KafkaConfig) {
        self.image = image
        self.config = config
        self.brokers = Set(image.brokers.keys).union([config.nodeID]).sorted()
        self.placeable = self.brokers.filter { $0 != config.nodeID || !config.areAllLogDirsCordoned }
    }
}

/// A topic as it will be made.
package struct TopicPlan: Equatable, Sendable {
    package var name: String
    /// Replicas by partition.
    package var partitions: [[Int32]]
    package var configs: [String: String]

    package init(name: String, partitions: [[Int32]], configs: [String: String]) {
        self.name = name
        self.partitions = partitions
        self.configs = configs
    }

    /// More than this in one request is an accident, or an attack.
    package static let maximalPartitionsPerRequest = 10_000

    /// Judges one topic of a CreateTopics request.
    package static func make(
        _ topic: CreateTopicsRequest.CreatableTopic, _ context: TopicContext
    ) -> Result<TopicPlan, ApiError> {
        let name = topic.name
        if let refusal = TopicNames.refusal(of: name) { return .failure(refusal) }
        if name == TopicNames.clusterMetadata {
            return .failure(ApiError(.invalidRequest, "Creation of internal topic \(name) is prohibited."))
        }
        if context.image.topic(name) != nil {
            return .failure(ApiError(.topicAlreadyExists, "Topic '\(name)' already exists."))
        }
        if let other = context.image.collision(with: name) {
            return .failure(
                ApiError(.invalidTopicException, "Topic '\(name)' collides with existing topic: \(other)"))
        }
        let nullConfigs = topic.configs.filter { $0.value == nil }.map(\.name)
        if !nullConfigs.isEmpty {
            let names = nullConfigs.joined(separator: ",")
            return .failure(ApiError(.invalidConfig, "Null value not supported for topic configs: \(names)"))
        }
        let configs = Dictionary(topic.configs.map { ($0.name, $0.value ?? "") }, uniquingKeysWith: { $1 })
        if let refusal = TopicConfigs.refusal(of: configs, broker: context.config) {
            return .failure(ApiError(.invalidConfig, refusal))
        }
        let partitions =
            topic.assignments.isEmpty
            ? self.place(topic.numPartitions, topic.replicationFactor, context) : self.assigned(topic, context)
        return partitions.map { TopicPlan(name: name, partitions: $0, configs: configs) }
    }

    private static func place(
        _ numPartitions: Int32, _ replicationFactor: Int16, _ context: TopicContext
    ) -> Result<[[Int32]], ApiError> {
        if replicationFactor < -1 || replicationFactor == 0 {
            return .failure(
                ApiError(
                    .invalidReplicationFactor,
                    "Replication factor must be larger than 0, or -1 to use the default value."))
        }
        if numPartitions < -1 || numPartitions == 0 {
            return .failure(
                ApiError(.invalidPartitions, "Number of partitions was set to an invalid non-positive value."))
        }
        let count = Int(numPartitions == -1 ? context.config.numPartitions : numPartitions)
        if count > self.maximalPartitionsPerRequest { return .failure(self.tooMany) }
        let factor = Int(
            replicationFactor == -1 ? Int16(clamping: context.config.defaultReplicationFactor) : replicationFactor)
        return ReplicaPlacer.place(count, replicas: factor, firstPartition: 0, brokers: context.placeable)
    }

    static let tooMany = ApiError(.policyViolation, "Excessively large number of partitions per request.")

    private static func assigned(
        _ topic: CreateTopicsRequest.CreatableTopic, _ context: TopicContext
    ) -> Result<[[Int32]], ApiError> {
        let prefix = "A manual partition assignment was specified, but"
        if topic.replicationFactor != -1 {
            return .failure(ApiError(.invalidRequest, "\(prefix) replication factor was not set to -1."))
        }
        if topic.numPartitions != -1 {
            return .failure(ApiError(.invalidRequest, "\(prefix) numPartitions was not set to -1."))
        }
        if topic.assignments.count > self.maximalPartitionsPerRequest { return .failure(self.tooMany) }
        var replicas: [Int32: [Int32]] = [:]
        var factor: Int?
        for assignment in topic.assignments {
            let index = assignment.partitionIndex
            if replicas[index] != nil {
                return .failure(
                    ApiError(
                        .invalidReplicaAssignment, "Found multiple manual partition assignments for partition \(index)"
                    ))
            }
            if let refusal = ReplicaPlacer.refusal(of: assignment.brokerIDs, factor: factor, brokers: context.brokers) {
                return .failure(refusal)
            }
            factor = assignment.brokerIDs.count
            replicas[index] = assignment.brokerIDs
        }
        var partitions: [[Int32]] = []
        while let next = replicas[Int32(partitions.count)] { partitions.append(next) }
        guard partitions.count == replicas.count else {
            return .failure(
                ApiError(.invalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence"))
        }
        return .success(partitions)
    }
}

/// Which brokers get the replicas of a partition.
package enum ReplicaPlacer {
    /// Leaders go round the brokers, and so do the replicas behind them.
    package static func place(
        _ count: Int, replicas factor: Int, firstPartition: Int, brokers: [Int32]
    ) -> Result<[[Int32]], ApiError> {
        guard factor <= brokers.count else {
            return .failure(
                ApiError(
                    .invalidReplicationFactor,
                    "Unable to replicate the partition \(factor) time(s): The target replication factor of \(factor) "
                        + "cannot be reached because only \(brokers.count) broker(s) are registered."))
        }
        return .success(
            (0..<count).map { partition in
                (0..<factor).map { brokers[(firstPartition + partition + $0) % brokers.count] }
            })
    }

    /// Why a manual assignment is refused, or nil.
    package static func refusal(of replicas: [Int32], factor: Int?, brokers: [Int32]) -> ApiError? {
        let prefix = "The manual partition assignment includes"
        if replicas.isEmpty { return ApiError(.invalidReplicaAssignment, "\(prefix) an empty replica list.") }
        var before: Int32?
        for id in replicas.sorted() {
            if !brokers.contains(id) {
                return ApiError(
                    .invalidReplicaAssignment, "\(prefix) broker \(id), but no such broker is registered.")
            }
            if id == before {
                return ApiError(.invalidReplicaAssignment, "\(prefix) the broker \(id) more than once.")
            }
            before = id
        }
        guard let factor, factor != replicas.count else { return nil }
        return ApiError(
            .invalidReplicaAssignment,
            "\(prefix) a partition with \(replicas.count) replica(s), but this is not consistent with previous "
                + "partitions, which have \(factor) replica(s).")
    }
}
