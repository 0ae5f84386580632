import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// AlterPartitionReassignments 0-1 (KIP-455). 1 may forbid another number of replicas (KIP-860). With one broker, a
// partition can be given to that one only, where it is already: nothing changes, and nothing is ever under way.
extension ApiHandler {
    static let alterPartitionReassignments = ApiHandler.ordinary(AlterPartitionReassignmentsRequest.self) {
        request, context, respond in
        respond(answerAlterPartitionReassignments(request, context.broker.metadata.image, ClusterView(context)))
    }
}

func answerAlterPartitionReassignments(
    _ request: AlterPartitionReassignmentsRequest, _ image: MetadataImage, _ cluster: ClusterView
) -> AlterPartitionReassignmentsResponse {
    var response = AlterPartitionReassignmentsResponse()
    response.allowReplicationFactorChange = request.allowReplicationFactorChange
    response.errorMessage = nil
    let brokers = cluster.nodes.map(\.id)
    response.responses = request.topics.map { asked in
        var answer = AlterPartitionReassignmentsResponse.ReassignableTopicResponse()
        answer.name = asked.name
        let topic = image.topic(asked.name)
        answer.partitions = asked.partitions.map { partition in
            var result = AlterPartitionReassignmentsResponse.ReassignablePartitionResponse()
            result.partitionIndex = partition.partitionIndex
            let refusal = refusalOfReassignment(partition, of: asked.name, topic, brokers)
            result.errorCode = refusal?.code ?? .none
            result.errorMessage = refusal?.text
            return result
        }
        return answer
    }
    return response
}

private func refusalOfReassignment(
    _ asked: AlterPartitionReassignmentsRequest.ReassignablePartition, of name: String, _ topic: TopicImage?,
    _ brokers: [Int32]
) -> ApiError? {
    guard let topic else {
        return ApiError(.unknownTopicOrPartition, "Unable to find a topic named \(name).")
    }
    let index = asked.partitionIndex
    guard index >= 0, Int(index) < topic.partitions.count else {
        return ApiError(.unknownTopicOrPartition, "Unable to find partition \(name):\(index).")
    }
    // No replicas: what is under way is to be given up.
    guard let replicas = asked.replicas else { return ApiError(.noReassignmentInProgress) }
    if let refusal = ReplicaPlacer.refusal(of: replicas, factor: nil, brokers: brokers) { return refusal }
    guard replicas != topic.partitions[Int(index)].replicas else { return nil }
    return ApiError(.invalidReplicaAssignment, "Partitions are not moved between brokers.")
}
