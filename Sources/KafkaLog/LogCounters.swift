import Synchronization

/// What the log has counted since the process started.
package final class LogCounters: Sendable {
    /// Damaged ranges found: batches, mostly.
    package let corruptRanges = Atomic(0)
    package let unreadableRanges = Atomic(0)
    /// Bytes whose CRC was checked before they were served, and by the scrubber.
    package let checkedBytes = Atomic(0)
    package let scrubbedBytes = Atomic(0)
    package let scrubCycles = Atomic(0)
    /// Reads for fetches that had to wait for the disk or a check.
    package let pendingReads = Atomic(0)
    /// Reads of what a fetch is likely to ask for next.
    package let readAheads = Atomic(0)
    /// Index files made anew.
    package let rebuiltIndexes = Atomic(0)

    func add(_ counter: borrowing Atomic<Int>, _ count: Int = 1) { counter.add(count, ordering: .relaxed) }
}
