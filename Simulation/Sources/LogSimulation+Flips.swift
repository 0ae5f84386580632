import Glibc
import KafkaPrimitives
import Synchronization

@testable import KafkaLog
@testable import KafkaRecords

/// A bit turns over at the end of a seed's life: in any file while the process is not running, or in one of a log while it
/// is. What is damaged is refused, what is not is served, and what can be made anew is as it was.
extension LogSimulation {
    private struct Flip {
        var file: String
        var byte: Int
        /// The batch that it lies in, where it is one of a log.
        var batch: Int?
    }

    private enum Way: Int { case closed, killed, running }

    func flipBits() throws {
        let model = self.partitions[self.random.below(self.partitions.count)]
        guard model.end > model.start, !model.batches.isEmpty, !model.hasRuins else { return }
        while self.jobs.count > 0 { self.jobs.run(0) }
        self.manager?.tick(now: self.disk.clock)
        while self.jobs.count > 0 { self.jobs.run(0) }
        let way = Way(rawValue: self.random.below(3)) ?? .running
        switch way {
        case .closed:
            self.note("closed, to turn a bit")
            guard self.manager?.shutdown() == true else { throw Disagreement("the shutdown is not clean") }
            while self.jobs.count > 0 { self.jobs.run(0) }
        case .killed:
            self.note("killed, to turn a bit")
            // Else the kill alone may take the start back.
            if self.partitions.contains(where: { $0.markedStart < $0.start }) { self.manager?.writeMarks() }
            self.jobs.drop()
        case .running: break
        }
        if way != .running {
            self.manager = nil
            self.disk.restartProcess()
        }
        guard var flip = self.flip(model, way) else { return }
        if way != .running {
            do { try self.open() } catch { throw Disagreement("the start fails after \(flip): \(error)") }
        }
        let log = try self.log(model)
        if way == .running || self.random.oneIn(4) {
            self.note("all is scrubbed")
            log.scrub { _ in true }
        }
        try self.look(model, log, &flip, way)
        guard try self.appendBehind(model, log, flip) else { return }
        if self.random.oneIn(3) {
            self.note("closed and opened once more")
            guard self.manager?.shutdown() == true else { throw Disagreement("the shutdown is not clean") }
            while self.jobs.count > 0 { self.jobs.run(0) }
            self.manager = nil
            self.disk.restartProcess()
            do { try self.open() } catch { throw Disagreement("the start fails after \(flip): \(error)") }
            try self.look(model, try self.log(model), &flip, .closed)
        }
    }

    /// Nil where there is nothing to turn.
    private func flip(_ model: PartitionModel, _ way: Way) -> Flip? {
        let folder = Self.path + "/" + model.partition.description
        var files = self.disk.files(in: folder).filter { $0.file.size > 0 && !$0.name.hasSuffix(".deleted") }
        let logs = files.filter { $0.name.hasSuffix(".log") }
        let isOfLog = self.random.oneIn(2)
        var path = folder
        if isOfLog {
            files = logs
        } else if way == .running {
            // Transaction indexes are believed by who has compared them once.
            files = files.filter { $0.name.hasSuffix(".index") || $0.name.hasSuffix(".timeindex") }
        } else if self.random.oneIn(3) {
            path = Self.path
            files = self.disk.files(in: path).filter { $0.file.size > 0 && $0.name != MetaProperties.name }
        }
        guard !files.isEmpty else { return nil }
        let (name, file) = files[self.random.below(files.count)]
        let byte = self.random.below(file.size)
        var flip = Flip(file: name, byte: byte)
        if name.hasSuffix(".log") {
            guard let base = PartitionFolder.parse(name)?.offset,
                let segment = model.segments.firstIndex(where: { $0.base == base }),
                let first = model.range(segment).first
            else { return nil }
            let place = model.batches[first].position + byte
            guard
                let batch = model.range(segment).first(where: {
                    place < model.batches[$0].position + model.batches[$0].size
                })
            else { return nil }
            flip.batch = batch
            let within = place - model.batches[batch].position
            // No CRC covers the leader's epoch; nor the offset: a batch that claims those of the next one may take it along
            // into what is not served.
            if (12..<16).contains(within) || within < 8 { return nil }
        }
        for index in model.batches.indices where flip.batch.map({ abs($0 - index) < 3 }) ?? false {
            let batch = model.batches[index]
            self.note("   batch \(index): \(batch.base)...\(batch.last), \(batch.size) bytes, epoch \(batch.epoch)")
        }
        self.note("a bit of byte \(byte) of \(name), \(file.size) bytes, turns over; batch \(flip.batch ?? -1)")
        file.flip(bit: byte * 8 + self.random.below(8))
        return flip
    }

