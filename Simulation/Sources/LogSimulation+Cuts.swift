import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Steps that take something away.
extension LogSimulation {
    // MARK: retention

    func retain(_ model: PartitionModel) throws {
        let log = try self.log(model)
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

    private func removeOldest(_ model: PartitionModel, _ count: Int) {
        model.segments.removeFirst(min(count, model.segments.count - 1))
        model.moveStart(to: model.firstBase)
    }

    private func predictRetention(_ model: PartitionModel, now: Int64) -> (rolls: Bool, count: Int) {
        let config = model.config
        let sealed = model.segments.count - 1
        var expired = 0
        if config.retentionMs >= 0 {
            while expired < sealed, now - model.maxTimestamp(expired) > config.retentionMs { expired += 1 }
        }
        var rolls = false
        if config.retentionMs >= 0, expired == sealed, model.activeSize > 0, model.highWatermark >= model.end {
            rolls = now - model.maxTimestamp(sealed) > config.retentionMs
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
        // Leaders end epochs where batches end: what is left never ends before the start.
        if batch < model.batches.count, model.batches[batch].base < model.start { return }
        model.doubtfulFrom = batch < model.batches.count ? model.batches[batch].base : model.end
        if let from = model.doubtfulFrom { model.promised = min(model.promised, from) }
        do {
            try self.manager?.truncate(model.partition, to: offset, now: self.disk.clock)
            if self.disk.isStopped { return try self.crash(.powerCut) }
            let isFaulty = self.noteFaults()
            model.cut(to: offset)
            try self.takeProducers(model, of: log, isExact: false)
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
        let history = model.producersFromHistory()
        let known = model.producers
        for id in found.keys where history[id] == nil { throw Disagreement("producer \(id) never wrote") }
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
            try self.compare(entry, producer, id)
            producer.known = entry.batchCount
            producer.lastAppend = -1
            model.producers[id] = producer
        }
    }

    func lastBatch(of id: Int64, _ model: PartitionModel) -> PartitionModel.Batch? {
        model.batches.last { $0.producerID == id }
    }

    /// What the log remembers are the newest of the batches.
    func compare(_ entry: ProducerStateEntry, _ producer: PartitionModel.Producer, _ id: Int64) throws {
        guard entry.epoch == producer.epoch else {
            throw Disagreement("producer \(id) has epoch \(entry.epoch) instead of \(producer.epoch)")
        }
        let count = entry.batchCount
        guard count <= producer.batches.count, count > 0 || producer.batches.isEmpty else {
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
        guard entry.lastTimestamp == producer.lastTimestamp else {
            throw Disagreement("producer \(id): time \(entry.lastTimestamp) instead of \(producer.lastTimestamp)")
        }
    }
}
