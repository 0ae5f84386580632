import Glibc
import KafkaPrimitives
import KafkaRecords

@testable import KafkaLog

/// Steps that look.
extension LogSimulation {
    enum ExpectedRead {
        case refused
        case nothing(ReadEnd)
        /// Indexes of batches.
        case batches(Range<Int>, ReadEnd)
    }

    func expectedRead(
        _ model: PartitionModel, _ offset: Int64, _ maxBytes: Int, _ limit: Int64, _ minOne: Bool
    ) -> ExpectedRead {
        guard offset >= model.start, offset <= model.end else { return .refused }
        let limit = min(limit, model.end)
        guard offset < limit else { return .nothing(.limit) }
        guard maxBytes > 0 || minOne else { return .nothing(.size) }
        let first = model.index(atOrAfter: offset)
        guard first < model.batches.count, model.batches[first].base < limit else { return .nothing(.limit) }
        let segment = model.segments.lastIndex { $0.first <= first } ?? 0
        let end = model.range(segment).upperBound
        var size = model.batches[first].size
        guard size <= maxBytes || minOne else { return .nothing(.size) }
        var next = first + 1
        while next < end {
            let batch = model.batches[next]
            guard batch.last < limit else { return .batches(first..<next, .limit) }
            guard size + batch.size <= maxBytes else { return .batches(first..<next, .size) }
            size += batch.size
            next += 1
        }
        let goesOn = segment + 1 < model.segments.count && model.segments[segment + 1].base < limit
        return .batches(first..<next, goesOn ? .segment : .limit)
    }

    func read(_ model: PartitionModel) throws {
        let span = Int(model.end - model.start)
        var offset = model.start + Int64(self.random.below(span + 1))
        if self.random.oneIn(20) { offset = self.random.oneIn(2) ? model.start - 1 : model.end + 1 }
        let maxBytes = [0, 1, 100, 300, 1000, 1 << 20][self.random.below(6)] + self.random.below(50)
        var limit = self.random.oneIn(2) ? Int64.max : model.highWatermark
        if self.random.oneIn(6) { limit = model.start + Int64(self.random.below(span + 1)) }
        _ = try self.read(model, offset, maxBytes, limit, minOne: !self.random.oneIn(4))
    }

    /// Reads, compares, and gives the slice and the bytes that it should have.
    @discardableResult
    func read(
        _ model: PartitionModel, _ offset: Int64, _ maxBytes: Int, _ limit: Int64, minOne: Bool
    ) throws -> (slice: FileSlice, bytes: ArraySlice<UInt8>, next: Int64, upperBound: Int64)? {
        let log = try self.log(model)
        let expected = self.expectedRead(model, offset, maxBytes, limit, minOne)
        let result =
            self.random.oneIn(3)
            ? try self.readNow(log, offset, maxBytes, limit, minOne)
            : log.read(from: offset, maxBytes: maxBytes, upTo: limit, minOneMessage: minOne)
        self.note("\(model.partition): read from \(offset), \(maxBytes) bytes, up to \(limit)")
        let read: LogRead
        switch (result, expected) {
        case (.failure(.offsetOutOfRange), .refused): return nil
        case (.failure, _) where self.isExcused(model): return nil
        case (.success(let found), _): read = found
        case (.failure(let code), _): throw Disagreement("read from \(offset): \(code) instead of \(expected)")
        }
        if model.waitsForSyncs, model.highWatermarkFollows { try self.takeHighWatermark(model, read.highWatermark) }
        guard read.logStartOffset == model.start, read.logEndOffset == model.end,
            read.highWatermark == model.highWatermark, read.lastStableOffset == model.lastStableOffset
        else {
            throw Disagreement(
                "read: the log is \(model.start)..<\(model.end), stable up to \(model.lastStableOffset), not as in \(read)"
            )
        }
        switch expected {
        case .refused:
            throw Disagreement("read from \(offset) is not refused, the log is \(model.start)..<\(model.end)")
        case .nothing(let end):
            guard read.slice == nil else { throw Disagreement("read from \(offset): \(read) instead of nothing") }
            guard read.end == end else { throw Disagreement("read from \(offset): ends by \(read.end), not \(end)") }
            return nil
        case .batches(let range, let end):
            let (first, last) = (model.batches[range.lowerBound], model.batches[range.upperBound - 1])
            guard let slice = read.slice else {
                throw Disagreement("read from \(offset): nothing instead of \(first.base)...\(last.last)")
            }
            // A read that begins in a gap names some offset of it.
            let before = range.lowerBound > 0 ? model.batches[range.lowerBound - 1].last : -1
            let isInGap = model.wasCleaned && read.firstOffset > before && read.firstOffset <= first.base
            guard read.firstOffset == first.base || read.firstOffset == offset || isInGap else {
                throw Disagreement("read from \(offset): begins at \(read.firstOffset) instead of \(first.base)")
            }
            var bytes = model.arena[first.position..<last.position + last.size]
            var next = last.last + 1
            if read.end == .size, slice.length < bytes.count, slice.length >= first.size {
                // What was not checked yet comes with the next read; whole batches all the same.
                let end = first.position + slice.length
                if let batch = model.batches[range].first(where: { $0.position + $0.size == end }) {
                    bytes = bytes.prefix(slice.length)
                    next = batch.last + 1
                }
            } else if read.end != end, read.end != .size || !model.isImpaired {
                // (Behind what could not be read for a while there may be more that is to be checked anew.)
                throw Disagreement("read from \(offset): ends by \(read.end), not \(end)")
            }
            guard slice.length == bytes.count else {
                throw Disagreement(
                    "read from \(offset): \(slice.length) bytes instead of \(bytes.count), "
                        + "\(first.base)...\(last.last)")
            }
            try self.compare(slice, bytes, "read from \(offset)", model)
            guard read.upperBound >= next else {
                throw Disagreement("read from \(offset): up to \(next), but the upper bound is \(read.upperBound)")
            }
            return (slice, bytes, next, read.upperBound)
        }
    }

