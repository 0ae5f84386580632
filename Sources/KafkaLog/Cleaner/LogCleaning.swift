import COttla
import Glibc
import KafkaRecords
import Synchronization

/// What one cleaning did.
package struct CleaningStats: Sendable, Equatable {
    /// Read to learn of the keys.
    package var mapBytes: Int64 = 0
    package var mapRecords: Int64 = 0
    package var keys: Int64 = 0
    /// Read to be copied.
    package var bytesRead: Int64 = 0
    package var recordsRead: Int64 = 0
    package var bytesWritten: Int64 = 0
    package var recordsWritten: Int64 = 0
    /// Batches copied as bytes, and those made anew.
    package var batchesUnchanged: Int64 = 0
    package var batchesChanged: Int64 = 0
    /// Records without a key, which were dropped.
    package var unkeyedRecords: Int64 = 0
    package var segmentsBefore = 0
    package var segmentsAfter = 0
    package var mapNs: Int64 = 0
    package var totalNs: Int64 = 0
    /// How full the offset map was, 0 to 1.
    package var mapUtilization: Double = 0
}

/// Why a cleaning did not come to its end. The log is as it was, or cleaned in part.
enum CleaningFailure: Error, CustomStringConvertible {
    /// Somebody wanted it to end: the log is deleted or cut, or the broker stops.
    case aborted
    case io(IOError)
    case damaged(segment: Int64, position: Int, BatchDamage)
    /// The keys of a single batch do not fit.
    case mapTooSmall(Int)
    case outOfMemory

    var description: String {
        switch self {
        case .aborted: "aborted"
        case .io(let error): "\(error)"
        case .damaged(let segment, let position, let damage):
            "no valid batch at byte \(position) of \(PartitionFolder.name(segment)).log (\(damage))"
        case .mapTooSmall(let keys):
            "the keys of one batch are more than the \(keys) that log.cleaner.dedupe.buffer.size has room for"
        case .outOfMemory: "no memory for the offset map"
        }
    }
}

/// What a cleaning may use.
struct CleaningResources {
    /// log.cleaner.dedupe.buffer.size of one thread.
    var mapBytes: Int
    /// log.cleaner.io.buffer.load.factor
    var loadFactor: Double
    /// Each of the two buffers; log.cleaner.io.buffer.size is for both and all threads.
    var bufferBytes: Int
    var throttle: CleanerThrottle
    var hasher: KeyHasher
    var isStopping: () -> Bool
}

/// One cleaning of a log: a first pass over its dirty part notes each key's last offset, a second one copies what is to
/// stay of all segments up to there, group by group, and puts the copies in their place.
final class LogCleaning {
    private let log: PartitionLog
    private let cleaning: CleaningState
    private let range: CleanableRange
    private let resources: CleaningResources
    private let now: Int64
    private let map: OffsetMap
    private let scratch = DecompressionScratch()
    private var input: GrowingBytes
    private let output: GrowingBytes
    private var stats = CleaningStats()

    /// - Parameter cleaning: of this log, begun.
    init(
        _ log: PartitionLog, _ cleaning: CleaningState, _ range: CleanableRange, _ resources: CleaningResources,
        now: Int64
    ) throws(CleaningFailure) {
        let offsets = range.firstUncleanableOffset - range.firstDirtyOffset
        guard
            let map = OffsetMap(
                bytes: resources.mapBytes, loadFactor: resources.loadFactor, expected: max(0, offsets))
        else { throw .outOfMemory }
        self.log = log
        self.cleaning = cleaning
        self.range = range
        self.resources = resources
        self.now = now
        self.map = map
        self.input = GrowingBytes(resources.bufferBytes)
        self.output = GrowingBytes(resources.bufferBytes)
    }

    deinit {
        self.input.free()
        self.output.free()
    }

    /// - Returns: the offset up to which the log is clean now.
    func run() throws(CleaningFailure) -> (endOffset: Int64, stats: CleaningStats) {
        let began = ottla_monotonic_ns()
        // What is replaced must be older than the recovery point: a start reads nothing of it then.
        try self.io { () throws(IOError) in try self.log.flush(upTo: self.range.firstUncleanableOffset) }
        let sealed = self.log.state.withLock { $0.sealed }
        let dirty = sealed.filter { self.range.isDirty(CleanableSegment($0)) }
        try self.buildMap(dirty)
        self.stats.mapNs = ottla_monotonic_ns() - began
        self.stats.keys = Int64(self.map.count)
        self.stats.mapUtilization = self.map.utilization
        let end = self.map.latestOffset + 1
        guard end > self.range.firstDirtyOffset else { throw .mapTooSmall(self.map.limit) }
        try self.copy(sealed.filter { $0.baseOffset < end })
        self.stats.totalNs = ottla_monotonic_ns() - began
        return (end, self.stats)
    }

