import Testing

@testable import KafkaLog

@Suite("What of a log is cleaned, and which log")
struct CleanableRangeTests {
    private let segments = [
        CleanableSegment(baseOffset: 0, nextOffset: 10, size: 100),
        CleanableSegment(baseOffset: 10, nextOffset: 20, size: 200),
        CleanableSegment(baseOffset: 20, nextOffset: 30, size: 400),
    ]

    private func range(first: Int64 = 0, stable: Int64 = 35, young: Int64? = nil) -> CleanableRange {
        CleanableRange(
            firstDirtyOffset: first, mustUpdateCheckpoint: false, sealed: self.segments, activeBaseOffset: 30,
            lastStableOffset: stable, firstTooYoung: young)
    }

    @Test("Not the active segment, not from the last stable offset's segment on, nothing too young")
    func limits() {
        #expect(self.range().firstUncleanableOffset == 30)
        #expect(self.range(stable: 30).firstUncleanableOffset == 30)
        #expect(self.range(stable: 29).firstUncleanableOffset == 20)
        #expect(self.range(stable: 20).firstUncleanableOffset == 20)
        #expect(self.range(stable: 5).firstUncleanableOffset == 0)
        #expect(self.range(young: 10).firstUncleanableOffset == 10)
        #expect(self.range(first: 15, young: 10).firstUncleanableOffset == 15)
    }

    @Test("The checkpoint counts where it lies within the log")
    func checkpoint() {
        func first(_ checkpoint: Int64?) -> (Int64, Bool) {
            CleanableRange.firstDirtyOffset(checkpoint: checkpoint, logStartOffset: 5, logEndOffset: 30)
        }
        #expect(first(nil) == (5, true))
        #expect(first(5) == (5, true))
        #expect(first(30) == (30, true))
        #expect(first(4) == (5, false))
        #expect(first(31) == (5, false))
    }

    @Test("How dirty a log is")
    func dirtiness() {
        var half = Dirtiness(self.range(first: 20), sealed: self.segments)
        #expect(half.cleanBytes == 300)
        #expect(half.cleanableBytes == 400)
        #expect(half.isWorthCleaning(minRatio: 0.5))
        #expect(!half.isWorthCleaning(minRatio: 0.6))
        half.isOverdue = true
        #expect(half.isWorthCleaning(minRatio: 0.6))
        // A segment that is dirty in part counts on both sides, as in Kafka.
        let part = Dirtiness(self.range(first: 15), sealed: self.segments)
        #expect(part.cleanBytes == 300)
        #expect(part.cleanableBytes == 600)
        var none = Dirtiness(self.range(first: 30), sealed: self.segments)
        none.isOverdue = true
        #expect(!none.isWorthCleaning(minRatio: 0))
    }

    @Test("Segments become one up to the sizes that one may have")
    func groups() {
        func member(_ base: Int64, _ next: Int64, _ size: Int, _ index: Int = 8, _ times: Int = 12)
            -> SegmentGroups.Member
        {
            .init(
                segment: CleanableSegment(baseOffset: base, nextOffset: next, size: size), indexBytes: index,
                timeIndexBytes: times)
        }
        let limits = SegmentGroups.Limits(bytes: 1000, indexBytes: 100)
        let three = [member(0, 10, 400), member(10, 20, 600), member(20, 30, 1)]
        #expect(SegmentGroups.make(three, limits: limits) == [0..<2, 2..<3])
        #expect(SegmentGroups.make([member(0, 10, 2000), member(10, 20, 1)], limits: limits) == [0..<1, 1..<2])
        #expect(SegmentGroups.make([member(0, 10, 1, 60), member(10, 20, 1, 41)], limits: limits) == [0..<1, 1..<2])
        #expect(SegmentGroups.make([member(0, 10, 1, 8, 60), member(10, 20, 1, 8, 41)], limits: limits).count == 2)
        let far = Int64(Int32.max)
        #expect(SegmentGroups.make([member(0, 10, 1), member(far, far + 1, 1)], limits: limits) == [0..<2])
        #expect(SegmentGroups.make([member(0, 10, 1), member(far, far + 2, 1)], limits: limits) == [0..<1, 1..<2])
        #expect(SegmentGroups.make([member(0, 10, 1), member(far, far + 2, 0)], limits: limits) == [0..<2])
        #expect(SegmentGroups.make([], limits: limits).isEmpty)
    }

    @Test("The throttle lets so much through, and a little at once")
    func throttle() {
        var rate = CleanerRate(bytesPerSecond: 1000)
        #expect(rate.take(50, nowNs: 1_000_000_000) == 0)
        #expect(rate.take(150, nowNs: 1_000_000_000) == 100_000_000)
        #expect(rate.take(0, nowNs: 1_100_000_000) == 0)
        #expect(rate.take(1000, nowNs: 9_000_000_000) == 900_000_000)
        var unlimited = CleanerRate(bytesPerSecond: .greatestFiniteMagnitude)
        #expect(unlimited.take(.max, nowNs: 0) == 0)
    }
}
