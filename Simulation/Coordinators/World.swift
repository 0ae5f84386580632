import KafkaLog
import KafkaPrimitives

/// What must never be.
struct Violation: Error {
    var message: String
    init(_ message: String) { self.message = message }
}

struct Totals {
    var steps = 0
    var crashes = 0
    var powerCuts = 0
    var requests = 0
    var lost = 0
    /// Those that clients were told to be committed.
    var transactions = 0
    var fenced = 0
}

/// One seed: simulated time, in which everything that happens is an event, and a network that loses, delays and
/// reorders. One thread; each run of a seed is the same.
final class World: @unchecked Sendable {
    typealias Event = () throws -> Void

    private struct Entry {
        var time: Int64
        var order: Int
        var event: Event
    }

    let seed: UInt64
    var random: SimulatedRandom
    /// Milliseconds since the beginning.
    private(set) var now: Int64 = 0
    /// No more faults: from here on everybody must get on.
    var isCalm = false
    var totals = Totals()
    var trace: [String]?
    /// By time, then by the order in which they were asked for. A heap.
    private var heap: [Entry] = []
    private var order = 0
    /// Found by somebody who cannot throw.
    var violation: Violation?

    init(seed: UInt64, isTraced: Bool) {
        self.seed = seed
        self.random = SimulatedRandom(seed &* 0xD134_2543_DE82_EF95 &+ 0x2545_F491)
        self.trace = isTraced ? [] : nil
    }

    func note(_ what: @autoclosure () -> String) {
        if self.trace != nil { self.trace!.append("\(self.totals.steps)  \(self.now) ms  \(what())") }
    }

    // MARK: Time

    func after(_ delayMs: Int64, _ event: @escaping Event) {
        self.order += 1
        self.heap.append(Entry(time: self.now + delayMs, order: self.order, event: event))
        var index = self.heap.count - 1
        while index > 0, Self.isBefore(self.heap[index], self.heap[(index - 1) / 2]) {
            self.heap.swapAt(index, (index - 1) / 2)
            index = (index - 1) / 2
        }
    }

    /// Lets the next thing happen. False: nothing is left, or it is later than `limit`.
    func step(until limit: Int64) throws -> Bool {
        guard let first = self.heap.first, first.time <= limit else { return false }
        let last = self.heap.removeLast()
        if !self.heap.isEmpty {
            self.heap[0] = last
            var index = 0
            while true {
                var least = index
                for child in [2 * index + 1, 2 * index + 2] where child < self.heap.count {
                    if Self.isBefore(self.heap[child], self.heap[least]) { least = child }
                }
                if least == index { break }
                self.heap.swapAt(index, least)
                index = least
            }
        }
        self.now = first.time
        self.totals.steps += 1
        try first.event()
        if let violation = self.violation { throw violation }
        return true
    }

    /// What was to come is not to come: it holds on to everybody.
    func end() { self.heap = [] }

    private static func isBefore(_ left: Entry, _ right: Entry) -> Bool {
        left.time != right.time ? left.time < right.time : left.order < right.order
    }

    // MARK: Chance

    /// Mostly some milliseconds, now and then much more.
    func delay() -> Int64 {
        if !self.isCalm && self.random.oneIn(20) { return Int64(self.random.below(4000)) }
        return Int64(1 + self.random.below(20))
    }

    func loses() -> Bool { !self.isCalm && self.random.oneIn(25) }

    private var lastNumber = 0

    func nextNumber() -> Int {
        self.lastNumber += 1
        return self.lastNumber
    }

    func uuid() -> KafkaUUID { KafkaUUID(high: self.random.next(), low: self.random.next()) }
}
