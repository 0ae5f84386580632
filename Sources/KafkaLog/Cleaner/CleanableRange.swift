/// What the decisions of compaction need to know of a segment that is not written to any more.
struct CleanableSegment: Sendable, Equatable {
    var baseOffset: Int64
    /// The next segment's.
    var nextOffset: Int64
    var size: Int
}

/// What of a log can be cleaned: from the first offset that was not, to a segment's begin.
struct CleanableRange: Equatable {
    var firstDirtyOffset: Int64
    /// Not before the first dirty one.
    var firstUncleanableOffset: Int64
    /// The checkpoint was not of this log as it is, and is to be put right.
    var mustUpdateCheckpoint = false

    /// Where the log's dirty part begins: the checkpoint, where it lies in the log, else the log's start.
    static func firstDirtyOffset(
        checkpoint: Int64?, logStartOffset: Int64, logEndOffset: Int64
    ) -> (offset: Int64, isCheckpointValid: Bool) {
        guard let checkpoint else { return (logStartOffset, true) }
        guard checkpoint >= logStartOffset, checkpoint <= logEndOffset else { return (logStartOffset, false) }
        return (checkpoint, true)
    }

    /// - Parameters:
    ///   - sealed: all but the active segment, which is never cleaned.
    ///   - firstTooYoung: the base of the first dirty segment with a record younger than min.compaction.lag.ms.
    init(
        firstDirtyOffset: Int64, mustUpdateCheckpoint: Bool, sealed: [CleanableSegment], activeBaseOffset: Int64,
        lastStableOffset: Int64, firstTooYoung: Int64?
    ) {
        var limit = min(lastStableOffset, activeBaseOffset)
        if let firstTooYoung { limit = min(limit, firstTooYoung) }
        // The segment that holds the limit is left alone as a whole.
        if limit < activeBaseOffset {
            limit = sealed.last { $0.baseOffset <= limit }?.baseOffset ?? limit
        }
        self.firstDirtyOffset = firstDirtyOffset
        self.firstUncleanableOffset = max(firstDirtyOffset, limit)
        self.mustUpdateCheckpoint = mustUpdateCheckpoint
    }

    /// Whether a segment is to be cleaned, and was not yet as a whole. One that goes on behind what is cleanable is not:
    /// where the log starts in the midst of it, `firstUncleanableOffset` is not its begin.
    func isDirty(_ segment: CleanableSegment) -> Bool {
        segment.nextOffset > self.firstDirtyOffset && segment.nextOffset <= self.firstUncleanableOffset
    }
}

/// How much a log needs cleaning.
struct Dirtiness: Equatable {
    var cleanBytes: Int
    var cleanableBytes: Int
    /// Something in it is older than max.compaction.lag.ms.
    var isOverdue = false

    init(_ range: CleanableRange, sealed: [CleanableSegment]) {
        self.cleanBytes = sealed.reduce(0) { $1.baseOffset < range.firstDirtyOffset ? $0 + $1.size : $0 }
        self.cleanableBytes = sealed.reduce(0) { sum, segment in
            return range.isDirty(segment) ? sum + segment.size : sum
        }
    }

    /// 0 to 1: the part that is dirty.
    var ratio: Double {
        let total = self.cleanBytes + self.cleanableBytes
        return total == 0 ? 0 : Double(self.cleanableBytes) / Double(total)
    }

    /// - Parameter minRatio: min.cleanable.dirty.ratio.
    func isWorthCleaning(minRatio: Double) -> Bool {
        guard self.cleanableBytes > 0 else { return false }
        return self.isOverdue || self.ratio > minRatio
    }
}

/// Which segments become one.
enum SegmentGroups {
    struct Limits {
        /// segment.bytes
        var bytes: Int
        /// segment.index.bytes, for each of the two indexes.
        var indexBytes: Int
    }

    struct Member: Equatable {
        var segment: CleanableSegment
        var indexBytes: Int
        var timeIndexBytes: Int
    }

    /// Groups in order, each not larger than a segment may be, with offsets that fit into 32 bits from the group's base.
    static func make(_ members: [Member], limits: Limits) -> [Range<Int>] {
        var groups: [Range<Int>] = []
        var start = 0
        while start < members.count {
            var end = start + 1
            var sum = members[start]
            while end < members.count {
                let next = members[end]
                guard sum.segment.size + next.segment.size <= limits.bytes,
                    sum.indexBytes + next.indexBytes <= limits.indexBytes,
                    sum.timeIndexBytes + next.timeIndexBytes <= limits.indexBytes,
                    next.segment.size == 0
                        || next.segment.nextOffset - 1 - members[start].segment.baseOffset <= Int64(Int32.max)
                else { break }
                sum.segment.size += next.segment.size
                sum.indexBytes += next.indexBytes
                sum.timeIndexBytes += next.timeIndexBytes
                end += 1
            }
            groups.append(start..<end)
            start = end
        }
        return groups
    }
}