    /// Reads all.
    private func look(_ model: PartitionModel, _ log: PartitionLog, _ flip: inout Flip, _ way: Way) throws {
        let offsets = log.snapshot
        // A last batch whose header is damaged cannot be told from one that a kill has cut short.
        let isLast = flip.batch == model.batches.count - 1
        let isCut = isLast && way == .killed && offsets.logEndOffset == model.batches[model.batches.count - 1].base
        guard offsets.logStartOffset == model.start, offsets.logEndOffset == model.end || isCut else {
            throw Disagreement(
                "after \(flip): the log is \(offsets.logStartOffset)..<\(offsets.logEndOffset), not "
                    + "\(model.start)..<\(model.end)")
        }
        if isCut {
            model.cut(to: offsets.logEndOffset)
            flip.batch = nil
        }
        let damaged = flip.batch
        var offset = model.start
        while offset < model.end {
            let at = model.index(atOrAfter: offset)
            guard at < model.batches.count else { break }
            let first = model.batches[at]
            let maxBytes = [1, 300, 1 << 20][self.random.below(3)]
            switch log.read(from: offset, maxBytes: maxBytes, upTo: .max, minOneMessage: true) {
            case .failure(let code):
                // Offsets that compaction took from behind it belong to it, as far as anybody knows.
                let isInGap = at - 1 == damaged && offset < first.base
                guard at == damaged || isInGap else {
                    throw Disagreement("after \(flip): read from \(offset): \(code)")
                }
                guard code == .corruptMessage else { throw Disagreement("after \(flip): damage is told as \(code)") }
                guard let manager = self.manager, manager.counters.corruptRanges.load(ordering: .relaxed) > 0 else {
                    throw Disagreement("after \(flip): damage is not counted")
                }
                self.note("   \(offset) is refused")
                offset = isInGap ? first.base : first.last + 1
            case .success(let read):
                guard let slice = read.slice, slice.length >= first.size else {
                    throw Disagreement("after \(flip): read from \(offset): \(read)")
                }
                var end = at
                var size = 0
                while end < model.batches.count, size < slice.length {
                    guard end != damaged else { throw Disagreement("after \(flip): the damaged batch is served") }
                    size += model.batches[end].size
                    end += 1
                }
                guard size == slice.length else {
                    throw Disagreement("after \(flip): read from \(offset): \(slice.length) bytes, no whole batches")
                }
                try self.compare(
                    slice, model.arena[first.position..<first.position + size], "after \(flip): read from \(offset)",
                    nil)
                offset = model.batches[end - 1].last + 1
            }
        }
        try self.lookFurther(model, log, flip)
    }

    private func lookFurther(_ model: PartitionModel, _ log: PartitionLog, _ flip: Flip) throws {
        for _ in 0..<4 where !model.times.isEmpty {
            let target = model.times[self.random.below(model.times.count)] + Int64(self.random.below(3)) - 1
            let expected = model.lookUp(target, limit: .max)
            switch log.offset(forTimestamp: target) {
            case .failure: guard flip.batch != nil else { throw Disagreement("after \(flip): no look-up of \(target)") }
            case .success(let found):
                guard found?.offset == expected?.offset, found?.timestamp == expected?.timestamp else {
                    // The times of damaged batches, by which segments are left out, are not known.
                    if flip.batch != nil { continue }
                    throw Disagreement(
                        "after \(flip): look-up of \(target): \(String(describing: found)) instead of "
                            + String(describing: expected))
                }
            }
        }
        guard flip.batch == nil else { return }
        if !flip.file.hasPrefix("leader-epoch") {
            let found = log.state.withLock { $0.epochs.entries }
            let offset = max(model.start, min(model.highestStart, model.end))
            for index in model.batches.indices where model.batches[index].base >= offset {
                let batch = model.batches[index]
                guard found.last(where: { $0.startOffset <= batch.base })?.epoch == batch.epoch else {
                    throw Disagreement("after \(flip): the epochs are \(found) instead of \(model.epochs)")
                }
            }
        }
        try self.takeProducers(model, of: log, isExact: false)
        while self.jobs.count > 0 { self.jobs.run(0) }
        guard log.highWatermark == model.end else { return }
        model.highWatermark = model.end
        model.ended = []
        try self.verifyTransactions(model)
    }

    /// The log goes on: false where it takes nothing more.
    private func appendBehind(_ model: PartitionModel, _ log: PartitionLog, _ flip: Flip) throws -> Bool {
        // Slow calls move the clock on.
        let now = self.disk.clock
        let records = [BatchEncoder.Record(timestamp: now, key: 1, valueSize: 5)]
        let logAppendTime = model.config.messageTimestampType == .logAppendTime ? now : nil
        var bytes = self.encoder.encode(records, BatchEncoder.Stamp(logAppendTime: logAppendTime), unique: 1)
        guard bytes.count <= model.config.segmentBytes, let header = bytes.withUnsafeBytes({ RecordBatchHeader($0) })
        else { return false }
        let validated = ValidatedBatch(
            header: header, maxTimestamp: now, offsetOfMaxTimestampDelta: 0, recordCount: 1,
            sizeInBytes: bytes.count, needsRewrite: false)
        let result = bytes.withUnsafeMutableBytes {
            log.append(
                $0, validated: validated, leaderEpoch: model.leaderEpoch, now: now, origin: .client)
        }
        self.note("one more is appended: \(result)")
        guard case .success(let info) = result, info.firstOffset == model.end else {
            throw Disagreement("after \(flip): an append: \(result), not at \(model.end)")
        }
        let count = log.segmentCount
        if count > model.segments.count {
            model.segments.append(PartitionModel.Segment(base: model.end, first: model.batches.count))
        }
        let batch = PartitionModel.Batch(
            base: model.end, last: model.end, position: 0, size: bytes.count, firstTime: 0,
            maxTimestamp: now, epoch: model.leaderEpoch, producerID: -1, producerEpoch: -1,
            baseSequence: -1)
        BatchEncoder.stamp(&bytes, baseOffset: model.end, leaderEpoch: model.leaderEpoch)
        model.append(bytes, batch, times: [now], now: now)
        while self.jobs.count > 0 { self.jobs.run(0) }
        return true
    }
}
