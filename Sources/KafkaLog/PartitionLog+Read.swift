import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// What the lock tells of a read; the rest is read from files without it.
    private enum Plan {
        case nothing(ReadEnd)
        case slice(FileSlice, firstOffset: Int64, ReadEnd, upperBound: Int64)
        /// Where to begin may be known, the limit's position too.
        case walk(segment: SegmentSource, start: Int?, end: Int?)
    }

    private enum SegmentSource {
        case sealed(SealedSegment)
        case active(SegmentView, Hints)
    }

    /// Begins of batches that the index in memory knows, at or before what is searched; nil: ask the file.
    private struct Hints {
        var start: Int?
        var limit: Int?
        var cut: Int?
    }

    /// Finds the whole batches from `offset` on, in one segment.
    ///
    /// - Parameter maxBytes: the slice is not longer, except where `minOneMessage` and its first batch is.
    /// - Parameter limit: batches that begin at or after this offset are left out (high watermark, last stable offset or
    ///   `Int64.max`).
    /// - Returns: an empty read at the log's end or limit; OFFSET_OUT_OF_RANGE before its start or behind its end;
    ///   KAFKA_STORAGE_ERROR where a file cannot be read.
    package func read(
        from offset: Int64, maxBytes: Int, upTo limit: Int64, minOneMessage: Bool
    ) -> Result<LogRead, ErrorCode> {
        for attempt in 0..<2 {
            var offsets = LogOffsets(logStartOffset: 0, logEndOffset: 0, highWatermark: 0, lastStableOffset: 0)
            var isOutOfFiles = false
            let plan: Plan
            let planned = self.state.withLock {
                self.plan(offset, maxBytes, limit, minOneMessage, &$0, &offsets, &isOutOfFiles)
            }
            switch planned {
            case .success(let made):
                plan = made
            case .failure where isOutOfFiles && attempt == 0:
                self.environment.fileRelief()
                continue
            case .failure(let code):
                return .failure(code)
            }
            func answer(
                _ slice: FileSlice?, _ firstOffset: Int64, _ end: ReadEnd, _ upperBound: Int64
            ) -> Result<LogRead, ErrorCode> {
                .success(
                    LogRead(
                        slice: slice, firstOffset: firstOffset, end: end, upperBound: upperBound,
                        logStartOffset: offsets.logStartOffset,
                        logEndOffset: offsets.logEndOffset, highWatermark: offsets.highWatermark,
                        lastStableOffset: offsets.lastStableOffset))
            }
            switch plan {
            case .nothing(let end):
                return answer(nil, offset, end, offset)
            case .slice(let slice, let firstOffset, let end, let upperBound):
                return answer(slice, firstOffset, end, upperBound)
            case .walk(let source, let start, let end):
                do throws(IOError) {
                    let limit = min(limit, offsets.logEndOffset)
                    switch try self.walk(source, offset, maxBytes, limit, minOneMessage, start, end) {
                    case .slice(let slice, let firstOffset, let end, let upperBound):
                        return answer(slice, firstOffset, end, upperBound)
                    case .nothing(let end): return answer(nil, offset, end, offset)
                    case .inNextSegment(let next):
                        // The offsets at this segment's end are gone (compaction).
                        return self.read(from: next, maxBytes: maxBytes, upTo: limit, minOneMessage: minOneMessage)
                    }
                } catch {
                    // The segment was deleted between the look and the open: look again.
                    if error.code == ENOENT && attempt == 0 { continue }
                    if error.code == EMFILE && attempt == 0 {
                        self.environment.fileRelief()
                        continue
                    }
                    self.notice(.error, "read at offset \(offset): \(error)")
                    self.environment.readFailed(error, self.path)
                    return .failure(error.code == EBADMSG ? .corruptMessage : .kafkaStorageError)
                }
            }
        }
        return .failure(.kafkaStorageError)
    }

    private func plan(
        _ offset: Int64, _ maxBytes: Int, _ limit: Int64, _ minOneMessage: Bool, _ state: inout State,
        _ offsets: inout LogOffsets, _ isOutOfFiles: inout Bool
    ) -> Result<Plan, ErrorCode> {
        self.verifyIfNeeded(&state)
        offsets = state.offsets
        guard state.status == .open else { return .failure(state.refusalCode) }
        guard offset >= state.logStartOffset, offset <= state.logEndOffset else { return .failure(.offsetOutOfRange) }
        let limit = min(limit, state.logEndOffset)
        guard offset < limit else { return .success(.nothing(.limit)) }
        guard maxBytes > 0 || minOneMessage else { return .success(.nothing(.size)) }
        if let index = state.sealedIndex(of: offset) {
            let segment = state.sealed[index]
            let start =
                offset == segment.baseOffset ? 0 : state.readEnds.position(segment: segment.baseOffset, offset: offset)
            let end = limit >= segment.nextOffset ? segment.size : nil
            return .success(.walk(segment: .sealed(segment), start: start, end: end))
        }
        do throws(IOError) {
            return .success(try self.planInActive(offset, maxBytes, limit, &state))
        } catch {
            isOutOfFiles = error.code == EMFILE
            if !isOutOfFiles { self.notice(.error, "read at offset \(offset): \(error)") }
            return .failure(.kafkaStorageError)
        }
    }

    private func planInActive(
        _ offset: Int64, _ maxBytes: Int, _ limit: Int64, _ state: inout State
    ) throws(IOError) -> Plan {
        let base = state.active.baseOffset
        let file = try state.active.openFile(self.folder)
        var start: (position: Int, offset: Int64)?
        if let position = state.readEnds.position(segment: base, offset: offset) {
            start = (position, offset)
        } else if let batch = state.active.recent.batch(atOrBefore: Int(offset - base)) {
            start = (Int(batch.position), base + Int64(batch.relativeOffset))
        } else if offset == base {
            start = (0, base)
        }
        var end: Int?
        if limit == state.logEndOffset {
            end = state.active.size
        } else if let batch = state.active.recent.batch(atOrBefore: Int(limit - base)),
            base + Int64(batch.relativeOffset) == limit
        {
            end = Int(batch.position)
        }
        if let start, let end {
            if end - start.position <= maxBytes {
                guard end > start.position else { return .nothing(.limit) }
                state.readEnds.add(segment: base, offset: limit, position: end)
                return .slice(
                    FileSlice(file: file, position: Int64(start.position), length: end - start.position),
                    firstOffset: start.offset, .limit, upperBound: limit)
            }
            if let cut = state.active.recent.batch(atOrBeforePosition: start.position + maxBytes),
                Int(cut.position) > start.position
            {
                state.readEnds.add(
                    segment: base, offset: base + Int64(cut.relativeOffset), position: Int(cut.position))
                return .slice(
                    FileSlice(
                        file: file, position: Int64(start.position), length: Int(cut.position) - start.position),
                    firstOffset: start.offset, .size, upperBound: base + Int64(cut.relativeOffset))
            }
        }
        let index = state.active.offsetIndex
        var hints = Hints()
        if start == nil { hints.start = index.position(atOrBefore: offset - base) }
        if end == nil { hints.limit = index.position(atOrBefore: limit - base) }
        if let from = start?.position ?? hints.start { hints.cut = index.position(atOrBeforePosition: from + maxBytes) }
        return .walk(
            segment: .active(try self.activeView(&state), hints), start: start?.position, end: end)
    }

    /// The active segment as it is now, with what of its indexes is in the files.
    func activeView(_ state: inout State) throws(IOError) -> SegmentView {
        if !state.active.areIndexFilesChecked { try self.checkActiveIndexes(&state) }
        let file = try state.active.openFile(self.folder)
        let base = state.active.baseOffset
        return SegmentView(
            baseOffset: base, file: file, end: state.active.size,
            offsetIndex: self.openIndex(
                &state.active.offsetIndexFile, self.folder.path(base, .index), state.active.offsetIndex),
            timeIndex: self.openIndex(
                &state.active.timeIndexFile, self.folder.path(base, .timeindex), state.active.timeIndex))
    }

    /// Looks, once, whether the index files that were taken over with a mark are right; makes them anew where they are not.
    func checkActiveIndexes(_ state: inout State) throws(IOError) {
        state.active.areIndexFilesChecked = true
        let (hasOffsets, hasTimes) = (state.active.offsetIndex.persisted > 0, state.active.timeIndex.persisted > 0)
        guard hasOffsets || hasTimes else { return }
        let view = try self.activeView(&state)
        if (view.offsetIndex != nil) == hasOffsets, (view.timeIndex != nil) == hasTimes,
            try SegmentRecovery.areActiveIndexesUsable(view)
        {
            return
        }
        self.notice(.warning, "\(PartitionFolder.name(view.baseOffset)): its index files are wrong and are made anew")
        try SegmentRecovery.removeIndexes(view.baseOffset, self.folder)
        var made = ActiveSegment(baseOffset: view.baseOffset, createdMs: state.active.createdMs, file: view.file)
        var next = view.baseOffset
        _ = try SegmentRecovery.scan(
            view.file, into: &made, fileSize: view.end, check: .headers, interval: state.config.indexIntervalBytes,
            nextOffset: &next, visit: { _, _ in nil })
        state.active.offsetIndex = made.offsetIndex
        state.active.timeIndex = made.timeIndex
        state.active.lastIndexedTimestamp = made.lastIndexedTimestamp
        state.active.bytesSinceIndexEntry = made.bytesSinceIndexEntry
        (state.active.offsetIndexFile, state.active.timeIndexFile) = (nil, nil)
        // The last mark counts entries that are gone.
        state.marked = nil
        self.changed(&state)
    }

    private func openIndex<Entry>(
        _ file: inout LogFile?, _ path: @autoclosure () -> String, _ tail: IndexTail<Entry>
    ) -> IndexFile<Entry>? {
        guard tail.persisted > 0 else { return nil }
        if file == nil { file = try? FileSystem.open(path(), .read) }
        return file.map { IndexFile(file: $0, count: tail.persisted) }
    }

    private enum Walked {
        case slice(FileSlice, firstOffset: Int64, ReadEnd, upperBound: Int64)
        case nothing(ReadEnd)
        case inNextSegment(Int64)
    }

    /// Finds start and end of a slice by the headers of batches.
    private func walk(
        _ source: SegmentSource, _ offset: Int64, _ maxBytes: Int, _ limit: Int64, _ minOneMessage: Bool,
        _ knownStart: Int?, _ knownEnd: Int?
    ) throws(IOError) -> Walked {
        let view: SegmentView
        var hints = Hints()
        var isActive = false
        switch source {
        case .sealed(let segment): view = try segment.view(self.environment.segmentCache)
        case .active(let active, let known):
            (view, hints, isActive) = (active, known, true)
        }
        guard let first = try view.locate(offset, hint: knownStart ?? hints.start) else {
            if case .sealed(let segment) = source, segment.nextOffset < limit, segment.nextOffset > offset {
                return .inNextSegment(segment.nextOffset)
            }
            return .nothing(.limit)
        }
        let start = first.position
        let firstSize = first.header.sizeInBytes
        guard first.header.baseOffset < limit else { return .nothing(.limit) }
        guard firstSize <= maxBytes || minOneMessage else { return .nothing(.size) }
        var end = knownEnd ?? view.end
        if knownEnd == nil, let at = try view.locate(limit, hint: hints.limit.map { max($0, start) }) {
            // The batch that holds the limit is left out, unless it is the one asked for.
            end = max(at.position, start + firstSize)
        }
        var nextOffset: Int64? = limit
        var why = ReadEnd.limit
        var segmentEnd = limit
        if case .sealed(let segment) = source, segment.nextOffset < limit {
            (why, segmentEnd) = (.segment, segment.nextOffset)
        }
        if end - start > max(maxBytes, firstSize) {
            why = .size
            let cut = try view.boundary(
                atOrBefore: start + max(maxBytes, firstSize), floor: start, hint: hints.cut)
            if let cut, cut.position > start {
                (end, nextOffset) = (cut.position, cut.header.baseOffset)
            } else {
                (end, nextOffset) = (start + firstSize, nil)
            }
        }
        if let nextOffset, isActive || end < view.end {
            self.state.withLock { $0.readEnds.add(segment: view.baseOffset, offset: nextOffset, position: end) }
        }
        return .slice(
            FileSlice(file: view.file, position: Int64(start), length: end - start),
            firstOffset: first.header.baseOffset, why,
            upperBound: max(min(nextOffset ?? 0, why == .segment ? segmentEnd : limit), first.header.lastOffset + 1))
    }
}

extension IndexTail<OffsetIndexEntry> {
    /// The position of the last entry in memory at or before an offset; 0 where there is none at all, nil where the file
    /// must be asked.
    func position(atOrBefore relativeOffset: Int64) -> Int? {
        self.position { Int64($0.relativeOffset) <= relativeOffset }
    }

    func position(atOrBeforePosition position: Int) -> Int? {
        self.position { Int($0.position) <= position }
    }

    private func position(where isBelow: (OffsetIndexEntry) -> Bool) -> Int? {
        switch self.last(where: isBelow) {
        case .entry(let entry): Int(entry.position)
        case .none: 0
        case .inFile: nil
        }
    }
}
