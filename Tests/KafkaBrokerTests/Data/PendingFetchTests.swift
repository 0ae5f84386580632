import Glibc
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaBroker
@testable import KafkaLog

/// Fetches of what must be read from the disk, or checked, before it is served: here what was written before a restart.
@Suite struct PendingFetchTests {
    /// Holds up the threads that read, until it is opened.
    private final class Gate: Sendable {
        private let gate = Semaphore()
        private let entered = Atomic(0)
        private static let threads = 3

        init(_ test: TestBroker) throws {
            for _ in 0..<Self.threads {
                test.broker.replicaManager.logManager.reads.submit { [self] in
                    self.entered.add(1, ordering: .relaxed)
                    self.gate.wait()
                }
            }
            try waitUntil("all threads held") { self.entered.load(ordering: .relaxed) == Self.threads }
        }

        func open() { for _ in 0..<Self.threads { self.gate.signal() } }
    }

    private static let scrubsNothing = "ottla.scrub.bytes.per.second=0"

    /// A broker that was restarted, with a topic of two partitions: ten batches in the first, none in the second.
    private func restarted(whileStopped: (TestBroker) throws -> Void = { _ in }) throws -> (TestBroker, TestTopic) {
        let test = try TestBroker(Self.scrubsNothing)
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        for index in 0..<10 { try client.produce(topic, batch("\(index)")) }
        try test.restart { try whileStopped(test) }
        return (test, topic)
    }

    private func values(_ partition: FetchResponse.PartitionData) throws -> [String] {
        try batches(in: partition.records).flatMap(\.records).map { String(decoding: $0.value ?? [], as: UTF8.self) }
    }

    private var all: [String] { (0..<10).map { "\($0)-0" } }

    @Test(arguments: [4, 12, 13] as [Int16])
    func itIsParkedAndAnswered(version: Int16) throws {
        let (test, topic) = try self.restarted()
        let (client, other) = (try test.client(), try test.client())
        let gate = try Gate(test)
        let id = try client.sendOnly(FetchRequest(topic, from: 0, maxWaitMs: 15_000), version: version)
        let partition = try test.partition(topic)
        try test.waitForWaiters(1, of: partition)
        // Nobody else waits: neither other requests, nor appends, which do not answer it.
        _ = try other.send(MetadataRequest(), version: 9)
        try other.produce(topic, batch("new"))
        // It was woken, and goes on waiting.
        try test.waitForWaiters(1, of: partition)
        #expect(!client.hasAnswer)
        gate.open()
        let answer = try client.receive(FetchRequest.self, version: version, correlationID: id).only
        #expect(answer.errorCode == .none && answer.highWatermark == 11)
        #expect(try self.values(answer).starts(with: self.all))
        #expect(partition.waitingCount == 0)
    }

