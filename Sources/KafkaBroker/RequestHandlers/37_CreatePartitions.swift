import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// CreatePartitions 0-3. The count is that of all partitions, old and new. 2 is flexible, 3 may be throttled.
extension ApiHandler {
    static let createPartitions = ApiHandler.ordinary(CreatePartitionsRequest.self) { request, context, respond in
        var counts: [String: Int] = [:]
        for topic in request.topics { counts[topic.name, default: 0] += 1 }
        let repeated = counts.filter { $0.value > 1 }.keys.sorted().map {
            CreatePartitionsResponse.TopicResult($0, ApiError(.invalidRequest, "Duplicate topic name."))
        }
        let topics = request.topics.filter { counts[$0.name] == 1 }
        let gather = Gather<CreatePartitionsResponse.TopicResult>(topics.count) { results in
            var response = CreatePartitionsResponse()
            response.results = repeated + results
            respond(response)
        }
        for (index, topic) in topics.enumerated() {
            context.broker.topicManager.createPartitions(topic, validateOnly: request.validateOnly) {
                gather.set(index, .init(topic.name, $0))
            }
        }
    }
}

extension CreatePartitionsResponse.TopicResult {
    fileprivate init(_ name: String, _ error: ApiError?) {
        self.init()
        self.name = name
        self.errorCode = error?.code ?? .none
        self.errorMessage = error?.text
    }
}
