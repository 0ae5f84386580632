import Glibc
import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// TxnOffsetCommit over the wire, against a whole broker, with the transaction's coordinator. What it means to a group is in
/// scenarios 50 to 54.
@Suite struct TxnOffsetCommitTests {
    typealias TransactionalProducer = TransactionApiTests.TransactionalProducer

    private let test: TestBroker
    private let client: TestClient

    init() throws {
        self.test = try TestBroker("offsets.topic.num.partitions=3", "transaction.state.log.num.partitions=3")
        self.client = try self.test.client()
        _ = try self.test.makeTopic("t", partitions: 2)
        var find = FindCoordinatorRequest()
        find.coordinatorKeys = ["g"]
        #expect(try self.client.send(find, version: 6).coordinators.map(\.errorCode) == [.none])
        try waitUntil("the groups are loaded") { (try? self.fetch(stable: false)) == [-1, -1] }
    }

    private func commit(
        _ producer: TransactionalProducer, _ offset: Int64, partitions: [Int32] = [0], topic name: String = "t",
        version: Int16
    ) throws -> [ErrorCode] {
        var topic = TxnOffsetCommitRequest.Topic()
        topic.name = name
        topic.partitions = partitions.map { index in
            var partition = TxnOffsetCommitRequest.Partition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            return partition
        }
        var request = TxnOffsetCommitRequest()
        request.transactionalID = producer.id
        request.groupID = "g"
        request.producerID = producer.identity.id
        request.producerEpoch = producer.identity.epoch
        request.topics = [topic]
        return try self.client.send(request, version: version).topics.flatMap { $0.partitions.map(\.errorCode) }
    }

    private func addOffsets(_ producer: TransactionalProducer) throws -> ErrorCode {
        var request = AddOffsetsToTxnRequest()
        request.transactionalID = producer.id
        request.producerID = producer.identity.id
        request.producerEpoch = producer.identity.epoch
        request.groupID = "g"
        return try self.client.send(request, version: 3).errorCode
    }

    /// Of partitions 0 and 1; an error is told as its code's negative, less a thousand.
    private func fetch(stable: Bool) throws -> [Int64] {
        var topic = OffsetFetchRequest.Topics()
        topic.name = "t"
        topic.partitionIndexes = [0, 1]
        var group = OffsetFetchRequest.Group()
        group.groupID = "g"
        group.topics = [topic]
        var request = OffsetFetchRequest()
        request.groups = [group]
        request.requireStable = stable
        let fetched = try self.client.send(request, version: 8).groups[0]
        guard fetched.errorCode == .none else { throw TestFailure(fetched.errorCode.name) }
        return fetched.topics[0].partitions.map {
            $0.errorCode == .none ? $0.committedOffset : -1_000 - Int64($0.errorCode.rawValue)
        }
    }

    private func waitFor(_ offsets: [Int64]) throws {
        try waitUntil("the offsets are \(offsets)") { (try? self.fetch(stable: true)) == offsets }
    }

    private static let unstable = -1_000 - Int64(ErrorCode.unstableOffsetCommit.rawValue)

    @Test func announcedInEveryVersion() throws {
        var committed: Int64 = -1
        for version in Int16(0)...4 {
            var producer = try TransactionalProducer(self.client, "tx\(version)")
            for commits in [true, false] {
                #expect(try self.addOffsets(producer) == .none)
                #expect(try self.commit(producer, Int64(version) * 10, version: version) == [.none])
                #expect(try self.fetch(stable: false) == [committed, -1])
                #expect(try self.fetch(stable: true) == [Self.unstable, -1])
                #expect(try producer.end(commit: commits) == .none)
                if commits { committed = Int64(version) * 10 }
                try self.waitFor([committed, -1])
            }
        }
    }

