import KafkaPrimitives
import Synchronization

@testable import KafkaLog
@testable import KafkaRecords

extension LogSimulation {
    func doStep() throws {
        do { try self.performStep() } catch is Offline {
            self.note("   offline")
            if try self.endIfStopped() { return }
            try self.startAnew()
        }
    }

    private func performStep() throws {
        self.disk.clock += Int64(self.random.below(40))
        let model = self.partitions[self.random.below(self.partitions.count)]
        let step = self.profile.step(&self.random)
        switch step {
        case .append: try self.append(model)
        case .read: try self.read(model)
        case .lookUp: try self.lookUp(model)
        case .lookUpMax: try self.lookUpMax(model)
        case .epochs: try self.lookAtEpochs(model)
        case .newEpoch:
            model.leaderEpoch += 1
            self.note("\(model.partition): leader epoch \(model.leaderEpoch) at \(model.end)")
            if self.random.oneIn(2) {
                try self.log(model).assignLeaderEpoch(model.leaderEpoch)
                model.assign(model.leaderEpoch, at: model.end)
            }
        case .background:
            let count = min(self.jobs.count, 1 + self.random.below(4))
            self.note("\(count) of \(self.jobs.count) jobs run")
            for _ in 0..<count where self.jobs.count > 0 { self.jobs.run(self.random.below(self.jobs.count)) }
        case .marks:
            self.note("marks")
            self.manager?.writeMarks()
            if !self.disk.isStopped, self.disk.faults == self.totals.faults {
                for model in self.partitions where !model.isImpaired { model.markedStart = model.start }
            }
        case .checkpoint:
            self.note("checkpoints")
            self.manager?.checkpoint()
            if !self.disk.isStopped, self.disk.faults == self.totals.faults {
                for model in self.partitions {
                    model.durableStart = model.start > model.firstBase ? model.start : 0
                    model.markedStart = max(model.markedStart, model.durableStart)
                }
            } else {
                for model in self.partitions { model.durableStart = 0 }
            }
        case .flush: try self.flush(model)
        case .tick:
            try self.tick()
        case .configuration: try self.configure(model)
        case .retention: try self.retain(model)
        case .deleteRecords: try self.deleteRecords(model)
        case .truncate: try self.truncate(model)
        case .truncateFully: try self.truncateFully(model)
        case .highWatermark:
            guard model.end > model.highWatermark || self.random.oneIn(2) else { break }
            let offset = model.highWatermark + Int64(self.random.below(Int(model.end - model.highWatermark) + 1))
            self.note("\(model.partition): high watermark \(offset)")
            try self.log(model).setHighWatermark(offset)
            model.highWatermark = offset
            model.highWatermarkFollows = false
        case .hold: try self.hold(model)
        case .cleanRestart:
            self.note("clean restart")
            try self.restartCleanly()
        case .kill:
            self.note("kill")
            try self.crash(.kill)
        case .powerCut:
            self.note("power cut")
            try self.crash(.powerCut)
        case .stop:
            self.disk.stopsAfter = self.disk.changes + self.random.below(self.random.oneIn(3) ? 100 : 12)
            self.note("the process will be stopped after \(self.disk.stopsAfter - self.disk.changes) changes")
        case .fault where self.random.oneIn(4):
            try self.failSync(model)
            if self.disk.isStopped { break }
            _ = self.noteFaults()
            if try self.endIfFailed() { return }
            return try self.crash(.powerCut)
        case .fault:
            if self.disk.fault == nil {
                let kinds: [SimulatedDisk.Kinds] = [.all, .write, .sync, [.rename, .unlink, .truncate], .open, .read]
                self.arm(kinds: kinds[self.random.below(kinds.count)], within: 12)
            }
        case .writeBack: self.disk.writeBackSome()
        case .verify:
            self.note("\(model.partition): all is looked at")
            try self.verify(model)
        case .wait:
            self.disk.clock += Int64(self.random.below(4000))
            self.note("time passes")
        case .releaseFiles:
            self.note("\(model.partition): files are let go")
            try self.log(model).releaseFiles(onlyIdle: self.random.oneIn(2))
        case .expire: try self.expire(model)
        case .endTransaction: try self.endTransaction(model)
        case .clean: try self.clean()
        case .readCommitted: try self.readCommitted(model)
        case .recreate: try self.recreate(model)
        case .queue: try self.appendByQueue(model)
        }
        if self.trace != nil {
            for line in self.notices.lines { self.note("      (\(line))") }
            self.notices.lines = []
        }
        self.takeAcknowledgements()
        if try self.endIfStopped() { return }
        let areImpaired = self.noteFaults() || self.partitions.contains { $0.isImpaired }
        if areImpaired, try self.endIfFailed() { return }
        for model in self.partitions { try self.observe(model) }
        try self.checkWaiters()
    }

