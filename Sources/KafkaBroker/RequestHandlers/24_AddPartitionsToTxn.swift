import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// AddPartitionsToTxn 0-5. 2 knows PRODUCER_FENCED, 3 is flexible. 4 and 5 are sent between brokers (KIP-890): several
// transactions at once, and such as are only to be verified; 5 knows TRANSACTION_ABORTABLE. What is added by them is of a
// producer of version 2, for which its broker asks.
//
// A partition that does not exist lets the whole transaction fail; the others get OPERATION_NOT_ATTEMPTED.
extension ApiHandler {
    static let addPartitionsToTxn = ApiHandler.ordinary(AddPartitionsToTxnRequest.self) { request, context, respond in
        let version = context.apiVersion
        guard version >= 4 else {
            var transaction = AddPartitionsToTxnRequest.Transaction()
            transaction.transactionalID = request.v3AndBelowTransactionalID
            transaction.producerID = request.v3AndBelowProducerID
            transaction.producerEpoch = request.v3AndBelowProducerEpoch
            transaction.topics = request.v3AndBelowTopics
            return add(transaction, version, context.broker) { results in
                var response = AddPartitionsToTxnResponse()
                response.resultsByTopicV3AndBelow = results
                respond(response)
            }
        }
        let gather = Gather<AddPartitionsToTxnResponse.Result>(request.transactions.count) { results in
            var response = AddPartitionsToTxnResponse()
            response.resultsByTransaction = results
            respond(response)
        }
        for (index, transaction) in request.transactions.enumerated() {
            add(transaction, version, context.broker) { results in
                var result = AddPartitionsToTxnResponse.Result()
                result.transactionalID = transaction.transactionalID
                result.topicResults = results
                gather.set(index, result)
            }
        }
    }
}

private func add(
    _ transaction: AddPartitionsToTxnRequest.Transaction, _ version: Int16, _ broker: Broker,
    _ completion: @escaping @Sendable ([AddPartitionsToTxnResponse.TopicResult]) -> Void
) {
    @Sendable func results(_ error: (String, Int32) -> ErrorCode) -> [AddPartitionsToTxnResponse.TopicResult] {
        transaction.topics.map { topic in
            var result = AddPartitionsToTxnResponse.TopicResult()
            result.name = topic.name
            result.resultsByPartition = topic.partitions.map { index in
                var partition = AddPartitionsToTxnResponse.PartitionResult()
                partition.partitionIndex = index
                partition.partitionErrorCode = error(topic.name, index)
                return partition
            }
            return result
        }
    }
    let table = broker.replicaManager.table
    var missing = TransactionPartitions()
    for topic in transaction.topics {
        let count = table.topic(named: topic.name)?.partitions.count ?? 0
        for index in topic.partitions where !(0..<count).contains(Int(index)) { missing.insert(topic.name, index) }
    }
    if !missing.isEmpty {
        let missing = missing
        return completion(
            results { missing.contains($0, $1) ? .unknownTopicOrPartition : .operationNotAttempted })
    }
    let asked = TransactionCoordinatorShard.AddPartitions(
        transactionalID: transaction.transactionalID,
        producer: ProducerIdentity(id: transaction.producerID, epoch: transaction.producerEpoch),
        partitions: TransactionPartitions(transaction.topics.map { ($0.name, $0.partitions) }),
        isVerification: transaction.verifyOnly, clientVersion: version >= 4 ? 2 : 1)
    broker.transactionCoordinator.perform(.addPartitions(asked), for: transaction.transactionalID) { reply in
        switch reply {
        case .partitionsAdded(let error):
            let error = error.forTransactions(knowsFenced: version >= 2)
            completion(results { _, _ in error })
        case .partitionsVerified(let error, let present):
            completion(
                results { topic, index in
                    error != .none ? error : present.contains(topic, index) ? .none : .transactionAbortable
                })
        default:
            break
        }
    }
}
