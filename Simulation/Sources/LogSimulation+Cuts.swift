import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Steps that take something away.
extension LogSimulation {
    // MARK: retention

    func retain(_ model: PartitionModel) throws {
        let log = try self.log(model)
        try self.approachEdge(model, log)
        let now = self.disk.clock
        let (rolls, count) = self.predictRetention(model, now: now)
        self.note(
            "\(model.partition): retention at \(now), ms \(model.config.retentionMs), "
                + "bytes \(model.config.retentionBytes): \(count) of \(model.segments.count)\(rolls ? ", rolls" : "")")
        let starts = model.segments.dropFirst().map(\.base)
        model.doubtfulStart = rolls ? model.end : starts.last
        do {
            let deleted = try log.deleteOldSegments(now: now)
            if self.disk.isStopped { return }
            let isExcused = model.isImpaired || model.hasRuins || self.disk.faults > self.totals.faults
            guard deleted == count || isExcused else {
                throw Disagreement("retention deletes \(deleted) segments instead of \(count)")
            }
            if rolls || isExcused { try self.takeRoll(model, isExcused ? nil : true, deleted: deleted) }
            self.removeOldest(model, deleted)
            if isExcused {
                // Files that could not be renamed stay, before the start.
                let start = log.state.withLock { $0.logStartOffset }
                guard start >= model.start, start <= max(model.start, model.doubtfulStart ?? 0) else {
                    throw Disagreement("retention moves the start to \(start)")
                }
                model.moveStart(to: start)
            }
        } catch let error as IOError {
            if self.disk.isStopped { return }
            guard self.isExcused(model) else { throw Disagreement("retention: \(error)") }
            // It gave up before it took anything out, but may have rolled.
            if rolls { try self.takeRoll(model, nil) }
        }
        model.doubtfulStart = nil
    }

    /// Sometimes the oldest segment is just as old, or what is too much just as long, as retention lets it be.
    private func approachEdge(_ model: PartitionModel, _ log: PartitionLog) throws {
        guard model.segments.count > 1 else { return }
        switch self.random.below(8) {
        case 0 where model.config.retentionMs >= 0:
            let edge = model.maxTimestamp(0) + model.config.retentionMs
            if edge >= self.disk.clock, edge - self.disk.clock < 20_000 { self.disk.clock = edge }
        case 1 where model.config.cleanupPolicy.contains(.delete) && !model.hasRuins:
            model.config.retentionBytes = Int64(model.size - model.size(0))
            log.update(config: model.config)
        default: break
        }
    }

    private func removeOldest(_ model: PartitionModel, _ count: Int) {
        model.segments.removeFirst(min(count, model.segments.count - 1))
        model.moveStart(to: model.firstBase)
    }

    private func predictRetention(_ model: PartitionModel, now: Int64) -> (rolls: Bool, count: Int) {
        var config = model.config
        if !config.cleanupPolicy.contains(.delete) { (config.retentionMs, config.retentionBytes) = (-1, -1) }
        func newest(_ segment: Int) -> Int64 {
            let time = model.maxTimestamp(segment)
            if time >= 0 { return time }
            let name = PartitionFolder.name(model.segments[segment].base) + ".log"
            return self.disk.file(Self.path + "/" + model.partition.description + "/" + name)?.modifiedMs ?? now
        }
        let sealed = model.segments.count - 1
        var expired = 0
        if config.retentionMs >= 0 {
            while expired < sealed, now - newest(expired) > config.retentionMs { expired += 1 }
        }
        var rolls = false
        if config.retentionMs >= 0, expired == sealed, model.activeSize > 0, model.highWatermark >= model.end {
            rolls = now - newest(sealed) > config.retentionMs
        }
        if config.retentionBytes == 0, model.activeSize > 0, model.highWatermark >= model.end { rolls = true }
        var surplus: Int64 = config.retentionBytes >= 0 ? Int64(model.size) - config.retentionBytes : -1
        var count = 0
        for segment in 0..<(rolls ? sealed + 1 : sealed) {
            let next = segment + 1 < model.segments.count ? model.segments[segment + 1].base : model.end
            guard next <= model.highWatermark else { break }
            let size = Int64(model.size(segment))
            let isOld = segment < expired || (rolls && segment == sealed)
            guard isOld || surplus >= size || next <= model.start else { break }
            surplus -= size
            count += 1
        }
        return (rolls, count)
    }

