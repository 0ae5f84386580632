import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// ElectLeaders 0-2. 1 brought the type of the election (KIP-460), 2 is flexible. A partition has one replica here, which
// leads it as long as its broker lives, so that there is never anybody to be elected.
extension ApiHandler {
    static let electLeaders = ApiHandler.ordinary(ElectLeadersRequest.self) { request, context, respond in
        respond(answerElectLeaders(request, context.broker.metadata.image, ClusterView(context)))
    }
}

func answerElectLeaders(
    _ request: ElectLeadersRequest, _ image: MetadataImage, _ cluster: ClusterView
) -> ElectLeadersResponse {
    var response = ElectLeadersResponse()
    guard let type = ElectionType(rawValue: request.electionType) else {
        response.errorCode = .invalidRequest
        return response
    }
    guard let asked = request.topicPartitions else {
        // Of all partitions: those that have whom they should have are left out, their topics are not.
        response.replicaElectionResults = image.topics.map { topic in
            let indexes = topic.partitions.indices.map(Int32.init)
            var result = ElectLeadersResponse.ReplicaElectionResult(topic.name, indexes, type, image, cluster)
            result.partitionResult.removeAll { $0.errorCode == .electionNotNeeded }
            return result
        }
        return response
    }
    response.replicaElectionResults = asked.map { .init($0.topic, $0.partitions, type, image, cluster) }
    return response
}

private enum ElectionType: Int8 {
    case preferred = 0
    case unclean = 1
}

extension ElectLeadersResponse.ReplicaElectionResult {
    fileprivate init(
        _ name: String, _ indexes: [Int32], _ type: ElectionType, _ image: MetadataImage, _ cluster: ClusterView
    ) {
        self.init()
        self.topic = name
        let topic = image.topic(name)
        self.partitionResult = indexes.map { index in
            var result = ElectLeadersResponse.PartitionResult()
            result.partitionID = index
            let error: ApiError
            if let topic {
                error = Self.refusal(topic, index, type, cluster)
            } else {
                error = ApiError(.unknownTopicOrPartition, "No such topic as \(name)")
            }
            result.errorCode = error.code
            result.errorMessage = error.text
            return result
        }
    }

    private static func refusal(
        _ topic: TopicImage, _ index: Int32, _ type: ElectionType, _ cluster: ClusterView
    ) -> ApiError {
        guard index >= 0, Int(index) < topic.partitions.count else {
            return ApiError(.unknownTopicOrPartition, "No such partition as \(topic.name)-\(index)")
        }
        let partition = topic.partitions[Int(index)]
        let isLed = cluster.isOnline(partition.leader, topic.id, index)
        switch type {
        case .preferred:
            let isPreferred = isLed && partition.leader == partition.replicas.first
            return ApiError(isPreferred ? .electionNotNeeded : .preferredLeaderNotAvailable)
        case .unclean: return ApiError(isLed ? .electionNotNeeded : .eligibleLeadersNotAvailable)
        }
    }
}
