import KafkaMessages
import KafkaPrimitives

// DescribeTransactions and ListTransactions (KIP-664).
extension TransactionCoordinatorShard {
    func describe(_ id: String) -> DescribeTransactionsResponse.TransactionState {
        guard !id.isEmpty else { return .init(id, .invalidRequest) }
        guard let metadata = self.transactions[id] else { return .init(id, .transactionalIDNotFound) }
        var state = DescribeTransactionsResponse.TransactionState(id, .none)
        state.producerID = metadata.producerID
        state.producerEpoch = metadata.producerEpoch
        state.transactionState = metadata.state.name
        state.transactionTimeoutMs = metadata.timeoutMs
        state.transactionStartTimeMs = metadata.startMs
        state.topics = metadata.partitions.topics.map { topic in
            var data = DescribeTransactionsResponse.TopicData()
            data.topic = topic.name
            data.partitions = topic.partitions
            return data
        }
        return state
    }

    func list(_ filter: ListFilter, _ now: CoordinatorTime) -> [ListTransactionsResponse.TransactionState] {
        self.transactions.compactMap { id, metadata in
            if !filter.states.isEmpty, !filter.states.contains(metadata.state) { return nil }
            if !filter.producerIDs.isEmpty, !filter.producerIDs.contains(metadata.producerID) { return nil }
            if filter.durationMs >= 0, now.wallMs &- metadata.startMs <= filter.durationMs { return nil }
            if let matches = filter.matches, !matches(id) { return nil }
            var state = ListTransactionsResponse.TransactionState()
            state.transactionalID = id
            state.producerID = metadata.producerID
            state.transactionState = metadata.state.name
            return state
        }
    }
}
