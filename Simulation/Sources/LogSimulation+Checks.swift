import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Comparisons of the log with the model.
extension LogSimulation {
    // MARK: after each step

    func observe(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let found = log.state.withLock {
            (
                start: $0.logStartOffset, end: $0.logEndOffset, highWatermark: $0.highWatermark,
                recoveryPoint: $0.recoveryPoint, size: $0.sizeInBytes, segments: $0.sealed.count + 1,
                stable: $0.lastStableOffset
            )
        }
        if model.waitsForSyncs, model.highWatermarkFollows {
            try self.takeHighWatermark(model, found.highWatermark)
        }
        guard found.start == model.start, found.end == model.end, found.highWatermark == model.highWatermark else {
            throw Disagreement(
                "\(model.partition): start \(found.start), end \(found.end), high watermark \(found.highWatermark) "
                    + "instead of \(model.start), \(model.end), \(model.highWatermark)")
        }
        guard found.stable == model.lastStableOffset else {
            throw Disagreement(
                "\(model.partition): last stable offset \(found.stable) instead of \(model.lastStableOffset)")
        }
        guard found.size == Int64(model.size), found.segments == model.segments.count else {
            throw Disagreement(
                "\(model.partition): \(found.size) bytes in \(found.segments) segments instead of \(model.size) in "
                    + "\(model.segments.count)")
        }
        guard found.recoveryPoint <= model.end else {
            throw Disagreement("\(model.partition): recovery point \(found.recoveryPoint) behind the end \(model.end)")
        }
        model.promised = max(model.promised, found.recoveryPoint)
        try self.checkSynced(model, log)
    }

    /// Where syncs are waited for, it moves when they are done.
    func takeHighWatermark(_ model: PartitionModel, _ found: Int64) throws {
        guard found >= model.highWatermark, found <= model.end else {
            throw Disagreement(
                "\(model.partition): high watermark \(found), not within \(model.highWatermark)...\(model.end)")
        }
        // What was found to need a sync while it was looked at waits for the next tick.
        if self.jobs.count == 0, !model.isImpaired, found < model.end {
            try self.log(model).flushIfDue(now: self.disk.clock)
        }
        if self.jobs.count == 0, !model.isImpaired, found < model.end {
            throw Disagreement("\(model.partition): high watermark \(found) before \(model.end), and nobody syncs")
        }
        // What consumers have seen may not be taken back.
        let hasMoved = found > model.highWatermark
        model.highWatermark = found
        if hasMoved, model.config.flushBeforeAck { model.promised = max(model.promised, found) }
    }

    // MARK: everything

    func verify(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let isImpaired = model.isImpaired
        var offset = model.start
        while offset < model.end {
            let read = try self.read(model, offset, 100 + self.random.below(2000), .max, minOne: true)
            guard let read else {
                if model.isImpaired || self.disk.isStopped { return }
                break
            }
            offset = read.next
        }
        for _ in 0..<2 { try self.lookUp(model) }
        try self.lookUpMax(model)
        for _ in 0..<2 { try self.lookAtEpochs(model) }
        try self.verifyTransactions(model)
        if self.disk.isStopped { return }
        let (producers, epochs) = log.state.withLock { ($0.producers.producers, $0.epochs.entries) }
        guard producers.count == model.producers.count else {
            throw Disagreement("\(producers.count) producers are known instead of \(model.producers.count)")
        }
        for (id, producer) in model.producers {
            guard let entry = producers[id], entry.batchCount == producer.known,
                entry.currentTransactionFirstOffset == producer.openFrom
            else { throw Disagreement("producer \(id) is not as it was") }
            try self.compare(entry, producer, id, model)
        }
        guard epochs.map({ PartitionModel.Epoch(epoch: $0.epoch, start: $0.startOffset) }) == model.epochs else {
            throw Disagreement("epochs are \(epochs) instead of \(model.epochs)")
        }
        try self.compareFiles(model)
        if !isImpaired, !model.isImpaired, self.disk.fault == nil { try self.compareIndexes(model, log) }
    }

    // MARK: files

    private func folder(_ model: PartitionModel) -> String { Self.path + "/" + model.partition.description }

