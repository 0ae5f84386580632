import KafkaLog
import KafkaMessages
import KafkaPrimitives

// DescribeProducers 0 (KIP-664): the producers that a partition knows, and since when each has a transaction open in it.
extension ApiHandler {
    static let describeProducers = ApiHandler.ordinary(DescribeProducersRequest.self) { request, context, respond in
        let table = context.broker.replicaManager.table
        var response = DescribeProducersResponse()
        response.topics = request.topics.map { asked in
            var topic = DescribeProducersResponse.TopicResponse()
            topic.name = asked.name
            let entry = table.topic(named: asked.name)
            topic.partitions = asked.partitionIndexes.map { index in
                var partition = DescribeProducersResponse.PartitionResponse()
                partition.partitionIndex = index
                guard let entry, index >= 0, Int(index) < entry.partitions.count else {
                    partition.errorCode = TopicNames.refusal(of: asked.name)?.code ?? .unknownTopicOrPartition
                    return partition
                }
                guard let log = entry.partitions[Int(index)]?.log else {
                    partition.errorCode = .kafkaStorageError
                    return partition
                }
                partition.activeProducers = log.activeProducers.map { producer in
                    var state = DescribeProducersResponse.ProducerState()
                    state.producerID = producer.id
                    state.producerEpoch = Int32(producer.epoch)
                    state.lastSequence = producer.lastSequence
                    state.lastTimestamp = producer.lastTimestamp
                    state.coordinatorEpoch = producer.coordinatorEpoch
                    state.currentTxnStartOffset = producer.currentTransactionFirstOffset
                    return state
                }
                return partition
            }
            return topic
        }
        respond(response)
    }
}
