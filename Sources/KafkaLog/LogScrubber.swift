import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Reads everything that the logs hold, slowly and again and again, and checks it: bits flip in files that lie there for
/// years. What it finds is noted, logged and counted as if a fetch had found it. One thread.
final class LogScrubber: Sendable {
    private let bytesPerSecond: Int
    private let intervalMs: Int64
    private let counters: LogCounters
    private let isStopping = Atomic(false)
    private let thread = Mutex<pthread_t?>(nil)

    /// - Parameter bytesPerSecond: 0: never.
    /// - Parameter intervalMs: a pass begins no earlier after the last one began.
    init(bytesPerSecond: Int, intervalMs: Int64, counters: LogCounters) {
        self.bytesPerSecond = bytesPerSecond
        self.intervalMs = intervalMs
        self.counters = counters
    }

    func start(_ logs: @escaping @Sendable () -> [PartitionLog]) {
        guard self.bytesPerSecond > 0 else { return }
        self.thread.withLock { thread in
            if thread == nil { thread = Threads.start { self.run(logs) } }
        }
    }

    func stop() {
        self.isStopping.store(true, ordering: .releasing)
        let thread = self.thread.withLock { thread -> pthread_t? in
            defer { thread = nil }
            return thread
        }
        if let thread { pthread_join(thread, nil) }
    }

    private var mustStop: Bool { self.isStopping.load(ordering: .acquiring) }

    private func run(_ logs: () -> [PartitionLog]) {
        while !self.mustStop {
            let began = wallClockMs()
            self.pass(logs())
            self.sleep(ms: max(100, began &+ self.intervalMs &- wallClockMs()))
        }
    }

    /// One pass.
    func pass(_ logs: [PartitionLog]) {
        var pace = Pace(bytesPerSecond: self.bytesPerSecond)
        for log in logs {
            log.scrub { count in
                self.counters.add(self.counters.scrubbedBytes, count)
                self.sleep(ms: pace.delayMs(after: count, now: wallClockMs()))
                return !self.mustStop
            }
            if self.mustStop { return }
        }
        self.counters.add(self.counters.scrubCycles)
    }

    private func sleep(ms: Int64) {
        var left = ms
        while left > 0, !self.mustStop {
            usleep(UInt32(min(left, 50)) * 1000)
            left -= 50
        }
    }
}

/// How long to wait so that no more than so many bytes a second go by. What was not used is not saved up.
struct Pace {
    let bytesPerSecond: Int
    private var freeAtMs: Double = 0

    init(bytesPerSecond: Int) { self.bytesPerSecond = max(1, bytesPerSecond) }

    mutating func delayMs(after count: Int, now: Int64) -> Int64 {
        // A clock that was set back must not stop it for ever.
        let start = min(max(self.freeAtMs, Double(now)), Double(now) + 60_000)
        self.freeAtMs = start + Double(count) * 1000 / Double(self.bytesPerSecond)
        return Int64(self.freeAtMs) - now
    }
}

extension PartitionLog {
    /// Checks all segments as they are now. Blocks.
    /// - Parameter pace: called with the bytes read since the last call; false to stop.
    func scrub(_ pace: (Int) -> Bool) {
        if self.isUnverified { self.verifyInBackground() }
        let sealed = self.state.withLock { $0.status == .open ? $0.sealed : [] }
        for segment in sealed {
            do throws(IOError) {
                let epoch = self.state.withLock { $0.epochs.latestEpoch ?? .max }
                let source = CheckSource(
                    view: try segment.ownView(), limit: segment.nextOffset, latestEpoch: epoch, sealed: segment)
                guard try self.scrub(source, pace) else { return }
            } catch {
                // Deleted meanwhile, or rewritten.
                if error.code != ENOENT { self.notice(.error, "scrub: \(error)") }
            }
        }
        do throws(IOError) {
            guard let (source, isIndexMissing) = try self.activeScrubSource() else { return }
            _ = try self.scrub(source, isIndexMissing: isIndexMissing, pace)
        } catch {
            if error.code != ENOENT { self.notice(.error, "scrub: \(error)") }
        }
    }

