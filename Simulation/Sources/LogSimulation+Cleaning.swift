import Glibc
import KafkaRecords
import Synchronization

@testable import KafkaLog

/// Steps of the cleaner.
extension LogSimulation {
    func configureCompaction(_ model: PartitionModel) {
        switch self.random.below(5) {
        case 0: model.config.cleanupPolicy = [[.compact], [.compact, .delete], [.delete], []][self.random.below(4)]
        case 1: model.config.deleteRetentionMs = [0, 500, 5000, .max][self.random.below(4)]
        case 2: model.config.minCleanableDirtyRatio = [0, 0.3, 0.8][self.random.below(3)]
        case 3: model.config.minCompactionLagMs = self.random.oneIn(2) ? 0 : Int64(self.random.below(4000))
        default: model.config.maxCompactionLagMs = self.random.oneIn(2) ? .max : Int64(self.random.below(4000))
        }
    }

    func clean() throws {
        guard let manager = self.manager else { return }
        let now = self.disk.clock
        var plans: [(model: PartitionModel, log: PartitionLog, plan: PartitionModel.CleaningPlan)] = []
        for model in self.partitions {
            let log = try self.log(model)
            guard model.config.cleanupPolicy.contains(.compact), model.segments.count > 1 else { continue }
            let plan = try self.plan(model, log, manager, now)
            if self.disk.isStopped || self.noteFaults() || model.isImpaired { return }
            guard let plan else { continue }
            plans.append((model, log, plan))
        }
        for (model, _, plan) in plans {
            self.note(
                "\(model.partition): the cleaner may clean from \(plan.first) to \(plan.end) of \(plan.limit), "
                    + "\(plan.batches.count) batches change")
            model.doubtfulCleaning = plan
        }
        let (hasCleaned, isAborted) = try self.clean(manager, now)
        self.note("the cleaner has\(hasCleaned ? "" : " not") cleaned\(isAborted ? ", and was told to stop" : "")")
        if self.disk.isStopped {
            for model in self.partitions { model.durableStart = 0 }
            return
        }
        if self.disk.faults > self.totals.faults || self.partitions.contains(where: { $0.isImpaired }) {
            // How far it came the next start tells.
            for model in self.partitions { model.durableStart = 0 }
            _ = self.noteFaults()
            return try self.crash(.powerCut)
        }
        if isAborted, !hasCleaned {
            for (model, log, plan) in plans {
                model.doubtfulCleaning = nil
                let bases = log.state.withLock { $0.sealed.map(\.baseOffset) + [$0.active.baseOffset] }
                try self.takeCleaned(model, plan, bases, isWhole: false)
                try self.takeDeleted(model, bases)
            }
            for other in self.partitions { other.durableStart = 0 }
            return
        }
        guard hasCleaned == !plans.isEmpty else {
            throw Disagreement("the cleaner has\(hasCleaned ? "" : " not") cleaned, \(plans.count) logs need it")
        }
        guard hasCleaned else { return }
        let dirtiest = plans.map(\.plan.ratio).max() ?? 0
        var cleaned = 0
        for (model, log, plan) in plans {
            model.doubtfulCleaning = nil
            guard let directory = manager.directory(of: model.partition) else { continue }
            let end = manager.cleaner.checkpoint(model.partition, directory)
            guard end == plan.end, plan.end > plan.first else {
                guard end ?? plan.first == plan.first else {
                    throw Disagreement("\(model.partition): clean up to \(end ?? -1) instead of \(plan.end)")
                }
                continue
            }
            guard plan.ratio == dirtiest else { throw Disagreement("\(model.partition) was not the dirtiest log") }
            cleaned += 1
            let bases = log.state.withLock { $0.sealed.map(\.baseOffset) + [$0.active.baseOffset] }
            try self.takeCleaned(model, plan, bases, isWhole: true)
            try self.takeDeleted(model, bases)
            model.cleanedTo = plan.end
            // What was cleaned had to be on the disk first.
            for other in self.partitions {
                other.durableStart = other.start > other.firstBase ? other.start : 0
                other.markedStart = max(other.markedStart, other.durableStart)
            }
        }
        guard cleaned == 1 else { throw Disagreement("\(cleaned) logs were cleaned") }
    }

