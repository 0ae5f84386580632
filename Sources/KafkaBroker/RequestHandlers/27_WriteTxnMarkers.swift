import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// WriteTxnMarkers 1-2. Sent by a transaction's coordinator to the leaders of its partitions, and by kafka-transactions.sh,
// which aborts a transaction that hangs with it. 2 brings the version of the transaction (KIP-1228).
extension ApiHandler {
    static let writeTxnMarkers = ApiHandler.ordinary(WriteTxnMarkersRequest.self) { request, context, respond in
        let broker = context.broker
        let results = Gather<WriteTxnMarkersResponse.WritableTxnMarkerResult>(request.markers.count) { results in
            var response = WriteTxnMarkersResponse()
            response.markers = results
            respond(response)
        }
        for (index, asked) in request.markers.enumerated() {
            let marker = TransactionMarkerWriter.Marker(
                producer: ProducerIdentity(id: asked.producerID, epoch: asked.producerEpoch),
                isCommit: asked.transactionResult, coordinatorEpoch: asked.coordinatorEpoch,
                transactionVersion: Int16(asked.transactionVersion))
            write(marker, asked.topics, broker) { topics in
                var result = WriteTxnMarkersResponse.WritableTxnMarkerResult()
                result.producerID = asked.producerID
                result.topics = topics
                results.set(index, result)
            }
        }
    }
}

private func write(
    _ marker: TransactionMarkerWriter.Marker, _ topics: [WriteTxnMarkersRequest.WritableTxnMarkerTopic],
    _ broker: Broker,
    _ completion: @escaping @Sendable ([WriteTxnMarkersResponse.WritableTxnMarkerTopicResult]) -> Void
) {
    let count = topics.reduce(0) { $0 + $1.partitionIndexes.count }
    let codes = Gather<ErrorCode>(count) { codes in
        var rest = codes[...]
        completion(
            topics.map { topic in
                var result = WriteTxnMarkersResponse.WritableTxnMarkerTopicResult()
                result.name = topic.name
                result.partitions = topic.partitionIndexes.map { index in
                    var partition = WriteTxnMarkersResponse.WritableTxnMarkerPartitionResult()
                    partition.partitionIndex = index
                    partition.errorCode = rest.popFirst() ?? .unknownServerError
                    return partition
                }
                return result
            })
    }
    let table = broker.replicaManager.table
    var place = 0
    for topic in topics {
        let entry = table.topic(named: topic.name)
        for index in topic.partitionIndexes {
            let at = place
            place += 1
            guard let entry, index >= 0, Int(index) < entry.partitions.count, marker.producer.id >= 0 else {
                codes.set(at, .unknownTopicOrPartition)
                continue
            }
            guard let partition = entry.partitions[Int(index)] else {
                codes.set(at, .kafkaStorageError)
                continue
            }
            broker.transactionCoordinator.markers.write(marker, to: partition) { codes.set(at, $0) }
        }
    }
}