    /// The active segment, with a file of its own: those of a thousand idle partitions stay closed.
    private func activeScrubSource() throws(IOError) -> (CheckSource, isIndexMissing: Bool)? {
        struct Found {
            var base: Int64
            var end: Int
            var limit: Int64
            var epoch: Int32
            var checks: SegmentChecks?
            /// Entries in the index files.
            var offsets: Int
            var times: Int
        }
        let found = self.state.withLock { state -> Found? in
            guard state.status == .open, state.active.size > 0 else { return nil }
            let checks = state.active.uncheckedBefore > 0 ? state.active.checksForNotes() : state.active.checks
            return Found(
                base: state.active.baseOffset, end: state.active.size, limit: state.logEndOffset,
                epoch: state.epochs.latestEpoch ?? .max, checks: checks, offsets: state.active.offsetIndex.persisted,
                times: state.active.timeIndex.persisted)
        }
        guard let found else { return nil }
        let file = try FileSystem.open(self.folder.path(found.base, .log), .read)
        FileSystem.advise(file, .random)
        let view = SegmentView(
            baseOffset: found.base, file: file, end: found.end,
            offsetIndex: try self.entries(found.offsets, self.folder.path(found.base, .index)),
            timeIndex: try self.entries(found.times, self.folder.path(found.base, .timeindex)), checks: found.checks)
        let isMissing =
            view.offsetIndex == nil && found.offsets > 0 || view.timeIndex == nil && found.times > 0
        return (CheckSource(view: view, limit: found.limit, latestEpoch: found.epoch), isMissing)
    }

    /// Nil where there is no such file. One that cannot be opened just now is not missing.
    private func entries<Entry>(_ count: Int, _ path: String) throws(IOError) -> IndexFile<Entry>? {
        guard count > 0 else { return nil }
        do throws(IOError) { return IndexFile(file: try FileSystem.open(path, .read), count: count) } catch {
            guard error.code == ENOENT else { throw error }
            return nil
        }
    }

    /// The entries in the index files are not those of the batches, or some are missing.
    private func remakeActiveIndexes(_ source: CheckSource) throws(IOError) {
        try self.state.withLock { state throws(IOError) in
            guard state.status == .open, state.active.baseOffset == source.view.baseOffset,
                state.active.size >= source.view.end
            else { return }
            var view = source.view
            // The one that was read may have been replaced by another of its name. It is not kept open for this.
            if let file = state.active.file {
                view.file = file
            } else {
                view.file = try FileSystem.open(self.folder.path(view.baseOffset, .log), .read)
            }
            view.end = state.active.size
            try self.remakeActiveIndexes(&state, view)
            state.active.areIndexFilesChecked = true
        }
    }

