import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// DescribeQuorum 0-2 (KIP-595). 1 brought when a voter last fetched (KIP-836), 2 the voters' directories and listeners
// (KIP-853). The metadata is in this broker's own store, so that it is the quorum: the one voter, which leads. Offsets
// are the store's revisions.
extension ApiHandler {
    static let describeQuorum = ApiHandler.ordinary(DescribeQuorumRequest.self) { request, context, respond in
        let broker = context.broker
        respond(
            answerDescribeQuorum(
                request, nodeID: broker.nodeID, endpoint: context.endpoint, listener: context.listenerName,
                revision: broker.metadata.image.revision, nowMs: context.nowMs, version: context.apiVersion))
    }
}

func answerDescribeQuorum(
    _ request: DescribeQuorumRequest, nodeID: Int32, endpoint: Endpoint, listener: String, revision: Int64,
    nowMs: Int64, version: Int16
) -> DescribeQuorumResponse {
    var response = DescribeQuorumResponse()
    response.errorMessage = nil
    let isOfMetadata =
        request.topics.count == 1 && request.topics[0].topicName == "__cluster_metadata"
        && request.topics[0].partitions.map(\.partitionIndex) == [0]
    response.topics = request.topics.map { asked in
        var topic = DescribeQuorumResponse.TopicData()
        topic.topicName = asked.topicName
        topic.partitions = asked.partitions.map { partition in
            var answer = DescribeQuorumResponse.PartitionData()
            answer.partitionIndex = partition.partitionIndex
            guard isOfMetadata else {
                answer.errorCode = .unknownTopicOrPartition
                answer.errorMessage = ErrorCode.unknownTopicOrPartition.defaultMessage
                return answer
            }
            answer.errorMessage = nil
            answer.leaderID = nodeID
            answer.leaderEpoch = 1
            answer.highWatermark = revision
            var voter = DescribeQuorumResponse.ReplicaState()
            voter.replicaID = nodeID
            voter.logEndOffset = revision
            voter.lastFetchTimestamp = nowMs
            voter.lastCaughtUpTimestamp = nowMs
            answer.currentVoters = [voter]
            return answer
        }
        return topic
    }
    guard isOfMetadata, version >= 2 else { return response }
    var node = DescribeQuorumResponse.Node()
    node.nodeID = nodeID
    var reached = DescribeQuorumResponse.Listener()
    reached.name = listener
    reached.host = endpoint.host
    reached.port = UInt16(clamping: endpoint.port)
    node.listeners = [reached]
    response.nodes = [node]
    return response
}