    /// From version 5 on the commit itself makes the offsets part of the transaction.
    @Test func version5AnnouncesNothing() throws {
        var producer = try TransactionalProducer(self.client, "tx")
        for (offset, commits) in [(Int64(5), true), (6, false), (7, true)] {
            var codes: [ErrorCode] = []
            // The transaction before may not be complete yet.
            try waitUntil("the transaction begins") {
                codes = (try? self.commit(producer, offset, version: 5)) ?? []
                return codes != [.concurrentTransactions]
            }
            #expect(codes == [.none])
            #expect(try self.commit(producer, offset, partitions: [0, 1], version: 5) == [.none, .none])
            #expect(try self.fetch(stable: true) == [Self.unstable, Self.unstable])
            #expect(try producer.end(commit: commits, version: 5) == .none)
            try self.waitFor(commits ? [offset, offset] : [5, 5])
        }
    }

    /// What was not announced would begin a transaction that nobody ends.
    @Test func whatIsNotPartOfATransactionIsRefused() throws {
        let producer = try TransactionalProducer(self.client, "tx")
        #expect(try self.commit(producer, 5, version: 3) == [.invalidTxnState])
        #expect(try self.commit(producer, 5, version: 4) == [.transactionAbortable])
        var zombie = producer
        zombie.identity.epoch -= 1
        for version in Int16(3)...5 { #expect(try self.commit(zombie, 5, version: version) == [.invalidProducerEpoch]) }
        zombie.identity.id += 1_000
        #expect(try self.commit(zombie, 5, version: 5) == [.invalidProducerIDMapping])
        #expect(try self.fetch(stable: true) == [-1, -1])
    }

    @Test func aZombieIsFencedInTheMidst() throws {
        let old = try TransactionalProducer(self.client, "tx")
        #expect(try self.addOffsets(old) == .none)
        #expect(try self.commit(old, 5, version: 3) == [.none])
        // The new instance's start aborts what the old one has begun.
        let new = try TransactionalProducer(self.client, "tx")
        #expect(new.identity.epoch > old.identity.epoch)
        try self.waitFor([-1, -1])
        #expect(try self.commit(old, 6, version: 3) == [.invalidProducerEpoch])
        #expect(try self.fetch(stable: true) == [-1, -1])
    }

    @Test func partitionsThatAreNotThere() throws {
        var producer = try TransactionalProducer(self.client, "tx")
        #expect(
            try self.commit(producer, 5, partitions: [7, 0, -1], version: 5)
                == [.unknownTopicOrPartition, .none, .unknownTopicOrPartition])
        #expect(try self.commit(producer, 5, topic: "none", version: 5) == [.unknownTopicOrPartition])
        #expect(try producer.end(commit: true, version: 5) == .none)
        try self.waitFor([5, -1])
        var request = TxnOffsetCommitRequest()
        request.transactionalID = "tx"
        request.topics = [.init()]
        request.topics[0].name = "t"
        request.topics[0].partitions = [.init()]
        let answer = try self.client.send(request, version: 3)
        #expect(answer.topics[0].partitions[0].errorCode == .invalidGroupID)
    }

    /// An open transaction is there after a restart, and so are its offsets.
    @Test func aRestartInTheMidst() throws {
        let producer = try TransactionalProducer(self.client, "tx")
        #expect(try self.commit(producer, 5, version: 5) == [.none])
        try self.test.restart()
        let client = try self.test.client()
        func fetched() -> [Int64]? {
            var request = OffsetFetchRequest()
            request.requireStable = true
            var group = OffsetFetchRequest.Group()
            group.groupID = "g"
            var topic = OffsetFetchRequest.Topics()
            topic.name = "t"
            topic.partitionIndexes = [0]
            group.topics = [topic]
            request.groups = [group]
            guard let answer = try? client.send(request, version: 8).groups[0], answer.errorCode == .none else {
                return nil
            }
            return answer.topics[0].partitions.map {
                $0.errorCode == .none ? $0.committedOffset : -1_000 - Int64($0.errorCode.rawValue)
            }
        }
        try waitUntil("it is loaded") { fetched() == [Self.unstable] }
        var end = EndTxnRequest()
        end.transactionalID = "tx"
        end.producerID = producer.identity.id
        end.producerEpoch = producer.identity.epoch
        end.committed = true
        try waitUntil("it can be ended") { (try? client.send(end, version: 5).errorCode) == ErrorCode.none }
        try waitUntil("the offset counts") { fetched() == [5] }
    }
}
