import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// EndTxn 0-5. 2 knows PRODUCER_FENCED, 3 is flexible, 4 knows TRANSACTION_ABORTABLE; from 5 on the transaction is of
// version 2 (KIP-890), and the answer has the producer's id and epoch for what comes next.
extension ApiHandler {
    static let endTxn = ApiHandler.ordinary(EndTxnRequest.self) { request, context, respond in
        let version = context.apiVersion
        let asked = TransactionCoordinatorShard.EndTransaction(
            transactionalID: request.transactionalID,
            producer: ProducerIdentity(id: request.producerID, epoch: request.producerEpoch),
            isCommit: request.committed, clientVersion: version >= 5 ? 2 : 1)
        context.broker.transactionCoordinator.perform(.endTransaction(asked), for: request.transactionalID) { reply in
            guard case .ended(let error, let producer) = reply else { return }
            var response = EndTxnResponse()
            response.errorCode = error.forTransactions(knowsFenced: version >= 2)
            response.producerID = producer.id
            response.producerEpoch = producer.epoch
            respond(response)
        }
    }
}