    /// Whether something was refused because of the disk.
    func isExcused(_ model: PartitionModel) -> Bool {
        if self.disk.isStopped || model.isImpaired { return true }
        return self.noteFaults()
    }

    // MARK: append

    enum Expected {
        case append
        case duplicate(PartitionModel.Batch)
        case refused(ErrorCode)
    }

    private func choose(_ model: PartitionModel) -> (made: Made, expected: Expected, stamp: BatchEncoder.Stamp) {
        let count = 1 + self.random.below(4)
        var stamp = BatchEncoder.Stamp()
        var expected = Expected.append
        var resent: PartitionModel.Batch?
        if self.profile.producers + self.profile.transactionalProducers > 0, !self.random.oneIn(4) {
            (stamp, expected, resent) = self.chooseProducer(model, count)
        }
        // What compaction left of a batch is not sent again.
        let recordCount = resent.map { Int($0.last - $0.base) + 1 } ?? count
        return (self.makeBatch(recordCount, stamp, model), expected, stamp)
    }

    private func append(_ model: PartitionModel) throws {
        let (made, expected, stamp) = self.choose(model)
        try self.append(
            made, expected, model, origin: .client,
            "append \(made.times.count) records, \(made.batch.size) bytes at \(model.end), time \(made.batch.maxTimestamp), "
                + "producer \(stamp.producerID) epoch \(stamp.producerEpoch) sequence \(stamp.baseSequence)"
                + (stamp.isTransactional ? ", transactional" : ""))
    }

    /// Records of nobody in particular.
    func appendPlain(_ model: PartitionModel) throws {
        let count = 1 + self.random.below(4)
        let made = self.makeBatch(count, BatchEncoder.Stamp(), model)
        try self.append(
            made, .append, model, origin: .client, "append \(count) records, \(made.batch.size) bytes at \(model.end)")
    }

    func append(
        _ made: Made, _ wanted: Expected, _ model: PartitionModel, origin: RecordOrigin,
        _ what: @autoclosure () -> String
    ) throws {
        let log = try self.log(model)
        var expected = wanted
        if case .append = expected, made.batch.size > model.config.segmentBytes {
            expected = .refused(.recordListTooLarge)
        }
        self.buffer.removeAll(keepingCapacity: true)
        self.buffer.append(contentsOf: made.bytes)
        let header = self.buffer.withUnsafeBytes { RecordBatchHeader($0) }
        guard let header else { throw Disagreement("the batch has no header") }
        let validated = ValidatedBatch(
            header: header, maxTimestamp: made.batch.maxTimestamp, offsetOfMaxTimestampDelta: 0,
            recordCount: Int32(made.times.count), sizeInBytes: made.batch.size, needsRewrite: false)
        let rolls = self.predictRoll(model, made.batch)
        let result = self.buffer.withUnsafeMutableBytes {
            log.append($0, validated: validated, leaderEpoch: model.leaderEpoch, now: made.now, origin: origin)
        }
        self.note("\(model.partition): \(what()): \(result)")
        try self.judge(result, expected, model, made, rolls: rolls)
    }

