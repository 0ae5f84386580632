import KafkaLog
import KafkaMessages
import KafkaPrimitives

// DeleteRecords 0-2 (KIP-107). An offset of -1 is the high watermark. Answered when the new log start is on disk; the
// records' files go with the next retention pass. The one replica's log start is the low watermark that is told.
extension ApiHandler {
    static let deleteRecords = ApiHandler.ordinary(DeleteRecordsRequest.self) { request, context, respond in
        context.broker.background.submit {
            respond(deleteRecords(request, context.broker))
        }
    }

    private static func deleteRecords(_ request: DeleteRecordsRequest, _ broker: Broker) -> DeleteRecordsResponse {
        let table = broker.replicaManager.table
        var deletions: [(partition: Partition, offset: Int64)] = []
        var places: [(topic: Int, partition: Int)] = []
        var response = DeleteRecordsResponse()
        for topic in request.topics {
            let entry = table.topic(named: topic.name)
            var answer = DeleteRecordsResponse.TopicResult()
            answer.name = topic.name
            for asked in topic.partitions {
                var result = DeleteRecordsResponse.PartitionResult()
                result.partitionIndex = asked.partitionIndex
                result.lowWatermark = -1
                switch decideDeleteRecords(asked.partitionIndex, of: entry) {
                case .failure(let code): result.errorCode = code
                case .success(let partition):
                    deletions.append((partition, asked.offset))
                    places.append((response.topics.count, answer.partitions.count))
                }
                answer.partitions.append(result)
            }
            response.topics.append(answer)
        }
        let results = broker.replicaManager.logManager.deleteRecords(
            before: deletions.map { ($0.partition.log, $0.offset) })
        for (at, result) in results.enumerated() {
            switch result {
            case .failure(let code):
                response.topics[places[at].topic].partitions[places[at].partition].errorCode = code
            case .success(let start):
                response.topics[places[at].topic].partitions[places[at].partition].lowWatermark = start
                // A fetch that waits for more at an offset that is gone is told so.
                broker.wake(deletions[at].partition)
            }
        }
        return response
    }
}

private func decideDeleteRecords(_ index: Int32, of topic: TopicEntry?) -> Result<Partition, ErrorCode> {
    guard let topic, index >= 0, Int(index) < topic.partitions.count else {
        return .failure(.unknownTopicOrPartition)
    }
    if topic.isInternal { return .failure(.invalidTopicException) }
    guard let partition = topic.partition(index) else { return .failure(.kafkaStorageError) }
    return .success(partition)
}
