import Glibc
import KafkaRecords
import Synchronization

/// The greatest timestamp of a segment and the last offset of the batch that has it.
struct TimestampOffset: Sendable, Equatable {
    var timestamp: Int64
    var offset: Int64
}

/// A segment to which nothing is added any more. Its files are opened on first use and closed again by `SegmentCache`.
final class SealedSegment: Sendable {
    let baseOffset: Int64
    /// Bytes of the log file.
    let size: Int
    /// The base offset of the segment after it.
    let nextOffset: Int64
    let folder: PartitionFolder
    private let state: Mutex<State>

    private struct State {
        var view: SegmentView?
        var largest: TimestampOffset?
        /// Nil: not looked at yet, or many, which are read where they lie.
        var aborted: [AbortedTransaction]?
        /// Its transaction index is the one that was written.
        var isTransactionIndexChecked = false
        /// Used since the cache last looked.
        var used = false
        /// Another has its place, and maybe its name: it can be read as long as it is open, and not opened again.
        var isReplaced = false
        /// Its files have not got their names yet: it stays open.
        var isPinned = false
        /// See `ActiveSegment`.
        var uncheckedBefore: Int
        var checks: SegmentChecks?
    }

    /// - Parameter largest: nil where the time index must be asked.
    /// - Parameter uncheckedBefore: see `ActiveSegment`; all of it where nothing else is said.
    init(
        baseOffset: Int64, size: Int, nextOffset: Int64, folder: PartitionFolder, largest: TimestampOffset? = nil,
        uncheckedBefore: Int? = nil, checks: SegmentChecks? = nil, pinned view: SegmentView? = nil,
        aborted: [AbortedTransaction]? = nil
    ) {
        self.baseOffset = baseOffset
        self.size = size
        self.nextOffset = nextOffset
        self.folder = folder
        self.state = Mutex(
            State(
                view: view, largest: largest, aborted: aborted, isTransactionIndexChecked: view != nil,
                isPinned: view != nil, uncheckedBefore: uncheckedBefore ?? size, checks: checks))
    }

    /// The segment's files. Opens them if needed; the I/O is done under this segment's own lock.
    func view(_ cache: SegmentCache) throws(IOError) -> SegmentView {
        var opened = false
        let view = try self.state.withLock { state throws(IOError) -> SegmentView in
            state.used = true
            if let view = state.view { return view }
            if state.isReplaced { throw IOError(.open, self.folder.path(self.baseOffset, .log), code: ENOENT) }
            var view = try self.open()
            if state.checks == nil, state.uncheckedBefore > 0 {
                state.checks = SegmentChecks(trustedFrom: state.uncheckedBefore)
            }
            view.checks = state.checks
            state.view = view
            opened = true
            return view
        }
        if opened { cache.opened(self) }
        return view
    }

    /// The segment's files where they are open, and nobody is just opening them: does not wait.
    func openView() -> SegmentView? {
        self.state.withLockIfAvailable { state in
            state.used = true
            return state.view
        } ?? nil
    }

    /// Files of the caller's own, and what is known of the segment.
    func ownView() throws(IOError) -> SegmentView {
        let file = try FileSystem.open(self.folder.path(self.baseOffset, .log), .read)
        FileSystem.advise(file, .random)
        var view = SegmentView(
            baseOffset: self.baseOffset, file: file, end: self.size, offsetIndex: nil, timeIndex: nil)
        if let whole = try self.openIndexes(view) { view = whole }
        view.checks = self.state.withLock { state in
            if state.checks == nil, state.uncheckedBefore > 0 {
                state.checks = SegmentChecks(trustedFrom: state.uncheckedBefore)
                state.view?.checks = state.checks
            }
            return state.checks
        }
        return view
    }

    /// The index files are wrong: they go, and whoever opens the segment next makes them anew.
    func dropIndexes() throws(IOError) {
        try self.state.withLock { state throws(IOError) in
            guard !state.isReplaced, !state.isPinned else { return }
            state.view = nil
            try SegmentRecovery.removeIndexes(self.baseOffset, self.folder)
        }
    }

    /// To note what was found out. Made where there is none.
    func checksForNotes() -> SegmentChecks {
        self.state.withLock { state in
            if let checks = state.checks { return checks }
            let checks = SegmentChecks(trustedFrom: state.uncheckedBefore)
            state.checks = checks
            state.view?.checks = checks
            return checks
        }
    }

    /// Lets go of the notes where they say that all is whole.
    func forgetNotesIfWhole() {
        self.state.withLock { state in
            guard let checks = state.checks, checks.isWhole else { return }
            state.uncheckedBefore = 0
            state.checks = nil
            state.view?.checks = nil
        }
    }

    private func open() throws(IOError) -> SegmentView {
        let file = try FileSystem.open(self.folder.path(self.baseOffset, .log), .read)
        guard try FileSystem.size(file) >= self.size else {
            // Cut behind our back.
            throw IOError(.read, self.folder.path(self.baseOffset, .log), code: EBADMSG)
        }
        // What is read ahead is decided by `ReadPool`.
        FileSystem.advise(file, .random)
        let plain = SegmentView(
            baseOffset: self.baseOffset, file: file, end: self.size, offsetIndex: nil, timeIndex: nil)
        if let view = try self.openIndexes(plain) { return view }
        try SegmentRecovery.rebuildIndexes(plain, folder: self.folder)
        return try self.openIndexes(plain) ?? plain
    }

