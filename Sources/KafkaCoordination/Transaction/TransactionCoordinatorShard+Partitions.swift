import KafkaPrimitives

// AddPartitionsToTxn and AddOffsetsToTxn: a producer announces what it will write to. Producers of version 2 announce
// nothing: the broker that gets their first record for a partition asks for it in their place.
extension TransactionCoordinatorShard {
    mutating func addPartitions(
        _ request: AddPartitions, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        let metadata: TransactionMetadata
        switch self.transaction(of: request) {
        case .failure(let error):
            return effects.reply(ticket, Self.failure(of: .addPartitions(request), error))
        case .success(let found):
            metadata = found
        }
        if request.isVerification {
            var present = TransactionPartitions()
            for topic in request.partitions.topics {
                for partition in topic.partitions where metadata.partitions.contains(topic.name, partition) {
                    present.insert(topic.name, partition)
                }
            }
            return effects.reply(ticket, .partitionsVerified(.none, present))
        }
        effects.reply(ticket, .partitionsAdded(.none))
        if metadata.state == .ongoing, request.partitions.isSubset(of: metadata.partitions) { return }
        var new = metadata
        if metadata.state != .ongoing { new.startMs = now.wallMs }
        new.state = .ongoing
        new.partitions.formUnion(request.partitions)
        new.lastUpdateMs = now.wallMs
        new.clientTransactionVersion = request.clientVersion
        effects.records.append(self.record(request.transactionalID, new))
        if metadata.state != .ongoing { effects.continuation = .began(request.transactionalID) }
    }

    private func transaction(of request: AddPartitions) -> Result<TransactionMetadata, ErrorCode> {
        guard !request.transactionalID.isEmpty else { return .failure(.invalidRequest) }
        guard let metadata = self.transactions[request.transactionalID],
            metadata.producerID == request.producer.id
        else { return .failure(.invalidProducerIDMapping) }
        guard metadata.producerEpoch == request.producer.epoch else { return .failure(.producerFenced) }
        return metadata.state.isPrepared ? .failure(.concurrentTransactions) : .success(metadata)
    }
}
