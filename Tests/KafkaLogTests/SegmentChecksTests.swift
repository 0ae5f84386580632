import Glibc
import Testing

@testable import KafkaLog

@Suite struct SegmentChecksTests {
    private func damage(_ start: Int, _ end: Int, _ first: Int64, _ next: Int64) -> DamagedRange {
        DamagedRange(
            start: start, end: end, firstOffset: first, endOffset: next, kind: .unreadable(EIO), foundMs: 1000)
    }

    /// The disk refuses a block in the midst of what was checked: what is known of the rest is known on its own.
    @Test func damageDividesWhatWasChecked() {
        let checks = SegmentChecks(trustedFrom: 1000)
        checks.note(checked: .init(start: 0, end: 1000, firstOffset: 100, nextOffset: 200))
        #expect(checks.note(damage: self.damage(400, 500, 140, 150)))
        #expect(checks.admit(0, 1000, now: 1000) == .upTo(400))
        #expect(checks.nextOffset(at: 400) == 140)
        #expect(checks.nextOffset(at: 500) == 150)
        // After a while it is asked again.
        let later = 1000 + DamagedRange.retryMs
        #expect(checks.admit(400, 1000, now: later) == .unchecked)
        #expect(checks.nextOffset(at: 400) == 140)
        checks.note(checked: .init(start: 400, end: 500, firstOffset: 140, nextOffset: 150))
        #expect(checks.admit(0, 1000, now: later) == .all)
        #expect(checks.nextOffset(at: 1000) == 200 && checks.isWhole)
    }

    @Test(arguments: [(0, 300), (700, 1000)]) func damageAtAnEndOfWhatWasChecked(start: Int, end: Int) {
        let checks = SegmentChecks(trustedFrom: 1000)
        checks.note(checked: .init(start: 0, end: 1000, firstOffset: 0, nextOffset: 100))
        #expect(checks.note(damage: self.damage(start, end, Int64(start / 10), Int64(end / 10))))
        #expect(checks.nextOffset(at: 700) == (start == 0 ? 30 : 70))
        #expect(checks.admit(start == 0 ? 300 : 0, start == 0 ? 1000 : 700, now: 1000) == .all)
    }
}
