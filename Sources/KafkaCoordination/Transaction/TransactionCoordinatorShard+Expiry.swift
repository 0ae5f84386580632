import KafkaPrimitives

// What time does: a transaction that takes longer than its producer said is aborted; an id that nobody has used for
// long is forgotten.
extension TransactionCoordinatorShard {
    /// Timeouts fall on multiples of transaction.abort.timed.out.transaction.cleanup.interval.ms, from when the shard was
    /// loaded: as in Kafka, where somebody looks that often.
    func armTimeout(of id: String, _ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>) {
        guard let metadata = self.transactions[id], metadata.state == .ongoing, metadata.timeoutMs < .max else {
            return
        }
        let (end, overflow) = metadata.startMs.addingReportingOverflow(Int64(metadata.timeoutMs) + 1)
        let left = overflow ? Int64.max / 2 : max(0, end.subtractingReportingOverflow(now.wallMs).partialValue)
        let interval = max(1, self.config.abortIntervalMs)
        let since = max(0, now.monotonicMs &- self.loadedAtMs)
        // The first multiple that is not before the end, nor now.
        let target = min(max(left, 1), Int64.max / 4) &+ since
        let rounds = (target &+ interval &- 1) / interval
        let (grid, far) = rounds.multipliedReportingOverflow(by: interval)
        effects.setTimer(.transaction(id), afterMs: far ? .max : grid &- since)
    }

    mutating func timeOut(_ id: String, _ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>) {
        guard let metadata = self.transactions[id], metadata.state == .ongoing else { return }
        // The wall clock may have been set back.
        guard now.wallMs &- metadata.startMs > Int64(metadata.timeoutMs) else {
            return self.armTimeout(of: id, now, &effects)
        }
        effects.notes.append(
            "Transaction \(id) of producer \(metadata.producerID) is aborted: it has taken more than "
                + "\(metadata.timeoutMs) ms")
        self.fence(id, metadata, now, &effects)
    }

    /// Tombstones for ids that are at rest for transactional.id.expiration.ms, some at a time.
    mutating func expire(_ now: CoordinatorTime, _ effects: inout CoordinatorEffects<Self>) {
        if self.expirationQueue.isEmpty {
            self.expirationQueue = self.transactions.filter { self.isExpired($0.value, now) }.map(\.key).sorted()
        }
        let pass = self.expirationQueue.suffix(self.config.maxExpiredIDsAPass)
        for id in pass {
            guard let metadata = self.transactions[id], self.isExpired(metadata, now) else { continue }
            effects.records.append(TransactionRecords.tombstone(id))
        }
        self.expirationQueue.removeLast(pass.count)
        effects.isAtomic = false
        effects.setTimer(
            .expiration, afterMs: self.expirationQueue.isEmpty ? self.config.removeExpiredIntervalMs : 1)
    }

    private func isExpired(_ metadata: TransactionMetadata, _ now: CoordinatorTime) -> Bool {
        metadata.state.isAtRest
            && metadata.lastUpdateMs <= now.wallMs.subtractingReportingOverflow(self.config.idExpirationMs).partialValue
    }
}