    // MARK: the first pass

    private func buildMap(_ dirty: [SealedSegment]) throws(CleaningFailure) {
        var transactions = CleaningTransactions()
        transactions.add(try self.aborted(self.range.firstDirtyOffset, self.range.firstUncleanableOffset))
        for segment in dirty {
            let view = try self.io { () throws(IOError) in try segment.view(self.log.environment.segmentCache) }
            var start = 0
            if segment.baseOffset < self.range.firstDirtyOffset {
                start = try self.io { () throws(IOError) in
                    try view.locate(self.range.firstDirtyOffset)?.position ?? view.end
                }
            }
            FileSystem.adviseSequential(view.file)
            var isFull = false
            self.stats.mapBytes += Int64(view.end - start)
            try self.eachBatch(of: view, from: start) { header, batch throws(BatchDamage) in
                if header.isControl {
                    _ = transactions.isMarkerUnneeded(header, try controlType(of: batch, header))
                } else if !transactions.isAborted(header) {
                    isFull = try !self.noteKeys(batch, header)
                    if isFull { return false }
                }
                if header.lastOffset >= self.range.firstDirtyOffset { self.map.updateLatestOffset(header.lastOffset) }
                return true
            }
            if isFull { return }
            // Offsets at its end may have been compacted away.
            self.map.updateLatestOffset(segment.nextOffset - 1)
        }
    }

    /// False where the map is full.
    private func noteKeys(_ batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader) throws(BatchDamage) -> Bool {
        let records = try self.scratch.records(of: batch, header)
        guard var cursor = records.baseAddress else { return true }
        let limit = cursor + records.count
        let hasher = self.resources.hasher
        for _ in 0..<header.recordsCount {
            guard let record = KeyedRecord(&cursor, limit) else { throw .records }
            let offset = header.baseOffset &+ Int64(record.offsetDelta)
            guard let key = record.key, offset >= self.range.firstDirtyOffset else { continue }
            guard self.map.put(hasher.hash(key), offset) else { return false }
        }
        self.stats.mapRecords += Int64(header.recordsCount)
        return true
    }

    // MARK: the second pass

    private func copy(_ segments: [SealedSegment]) throws(CleaningFailure) {
        let config = self.log.config
        let rules = RetentionRules(
            now: self.now, deleteRetentionMs: config.deleteRetentionMs,
            upperBoundOffset: self.range.firstUncleanableOffset,
            producers: self.log.state.withLock { $0.producers.producers })
        let filter = BatchFilter(rules: rules, hasher: self.resources.hasher, map: self.map, scratch: self.scratch)
        let members = try self.io { () throws(IOError) in
            try segments.map { segment throws(IOError) in
                SegmentGroups.Member(
                    segment: CleanableSegment(segment),
                    indexBytes: try FileSystem.status(self.log.folder.path(segment.baseOffset, .index))?.size ?? 0,
                    timeIndexBytes: try FileSystem.status(
                        self.log.folder.path(segment.baseOffset, .timeindex))?.size ?? 0)
            }
        }
        let groups = SegmentGroups.make(
            members, limits: .init(bytes: config.segmentBytes, indexBytes: config.segmentIndexBytes))
        var transactions = CleaningTransactions()
        for group in groups {
            try self.copy(Array(segments[group]), rules, filter, &transactions, config)
        }
        self.stats.unkeyedRecords = Int64(filter.unkeyedRecords)
    }

