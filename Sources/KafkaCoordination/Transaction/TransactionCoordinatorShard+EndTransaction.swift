import KafkaPrimitives

// EndTxn, and what else ends a transaction: a new instance of its producer, and the time. The decision is a record; it is
// final when that is committed.
extension TransactionCoordinatorShard {
    mutating func endTransaction(
        _ request: EndTransaction, fresh: Int64?, _ ticket: ReplyTicket, _ now: CoordinatorTime,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        let id = request.transactionalID
        guard !id.isEmpty else { return effects.reply(ticket, .ended(.invalidRequest, .none)) }
        guard let metadata = self.transactions[id] else {
            return effects.reply(ticket, .ended(.invalidProducerIDMapping, .none))
        }
        switch Self.judge(request, metadata) {
        case .refuse(let error):
            effects.reply(ticket, .ended(error, .none))
        case .ended:
            effects.reply(ticket, .ended(.none, metadata.producer))
        case .end(let isEmpty):
            var new = metadata
            var lastProducerEpoch = metadata.lastProducerEpoch
            var told = metadata.producer
            if request.clientVersion >= 2 {
                if metadata.isEpochExhausted {
                    guard let fresh else { return self.awaitProducerID(.endTransaction(request), ticket, &effects) }
                    new.nextProducerID = fresh
                    told = ProducerIdentity(id: fresh, epoch: 0)
                } else {
                    told.epoch = metadata.producerEpoch &+ 1
                }
                new.producerEpoch = metadata.producerEpoch &+ 1
                lastProducerEpoch = metadata.producerEpoch
            }
            if isEmpty {
                // Nobody knows when it began; a time there must be.
                new.startMs = now.wallMs
                new.partitions = TransactionPartitions()
            }
            new.clientTransactionVersion = request.clientVersion
            self.prepare(
                id, new, request.isCommit ? .prepareCommit : .prepareAbort, lastProducerEpoch: lastProducerEpoch, now,
                &effects)
            effects.reply(ticket, .ended(.none, told))
        }
    }

    private enum Judgement {
        case refuse(ErrorCode)
        /// It has ended, as is asked for: the answer was lost.
        case ended
        /// - isEmpty: an abort of a transaction to which, as far as is known here, nothing was added.
        case end(isEmpty: Bool)
    }

    private static func judge(_ request: EndTransaction, _ metadata: TransactionMetadata) -> Judgement {
        let epoch = request.producer.epoch
        // With version 2 the epoch tells whether a request is asked again: it has risen with the first answer.
        let isRetry = metadata.bumpsEpochs && epoch < .max && metadata.producerEpoch == epoch &+ 1
        let isRetryOfLast =
            metadata.bumpsEpochs && metadata.previousProducerID == request.producer.id
            && epoch == TransactionMetadata.lastEpoch - 1 && metadata.producerEpoch == 0
        guard metadata.producerID == request.producer.id || isRetryOfLast else {
            return .refuse(.invalidProducerIDMapping)
        }
        let isValid: Bool
        switch metadata.state {
        case _ where !metadata.bumpsEpochs: isValid = epoch == metadata.producerEpoch
        case .ongoing, .empty, .dead, .prepareEpochFence: isValid = epoch == metadata.producerEpoch
        case .prepareCommit, .prepareAbort: isValid = isRetry
        case .completeCommit, .completeAbort: isValid = isRetry || isRetryOfLast || epoch == metadata.producerEpoch
        }
        guard isValid else { return .refuse(.producerFenced) }
        let retried = isRetry || isRetryOfLast || request.clientVersion < 2
        switch metadata.state {
        case .ongoing:
            return .end(isEmpty: false)
        case .prepareCommit, .prepareAbort:
            let isSame = request.isCommit == (metadata.state == .prepareCommit)
            return .refuse(isSame ? .concurrentTransactions : .invalidTxnState)
        case .completeCommit, .completeAbort:
            let isSame = request.isCommit == (metadata.state == .completeCommit)
            if retried { return isSame ? .ended : .refuse(.invalidTxnState) }
            // The next transaction. A producer of version 2 cannot know whether what it sent has come to be part of it.
            return request.isCommit ? .refuse(.invalidTxnState) : .end(isEmpty: true)
        case .empty:
            return request.clientVersion >= 2 && !request.isCommit ? .end(isEmpty: true) : .refuse(.invalidTxnState)
        case .dead, .prepareEpochFence:
            return .refuse(.invalidTxnState)
        }
    }