    /// The log's files hold the model's bytes, and nothing else.
    func compareFiles(_ model: PartitionModel) throws {
        for index in model.segments.indices {
            let segment = model.segments[index]
            let name = PartitionFolder.name(segment.base) + ".log"
            let range = model.range(index)
            let size = model.size(index)
            guard let file = self.disk.file(self.folder(model) + "/" + name) else {
                if size == 0 && model.segments.count == 1 { continue }
                throw Disagreement("\(name) is not there")
            }
            let isActive = index == model.segments.count - 1
            guard file.size == size || (isActive && model.isImpaired && file.size > size) else {
                throw Disagreement("\(name) has \(file.size) bytes instead of \(size)")
            }
            guard size > 0, segment.left == nil, let first = range.first else { continue }
            let position = model.batches[first].position
            let isSame = model.arena.withUnsafeBytes {
                memcmp($0.baseAddress! + position, file.bytes.baseAddress!, size) == 0
            }
            guard isSame else { throw Disagreement("\(name) has other bytes") }
        }
    }

    /// The index files say what the batches say.
    private func compareIndexes(_ model: PartitionModel, _ log: PartitionLog) throws {
        let active = log.state.withLock {
            (offsets: $0.active.offsetIndex.persisted, times: $0.active.timeIndex.persisted)
        }
        for index in model.segments.indices {
            let base = model.segments[index].base
            let path = self.folder(model) + "/" + PartitionFolder.name(base)
            let isActive = index == model.segments.count - 1
            if !isActive, model.range(index).isEmpty || model.end <= model.start { continue }
            if model.segments[index].left != nil { continue }
            // Not looked into: nobody has read it since the start.
            if !isActive, index + 1 < model.segments.count, model.segments[index + 1].base <= model.start { continue }
            let isDense = try self.compareOffsetIndex(
                model, index, self.disk.file(path + ".index"), count: isActive ? active.offsets : nil)
            try self.compareTimeIndex(
                model, index, self.disk.file(path + ".timeindex"), count: isActive ? active.times : nil, isDense)
        }
    }

    /// - Returns: whether it has all entries that index.interval.bytes asks for.
    private func compareOffsetIndex(
        _ model: PartitionModel, _ segment: Int, _ file: SimulatedFile?, count: Int?
    ) throws -> Bool {
        let name = PartitionFolder.name(model.segments[segment].base) + ".index"
        guard let file else {
            if count == 0 { return !self.profile.changesInterval }
            throw Disagreement("\(name) is not there")
        }
        guard count != nil || file.size % 8 == 0, file.size >= 8 * (count ?? 0) else {
            throw Disagreement("\(name) has \(file.size) bytes")
        }
        let found = (0..<(count ?? file.size / 8)).map { OffsetIndexEntry(file.bytes.baseAddress! + $0 * 8) }
        // See the time index.
        if found.contains(where: { $0.position == 0 }) { return false }
        let base = model.segments[segment].base
        let range = model.range(segment)
        if self.profile.changesInterval {
            // Each names a batch.
            var at = range.lowerBound
            for entry in found {
                while at < range.upperBound, model.batches[at].last - base < entry.relativeOffset { at += 1 }
                guard at < range.upperBound, model.batches[at].last - base == entry.relativeOffset,
                    self.position(model, at, segment) == entry.position
                else { throw Disagreement("\(name): \(entry) is no batch") }
                at += 1
            }
            return false
        }
        func expected(_ interval: Int) -> [OffsetIndexEntry] {
            var entries: [OffsetIndexEntry] = []
            var since = 0
            for at in range {
                let batch = model.batches[at]
                if since > interval {
                    entries.append(
                        OffsetIndexEntry(
                            relativeOffset: Int32(batch.last - base),
                            position: Int32(self.position(model, at, segment))))
                    since = 0
                }
                since += batch.size
            }
            return entries
        }
        let wanted = expected(model.config.indexIntervalBytes)
        if let count {
            guard found == Array(wanted.prefix(count)) else {
                throw Disagreement("\(name) has \(found) instead of \(wanted)")
            }
            return true
        }
        if found == wanted { return true }
        // One that is made anew when it is first needed has the default interval.
        guard found == expected(LogConfig().indexIntervalBytes) else {
            throw Disagreement("\(name) has \(found) instead of \(wanted)")
        }
        return false
    }

