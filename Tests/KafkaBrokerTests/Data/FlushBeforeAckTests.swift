import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaBroker

/// Holds up every sync of a broker until it is let go.
final class HeldSyncs {
    private let gate = Semaphore()
    private static let threads = 16

    init(_ broker: Broker) throws {
        let (gate, held) = (self.gate, Counter())
        for _ in 0..<Self.threads {
            broker.syncs.submit {
                held.add()
                gate.wait()
            }
        }
        try waitUntil("all threads held") { held.value == Self.threads }
    }

    func release() { for _ in 0..<Self.threads { self.gate.signal() } }
}

private final class Counter: Sendable {
    private let count = Atomic(0)
    func add() { self.count.add(1, ordering: .relaxed) }
    var value: Int { self.count.load(ordering: .relaxed) }
}

/// ottla.flush.before.ack and flush.messages, as clients see them.
@Suite struct FlushBeforeAckTests {
    @Test(arguments: [1, -1] as [Int16])
    func answersAndConsumersWaitForTheSync(acks: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", configs: ["ottla.flush.before.ack": "true"])
        let partition = try test.partition(topic)
        let (producer, consumer) = (try test.client(), try test.client())
        try producer.produce(topic, batch("first"), acks: acks)
        #expect(partition.log.highWatermark == 1)

        let held = try HeldSyncs(test.broker)
        let polled = try consumer.sendOnly(FetchRequest(topic, from: 1, maxWaitMs: 15_000), version: 12)
        try test.waitForWaiters(1, of: partition)
        let sent = try (0..<3).map { index in
            try producer.sendOnly(ProduceRequest(topic, batch("\(index)"), acks: acks), version: 9)
        }
        try waitUntil("three appends") { partition.log.logEndOffset == 4 }
        // A request on the same loop, or on the other: both have been through their mailboxes.
        for _ in 0..<4 {
            let other = try test.client()
            let seen = try other.send(FetchRequest(topic, from: 1), version: 12).only
            #expect(seen.records?.isEmpty ?? true)
            #expect(seen.highWatermark == 1 && seen.errorCode == .none)
        }
        #expect(!producer.hasAnswer && !consumer.hasAnswer)
        #expect(partition.waitingCount == 1)
        held.release()
        for (index, id) in sent.enumerated() {
            let answer = try producer.receive(ProduceRequest.self, version: 9, correlationID: id)
            let only = try #require(answer.responses.first?.partitionResponses.first)
            #expect(only.errorCode == .none && only.baseOffset == Int64(index) + 1)
        }
        let polls = try consumer.receive(FetchRequest.self, version: 12, correlationID: polled).only
        #expect(try batches(in: polls.records).map(\.header.baseOffset).first == 1)
        #expect(partition.log.highWatermark == 4)
    }

