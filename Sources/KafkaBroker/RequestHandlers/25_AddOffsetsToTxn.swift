import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// AddOffsetsToTxn 0-4. A group's offsets will be committed in the transaction: the group's partition of __consumer_offsets
// becomes part of it. 2 knows PRODUCER_FENCED, 3 is flexible, 4 knows TRANSACTION_ABORTABLE.
extension ApiHandler {
    static let addOffsetsToTxn = ApiHandler.ordinary(AddOffsetsToTxnRequest.self) { request, context, respond in
        let broker = context.broker
        let version = context.apiVersion
        @Sendable func answer(_ error: ErrorCode) {
            var response = AddOffsetsToTxnResponse()
            response.errorCode = error.forTransactions(knowsFenced: version >= 2)
            respond(response)
        }
        // Without it there is no group's coordinator either, which the client looks for next.
        guard let partition = broker.groupCoordinator.partition(for: request.groupID) else {
            return answer(.coordinatorNotAvailable)
        }
        let asked = TransactionCoordinatorShard.AddPartitions(
            transactionalID: request.transactionalID,
            producer: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch),
            partitions: TransactionPartitions([(partition.topic, [partition.index])]), isVerification: false,
            clientVersion: 1)
        broker.transactionCoordinator.perform(.addPartitions(asked), for: request.transactionalID) { reply in
            if case .partitionsAdded(let error) = reply { answer(error) }
        }
    }
}