    /// The disk is slow: appends are written by the folder's thread, in order, and judged when they are.
    private func appendByQueue(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let writer = log.state.withLock { $0.writer }
        self.acknowledgements.appended = []
        var waiting: [(made: Made, expected: Expected)] = []
        for number in 0..<1 + self.random.below(3) {
            // What follows upon one of a producer is known when that is written.
            var (made, expected) = (self.makeBatch(1 + self.random.below(4), .init(), model), Expected.append)
            if number == 0 { (made, expected, _) = self.choose(model) }
            if case .append = expected, made.batch.size > model.config.segmentBytes {
                expected = .refused(.recordListTooLarge)
            }
            var bytes = made.bytes
            let header = bytes.withUnsafeBytes { RecordBatchHeader($0) }
            guard let header else { throw Disagreement("the batch has no header") }
            let validated = ValidatedBatch(
                header: header, maxTimestamp: made.batch.maxTimestamp, offsetOfMaxTimestampDelta: 0,
                recordCount: Int32(made.times.count), sizeInBytes: made.batch.size, needsRewrite: false)
            writer.markSlow(forMs: 1 << 40)
            let outcome = bytes.withUnsafeMutableBytes {
                log.appendOrQueue($0, validated: validated, leaderEpoch: model.leaderEpoch, now: made.now) { nil }
            }
            writer.markSlow(forMs: 0)
            switch outcome {
            case .queued: waiting.append((made, expected))
            case .done(let result):
                guard waiting.isEmpty else { throw Disagreement("\(result) of an append behind those that wait") }
                return try self.judge(result, expected, model, made, rolls: nil)
            }
        }
        self.note("\(model.partition): \(waiting.count) appends wait for the disk")
        guard log.logEndOffset == model.end else { throw Disagreement("\(model.partition): what waits is in the log") }
        for (made, expected) in waiting {
            guard self.writeJobs.count > 0, self.acknowledgements.appended.isEmpty else {
                throw Disagreement("appends wait, and nobody writes")
            }
            var made = made
            made.now = self.disk.clock
            let rolls = self.predictRoll(model, made.batch)
            self.writeJobs.run(0)
            guard let one = self.acknowledgements.appended.popLast(), self.acknowledgements.appended.isEmpty else {
                throw Disagreement("an append is written, and nobody is told")
            }
            self.note("\(model.partition): append \(made.times.count) records from the queue: \(one.result)")
            try self.judge(one.result, expected, model, made, rolls: rolls)
            if self.disk.isStopped { return }
        }
        guard log.state.withLock({ $0.queued }) == 0 else {
            throw Disagreement("\(model.partition): nothing waits, and yet it queues")
        }
    }

    private func judge(
        _ result: Result<AppendInfo, AppendError>, _ expected: Expected, _ model: PartitionModel, _ made: Made,
        rolls: Bool?
    ) throws {
        var made = made
        made.batch.base = model.end
        made.batch.last = model.end + Int64(made.times.count) - 1
        made.batch.epoch = model.leaderEpoch
        BatchEncoder.stamp(&made.bytes, baseOffset: model.end, leaderEpoch: model.leaderEpoch)
        switch (result, expected) {
        case (.success(let info), .append):
            guard info.firstOffset == made.batch.base, info.lastOffset == made.batch.last, !info.isDuplicate else {
                throw Disagreement("append: \(info) instead of \(made.batch.base)...\(made.batch.last)")
            }
            try self.takeRoll(model, rolls)
            model.append(made.bytes, made.batch, times: made.times, now: made.now)
            guard info.logEndOffset == model.end, info.logStartOffset == model.start else {
                throw Disagreement("append: \(info), but the log is \(model.start)..<\(model.end)")
            }
            let appendTime = model.config.messageTimestampType == .logAppendTime ? made.batch.maxTimestamp : -1
            guard info.logAppendTime == appendTime else { throw Disagreement("append: \(info), not at \(appendTime)") }
            if !info.isCommitted { try self.wait(for: info, model) }
            if model.config.flushBeforeAck {
                // Acknowledged only when it is on disk.
                if info.isCommitted { model.promised = max(model.promised, info.lastOffset + 1) }
            } else if !model.waitsForSyncs, model.highWatermarkFollows, !info.isCommitted {
                throw Disagreement("append: not committed, though nobody waits for a sync")
            }
        case (.success(let info), .duplicate(let old)):
            guard info.isDuplicate, info.firstOffset == old.base, info.lastOffset == old.last else {
                throw Disagreement("append: \(info) instead of the duplicate of \(old.base)...\(old.last)")
            }
        case (.failure(.protocolError(let code, _)), .refused(let wanted)) where code == wanted:
            break
        case (.failure(.storage), _) where self.isExcused(model):
            guard case .append = expected else { break }
            if self.disk.isStopped {
                model.doubtfulBatch = (made.bytes, made.batch)
                self.doubtfulTimes = made.times
                break
            }
            let log = try self.log(model)
            if log.segmentCount > model.segments.count { try self.takeRoll(model, nil) }
            if log.logEndOffset == made.batch.last + 1 {
                // It is there, but could not be synced as asked for.
                model.append(made.bytes, made.batch, times: made.times, now: made.now)
            } else {
                model.doubtfulBatch = (made.bytes, made.batch)
                self.doubtfulTimes = made.times
            }
        default:
            throw Disagreement("append: \(result) instead of \(expected)")
        }
    }

