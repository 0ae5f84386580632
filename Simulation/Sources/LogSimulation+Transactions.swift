import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// Steps of transactions.
extension LogSimulation {
    /// The coordinator ends a producer's transaction, or one that there is not.
    func endTransaction(_ model: PartitionModel) throws {
        let id = self.transactionalID()
        var ids = model.producers.filter { $0.value.openFrom >= 0 }.keys.sorted()
        if ids.isEmpty || self.random.oneIn(5) { ids = [id] }
        let chosen = ids[self.random.below(ids.count)]
        let producer = model.producers[chosen]
        var epoch = producer?.epoch ?? Int16(self.random.below(3))
        var coordinatorEpoch = max(0, producer?.coordinatorEpoch ?? 0)
        var expected = Expected.append
        switch self.random.below(24) {
        case 0 where producer != nil && epoch > 0:
            epoch -= 1
            expected = .refused(.invalidProducerEpoch)
        case 1..<4: epoch += 1
        case 4 where producer != nil && coordinatorEpoch > 0:
            coordinatorEpoch -= 1
            expected = .refused(.transactionCoordinatorFenced)
        case 5..<7: coordinatorEpoch += 1
        default: break
        }
        let commits = self.random.oneIn(2)
        let now = self.disk.clock
        let bytes = self.encoder.encodeMarker(
            commits: commits, producerID: chosen, producerEpoch: epoch, coordinatorEpoch: coordinatorEpoch,
            timestamp: now)
        let made = Made(
            bytes: bytes,
            batch: PartitionModel.Batch(
                base: 0, last: 0, position: 0, size: bytes.count, firstTime: 0, maxTimestamp: now, epoch: 0,
                producerID: chosen, producerEpoch: epoch, baseSequence: -1, isTransactional: true, isControl: true,
                marker: .init(isAbort: !commits, coordinatorEpoch: coordinatorEpoch)),
            times: [now], now: now)
        try self.append(
            made, expected, model, origin: .coordinator,
            "the transaction of \(chosen) epoch \(epoch) \(commits ? "commits" : "aborts"), coordinator's epoch "
                + "\(coordinatorEpoch)")
    }

    func transactionalID() -> Int64 { 200 + Int64(self.random.below(max(1, self.profile.transactionalProducers))) }

    /// What a consumer of committed records does.
    func readCommitted(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let offsets = log.snapshot
        guard offsets.lastStableOffset == model.lastStableOffset else {
            if self.isExcused(model) { return }
            throw Disagreement(
                "last stable offset \(offsets.lastStableOffset) instead of \(model.lastStableOffset)")
        }
        let limit = offsets.lastStableOffset
        let span = Int(limit - model.start)
        guard span > 0 else { return }
        try self.readCommitted(
            model, from: model.start + Int64(self.random.below(span)), [100, 300, 1000, 1 << 20][self.random.below(4)])
    }

    /// One fetch of committed records: which batches does the reader leave out?
    func readCommitted(_ model: PartitionModel, from offset: Int64, _ maxBytes: Int) throws {
        let log = try self.log(model)
        let limit = model.lastStableOffset
        guard let read = try self.read(model, offset, maxBytes, limit, minOne: true) else { return }
        let entries: [AbortedTransaction]
        switch log.abortedTransactions(from: offset, to: read.upperBound) {
        case .success(let found): entries = found
        case .failure(let code):
            if self.isExcused(model) { return }
            throw Disagreement("aborted transactions from \(offset) on: \(code)")
        }
        self.note("\(model.partition): committed records from \(offset) up to \(read.next), aborted: \(entries.count)")
        let (outcomes, aborted) = model.outcomes()
        try self.checkEntries(entries, aborted, model)
        var ahead = entries.sorted { $0.firstOffset < $1.firstOffset }[...]
        var skipped: Set<Int64> = []
        var index = model.index(atOrAfter: offset)
        while index < model.batches.count, model.batches[index].base < read.next {
            let batch = model.batches[index]
            while let first = ahead.first, first.firstOffset <= batch.last {
                skipped.insert(first.producerID)
                ahead.removeFirst()
            }
            if batch.isControl {
                if let marker = batch.marker, marker.isAbort { skipped.remove(batch.producerID) }
            } else if batch.isTransactional {
                let isSkipped = skipped.contains(batch.producerID)
                guard let outcome = outcomes[index], outcome != .open else {
                    // Deletion took the begin of it: it is no longer known to be open.
                    if (model.producers[batch.producerID]?.openFrom ?? -1) < 0 {
                        index += 1
                        continue
                    }
                    throw Disagreement("offset \(batch.base) is below the last stable offset, and undecided")
                }
                // Indexes made anew leave out what was deleted; a deletion that nobody made durable may be taken back.
                guard isSkipped == (outcome == .aborted) || batch.base < model.highestStart else {
                    throw Disagreement(
                        "committed records from \(offset): the batch at \(batch.base) of producer "
                            + "\(batch.producerID) is \(outcome), but is\(isSkipped ? "" : " not") left out; \(entries)"
                    )
                }
            }
            index += 1
        }
    }

    /// Entries of transaction indexes tell of aborted transactions that there were.
    private func checkEntries(
        _ entries: [AbortedTransaction], _ aborted: [PartitionModel.AbortedRange], _ model: PartitionModel
    ) throws {
        var last: Int64 = -1
        for entry in entries {
            guard entry.lastOffset > last else { throw Disagreement("aborted transactions out of order: \(entries)") }
            last = entry.lastOffset
            let known = aborted.first { $0.last == entry.lastOffset && $0.producerID == entry.producerID }
            // Of one whose records are all gone compaction may have left the entry, or deletion the marker.
            guard let known else {
                if model.wasCleaned { continue }
                throw Disagreement("there is no aborted transaction \(entry)")
            }
            let isOwn = model.written.contains { $0.producerID == entry.producerID && $0.base == entry.firstOffset }
            guard let first = known.batches.first,
                entry.firstOffset == first
                    || isOwn && (entry.firstOffset < first ? model.wasCleaned : first < model.highestStart)
            else { throw Disagreement("the aborted transaction \(entry) began at \(known.batches)") }
        }
    }

    /// Everything that consumers of committed records can be told.
    func verifyTransactions(_ model: PartitionModel) throws {
        let limit = model.lastStableOffset
        guard self.profile.transactionalProducers > 0, limit > model.start else { return }
        let log = try self.log(model)
        try self.readCommitted(model, from: model.start, 1 << 20)
        if self.disk.isStopped || model.isImpaired { return }
        guard case .success(let entries) = log.abortedTransactions(from: model.start, to: .max) else {
            if self.isExcused(model) { return }
            throw Disagreement("aborted transactions cannot be told")
        }
        // Each that has records at or behind the start is there.
        let floor = max(model.start, min(model.highestStart, model.end))
        let aborted = model.outcomes().aborted
        try self.checkEntries(entries, aborted, model)
        for one in aborted where one.batches.contains(where: { $0 >= floor }) {
            guard entries.contains(where: { $0.producerID == one.producerID && $0.lastOffset == one.last }) else {
                throw Disagreement(
                    "the aborted transaction of \(one.producerID) up to \(one.last) is not in \(entries)")
            }
        }
    }
}
