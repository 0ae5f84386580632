internal import NIOCore
import Synchronization

/// Bounds what the buffers of unfinished requests hold, over all connections.
///
/// Reserved is what a buffer holds, when it grows because bytes arrived; a promised length reserves nothing. The last
/// tenth is for buffers of up to 64 KiB only, and those are never refused: large requests cannot lock small ones out.
/// A request that arrives within one read is never counted: it lies in a buffer that the loop's connections share.
/// When the pool is full, the connection that has made no progress for the longest is closed.
package final class RequestMemoryPool: Sendable {
    /// Whose buffers count as small.
    static let smallBytes = BufferPool.readSize

    private static let patience: UInt64 = 100_000_000

    package let capacity: Int
    private let largeCapacity: Int
    private let used = Atomic<Int>(0)
    /// Connections that wait for memory, over all loops.
    private let waiting = Atomic<Int>(0)
    private let evicting = Atomic<Bool>(false)
    private let loops = Mutex<[TransportLoop]>([])

    package init(capacity: Int) {
        self.capacity = capacity
        largeCapacity = capacity - capacity / 10
    }

    /// Bytes now reserved.
    package var inUse: Int { used.load(ordering: .relaxed) }

    func attach(_ all: [TransportLoop]) { loops.withLock { $0 = all } }

    /// Reserves for a large request, or answers false: then it waits, and somebody is evicted.
    func reserveLarge(_ bytes: Int) -> Bool {
        let before = used.add(bytes, ordering: .relaxed).oldValue
        if before + bytes <= largeCapacity { return true }
        used.subtract(bytes, ordering: .relaxed)
        evict(stalledFor: Self.patience)
        return false
    }

    /// Reserves for a buffer of up to `smallBytes`. Never refused; over the limit somebody else goes.
    func reserveSmall(_ bytes: Int) {
        if used.add(bytes, ordering: .relaxed).newValue > capacity { evict(stalledFor: 0) }
    }

    func release(_ bytes: Int) {
        guard bytes != 0 else { return }
        used.subtract(bytes, ordering: .relaxed)
        if waiting.load(ordering: .relaxed) > 0 { wakeWaiting() }
    }

    func waitingChanged(by delta: Int) { waiting.add(delta, ordering: .relaxed) }

    private func wakeWaiting() {
        for loop in loops.withLock({ $0 }) { loop.retryWaitingSoon() }
    }

    /// Has the stalest holder closed, one at a time, where it has made no progress for so long (nanoseconds): under
    /// honest load memory comes back soon. Who waits tries again with every release and every tick.
    private func evict(stalledFor patience: UInt64) {
        guard !evicting.exchange(true, ordering: .acquiring) else { return }
        let all = loops.withLock { $0 }
        let now = Clock.monotonic()
        for kind in HolderKind.evictionOrder {
            let victim = all.min { $0.oldest(kind) < $1.oldest(kind) }
            guard let victim, victim.oldest(kind) <= now &- patience else { continue }
            victim.eventLoop.execute { [self] in
                victim.closeStalest(kind)
                evicting.store(false, ordering: .releasing)
                if waiting.load(ordering: .relaxed) > 0 { wakeWaiting() }
            }
            return
        }
        evicting.store(false, ordering: .releasing)
    }
}

/// Why a connection holds memory between two reads.
enum HolderKind: Int, CaseIterable {
    /// A begun frame in a buffer over 64 KiB.
    case largeFrame
    /// A begun frame in a smaller one.
    case smallFrame
    /// Requests that wait for one before them, or for their client to read.
    case parked

    static let evictionOrder: [HolderKind] = [.largeFrame, .smallFrame, .parked]
}
