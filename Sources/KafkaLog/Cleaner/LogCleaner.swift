import COttla
import Glibc
import KafkaPrimitives
import Synchronization

/// Compacts the logs of a broker, on threads of its own: again and again the dirtiest one.
///
/// `cleaner-offset-checkpoint` in each data folder says up to where each log is clean. A log that cannot be cleaned (a
/// damaged batch, an I/O error) is reported once and left alone until the next start.
package final class LogCleaner: Sendable {
    package struct Settings: Sendable, Equatable {
        /// log.cleaner.enable
        package var isEnabled = true
        /// log.cleaner.threads
        package var threads = 1
        /// log.cleaner.dedupe.buffer.size: bytes for the keys, of all threads together.
        package var dedupeBufferBytes: Int64 = 128 << 20
        /// log.cleaner.io.buffer.load.factor: how full that may become, 0 to 1.
        package var loadFactor = 0.9
        /// log.cleaner.io.buffer.size: bytes, of all threads together.
        package var ioBufferBytes = 512 << 10
        /// log.cleaner.io.max.bytes.per.second
        package var maxBytesPerSecond = Double.greatestFiniteMagnitude
        /// log.cleaner.backoff.ms
        package var backoffMs: Int64 = 15_000

        package init() {}
    }

    /// What was done since the start.
    package struct Counters: Sendable, Equatable {
        package var cleanings: Int64 = 0
        package var aborted: Int64 = 0
        package var failed: Int64 = 0
        package var mapBytes: Int64 = 0
        package var bytesRead: Int64 = 0
        package var bytesWritten: Int64 = 0
        package var totalNs: Int64 = 0
        package var uncleanablePartitions = 0
        /// Of the dirtiest log when somebody last looked, 0 to 1.
        package var maxDirtyRatio = 0.0
    }

    static let checkpointName = "cleaner-offset-checkpoint"

    private struct State {
        var settings: Settings
        /// By the data folder's path; read on first use.
        var checkpoints: [String: [TopicPartition: Int64]] = [:]
        /// Paths of data folders whose file does not say the same, since it could not be written.
        var unwritten: Set<String> = []
        var uncleanable: Set<TopicPartition> = []
        var counters = Counters()
        var threads: [PeriodicThread] = []
    }

    private let state: Mutex<State>
    private let throttle: CleanerThrottle
    private let hasher = KeyHasher.random()
    let stopping = Atomic(false)
    private let report: @Sendable (LogNotice) -> Void

    init(_ settings: Settings, report: @escaping @Sendable (LogNotice) -> Void) {
        self.state = Mutex(State(settings: settings))
        self.throttle = CleanerThrottle(bytesPerSecond: settings.maxBytesPerSecond)
        self.report = report
    }

    package var counters: Counters {
        self.state.withLock { state in
            var counters = state.counters
            counters.uncleanablePartitions = state.uncleanable.count
            return counters
        }
    }

    package var uncleanablePartitions: Set<TopicPartition> { self.state.withLock { $0.uncleanable } }

    // MARK: threads

    func start(_ manager: LogManager) {
        let settings = self.state.withLock { $0.settings }
        guard settings.isEnabled, !self.stopping.load(ordering: .acquiring) else { return }
        for _ in 0..<settings.threads {
            let interval = min(max(settings.backoffMs, 10), 1 << 40)
            let thread = PeriodicThread(intervalMs: interval, isFirstRoundAtOnce: true) { [weak self, weak manager] in
                guard let self, let manager else { return }
                ottla_lower_priority()
                while !self.isStopping, self.cleanDirtiest(of: manager, now: wallClockMs()) {}
            }
            thread.start()
            self.state.withLock { $0.threads.append(thread) }
        }
    }

    /// Ends what is under way and waits for it.
    func stop() {
        self.stopping.store(true, ordering: .releasing)
        let threads = self.state.withLock { state -> [PeriodicThread] in
            defer { state.threads = [] }
            return state.threads
        }
        for thread in threads { thread.stop() }
        self.stopping.store(false, ordering: .releasing)
    }

    private var isStopping: Bool { self.stopping.load(ordering: .relaxed) }

    /// Other settings. Cleanings under way begin again with them, but for the rate, which changes at once. Blocks.
    func update(_ settings: Settings, _ manager: LogManager) {
        let (before, isRunning) = self.state.withLock { state in
            defer { state.settings = settings }
            return (state.settings, !state.threads.isEmpty)
        }
        self.throttle.update(bytesPerSecond: settings.maxBytesPerSecond)
        var other = before
        other.maxBytesPerSecond = settings.maxBytesPerSecond
        guard other != settings, isRunning else { return }
        self.stop()
        self.start(manager)
    }

    // MARK: checkpoints

    /// Up to where a log is clean; nil where it never was cleaned.
    func checkpoint(_ partition: TopicPartition, _ directory: LogDirectory) -> Int64? {
        self.withCheckpoints(directory) { $0[partition] }
    }

    private func withCheckpoints<R>(
        _ directory: LogDirectory, _ body: (inout [TopicPartition: Int64]) -> R
    ) -> R {
        self.state.withLock { state in
            if state.checkpoints[directory.path] == nil {
                // Where it cannot be read all is dirty.
                state.checkpoints[directory.path] = (try? directory.readCheckpoint(Self.checkpointName)) ?? [:]
            }
            return body(&state.checkpoints[directory.path, default: [:]])
        }
    }

    private func setCheckpoint(
        _ partition: TopicPartition, _ offset: Int64?, _ directory: LogDirectory
    ) {
        let changed = self.withCheckpoints(directory) { offsets -> [TopicPartition: Int64]? in
            guard offsets[partition] != offset else { return nil }
            offsets[partition] = offset
            return offsets
        }
        guard let changed else { return }
        do throws(IOError) { try self.write(changed, directory) } catch {
            self.report(LogNotice(level: .error, message: "\(Self.checkpointName): \(error)"))
        }
    }

    private func write(_ offsets: [TopicPartition: Int64], _ directory: LogDirectory) throws(IOError) {
        self.state.withLock { _ = $0.unwritten.insert(directory.path) }
        try directory.writeCheckpoint(Self.checkpointName, offsets)
        self.state.withLock { _ = $0.unwritten.remove(directory.path) }
    }

    /// Writes what could not be written before. A new partition must not find what was known of another of its name.
    func renewCheckpoint(_ directory: LogDirectory) throws(IOError) {
        guard self.state.withLock({ $0.unwritten.contains(directory.path) }) else { return }
        try self.write(self.withCheckpoints(directory) { $0 }, directory)
    }

    /// A log is cut: what comes in the place of what is gone is not clean. Where the checkpoint cannot be written that holds
    /// until the process ends.
    func truncated(_ partition: TopicPartition, to offset: Int64, in directory: LogDirectory) {
        guard let checkpoint = self.checkpoint(partition, directory), checkpoint > offset else { return }
        self.setCheckpoint(partition, offset, directory)
    }

    /// The logs of a folder are open. One that a power cut has made shorter is not clean where it will grow again, and of
    /// one that is no more nothing is known.
    func loaded(_ directory: LogDirectory, end: (TopicPartition) -> Int64?) {
        let tooFar = self.withCheckpoints(directory) { offsets in
            offsets.filter { partition, offset in end(partition).map { $0 < offset } ?? true }
        }
        for partition in tooFar.keys { self.setCheckpoint(partition, end(partition), directory) }
    }

    /// A partition is gone: another of its name is not clean.
    func forget(_ partition: TopicPartition, in directory: LogDirectory) {
        self.setCheckpoint(partition, nil, directory)
        self.state.withLock { _ = $0.uncleanable.remove(partition) }
    }

    /// A partition has moved to another data folder, with all that is known of it.
    package func moved(_ partition: TopicPartition, from: LogDirectory, to: LogDirectory) {
        let offset = self.checkpoint(partition, from)
        self.setCheckpoint(partition, nil, from)
        self.setCheckpoint(partition, offset, to)
    }

    // MARK: one round

    private struct Candidate {
        var log: PartitionLog
        var directory: LogDirectory
        var range: CleanableRange
        var dirtiness: Dirtiness
    }

    /// Cleans the log that needs it most.
    /// - Returns: whether one was cleaned, and another may be waiting.
    package func cleanDirtiest(of manager: LogManager, now: Int64) -> Bool {
        guard let (candidate, cleaning) = self.grab(manager, now) else { return false }
        let log = candidate.log
        defer {
            cleaning.end()
            // Retention leaves a log alone while it is cleaned.
            _ = try? log.deleteOldSegments(now: now)
        }
        do throws(CleaningFailure) {
            try self.makeDurable(log, manager)
            let run = try LogCleaning(log, cleaning, candidate.range, self.resources, now: now)
            let (end, stats) = try run.run()
            self.setCheckpoint(log.topicPartition, end, candidate.directory)
            self.state.withLock { state in
                state.counters.cleanings += 1
                state.counters.mapBytes += stats.mapBytes
                state.counters.bytesRead += stats.bytesRead
                state.counters.bytesWritten += stats.bytesWritten
                state.counters.totalNs += stats.totalNs
            }
            log.notice(.info, stats.line(from: candidate.range.firstDirtyOffset, to: end))
            if stats.unkeyedRecords > 0 {
                log.notice(.warning, "\(stats.unkeyedRecords) records without a key were dropped by the cleaner")
            }
            return true
        } catch {
            return self.failed(log, error, cleaning)
        }
    }

    /// What is to be replaced must lie before the recovery point, on disk too: behind it a start after a power cut takes a
    /// gap in the offsets, which compaction leaves, for lost data.
    private func makeDurable(
        _ log: PartitionLog, _ manager: LogManager
    ) throws(CleaningFailure) {
        do throws(IOError) {
            // So must what lies behind it and decides about it: markers of transactions, last batches of producers.
            try log.flush(upTo: .max)
            if let index = manager.directoryIndex(of: log) { try manager.checkpoint(index) }
        } catch {
            throw .io(error)
        }
    }

    private func failed(_ log: PartitionLog, _ failure: CleaningFailure, _ cleaning: CleaningState) -> Bool {
        switch failure {
        case .aborted:
            self.state.withLock { $0.counters.aborted += 1 }
            // Another log may be waiting; this one is paused by who wanted the end.
            return !self.isStopping
        case .io(let error) where [ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM].contains(error.code):
            // That goes by: the next try comes after the back-off.
            self.state.withLock { $0.counters.failed += 1 }
            log.notice(.warning, "cleaning is put off: \(error)")
            return false
        case .outOfMemory:
            self.state.withLock { $0.counters.failed += 1 }
            log.notice(.warning, "cleaning is put off: \(failure)")
            return false
        case .io, .damaged, .mapTooSmall:
            if cleaning.isAborted { return true }
            if case .io(let error) = failure { log.environment.storageFailed(error, log.path) }
            self.state.withLock { state in
                state.counters.failed += 1
                state.uncleanable.insert(log.topicPartition)
            }
            log.notice(.error, "cannot be cleaned, and is left as it is until the next start: \(failure)")
            return true
        }
    }

    private var resources: CleaningResources {
        let settings = self.state.withLock { $0.settings }
        let threads = Int64(max(1, settings.threads))
        return CleaningResources(
            mapBytes: Int(clamping: max(settings.dedupeBufferBytes / threads, 1 << 10)),
            loadFactor: settings.loadFactor,
            bufferBytes: max(settings.ioBufferBytes / Int(threads) / 2, 16 << 10), throttle: self.throttle,
            hasher: self.hasher, isStopping: { self.isStopping })
    }

    /// The dirtiest of the logs that are worth it, taken for cleaning.
    private func grab(_ manager: LogManager, _ now: Int64) -> (Candidate, CleaningState)? {
        var candidates: [Candidate] = []
        var dirtiest = 0.0
        let uncleanable = self.uncleanablePartitions
        for log in manager.allLogs where !uncleanable.contains(log.topicPartition) {
            guard let directory = manager.directory(of: log.topicPartition) else { continue }
            do throws(IOError) {
                guard let found = try self.candidate(log, directory, now) else { continue }
                dirtiest = max(dirtiest, found.dirtiness.ratio)
                if found.dirtiness.isWorthCleaning(minRatio: log.config.minCleanableDirtyRatio) {
                    candidates.append(found)
                }
            } catch {
                if error.code == ENOENT || error.code == EMFILE { continue }
                log.environment.readFailed(error, log.path)
                _ = self.state.withLock { $0.uncleanable.insert(log.topicPartition) }
                log.notice(.error, "cannot be cleaned, and is left as it is until the next start: \(error)")
            }
        }
        self.state.withLock { $0.counters.maxDirtyRatio = dirtiest }
        candidates.sort { $0.dirtiness.ratio > $1.dirtiness.ratio }
        for candidate in candidates {
            if let cleaning = candidate.log.beginCleaning() { return (candidate, cleaning) }
        }
        return nil
    }

    private func candidate(_ log: PartitionLog, _ directory: LogDirectory, _ now: Int64) throws(IOError) -> Candidate? {
        guard let view = try log.cleanableView() else { return nil }
        let checkpoint = self.checkpoint(log.topicPartition, directory)
        var known = checkpoint
        if let cut = view.truncatedTo, let offset = checkpoint { known = min(offset, cut) }
        let (first, isValid) = CleanableRange.firstDirtyOffset(
            checkpoint: known, logStartOffset: view.offsets.logStartOffset, logEndOffset: view.offsets.logEndOffset)
        if !isValid || known != checkpoint {
            if !isValid, !view.config.cleanupPolicy.contains(.delete) {
                log.notice(
                    .warning,
                    "the cleaner's checkpoint \(known ?? -1) is not within the log, which is dirty from \(first) on")
            }
            self.setCheckpoint(log.topicPartition, first, directory)
        }
        view.cleaning?.truncationIsNoted()
        let dirty = view.sealed.filter { $0.nextOffset > first }
        let segments = view.sealed.map { CleanableSegment($0) }
        let range = CleanableRange(
            firstDirtyOffset: first, mustUpdateCheckpoint: false, sealed: segments,
            activeBaseOffset: view.activeBaseOffset, lastStableOffset: view.offsets.lastStableOffset,
            firstTooYoung: try log.firstTooYoung(dirty, lagMs: view.config.minCompactionLagMs, now: now))
        var dirtiness = Dirtiness(range, sealed: segments)
        guard dirtiness.cleanableBytes > 0 else { return nil }
        dirtiness.isOverdue = try log.isOverdue(dirty, lagMs: view.config.maxCompactionLagMs, now: now)
        return Candidate(log: log, directory: directory, range: range, dirtiness: dirtiness)
    }
}