    private func position(_ model: PartitionModel, _ batch: Int, _ segment: Int) -> Int {
        model.batches[batch].position - model.batches[model.segments[segment].first].position
    }

    private func compareTimeIndex(
        _ model: PartitionModel, _ segment: Int, _ file: SimulatedFile?, count: Int?, _ isDense: Bool
    ) throws {
        let base = model.segments[segment].base
        let name = PartitionFolder.name(base) + ".timeindex"
        guard let file else {
            if count == 0 { return }
            throw Disagreement("\(name) is not there")
        }
        guard count != nil || file.size % 12 == 0, file.size >= 12 * (count ?? 0) else {
            throw Disagreement("\(name) has \(file.size) bytes")
        }
        let entries = (0..<(count ?? file.size / 12)).map { TimeIndexEntry(file.bytes.baseAddress! + $0 * 12) }
        // One that was made anew is not synced: a power cut may have left a hole in it, which costs time only.
        if entries.contains(where: { $0.timestamp == 0 }) { return }
        let range = model.range(segment)
        var at = range.lowerBound
        var greatest: Int64 = -1
        for entry in entries {
            // Each is the first batch with the greatest timestamp so far.
            let before = greatest
            while at < range.upperBound, model.batches[at].last - base < entry.relativeOffset {
                greatest = max(greatest, model.batches[at].maxTimestamp)
                at += 1
            }
            guard at < range.upperBound, model.batches[at].last - base == entry.relativeOffset,
                model.batches[at].maxTimestamp == entry.timestamp, entry.timestamp > before,
                entry.timestamp > greatest
            else {
                throw Disagreement("\(name): \(entry) of \(entries) names no batch that is newer than those before")
            }
            greatest = entry.timestamp
        }
        if count == nil {
            guard greatest == model.maxTimestamp(segment) else {
                throw Disagreement("\(name) ends with \(greatest) instead of \(model.maxTimestamp(segment))")
            }
        }
        // With each offset entry there is one, if there was something new.
        guard isDense else { return }
        var since = 0
        var largest: Int64 = -1
        var next = 0
        for index in range {
            largest = max(largest, model.batches[index].maxTimestamp)
            if since > model.config.indexIntervalBytes {
                while next < entries.count, entries[next].timestamp < largest { next += 1 }
                guard next < entries.count || count != nil else {
                    throw Disagreement("\(name) has no entry for \(largest): \(entries)")
                }
                if next < entries.count, entries[next].timestamp != largest {
                    throw Disagreement("\(name) has no entry for \(largest): \(entries)")
                }
                since = 0
            }
            since += model.batches[index].size
        }
    }

    // MARK: after a start