    struct Made {
        var bytes: [UInt8]
        var batch: PartitionModel.Batch
        var times: [Int64]
        /// The wall clock that the append is told.
        var now: Int64
    }

    private func makeBatch(_ count: Int, _ stamp: BatchEncoder.Stamp, _ model: PartitionModel) -> Made {
        let now = self.disk.clock
        let isCompacted = model.config.cleanupPolicy.contains(.compact)
        var records: [BatchEncoder.Record] = []
        var time = now - Int64(self.random.below(self.profile.spread + 1))
        for _ in 0..<count {
            if self.profile.hasDisorder { time = now - Int64(self.random.below(self.profile.spread + 1)) }
            let hasKey = isCompacted || !self.random.oneIn(3)
            let isTombstone = hasKey && self.random.oneIn(isCompacted ? 5 : 12)
            records.append(
                BatchEncoder.Record(
                    timestamp: time, key: hasKey ? Int32(self.random.below(self.profile.keys)) : -1,
                    valueSize: isTombstone ? -1 : self.random.below(self.profile.valueSize),
                    headers: self.random.oneIn(4) ? 1 + self.random.below(2) : 0))
            time += Int64(self.random.below(3))
        }
        self.unique = self.random.next()
        var stamp = stamp
        stamp.codec = self.profile.codec
        if model.config.messageTimestampType == .logAppendTime { stamp.logAppendTime = now }
        let bytes = self.encoder.encode(records, stamp, unique: self.unique)
        let times = records.map { stamp.logAppendTime ?? $0.timestamp }
        return Made(
            bytes: bytes,
            batch: PartitionModel.Batch(
                base: 0, last: Int64(count - 1), position: 0, size: bytes.count, firstTime: 0,
                maxTimestamp: times.max() ?? -1, epoch: 0, producerID: stamp.producerID,
                producerEpoch: stamp.producerEpoch, baseSequence: stamp.baseSequence,
                isTransactional: stamp.isTransactional),
            times: times, now: now)
    }

