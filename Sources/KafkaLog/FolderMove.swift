import Glibc
import KafkaPrimitives
import Synchronization

/// The move of a partition to another data folder, under way.
final class FolderMove: Sendable {
    let partition: TopicPartition
    let log: PartitionLog
    /// The index of the folder that it moves to.
    let target: Int
    /// Where the copy grows: `NAME.HEX-future`.
    let future: PartitionFolder
    /// Where it will be.
    let final: PartitionFolder
    private let end = Atomic<UInt8>(0)
    private let copied = Mutex(Progress())

    struct Progress: Sendable {
        /// Everything before it is in the copy.
        var offset: Int64 = 0
        var bytes: Int64 = 0
    }

    /// Why a move ends before it is done.
    enum End: UInt8 {
        case none = 0
        /// Not wanted any more: the copy goes.
        case cancelled
        /// The broker stops: the copy tells the next start that the move is wanted.
        case paused
    }

    init(log: PartitionLog, target: Int, directory: String) {
        self.partition = log.topicPartition
        self.log = log
        self.target = target
        let name = log.topicPartition.description
        self.future = PartitionFolder(path: directory + "/" + PartitionFolder.marked(name, "future"))
        self.final = PartitionFolder(path: directory + "/" + name)
    }

    var progress: Progress { self.copied.withLock { $0 } }

    func report(offset: Int64? = nil, addedBytes: Int = 0) {
        self.copied.withLock { progress in
            if let offset { progress.offset = offset }
            progress.bytes += Int64(addedBytes)
        }
    }

    var whyEnded: End { End(rawValue: self.end.load(ordering: .acquiring)) ?? .none }

    func stop(_ why: End) { self.end.store(why.rawValue, ordering: .releasing) }
}

extension PartitionFolder {
    /// Kafka's form for folders with a purpose: the name, a dot, 32 hexadecimal digits, a hyphen and the purpose; 255
    /// characters at most.
    static func marked(_ name: String, _ purpose: String) -> String {
        let suffix = "." + hex(FileSystem.random64()) + hex(FileSystem.random64()) + "-" + purpose
        return String(name.prefix(255 - suffix.utf8.count)) + suffix
    }

    /// The partition of a folder `NAME.HEX-future`.
    static func partition(ofFuture name: String) -> TopicPartition? {
        guard name.hasSuffix("-future"), name.utf8.count > 40 else { return nil }
        let stem = name.dropLast(7)
        guard stem.suffix(33).first == ".", stem.suffix(32).allSatisfy(\.isHexDigit) else { return nil }
        return TopicPartition(directoryName: String(stem.dropLast(33)))
    }
}

/// Copies a partition's folder while it is written to, and puts the copy in its place.
///
/// Segments that are sealed are copied once, the active one as far as it goes, again and again until little is missing.
/// That is copied under the log's lock, which also makes the copy the log.
struct FolderCopier {
    private let move: FolderMove
    /// Bytes a second; nil: as fast as it goes.
    private let bytesPerSecond: Int64?
    private var sealed: [SealedSegment] = []
    private var activeBase: Int64?
    private var active: [PartitionFolder.Suffix: Int] = [:]
    private var unsynced: Set<String> = []
    private var buffer = [UInt8](repeating: 0, count: 1 << 20)

    /// So many bytes may be copied while appends wait.
    private static let tailBytes = 256 << 10
    private static let indexes: [PartitionFolder.Suffix] = [.index, .timeindex, .txnindex]

    enum Outcome { case moved, stopped }

    init(_ move: FolderMove, bytesPerSecond: Int64?) {
        self.move = move
        self.bytesPerSecond = bytesPerSecond
    }

    private var source: PartitionFolder { self.move.log.folder }
    private var target: PartitionFolder { self.move.future }

    /// - Returns: `.stopped` where the move was called off or the log is not open.
    mutating func run() throws(IOError) -> Outcome {
        try FileSystem.makeDirectory(self.target.path)
        try self.target.writeTopicID(self.move.log.topicID)
        while true {
            guard self.move.whyEnded == .none, let plan = self.move.log.copyPlan() else { return .stopped }
            do throws(IOError) {
                try self.copyRound(plan)
            } catch {
                // Deleted, or replaced by a cleaning, between the look and the copy.
                if error.code == ENOENT, error.path.hasPrefix(self.source.path + "/") { continue }
                throw error
            }
            guard self.move.whyEnded == .none else { return .stopped }
            self.move.report(offset: plan.endOffset)
            for path in self.unsynced { try FileSystem.sync(FileSystem.open(path, .readWrite)) }
            self.unsynced = []
            try FileSystem.syncDirectory(self.target.path)
            if try self.takeOver(plan) { return .moved }
        }
    }

