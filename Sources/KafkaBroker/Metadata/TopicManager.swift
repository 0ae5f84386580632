import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Synchronization

/// Makes, changes and deletes topics and configs: decides on the image, then commits what must not have changed since.
///
/// Completions run on the metadata store's thread, after the image and the logs have what was changed; or at once, on
/// the caller's, when there is nothing to commit.
package struct TopicManager: Sendable {
    package let metadata: MetadataManager
    private let config: KafkaConfig

    package init(metadata: MetadataManager, config: KafkaConfig) {
        self.metadata = metadata
        self.config = config
    }

    package var context: TopicContext { TopicContext(image: self.metadata.image, config: self.config) }

    // MARK: Create

    /// Makes the topic of `plan`; its id.
    package func create(_ plan: TopicPlan, _ completion: @escaping @Sendable (Result<KafkaUUID, ApiError>) -> Void) {
        var generator = SystemRandomNumberGenerator()
        let id = KafkaUUID.random(using: &generator)
        var changes: [MetadataTransaction.Change] = [
            .put(
                MetadataKeys.topic(plan.name), TopicImage.record(id: id, partitions: plan.partitions.count).bytes)
        ]
        for (index, replicas) in plan.partitions.enumerated() {
            let registration = PartitionRegistration(replicas: replicas)
            changes.append(.put(MetadataKeys.partition(id, Int32(index)), registration.record.bytes))
        }
        if !plan.configs.isEmpty { changes.append(Self.put(plan.configs, MetadataKeys.topicConfig(plan.name))) }
        let transaction = MetadataTransaction(compares: [.absent(MetadataKeys.topic(plan.name))], changes: changes)
        self.metadata.store.commit(transaction) { result in
            switch result {
            case .success(.committed): completion(.success(id))
            case .success(.conflict):
                completion(.failure(ApiError(.topicAlreadyExists, "Topic '\(plan.name)' already exists.")))
            case .failure(let error): completion(.failure(ApiError(error)))
            }
        }
    }

    /// Makes a topic that a client asked for, or one of Kafka's own, with the settings for it. Done already is fine.
    package func autoCreate(_ name: String, _ completion: @escaping @Sendable (ApiError?) -> Void) {
        let context = self.context
        if context.image.topic(name) != nil { return completion(nil) }
        let topic = InternalTopics.creatable(name, context)
        switch TopicPlan.make(topic, context) {
        case .failure(let error): completion(error.code == .topicAlreadyExists ? nil : error)
        case .success(let plan):
            self.create(plan) { result in
                switch result {
                case .success: completion(nil)
                case .failure(let error): completion(error.code == .topicAlreadyExists ? nil : error)
                }
            }
        }
    }

    // MARK: Delete

    package func delete(_ topic: TopicImage, _ completion: @escaping @Sendable (ApiError?) -> Void) {
        self.attempt(completion) { context in
            guard let topic = context.image.topic(id: topic.id) else {
                return .failure(ApiError(.unknownTopicID))
            }
            return .success(
                MetadataTransaction(
                    compares: [.modRevision(MetadataKeys.topic(topic.name), topic.topicRevision)],
                    changes: [
                        .delete(MetadataKeys.topic(topic.name)), .delete(MetadataKeys.topicConfig(topic.name)),
                        .deleteRange(MetadataKeys.partitions(topic.id)),
                    ]))
        }
    }

    // MARK: Partitions

    /// Why a topic of a CreatePartitions request cannot be changed so, or the replicas of the new partitions.
    package static func planPartitions(
        _ request: CreatePartitionsRequest.Topic, _ context: TopicContext
    ) -> Result<(topic: TopicImage, replicas: [[Int32]]), ApiError> {
        guard let topic = context.image.topic(request.name) else {
            return .failure(ApiError(.unknownTopicOrPartition))
        }
        let existing = topic.partitions.count
        let count = Int(request.count)
        if count == existing {
            return .failure(ApiError(.invalidPartitions, "Topic already has \(existing) partition(s)."))
        }
        if count < existing {
            return .failure(
                ApiError(
                    .invalidPartitions,
                    "The topic \(topic.name) currently has \(existing) partition(s); \(count) would not be an increase."
                ))
        }
        let additional = count - existing
        if additional > TopicPlan.maximalPartitionsPerRequest { return .failure(TopicPlan.tooMany) }
        let factor = topic.partitions.first?.replicas.count ?? 1
        guard let assignments = request.assignments else {
            return ReplicaPlacer.place(
                additional, replicas: factor, firstPartition: existing, brokers: context.placeable
            ).map { (topic, $0) }
        }
        guard assignments.count == additional else {
            return .failure(
                ApiError(
                    .invalidReplicaAssignment,
                    "Attempted to add \(additional) additional partition(s), but only \(assignments.count) "
                        + "assignment(s) were specified."))
        }
        for assignment in assignments {
            let refusal = ReplicaPlacer.refusal(of: assignment.brokerIDs, factor: factor, brokers: context.brokers)
            if let refusal { return .failure(refusal) }
        }
        return .success((topic, assignments.map(\.brokerIDs)))
    }

    package func createPartitions(
        _ request: CreatePartitionsRequest.Topic, validateOnly: Bool,
        _ completion: @escaping @Sendable (ApiError?) -> Void
    ) {
        self.attempt(validateOnly: validateOnly, completion) { context in
            Self.planPartitions(request, context).map { topic, replicas in
                let existing = topic.partitions.count
                let record = TopicImage.record(id: topic.id, partitions: existing + replicas.count)
                var changes: [MetadataTransaction.Change] = [.put(MetadataKeys.topic(topic.name), record.bytes)]
                for (index, replicas) in replicas.enumerated() {
                    let key = MetadataKeys.partition(topic.id, Int32(existing + index))
                    changes.append(.put(key, PartitionRegistration(replicas: replicas).record.bytes))
                }
                return MetadataTransaction(
                    compares: [.modRevision(MetadataKeys.topic(topic.name), topic.topicRevision)], changes: changes)
            }
        }
    }

    // MARK: Configs

    /// Replaces the overrides of a topic by what `change` makes of them.
    package func alterTopicConfigs(
        _ name: String, validateOnly: Bool, _ completion: @escaping @Sendable (ApiError?) -> Void,
        change: @escaping @Sendable ([String: String], KafkaConfig) -> Result<[String: String], ApiError>
    ) {
        self.attempt(validateOnly: validateOnly, completion) { context in
            if name.isEmpty { return .failure(ApiError(.invalidRequest, "Default topic resources are not allowed.")) }
            if let refusal = TopicNames.refusal(of: name) { return .failure(refusal) }
            let topic = context.image.topic(name)
            switch change(topic?.configs ?? [:], context.config) {
            case .failure(let error): return .failure(error)
            case .success(let configs):
                if let refusal = TopicConfigs.refusal(of: configs, broker: context.config) {
                    return .failure(ApiError(.invalidConfig, refusal))
                }
                guard let topic else {
                    return .failure(ApiError(.unknownTopicOrPartition, "The topic '\(name)' does not exist."))
                }
                if Self.isTooLong(configs) { return .failure(Self.tooLong) }
                let key = MetadataKeys.topicConfig(name)
                return .success(
                    MetadataTransaction(
                        compares: [
                            .modRevision(MetadataKeys.topic(name), topic.topicRevision),
                            .modRevision(key, topic.configRevision),
                        ],
                        changes: configs == topic.configs ? [] : [Self.put(configs, key)]))
            }
        }
    }

    /// Replaces the dynamic configs of a broker (nil: of all brokers) by what `change` makes of them.
    package func alterBrokerConfigs(
        _ id: Int32?, validateOnly: Bool, _ completion: @escaping @Sendable (ApiError?) -> Void,
        change: @escaping @Sendable ([String: String]) -> Result<[String: String], ApiError>
    ) {
        self.attempt(validateOnly: validateOnly, completion) { context in
            let before = id.map { context.image.brokerConfigs($0) } ?? context.image.brokerDefaultConfigs
            return change(before).flatMap { configs in
                DynamicBrokerConfigs.refusal(
                    of: configs, before: before, perBroker: id != nil, logDirs: context.config.logDirs
                ).map { .failure($0) }
                    ?? (Self.isTooLong(configs) ? .failure(Self.tooLong) : .success(configs))
            }.map { configs in
                let key = MetadataKeys.brokerConfig(id)
                return MetadataTransaction(
                    compares: [.modRevision(key, context.image.brokerConfigRevision(id))],
                    changes: configs == before ? [] : [Self.put(configs, key)])
            }
        }
    }

    /// What the configs of one resource may take together. A list that is appended to again and again, or names that
    /// nobody knows, would otherwise grow for ever.
    private static let maximalConfigBytes = 1 << 20
    static let tooLong = ApiError(
        .policyViolation, "The configs of one resource may take \(maximalConfigBytes) bytes together.")

    static func isTooLong(_ configs: [String: String]) -> Bool {
        configs.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count } > self.maximalConfigBytes
    }

    static func put(_ configs: [String: String], _ key: MetadataKey) -> MetadataTransaction.Change {
        if configs.isEmpty { return .delete(key) }
        let fields = configs.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        return .put(key, MetadataRecord(fields).bytes)
    }

    // MARK: Trying again

    /// Decides and commits; when somebody else was quicker, decides anew.
    func attempt(
        validateOnly: Bool = false, retries: Int = 20, _ completion: @escaping @Sendable (ApiError?) -> Void,
        _ decide: @escaping @Sendable (TopicContext) -> Result<MetadataTransaction, ApiError>
    ) {
        switch decide(self.context) {
        case .failure(let error): completion(error)
        case .success(let transaction):
            if validateOnly || transaction.changes.isEmpty { return completion(nil) }
            self.metadata.store.commit(transaction) { result in
                switch result {
                case .success(.committed): completion(nil)
                case .success(.conflict) where retries > 0:
                    self.attempt(validateOnly: false, retries: retries - 1, completion, decide)
                case .success(.conflict):
                    completion(ApiError(.requestTimedOut, "Others changed the same thing again and again."))
                case .failure(let error): completion(ApiError(error))
                }
            }
        }
    }
}

extension Broker {
    /// With the settings of now.
    package var topicManager: TopicManager { TopicManager(metadata: self.metadata, config: self.config) }
}

/// Collects answers that come from several sides, and hands them on in their order when the last one is there.
final class Gather<Value: Sendable>: Sendable {
    private let state: Mutex<(values: [Value?], missing: Int)>
    private let completion: @Sendable ([Value]) -> Void

    /// With a count of 0 the completion runs at once.
    init(_ count: Int, _ completion: @escaping @Sendable ([Value]) -> Void) {
        self.state = Mutex((Array(repeating: nil, count: count), count))
        self.completion = completion
        if count == 0 { completion([]) }
    }

    /// Once for each index.
    func set(_ index: Int, _ value: Value) {
        let all: [Value]? = self.state.withLock { state in
            if state.values[index] == nil { state.missing -= 1 }
            state.values[index] = value
            return state.missing == 0 ? state.values.compactMap { $0 } : nil
        }
        if let all { self.completion(all) }
    }
}
