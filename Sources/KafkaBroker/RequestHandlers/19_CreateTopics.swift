import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// CreateTopics 2-7. 4 lets partitions and replicas be -1 (the broker's defaults), 5 tells the configs of the new topic
// (KIP-525), 6 may be throttled, 7 tells the topic id. Each topic is made by itself: one that is refused does not keep
// the others from being made.
extension ApiHandler {
    static let createTopics = ApiHandler.ordinary(CreateTopicsRequest.self) { request, context, respond in
        let manager = context.broker.topicManager
        let decisions = decideCreateTopics(request, manager.context)
        let gather = Gather<CreateTopicsResponse.CreatableTopicResult>(decisions.count) { results in
            var response = CreateTopicsResponse()
            response.topics = results
            respond(response)
        }
        for (index, decision) in decisions.enumerated() {
            switch decision.plan {
            case .success(let plan) where !request.validateOnly:
                let config = context.broker.config
                manager.create(plan) { result in
                    switch result {
                    case .success(let id): gather.set(index, .made(plan, id, config))
                    case .failure(let error): gather.set(index, .refused(decision.name, error))
                    }
                }
            case .success(let plan):
                // Kafka too gives an id that nothing will ever have.
                var generator = SystemRandomNumberGenerator()
                gather.set(index, .made(plan, .random(using: &generator), context.broker.config))
            case .failure(let error): gather.set(index, .refused(decision.name, error))
            }
        }
    }
}

struct CreateTopicsDecision: Sendable {
    var name: String
    var plan: Result<TopicPlan, ApiError>
}

/// What is to be done with each topic of the request, in its order; those that are named twice come last, once.
func decideCreateTopics(_ request: CreateTopicsRequest, _ context: TopicContext) -> [CreateTopicsDecision] {
    var counts: [String: Int] = [:]
    for topic in request.topics { counts[topic.name, default: 0] += 1 }
    var decisions: [CreateTopicsDecision] = []
    var repeated: [CreateTopicsDecision] = []
    var partitions = 0
    for topic in request.topics {
        guard let count = counts.removeValue(forKey: topic.name) else { continue }
        if count > 1 {
            let error = ApiError(.invalidRequest, "Duplicate topic name.")
            repeated.append(CreateTopicsDecision(name: topic.name, plan: .failure(error)))
            continue
        }
        var plan = TopicPlan.make(topic, context)
        if case .success(let made) = plan {
            partitions += made.partitions.count
            if partitions > TopicPlan.maximalPartitionsPerRequest { plan = .failure(TopicPlan.tooMany) }
        }
        decisions.append(CreateTopicsDecision(name: topic.name, plan: plan))
    }
    return decisions + repeated
}

extension CreateTopicsResponse.CreatableTopicResult {
    fileprivate static func refused(_ name: String, _ error: ApiError) -> Self {
        var result = Self()
        result.name = name
        result.errorCode = error.code
        result.errorMessage = error.text
        return result
    }

    static func made(_ plan: TopicPlan, _ id: KafkaUUID, _ config: KafkaConfig) -> Self {
        var result = Self()
        result.name = plan.name
        result.topicID = id
        result.errorMessage = nil
        result.numPartitions = Int32(clamping: plan.partitions.count)
        result.replicationFactor = Int16(clamping: plan.partitions.first?.count ?? 0)
        result.configs = TopicConfigs.describe(overrides: plan.configs, names: nil, broker: config).map {
            var entry = CreateTopicsResponse.CreatableTopicConfigs()
            entry.name = $0.name
            entry.value = $0.isSensitive ? nil : $0.value
            entry.readOnly = $0.isReadOnly
            entry.configSource = $0.source.rawValue
            entry.isSensitive = $0.isSensitive
            return entry
        }
        return result
    }
}