    private func chooseProducer(
        _ model: PartitionModel, _ count: Int
    ) -> (BatchEncoder.Stamp, Expected, PartitionModel.Batch?) {
        let number = self.random.below(self.profile.producers + self.profile.transactionalProducers)
        let isTransactional = number >= self.profile.producers
        let id = isTransactional ? 200 + Int64(number - self.profile.producers) : 100 + Int64(number)
        var stamp = BatchEncoder.Stamp(producerID: id, producerEpoch: 0, baseSequence: 0)
        stamp.isTransactional = isTransactional
        guard let producer = model.producers[id] else {
            // Nothing is known: any first sequence will do.
            stamp.producerEpoch = Int16(self.random.below(3))
            let wraps = self.random.oneIn(4) ? Int32.max - Int32(self.random.below(10)) : 0
            stamp.baseSequence = self.random.oneIn(2) ? wraps : Int32(self.random.below(50))
            return (stamp, .append, nil)
        }
        stamp.producerEpoch = producer.epoch
        let last = producer.known > 0 ? producer.batches.last?.lastSequence ?? -1 : -1
        let next = last == .max ? 0 : last + 1
        var expected = Expected.append
        var count = count
        switch self.random.below(20) {
        case 0..<3 where producer.known > 0:
            // Sent again: one of those that are remembered.
            let old = producer.batches[producer.batches.count - 1 - self.random.below(producer.known)]
            stamp.baseSequence = old.baseSequence
            count = Int(old.last - old.base) + 1
        case 3:
            stamp.baseSequence = next > .max - 10 ? 5 : next + 1 + Int32(self.random.below(3))
            expected = .refused(.outOfOrderSequenceNumber)
        case 4 where producer.epoch > 0:
            stamp.producerEpoch = producer.epoch - 1
            stamp.baseSequence = next
            return (stamp, .refused(.invalidProducerEpoch), nil)
        case 5:
            stamp.producerEpoch = producer.epoch + 1
            stamp.baseSequence = 0
            return (stamp, .append, nil)
        case 7 where isTransactional:
            stamp.isTransactional = false
            stamp.baseSequence = next
            let isKnown = producer.batches.suffix(producer.known).contains {
                $0.baseSequence == next && $0.last - $0.base == Int64(count - 1)
            }
            if isKnown { return (BatchEncoder.Stamp(), .append, nil) }
            return (stamp, producer.openFrom >= 0 ? .refused(.invalidTxnState) : .append, nil)
        case 6:
            stamp.producerEpoch = producer.epoch + 1
            stamp.baseSequence = 1 + Int32(self.random.below(4))
            return (stamp, .refused(.outOfOrderSequenceNumber), nil)
        default:
            stamp.baseSequence = next
        }
        // The oldest with these sequences. There may be several, and unexpected ones, after a start that read on from before
        // the producer was forgotten and began anew with other sequences.
        let old = producer.batches.suffix(producer.known).first {
            $0.baseSequence == stamp.baseSequence && $0.last - $0.base == Int64(count - 1)
        }
        if let old { return (stamp, .duplicate(old), old) }
        return (stamp, expected, nil)
    }

    // MARK: rolls

    /// Kafka's rule; nil where the model does not know how full the indexes are.
    private func predictRoll(_ model: PartitionModel, _ batch: PartitionModel.Batch) -> Bool? {
        let active = model.activeSize
        guard active > 0 else { return false }
        if active > model.config.segmentBytes - batch.size { return true }
        let first = model.batches[model.segments[model.segments.count - 1].first].maxTimestamp
        let waited = batch.maxTimestamp - first
        if waited > model.config.maxSegmentMs { return true }
        if waited > model.config.maxSegmentMs - min(model.config.segmentJitterMs, model.config.segmentMs) { return nil }
        if model.config.segmentIndexBytes >= 1 << 20 { return false }
        // What they hold is compared with the batches elsewhere. One place of the time index is kept for the last entry.
        let log = self.manager?.log(for: model.partition)
        let counts = log?.state.withLock {
            $0.isUnverified ? nil : ($0.active.offsetIndex.count, $0.active.timeIndex.count)
        }
        guard let (offsets, times) = counts ?? nil else { return nil }
        return offsets >= max(1, model.config.segmentIndexBytes / 8)
            || times >= max(1, model.config.segmentIndexBytes / 12 - 1)
    }

