import COttla
import Glibc
import Synchronization

/// Keeps what the cleaners read and write together below a rate. Pure but for the time that it is told.
struct CleanerRate {
    /// Bytes a second.
    var bytesPerSecond: Double
    /// When what was taken up to now will have been due, in ns.
    private var dueNs: Int64 = 0

    /// So much may come at once.
    private static let burstNs: Int64 = 100_000_000

    init(bytesPerSecond: Double) { self.bytesPerSecond = bytesPerSecond }

    /// Takes `bytes`; how long to wait before going on, in ns.
    mutating func take(_ bytes: Int, nowNs: Int64) -> Int64 {
        guard self.bytesPerSecond > 0, self.bytesPerSecond < 1e15 else { return 0 }
        let cost = Double(bytes) / self.bytesPerSecond * 1e9
        self.dueNs = max(self.dueNs, nowNs - Self.burstNs) + Int64(min(cost, 3600e9))
        return max(0, self.dueNs - nowNs)
    }
}

/// The same for several threads, and with the waiting.
final class CleanerThrottle: Sendable {
    private let rate: Mutex<CleanerRate>

    init(bytesPerSecond: Double) { self.rate = Mutex(CleanerRate(bytesPerSecond: bytesPerSecond)) }

    func update(bytesPerSecond: Double) { self.rate.withLock { $0.bytesPerSecond = bytesPerSecond } }

    /// Waits as long as `bytes` more take, or until somebody wants it to end.
    func admit(_ bytes: Int, until isAborted: () -> Bool) {
        #if OTTLA_SIMULATED_FILES
            SimulatedDisk.current.onCleanerRead?()
        #endif
        var wait = self.rate.withLock { $0.take(bytes, nowNs: ottla_monotonic_ns()) }
        while wait > 0, !isAborted() {
            let nap = min(wait, 20_000_000)
            usleep(UInt32(nap / 1000))
            wait -= nap
        }
    }
}
