import Glibc
import Synchronization

/// A run of bytes of a segment that is not served.
package struct DamagedRange: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        /// The bytes are not what was written: CORRUPT_MESSAGE.
        case corrupt
        /// The disk does not give them (errno): KAFKA_STORAGE_ERROR. It is asked again after a while.
        case unreadable(CInt)
    }

    /// Where it begins and ends in the file.
    package var start: Int
    package var end: Int
    /// The offsets that it held lie from here on …
    package var firstOffset: Int64
    /// … and before this.
    package var endOffset: Int64
    package var kind: Kind
    /// The wall clock when it was found.
    package var foundMs: Int64

    func contains(_ position: Int) -> Bool { position >= self.start && position < self.end }

    /// A disk is asked again after so long.
    static let retryMs: Int64 = 10_000

    func isOver(now: Int64) -> Bool {
        if case .corrupt = self.kind { return false }
        return now &- self.foundMs >= Self.retryMs || now < self.foundMs
    }
}

/// Which parts of one segment are known to be whole, and which to be damaged. There is none where all was written by
/// this process, nor where nobody has asked yet.
final class SegmentChecks: Sendable {
    /// Batches that were read and found whole.
    struct CheckedRange: Sendable {
        var start: Int
        var end: Int
        /// Of its first batch.
        var firstOffset: Int64
        /// The least that the batch after it may have.
        var nextOffset: Int64

        /// What is left of it where a part was found damaged later.
        fileprivate func without(_ damage: DamagedRange) -> [CheckedRange] {
            guard damage.start < self.end, self.start < damage.end else { return [self] }
            var left: [CheckedRange] = []
            if self.start < damage.start {
                left.append(
                    CheckedRange(
                        start: self.start, end: damage.start, firstOffset: self.firstOffset,
                        nextOffset: damage.firstOffset))
            }
            if damage.end < self.end {
                left.append(
                    CheckedRange(
                        start: damage.end, end: self.end, firstOffset: damage.endOffset, nextOffset: self.nextOffset))
            }
            return left
        }
    }

    enum Admission: Equatable {
        case all
        /// Up to this position, at which a batch begins.
        case upTo(Int)
        case unchecked
        case damaged(DamagedRange.Kind)
    }

    private struct State {
        /// All from here on was written by this process, or checked when it started.
        var trustedFrom: Int
        /// Before that. Ascending; neither overlapping nor touching.
        var checked: [CheckedRange] = []
        /// Ascending. They go first: they may lie in what was trusted.
        var damaged: [DamagedRange] = []
    }

    private static let maxChecked = 128
    private static let maxDamaged = 256

    private let state: Mutex<State>

    init(trustedFrom: Int) { self.state = Mutex(State(trustedFrom: trustedFrom)) }

    var damaged: [DamagedRange] { self.state.withLock { $0.damaged } }

    /// What a walk leaves out.
    func damagedNow() -> [DamagedRange] {
        let damaged = self.damaged
        if damaged.isEmpty { return [] }
        let now = wallClockMs()
        return damaged.filter { !$0.isOver(now: now) }
    }

    /// Nothing is left to check, and nothing is damaged.
    var isWhole: Bool {
        self.state.withLock { state in
            guard state.damaged.isEmpty else { return false }
            if state.trustedFrom == 0 { return true }
            return state.checked.first.map { $0.start == 0 && $0.end >= state.trustedFrom } ?? false
        }
    }

    /// What of a run of batches may be served.
    func admit(_ start: Int, _ end: Int, now: Int64) -> Admission {
        self.state.withLock { state in
            var limit = Int.max
            for range in state.damaged where range.end > start {
                if range.start <= start { return range.isOver(now: now) ? .unchecked : .damaged(range.kind) }
                limit = range.start
                break
            }
            var reach = start
            while reach < end {
                if reach >= state.trustedFrom {
                    reach = end
                } else if let range = state.checked.first(where: { $0.start <= reach && $0.end > reach }) {
                    reach = range.end
                } else {
                    break
                }
            }
            reach = min(reach, limit)
            return reach >= end ? .all : reach > start ? .upTo(reach) : .unchecked
        }
    }