    /// It has no time to wait for records, but Kafka's threads would wait for the disk.
    @Test func withoutTimeToWaitItWaitsForTheDisk() throws {
        let (test, topic) = try self.restarted()
        let (client, other) = (try test.client(), try test.client())
        // Its files are looked at with that.
        try other.produce(topic, batch("there"), at: 1)
        let gate = try Gate(test)
        let ids = try [0, 1, 100].map {
            try test.client().held(FetchRequest(topic, from: 0, maxWaitMs: $0))
        }
        try test.waitForWaiters(3, of: test.partition(topic))
        // Their time is long over when this one's is.
        _ = try other.send(FetchRequest(topic, 1, from: 1, maxWaitMs: 400), version: 12)
        for (client, _) in ids { #expect(!client.hasAnswer) }
        gate.open()
        for (client, id) in ids {
            let answer = try client.receive(FetchRequest.self, version: 12, correlationID: id).only
            #expect(try self.values(answer) == self.all)
        }
        // From now on it is known.
        let again = try client.send(FetchRequest(topic, from: 4), version: 12).only
        #expect(try self.values(again) == Array(self.all[4...]))
    }

    /// A disk that gives nothing: after five seconds more than asked for the client hears that there is nothing yet.
    @Test func theDiskHasFiveSeconds() throws {
        let (test, topic) = try self.restarted()
        let gate = try Gate(test)
        defer { gate.open() }
        let began = monotonicMs()
        let answer = try test.client().send(FetchRequest(topic, from: 0, maxWaitMs: 100), version: 12).only
        #expect(monotonicMs() - began >= 5099)
        #expect(answer.errorCode == .none && answer.records?.isEmpty != false && answer.highWatermark == 10)
        #expect(try test.partition(topic).waitingCount == 0)
    }

    @Test func whatOthersGiveDoesNotWait() throws {
        let (test, topic) = try self.restarted()
        let client = try test.client()
        try client.produce(topic, batch("there"), at: 1)
        let gate = try Gate(test)
        var request = FetchRequest(topic, 0, from: 0, maxWaitMs: 15_000)
        request.add(topic, 1, from: 0)
        var answer = try client.send(request, version: 12)
        #expect(answer.partitions.map(\.errorCode) == [.none, .none])
        #expect(try answer.partitions.map { try self.values($0) } == [[], ["there-0"]])
        #expect(answer.partitions[0].highWatermark == 10)
        // More than the other gives is waited for.
        request.minBytes = 500
        let id = try client.sendOnly(request, version: 12)
        try test.waitForWaiters(1, of: test.partition(topic))
        gate.open()
        answer = try client.receive(FetchRequest.self, version: 12, correlationID: id)
        #expect(try answer.partitions.map { try self.values($0) } == [self.all, ["there-0"]])
    }

    @Test func aSessionIsLentMeanwhile() throws {
        let (test, topic) = try self.restarted()
        let (client, other) = (try test.client(), try test.client())
        try client.produce(topic, batch("there"), at: 1)
        var full = FetchRequest(session: 0, epoch: 0)
        full.add(topic, 1, from: 0)
        let session = try client.send(full, version: 12).sessionID
        #expect(session != 0)
        let gate = try Gate(test)
        var more = FetchRequest(session: session, epoch: 1, maxWaitMs: 15_000)
        more.add(topic, 1, from: 1)
        more.add(topic, 0, from: 0)
        let id = try client.sendOnly(more, version: 12)
        try test.waitForWaiters(1, of: test.partition(topic))
        let refused = try other.send(FetchRequest(session: session, epoch: 2), version: 12)
        #expect(refused.errorCode == .invalidFetchSessionEpoch)
        gate.open()
        let answer = try client.receive(FetchRequest.self, version: 12, correlationID: id)
        let records = answer.partitions.filter { $0.records?.isEmpty == false }
        #expect(records.map(\.partitionIndex) == [0])
        #expect(try self.values(try #require(records.first)) == self.all)
        // It goes on: only what is new is told.
        try other.produce(topic, batch("next"), at: 1)
        var next = FetchRequest(session: session, epoch: 2)
        next.add(topic, 0, from: 10)
        let last = try client.send(next, version: 12)
        #expect(last.errorCode == .none && last.partitions.map(\.partitionIndex) == [1])
    }

    @Test func aClientThatGoesAwayLeavesNothingBehind() throws {
        let (test, topic) = try self.restarted()
        let partition = try test.partition(topic)
        let gate = try Gate(test)
        do {
            let client = try test.client()
            try client.sendOnly(FetchRequest(topic, from: 0, maxWaitMs: 15_000), version: 12)
            try test.waitForWaiters(1, of: partition)
        }
        try test.waitForWaiters(0, of: partition)
        gate.open()
        let answer = try test.client().send(FetchRequest(topic, from: 0, maxWaitMs: 15_000), version: 12).only
        #expect(try self.values(answer) == self.all)
    }

    @Test func aTopicThatIsDeletedMeanwhile() throws {
        let (test, topic) = try self.restarted()
        let client = try test.client()
        let gate = try Gate(test)
        let id = try client.sendOnly(FetchRequest(topic, from: 0, maxWaitMs: 15_000), version: 12)
        try test.waitForWaiters(1, of: test.partition(topic))
        try test.deleteTopic(topic)
        let answer = try client.receive(FetchRequest.self, version: 12, correlationID: id).only
        #expect(answer.errorCode == .unknownTopicOrPartition)
        gate.open()
    }

    /// What comes before and behind damage is served, the damaged batch is refused, whoever waits for it or not.
    @Test func damageIsFoundBeforeItIsServed() throws {
        let (test, topic) = try self.restarted { test in
            let path = test.folder + "/data/t-0/00000000000000000000.log"
            var bytes = try #require(try FileSystem.contents(path))
            let size = bytes.count / 10
            bytes[5 * size + size - 3] ^= 0x20
            let file = try FileSystem.open(path, .readWrite)
            try FileSystem.writeAll(file, bytes, at: 0)
        }
        let gate = try Gate(test)
        let sent = try [0, 5, 6, 9].map { try test.client().held(FetchRequest(topic, from: $0, maxWaitMs: 15_000)) }
        try test.waitForWaiters(4, of: test.partition(topic))
        gate.open()
        let answers = try sent.map { client, id in
            try client.receive(FetchRequest.self, version: 12, correlationID: id).only
        }
        #expect(answers.map(\.errorCode) == [.none, .corruptMessage, .none, .none])
        #expect(try answers.map { try self.values($0) } == [Array(self.all[..<5]), [], Array(self.all[6...]), ["9-0"]])
        // Now that it is known too, and beside a partition that has something.
        let client = try test.client()
        try client.produce(topic, batch("there"), at: 1)
        var request = FetchRequest(topic, 0, from: 5, maxWaitMs: 15_000)
        request.add(topic, 1, from: 0)
        let both = try client.send(request, version: 12).partitions
        #expect(both.map(\.errorCode) == [.corruptMessage, .none])
        let counters = test.broker.replicaManager.logManager.counters
        #expect(counters.corruptRanges.load(ordering: .relaxed) == 1)
    }
}

extension TestClient {
    /// Sends a fetch, for later.
    fileprivate func held(_ request: FetchRequest) throws -> (TestClient, Int32) {
        (self, try self.sendOnly(request, version: 12))
    }
}