    /// As an event loop reads: what it must wait for is done by the pool, and it looks again.
    private func readNow(
        _ log: PartitionLog, _ offset: Int64, _ maxBytes: Int, _ limit: Int64, _ minOne: Bool
    ) throws -> Result<LogRead, ErrorCode> {
        for _ in 0..<20 {
            let result = log.readNow(from: offset, maxBytes: maxBytes, upTo: limit, minOneMessage: minOne)
            guard case .success(let read) = result, read.isPending else { return result }
            guard self.readJobs.count > 0 else { throw Disagreement("read from \(offset): waits for nothing") }
            while self.readJobs.count > 0 { self.readJobs.run(0) }
        }
        throw Disagreement("read from \(offset): it waits for ever")
    }

    func compare(
        _ slice: FileSlice, _ expected: ArraySlice<UInt8>, _ what: String, _ model: PartitionModel?
    ) throws {
        if self.buffer.count < slice.length { self.buffer = [UInt8](repeating: 0, count: 2 * slice.length) }
        let differs = try self.buffer.withUnsafeMutableBytes { buffer -> Int? in
            let target = UnsafeMutableRawBufferPointer(rebasing: buffer[..<slice.length])
            let count: Int
            do { count = try FileSystem.read(slice.file, target, at: Int(slice.position)) } catch {
                if let model, self.isExcused(model) { return nil }
                throw Disagreement("\(what): \(error)")
            }
            guard count == slice.length else { return count }
            return expected.withUnsafeBytes { expected in
                memcmp(expected.baseAddress!, target.baseAddress!, count) == 0
                    ? nil : (0..<count).first { expected[$0] != target[$0] }
            }
        }
        if let differs { throw Disagreement("\(what): other bytes from byte \(differs) of \(slice.length) on") }
    }

    func hold(_ model: PartitionModel) throws {
        if self.held.count >= 3 || (self.held.count > 0 && self.random.oneIn(2)) {
            let read = self.held.remove(at: self.random.below(self.held.count))
            self.note("the read of step \(read.step) is looked at again")
            guard !self.disk.isStopped else { return }
            let fault = self.disk.fault
            self.disk.fault = nil
            try self.compare(read.slice, read.expected[...], "read held since step \(read.step)", nil)
            self.disk.fault = fault
            return
        }
        let offset = model.start + Int64(self.random.below(Int(model.end - model.start) + 1))
        // What a truncation cuts off later is not to be read then.
        if self.profile.weights[Profile.Step.truncate.rawValue] > 0 { return }
        if let read = try self.read(model, offset, 1 + self.random.below(1000), .max, minOne: true) {
            self.held.append((read.slice, Array(read.bytes), self.step))
        }
    }

