import Glibc
import KafkaLog
import KafkaPrimitives
import NIOCore
import Testing

@testable import KafkaBroker

@Suite struct TopicTableTests {
    @Test func findsEveryTopicByNameAndID() {
        let topics = (0..<1000).map { index in
            TopicEntry(name: "topic-\(index)", id: KafkaUUID(high: 7, low: UInt64(index + 1)), partitions: [nil])
        }
        let table = TopicTable(topics: topics)
        for topic in topics {
            #expect(table.topic(named: topic.name) === topic)
            #expect(table.topic(id: topic.id) === topic)
        }
        #expect(table.topic(named: "topic-1000") == nil)
        #expect(table.topic(named: "") == nil)
        #expect(TopicTable.empty.topic(named: "topic-0") == nil)
    }
}

@Suite struct DeadlineHeapTests {
    @Test func givesTheNearestFirst() {
        var heap = DeadlineHeap()
        var random = SystemRandomNumberGenerator()
        let deadlines = (0..<500).map { _ in NIODeadline.uptimeNanoseconds(random.next(upperBound: 1000)) }
        for (id, deadline) in deadlines.enumerated() { heap.insert(deadline, UInt64(id)) }
        var last = NIODeadline.uptimeNanoseconds(0)
        while let first = heap.first {
            #expect(first.deadline >= last)
            last = first.deadline
            heap.removeFirst()
        }
        #expect(heap.count == 0)
    }

    @Test func compactionKeepsTheLiving() {
        var heap = DeadlineHeap()
        for id in 0..<1000 { heap.insert(.uptimeNanoseconds(UInt64(1000 - id)), UInt64(id)) }
        heap.compact(keeping: 10) { $0 % 100 == 0 }
        #expect(heap.count == 10)
        var ids: [UInt64] = []
        while let first = heap.first {
            ids.append(first.id)
            heap.removeFirst()
        }
        #expect(ids == (0..<10).reversed().map { UInt64($0 * 100) })
    }
}

@Suite struct FetchSessionTests {
    private func target(_ topic: FetchTopic, _ index: Int32, offset: Int64 = 0) -> FetchTarget {
        FetchTarget(
            topic: topic, index: index, currentLeaderEpoch: -1, fetchOffset: offset, lastFetchedEpoch: -1,
            maxBytes: 1 << 20)
    }

    @Test func changesAndForgetsPartitions() throws {
        let topic = FetchTopic(name: Array("a".utf8), id: .zero)
        let cache = FetchSessionCache(capacity: 10)
        let session = try #require(
            cache.create(targets: (0..<10).map { target(topic, $0) }, usesTopicIDs: false, nowMs: 0))
        // The names come anew with each request: equal, not the same object.
        let same = FetchTopic(name: Array("a".utf8), id: .zero)
        var lent = try session.begin(
            epoch: 1, usesTopicIDs: false, changed: [target(same, 3, offset: 99), target(same, 12)],
            forgotten: [(same, 0)], nowMs: 1
        ).get()
        #expect(lent.map(\.index) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 12])
        #expect(lent[2].fetchOffset == 99)
        session.end(targets: &lent, results: [], nowMs: 1)
        let many = try session.begin(
            epoch: 2, usesTopicIDs: false, changed: (20..<30).map { target(same, $0) },
            forgotten: (1..<9).map { (same, $0) }, nowMs: 2
        ).get()
        #expect(many.map(\.index) == [9, 12] + (20..<30))
    }

    @Test func refusesWrongEpochsAndUseWhileLent() throws {
        let topic = FetchTopic(name: Array("a".utf8), id: .zero)
        let cache = FetchSessionCache(capacity: 10)
        let session = try #require(cache.create(targets: [target(topic, 0)], usesTopicIDs: false, nowMs: 0))
        #expect(throws: SessionError.self) {
            try session.begin(epoch: 2, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get()
        }
        var lent = try session.begin(epoch: 1, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get()
        #expect(throws: SessionError.self) {
            try session.begin(epoch: 2, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get()
        }
        session.end(targets: &lent, results: [], nowMs: 0)
        #expect(throws: Never.self) {
            try session.begin(epoch: 2, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get()
        }
    }

    @Test func thoseThatGaveRecordsGoLast() throws {
        let topic = FetchTopic(name: Array("a".utf8), id: .zero)
        let cache = FetchSessionCache(capacity: 10)
        let session = try #require(
            cache.create(targets: (0..<4).map { target(topic, $0) }, usesTopicIDs: false, nowMs: 0))
        var lent = try session.begin(epoch: 1, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get()
        var results = lent.map { _ in FetchResult() }
        let file = LogFile(fd: open("/dev/null", O_RDONLY))
        for busy in [0, 2] { results[busy].slice = FileSlice(file: file, position: 0, length: 1) }
        session.end(targets: &lent, results: results, nowMs: 0)
        #expect(
            try session.begin(epoch: 2, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 0).get().map(\.index)
                == [1, 3, 0, 2])
    }

    @Test func evictsOnlyWhatHasNoBetterClaim() throws {
        let topic = FetchTopic(name: Array("a".utf8), id: .zero)
        let cache = FetchSessionCache(capacity: 2)
        let first = try #require(cache.create(targets: [target(topic, 0)], usesTopicIDs: false, nowMs: 0))
        let second = try #require(cache.create(targets: [target(topic, 1)], usesTopicIDs: false, nowMs: 0))
        #expect(cache.create(targets: [target(topic, 2)], usesTopicIDs: false, nowMs: 1000) == nil)
        // The first is used, the second is not for two minutes.
        var lent = try first.begin(epoch: 1, usesTopicIDs: false, changed: [], forgotten: [], nowMs: 120_500).get()
        first.end(targets: &lent, results: [], nowMs: 120_500)
        #expect(cache.create(targets: [target(topic, 2)], usesTopicIDs: false, nowMs: 120_501) != nil)
        #expect(cache.session(first.id) != nil)
        #expect(cache.session(second.id) == nil)
    }
}