    func reconcile(_ model: PartitionModel, after ending: Ending, isImpaired: Bool) throws {
        let log = try self.log(model)
        // Opened by its mark alone, it is looked at when it is first used, or soon.
        if log.isUnverified, ending == .powerCut || self.random.oneIn(2) { log.verifyInBackground() }
        let isUnverified = log.isUnverified
        let found = log.state.withLock {
            (
                start: $0.logStartOffset, end: $0.logEndOffset, recoveryPoint: $0.recoveryPoint,
                bases: $0.sealed.map(\.baseOffset) + [$0.active.baseOffset], epochs: $0.epochs.entries
            )
        }
        self.note(
            "   \(model.partition): \(found.start)..<\(found.end) in \(found.bases), recovery point "
                + "\(found.recoveryPoint); was \(model.start)..<\(model.end), promised \(model.promised), "
                + "doubtful from \(String(describing: model.doubtfulFrom))")
        let wasEnd = model.end
        let isEmpty =
            found.bases == [found.end] && found.start == found.end && found.end != model.end && log.producerCount == 0
        try self.takeEnd(
            model, found.start, found.end, isEmpty: isEmpty,
            isRestarted: found.bases == [found.end] && log.producerCount == 0,
            after: ending)
        if let plan = model.doubtfulCleaning { try self.takeCleaned(model, plan, found.bases, isWhole: false) }
        model.doubtfulCleaning = nil
        try self.takeFiles(model, found.bases, isUnverified: isUnverified)
        try self.takeStart(model, found.start, after: ending, isImpaired: isImpaired)
        if ending != .kill { self.takeRuins(model) }
        if !isUnverified { try self.compareFiles(model) }
        try self.takeEpochs(model, found.epochs)
        try self.takeProducers(model, of: log, isExact: ending == .clean && !isImpaired)
        guard found.recoveryPoint <= found.end else {
            throw Disagreement("\(model.partition): recovery point \(found.recoveryPoint) behind the end \(found.end)")
        }
        model.promised = max(min(model.promised, found.end), found.recoveryPoint)
        model.highWatermark = model.end
        model.highWatermarkFollows = true
        model.waitsForSyncs = model.config.flushBeforeAck
        if model.waitsForSyncs { model.highWatermark = max(model.start, min(model.end, found.recoveryPoint)) }
        try self.takeEnded(model, of: log)
        (model.unflushed, model.syncedFor) = (0, 0)
        model.exists = true
        model.doubtfulFrom = nil
        model.doubtfulBatch = nil
        model.doubtfulStart = nil
        model.doubtfulRestart = nil
        model.isImpaired = isImpaired
        model.activeCreated = self.disk.clock
        if ending == .powerCut { model.markedStart = min(model.markedStart, model.durableStart) }
        _ = wasEnd
    }

    private func takeEnd(
        _ model: PartitionModel, _ start: Int64, _ end: Int64, isEmpty: Bool, isRestarted: Bool, after ending: Ending
    ) throws {
        if let restart = model.doubtfulRestart {
            // All was to go: it has, or has not yet.
            if isRestarted, start == end, end == restart || end <= model.end { return model.restart(at: end) }
            model.promised = 0
            model.doubtfulFrom = 0
        }
        if end > model.end, let (bytes, batch) = model.doubtfulBatch, batch.base == model.end, batch.last + 1 == end {
            model.append(bytes, batch, times: self.doubtfulTimes, now: -1)
            return
        }
        let least: Int64
        switch ending {
        case .nothing, .clean: least = model.end
        case .kill: least = model.doubtfulFrom ?? model.end
        case .powerCut:
            // Of what was deleted nothing is promised.
            least = model.promised > model.start ? min(model.promised, model.doubtfulFrom ?? .max) : 0
        }
        guard end >= least else {
            throw Disagreement("\(model.partition): the log ends at \(end), before \(least)")
        }
        // All that is left had been deleted: the log begins anew where it started.
        if isEmpty, ending == .powerCut, end <= max(model.start, model.doubtfulStart ?? 0), end >= model.durableStart {
            return model.restart(at: end)
        }
        guard end <= model.end, model.isBoundary(end) else {
            throw Disagreement(
                "\(model.partition): the log ends at \(end), which is no end of a batch up to \(model.end)")
        }
        let promised = model.promised
        model.cut(to: end)
        model.promised = promised
    }

    private func takeFiles(_ model: PartitionModel, _ bases: [Int64], isUnverified: Bool) throws {
        let names = self.disk.files(in: self.folder(model)).compactMap { PartitionFolder.parse($0.name) }
        let files = names.filter { $0.suffix == "log" }.map(\.offset)
        // The file of a log with nothing in it may be missing until something is appended.
        let isMissing = files.isEmpty && bases == [model.end]
        // Left by a roll that failed on a disk that did not let it be removed; it goes when the folder is looked into.
        let isLeft =
            files.filter { base in
                bases.contains(base)
                    || self.disk.file(self.folder(model) + "/" + PartitionFolder.name(base) + ".log")?.size != 0
            } == bases && files.count == bases.count + 1
        guard files == bases || isMissing || isLeft || isUnverified else {
            throw Disagreement("\(model.partition): files \(files), segments \(bases)")
        }
        for name in self.disk.files(in: self.folder(model)).map(\.name)
        where !isUnverified && (name.hasSuffix(".swap") || name.hasSuffix(".cleaned")) {
            throw Disagreement("\(model.partition): \(name) is there after the start")
        }
        for name in names where name.suffix == "snapshot" && name.offset > model.end {
            throw Disagreement("\(model.partition): a snapshot of offset \(name.offset), behind the end \(model.end)")
        }
        model.segments = []
        for base in bases {
            let index = model.index(atOrAfter: base)
            guard base <= model.end, index == model.batches.count || model.batches[index].base >= base else {
                throw Disagreement("\(model.partition): a segment at \(base), within a batch")
            }
            // Without compaction there are no gaps.
            let isInGap = model.wasCleaned && (index == 0 || model.batches[index - 1].last < base)
            guard isInGap || (index == model.batches.count ? base == model.end : model.batches[index].base == base)
            else {
                throw Disagreement("\(model.partition): a segment at \(base), where no batch begins")
            }
            model.segments.append(PartitionModel.Segment(base: base, first: index))
        }
    }

