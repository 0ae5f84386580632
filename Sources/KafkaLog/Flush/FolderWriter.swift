import COttla
import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

/// The thread that writes for a data folder while its disk is slow, so that no event loop waits for it.
///
/// A write to the page cache takes microseconds, until the kernel holds up who writes: too much is dirty, or the device
/// hangs. Such a write is seen by how long it takes, or by how long one has been under way. From then on, and for a second
/// after the last slow one, batches are copied and written here, in order.
package final class FolderWriter: Sendable {
    /// A write that takes so long is slow, ms.
    static let slowMs: UInt64 = 50
    /// How long a folder counts as slow after such a write, ms.
    static let slowForMs: UInt64 = 1000
    /// So many bytes wait at most, then nothing is taken. From half of it on a connection is read no further.
    let fullBytes = Atomic(64 << 20)

    private let executor: any BackgroundExecutor
    /// When the write under way began; 0 without one. With several at once it is the first one's.
    private let busySince = Atomic<UInt64>(0)
    private let slowUntil = Atomic<UInt64>(0)
    private let bytes = Atomic(0)
    /// For tests: called before each write of this thread.
    let beforeWrite = CallbackSlot<Void>()

    init(_ executor: any BackgroundExecutor) { self.executor = executor }

    /// A clock that costs a few nanoseconds and goes in steps of some milliseconds.
    @inline(__always) static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        return UInt64(truncatingIfNeeded: time.tv_sec) &* 1000 &+ UInt64(truncatingIfNeeded: time.tv_nsec / 1_000_000)
    }

    /// Whether appends should not be made on an event loop.
    @inline(__always) func isSlow() -> Bool {
        let since = self.busySince.load(ordering: .relaxed)
        let until = self.slowUntil.load(ordering: .relaxed)
        if since == 0, until == 0 { return false }
        let now = Self.now()
        return now < until || (since != 0 && now &- since >= Self.slowMs && now > since)
    }

    package func markSlow(forMs duration: UInt64 = slowForMs) {
        self.slowUntil.store(Self.now() &+ duration, ordering: .relaxed)
    }

    /// Around a write.
    @inline(__always) func begin() -> UInt64 {
        let now = Self.now()
        _ = self.busySince.compareExchange(expected: 0, desired: now, ordering: .relaxed)
        return now
    }

    @inline(__always) func end(_ began: UInt64) {
        _ = self.busySince.compareExchange(expected: began, desired: 0, ordering: .relaxed)
        if Self.now() &- began >= Self.slowMs { self.markSlow() }
    }

    // MARK: what waits

    var waitingBytes: Int { self.bytes.load(ordering: .relaxed) }
    var isCrowded: Bool { self.waitingBytes > self.fullBytes.load(ordering: .relaxed) / 2 }

    /// False: there is no room.
    func reserve(_ count: Int) -> Bool {
        let full = self.fullBytes.load(ordering: .relaxed)
        guard self.waitingBytes &+ count <= full || self.waitingBytes == 0 else { return false }
        self.bytes.add(count, ordering: .relaxed)
        return true
    }

    func submit(_ count: Int, _ job: @escaping @Sendable () -> Void) {
        self.executor.submit {
            job()
            self.bytes.subtract(count, ordering: .relaxed)
        }
    }
}

/// The writers of a broker's data folders, made on first use.
package final class FolderWriters: Sendable {
    private let writers = Mutex<[(folder: String, writer: FolderWriter, threads: BackgroundThreads?)]>([])
    private let makeExecutor: (@Sendable () -> any BackgroundExecutor)?

    /// - Parameter makeExecutor: for tests; else each folder gets a thread when it first needs one.
    package init(_ makeExecutor: (@Sendable () -> any BackgroundExecutor)? = nil) { self.makeExecutor = makeExecutor }

    /// - Parameter path: of a partition's folder.
    func writer(forPartitionAt path: String) -> FolderWriter {
        self.writers.withLock { writers in
            // A few folders, and many partitions at a start.
            let bytes = path.utf8
            for entry in writers {
                let count = entry.folder.utf8.count
                guard bytes.count > count, path.hasPrefix(entry.folder) else { continue }
                let rest = bytes.dropFirst(count)
                if rest.first == UInt8(ascii: "/"), !rest.dropFirst().contains(UInt8(ascii: "/")) {
                    return entry.writer
                }
            }
            let threads = self.makeExecutor == nil ? BackgroundThreads(threads: 1) : nil
            let writer = FolderWriter(threads ?? self.makeExecutor?() ?? BackgroundThreads(threads: 1))
            writers.append((FileSystem.parent(of: path), writer, threads))
            return writer
        }
    }

    /// Writes what waits and ends the threads.
    package func stop() {
        let threads = self.writers.withLock { writers in writers.compactMap(\.threads) }
        for threads in threads { threads.stop() }
    }
}
