import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Long polls: parked without a thread, woken by what they wait for.
@Suite struct FetchWaitTests {
    @Test func waitsAsLongAsItMayAndNoLonger() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        let partition = try test.partition(topic)
        try client.produce(topic, batch())
        for (from, minBytes, maxWaitMs, waits) in [
            (1, 1, 300, true), (0, 1000, 300, true), (0, 1, 8000, false), (1, 0, 8000, false), (1, -1, 8000, false),
            (1, 1, 0, false), (1, 1, -1, false), (2, 1, 8000, false),
        ] as [(Int64, Int32, Int32, Bool)] {
            let began = monotonicMs()
            let request = FetchRequest(topic, from: from, maxWaitMs: maxWaitMs, minBytes: minBytes)
            let answer = try client.send(request, version: 12).only
            let took = monotonicMs() - began
            #expect(waits ? took >= Int64(maxWaitMs) - 1 : took < 6000, "\(from) \(minBytes) \(took) ms")
            // When the time is up, what there is is given.
            #expect((answer.records?.isEmpty == false) == (from == 0))
            #expect(partition.waitingCount == 0)
        }
    }

    @Test func anAppendOnAnyLoopWakes() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let partition = try test.partition(topic)
        // Connections are spread over the loops: several of each kind are on all of them.
        let readers = try (0..<6).map { _ in try test.client() }
        let writers = try (0..<3).map { _ in try test.client() }
        for round in 0..<20 {
            let ids = try readers.map {
                try $0.sendOnly(FetchRequest(topic, from: Int64(round), maxWaitMs: 15_000), version: 12)
            }
            try test.waitForWaiters(6, of: partition)
            // The other partition is nothing to them.
            try writers[(round + 1) % 3].produce(topic, batch(), at: 1)
            #expect(partition.waitingCount == 6)
            let began = monotonicMs()
            try writers[round % 3].produce(topic, batch())
            for (reader, id) in zip(readers, ids) {
                let answer = try reader.receive(FetchRequest.self, version: 12, correlationID: id).only
                #expect(try batches(in: answer.records).map(\.header.baseOffset) == [Int64(round)])
            }
            #expect(monotonicMs() - began < 8000 && partition.waitingCount == 0)
        }
    }

    @Test func minBytesAreThoseOfAllPartitions() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 3)
        let (reader, writer) = (try test.client(), try test.client())
        let one = batch(String(repeating: "x", count: 1000))
        var request = FetchRequest(topic, from: 0, maxWaitMs: 15_000, minBytes: Int32(one.count) * 4)
        for index: Int32 in 1..<3 { request.add(topic, index, from: 0) }
        let id = try reader.sendOnly(request, version: 12)
        let partition = try test.partition(topic, 2)
        try test.waitForWaiters(1, of: partition)
        for (count, index) in ([0, 1, 0] as [Int32]).enumerated() {
            try writer.produce(topic, one, at: index)
            // It goes on waiting for each partition, the woken one too.
            for other: Int32 in 0..<3 { try test.waitForWaiters(1, of: try test.partition(topic, other)) }
            #expect(count < 3)
        }
        try writer.produce(topic, one, at: 2)
        let answer = try reader.receive(FetchRequest.self, version: 12, correlationID: id)
        #expect(answer.partitions.map { ($0.records?.count ?? 0) / one.count } == [2, 1, 1])
        for index: Int32 in 0..<3 { #expect(try test.partition(topic, index).waitingCount == 0) }
    }

    /// What the limits keep back counts too: more would not come by waiting.
    @Test func aFullAnswerDoesNotWait() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let segmented = try test.makeTopic("s", configs: ["segment.bytes": "1048576"])
        let client = try test.client()
        let large = batch(String(repeating: "x", count: 600_000))
        for _ in 0..<2 {
            try client.produce(topic, large)
            try client.produce(segmented, large)
        }
        let began = monotonicMs()
        // The two batches do not fit together.
        var request = FetchRequest(topic, from: 0, maxWaitMs: 9000, minBytes: 1_000_000)
        request.maxBytes = 1_000_000
        #expect(try client.send(request, version: 12).only.records?.count == large.count)
        // The second is in another segment.
        request = FetchRequest(segmented, from: 0, maxWaitMs: 9000, minBytes: 1_000_000)
        #expect(try client.send(request, version: 12).only.records?.count == large.count)
        #expect(monotonicMs() - began < 8000)
    }

    @Test func aClosedConnectionLeavesNothingBehind() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let partition = try test.partition(topic)
        var session: Int32 = 0
        do {
            let client = try test.client()
            var request = FetchRequest(session: 0, epoch: 0)
            request.add(topic, 0, from: 0)
            request.add(topic, 1, from: 0)
            session = try client.send(request, version: 12).sessionID
            try client.sendOnly(FetchRequest(session: session, epoch: 1, maxWaitMs: 60_000), version: 12)
            try test.waitForWaiters(1, of: partition)
            // While it is lent to a fetch, no other one can have it.
            let other = try test.client()
            let refused = try other.send(FetchRequest(session: session, epoch: 2), version: 12)
            #expect(refused.errorCode == .invalidFetchSessionEpoch)
        }
        try test.waitForWaiters(0, of: partition)
        try test.waitForWaiters(0, of: try test.partition(topic, 1))
        // The session is whole, and goes on where it was.
        let other = try test.client()
        try other.produce(topic, batch(), at: 1)
        let next = try other.send(FetchRequest(session: session, epoch: 2), version: 12)
        #expect(next.errorCode == .none && next.partitions.map(\.partitionIndex) == [1])
    }

    @Test(arguments: [12, 13] as [Int16])
    func deletionEndsTheWait(version: Int16) throws {
        let test = try TestBroker()
        let kept = try test.makeTopic("kept")
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        let partition = try test.partition(topic, 1)
        var request = FetchRequest(kept, from: 0, maxWaitMs: 15_000)
        request.add(topic, 1, from: 0)
        let began = monotonicMs()
        let id = try client.sendOnly(request, version: version)
        try test.waitForWaiters(1, of: partition)
        try test.deleteTopic(topic)
        let answer = try client.receive(FetchRequest.self, version: version, correlationID: id)
        let missing: ErrorCode = version >= 13 ? .unknownTopicID : .unknownTopicOrPartition
        #expect(answer.partitions.map(\.errorCode) == [.none, missing] && monotonicMs() - began < 10_000)
        #expect(partition.waitingCount == 0)
        #expect(try test.partition(kept).waitingCount == 0)
        // From then on it is known to be missing, and does not end the wait for the other; alone it does.
        request.maxWaitMs = 300
        let again = monotonicMs()
        #expect(try client.send(request, version: version).partitions.map(\.errorCode) == [.none, missing])
        #expect(monotonicMs() - again >= 299)
        let alone = FetchRequest(topic, from: 0, maxWaitMs: 9000)
        #expect(try client.send(alone, version: version).only.errorCode == missing)
        #expect(monotonicMs() - again < 8000)
    }

    @Test func manyWaitForOnePartition() throws {
        var waiters = FetchWaiters()
        let all = (0..<100).map { FetchWaiter(loop: $0 % 3, fetch: UInt64($0), target: 0) }
        for waiter in all { waiters.insert(waiter) }
        for waiter in all where waiter.fetch % 2 == 0 { waiters.remove(waiter) }
        waiters.remove(FetchWaiter(loop: 2, fetch: 1, target: 0))
        #expect(waiters.count == 50)
        for waiter in all where waiter.fetch > 90 && waiter.fetch % 2 == 0 { waiters.insert(waiter) }
        let taken = waiters.takeAll()
        #expect(Set(taken) == Set(all.filter { $0.fetch % 2 == 1 || $0.fetch > 90 }))
        #expect(waiters.count == 0 && waiters.takeAll().isEmpty)
    }

    /// What follows a parked fetch on its connection waits for it.
    @Test func nothingOvertakesAParkedFetch() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let (client, other) = (try test.client(), try test.client())
        let fetch = try client.sendOnly(FetchRequest(topic, from: 0, maxWaitMs: 15_000), version: 12)
        try test.waitForWaiters(1, of: try test.partition(topic))
        let produce = try client.sendOnly(ProduceRequest(topic, batch("own")), version: 9)
        let second = try client.sendOnly(FetchRequest(topic, from: 1, maxWaitMs: 15_000), version: 12)
        try other.produce(topic, batch("other"))
        let woken = try client.receive(FetchRequest.self, version: 12, correlationID: fetch).only
        #expect(try batches(in: woken.records).flatMap { $0.records.map(\.value) } == [Array("other-0".utf8)])
        let produced = try client.receive(ProduceRequest.self, version: 9, correlationID: produce)
        #expect(produced.responses[0].partitionResponses[0].baseOffset == 1)
        let last = try client.receive(FetchRequest.self, version: 12, correlationID: second).only
        #expect(last.highWatermark == 2)
    }

    @Test func aWaitingFetchDoesNotHoldUpTheEnd() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        let id = try client.sendOnly(FetchRequest(topic, from: 0, maxWaitMs: 60_000), version: 12)
        try test.waitForWaiters(1, of: try test.partition(topic))
        let began = monotonicMs()
        try test.restart()
        // The grace for requests in work is 5 s; it is not needed.
        #expect(monotonicMs() - began < 4900)
        #expect(try client.receive(FetchRequest.self, version: 12, correlationID: id).only.highWatermark == 0)
        #expect(try test.client().produce(topic, batch()).errorCode == .none)
    }
}
