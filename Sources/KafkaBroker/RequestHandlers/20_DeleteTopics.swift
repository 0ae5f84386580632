import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// DeleteTopics 1-6. 3 knows TOPIC_DELETION_DISABLED, 5 error messages, 6 topics by id. As in Kafka the broker also
// deletes its internal topics when it is told to; tools ask before they tell it.
extension ApiHandler {
    static let deleteTopics = ApiHandler.ordinary(DeleteTopicsRequest.self) { request, context, respond in
        let broker = context.broker
        let (refused, topics) = decideDeleteTopics(
            request, broker.metadata.image, isEnabled: broker.config.deleteTopicEnable, version: context.apiVersion)
        let gather = Gather<DeleteTopicsResponse.DeletableTopicResult>(topics.count) { results in
            var response = DeleteTopicsResponse()
            response.responses = refused + results
            respond(response)
        }
        for (index, topic) in topics.enumerated() {
            broker.topicManager.delete(topic) { gather.set(index, .init(topic.name, topic.id, $0)) }
        }
    }
}

/// What is refused, and which topics are to go.
func decideDeleteTopics(
    _ request: DeleteTopicsRequest, _ image: MetadataImage, isEnabled: Bool, version: Int16
) -> (refused: [DeleteTopicsResponse.DeletableTopicResult], topics: [TopicImage]) {
    typealias Outcome = DeleteTopicsResponse.DeletableTopicResult
    var asked: [(name: String?, id: KafkaUUID)] = request.topics.map { ($0.name, $0.topicID) }
    asked += request.topicNames.map { ($0, .zero) }
    if !isEnabled {
        let error =
            version < 3
            ? ApiError(.invalidRequest, "Topic deletion is disabled.") : ApiError(.topicDeletionDisabled)
        return (asked.map { Outcome($0.name, $0.id, error) }, [])
    }
    var refused: [Outcome] = []
    var nameCounts: [String: Int] = [:]
    var idCounts: [KafkaUUID: Int] = [:]
    for (name, id) in asked {
        switch (name, id == .zero) {
        case (nil, true):
            refused.append(
                Outcome(nil, .zero, ApiError(.invalidRequest, "Neither topic name nor id were specified.")))
        case (let name?, false):
            let error = ApiError(.invalidRequest, "You may not specify both topic name and topic id.")
            refused.append(Outcome(name, id, error))
        case (let name?, true): nameCounts[name, default: 0] += 1
        case (nil, false): idCounts[id, default: 0] += 1
        }
    }
    var topics: [TopicImage] = []
    var taken = Set<KafkaUUID>()
    for (id, count) in idCounts.sorted(by: { $0.key < $1.key }) {
        if count > 1 {
            refused.append(Outcome(nil, id, ApiError(.invalidRequest, "Duplicate topic id.")))
        } else if let topic = image.topic(id: id) {
            topics.append(topic)
            taken.insert(id)
        } else {
            refused.append(Outcome(nil, id, ApiError(.unknownTopicID)))
        }
    }
    for (name, count) in nameCounts.sorted(by: { $0.key < $1.key }) {
        if count > 1 {
            refused.append(Outcome(name, .zero, ApiError(.invalidRequest, "Duplicate topic name.")))
        } else if let topic = image.topic(name) {
            if idCounts[topic.id] != nil {
                // Neither by the name nor by the id.
                topics.removeAll { $0.id == topic.id }
                let error = ApiError(
                    .invalidRequest, "The provided topic name maps to an ID that was already supplied.")
                refused.append(Outcome(name, topic.id, error))
            } else if taken.insert(topic.id).inserted {
                topics.append(topic)
            }
        } else {
            refused.append(Outcome(name, .zero, ApiError(.unknownTopicOrPartition)))
        }
    }
    return (refused, topics)
}

extension DeleteTopicsResponse.DeletableTopicResult {
    fileprivate init(_ name: String?, _ id: KafkaUUID, _ error: ApiError?) {
        self.init()
        self.name = name
        self.topicID = id
        self.errorCode = error?.code ?? .none
        self.errorMessage = error?.text
    }
}
