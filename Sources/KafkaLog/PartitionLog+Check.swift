import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// A segment to be read, with what must hold for its batches.
    struct CheckSource {
        var view: SegmentView
        /// All offsets of the segment are below it.
        var limit: Int64
        var latestEpoch: Int32
        /// Nil: the active one.
        var sealed: SealedSegment?
    }

    /// The segment of that base as it is now; nil where it is gone. Blocks.
    func checkSource(base: Int64) throws(IOError) -> CheckSource? {
        self.lookAhead()
        for attempt in 0..<2 {
            do throws(IOError) {
                enum Found {
                    case none
                    case active(CheckSource)
                    case sealed(SealedSegment, Int32)
                }
                let found = try self.state.withLock { state throws(IOError) -> Found in
                    if state.isUnverified { try self.verify(&state) }
                    guard state.status == .open else { return .none }
                    let epoch = state.epochs.latestEpoch ?? .max
                    if base == state.active.baseOffset {
                        let view = try self.activeView(&state)
                        return .active(CheckSource(view: view, limit: state.logEndOffset, latestEpoch: epoch))
                    }
                    guard let index = state.sealedIndex(of: base), state.sealed[index].baseOffset == base else {
                        return .none
                    }
                    return .sealed(state.sealed[index], epoch)
                }
                switch found {
                case .none:
                    return nil
                case .active(let source):
                    return source
                case .sealed(let segment, let epoch):
                    return CheckSource(
                        view: try segment.view(self.environment.segmentCache), limit: segment.nextOffset,
                        latestEpoch: epoch, sealed: segment)
                }
            } catch {
                guard error.code == EMFILE, attempt == 0 else { throw error }
                self.environment.fileRelief()
            }
        }
        return nil
    }

    /// Reads, and checks, what a read waits for. Blocks.
    /// - Returns: none, or why it cannot be read at all. Damage is noted, and no error here.
    func prepare(_ read: PendingRead) -> ErrorCode {
        do throws(IOError) {
            guard let source = try self.checkSource(base: read.base) else { return .none }
            try self.check(read, in: source)
            return .none
        } catch {
            // Deleted meanwhile: the next look finds out.
            if error.code == ENOENT, !self.hasSegment(read.base) { return .none }
            self.notice(.error, "read at offset \(read.offset): \(error)")
            self.environment.readFailed(error, self.path)
            return error.code == EBADMSG ? .corruptMessage : .kafkaStorageError
        }
    }

    private func hasSegment(_ base: Int64) -> Bool {
        self.state.withLock { state in
            guard state.status == .open else { return false }
            return state.active.baseOffset == base || state.sealed.contains { $0.baseOffset == base }
        }
    }

    private func check(_ read: PendingRead, in source: CheckSource) throws(IOError) {
        let view = source.view
        var read = read
        if source.sealed != nil, let end = read.segmentEnd, end != view.end { read.position = nil }
        let start = try self.checkStart(read, in: source)
        var checker = BatchChecker(
            view, from: start.position, nextOffset: start.nextOffset, limit: source.limit,
            latestEpoch: source.latestEpoch, now: wallClockMs())
        defer { checker.free() }
        var notes = CheckNotes(self, source)
        var goal = read.position.map { $0 + read.bytes }
        let extra = read.isSequential && !read.isAhead ? ReadPool.piece : 0
        scan: while goal.map({ checker.position < $0 + extra }) ?? true {
            switch try checker.next() {
            case .batch(let position, let header):
                notes.add(position, header)
                if goal == nil, header.lastOffset >= read.offset { goal = position + max(read.bytes, 1) }
            case .damage(let range):
                notes.add(range)
                // What was asked for lies in it: the answer is known.
                if goal == nil, range.endOffset > read.offset { goal = range.end }
            case .end:
                break scan
            }
        }
        notes.end()
        self.environment.counters.add(self.environment.counters.checkedBytes, checker.window.bytesRead)
    }

    /// Where to begin: at or before what is asked for, at a batch whose place in the log is known.
    private func checkStart(
        _ read: PendingRead, in source: CheckSource
    ) throws(IOError) -> (position: Int, nextOffset: Int64) {
        let view = source.view
        guard let checks = view.checks else {
            // All is trusted. It is only to be read; what comes along is checked.
            if let position = read.position { return (position, view.baseOffset) }
            if let located = try? view.locate(read.offset) { return (located.position, view.baseOffset) }
            return (0, view.baseOffset)
        }
        if let position = read.position, let next = checks.nextOffset(at: position) { return (position, next) }
        var best: (position: Int, nextOffset: Int64) = (0, view.baseOffset)
        if let known = checks.anchor(atOrBefore: read.offset), known.position > best.position { best = known }
        let relative = read.offset &- view.baseOffset
        if let index = view.offsetIndex, index.count > 0,
            let entry = try index.last(where: { Int64($0.relativeOffset) <= relative }),
            Int(entry.position) > best.position, try view.agrees(entry),
            let header = try view.header(at: Int(entry.position))
        {
            // Two files agree on the place of this batch.
            best = (Int(entry.position), header.baseOffset)
        }
        return best
    }
}