    /// Whether nothing but what is known lies just before a position, so that a gap in the offsets there is real.
    func isKnown(before position: Int) -> Bool {
        self.state.withLock { state in
            position == 0 || position > state.trustedFrom
                || state.checked.contains { $0.start < position && position <= $0.end }
                || state.damaged.contains { $0.end == position }
        }
    }

    /// The damage in which an offset lies.
    func damage(at offset: Int64, now: Int64) -> DamagedRange? {
        self.state.withLock { state in
            state.damaged.first { $0.firstOffset <= offset && offset < $0.endOffset && !$0.isOver(now: now) }
        }
    }

    /// The last position known to begin a batch that is not behind an offset, and the least offset that it may have.
    func anchor(atOrBefore offset: Int64) -> (position: Int, nextOffset: Int64)? {
        self.state.withLock { state in
            var best: (position: Int, nextOffset: Int64)?
            func offer(_ position: Int, _ nextOffset: Int64) {
                if nextOffset <= offset, position > best?.position ?? -1 { best = (position, nextOffset) }
            }
            for range in state.checked {
                offer(range.start, range.firstOffset)
                offer(range.end, range.nextOffset)
            }
            for range in state.damaged { offer(range.end, range.endOffset) }
            return best
        }
    }

    /// The least offset that the batch at a position may have; nil where nothing before it is checked.
    func nextOffset(at position: Int) -> Int64? {
        self.state.withLock { state in
            for range in state.checked {
                if range.end == position { return range.nextOffset }
                if range.start <= position, position < range.end { return range.firstOffset }
            }
            return nil
        }
    }

    /// - Parameter range: not empty.
    func note(checked range: CheckedRange) {
        self.state.withLock { state in
            // What was found whole now is whole, whatever was found before (another copy of the file, a better disk). Of a
            // longer run of damage the rest stays.
            var damaged: [DamagedRange] = []
            for old in state.damaged {
                guard old.end > range.start, old.start < range.end else {
                    damaged.append(old)
                    continue
                }
                var (before, behind) = (old, old)
                (before.end, before.endOffset) = (range.start, range.firstOffset)
                (behind.start, behind.firstOffset) = (range.end, range.nextOffset)
                if before.start < before.end { damaged.append(before) }
                if behind.start < behind.end { damaged.append(behind) }
            }
            state.damaged = damaged
            var merged = range
            var kept: [CheckedRange] = []
            for other in state.checked {
                guard other.end >= merged.start, other.start <= merged.end else {
                    kept.append(other)
                    continue
                }
                if other.start < merged.start { (merged.start, merged.firstOffset) = (other.start, other.firstOffset) }
                if other.end > merged.end { (merged.end, merged.nextOffset) = (other.end, other.nextOffset) }
            }
            if kept.count >= Self.maxChecked,
                let smallest = kept.indices.min(by: { kept[$0].end - kept[$0].start < kept[$1].end - kept[$1].start })
            {
                // It is checked again when it is read again.
                kept.remove(at: smallest)
            }
            kept.insert(merged, at: kept.firstIndex { $0.start > merged.start } ?? kept.count)
            state.checked = kept
        }
    }

    /// - Returns: whether it was not known.
    func note(damage range: DamagedRange) -> Bool {
        self.state.withLock { state in
            if let known = state.damaged.firstIndex(where: { $0.start == range.start && $0.end == range.end }) {
                state.damaged[known] = range
                return false
            }
            var merged = range
            var kept: [DamagedRange] = []
            for other in state.damaged {
                if other.end <= merged.start || other.start >= merged.end {
                    kept.append(other)
                } else {
                    merged.start = min(merged.start, other.start)
                    merged.end = max(merged.end, other.end)
                    merged.firstOffset = min(merged.firstOffset, other.firstOffset)
                    merged.endOffset = max(merged.endOffset, other.endOffset)
                }
            }
            if kept.count >= Self.maxDamaged, let last = kept.popLast() {
                // More holes than log: the last ones become one.
                merged.start = min(merged.start, last.start)
                merged.end = max(merged.end, last.end)
                merged.firstOffset = min(merged.firstOffset, last.firstOffset)
                merged.endOffset = max(merged.endOffset, last.endOffset)
            }
            kept.insert(merged, at: kept.firstIndex { $0.start > merged.start } ?? kept.count)
            state.damaged = kept
            state.checked = state.checked.flatMap { $0.without(merged) }
            return true
        }
    }
}