    /// One round of the cleaner, while records are appended, or until it is told to stop.
    private func clean(_ manager: LogManager, _ now: Int64) throws -> (hasCleaned: Bool, isAborted: Bool) {
        guard self.random.oneIn(2) else { return (manager.cleaner.cleanDirtiest(of: manager, now: now), false) }
        var failure: (any Error)?
        let abortsAt = self.random.oneIn(4) ? self.random.below(6) : .max
        var reads = 0
        self.disk.onCleanerRead = {
            defer { reads += 1 }
            if reads == abortsAt { manager.cleaner.stopping.store(true, ordering: .relaxed) }
            guard failure == nil, !self.disk.isStopped, self.random.oneIn(2) else { return }
            do {
                try self.appendPlain(self.partitions[self.random.below(self.partitions.count)])
            } catch { failure = error }
        }
        let hasCleaned = manager.cleaner.cleanDirtiest(of: manager, now: now)
        self.disk.onCleanerRead = nil
        manager.cleaner.stopping.store(false, ordering: .relaxed)
        if let failure { throw failure }
        return (hasCleaned, reads > abortsAt)
    }

    private func plan(
        _ model: PartitionModel, _ log: PartitionLog, _ manager: LogManager, _ now: Int64
    ) throws -> PartitionModel.CleaningPlan? {
        guard let directory = manager.directory(of: model.partition) else { return nil }
        var first = model.start
        if let checkpoint = manager.cleaner.checkpoint(model.partition, directory) {
            let cut = log.state.withLock { $0.cleaning?.truncatedTo }
            let known = min(checkpoint, cut ?? .max)
            // What is deleted counts as clean.
            if known < model.start { model.cleanedTo = max(model.cleanedTo, model.start) }
            if known >= model.start, known <= model.end {
                first = known
                guard first <= max(model.cleanedTo, model.start) else {
                    throw Disagreement("clean up to \(first)? Nothing was cleaned behind \(model.cleanedTo)")
                }
            }
        }
        guard case .success(let aborted) = log.abortedTransactions(from: model.firstBase, to: .max) else {
            if self.isExcused(model) { return nil }
            throw Disagreement("aborted transactions cannot be told")
        }
        let folder = Self.path + "/" + model.partition.description + "/"
        return model.planCleaning(from: first, aborted: aborted, dedupeBytes: self.profile.dedupeBytes, now: now) {
            self.disk.file(folder + PartitionFolder.name($0) + ".log")?.modifiedMs ?? now
        }
    }

