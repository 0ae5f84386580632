import Glibc
import KafkaMessages
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaBroker
@testable import KafkaLog

/// Coordinators on a data folder whose disk hangs: their requests wait, and nobody else does.
@Suite struct SlowCoordinatorTests {
    private func waitForCoordinator(_ client: TestClient, _ find: FindCoordinatorRequest, isLoaded: () throws -> Bool)
        throws
    {
        #expect(try client.send(find, version: 6).coordinators.map(\.errorCode) == [.none])
        for _ in 0..<2000 {
            if try isLoaded() { return }
            usleep(5_000)
        }
        throw TestFailure("the coordinator does not load")
    }

    private func markSlow(_ topic: String, _ test: TestBroker, forMs duration: UInt64) throws {
        let partition = try #require(test.broker.replicaManager.table.topic(named: topic)?.partition(0))
        partition.log.state.withLock { $0.writer }.markSlow(forMs: duration)
    }

    @Test func aCommitWaitsElsewhere() throws {
        let test = try TestBroker("offsets.topic.num.partitions=1")
        _ = try test.makeTopic("t")
        let (client, other) = (try test.client(), try test.client())
        var find = FindCoordinatorRequest()
        find.coordinatorKeys = ["g"]
        try self.waitForCoordinator(client, find) {
            let answer = try client.send(OffsetCommitRequest("g", "t", offset: 1), version: 7)
            return answer.topics[0].partitions[0].errorCode == .none
        }
        let hangs = Semaphore()
        test.broker.groupCoordinator.host.aside.submit { hangs.wait() }
        try self.markSlow(InternalTopics.consumerOffsets, test, forMs: 600_000)
        let id = try client.sendOnly(OffsetCommitRequest("g", "t", offset: 2), version: 7)
        // Whichever loop has the commit goes on: clients are spread over them.
        for _ in 0..<4 { _ = try test.client().send(MetadataRequest(), version: 9) }
        _ = try other.send(MetadataRequest(), version: 9)
        #expect(!client.hasAnswer)
        hangs.signal()
        let answer = try client.receive(OffsetCommitRequest.self, version: 7, correlationID: id)
        #expect(answer.topics[0].partitions[0].errorCode == .none)
        // Quick again: nothing needs the thread.
        try self.markSlow(InternalTopics.consumerOffsets, test, forMs: 0)
        test.broker.groupCoordinator.host.aside.submit { hangs.wait() }
        #expect(
            try client.send(OffsetCommitRequest("g", "t", offset: 3), version: 7).topics[0].partitions[0].errorCode
                == .none)
        hangs.signal()
    }

    @Test func aTransactionalProducerWaitsElsewhere() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let (client, other) = (try test.client(), try test.client())
        var find = FindCoordinatorRequest()
        find.keyType = 1
        find.coordinatorKeys = ["x"]
        var begin = InitProducerIdRequest()
        begin.transactionalID = "x"
        begin.transactionTimeoutMs = 60_000
        try self.waitForCoordinator(client, find) { try client.send(begin, version: 4).errorCode == .none }
        let hangs = Semaphore()
        test.broker.transactionCoordinator.host.aside.submit { hangs.wait() }
        try self.markSlow(InternalTopics.transactionState, test, forMs: 600_000)
        let id = try client.sendOnly(begin, version: 4)
        for _ in 0..<4 { _ = try test.client().send(MetadataRequest(), version: 9) }
        _ = try other.send(MetadataRequest(), version: 9)
        #expect(!client.hasAnswer)
        hangs.signal()
        let answer = try client.receive(InitProducerIdRequest.self, version: 4, correlationID: id)
        #expect(answer.errorCode == .none && answer.producerEpoch == 1)
    }
}
