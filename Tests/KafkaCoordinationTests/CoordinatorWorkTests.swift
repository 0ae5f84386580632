import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaCoordination

/// Work that leaves a shard: when, and what becomes of its result.
@Suite struct CoordinatorWorkTests {
    /// Stores words. "word!" asks for work with it, whose result becomes a record too.
    struct WordShard: CoordinatorShard {
        typealias Request = String
        typealias Reply = String
        typealias TimerKey = Int
        typealias Continuation = Never
        typealias Work = String
        typealias WorkResult = String

        var words: [String] = []

        mutating func decide(
            _ request: String, ticket: ReplyTicket, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
        ) {
            if request != "ask" { effects.records = [CoordinatorRecord(key: Array(request.utf8), value: [])] }
            if request == "ask" || request.hasSuffix("!") { effects.work = [request] }
            effects.reply(ticket, "stored \(request)")
        }

        mutating func workDone(
            _ result: String, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
        ) {
            effects.records = [CoordinatorRecord(key: Array(result.utf8), value: [])]
        }

        mutating func replay(_ record: CoordinatorRecord, offset: Int64, producerID: Int64?) -> Bool {
            self.words.append(String(decoding: record.key, as: UTF8.self))
            return true
        }

        mutating func loaded(now: CoordinatorTime, effects: inout CoordinatorEffects<Self>) {
            effects.readsState = true
            effects.work = self.words.map { "loaded \($0)" }
        }

        mutating func timerFired(_ key: Int, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>) {}
        mutating func appended(
            _ continuation: Never, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
        ) {}
        mutating func appendFailed(
            _ continuation: Never, error: ErrorCode, now: CoordinatorTime, effects: inout CoordinatorEffects<Self>
        ) {}
        mutating func replayEndOfTransaction(producerID: Int64, isCommitted: Bool) {}
        mutating func unloaded(effects: inout CoordinatorEffects<Self>) {}
        static func failure(of request: String, _ error: ErrorCode) -> String { error.name }
    }

    final class Seen: Sendable {
        private let lines = Mutex<[String]>([])
        func add(_ line: String) { self.lines.withLock { $0.append(line) } }
        var all: [String] { self.lines.withLock { $0 } }
    }

    private let log = InMemoryLog()
    private let now = CoordinatorTime(monotonicMs: 0, wallMs: 0)
    private let seen = Seen()
    private let runtime: CoordinatorRuntime<WordShard>

    init() {
        self.runtime = CoordinatorRuntime(
            partitions: 1,
            carryOut: { [seen] work, partition, epoch in seen.add("work \(work) of \(partition) by \(epoch)") })
        self.open(epoch: 4)
    }

    private func open(epoch: Int32, words: [String] = []) {
        var shard = WordShard()
        shard.words = words
        #expect(self.runtime.beginLoading(0, epoch: epoch))
        self.runtime.finishLoading(
            0, epoch: epoch, shard: shard, log: self.log, endOffset: self.log.endOffset,
            highWatermark: self.log.highWatermark, now: self.now)
    }

    private func say(_ word: String) {
        self.runtime.perform(word, on: 0, now: self.now) { [seen] in seen.add($0) }
    }

    private var words: [String] { self.runtime.withShard(0) { $0.words } ?? [] }

    @Test func workLeavesBeforeTheReplyWhenItsRecordsAreCommitted() {
        self.say("a!")
        #expect(self.seen.all == ["work a! of 0 by 4", "stored a!"])
    }

    @Test func workWaitsForTheHighWatermark() {
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.say("a!")
        self.say("b!")
        #expect(self.seen.all.isEmpty)
        // However long that takes: a reply is given up, work is not.
        self.runtime.advance(now: CoordinatorTime(monotonicMs: 60_000, wallMs: 0))
        #expect(self.seen.all == ["COORDINATOR_NOT_AVAILABLE", "COORDINATOR_NOT_AVAILABLE"])
        self.runtime.highWatermarkAdvanced(0, to: 1, now: self.now)
        #expect(self.seen.all.dropFirst(2) == ["work a! of 0 by 4"])
        self.runtime.highWatermarkAdvanced(0, to: 2, now: self.now)
        #expect(self.seen.all.dropFirst(2) == ["work a! of 0 by 4", "work b! of 0 by 4"])
    }

    @Test func workOfADecisionWithoutRecordsDoesNotWait() {
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.say("a")
        self.say("ask")
        #expect(self.seen.all == ["work ask of 0 by 4", "stored ask"])
    }

    @Test func workOfRecordsThatAreNotStoredIsNotCarriedOut() {
        self.log.state.withLock { $0.nextError = .notEnoughReplicas }
        self.say("a!")
        #expect(self.seen.all == ["COORDINATOR_NOT_AVAILABLE"])
    }

    @Test func workThatWaitsIsDroppedWithItsShard() {
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.say("a!")
        self.runtime.unload(0)
        self.runtime.highWatermarkAdvanced(0, to: 1, now: self.now)
        #expect(self.seen.all == ["NOT_COORDINATOR"])
    }

    /// What was loaded may not be committed either.
    @Test func workOfLoadingWaitsToo() {
        self.log.state.withLock { $0.holdsHighWatermark = true }
        self.say("a")
        self.open(epoch: 5, words: ["a"])
        #expect(self.seen.all == ["NOT_COORDINATOR"])
        self.runtime.highWatermarkAdvanced(0, to: 1, now: self.now)
        #expect(self.seen.all.dropFirst() == ["work loaded a of 0 by 5"])
    }

    @Test func resultsOfAnotherEpochAreDropped() {
        self.runtime.workDone("result", on: 0, epoch: 4, now: self.now)
        self.runtime.workDone("late", on: 0, epoch: 3, now: self.now)
        self.runtime.workDone("nowhere", on: 7, epoch: 4, now: self.now)
        #expect(self.words == ["result"])
        self.runtime.unload(0)
        self.runtime.workDone("unloaded", on: 0, epoch: 4, now: self.now)
        self.open(epoch: 6, words: self.words)
        #expect(self.words.isEmpty)
    }
}