    private func scrub(
        _ source: CheckSource, isIndexMissing: Bool = false, _ pace: (Int) -> Bool
    ) throws(IOError) -> Bool {
        let view = source.view
        var checker = BatchChecker(
            view, from: 0, nextOffset: view.baseOffset, limit: source.limit, latestEpoch: source.latestEpoch,
            now: wallClockMs())
        defer { checker.free() }
        // What was not in the page cache before does not stay there.
        var wasResident = true
        checker.window.onRead = { position, count, isDone in
            if !isDone {
                wasResident = FileSystem.isResident(view.file, at: position, count: count)
            } else if !wasResident {
                FileSystem.advise(view.file, .notNeeded, at: position, count: count)
            }
        }
        var notes = CheckNotes(self, source)
        var indexes = IndexVerifier(view)
        var paced = 0
        var isDamaged = false
        scan: while true {
            switch try checker.next() {
            case .batch(let position, let header):
                notes.add(position, header)
                try indexes.visit(position, header)
            case .damage(let range):
                isDamaged = true
                notes.add(range)
            case .end:
                break scan
            }
            if checker.window.bytesRead - paced >= BatchChecker.blockSize {
                notes.flush()
                guard pace(checker.window.bytesRead - paced) else { return false }
                paced = checker.window.bytesRead
            }
        }
        // An older file of the same name, cut or replaced while it was read, tells nothing.
        notes.end()
        if let sealed = source.sealed, !isDamaged, try !indexes.isRight(), self.isCurrent(source) {
            self.environment.counters.add(self.environment.counters.rebuiltIndexes)
            self.notice(
                .warning,
                "\(self.folder.path(view.baseOffset, .index)): the index files are wrong and are made anew")
            try sealed.dropIndexes()
            _ = try sealed.view(self.environment.segmentCache)
        } else if source.sealed == nil, !isDamaged, self.isCurrent(source) {
            let isRight = try indexes.isRight(isComplete: false)
            if isIndexMissing || !isRight { try self.remakeActiveIndexes(source) }
        }
        return pace(checker.window.bytesRead - paced)
    }
}

/// Compares index files with the batches that they name, as these go by.
struct IndexVerifier {
    private let view: SegmentView
    private var offsets: EntryStream<OffsetIndexEntry>?
    private var times: EntryStream<TimeIndexEntry>?
    private var maxTimestamp: Int64 = -1
    private var isWrong = false

    init(_ view: SegmentView) {
        self.view = view
        self.offsets = view.offsetIndex.map { EntryStream($0) }
        self.times = view.timeIndex.map { EntryStream($0) }
    }

    mutating func visit(_ position: Int, _ header: RecordBatchHeader) throws(IOError) {
        guard !self.isWrong else { return }
        while let entry = try self.offsets?.current(), Int(entry.position) <= position {
            self.isWrong =
                self.isWrong || Int(entry.position) != position
                || Int64(entry.relativeOffset) != header.lastOffset &- self.view.baseOffset
            self.offsets?.advance()
        }
        let before = self.maxTimestamp
        self.maxTimestamp = max(self.maxTimestamp, header.maxTimestamp)
        // The entry's offset lies in the batch that has its timestamp; no batch before it is newer.
        let last = header.lastOffset &- self.view.baseOffset
        let first = header.baseOffset &- self.view.baseOffset
        while let entry = try self.times?.current(), Int64(entry.relativeOffset) <= last {
            self.isWrong =
                self.isWrong || Int64(entry.relativeOffset) < first || entry.timestamp != header.maxTimestamp
                || before > entry.timestamp
            self.times?.advance()
        }
    }

    /// After the last batch.
    /// - Parameter isComplete: both files must be there, or none; those of an active segment come with their first entry.
    mutating func isRight(isComplete: Bool = true) throws(IOError) -> Bool {
        guard !self.isWrong else { return false }
        if isComplete, self.view.offsetIndex == nil || self.view.timeIndex == nil {
            return self.view.offsetIndex == nil && self.view.timeIndex == nil
        }
        // A file that ends early gives no entry where there should be one.
        return (self.offsets?.isAtEnd ?? true) && (self.times?.isAtEnd ?? true)
    }
}

/// Entries of an index file, one after the other.
private struct EntryStream<Entry: IndexEntry> {
    private let index: IndexFile<Entry>
    private var block: [Entry] = []
    private var first = 0
    private var at = 0

    init(_ index: IndexFile<Entry>) { self.index = index }

    mutating func current() throws(IOError) -> Entry? {
        if self.at < self.first + self.block.count { return self.block[self.at - self.first] }
        guard self.at < self.index.count else { return nil }
        self.block = try self.index.entries(from: self.at, count: 512)
        self.first = self.at
        return self.block.first
    }

    mutating func advance() { self.at += 1 }

    var isAtEnd: Bool { self.at >= self.index.count }
}
