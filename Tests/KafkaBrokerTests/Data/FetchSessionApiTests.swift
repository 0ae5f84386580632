import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Incremental fetch sessions over the wire (KIP-227).
@Suite struct FetchSessionApiTests {
    private struct Case {
        let test = try! TestBroker()
        let topic: TestTopic
        let client: TestClient
        let version: Int16
        var session: Int32 = 0

        /// Four partitions, one record in each of the first two.
        init(_ version: Int16, configs: [String: String] = [:]) throws {
            self.topic = try self.test.makeTopic("t", partitions: 4, configs: configs)
            self.client = try self.test.client()
            self.version = version
            for index: Int32 in 0..<2 { try self.client.produce(self.topic, batch(), at: index) }
        }

        mutating func open(_ partitions: [Int32] = [0, 1, 2, 3], from offset: Int64 = 0) throws -> FetchResponse {
            var request = FetchRequest(session: 0, epoch: 0)
            for index in partitions { request.add(self.topic, index, from: offset) }
            let response = try self.client.send(request, version: self.version)
            self.session = response.sessionID
            return response
        }

        func next(_ epoch: Int32, _ change: (inout FetchRequest) -> Void = { _ in }) throws -> FetchResponse {
            var request = FetchRequest(session: self.session, epoch: epoch)
            change(&request)
            return try self.client.send(request, version: self.version)
        }
    }

    @Test(arguments: [7, 11, 12, 13, 18] as [Int16])
    func onlyNewsIsTold(version: Int16) throws {
        var it = try Case(version)
        let first = try it.open()
        #expect(first.sessionID > 0 && first.errorCode == .none)
        #expect(first.partitions.map(\.partitionIndex) == [0, 1, 2, 3])
        // What a client knows is not told again; records that it has not asked to be behind are.
        let same = try it.next(1)
        #expect(same.sessionID == it.session && same.partitions.map(\.partitionIndex) == [0, 1])
        let read = try it.next(2) { request in
            request.add(it.topic, 0, from: 1)
            request.add(it.topic, 1, from: 1)
        }
        #expect(read.responses.isEmpty && read.sessionID == it.session && read.errorCode == .none)
        try it.client.produce(it.topic, batch(), at: 2)
        #expect(try it.next(3).partitions.map { [$0.partitionIndex, Int32($0.highWatermark)] } == [[2, 1]])
        // Its client has not moved on: the records come again.
        #expect(try it.next(4).partitions.map(\.partitionIndex) == [2])
        // A new high watermark alone is news, once.
        let forgetting = try it.next(5) { request in
            request.add(it.topic, 2, from: 1)
            request.forget(it.topic, [0, 3, 9])
        }
        #expect(forgetting.responses.isEmpty)
        for index: Int32 in 0..<4 { try it.client.produce(it.topic, batch(), at: index) }
        #expect(try it.next(6).partitions.map(\.partitionIndex) == [1, 2])
        // Added again, at its end: told of its watermark.
        let added = try it.next(7) { request in
            request.add(it.topic, 1, from: 2)
            request.add(it.topic, 2, from: 2)
            request.add(it.topic, 3, from: 1)
        }
        #expect(added.partitions.map { [$0.partitionIndex, Int32($0.records?.count ?? -1)] } == [[3, 0]])
        // Nothing is left: the session ends.
        let ended = try it.next(8) { $0.forget(it.topic, [1, 2, 3]) }
        #expect(ended.sessionID == 0 && ended.errorCode == .none && ended.responses.isEmpty)
        #expect(try it.next(9).errorCode == .fetchSessionIDNotFound)
        #expect(it.test.broker.fetchSessions.count == 0)
    }

    @Test func errorsAndDivergenceAreToldEachTime() throws {
        var it = try Case(12)
        _ = try it.open([2, 3])
        let codes = try (1...3).map { epoch in
            try it.next(Int32(epoch)) { request in
                if epoch == 1 { request.add(it.topic, 2, from: 5) }
                if epoch == 1 { request.add(it.topic, 9, from: 0) }
            }.partitions.map(\.errorCode)
        }
        #expect(codes == Array(repeating: [.offsetOutOfRange, .unknownTopicOrPartition], count: 3))
        // When it is over, the watermark is told although it is what it was.
        let healed = try it.next(4) { $0.add(it.topic, 2, from: 0) }
        #expect(healed.partitions.map(\.partitionIndex) == [2, 9] && healed.partitions[0].highWatermark == 0)
        try it.client.produce(it.topic, batch(), at: 3)
        let diverging = try it.next(5) { request in
            request.forget(it.topic, [9])
            request.add(it.topic, 3, from: 7, lastFetchedEpoch: 0)
        }
        #expect(diverging.partitions.map(\.divergingEpoch.endOffset) == [1])
        let after = try it.next(6) { $0.add(it.topic, 3, from: 1) }
        #expect(after.partitions.map { $0.highWatermark } == [1])
        #expect(try it.next(7).responses.isEmpty)
    }

