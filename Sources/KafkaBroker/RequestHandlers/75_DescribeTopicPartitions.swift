import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// DescribeTopicPartitions 0 (KIP-966): partitions of many topics in pages. Topics come in order of name; where the limit
// is reached, the cursor says where the next page begins.
extension ApiHandler {
    static let describeTopicPartitions = ApiHandler.ordinary(DescribeTopicPartitionsRequest.self) {
        request, context, respond in
        let broker = context.broker
        respond(
            answerDescribeTopicPartitions(
                request, broker.metadata.image, ClusterView(context),
                limit: Int32(clamping: broker.config.maxRequestPartitionSizeLimit)))
    }
}

func answerDescribeTopicPartitions(
    _ request: DescribeTopicPartitionsRequest, _ image: MetadataImage, _ cluster: ClusterView, limit: Int32
) -> DescribeTopicPartitionsResponse {
    var response = DescribeTopicPartitionsResponse()
    let isAllTopics = request.topics.isEmpty
    let first = request.cursor?.topicName ?? ""
    let all = isAllTopics ? Set(image.topics.map(\.name)) : Set(request.topics.map(\.name))
    let names = all.filter { $0 >= first }.sorted()
    if let cursor = request.cursor, cursor.partitionIndex < 0 || (!isAllTopics && !all.contains(cursor.topicName)) {
        response.topics = request.topics.map { .init(failed: $0.name, .invalidRequest) }
        return response
    }
    var remaining = max(min(limit, request.responsePartitionLimit), 1)
    for name in names {
        if remaining == 0 {
            response.nextCursor = .init(name, 0)
            break
        }
        guard let topic = image.topic(name) else {
            if !isAllTopics {
                let code = TopicNames.refusal(of: name)?.code ?? .unknownTopicOrPartition
                response.topics.append(.init(failed: name, code))
            }
            continue
        }
        let count = Int32(clamping: topic.partitions.count)
        let start = name == first ? min(request.cursor?.partitionIndex ?? 0, count) : 0
        let end = start + min(remaining, count - start)
        var answer = DescribeTopicPartitionsResponse.Topic()
        answer.name = name
        answer.topicID = topic.id
        answer.isInternal = topic.isInternal
        answer.topicAuthorizedOperations = AuthorizedOperations.topic
        answer.partitions = (start..<end).map { .init($0, topic.partitions[Int($0)], cluster, topic.id) }
        response.topics.append(answer)
        if end < count {
            response.nextCursor = .init(name, end)
            break
        }
        remaining -= end - start
    }
    return response
}

extension DescribeTopicPartitionsResponse.Cursor {
    fileprivate init(_ name: String, _ index: Int32) {
        self.init()
        self.topicName = name
        self.partitionIndex = index
    }
}

extension DescribeTopicPartitionsResponse.Topic {
    fileprivate init(failed name: String, _ code: ErrorCode) {
        self.init()
        self.name = name
        self.errorCode = code
        self.isInternal = InternalTopics.contains(name)
        self.topicAuthorizedOperations = AuthorizedOperations.topic
    }
}

extension DescribeTopicPartitionsResponse.Partition {
    fileprivate init(_ index: Int32, _ partition: PartitionRegistration, _ cluster: ClusterView, _ topicID: KafkaUUID) {
        func isOnline(_ id: Int32) -> Bool { cluster.isOnline(id, topicID, index) }
        self.init()
        self.partitionIndex = index
        self.leaderID = isOnline(partition.leader) ? partition.leader : -1
        self.leaderEpoch = partition.leaderEpoch
        self.replicaNodes = partition.replicas
        self.isrNodes = partition.isr
        self.eligibleLeaderReplicas = []
        self.lastKnownElr = []
        self.offlineReplicas = partition.replicas.filter { !isOnline($0) }
    }
}