    /// Makes one segment of several.
    private func copy(
        _ group: [SealedSegment], _ rules: RetentionRules, _ filter: BatchFilter,
        _ transactions: inout CleaningTransactions, _ config: LogConfig
    ) throws(CleaningFailure) {
        // Known before there are files: a start that believes the marks does not look for them.
        self.cleaning.setUnfinishedFiles(true)
        try self.io { () throws(IOError) in
            try self.log.state.withLock { state throws(IOError) in try self.log.segmentsChange(&state) }
        }
        var cleaned = try self.io { () throws(IOError) in
            try CleanedSegment(
                folder: self.log.folder, baseOffset: group[0].baseOffset, indexInterval: config.indexIntervalBytes,
                buffer: self.output)
        }
        var views: [SegmentView] = []
        do throws(CleaningFailure) {
            for segment in group {
                let view = try self.io { () throws(IOError) in try segment.view(self.log.environment.segmentCache) }
                views.append(view)
                transactions.add(try self.aborted(segment.baseOffset, segment.nextOffset))
                try self.copy(view, rules, filter, &transactions, into: &cleaned)
            }
            try self.io { () throws(IOError) in
                let last = self.log.folder.path(group[group.count - 1].baseOffset, .log)
                try cleaned.finish(
                    transactions: transactions.takeKept(),
                    modifiedMs: try FileSystem.status(last)?.modifiedMs ?? self.now)
            }
            guard !self.isAborted else { throw .aborted }
        } catch {
            if cleaned.discard() { self.filesAreFinished() }
            throw error
        }
        try self.io { () throws(IOError) in try self.log.replace(group, with: cleaned, now: self.now) }
        self.filesAreFinished()
        // Neither what is gone nor what was written is likely to be read soon.
        for view in views { FileSystem.dropCache(view.file) }
        FileSystem.dropCache(cleaned.file)
        self.stats.segmentsBefore += group.count
        self.stats.segmentsAfter += 1
    }

    private func filesAreFinished() {
        self.cleaning.setUnfinishedFiles(false)
        // The marks file gets the list of segments again.
        self.log.state.withLock { state in
            state.marked = nil
            self.log.changed(&state)
        }
    }

    private func copy(
        _ view: SegmentView, _ rules: RetentionRules, _ filter: BatchFilter, _ transactions: inout CleaningTransactions,
        into cleaned: inout CleanedSegment
    ) throws(CleaningFailure) {
        var failure: IOError?
        try self.eachBatch(of: view, from: 0) { header, batch throws(BatchDamage) in
            let isDiscardable =
                header.isControl
                ? transactions.isMarkerUnneeded(header, try controlType(of: batch, header))
                : transactions.isAborted(header)
            let decision = rules.decide(header, isDiscardable: isDiscardable)
            self.stats.bytesRead += Int64(batch.count)
            self.stats.recordsRead += Int64(header.recordsCount)
            let (bytes, newHeader): (UnsafeRawBufferPointer, RecordBatchHeader)
            switch try filter.filter(batch, header, decision) {
            case .dropped:
                return true
            case .unchanged:
                (bytes, newHeader) = (batch, header)
                self.stats.batchesUnchanged += 1
            case .changed(let made, let madeHeader):
                (bytes, newHeader) = (made, madeHeader)
                self.stats.batchesChanged += 1
            }
            guard cleaned.fits(newHeader) else { throw .tooLong }
            self.stats.bytesWritten += Int64(bytes.count)
            self.stats.recordsWritten += Int64(newHeader.recordsCount)
            do throws(IOError) { try cleaned.append(bytes, newHeader) } catch {
                failure = error
                return false
            }
            return true
        }
        if let failure { throw .io(failure) }
    }

    // MARK: common

    private var isAborted: Bool { self.cleaning.isAborted || self.resources.isStopping() }

    /// Calls `visit` with each batch of a segment; false ends it.
    private func eachBatch(
        of view: SegmentView, from start: Int,
        _ visit: (RecordBatchHeader, UnsafeRawBufferPointer) throws(BatchDamage) -> Bool
    ) throws(CleaningFailure) {
        var reader = CleanerReader(file: view.file, end: view.end, from: start)
        while true {
            let position = reader.position
            let next: CleanerReader.Next
            do throws(BatchDamage) {
                next = try reader.next(in: self.input)
                if case .batch(let header, let batch) = next, try !visit(header, batch) { return }
            } catch {
                throw .damaged(segment: view.baseOffset, position: position, error)
            }
            switch next {
            case .batch: continue
            case .end: return
            case .needsBytes(let wanted):
                guard !self.isAborted else { throw .aborted }
                let count = try self.io { () throws(IOError) in try reader.fill(&self.input, atLeast: wanted) }
                self.resources.throttle.admit(count) { self.isAborted }
            }
        }
    }

    private func aborted(_ from: Int64, _ to: Int64) throws(CleaningFailure) -> [AbortedTransaction] {
        switch self.log.abortedTransactions(from: from, to: to) {
        case .success(let transactions): return transactions
        case .failure: throw .io(IOError(.read, "transaction index", code: EIO))
        }
    }

    private func io<R>(_ body: () throws(IOError) -> R) throws(CleaningFailure) -> R {
        do throws(IOError) { return try body() } catch { throw .io(error) }
    }
}

extension CleanableSegment {
    init(_ segment: SealedSegment) {
        self.init(baseOffset: segment.baseOffset, nextOffset: segment.nextOffset, size: segment.size)
    }
}
