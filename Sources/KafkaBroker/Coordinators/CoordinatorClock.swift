import Glibc
import KafkaCoordination
import KafkaLog

extension CoordinatorTime {
    /// Now, by both clocks. The monotonic one stands still while the machine sleeps, so that nobody's session ends
    /// because of that.
    static var current: CoordinatorTime {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        let monotonicMs = Int64(time.tv_sec) &* 1000 &+ Int64(time.tv_nsec) / 1_000_000
        return CoordinatorTime(monotonicMs: monotonicMs, wallMs: wallClockMs())
    }
}
