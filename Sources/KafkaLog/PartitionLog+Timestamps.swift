import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// The first record with a timestamp at or after `target`, from the log's start on and below `limit`.
    /// Nil where there is none. Reads and unpacks at most a few batches.
    package func offset(
        forTimestamp target: Int64, upTo limit: Int64 = .max
    ) -> Result<TimestampLookup?, ErrorCode> {
        self.lookUp { snapshot throws(IOError) in
            let start = snapshot.offsets.logStartOffset
            for source in snapshot.sources {
                guard try self.largest(source).timestamp >= target else { continue }
                let view = try self.view(source)
                if let found = try self.first(in: view, timestamp: target, from: start), found.offset < limit {
                    return found
                }
            }
            return nil
        }
    }

    /// The first record with the greatest timestamp of the log; nil where no record has one. (ListOffsets -3, KIP-734)
    package func offsetOfMaxTimestamp() -> Result<TimestampLookup?, ErrorCode> {
        self.lookUp { snapshot throws(IOError) in
            var best: (source: Source, largest: TimestampOffset)?
            for source in snapshot.sources {
                let largest = try self.largest(source)
                if largest.timestamp >= 0, largest.timestamp > best?.largest.timestamp ?? -1 {
                    best = (source, largest)
                }
            }
            guard let best else { return nil }
            let view = try self.view(best.source)
            // The index names the last offset of the batch; from its begin the first record with the time is searched.
            // As in Kafka it may lie before the log's start, as long as its segment is there.
            guard let batch = try self.locateChecked(best.largest.offset, in: view) else { return nil }
            return try self.first(in: view, timestamp: best.largest.timestamp, from: 0, at: batch)
        }
    }

    // MARK: the segments at one moment

    private enum Source {
        case sealed(SealedSegment)
        case active(SegmentView, TimestampOffset)
    }

    private struct Snapshot {
        var sources: [Source]
        var offsets: LogOffsets
    }

    private func lookUp(
        _ body: (Snapshot) throws(IOError) -> TimestampLookup?
    ) -> Result<TimestampLookup?, ErrorCode> {
        for attempt in 0..<2 {
            do throws(IOError) {
                let snapshot = try self.state.withLock { state throws(IOError) -> Snapshot in
                    if state.isUnverified { try self.verify(&state) }
                    var sources = state.sealed.map { Source.sealed($0) }
                    if state.active.size > 0 {
                        // With its time index complete in the file a search needs nothing of the memory. Where it cannot
                        // be (a full disk), the search begins earlier.
                        try? state.active.writeIndexes(self.folder)
                        sources.append(.active(try self.activeView(&state), state.active.largest))
                    }
                    return Snapshot(sources: sources, offsets: state.offsets)
                }
                return .success(try body(snapshot))
            } catch {
                if error.code == ENOENT && attempt == 0 { continue }
                self.notice(.error, "look-up by time: \(error)")
                return .failure(error.code == EBADMSG ? .corruptMessage : .kafkaStorageError)
            }
        }
        return .failure(.kafkaStorageError)
    }

    private func largest(_ source: Source) throws(IOError) -> TimestampOffset {
        switch source {
        case .sealed(let segment): try segment.largestTimestamp(self.environment.segmentCache)
        case .active(_, let largest): largest
        }
    }

    private func view(_ source: Source) throws(IOError) -> SegmentView {
        switch source {
        case .active(let view, _):
            return view
        case .sealed(let segment):
            return try segment.view(self.environment.segmentCache)
        }
    }

    // MARK: inside a segment

    /// The first record at or after `start` with a timestamp of at least `target`.
    private func first(
        in view: SegmentView, timestamp target: Int64, from start: Int64
    ) throws(IOError) -> TimestampLookup? {
        // All before the entry's batch is older than the entry, and the entry is not newer than the target.
        var from = start
        if let entry = try view.timeIndex?.last(where: { $0.timestamp < target }), entry.relativeOffset >= 0,
            let named = try self.locateChecked(view.baseOffset &+ Int64(entry.relativeOffset), in: view),
            // An index that lies costs time, not correctness.
            named.header.maxTimestamp == entry.timestamp
        {
            from = max(from, view.baseOffset &+ Int64(entry.relativeOffset))
        }
        guard let batch = try self.locateChecked(from, in: view) else { return nil }
        return try self.first(in: view, timestamp: target, from: start, at: batch)
    }

    private func first(
        in view: SegmentView, timestamp target: Int64, from start: Int64, at first: SegmentView.Located
    ) throws(IOError) -> TimestampLookup? {
        var position = first.position
        while position < view.end {
            var candidate: SegmentView.Located?
            let end = try view.walk(from: position) { at, header in
                guard header.maxTimestamp >= target, header.lastOffset >= start else { return true }
                candidate = SegmentView.Located(position: at, header: header)
                return false
            }
            if case .invalid(let position) = end { throw view.damage(at: position) }
            // A damaged batch on the way may have had the record: then nobody knows.
            let reached = candidate.map { $0.position + $0.header.sizeInBytes } ?? view.end
            try self.requireWhole(position, reached, in: view)
            guard let candidate else { return nil }
            if let found = try self.record(in: candidate, view, timestamp: target, from: start) { return found }
            position = candidate.position + candidate.header.sizeInBytes
        }
        return nil
    }

    // What was not checked yet is, before anything is told of it.

    private func locateChecked(_ offset: Int64, in view: SegmentView) throws(IOError) -> SegmentView.Located? {
        guard let checks = view.checks else { return try view.locate(offset) }
        if self.prepare(PendingRead(base: view.baseOffset, offset: offset, bytes: 1)) != .none {
            throw IOError(.read, code: EIO)
        }
        if let damage = checks.damage(at: offset, now: wallClockMs()) { throw view.damage(at: damage.start) }
        return try view.locate(offset)
    }

    /// Between two positions at which batches begin or end.
    private func requireWhole(_ start: Int, _ end: Int, in view: SegmentView) throws(IOError) {
        guard let checks = view.checks, start < end else { return }
        if case .all = checks.admit(start, end, now: wallClockMs()) { return }
        guard let first = try view.header(at: start) else { throw view.damage(at: start) }
        _ = self.prepare(PendingRead(base: view.baseOffset, offset: first.baseOffset, bytes: end - start))
        guard case .all = checks.admit(start, end, now: wallClockMs()) else { throw view.damage(at: start) }
    }

    /// The record inside a batch. Its timestamps are in its records, so these are read and, if need be, unpacked.
    private func record(
        in batch: SegmentView.Located, _ view: SegmentView, timestamp target: Int64, from start: Int64
    ) throws(IOError) -> TimestampLookup? {
        var bytes = [UInt8](repeating: 0, count: batch.header.sizeInBytes)
        guard try FileSystem.readInto(&bytes, view.file, at: batch.position) == bytes.count,
            let found = BatchTimestamps.first(in: bytes, timestamp: target, from: start)
        else { return nil }
        return TimestampLookup(
            timestamp: found.timestamp, offset: found.offset, leaderEpoch: batch.header.partitionLeaderEpoch)
    }
}