    @Test func onePartitionOfARequestHoldsUpItsAnswerAlone() throws {
        let test = try TestBroker()
        let safe = try test.makeTopic("safe", partitions: 2, configs: ["ottla.flush.before.ack": "true"])
        let fast = try test.makeTopic("fast")
        let (both, alone) = (try test.client(), try test.client())
        let held = try HeldSyncs(test.broker)
        var request = ProduceRequest(fast, batch())
        request.timeoutMs = 15_000
        request.add(safe, [(1, batch()), (0, [1, 2, 3]), (0, batch())])
        let id = try both.sendOnly(request, version: 11)
        #expect(try alone.produce(fast, batch()).errorCode == .none)
        try waitUntil("appends") { (try? test.partition(safe).log.logEndOffset) == 1 }
        // What goes to nobody who waits is in the log and answered in its order.
        let second = try both.sendOnly(ProduceRequest(fast, batch()), version: 11)
        try waitUntil("the second") { (try? test.partition(fast).log.highWatermark) == 3 }
        #expect(!both.hasAnswer)
        held.release()
        let answer = try both.receive(ProduceRequest.self, version: 11, correlationID: id)
        let codes = answer.responses.map { $0.partitionResponses.map(\.errorCode) }
        #expect(codes == [[.none], [.none, .invalidRecord, .none]])
        #expect(answer.responses[1].partitionResponses.map(\.baseOffset) == [0, -1, 0])
        #expect(
            try both.receive(ProduceRequest.self, version: 11, correlationID: second).responses.count == 1)
    }

    @Test(arguments: [3, 5, 8, 9, 13] as [Int16])
    func whatTakesTooLongTimesOutAndStays(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2, configs: ["ottla.flush.before.ack": "true"])
        let client = try test.client()
        let held = try HeldSyncs(test.broker)
        var request = ProduceRequest(topic, [(0, batch()), (1, batch()), (7, batch())])
        request.timeoutMs = 100
        let began = monotonicMs()
        let answer = try client.send(request, version: version).responses[0].partitionResponses
        #expect(monotonicMs() - began >= 99)
        let unknown: ErrorCode = .unknownTopicOrPartition
        #expect(answer.map(\.errorCode) == [.requestTimedOut, .requestTimedOut, unknown])
        #expect(answer.map(\.baseOffset) == [0, 0, -1])
        held.release()
        let logs = try [0, 1].map { try test.partition(topic, $0).log }
        try waitUntil("syncs") { logs.allSatisfy { $0.highWatermark == 1 } }
        #expect(try client.produce(topic, batch()).baseOffset == 1)
    }

    @Test func aSyncThatFailsIsAStorageError() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2, configs: ["ottla.flush.before.ack": "true"])
        let client = try test.client()
        let path = try test.partition(topic).log.path + "/00000000000000000000.log"
        #expect(unlink(path) == 0 && symlink("/dev/null", path) == 0)
        // It takes writes, but no sync.
        var request = ProduceRequest(topic, [(0, batch()), (1, batch())])
        request.timeoutMs = 15_000
        let answer = try client.send(request, version: 9).responses[0].partitionResponses
        #expect(answer.map(\.errorCode) == [.kafkaStorageError, .none])
        #expect(try client.produce(topic, batch()).errorCode == .kafkaStorageError)
        #expect(try client.send(FetchRequest(topic, from: 0), version: 12).only.highWatermark <= 0)
        #expect(try client.produce(topic, batch(), at: 1).baseOffset == 1)
    }

    @Test func acksZeroWaitsForNothing() throws {
        let test = try TestBroker("ottla.log.flush.before.ack=true")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        let held = try HeldSyncs(test.broker)
        try client.sendOnly(ProduceRequest(topic, batch(), acks: 0), version: 9)
        let seen = try client.send(FetchRequest(topic, from: 0), version: 12).only
        #expect(seen.highWatermark == 0 && seen.records?.isEmpty ?? true)
        held.release()
        try waitUntil("a sync") { (try? test.partition(topic).log.highWatermark) == 1 }
    }

    @Test func committedOffsetsWaitToo() throws {
        let test = try TestBroker("ottla.log.flush.before.ack=true", "offsets.topic.num.partitions=1")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        var find = FindCoordinatorRequest()
        find.coordinatorKeys = ["g"]
        try waitUntil("a coordinator") {
            (try? client.send(find, version: 4))?.coordinators.first?.errorCode == ErrorCode.none
        }
        var commit = OffsetCommitRequest()
        commit.groupID = "g"
        var entry = OffsetCommitRequest.Topic()
        entry.name = topic.name
        entry.partitions = [OffsetCommitRequest.Partition()]
        commit.topics = [entry]
        try waitUntil("a loaded coordinator") {
            let codes = try? client.send(commit, version: 8).topics.flatMap { $0.partitions.map(\.errorCode) }
            return codes == [ErrorCode.none]
        }
        let log = try #require(test.broker.groupCoordinator.partition(for: "g")).log
        let end = log.logEndOffset
        #expect(log.highWatermark == end)
        let held = try HeldSyncs(test.broker)
        let id = try client.sendOnly(commit, version: 8)
        try waitUntil("an append") { log.logEndOffset > end }
        #expect(!client.hasAnswer)
        held.release()
        let answer = try client.receive(OffsetCommitRequest.self, version: 8, correlationID: id)
        #expect(answer.topics[0].partitions[0].errorCode == .none)
    }

    @Test func flushMessagesWaitsOffTheLoop() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", configs: ["flush.messages": "2"])
        let (client, other) = (try test.client(), try test.client())
        let held = try HeldSyncs(test.broker)
        #expect(try client.produce(topic, batch()).errorCode == .none)
        let id = try client.sendOnly(ProduceRequest(topic, batch()), version: 9)
        let log = try test.partition(topic).log
        try waitUntil("an append") { log.logEndOffset == 2 }
        // Neither loop is held up.
        for _ in 0..<2 { #expect(try other.send(FetchRequest(topic, from: 0), version: 12).only.highWatermark == 1) }
        #expect(!client.hasAnswer)
        held.release()
        let answer = try client.receive(ProduceRequest.self, version: 9, correlationID: id)
        #expect(answer.responses[0].partitionResponses[0].errorCode == .none)
        #expect(log.highWatermark == 2)
    }

    /// Switched on and off, again and again, while several connections produce: every answer comes, in order, and all of
    /// it is there.
    @Test func switchedUnderLoad() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let stop = Flag()
        let port = test.broker.port
        let results = Mutex<[Int: Int64]>([:])
        let threads = (0..<3).map { index in
            startThread {
                guard let client = try? TestClient(port: port) else { return }
                var sent: Int64 = 0
                while !stop.isSet {
                    let ids = (0..<5).compactMap { _ in
                        try? client.sendOnly(ProduceRequest(topic, batch(), at: Int32(index % 2)), version: 9)
                    }
                    for id in ids {
                        guard let answer = try? client.receive(ProduceRequest.self, version: 9, correlationID: id),
                            answer.responses[0].partitionResponses[0].errorCode == .none
                        else { return }
                        sent += 1
                    }
                }
                let total = sent
                results.withLock { $0[index] = total }
            }
        }
        let admin = try test.client()
        for round in 0..<40 {
            var request = IncrementalAlterConfigsRequest()
            var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
            resource.resourceType = 2
            resource.resourceName = "t"
            var config = IncrementalAlterConfigsRequest.AlterableConfig()
            config.name = "ottla.flush.before.ack"
            config.value = round % 2 == 0 ? "true" : "false"
            resource.configs = [config]
            request.resources = [resource]
            #expect(try admin.send(request, version: 1).responses.map(\.errorCode) == [.none])
        }
        stop.set()
        for case let thread? in threads { pthread_join(thread, nil) }
        let sent = results.withLock { $0 }
        #expect(sent.count == 3 && sent.values.allSatisfy { $0 > 0 })
        let ends = try [0, 1].map { try test.partition(topic, $0).log.highWatermark }
        #expect(ends.reduce(0, +) == sent.values.reduce(0, +))
    }
}

private final class Flag: Sendable {
    private let flag = Atomic(false)
    func set() { self.flag.store(true, ordering: .relaxed) }
    var isSet: Bool { self.flag.load(ordering: .relaxed) }
}
