import Glibc
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaBroker
@testable import KafkaLog

/// A data folder whose disk hangs: its appends wait for a thread of its own, and nobody else does.
@Suite struct SlowFolderTests {
    /// Lets one write through with each signal.
    private final class Disk: Sendable {
        private let gate = Semaphore()
        private let entered = Atomic(0)
        private let isOpen = Atomic(false)

        init(_ writer: FolderWriter) {
            writer.beforeWrite.set { [self] in self.write() }
            writer.markSlow(forMs: 600_000)
        }

        private func write() {
            self.entered.add(1, ordering: .relaxed)
            if !self.isOpen.load(ordering: .acquiring) { self.gate.wait() }
        }

        /// Writes that have begun.
        var begun: Int { self.entered.load(ordering: .relaxed) }

        func letOneThrough() { self.gate.signal() }

        func letAllThrough() {
            self.isOpen.store(true, ordering: .releasing)
            for _ in 0..<1000 { self.gate.signal() }
        }
    }

    private func writer(_ test: TestBroker, _ topic: TestTopic) throws -> FolderWriter {
        try test.partition(topic).log.state.withLock { $0.writer }
    }

    @Test(arguments: [3, 4, 8, 9, 13] as [Int16])
    func appendsPendInOrderAndHoldUpNobody(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2, configs: ["message.timestamp.type": "LogAppendTime"])
        let (client, other) = (try test.client(), try test.client())
        #expect(try client.produce(topic, batch("direct"), version: version).baseOffset == 0)
        let disk = Disk(try self.writer(test, topic))
        let sent = try (0..<4).map { index in
            try client.sendOnly(
                ProduceRequest(topic, [(0, batch("\(index)")), (1, batch("\(index)"))]), version: version)
        }
        try waitUntil("a write") { disk.begun == 1 }
        // Readers, of this partition too, are answered, and see what was written.
        for _ in 0..<4 {
            let seen = try test.client().send(FetchRequest(topic, from: 0), version: 12).only
            #expect(seen.highWatermark == 1 && seen.errorCode == .none)
        }
        _ = try other.send(MetadataRequest(), version: 9)
        #expect(!client.hasAnswer)
        let polled = try other.sendOnly(FetchRequest(topic, from: 1, maxWaitMs: 15_000), version: 12)
        try test.waitForWaiters(1, of: test.partition(topic))
        disk.letOneThrough()
        let poll = try other.receive(FetchRequest.self, version: 12, correlationID: polled).only
        #expect(try batches(in: poll.records).map(\.header.baseOffset) == [1])
        #expect(!client.hasAnswer)
        disk.letAllThrough()
        for (index, id) in sent.enumerated() {
            let answer = try client.receive(ProduceRequest.self, version: version, correlationID: id)
            let partitions = answer.responses[0].partitionResponses
            #expect(partitions.map(\.errorCode) == [.none, .none])
            #expect(partitions.map(\.baseOffset) == [Int64(index) + 1, Int64(index)])
            #expect(partitions.allSatisfy { $0.logAppendTimeMs > 0 })
            #expect(partitions.allSatisfy { $0.logStartOffset == (version >= 5 ? 0 : -1) })
        }
        let all = try other.send(FetchRequest(topic, from: 0), version: 12).only
        let values = try batches(in: all.records).flatMap(\.records).map {
            String(decoding: $0.value ?? [], as: UTF8.self)
        }
        #expect(values == ["direct-0", "0-0", "1-0", "2-0", "3-0"])
    }

    @Test func whatIsDecidedWhenItIsWritten() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", configs: ["segment.bytes": "1048576"])
        let client = try test.client()
        let disk = Disk(try self.writer(test, topic))
        // In sequence, again, out of sequence, damaged: the last is known at once, and all keep their order.
        var damaged = batch(producerID: 7, epoch: 0, sequence: 1)
        damaged[70] ^= 1
        let stamps: [(Int32, ErrorCode, Int64)] = [
            (0, .none, 0), (1, .none, 1), (1, .none, 1), (5, .outOfOrderSequenceNumber, -1),
        ]
        var sent = try stamps.map { sequence, _, _ in
            try client.sendOnly(
                ProduceRequest(topic, batch(producerID: 7, epoch: 0, sequence: sequence)), version: 9)
        }
        sent.append(try client.sendOnly(ProduceRequest(topic, damaged), version: 9))
        try waitUntil("a write") { disk.begun == 1 }
        disk.letAllThrough()
        for (id, stamp) in zip(sent, stamps) {
            let answer = try client.receive(ProduceRequest.self, version: 9, correlationID: id)
            let only = answer.responses[0].partitionResponses[0]
            #expect(only.errorCode == stamp.1 && only.baseOffset == stamp.2)
        }
        let last = try client.receive(ProduceRequest.self, version: 9, correlationID: sent[4])
        #expect(last.responses[0].partitionResponses[0].errorCode == .corruptMessage)
        #expect(try test.partition(topic).log.logEndOffset == 2)
    }

    @Test func whoWantsNoAnswerIsHungUpOnWhenItIsRefused() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let (good, bad) = (try test.client(), try test.client())
        let disk = Disk(try self.writer(test, topic))
        for sequence: Int32 in 0..<3 {
            try good.sendOnly(
                ProduceRequest(topic, batch(producerID: 7, epoch: 0, sequence: sequence), acks: 0), version: 9)
        }
        // Its answer comes when those before it are written.
        let id = try good.sendOnly(MetadataRequest(), version: 9)
        try waitUntil("a write") { disk.begun == 1 }
        try bad.sendOnly(ProduceRequest(topic, batch(producerID: 8, epoch: 0, sequence: 0), acks: 0), version: 9)
        try bad.sendOnly(ProduceRequest(topic, batch(producerID: 8, epoch: 0, sequence: 5), acks: 0), version: 9)
        disk.letAllThrough()
        #expect(bad.isClosedByBroker())
        _ = try good.receive(MetadataRequest.self, version: 9, correlationID: id)
        #expect(try test.partition(topic).log.logEndOffset == 4)
        #expect(try good.produce(topic, batch(producerID: 7, epoch: 0, sequence: 3)).baseOffset == 4)
    }

    @Test func itGoesBackToDirectAppends() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        let writer = try self.writer(test, topic)
        let disk = Disk(writer)
        disk.letAllThrough()
        #expect(try client.produce(topic, batch()).baseOffset == 0)
        #expect(disk.begun == 1)
        writer.markSlow(forMs: 0)
        #expect(try client.produce(topic, batch()).baseOffset == 1)
        #expect(disk.begun == 1 && writer.waitingBytes == 0)
        // A slow write is noticed by how long it takes.
        let began = writer.begin()
        usleep(useconds_t(FolderWriter.slowMs + 20) * 1000)
        #expect(writer.isSlow(), "one is under way")
        writer.end(began)
        #expect(writer.isSlow(), "one was")
        try waitUntil("quick again") { !writer.isSlow() }
    }

    @Test func syncsFollowQueuedAppends() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", configs: ["ottla.flush.before.ack": "true"])
        let client = try test.client()
        let disk = Disk(try self.writer(test, topic))
        let id = try client.sendOnly(ProduceRequest(topic, batch()), version: 9)
        try waitUntil("a write") { disk.begun == 1 }
        let held = try HeldSyncs(test.broker)
        disk.letAllThrough()
        try waitUntil("an append") { (try? test.partition(topic).log.logEndOffset) == 1 }
        #expect(try test.client().send(FetchRequest(topic, from: 0), version: 12).only.highWatermark == 0)
        #expect(!client.hasAnswer)
        held.release()
        let answer = try client.receive(ProduceRequest.self, version: 9, correlationID: id)
        #expect(answer.responses[0].partitionResponses[0].errorCode == .none)
        #expect(try test.partition(topic).log.highWatermark == 1)
    }

    @Test func memoryIsBounded() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let clients = try (0..<4).map { _ in try test.client() }
        let writer = try self.writer(test, topic)
        let disk = Disk(writer)
        writer.fullBytes.store(10_000, ordering: .relaxed)
        func request(_ bytes: Int) -> ProduceRequest {
            var request = ProduceRequest(topic, batch(String(repeating: "x", count: bytes)))
            request.timeoutMs = 20_000
            return request
        }
        var sent: [(Int, Int32)] = []
        for index in 0..<2 {
            sent.append((index, try clients[index].sendOnly(request(3000), version: 9)))
            try waitUntil("it waits") { writer.waitingBytes >= 3000 * (index + 1) }
        }
        #expect(writer.isCrowded)
        // One who sends on is not read; one who has not sent yet has room for one.
        sent.append((1, try clients[1].sendOnly(request(100), version: 9)))
        sent.append((2, try clients[2].sendOnly(request(3000), version: 9)))
        try waitUntil("the third") { writer.waitingBytes >= 9000 }
        #expect(writer.waitingBytes < 9500)
        let refused = try clients[3].send(request(3000), version: 9).responses[0].partitionResponses[0]
        #expect(refused.errorCode == .kafkaStorageError)
        disk.letAllThrough()
        for (index, id) in sent {
            let answer = try clients[index].receive(ProduceRequest.self, version: 9, correlationID: id)
            #expect(answer.responses[0].partitionResponses[0].errorCode == .none)
        }
        #expect(try test.partition(topic).log.logEndOffset == 4)
        try waitUntil("empty") { writer.waitingBytes == 0 }
    }

    @Test func aTopicThatIsDeletedMeanwhile() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        let disk = Disk(try self.writer(test, topic))
        let ids = try (0..<2).map { _ in try client.sendOnly(ProduceRequest(topic, batch()), version: 9) }
        try waitUntil("a write") { disk.begun == 1 }
        try test.deleteTopic(topic)
        disk.letAllThrough()
        for id in ids {
            let answer = try client.receive(ProduceRequest.self, version: 9, correlationID: id)
            #expect(answer.responses[0].partitionResponses[0].errorCode == .unknownTopicOrPartition)
        }
    }
}