/// What a run of checks has found, on its way into the segment's notes.
struct CheckNotes {
    private let log: PartitionLog
    private let source: PartitionLog.CheckSource
    private var range: SegmentChecks.CheckedRange?

    init(_ log: PartitionLog, _ source: PartitionLog.CheckSource) {
        self.log = log
        self.source = source
    }

    mutating func add(_ position: Int, _ header: RecordBatchHeader) {
        let end = position + header.sizeInBytes
        if self.range == nil {
            self.range = .init(
                start: position, end: end, firstOffset: header.baseOffset, nextOffset: header.lastOffset + 1)
        } else {
            self.range?.end = end
            self.range?.nextOffset = header.lastOffset + 1
        }
    }

    mutating func add(_ damage: DamagedRange) {
        self.flush()
        self.log.note(damage, in: self.source)
    }

    /// Makes known what was found so far.
    mutating func flush() {
        guard let range = self.range else { return }
        self.range = nil
        // Where all is trusted and whole there is nothing to note.
        self.source.view.checks?.note(checked: range)
    }

    mutating func end() {
        self.flush()
        guard let checks = self.source.view.checks, checks.isWhole else { return }
        if let sealed = self.source.sealed { return sealed.forgetNotesIfWhole() }
        self.log.forgetActiveNotes(checks)
    }
}

extension PartitionLog {
    func forgetActiveNotes(_ checks: SegmentChecks) {
        self.state.withLock { state in
            guard state.active.checks === checks, checks.isWhole else { return }
            state.active.checks = nil
            state.active.uncheckedBefore = 0
        }
    }

    /// Whether the segment is still the log's, as it was.
    func isCurrent(_ source: CheckSource) -> Bool {
        self.state.withLock { state in
            guard state.status == .open else { return false }
            if let sealed = source.sealed { return state.sealed.contains { $0 === sealed } }
            if state.active.baseOffset == source.view.baseOffset { return state.active.size >= source.view.end }
            return state.sealed.contains { $0.baseOffset == source.view.baseOffset && $0.size >= source.view.end }
        }
    }

    /// Damage was found: it is not served from now on.
    func note(_ damage: DamagedRange, in source: CheckSource) {
        // A file that was cut, replaced or deleted while it was read is not damaged.
        guard self.isCurrent(source) else { return }
        let checks: SegmentChecks
        if let sealed = source.sealed {
            checks = sealed.checksForNotes()
        } else {
            checks = self.state.withLock { state in
                // It may have been sealed meanwhile.
                guard state.active.baseOffset == source.view.baseOffset else {
                    if let index = state.sealedIndex(of: source.view.baseOffset) {
                        return state.sealed[index].checksForNotes()
                    }
                    return SegmentChecks(trustedFrom: 0)
                }
                return state.active.checksForNotes()
            }
        }
        guard checks.note(damage: damage) else { return }
        let counters = self.environment.counters
        let what: String
        switch damage.kind {
        case .corrupt:
            counters.add(counters.corruptRanges)
            what = "is damaged"
        case .unreadable(let code):
            counters.add(counters.unreadableRanges)
            self.environment.readFailed(IOError(.read, self.path, code: code), self.path)
            what = "cannot be read (\(String(cString: strerror(code))))"
        }
        let file = self.folder.path(source.view.baseOffset, .log)
        self.environment.damageReport.line(
            """
            \(self.topicPartition): \(file) \(what) from byte \(damage.start) to \(damage.end), offsets \
            \(damage.firstOffset) to \(damage.endOffset - 1): these are not served
            """, self.environment.report)
    }
}

extension ActiveSegment {
    /// To note what was found out. Made where there is none.
    mutating func checksForNotes() -> SegmentChecks {
        if let checks = self.checks { return checks }
        let checks = SegmentChecks(trustedFrom: self.uncheckedBefore)
        self.checks = checks
        return checks
    }
}

/// Lines about damage: each of them, but not thousands a second.
final class DamageReport: Sendable {
    private static let perSecond = 20
    private let state = Mutex((second: Int64(0), count: 0, silent: 0))

    func line(_ text: String, _ report: (LogNotice) -> Void) {
        let second = wallClockMs() / 1000
        let silent = self.state.withLock { state -> Int? in
            if state.second != second { (state.second, state.count) = (second, 0) }
            state.count += 1
            guard state.count <= Self.perSecond else {
                state.silent += 1
                return nil
            }
            defer { state.silent = 0 }
            return state.silent
        }
        guard let silent else { return }
        report(
            LogNotice(level: .error, message: silent > 0 ? "\(text) (and \(silent) others before)" : text))
    }
}