    func deleteRecords(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let offset = model.start + Int64(self.random.below(Int(model.end - model.start) + 2))
        let wanted = offset <= model.highWatermark
        if self.random.oneIn(2) { return try self.deleteRecordsForGood(model, log, offset) }
        self.note("\(model.partition): delete records before \(offset)")
        guard log.deleteRecords(before: offset) == wanted else {
            throw Disagreement(
                "deleteRecords(before: \(offset)) is not \(wanted), high watermark \(model.highWatermark)")
        }
        if wanted { model.moveStart(to: offset) }
    }

    // MARK: truncation

    func truncate(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let floor = max(model.firstBase, model.start)
        let depth = Int(model.end - floor)
        let offset = model.end - Int64(self.random.below(self.random.oneIn(4) ? depth + 1 : min(depth, 12) + 1))
        self.note("\(model.partition): truncate to \(offset) from \(model.end)")
        let batch = model.index(atOrAfter: offset)
        // Where compaction has left a gap nothing is cut.
        if model.wasCleaned, batch < model.batches.count {
            let before = batch > 0 ? model.batches[batch - 1].last + 1 : model.firstBase
            if model.batches[batch].base > offset || model.batches[batch].base != before { return }
        }
        // Leaders end epochs where batches end: what is left never ends before the start.
        if batch < model.batches.count, model.batches[batch].base < model.start { return }
        model.doubtfulFrom = batch < model.batches.count ? model.batches[batch].base : model.end
        if let from = model.doubtfulFrom { model.promised = min(model.promised, from) }
        do {
            try self.manager?.truncate(model.partition, to: offset, now: self.disk.clock)
            if self.disk.isStopped { return try self.crash(.powerCut) }
            let isFaulty = self.noteFaults()
            let isCut = offset < model.end
            model.cut(to: offset)
            if isCut {
                try self.takeProducers(model, of: log, isExact: false)
                try self.takeEnded(model, of: log)
                self.acknowledgements.forget(from: model.end, self.index(of: model))
            }
            model.doubtfulFrom = nil
            if isFaulty { try self.crash(.powerCut) }
        } catch let error as IOError {
            if self.disk.isStopped { return try self.crash(.powerCut) }
            guard self.isExcused(model) else { throw Disagreement("truncation: \(error)") }
            // How far it came the next start tells. Names that no sync has seen would haunt it: hence the power cut.
            self.note("   fails: \(error)")
            try self.crash(.powerCut)
        }
    }

    func truncateFully(_ model: PartitionModel) throws {
        let offset = self.random.oneIn(2) ? model.end + Int64(self.random.below(10)) : model.start
        self.note("\(model.partition): truncated fully, starts at \(offset)")
        model.doubtfulRestart = offset
        model.promised = 0
        model.durableStart = 0
        model.markedStart = 0
        do {
            try self.manager?.truncateFully(model.partition, startAt: offset, now: self.disk.clock)
            if self.disk.isStopped { return try self.crash(.powerCut) }
            let isFaulty = self.noteFaults()
            model.restart(at: offset)
            self.acknowledgements.forget(from: 0, self.index(of: model))
            model.doubtfulRestart = nil
            if isFaulty { try self.crash(.powerCut) }
        } catch {
            if self.disk.isStopped { return try self.crash(.powerCut) }
            guard self.isExcused(model) else { throw Disagreement("full truncation: \(error)") }
            self.note("   fails: \(error)")
            try self.crash(.powerCut)
        }
    }

    // MARK: producers