    /// Nil where an index is missing, short or wrong.
    private func openIndexes(_ view: SegmentView) throws(IOError) -> SegmentView? {
        do throws(IOError) {
            let index = try FileSystem.open(self.folder.path(self.baseOffset, .index), .read)
            let times = try FileSystem.open(self.folder.path(self.baseOffset, .timeindex), .read)
            let indexSize = try FileSystem.size(index)
            let timesSize = try FileSystem.size(times)
            guard indexSize % OffsetIndexEntry.size == 0, timesSize % TimeIndexEntry.size == 0 else { return nil }
            let opened = SegmentView(
                baseOffset: view.baseOffset, file: view.file, end: view.end,
                offsetIndex: IndexFile(file: index, count: indexSize / OffsetIndexEntry.size),
                timeIndex: IndexFile(file: times, count: timesSize / TimeIndexEntry.size))
            let isUsable = try SegmentRecovery.isUsable(
                in: opened, { view throws(IOError) in try SegmentRecovery.areIndexesUsable(view) })
            return isUsable ? opened : nil
        } catch {
            if error.code == ENOENT { return nil }
            throw error
        }
    }

    /// The greatest timestamp (-1 where no batch has one) and its offset.
    func largestTimestamp(_ cache: SegmentCache) throws(IOError) -> TimestampOffset {
        if let known = self.state.withLock({ $0.largest }) { return known }
        let view = try self.view(cache)
        let none = TimestampOffset(timestamp: -1, offset: self.baseOffset)
        let last = try view.timeIndex.flatMap { index throws(IOError) in try index.entry(index.count - 1) }
        let largest = last.map {
            TimestampOffset(timestamp: $0.timestamp, offset: self.baseOffset + Int64($0.relativeOffset))
        }
        self.state.withLock { $0.largest = largest ?? none }
        return largest ?? none
    }

    /// The transactions with records in `start..<end` whose abort markers are in this segment.
    /// - Returns: whether no later segment can have one.
    func collectAborted(
        from start: Int64, to end: Int64, into found: inout [AbortedTransaction]
    ) throws(IOError) -> Bool {
        if let known = self.state.withLock({ $0.aborted }) {
            for entry in known where TransactionIndex.collect(entry, from: start, to: end, into: &found) {
                return true
            }
            return false
        }
        if self.state.withLock({ $0.isReplaced }) {
            throw IOError(.open, self.folder.path(self.baseOffset, .txnindex), code: ENOENT)
        }
        guard let index = try TransactionIndex(self.folder, self.baseOffset), index.count > 0 else {
            self.state.withLock { $0.aborted = [] }
            return false
        }
        if index.count <= Self.keptAborted {
            let all = try index.file.entries(from: 0, count: index.count)
            self.state.withLock { $0.aborted = all }
        }
        return try index.collect(from: start, to: end, into: &found)
    }

    private static let keptAborted = 64

    /// Set by who wrote the index or has compared it.
    var isTransactionIndexChecked: Bool {
        get { self.state.withLock { $0.isTransactionIndexChecked } }
        set {
            self.state.withLock { state in
                state.isTransactionIndexChecked = newValue
                state.aborted = nil
            }
        }
    }

    var knownLargestTimestamp: TimestampOffset? { self.state.withLock { $0.largest } }

    /// True, once, when it was not used since the last call; its files are closed then (those that reads hold stay open).
    func closeIfUnused() -> Bool {
        let view = self.state.withLock { state -> SegmentView?? in
            if state.used || state.isPinned {
                state.used = false
                return .none
            }
            defer { state.view = nil }
            return .some(state.view)
        }
        return view != nil
    }

    func close() {
        // The files close after the lock is released.
        let view = self.state.withLock { state -> SegmentView? in
            if state.isPinned { return nil }
            defer { state.view = nil }
            return state.view
        }
        withExtendedLifetime(view) {}
    }

    /// Its files have their names now.
    func unpin() {
        self.state.withLock { state in
            state.isPinned = false
            if let aborted = state.aborted, aborted.count > Self.keptAborted { state.aborted = nil }
        }
        self.close()
    }

    /// Before its files are renamed: nobody opens those that get their names.
    func markReplaced() { self.state.withLock { $0.isReplaced = true } }
}

/// Bounds how many sealed segments are open: the one not used for longest, roughly, is closed.
package final class SegmentCache: Sendable {
    private let limit: Int
    private let open = Mutex<[SealedSegment]>([])

    package init(limit: Int) { self.limit = max(1, limit) }

    var count: Int { self.open.withLock { $0.count } }

    func opened(_ segment: SealedSegment) {
        let surplus = self.open.withLock { open -> Int in
            open.append(segment)
            return open.count - self.limit
        }
        guard surplus > 0 else { return }
        // Two rounds at most: in the first everybody may have been in use.
        for _ in 0..<2 * self.limit + 2 {
            guard let oldest = self.open.withLock({ $0.count > self.limit ? $0.removeFirst() : nil }) else { return }
            if !oldest.closeIfUnused() { self.open.withLock { $0.append(oldest) } }
        }
    }

    func remove(_ segment: SealedSegment) {
        self.open.withLock { open in open.removeAll { $0 === segment } }
        segment.close()
    }
}
