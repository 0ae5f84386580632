import KafkaPrimitives
import Synchronization

/// What a read waits for.
struct PendingRead: Sendable {
    /// The segment.
    var base: Int64
    /// The offset asked for.
    var offset: Int64
    /// Where its batch begins, where that is known and can be trusted.
    var position: Int?
    /// The segment's size then: where another has come in its place (compaction), the position is not to be believed.
    var segmentEnd: Int?
    /// So much is wanted.
    var bytes: Int
    /// The reader goes through the log: more is read than is wanted.
    var isSequential = false
    /// Nobody waits for it yet.
    var isAhead = false
}

/// Reads of what is not in the page cache or not checked yet, on threads of their own: a few, each with one block in
/// memory. One read serves all who wait for the same part of a segment.
package final class ReadPool: Sendable {
    enum Start {
        /// `onDone` will be called.
        case waiting
        /// It was tried a moment ago.
        case failed(ErrorCode)
        /// It was read a moment ago, and what was read is gone again or the file system does not tell: not to be waited
        /// for once more.
        case again
    }

    private struct Key: Hashable {
        var log: ObjectIdentifier
        var base: Int64
        /// A part of `ReadPool.piece` bytes, or an offset.
        var place: Int64
    }

    private struct State {
        var inFlight: Set<Key> = []
        /// By what exactly was asked for; the result, and until when it holds.
        var recent: [Key: (result: ErrorCode, until: Int64)] = [:]
        var isStopped = false
    }

    /// What is looked at and read at once, for one reader.
    static let piece = 1 << 20
    /// How far ahead of a sequential reader is read.
    static let ahead = 2 << 20
    private static let recentMs: Int64 = 1000
    private static let maxAheadsInFlight = 64

    private let threads: any BackgroundExecutor
    /// Those of its own.
    private let ownThreads: BackgroundThreads?
    private let state = Mutex(State())
    private let done = CallbackSlot<TopicPartition>()

    /// Threads are started when there is work for them.
    init(threads: Int = 3) {
        let threads = BackgroundThreads(threads: threads)
        (self.threads, self.ownThreads) = (threads, threads)
    }

    /// - Parameter executor: for tests.
    init(executor: any BackgroundExecutor) { (self.threads, self.ownThreads) = (executor, nil) }

    /// Called, on one of the pool's threads, each time that something of a partition was read: who waits for it looks
    /// again. (Looks first where it began to wait after it was told to.)
    package func onDone(_ body: @escaping @Sendable (TopicPartition) -> Void) { self.done.set(body) }

    /// Runs a job that reads, after those before it. Not after the end.
    package func submit(_ job: @escaping @Sendable () -> Void) { self.threads.submit(job) }

    /// Whether a part of a file, whose batches were checked before, is in the page cache. Where it is not it is read, and
    /// `whenThere` called then.
    package func isThere(
        _ file: LogFile, at position: Int, count: Int, whenThere: @escaping @Sendable () -> Void
    ) -> Bool {
        if FileSystem.isResident(file, at: position, count: count, isSettled: true) { return true }
        if self.state.withLock({ $0.isStopped }) { return true }
        self.threads.submit {
            withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 16) { block in
                var done = 0
                while done < count {
                    let piece = UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, count - done)])
                    // What cannot be read is found out when it is sent.
                    guard let got = try? FileSystem.read(file, piece, at: position + done), got > 0 else { break }
                    done += got
                }
            }
            whenThere()
        }
        return false
    }

    /// Ends the threads. Not to be called on one of them.
    func stop() {
        self.state.withLock { $0.isStopped = true }
        self.ownThreads?.stop()
    }

    func start(_ read: PendingRead, of log: PartitionLog) -> Start {
        let shared = Self.key(log, read, isExact: false)
        let exact = Self.key(log, read, isExact: true)
        enum Decision {
            case start
            case known(Start)
        }
        let decision = self.state.withLock { state -> Decision in
            if state.inFlight.contains(shared) { return .known(.waiting) }
            if state.isStopped { return .known(.failed(.kafkaStorageError)) }
            if let recent = state.recent[exact] {
                if wallClockMs() < recent.until {
                    return .known(recent.result == .none ? .again : .failed(recent.result))
                }
                state.recent[exact] = nil
            }
            if read.isAhead, state.inFlight.count >= Self.maxAheadsInFlight { return .known(.waiting) }
            state.inFlight.insert(shared)
            return .start
        }
        guard case .start = decision else {
            guard case .known(let start) = decision else { return .again }
            return start
        }
        let counters = log.environment.counters
        if read.isAhead { counters.add(counters.readAheads) } else { counters.add(counters.pendingReads) }
        self.threads.submit {
            let result = log.prepare(read)
            self.finish(shared, exact, result)
            self.done(log.topicPartition)
        }
        return .waiting
    }

    private func finish(_ shared: Key, _ exact: Key, _ result: ErrorCode) {
        let now = wallClockMs()
        self.state.withLock { state in
            state.inFlight.remove(shared)
            if state.recent.count >= 1024 {
                state.recent = state.recent.filter { $0.value.until > now }
                if state.recent.count >= 4096 { state.recent = [:] }
            }
            state.recent[exact] = (result, now + Self.recentMs)
        }
    }

    private static func key(_ log: PartitionLog, _ read: PendingRead, isExact: Bool) -> Key {
        let place: Int64
        if let position = read.position, !isExact || read.isAhead {
            place = isExact ? .max - Int64(position) : Int64(position / Self.piece)
        } else {
            place = -1 &- read.offset
        }
        return Key(log: ObjectIdentifier(log), base: read.base, place: place)
    }
}
