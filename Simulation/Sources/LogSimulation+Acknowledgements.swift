import KafkaPrimitives
import Synchronization

@testable import KafkaLog

/// Who waits for appends to be committed, and who was told that they are.
final class Acknowledgements: @unchecked Sendable {
    /// By the number of the wait: the partition, and up to where.
    var waiting: [UInt64: (partition: Int, offset: Int64)] = [:]
    var released: [ReleasedWaiter] = []
    /// Appends that were queued and are through.
    var appended: [QueuedAppend] = []
    var last: UInt64 = 0

    /// What was cut off is acknowledged to nobody.
    func forget(from offset: Int64, _ partition: Int) {
        self.waiting = self.waiting.filter { $0.value.partition != partition || $0.value.offset <= offset }
    }
}

extension LogSimulation {
    func index(of model: PartitionModel) -> Int { self.partitions.firstIndex { $0 === model } ?? 0 }

    func wait(for info: AppendInfo, _ model: PartitionModel) throws {
        self.acknowledgements.last += 1
        let number = self.acknowledgements.last
        let waiter = AppendWaiter(loop: 0, request: number, item: 0)
        switch try self.log(model).whenCommitted(info.lastOffset + 1, waiter) {
        case .committed: throw Disagreement("append: not committed, and yet committed")
        case .waiting: self.acknowledgements.waiting[number] = (self.index(of: model), info.lastOffset + 1)
        case .failed(let code): if !self.isExcused(model) { throw Disagreement("append: the wait fails: \(code)") }
        }
    }

    /// What was acknowledged is promised.
    func takeAcknowledgements() {
        for one in self.acknowledgements.released {
            guard let wait = self.acknowledgements.waiting.removeValue(forKey: one.waiter.request) else { continue }
            let model = self.partitions[wait.partition]
            guard one.error == .none, model.config.flushBeforeAck else { continue }
            self.note("   acknowledged: \(model.partition) up to \(wait.offset)")
            model.promised = max(model.promised, wait.offset)
        }
        self.acknowledgements.released = []
    }

    /// Nobody waits for what is committed.
    func checkWaiters() throws {
        guard !self.acknowledgements.waiting.isEmpty, self.jobs.count == 0 else { return }
        for (number, wait) in self.acknowledgements.waiting {
            let model = self.partitions[wait.partition]
            if model.isImpaired || !model.highWatermarkFollows { continue }
            guard wait.offset > model.highWatermark else {
                throw Disagreement(
                    "\(model.partition): append \(number), up to \(wait.offset), is committed, and nobody is told")
            }
        }
    }

    /// The work of a second: what flush.ms asks for is synced soon.
    func tick() throws {
        self.note("tick at \(self.disk.clock)")
        var due: [(model: PartitionModel, log: PartitionLog)] = []
        for model in self.partitions where model.config.flushMs < .max {
            let log = try self.log(model)
            let last = log.state.withLock { $0.lastFlushMs }
            if !log.isUnverified, self.disk.clock - last >= model.config.flushMs { due.append((model, log)) }
        }
        self.manager?.tick(now: self.disk.clock)
        if due.isEmpty || self.random.oneIn(2) { return }
        while self.jobs.count > 0, !self.disk.isStopped { self.jobs.run(0) }
        for (model, log) in due where log.recoveryPoint < model.end {
            guard self.isExcused(model) else {
                throw Disagreement(
                    "\(model.partition): recovery point \(log.recoveryPoint) of \(model.end) after flush.ms")
            }
        }
    }

    /// What flush.messages asks for is on the disk once all jobs are done.
    func checkSynced(_ model: PartitionModel, _ log: PartitionLog) throws {
        guard model.syncedFor > 0, self.jobs.count == 0, !model.isImpaired, model.syncedFor <= model.end else { return }
        let index = model.index(atOrAfter: model.syncedFor - 1)
        guard index < model.batches.count, let segment = model.segments.last(where: { $0.first <= index }) else {
            return
        }
        let batch = model.batches[index]
        // What was asked for may have been cut since, and others be there now.
        guard batch.last < model.syncedFor else { return }
        let wanted = batch.position + batch.size - model.batches[segment.first].position
        let path = Self.path + "/" + model.partition.description + "/" + PartitionFolder.name(segment.base) + ".log"
        guard let file = self.disk.file(path), file.durableSize < wanted else { return }
        log.flushIfDue(now: self.disk.clock)
        guard self.jobs.count > 0 else {
            throw Disagreement(
                "\(model.partition): \(file.durableSize) of \(wanted) bytes are on the disk up to \(model.syncedFor), "
                    + "and nobody syncs")
        }
    }

    /// DeleteRecords as a client asks for it: durable when it is answered.
    func deleteRecordsForGood(_ model: PartitionModel, _ log: PartitionLog, _ offset: Int64) throws {
        guard let manager = self.manager else { return }
        let asked = self.random.oneIn(5) ? -1 : offset
        let target = asked == -1 ? model.highWatermark : offset
        self.note("\(model.partition): delete records before \(asked), for good")
        model.doubtfulStart = target <= model.highWatermark ? target : nil
        let result = manager.deleteRecords(before: [(log, asked)])
        if self.disk.isStopped {
            for model in self.partitions { model.durableStart = 0 }
            return
        }
        model.doubtfulStart = nil
        if model.config.cleanupPolicy == .compact {
            guard result == [.failure(.policyViolation)] else { throw Disagreement("DeleteRecords: \(result)") }
            return
        }
        guard target <= model.highWatermark else {
            guard result == [.failure(.offsetOutOfRange)] else { throw Disagreement("DeleteRecords: \(result)") }
            return
        }
        model.moveStart(to: target)
        if result == [.failure(.kafkaStorageError)], self.isExcused(model) {
            for model in self.partitions { model.durableStart = 0 }
            return
        }
        guard result == [.success(model.start)] else {
            throw Disagreement("DeleteRecords before \(asked): \(result) instead of \(model.start)")
        }
        for model in self.partitions {
            model.durableStart = model.start > model.firstBase ? model.start : 0
            model.markedStart = max(model.markedStart, model.durableStart)
        }
    }

    /// Takes over which transactions, ended behind the high watermark, the log keeps in mind, where it goes with what was
    /// appended.
    func takeEnded(_ model: PartitionModel, of log: PartitionLog) throws {
        let found = log.state.withLock { state in
            state.producers.endedTransactions.filter { $0.lastOffset >= state.highWatermark }
        }
        let wanted = model.endedFromHistory()
        let floor = max(model.firstBase, model.highestStart)
        for one in wanted {
            // Of one that began before the start it may not be known that it did.
            if found.contains(where: { $0.firstOffset == one.first && $0.lastOffset == one.last }) { continue }
            guard model.wasCleaned || one.first < floor || self.profile.producerExpirationMs < 10_000 else {
                throw Disagreement(
                    "\(model.partition): the transaction from \(one.first) ended at \(one.last), not below the high "
                        + "watermark \(model.highWatermark): \(found)")
            }
        }
        for one in found where !model.batches.contains(where: { $0.base == one.lastOffset && $0.marker != nil }) {
            throw Disagreement("\(model.partition): no transaction ended at \(one.lastOffset)")
        }
        model.ended = found.map { ($0.firstOffset, $0.lastOffset) }
    }
}
