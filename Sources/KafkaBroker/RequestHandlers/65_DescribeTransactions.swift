import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// DescribeTransactions 0 (KIP-664).
extension ApiHandler {
    static let describeTransactions = ApiHandler.ordinary(DescribeTransactionsRequest.self) {
        request, context, respond in
        let gather = Gather<DescribeTransactionsResponse.TransactionState>(request.transactionalIDs.count) { states in
            var response = DescribeTransactionsResponse()
            response.transactionStates = states
            respond(response)
        }
        for (index, id) in request.transactionalIDs.enumerated() {
            context.broker.transactionCoordinator.perform(.describe(id), for: id) { reply in
                if case .described(let state) = reply { gather.set(index, state) }
            }
        }
    }
}