    // MARK: time

    func lookUp(_ model: PartitionModel) throws {
        let spread = 2 * self.profile.spread + 400
        var target = self.disk.clock - Int64(self.random.below(spread))
        if self.random.oneIn(3), !model.times.isEmpty {
            target = model.times[self.random.below(model.times.count)] + Int64(self.random.below(3)) - 1
        }
        let limit = self.random.oneIn(2) ? Int64.max : model.highWatermark
        try self.lookUp(model, target, limit)
    }

    func lookUp(_ model: PartitionModel, _ target: Int64, _ limit: Int64) throws {
        let result = try self.log(model).offset(forTimestamp: target, upTo: limit)
        let expected = model.lookUp(target, limit: limit)
        self.note("\(model.partition): look-up of \(target)")
        switch result {
        case .failure(let code):
            guard self.isExcused(model) else { throw Disagreement("look-up of \(target): \(code)") }
        case .success(let found):
            guard found?.offset == expected?.offset, found?.timestamp == expected?.timestamp,
                found?.leaderEpoch == expected?.epoch
            else {
                // What cannot be read is left out.
                if self.isExcused(model) { return }
                throw Disagreement(
                    "look-up of \(target): \(String(describing: found)) instead of \(String(describing: expected))")
            }
        }
    }

    func lookUpMax(_ model: PartitionModel) throws {
        let result = try self.log(model).offsetOfMaxTimestamp()
        let expected = model.lookUpMax()
        self.note("\(model.partition): look-up of the greatest time")
        switch result {
        case _ where model.hasRuins: break
        // The greatest time may be that of a batch without records.
        case _ where model.batches.contains(where: { $0.count == 0 && $0.maxTimestamp >= expected?.timestamp ?? -1 }):
            break
        case .failure(let code):
            guard self.isExcused(model) else { throw Disagreement("look-up of the greatest time: \(code)") }
        case .success(let found):
            guard found?.offset == expected?.offset, found?.timestamp == expected?.timestamp else {
                if self.isExcused(model) { return }
                throw Disagreement(
                    "look-up of the greatest time: \(String(describing: found)) instead of "
                        + String(describing: expected))
            }
        }
    }

    // MARK: epochs

    func lookAtEpochs(_ model: PartitionModel) throws {
        let log = try self.log(model)
        let epoch = Int32(self.random.below(Int(model.leaderEpoch) + 3)) - 1
        let found = log.endOffset(forEpoch: epoch)
        let expected = self.expectedEnd(model, epoch)
        self.note("\(model.partition): end of epoch \(epoch)")
        guard found.epoch == expected.0, found.endOffset == expected.1 else {
            throw Disagreement("the end of epoch \(epoch): \(found) instead of \(expected)")
        }
        let offset = model.start + Int64(self.random.below(Int(model.end - model.start) + 1))
        let wanted = model.epochs.last { $0.start <= offset }?.epoch
        guard log.leaderEpoch(forOffset: offset) == wanted, log.latestEpoch == model.epochs.last?.epoch else {
            throw Disagreement("the epoch at \(offset) is not \(String(describing: wanted))")
        }
    }

    /// KIP-101: the largest epoch that is not above, and where the next begins.
    private func expectedEnd(_ model: PartitionModel, _ epoch: Int32) -> (Int32, Int64) {
        guard epoch >= 0, let last = model.epochs.last, epoch <= last.epoch else { return (-1, -1) }
        if epoch == last.epoch { return (epoch, model.end) }
        let below = model.epochs.last { $0.epoch <= epoch }
        let above = model.epochs.first { $0.epoch > epoch }
        guard let above else { return (-1, -1) }
        return (below?.epoch ?? epoch, above.start)
    }
}
