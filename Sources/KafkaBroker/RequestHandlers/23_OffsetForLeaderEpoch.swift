import KafkaLog
import KafkaMessages
import KafkaPrimitives

// OffsetForLeaderEpoch 2-4 (KIP-101, KIP-320): where the records of an epoch end, so that a reader sees whether what it
// read is still there. Version 3 brings the replica id; replicas and consumers get the same answer here.
extension ApiHandler {
    static let offsetForLeaderEpoch = ApiHandler.ordinary(OffsetForLeaderEpochRequest.self) {
        request, context, respond in
        let table = context.broker.replicaManager.table
        var response = OffsetForLeaderEpochResponse()
        response.topics = request.topics.map { topic in
            var answer = OffsetForLeaderEpochResponse.OffsetForLeaderTopicResult()
            answer.topic = topic.topic
            let entry = table.topic(named: topic.topic)
            answer.partitions = topic.partitions.map { asked in
                var result = OffsetForLeaderEpochResponse.EpochEndOffset()
                result.partition = asked.partition
                result.leaderEpoch = -1
                result.endOffset = -1
                guard let entry, asked.partition >= 0, Int(asked.partition) < entry.partitions.count else {
                    result.errorCode = .unknownTopicOrPartition
                    return result
                }
                guard let partition = entry.partition(asked.partition) else {
                    result.errorCode = .kafkaStorageError
                    return result
                }
                if let error = partition.check(currentLeaderEpoch: asked.currentLeaderEpoch) {
                    result.errorCode = error
                    return result
                }
                // An epoch that is not known gives -1 for both.
                (result.leaderEpoch, result.endOffset) = partition.log.endOffset(forEpoch: asked.leaderEpoch)
                return result
            }
            return answer
        }
        respond(response)
    }
}