    // MARK: rounds

    private mutating func copyRound(_ plan: PartitionLog.CopyPlan) throws(IOError) {
        let wanted = Set(plan.sealed.map(ObjectIdentifier.init))
        for gone in self.sealed where !wanted.contains(ObjectIdentifier(gone)) {
            for suffix in [.log] + Self.indexes { try FileSystem.unlink(self.target.path(gone.baseOffset, suffix)) }
        }
        self.sealed.removeAll { !wanted.contains(ObjectIdentifier($0)) }
        let present = Set(self.sealed.map(ObjectIdentifier.init))
        for segment in plan.sealed where !present.contains(ObjectIdentifier(segment)) {
            // What was the active one goes on where it was.
            var from = 0
            if segment.baseOffset == self.activeBase { from = min(self.active[.log] ?? 0, segment.size) }
            try self.copy(segment.baseOffset, .log, from: from, to: segment.size)
            for suffix in Self.indexes { try self.copyWhole(segment.baseOffset, suffix) }
            guard self.move.whyEnded == .none else { return }
            self.sealed.append(segment)
        }
        if self.activeBase != plan.activeBase {
            self.activeBase = plan.activeBase
            self.active = [:]
        }
        try self.copyActive(plan.activeBase, plan.activeSize)
        try self.copySmallFiles()
    }

    private mutating func copyActive(_ base: Int64, _ size: Int) throws(IOError) {
        try self.copy(base, .log, from: self.active[.log] ?? 0, to: size)
        self.active[.log] = size
        for suffix in Self.indexes {
            let end = try FileSystem.status(self.source.path(base, suffix))?.size ?? 0
            let from = self.active[suffix] ?? 0
            // An index that was made anew is shorter, or other.
            try self.copy(base, suffix, from: end < from ? 0 : from, to: end)
            self.active[suffix] = end
        }
    }

    private mutating func copySmallFiles() throws(IOError) {
        let names = try FileSystem.list(self.source.path)
        let snapshots = Set(names.filter { $0.hasSuffix(".snapshot") })
        let have = Set(try FileSystem.list(self.target.path).filter { $0.hasSuffix(".snapshot") })
        for name in have.subtracting(snapshots) { try FileSystem.unlink(self.target.path + "/" + name) }
        for name in snapshots.subtracting(have) {
            guard let bytes = try FileSystem.contents(self.source.path + "/" + name) else { continue }
            try FileSystem.replace(self.target.path + "/" + name, with: bytes, durable: false)
        }
        if let bytes = try FileSystem.contents(self.source.path + "/" + PartitionFolder.leaderEpochs) {
            try FileSystem.replace(self.target.path + "/" + PartitionFolder.leaderEpochs, with: bytes, durable: false)
        }
    }

    // MARK: bytes

    private mutating func copyWhole(_ base: Int64, _ suffix: PartitionFolder.Suffix) throws(IOError) {
        guard let status = try FileSystem.status(self.source.path(base, suffix)) else { return }
        let path = self.target.path(base, suffix)
        try FileSystem.unlink(path)
        _ = try FileSystem.open(path, .create)
        try self.copy(base, suffix, from: 0, to: status.size)
    }