    @Test(arguments: [7, 12, 13, 18] as [Int16])
    func wrongEpochsAndSessions(version: Int16) throws {
        var it = try Case(version)
        _ = try it.open()
        for epoch: Int32 in [2, 5, .max, -2] {
            let refused = try it.next(epoch)
            #expect(refused.errorCode == .invalidFetchSessionEpoch && refused.sessionID == 0)
            #expect(refused.responses.isEmpty)
        }
        // A name where the session has ids, or the other way round; the epoch is looked at first, as in Kafka.
        let other: Int16 = version >= 13 ? 12 : 13
        for (epoch, code) in [(1, .fetchSessionTopicIDError), (7, .invalidFetchSessionEpoch)] as [(Int32, ErrorCode)] {
            let request = FetchRequest(session: it.session, epoch: epoch)
            #expect(try it.client.send(request, version: other).errorCode == code)
        }
        let session = it.session
        it.session = session ^ 0x4000
        #expect(try it.next(1).errorCode == .fetchSessionIDNotFound)
        it.session = 0
        #expect(try it.next(1).errorCode == .fetchSessionIDNotFound)
        it.session = session
        // None of this has moved it.
        #expect(try it.next(1).errorCode == .none)

        // A full request with its id ends it and opens another one.
        let reopened = try it.next(0) { $0.add(it.topic, from: 0) }
        #expect(reopened.errorCode == .none && reopened.sessionID > 0 && reopened.sessionID != session)
        #expect(try it.next(2).errorCode == .fetchSessionIDNotFound)
        it.session = reopened.sessionID
        // And the last epoch ends it without another one.
        let closed = try it.next(-1) { $0.add(it.topic, from: 0) }
        #expect(closed.errorCode == .none && closed.sessionID == 0 && closed.partitions.count == 1)
        #expect(try it.next(1).errorCode == .fetchSessionIDNotFound)
        #expect(it.test.broker.fetchSessions.count == 0)
    }

    @Test func everyPartitionHasItsTurn() throws {
        var it = try Case(12)
        for index: Int32 in 0..<4 { for _ in 0..<3 { try it.client.produce(it.topic, batch(), at: index) } }
        _ = try it.open()
        // Nobody moves on, and there is room for one batch: each is the first in its turn.
        var order: [Int32] = []
        for epoch: Int32 in 1...8 {
            let response = try it.next(epoch) { $0.maxBytes = 1 }
            let given = response.partitions.filter { $0.records?.isEmpty == false }
            #expect(given.count == 1)
            order += given.map(\.partitionIndex)
        }
        #expect(order == [0, 1, 2, 3, 0, 1, 2, 3])
    }

    @Test func repeatedPartitionsAreOne() throws {
        var it = try Case(12)
        let first = try it.open([2, 2, 3, 2])
        #expect(first.sessionID > 0)
        try it.client.produce(it.topic, batch(), at: 2)
        #expect(try it.next(1).partitions.map(\.partitionIndex) == [2])
        let forgotten = try it.next(2) { $0.forget(it.topic, [2]) }
        #expect(forgotten.responses.isEmpty)
        let session = try #require(it.test.broker.fetchSessions.session(it.session))
        #expect(session.size == 1)
    }

    @Test func deletedAndRemadeTopics() throws {
        var it = try Case(13)
        _ = try it.open([0])
        _ = try it.next(1) { $0.add(it.topic, 0, from: 1) }
        try it.test.deleteTopic(it.topic)
        #expect(try it.next(2).partitions.map(\.errorCode) == [.unknownTopicID])
        let remade = try it.test.makeTopic("t", partitions: 1)
        #expect(try it.next(3).partitions.map(\.errorCode) == [.unknownTopicID])
        let added = try it.next(4) { $0.add(remade, 0, from: 0) }
        #expect(added.responses.map(\.topicID) == [it.topic.id, remade.id])
        #expect(added.partitions.map(\.errorCode) == [.unknownTopicID, .none])
    }

    @Test func theCacheHasRoomForSoManyPartitionsOnly() throws {
        let topic = FetchTopic(name: [1], id: .zero)
        func targets(_ range: Range<Int32>) -> [FetchTarget] {
            range.map {
                FetchTarget(
                    topic: topic, index: $0, currentLeaderEpoch: -1, fetchOffset: 0, lastFetchedEpoch: -1, maxBytes: 1)
            }
        }
        let cache = FetchSessionCache(capacity: 10, partitionCapacity: 20)
        let first = try #require(cache.create(targets: targets(0..<12), usesTopicIDs: false, nowMs: 0))
        #expect(cache.create(targets: targets(0..<12), usesTopicIDs: false, nowMs: 0) == nil)
        // Room is found again as soon as there is some.
        cache.remove(first.id)
        let second = try #require(cache.create(targets: targets(0..<12), usesTopicIDs: false, nowMs: 1))
        let third = try #require(cache.create(targets: targets(0..<8), usesTopicIDs: false, nowMs: 1))
        #expect(cache.resized(second, to: 10) && cache.resized(third, to: 10))
        #expect(!cache.resized(third, to: 11))
        #expect(cache.session(third.id) == nil && cache.count == 1)
        #expect(cache.resized(second, to: 20))
        // One that is not used for two minutes makes room.
        #expect(cache.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 120_001) == nil)
        #expect(cache.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 120_002) != nil)
        #expect(cache.session(second.id) == nil)

        // A cache without a free slot is searched for a victim once a second only.
        let slots = FetchSessionCache(capacity: 1)
        _ = try #require(slots.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 0))
        #expect(slots.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 119_500) == nil)
        #expect(slots.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 120_400) == nil)
        #expect(slots.create(targets: targets(0..<1), usesTopicIDs: false, nowMs: 120_500) != nil)
    }

    @Test func withoutSlotsThereAreNoSessions() throws {
        let test = try TestBroker("max.incremental.fetch.session.cache.slots=0")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        var request = FetchRequest(session: 0, epoch: 0)
        request.add(topic, from: 0)
        let response = try client.send(request, version: 12)
        #expect(response.sessionID == 0 && response.errorCode == .none && response.partitions.count == 1)
    }
}