    func expire(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let now = self.disk.clock
        self.note("\(model.partition): producers expire")
        log.expireProducers(now: now)
        let left = log.state.withLock { $0.producers.producers }
        for (id, producer) in model.producers {
            if producer.openFrom >= 0 {
                guard left[id] != nil else { throw Disagreement("producer \(id) is forgotten in a transaction") }
                continue
            }
            let isOld = now - producer.lastTimestamp >= self.profile.producerExpirationMs
            let isSilent = now - max(producer.lastTimestamp, producer.lastAppend) >= self.profile.producerExpirationMs
            if left[id] == nil {
                guard isOld else { throw Disagreement("producer \(id) is forgotten too early") }
                guard isSilent else { throw Disagreement("producer \(id) is forgotten though it was heard") }
                model.producers[id] = nil
            } else if isSilent && producer.lastAppend >= 0 {
                throw Disagreement("producer \(id) is not forgotten after \(now - producer.lastTimestamp) ms")
            }
        }
    }

    /// Takes over what the log remembers of the producers, where it goes with what was appended.
    /// - Parameter isExact: those that were known must be known, and those only.
    func takeProducers(_ model: PartitionModel, of log: PartitionLog, isExact: Bool) throws {
        let found = log.state.withLock { $0.producers.producers }
        var history = model.producersFromHistory()
        // Compaction may have taken all of one that a snapshot knows.
        for (id, entry) in found where history[id] == nil { history[id] = PartitionModel.Producer(epoch: entry.epoch) }
        let known = model.producers
        for id in found.keys where !model.written.contains(where: { $0.producerID == id }) {
            throw Disagreement("producer \(id) never wrote")
        }
        model.producers = [:]
        for (id, var producer) in history {
            guard let entry = found[id] else {
                let isExpired = self.disk.clock - producer.lastTimestamp >= self.profile.producerExpirationMs
                let isGone = self.lastBatch(of: id, model).map { $0.last < max(model.firstBase, model.start) } ?? true
                guard isExpired || known[id] == nil || (isGone && !isExact) else {
                    throw Disagreement("producer \(id) is forgotten")
                }
                continue
            }
            if entry.coordinatorEpoch != producer.coordinatorEpoch {
                // Its last marker may have been deleted, and it with it, before it came back.
                let marker = model.batches.last { $0.producerID == id && $0.marker != nil }?.base ?? -1
                let isOld =
                    marker < max(model.firstBase, model.highestStart) || self.profile.producerExpirationMs < 10_000
                let mayBe = isOld ? [-1, known[id]?.coordinatorEpoch] : [known[id]?.coordinatorEpoch]
                if mayBe.contains(entry.coordinatorEpoch) { producer.coordinatorEpoch = entry.coordinatorEpoch }
            }
            if model.wasCleaned {
                try self.takeBatches(entry, &producer, known[id], id, model)
            } else {
                try self.compare(entry, producer, id, model)
            }
            if entry.currentTransactionFirstOffset != producer.openFrom {
                try self.checkOpen(entry, producer, id, model)
            }
            producer.openFrom = entry.currentTransactionFirstOffset
            producer.coordinatorEpoch = entry.coordinatorEpoch
            producer.known = entry.batchCount
            producer.lastAppend = -1
            producer.lastTimestamp = entry.lastTimestamp
            model.producers[id] = producer
        }
        model.ended = []
    }

    /// Compaction leaves of a producer's batches the last, and those that it must; others may still be remembered.
    private func takeBatches(
        _ entry: ProducerStateEntry, _ producer: inout PartitionModel.Producer, _ known: PartitionModel.Producer?,
        _ id: Int64, _ model: PartitionModel
    ) throws {
        let pool = model.written.filter { $0.producerID == id && !$0.isControl }
        var batches: [PartitionModel.Batch] = []
        for index in 0..<entry.batchCount {
            let batch = entry.batch(index)
            let match = pool.first {
                $0.last == batch.lastOffset && $0.base == batch.firstOffset && $0.lastSequence == batch.lastSequence
                    && $0.baseSequence == batch.firstSequence
            }
            guard let match, batches.last?.last ?? -1 < match.base else {
                throw Disagreement("producer \(id): \(batch) was not written by it, or comes too late")
            }
            batches.append(match)
        }
        // That of its last batch, which a snapshot may know though compaction took it.
        guard
            entry.epoch == producer.epoch || entry.epoch == known?.epoch
                || entry.epoch == batches.last?.producerEpoch
        else {
            throw Disagreement("producer \(id) has epoch \(entry.epoch) instead of \(producer.epoch)")
        }
        let isGone = (producer.batches.last?.last ?? -1) < max(model.firstBase, model.start)
        // One of a later epoch has no batches; a snapshot may know a later one than the log has.
        let isKnown = known != nil && known?.epoch == entry.epoch && known?.known == entry.batchCount
        guard batches.last?.last ?? -1 >= producer.batches.last?.last ?? -1 || isGone || isKnown else {
            throw Disagreement(
                "producer \(id): its last batch is at \(batches.last?.base ?? -1) instead of "
                    + "\(producer.batches.last?.base ?? -1)")
        }
        producer.epoch = entry.epoch
        producer.batches = batches
        producer.coordinatorEpoch = entry.coordinatorEpoch
    }