    private mutating func copy(
        _ base: Int64, _ suffix: PartitionFolder.Suffix, from start: Int, to end: Int
    ) throws(IOError) {
        let path = self.target.path(base, suffix)
        if suffix == .log && start == 0 { _ = try FileSystem.open(path, .create) }
        guard start < end else { return }
        let from = self.source.path(base, suffix)
        let source = try FileSystem.open(from, .read)
        let target = try FileSystem.open(path, .create)
        self.unsynced.insert(path)
        var position = start
        while position < end {
            guard self.move.whyEnded == .none else { return }
            let count = min(self.buffer.count, end - position)
            let wanted = self.buffer.count
            let read = try FileSystem.readInto(&self.buffer, source, at: position)
            guard read >= min(count, wanted) else { throw IOError(.read, from, code: EIO) }
            do throws(IOError) {
                let written = self.buffer.withUnsafeBytes { bytes in
                    Result<Void, IOError> { () throws(IOError) in
                        try FileSystem.writeAll(
                            target, UnsafeRawBufferPointer(rebasing: bytes[..<count]), at: position)
                    }
                }
                try written.get()
            } catch {
                throw IOError(error.call, path, code: error.code)
            }
            position += count
            if suffix == .log { self.move.report(addedBytes: count) }
            if let bytesPerSecond, bytesPerSecond > 0 {
                usleep(UInt32(clamping: Int64(count) * 1_000_000 / bytesPerSecond))
            }
        }
    }

    // MARK: the change

    /// Copies the rest and makes the copy the log, where little is missing and nothing else has changed.
    private mutating func takeOver(_ plan: PartitionLog.CopyPlan) throws(IOError) -> Bool {
        let log = self.move.log
        var copier = self
        var mustSync = false
        // A sync that is under way knows the old files.
        let old = try log.syncing.withLock { _ throws(IOError) in
            try log.state.withLock { state throws(IOError) -> [SealedSegment]? in
                guard state.status == .open, !state.mustTruncate, state.queued == 0,
                    state.active.baseOffset == copier.activeBase,
                    state.active.size - (copier.active[.log] ?? 0) <= Self.tailBytes,
                    state.sealed.elementsEqual(copier.sealed, by: ===)
                else { return nil }
                try state.active.writeIndexes(log.folder)
                try copier.copyActive(state.active.baseOffset, state.active.size)
                // A stop that comes now comes too late: the copy may be short.
                guard copier.move.whyEnded == .none else { return nil }
                let file = try FileSystem.open(copier.target.path(state.active.baseOffset, .log), .readWrite)
                // What the other folder's marks say of an earlier stay there is not to be believed.
                state.listVersion &+= 1
                try log.environment.marks.note(
                    SegmentListNote(
                        partition: log.topicPartition, topicID: log.topicID, version: state.listVersion),
                    folder: copier.move.final.path)
                try FileSystem.rename(copier.target.path, to: copier.move.final.path)
                let old = state.sealed
                mustSync = state.relocate(to: copier.move.final, file: file, syncedUpTo: plan.endOffset)
                log.place.withLock { $0 = copier.move.final }
                state.writer = log.environment.writers.writer(forPartitionAt: copier.move.final.path)
                log.changed(&state)
                return old
            }
        }
        guard let old else { return false }
        if mustSync { log.scheduleSync() }
        for segment in old { log.environment.segmentCache.remove(segment) }
        return true
    }
}

extension PartitionLog {
    /// What there is to copy, at one moment.
    struct CopyPlan {
        var sealed: [SealedSegment]
        var activeBase: Int64
        var activeSize: Int
        var endOffset: Int64
    }

    /// Nil where the log is not open.
    func copyPlan() -> CopyPlan? {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            guard state.status == .open else { return nil }
            return CopyPlan(
                sealed: state.sealed, activeBase: state.active.baseOffset, activeSize: state.active.size,
                endOffset: state.logEndOffset)
        }
    }
}

extension PartitionLog.State {
    /// The same log, in another folder.
    /// - Returns: whether a sync is to be scheduled.
    fileprivate mutating func relocate(to folder: PartitionFolder, file: LogFile, syncedUpTo: Int64) -> Bool {
        self.sealed = self.sealed.map { segment in
            SealedSegment(
                baseOffset: segment.baseOffset, size: segment.size, nextOffset: segment.nextOffset, folder: folder,
                largest: segment.knownLargestTimestamp)
        }
        self.active.file = file
        self.active.offsetIndexFile = nil
        self.active.timeIndexFile = nil
        self.active.isPreallocated = false
        self.nextFile = nil
        self.nextFileRequested = false
        self.recoveryPoint = min(self.recoveryPoint, syncedUpTo)
        self.epochs.needsWrite = true
        self.marked = nil
        self.closedEnd = -1
        self.markRoundsLeftOut = 0
        self.syncTruncated()
        if let sync = self.sync { sync.synced = min(sync.synced, syncedUpTo) }
        return self.applyFlushBeforeAck(isOpening: false)
    }
}
