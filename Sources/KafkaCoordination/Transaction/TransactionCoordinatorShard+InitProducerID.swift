import KafkaPrimitives

// InitProducerId: an instance of a producer begins, or goes on after an error (KIP-360). Whoever has had the epoch before
// is fenced by it.
extension TransactionCoordinatorShard {
    mutating func initProducerID(
        _ request: InitProducerID, fresh: Int64?, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        let id = request.transactionalID
        if let error = self.refusal(of: request) { return effects.reply(ticket, .producer(error, .none)) }
        // A transaction in two-phase commit ends when its owner says so.
        let timeoutMs = request.isTwoPhase ? .max : request.timeoutMs
        guard let metadata = self.transactions[id] else {
            guard let fresh else { return self.awaitProducerID(.initProducerID(request), ticket, &effects) }
            // Whatever the producer has been before, it is new here.
            let new = TransactionMetadata(
                producerID: fresh, producerEpoch: 0, timeoutMs: timeoutMs, lastUpdateMs: now.wallMs)
            return self.initialise(id, new, lastProducerEpoch: -1, ticket, &effects)
        }
        if let expected = request.expected {
            let isOwn = expected.id == metadata.producerID
            let isFormer = expected.id == metadata.previousProducerID && TransactionMetadata.isExhausted(expected.epoch)
            guard isOwn || isFormer else { return effects.reply(ticket, .producer(.producerFenced, .none)) }
        }
        switch metadata.state {
        case .prepareCommit, .prepareAbort, .dead, .prepareEpochFence:
            effects.reply(ticket, .producer(.concurrentTransactions, .none))
        case .ongoing:
            // The open transaction of the former instance goes first; who asks comes back when it is through.
            effects.reply(ticket, .producer(.concurrentTransactions, .none))
            self.fence(id, metadata, now, &effects)
        case .empty, .completeCommit, .completeAbort:
            var new = metadata
            new.state = .empty
            new.timeoutMs = timeoutMs
            new.partitions = TransactionPartitions()
            new.startMs = -1
            new.lastUpdateMs = now.wallMs
            new.nextProducerID = -1
            var lastProducerEpoch: Int16 = -1
            if metadata.isEpochExhausted, request.expected.map({ $0.epoch == metadata.producerEpoch }) ?? true {
                guard let fresh else { return self.awaitProducerID(.initProducerID(request), ticket, &effects) }
                new.previousProducerID = metadata.producerID
                new.producerID = fresh
                new.producerEpoch = 0
                if request.expected != nil { lastProducerEpoch = metadata.producerEpoch }
            } else if let expected = request.expected, expected.epoch != metadata.producerEpoch {
                // It asks again for what it was given; or others have come meanwhile.
                guard expected.epoch >= 0, expected.epoch == metadata.lastProducerEpoch else {
                    return effects.reply(ticket, .producer(.producerFenced, .none))
                }
                lastProducerEpoch = metadata.lastProducerEpoch
            } else {
                if request.expected != nil { lastProducerEpoch = metadata.producerEpoch }
                // Not beyond the last: an epoch that has run out and is not the one that was expected.
                guard !metadata.isEpochExhausted else {
                    return effects.reply(ticket, .producer(.producerFenced, .none))
                }
                new.producerEpoch = metadata.producerEpoch &+ 1
            }
            self.initialise(id, new, lastProducerEpoch: lastProducerEpoch, ticket, &effects)
        }
    }

    private func refusal(of request: InitProducerID) -> ErrorCode? {
        if request.transactionalID.isEmpty { return .invalidRequest }
        if request.isTwoPhase, !self.config.isTwoPhaseCommitEnabled { return .transactionalIDAuthorizationFailed }
        // Not there in Kafka 4.3 either.
        if request.keepsPreparedTransaction { return .unsupportedVersion }
        if !request.isTwoPhase, request.timeoutMs <= 0 || request.timeoutMs > self.config.maxTimeoutMs {
            return .invalidTransactionTimeout
        }
        return nil
    }

    private func initialise(
        _ id: String, _ metadata: TransactionMetadata, lastProducerEpoch: Int16, _ ticket: ReplyTicket,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        effects.records.append(self.record(id, metadata))
        effects.continuation = .settled(id, lastProducerEpoch: lastProducerEpoch)
        effects.reply(ticket, .producer(.none, metadata.producer))
    }

    func record(_ id: String, _ metadata: TransactionMetadata) -> CoordinatorRecord {
        TransactionRecords.transaction(id, metadata, version: self.transactionVersion >= 1 ? 1 : 0)
    }
}