    /// What lies before the log's start need not survive a power cut.
    private func takeRuins(_ model: PartitionModel) {
        for index in model.segments.indices.dropLast() where model.segments[index + 1].base <= model.start {
            let name = PartitionFolder.name(model.segments[index].base) + ".log"
            guard let file = self.disk.file(self.folder(model) + "/" + name), let first = model.range(index).first
            else { continue }
            let (size, position) = (model.size(index), model.batches[first].position)
            let isSame = model.arena.withUnsafeBytes {
                file.size == size && memcmp($0.baseAddress! + position, file.bytes.baseAddress!, size) == 0
            }
            if !isSame { model.segments[index].left = file.size }
        }
    }

    private func takeStart(_ model: PartitionModel, _ start: Int64, after ending: Ending, isImpaired: Bool) throws {
        var least: Int64
        switch ending {
        case .nothing, .clean: least = model.start
        case .kill: least = model.markedStart
        case .powerCut: least = model.durableStart
        }
        if isImpaired { least = 0 }
        least = max(min(least, model.end), model.firstBase)
        let known = max(model.start, model.doubtfulStart ?? 0, model.forgottenStart)
        let most = max(min(known, model.end), model.firstBase)
        guard start >= least, start <= most else {
            throw Disagreement("\(model.partition): the log starts at \(start), not within \(least)...\(most)")
        }
        model.forgottenStart = isImpaired && start < known ? known : 0
        model.moveStart(to: start)
        model.start = start
    }

    private func takeEpochs(_ model: PartitionModel, _ found: [LeaderEpochCache.Entry]) throws {
        let entries = found.map { PartitionModel.Epoch(epoch: $0.epoch, start: $0.startOffset) }
        func fail(_ why: String) -> Disagreement {
            Disagreement("\(model.partition): epochs \(entries) instead of \(model.epochs): \(why)")
        }
        for index in entries.indices.dropFirst()
        where entries[index].epoch <= entries[index - 1].epoch || entries[index].start <= entries[index - 1].start {
            throw fail("out of order")
        }
        if let last = entries.last, last.start > model.end { throw fail("behind the end") }
        // Epochs of what lay before the start at some time may be forgotten.
        let from = max(model.start, min(model.highestStart, model.end))
        var index = model.index(atOrAfter: from)
        while index < model.batches.count {
            let batch = model.batches[index]
            let offset = max(batch.base, from)
            let epoch = entries.last { $0.start <= offset }
            guard epoch?.epoch == batch.epoch else { throw fail("at \(offset)") }
            // Where batches begin, epochs begin.
            if !model.wasCleaned, let epoch, epoch.start > from, epoch.start == batch.base || epoch.start > batch.base,
                let before = index > 0 ? model.batches[index - 1] : nil, before.epoch == epoch.epoch,
                before.base >= from
            {
                throw fail("epoch \(epoch.epoch) begins late")
            }
            index += 1
        }
        for entry in entries where entry.start < model.end && entry.start > from && !model.wasCleaned {
            let batch = model.index(atOrAfter: entry.start)
            guard batch < model.batches.count, model.batches[batch].epoch == entry.epoch,
                model.batches[batch].base == entry.start
            else { throw fail("epoch \(entry.epoch) has no batch") }
        }
        model.epochs = entries
        if let latest = entries.last?.epoch { model.leaderEpoch = max(model.leaderEpoch, latest) }
    }
}