    /// The log has a new segment at the model's end, or has not.
    /// - Parameter deleted: so many were deleted since.
    func takeRoll(_ model: PartitionModel, _ expected: Bool?, deleted: Int = 0) throws {
        var count = try self.log(model).segmentCount + deleted
        if model.doubtfulCleaning != nil {
            // How many have become one nobody knows yet.
            let active = try self.log(model).state.withLock { $0.active.baseOffset }
            count = model.segments.count + (active == model.segments[model.segments.count - 1].base ? 0 : 1)
        }
        let rolled = count == model.segments.count + 1
        guard rolled || count == model.segments.count else {
            throw Disagreement("\(count) segments instead of \(model.segments.count)")
        }
        if let expected, expected != rolled {
            throw Disagreement(expected ? "no new segment at \(model.end)" : "a new segment at \(model.end)")
        }
        if rolled {
            if deleted == 0 { try self.checkSealedTimes(model) }
            model.segments.append(PartitionModel.Segment(base: model.end, first: model.batches.count))
            model.activeCreated = self.disk.clock
        }
    }

    /// The time index of a segment that was just sealed ends with its greatest timestamp.
    private func checkSealedTimes(_ model: PartitionModel) throws {
        let last = model.segments.count - 1
        if model.isImpaired || self.disk.isStopped || self.disk.faults > self.totals.faults { return }
        let path = Self.path + "/" + model.partition.description + "/"
        let name = PartitionFolder.name(model.segments[last].base) + ".timeindex"
        guard let file = self.disk.file(path + name), file.size >= 12 else {
            throw Disagreement("\(name) of a sealed segment has no entry")
        }
        let entry = TimeIndexEntry(file.bytes.baseAddress! + (file.size / 12 - 1) * 12)
        guard entry.timestamp == model.maxTimestamp(last) else {
            throw Disagreement("\(name) of a sealed segment ends with \(entry), not \(model.maxTimestamp(last))")
        }
    }

    // MARK: flush and config

    private func flush(_ model: PartitionModel) throws {
        let log = try self.log(model)
        self.note("\(model.partition): flush to \(model.end)")
        do {
            try log.flush()
            if self.disk.isStopped || model.isImpaired || self.noteFaults() { return }
            guard log.recoveryPoint == model.end else {
                throw Disagreement("recovery point \(log.recoveryPoint) after a flush of all up to \(model.end)")
            }
        } catch let error as IOError {
            guard self.isExcused(model) else { throw Disagreement("flush: \(error)") }
        }
    }

    /// A sync fails, which must not be taken for one that did not. The power goes right after it.
    private func failSync(_ model: PartitionModel) throws {
        self.disk.fault = SimulatedDisk.Fault(kinds: .sync, after: self.random.below(3), count: 1, code: 5)
        self.note("a sync will fail after \(self.disk.fault?.after ?? 0)")
        try self.flush(model)
        self.disk.fault = nil
        if self.disk.isStopped { return }
        model.promised = max(model.promised, try self.log(model).recoveryPoint)
    }

    private func configure(_ model: PartitionModel) throws {
        switch self.random.below(8) {
        case 0: model.config.segmentBytes = self.profile.segmentBytes / 2 + self.random.below(self.profile.segmentBytes)
        case 1 where self.profile.changesInterval: model.config.indexIntervalBytes = self.random.below(800)
        case 2: model.config.retentionMs = self.random.oneIn(2) ? -1 : Int64(100 + self.random.below(8000))
        case 3: model.config.retentionBytes = self.random.oneIn(3) ? -1 : Int64(self.random.below(5000))
        case 4 where self.profile.flushesBeforeAck && Profile.flushBeforeAck == nil:
            model.config.flushBeforeAck.toggle()
            model.waitsForSyncs = true
        case 4: model.config.flushMessages = self.random.oneIn(2) ? .max : Int64(1 + self.random.below(20))
        case 5: model.config.segmentMs = self.random.oneIn(2) ? 604_800_000 : Int64(100 + self.random.below(3000))
        case 6 where self.random.oneIn(2):
            model.config.flushMs = self.random.oneIn(3) ? .max : Int64(1 + self.random.below(500))
        case 6: model.config.fileDeleteDelayMs = Int64(self.random.below(3000))
        default:
            if self.profile.hasAppendTime {
                model.config.messageTimestampType = self.random.oneIn(2) ? .createTime : .logAppendTime
            }
            if self.profile.isCompacted { self.configureCompaction(model) }
        }
        self.note("\(model.partition): config changed")
        try self.log(model).update(config: model.config)
    }
}
