import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// ListTransactions 0-2. 1 filters by how long transactions have been running (KIP-994), 2 by a pattern of transactional ids
// (KIP-1152). Each broker lists the transactional ids that it coordinates.
extension ApiHandler {
    static let listTransactions = ApiHandler.ordinary(ListTransactionsRequest.self) { request, context, respond in
        var response = ListTransactionsResponse()
        var filter = TransactionCoordinatorShard.ListFilter()
        for name in request.stateFilters {
            if let state = TransactionState(name: name) {
                filter.states.insert(state)
            } else {
                response.unknownStateFilters.append(name)
            }
        }
        // Filters of which none is known let nothing through.
        if !request.stateFilters.isEmpty, filter.states.isEmpty { return respond(response) }
        filter.producerIDs = Set(request.producerIDFilters)
        if context.apiVersion >= 1 { filter.durationMs = request.durationFilter }
        if context.apiVersion >= 2, let text = request.transactionalIDPattern, !text.isEmpty {
            guard let pattern = SubscriptionPattern(text) else {
                response.errorCode = .invalidRegularExpression
                return respond(response)
            }
            filter.matches = { pattern.matches($0) }
        }
        let begun = response
        context.broker.transactionCoordinator.performOnAll(.list(filter)) { replies in
            var response = begun
            for case .listed(let error, let states) in replies where error != .notCoordinator {
                // One shard that is being loaded: the list would not be whole.
                if error != .none {
                    response.errorCode = error
                    response.transactionStates = []
                    break
                }
                response.transactionStates += states
            }
            respond(response)
        }
    }
}