    /// Where a transaction began before the log's start, only what is left of it may be known.
    private func checkOpen(
        _ entry: ProducerStateEntry, _ producer: PartitionModel.Producer, _ id: Int64, _ model: PartitionModel
    ) throws {
        let open = entry.currentTransactionFirstOffset
        let floor = max(model.firstBase, model.highestStart)
        let isOwn = model.written.contains { $0.base == open && $0.producerID == id && $0.isTransactional }
        // A snapshot knows of the batch with which it began, and which compaction took.
        if model.wasCleaned, isOwn, open < producer.openFrom { return }
        // Its records went as aborted ones, and then its marker was cut off.
        let marker = model.batches.last { $0.producerID == id && $0.marker != nil }?.base ?? -1
        if model.wasCleaned, isOwn, producer.openFrom < 0, marker < open { return }
        if producer.openFrom >= 0, producer.openFrom < floor {
            let left = model.batches.first {
                $0.producerID == id && $0.last >= model.start && $0.base >= producer.openFrom
            }
            if open < 0 || model.batches.contains(where: { $0.base == open && $0.producerID == id }) || left == nil {
                return
            }
        }
        throw Disagreement("producer \(id) has a transaction open from \(open), not \(producer.openFrom)")
    }

    func lastBatch(of id: Int64, _ model: PartitionModel) -> PartitionModel.Batch? {
        model.batches.last { $0.producerID == id }
    }

    /// What the log remembers are the newest of the batches.
    func compare(
        _ entry: ProducerStateEntry, _ producer: PartitionModel.Producer, _ id: Int64, _ model: PartitionModel
    ) throws {
        guard entry.epoch == producer.epoch else {
            throw Disagreement("producer \(id) has epoch \(entry.epoch) instead of \(producer.epoch)")
        }
        let count = entry.batchCount
        // Of a producer whose batches are deleted its marker may be left.
        // So may one that had been forgotten.
        let areGone =
            (producer.batches.last?.last ?? -1) < max(model.firstBase, model.start)
            || self.profile.producerExpirationMs < 10_000
        guard count <= producer.batches.count, count > 0 || areGone else {
            throw Disagreement("producer \(id): \(count) batches instead of \(producer.batches.count)")
        }
        for index in 0..<count {
            let batch = entry.batch(index)
            let wanted = producer.batches[producer.batches.count - count + index]
            guard batch.lastOffset == wanted.last, batch.firstOffset == wanted.base,
                batch.lastSequence == wanted.lastSequence, batch.firstSequence == wanted.baseSequence
            else {
                throw Disagreement(
                    "producer \(id): \(batch) instead of offsets \(wanted.base)...\(wanted.last), "
                        + "sequences \(wanted.baseSequence)...\(wanted.lastSequence)")
            }
        }
        guard entry.lastTimestamp == producer.lastTimestamp, entry.coordinatorEpoch == producer.coordinatorEpoch else {
            throw Disagreement(
                "producer \(id): time \(entry.lastTimestamp) and coordinator's epoch \(entry.coordinatorEpoch) instead "
                    + "of \(producer.lastTimestamp), \(producer.coordinatorEpoch)")
        }
    }
}
