import Testing

@testable import KafkaCoordination

@Suite struct TimerQueueTests {
    @Test func firesInOrderOfDeadlinesAndOfBeingSet() {
        var timers = TimerQueue<String>()
        timers.set("late", deadline: 30)
        timers.set("first", deadline: 10)
        timers.set("second", deadline: 10)
        #expect(timers.nextDeadline == 10)
        #expect(timers.popFirst(now: 9) == nil)
        #expect(timers.popFirst(now: 30) == "first")
        #expect(timers.popFirst(now: 30) == "second")
        #expect(timers.popFirst(now: 30) == "late")
        #expect(timers.popFirst(now: 30) == nil)
        #expect(timers.isEmpty)
        #expect(timers.nextDeadline == nil)
    }

    @Test func movingATimerForwardAndBackward() {
        var timers = TimerQueue<String>()
        timers.set("a", deadline: 10)
        timers.set("a", deadline: 50)
        #expect(timers.popFirst(now: 49) == nil)
        #expect(timers.nextDeadline == 50)
        timers.set("a", deadline: 20)
        #expect(timers.deadline(of: "a") == 20)
        #expect(timers.popFirst(now: 20) == "a")
        #expect(timers.popFirst(now: 100) == nil)
    }

    @Test func cancelledTimersDoNotFireAndDoNotPileUp() {
        var timers = TimerQueue<Int>()
        for round in 0..<10_000 {
            timers.set(round % 10, deadline: Int64(round))
            timers.cancel(round % 10)
        }
        #expect(timers.count == 0)
        #expect(timers.nextDeadline == nil)
        #expect(timers.popFirst(now: .max) == nil)
    }

    /// Against a plain list of deadlines.
    @Test func agreesWithAModel() {
        var random = SeededRandom(seed: 7)
        var timers = TimerQueue<Int>()
        var model: [Int: Int64] = [:]
        var now: Int64 = 0
        for _ in 0..<20_000 {
            let key = Int.random(in: 0..<50, using: &random)
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                let deadline = now + Int64.random(in: 0..<100, using: &random)
                timers.set(key, deadline: deadline)
                model[key] = deadline
            case 6..<8:
                timers.cancel(key)
                model[key] = nil
            default:
                now += Int64.random(in: 0..<30, using: &random)
                var last = Int64.min
                while let fired = timers.popFirst(now: now) {
                    let deadline = model.removeValue(forKey: fired)
                    #expect(deadline != nil && deadline! <= now && deadline! >= last)
                    last = deadline ?? last
                }
                #expect(model.values.allSatisfy { $0 > now })
            }
            #expect(timers.count == model.count)
            #expect((timers.nextDeadline ?? .max) <= (model.values.min() ?? .max))
        }
    }
}

/// SplitMix64.
struct SeededRandom: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