    /// Takes over what the files of the segments hold: each of them as it was or as it should have become.
    /// - Parameter isWhole: all of it must have become so.
    func takeCleaned(
        _ model: PartitionModel, _ plan: PartitionModel.CleaningPlan, _ bases: [Int64], isWhole: Bool
    ) throws {
        typealias Made = (bytes: ArraySlice<UInt8>, batch: PartitionModel.Batch, times: [Int64], deltas: [Int32])
        let folder = Self.path + "/" + model.partition.description + "/"
        var made: [Made] = []
        func keep(_ index: Int) {
            let batch = model.batches[index]
            let records = model.records(batch)
            made.append((model.bytes(batch), batch, records.map(\.1), records.map(\.0)))
        }
        var isClean = true
        var index = 0
        while index < model.batches.count, model.batches[index].base < bases[0] {
            // Deleted since.
            keep(index)
            index += 1
        }
        for (number, base) in bases.enumerated() {
            let next = number + 1 < bases.count ? bases[number + 1] : .max
            var range = index..<index
            while range.upperBound < model.batches.count, model.batches[range.upperBound].base < next {
                range = index..<range.upperBound + 1
            }
            index = range.upperBound
            let merged = model.segments.indices.filter { (base..<next).contains(model.segments[$0].base) }
            let size = merged.reduce(0) { $0 + model.size($1) }
            guard !isWhole || merged.count < 2 || number + 1 == bases.count || size <= model.config.segmentBytes
            else {
                throw Disagreement("\(merged.count) segments of \(size) bytes have become one, at \(base)")
            }
            let hasChanged = range.contains { plan.batches[model.batches[$0].base] != nil }
            let file = self.disk.file(folder + PartitionFolder.name(base) + ".log")
            if !hasChanged || file.map({ self.isOld(model, range, $0) }) ?? true {
                if hasChanged { isClean = false }
                guard !isWhole || !hasChanged else {
                    throw Disagreement("\(PartitionFolder.name(base)).log was not cleaned")
                }
                range.forEach(keep)
                continue
            }
            guard let file, let found = ParsedBatch.all(in: file.bytes) else {
                throw Disagreement("\(PartitionFolder.name(base)).log does not consist of whole batches")
            }
            var at = 0
            for index in range {
                let old = model.batches[index]
                if case .dropped = plan.batches[old.base] { continue }
                guard at < found.count else {
                    throw Disagreement("\(PartitionFolder.name(base)).log lacks the batch at \(old.base)")
                }
                let (batch, place) = found[at]
                at += 1
                guard case .changed(let header, let records) = plan.batches[old.base] else {
                    let isSame = model.bytes(old).withUnsafeBytes {
                        $0.count == place.count
                            && memcmp($0.baseAddress!, file.bytes.baseAddress! + place.lowerBound, $0.count) == 0
                    }
                    guard isSame else {
                        throw Disagreement("the batch at \(old.base) should stay as it is, but has become \(batch)")
                    }
                    keep(index)
                    continue
                }
                var wanted = header
                wanted.crc = batch.header.crc
                wanted.batchLength = batch.header.batchLength
                guard batch.header == wanted, batch.records == records else {
                    throw Disagreement(
                        "the batch at \(old.base) has become \(batch) instead of \(header) with \(records)")
                }
                var new = old
                new.maxTimestamp = header.maxTimestamp
                if records.isEmpty { new.marker = nil }
                made.append((Array(file.bytes[place])[...], new, records.map(\.timestamp), records.map(\.delta)))
            }
            guard at == found.count else {
                throw Disagreement("\(PartitionFolder.name(base)).log has \(found[at].batch), which should be gone")
            }
        }
        let outcomes = self.outcomesByBase(model)
        model.replaceBatches(made)
        model.wasCleaned = true
        for (base, outcome) in self.outcomesByBase(model)
        where base >= max(bases[0], model.highestStart) && outcomes[base] != outcome {
            throw Disagreement("the batch at \(base) is \(outcome) after the cleaning")
        }
        model.segments = bases.map { PartitionModel.Segment(base: $0, first: model.index(atOrAfter: $0)) }
        if isClean { model.cleanedTo = max(model.cleanedTo, plan.end) }
    }

    private func outcomesByBase(_ model: PartitionModel) -> [Int64: PartitionModel.Outcome] {
        var all: [Int64: PartitionModel.Outcome] = [:]
        for (index, outcome) in model.outcomes().outcomes.enumerated() {
            if let outcome { all[model.batches[index].base] = outcome }
        }
        return all
    }

    private func isOld(_ model: PartitionModel, _ range: Range<Int>, _ file: SimulatedFile) -> Bool {
        guard let first = range.first, let last = range.last else { return file.size == 0 }
        let position = model.batches[first].position
        let size = model.batches[last].position + model.batches[last].size - position
        return file.size == size
            && model.arena.withUnsafeBytes {
                memcmp($0.baseAddress! + position, file.bytes.baseAddress!, size) == 0
            }
    }

    /// After a cleaning retention looks at the log.
    private func takeDeleted(_ model: PartitionModel, _ bases: [Int64]) throws {
        guard let first = bases.first, first > model.start else { return }
        guard model.config.cleanupPolicy.contains(.delete) else {
            throw Disagreement(
                "\(model.partition): segments before \(first) are gone, the log starts at \(model.start)")
        }
        model.moveStart(to: first)
    }
}
