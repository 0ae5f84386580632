import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// What the lock tells of a read; the rest is read from files without it.
    private enum Plan {
        case nothing(ReadEnd)
        case slice(FileSlice, firstOffset: Int64, ReadEnd, upperBound: Int64, Trust)
        /// Where to begin may be known, the limit's position too.
        case walk(segment: SegmentSource, start: Int?, end: Int?)
        /// Something must be done first that is not for an event loop.
        case wait(PendingRead)
    }

    private enum SegmentSource {
        /// Its files are opened outside of the lock.
        case sealed(SealedSegment, SegmentView?)
        case active(SegmentView, Hints)
    }

    /// Begins of batches that the index in memory knows, at or before what is searched; nil: ask the file.
    private struct Hints {
        var start: Int?
        var limit: Int?
        var cut: Int?
    }

    /// What of a segment may be served without a look at it.
    private struct Trust {
        /// The segment.
        var base: Int64
        /// Its size.
        var end: Int
        /// The slice ends where the log does: it was written a moment ago, most likely.
        var isTail = false
        var uncheckedBefore: Int
        var checks: SegmentChecks?
    }

    /// What a read asks for.
    private struct Request {
        var offset: Int64
        var maxBytes: Int
        var limit: Int64
        var minOneMessage: Bool
        /// On an event loop: nothing is waited for.
        var isNow: Bool
    }

    private enum Look {
        case read(LogRead)
        case failed(ErrorCode)
        case wait(PendingRead, LogOffsets)
    }

    /// Finds the whole batches from `offset` on, in one segment. Blocks: what is not known to be whole is read and checked
    /// first.
    ///
    /// - Parameter maxBytes: the slice is not longer, except where `minOneMessage` and its first batch is.
    /// - Parameter limit: batches that begin at or after this offset are left out (high watermark, last stable offset or
    ///   `Int64.max`).
    /// - Returns: an empty read at the log's end or limit; OFFSET_OUT_OF_RANGE before its start or behind its end;
    ///   KAFKA_STORAGE_ERROR where a file cannot be read; CORRUPT_MESSAGE where what is asked for is damaged.
    package func read(
        from offset: Int64, maxBytes: Int, upTo limit: Int64, minOneMessage: Bool
    ) -> Result<LogRead, ErrorCode> {
        let request = Request(
            offset: offset, maxBytes: maxBytes, limit: limit, minOneMessage: minOneMessage, isNow: false)
        // Once, mostly. A few times where what was found out changes where the answer is.
        for _ in 0..<8 {
            switch self.look(request) {
            case .read(let read): return .success(read)
            case .failed(let code): return .failure(code)
            case .wait(let pending, _):
                let code = self.prepare(pending)
                if code != .none { return .failure(code) }
            }
        }
        return .failure(.corruptMessage)
    }

    /// As `read`, for an event loop: what is not in the page cache, or not known to be whole, is left to the pool, and
    /// `LogRead.isPending` says so.
    package func readNow(
        from offset: Int64, maxBytes: Int, upTo limit: Int64, minOneMessage: Bool
    ) -> Result<LogRead, ErrorCode> {
        var request = Request(
            offset: offset, maxBytes: maxBytes, limit: limit, minOneMessage: minOneMessage, isNow: true)
        switch self.look(request) {
        case .read(let read): return .success(read)
        case .failed(let code): return .failure(code)
        case .wait(let pending, let offsets):
            switch self.environment.reads.start(pending, of: self) {
            case .waiting:
                var read = LogRead(offsets, from: offset, .limit)
                read.isPending = true
                return .success(read)
            case .failed(let code):
                return .failure(code)
            case .again:
                request.isNow = false
                return self.read(
                    from: offset, maxBytes: min(maxBytes, ReadPool.piece), upTo: limit, minOneMessage: minOneMessage)
            }
        }
    }

    private func look(_ request: Request) -> Look {
        let offset = request.offset
        for attempt in 0..<2 {
            var offsets = LogOffsets(logStartOffset: 0, logEndOffset: 0, highWatermark: 0, lastStableOffset: 0)
            var isOutOfFiles = false
            var isSequential = false
            let plan: Plan
            var isNewlyOpen = false
            let planned = self.state.withLock { state in
                defer { isNewlyOpen = self.isNewlyOpen(&state) }
                return self.plan(request, &state, &offsets, &isOutOfFiles, &isSequential)
            }
            if isNewlyOpen { self.environment.openLogs.opened(self) }
            switch planned {
            case .success(let made):
                plan = made
            case .failure where isOutOfFiles && attempt == 0:
                self.environment.fileRelief()
                continue
            case .failure(let code):
                return .failed(code)
            }
            do throws(IOError) {
                switch plan {
                case .nothing(let end):
                    return .read(LogRead(offsets, from: offset, end))
                case .wait(let pending):
                    return .wait(pending, offsets)
                case .slice(let slice, let firstOffset, let end, let upperBound, let trust):
                    var read = LogRead(offsets, from: firstOffset, end)
                    (read.slice, read.upperBound) = (slice, upperBound)
                    return self.admit(read, request, trust, isSequential: isSequential)
                case .walk(let source, let start, let end):
                    var request = request
                    request.limit = min(request.limit, offsets.logEndOffset)
                    let view: SegmentView
                    switch source {
                    case .active(let active, _): view = active
                    case .sealed(_, let open?): view = open
                    case .sealed(let segment, nil): view = try segment.view(self.environment.segmentCache)
                    }
                    // With notes, these tell.
                    let trust = Trust(base: view.baseOffset, end: view.end, uncheckedBefore: 0, checks: view.checks)
                    switch try self.walk(source, view, request, start, end) {
                    case .slice(let slice, let firstOffset, let end, let upperBound, let nextOffset):
                        var read = LogRead(offsets, from: firstOffset, end)
                        (read.slice, read.upperBound) = (slice, upperBound)
                        let look = self.admit(read, request, trust, isSequential: isSequential)
                        // What was not checked must not lead others.
                        if let nextOffset, case .read(let read) = look, read.slice?.length == slice.length {
                            self.remember(Int(slice.position) + slice.length, nextOffset, trust)
                        }
                        return look
                    case .nothing(let end):
                        return .read(LogRead(offsets, from: offset, end))
                    case .damaged(let range):
                        return .failed(range.code)
                    case .wait(let pending):
                        return .wait(pending, offsets)
                    case .inNextSegment(let next):
                        // The offsets at this segment's end are gone (compaction).
                        request.offset = next
                        return self.look(request)
                    }
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
                return .failed(error.code == EBADMSG ? .corruptMessage : .kafkaStorageError)
            }
        }
        return .failed(.kafkaStorageError)
    }

    // MARK: what may be served

    /// Cuts a slice to what is known to be whole and, for an event loop, is in the page cache; or says what to wait for.
    private func admit(
        _ read: LogRead, _ request: Request, _ trust: Trust, isSequential: Bool
    ) -> Look {
        guard let slice = read.slice else { return .read(read) }
        let start = Int(slice.position)
        var read = read
        func wait(_ bytes: Int) -> Look {
            return .wait(
                PendingRead(
                    base: trust.base, offset: request.offset, position: start, segmentEnd: trust.end, bytes: bytes,
                    isSequential: isSequential),
                LogOffsets(read))
        }
        if let checks = trust.checks {
            switch checks.admit(start, start + slice.length, now: wallClockMs()) {
            case .all:
                break
            case .upTo(let end):
                read.slice = FileSlice(file: slice.file, position: slice.position, length: end - start)
                read.end = .size
                // After an error that went by it may be that of an earlier look.
                if let next = checks.nextOffset(at: end), next > read.firstOffset {
                    read.upperBound = min(read.upperBound, next)
                    self.remember(end, next, trust)
                }
            case .unchecked:
                return wait(min(slice.length, ReadPool.piece))
            case .damaged(let kind):
                return .failed(kind.code)
            }
        } else if start < trust.uncheckedBefore {
            return wait(min(slice.length, ReadPool.piece))
        }
        guard request.isNow, let slice = read.slice else { return .read(read) }
        if !FileSystem.isResident(slice.file, at: start, count: slice.length, isSettled: !trust.isTail) {
            if slice.length <= ReadPool.piece || request.maxBytes <= ReadPool.piece { return wait(slice.length) }
            // Of a long one a piece may be there.
            var smaller = request
            smaller.maxBytes = ReadPool.piece
            return self.look(smaller)
        }
        if isSequential, !trust.isTail, slice.length >= 32 << 10 {
            self.readAhead(slice, read, trust)
        }
        return .read(read)
    }

    /// Whoever goes through a log that is not in the page cache finds the next part there.
    private func readAhead(_ slice: FileSlice, _ read: LogRead, _ trust: Trust) {
        let end = Int(slice.position) + slice.length
        let count = min(ReadPool.piece, trust.end - end)
        guard count > 0, !FileSystem.isResident(slice.file, at: end, count: count) else { return }
        _ = self.environment.reads.start(
            PendingRead(
                base: trust.base, offset: read.firstOffset, position: end, segmentEnd: trust.end, bytes: ReadPool.ahead,
                isSequential: true, isAhead: true), of: self)
    }

    private func remember(_ position: Int, _ offset: Int64, _ trust: Trust) {
        self.state.withLock { state in
            // Compaction may have put another in the segment's place, with the same base.
            let isCurrent =
                trust.base == state.active.baseOffset
                || state.sealedIndex(of: trust.base).map {
                    state.sealed[$0].baseOffset == trust.base && state.sealed[$0].size == trust.end
                } ?? false
            if isCurrent { state.readEnds.add(segment: trust.base, offset: offset, position: position) }
        }
    }

    // MARK: where it is

    private func plan(
        _ request: Request, _ state: inout State, _ offsets: inout LogOffsets, _ isOutOfFiles: inout Bool,
        _ isSequential: inout Bool
    ) -> Result<Plan, ErrorCode> {
        let (offset, maxBytes) = (request.offset, request.maxBytes)
        if state.isUnverified, request.isNow, state.status == .open {
            // Its files are looked at first, which is not for an event loop.
            offsets = state.offsets
            let base = state.sealedIndex(of: offset).map { state.sealed[$0].baseOffset } ?? state.active.baseOffset
            return .success(.wait(PendingRead(base: base, offset: offset, bytes: min(maxBytes, ReadPool.piece))))
        }
        self.verifyIfNeeded(&state)
        offsets = state.offsets
        guard state.status == .open else { return .failure(state.refusalCode) }
        guard offset >= state.logStartOffset, offset <= state.logEndOffset else { return .failure(.offsetOutOfRange) }
        let limit = min(request.limit, state.logEndOffset)
        guard offset < limit else { return .success(.nothing(.limit)) }
        guard maxBytes > 0 || request.minOneMessage else { return .success(.nothing(.size)) }
        if let index = state.sealedIndex(of: offset) {
            let segment = state.sealed[index]
            let known = state.readEnds.position(segment: segment.baseOffset, offset: offset)
            isSequential = known != nil || offset == segment.baseOffset
            let start = offset == segment.baseOffset ? 0 : known
            let end = limit >= segment.nextOffset ? segment.size : nil
            if let view = segment.openView() {
                return .success(
                    .walk(segment: .sealed(segment, request.isNow ? view.now() : view), start: start, end: end))
            }
            if request.isNow {
                return .success(
                    .wait(
                        PendingRead(
                            base: segment.baseOffset, offset: offset, bytes: min(maxBytes, ReadPool.piece),
                            isSequential: isSequential)))
            }
            return .success(.walk(segment: .sealed(segment, nil), start: start, end: end))
        }
        do throws(IOError) {
            return .success(try self.planInActive(request, limit, &state, &isSequential))
        } catch {
            isOutOfFiles = error.code == EMFILE
            if !isOutOfFiles { self.notice(.error, "read at offset \(offset): \(error)") }
            return .failure(.kafkaStorageError)
        }
    }

    private func planInActive(
        _ request: Request, _ limit: Int64, _ state: inout State, _ isSequential: inout Bool
    ) throws(IOError) -> Plan {
        let (offset, maxBytes) = (request.offset, request.maxBytes)
        let base = state.active.baseOffset
        let file = try state.active.openFile(self.folder)
        var start: (position: Int, offset: Int64)?
        if let position = state.readEnds.position(segment: base, offset: offset) {
            start = (position, offset)
            isSequential = true
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
        var trust = Trust(
            base: base, end: state.active.size, uncheckedBefore: state.active.uncheckedBefore,
            checks: state.active.checks)
        if let start, let end {
            if end - start.position <= maxBytes {
                guard end > start.position else { return .nothing(.limit) }
                trust.isTail = end == state.active.size
                state.readEnds.add(segment: base, offset: limit, position: end)
                return .slice(
                    FileSlice(file: file, position: Int64(start.position), length: end - start.position),
                    firstOffset: start.offset, .limit, upperBound: limit, trust)
            }
            if let cut = state.active.recent.batch(atOrBeforePosition: start.position + maxBytes),
                Int(cut.position) > start.position
            {
                state.readEnds.add(
                    segment: base, offset: base + Int64(cut.relativeOffset), position: Int(cut.position))
                return .slice(
                    FileSlice(
                        file: file, position: Int64(start.position), length: Int(cut.position) - start.position),
                    firstOffset: start.offset, .size, upperBound: base + Int64(cut.relativeOffset), trust)
            }
        }
        if request.isNow, !state.active.areIndexFilesChecked {
            return .wait(PendingRead(base: base, offset: offset, bytes: min(maxBytes, ReadPool.piece)))
        }
        let index = state.active.offsetIndex
        var hints = Hints()
        if start == nil { hints.start = index.position(atOrBefore: offset - base) }
        if end == nil { hints.limit = index.position(atOrBefore: limit - base) }
        if let from = start?.position ?? hints.start { hints.cut = index.position(atOrBeforePosition: from + maxBytes) }
        let view = try self.activeView(&state)
        return .walk(
            segment: .active(request.isNow ? view.now() : view, hints), start: start?.position, end: end)
    }

    /// The active segment as it is now, with what of its indexes is in the files.
    func activeView(_ state: inout State) throws(IOError) -> SegmentView {
        if !state.active.areIndexFilesChecked { try self.checkActiveIndexes(&state) }
        let file = try state.active.openFile(self.folder)
        let base = state.active.baseOffset
        return SegmentView(
            baseOffset: base, file: file, end: state.active.size,
            offsetIndex: try self.openIndex(
                &state.active.offsetIndexFile, self.folder.path(base, .index), state.active.offsetIndex),
            timeIndex: try self.openIndex(
                &state.active.timeIndexFile, self.folder.path(base, .timeindex), state.active.timeIndex),
            checks: state.active.uncheckedBefore > 0 ? state.active.checksForNotes() : state.active.checks)
    }

    /// Looks, once, whether the index files that were taken over with a mark are right; makes them anew where they are not.
    func checkActiveIndexes(_ state: inout State) throws(IOError) {
        state.active.areIndexFilesChecked = true
        do throws(IOError) { try self.compareActiveIndexes(&state) } catch {
            state.active.areIndexFilesChecked = false
            throw error
        }
    }

    /// The same ahead of its need, by who has time.
    func checkActiveIndexes() {
        self.lookAhead()
        do throws(IOError) {
            try self.state.withLock { state throws(IOError) in
                guard state.status == .open, !state.isUnverified, !state.active.areIndexFilesChecked else { return }
                try self.checkActiveIndexes(&state)
            }
        } catch {
            // Found out again where they are needed.
            self.notice(.error, "\(error)")
        }
    }

    private func compareActiveIndexes(_ state: inout State) throws(IOError) {
        let (hasOffsets, hasTimes) = (state.active.offsetIndex.persisted > 0, state.active.timeIndex.persisted > 0)
        guard hasOffsets || hasTimes else { return }
        let view = try self.activeView(&state)
        if (view.offsetIndex != nil) == hasOffsets, (view.timeIndex != nil) == hasTimes,
            try SegmentRecovery.isUsable(
                in: view, { v throws(IOError) in try SegmentRecovery.areActiveIndexesUsable(v) })
        {
            return
        }
        try self.remakeActiveIndexes(&state, view)
    }

    /// The index files of the active segment are wrong: they are made anew from the headers of its batches.
    func remakeActiveIndexes(_ state: inout State, _ view: SegmentView) throws(IOError) {
        self.notice(.warning, "\(PartitionFolder.name(view.baseOffset)): its index files are wrong and are made anew")
        self.environment.counters.add(self.environment.counters.rebuiltIndexes)
        var made = ActiveSegment(baseOffset: view.baseOffset, createdMs: state.active.createdMs, file: view.file)
        var next = view.baseOffset
        _ = try SegmentRecovery.scan(
            view.file, into: &made, fileSize: view.end, check: .headers, interval: state.config.indexIntervalBytes,
            nextOffset: &next, visit: { _, _ in nil })
        (state.active.offsetIndexFile, state.active.timeIndexFile) = (nil, nil)
        try SegmentRecovery.removeIndexes(view.baseOffset, self.folder)
        state.active.offsetIndex = made.offsetIndex
        state.active.timeIndex = made.timeIndex
        state.active.lastIndexedTimestamp = made.lastIndexedTimestamp
        state.active.bytesSinceIndexEntry = made.bytesSinceIndexEntry
        // The last mark counts entries that are gone.
        state.marked = nil
        self.changed(&state)
    }

    private func openIndex<Entry>(
        _ file: inout LogFile?, _ path: @autoclosure () -> String, _ tail: IndexTail<Entry>
    ) throws(IOError) -> IndexFile<Entry>? {
        guard tail.persisted > 0 else { return nil }
        if file == nil {
            do throws(IOError) { file = try FileSystem.open(path(), .read) } catch {
                // One that is not there is made anew, not one that cannot be opened just now.
                guard error.code == ENOENT else { throw error }
            }
        }
        return file.map { IndexFile(file: $0, count: tail.persisted) }
    }

    private enum Walked {
        case slice(FileSlice, firstOffset: Int64, ReadEnd, upperBound: Int64, nextOffset: Int64?)
        case nothing(ReadEnd)
        case damaged(DamagedRange.Kind)
        case wait(PendingRead)
        case inNextSegment(Int64)
    }

    /// Finds start and end of a slice by the headers of batches.
    private func walk(
        _ source: SegmentSource, _ view: SegmentView, _ request: Request, _ knownStart: Int?, _ knownEnd: Int?
    ) throws(IOError) -> Walked {
        if let checks = view.checks, let damage = checks.damage(at: request.offset, now: wallClockMs()) {
            return .damaged(damage.kind)
        }
        do throws(IOError) {
            return try self.walkHeaders(source, view, request, knownStart, knownEnd)
        } catch {
            // Not in the page cache, or no batch where one should be: it is read and looked at first.
            guard error.code == EAGAIN || error.code == EBADMSG || error.code == EIO else { throw error }
            return .wait(
                PendingRead(
                    base: view.baseOffset, offset: request.offset, bytes: min(request.maxBytes, ReadPool.piece)))
        }
    }

    private func walkHeaders(
        _ source: SegmentSource, _ view: SegmentView, _ request: Request, _ knownStart: Int?, _ knownEnd: Int?
    ) throws(IOError) -> Walked {
        let (offset, maxBytes, limit) = (request.offset, request.maxBytes, request.limit)
        let minOneMessage = request.minOneMessage
        var hints = Hints()
        var isActive = false
        if case .active(_, let known) = source { (hints, isActive) = (known, true) }
        guard let first = try view.locate(offset, hint: knownStart ?? hints.start) else {
            if let checks = view.checks, !checks.isKnown(before: view.end) {
                return .wait(PendingRead(base: view.baseOffset, offset: offset, bytes: 1))
            }
            if case .sealed(let segment, _) = source, segment.nextOffset < limit, segment.nextOffset > offset {
                return .inNextSegment(segment.nextOffset)
            }
            return .nothing(.limit)
        }
        let start = first.position
        let firstSize = first.header.sizeInBytes
        if let checks = view.checks {
            // Nothing follows from a header that nobody has checked.
            let isGapKnown = first.header.baseOffset <= offset || checks.isKnown(before: start)
            switch checks.admit(start, start + firstSize, now: wallClockMs()) {
            case .damaged(let kind): return .damaged(kind)
            case .all where isGapKnown: break
            default:
                return .wait(PendingRead(base: view.baseOffset, offset: offset, bytes: min(maxBytes, ReadPool.piece)))
            }
        }
        guard first.header.baseOffset < limit else { return .nothing(.limit) }
        guard firstSize <= maxBytes || minOneMessage else { return .nothing(.size) }
        var end = knownEnd ?? view.end
        var nextOffset: Int64? = limit
        if knownEnd == nil, let at = try view.locate(limit, hint: hints.limit.map { max($0, start) }) {
            // The batch that holds the limit is left out, unless it is the one asked for.
            end = max(at.position, start + firstSize)
            if at.header.baseOffset < limit { nextOffset = end == at.position ? at.header.baseOffset : nil }
        }
        var why = ReadEnd.limit
        var segmentEnd = limit
        if case .sealed(let segment, _) = source, segment.nextOffset < limit {
            (why, segmentEnd) = (.segment, segment.nextOffset)
        }
        if end - start > max(maxBytes, firstSize) {
            why = .size
            var cut: SegmentView.Located?
            do throws(IOError) {
                cut = try view.boundary(
                    atOrBefore: start + max(maxBytes, firstSize), floor: start, hint: hints.cut)
            } catch {
                // What the disk refuses there is not this batch, which is given alone.
                guard error.code == EIO else { throw error }
            }
            if let cut, cut.position > start {
                (end, nextOffset) = (cut.position, cut.header.baseOffset)
            } else {
                (end, nextOffset) = (start + firstSize, nil)
            }
        }
        return .slice(
            FileSlice(file: view.file, position: Int64(start), length: end - start),
            firstOffset: first.header.baseOffset, why,
            upperBound: max(min(nextOffset ?? 0, why == .segment ? segmentEnd : limit), first.header.lastOffset + 1),
            nextOffset: isActive || end < view.end ? nextOffset : nil)
    }
}

extension DamagedRange.Kind {
    var code: ErrorCode {
        switch self {
        case .corrupt: .corruptMessage
        case .unreadable: .kafkaStorageError
        }
    }
}

extension LogRead {
    /// Nothing read.
    fileprivate init(_ offsets: LogOffsets, from offset: Int64, _ end: ReadEnd) {
        self.init(
            slice: nil, firstOffset: offset, end: end, upperBound: offset, logStartOffset: offsets.logStartOffset,
            logEndOffset: offsets.logEndOffset, highWatermark: offsets.highWatermark,
            lastStableOffset: offsets.lastStableOffset)
    }
}

extension LogOffsets {
    fileprivate init(_ read: LogRead) {
        self.init(
            logStartOffset: read.logStartOffset, logEndOffset: read.logEndOffset, highWatermark: read.highWatermark,
            lastStableOffset: read.lastStableOffset)
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