    /// Aborts an open transaction without its producer, whose epoch is over with it.
    mutating func fence(
        _ id: String, _ metadata: TransactionMetadata, _ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>
    ) {
        var new = metadata
        // Once: no end of a transaction raises it beyond the one that InitProducerId answers with a new producer id.
        if metadata.producerEpoch < TransactionMetadata.lastEpoch { new.producerEpoch = metadata.producerEpoch &+ 1 }
        self.prepare(id, new, .prepareAbort, lastProducerEpoch: -1, now, &effects)
    }

    private func prepare(
        _ id: String, _ metadata: TransactionMetadata, _ state: TransactionState, lastProducerEpoch: Int16,
        _ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>
    ) {
        var new = metadata
        new.state = state
        new.lastUpdateMs = now.wallMs
        effects.records.append(self.record(id, new))
        effects.continuation = .prepared(id, lastProducerEpoch: lastProducerEpoch)
    }

    // MARK: Markers

    /// Of a prepared transaction, all of them.
    mutating func writeMarkers(of id: String, _ effects: inout CoordinatorEffects<Self>) {
        guard let metadata = self.transactions[id], metadata.state.isPrepared else { return }
        self.unwritten[id] = (metadata.partitions, 0)
        self.writeMarkers(of: id, metadata, metadata.partitions, &effects)
    }

    private func writeMarkers(
        of id: String, _ metadata: TransactionMetadata, _ partitions: TransactionPartitions,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        effects.work.append(
            .writeMarkers(
                TransactionMarkers(
                    transactionalID: id, producer: metadata.producer, isCommit: metadata.state == .prepareCommit,
                    partitions: partitions, transactionVersion: metadata.clientTransactionVersion)))
    }

    mutating func markersWritten(
        _ outcome: TransactionMarkersOutcome, _ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>
    ) {
        let id = outcome.transactionalID
        guard let metadata = self.transactions[id], metadata.state.isPrepared, metadata.producer == outcome.producer,
            let before = self.unwritten[id]
        else { return }
        var left = TransactionPartitions()
        var isRefused = false
        for failure in outcome.failures {
            let name = "\(failure.topic)-\(failure.partition)"
            switch failure.error {
            case .none:
                break
            case .invalidProducerEpoch, .transactionCoordinatorFenced:
                isRefused = true
                effects.notes.append(
                    "\(name) does not take the marker of transaction \(id): \(failure.error.name). The transaction stays "
                        + "as it is until its coordinator is loaded anew")
            default:
                if before.attempts == 0 {
                    effects.notes.append(
                        "The marker of transaction \(id) cannot be written to \(name): \(failure.error.name). "
                            + "It is tried again")
                }
                left.insert(failure.topic, failure.partition)
            }
        }
        if isRefused {
            // Another coordinator, or a later life of the producer, has to do with it: as in Kafka this one leaves it alone.
            // Were it said to be complete, the next transaction could begin while this one is open somewhere.
            self.unwritten[id] = nil
            return
        }
        if left.isEmpty { return self.complete(id, metadata, now, &effects) }
        self.unwritten[id] = (left, before.attempts &+ 1)
        let delay = self.config.markerRetryMs &<< Int64(min(before.attempts, 16))
        effects.setTimer(.markers(id), afterMs: min(max(delay, 1), self.config.maxMarkerRetryMs))
    }

    mutating func retryMarkers(of id: String, _ effects: inout CoordinatorEffects<Self>) {
        guard let metadata = self.transactions[id], metadata.state.isPrepared, let left = self.unwritten[id] else {
            return
        }
        self.writeMarkers(of: id, metadata, left.partitions, &effects)
    }

    private mutating func complete(
        _ id: String, _ metadata: TransactionMetadata, _ now: CoordinatorTime,
        _ effects: inout CoordinatorEffects<Self>
    ) {
        var new = metadata
        new.state = metadata.state == .prepareCommit ? .completeCommit : .completeAbort
        new.partitions = TransactionPartitions()
        new.lastUpdateMs = now.wallMs
        if metadata.nextProducerID >= 0 {
            new.previousProducerID = metadata.producerID
            new.producerID = metadata.nextProducerID
            new.nextProducerID = -1
            new.producerEpoch = 0
        }
        effects.records.append(self.record(id, new))
        effects.continuation = .completed(id)
    }

    /// The complete record could not be appended: the markers are there, so it is tried again like them.
    mutating func completionFailed(of id: String, _ effects: inout CoordinatorEffects<Self>) {
        guard let metadata = self.transactions[id], metadata.state.isPrepared else { return }
        let attempts = (self.unwritten[id]?.attempts ?? 0) &+ 1
        self.unwritten[id] = (TransactionPartitions(), attempts)
        let delay = self.config.markerRetryMs &<< Int64(min(attempts, 16))
        effects.setTimer(.markers(id), afterMs: min(max(delay, 1), self.config.maxMarkerRetryMs))
    }
}
