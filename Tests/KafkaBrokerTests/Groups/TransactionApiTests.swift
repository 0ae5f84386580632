import Glibc
import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// The transaction APIs over the wire, against a whole broker, in each of their versions. What they mean is in the
/// scenarios of KafkaCoordinationTests.
@Suite struct TransactionApiTests {
    /// A producer as the requests name it.
    struct TransactionalProducer {
        let client: TestClient
        let id: String
        var identity = ProducerIdentity.none
        var sequences: [Int32: Int32] = [:]

        init(_ client: TestClient, _ id: String, timeoutMs: Int32 = 60_000, version: Int16 = 5) throws {
            self.client = client
            self.id = id
            var find = FindCoordinatorRequest()
            find.keyType = 1
            find.key = id
            find.coordinatorKeys = [id]
            #expect(try client.send(find, version: 4).coordinators.map(\.errorCode) == [.none])
            try self.initialise(timeoutMs: timeoutMs, version: version)
        }

        mutating func initialise(timeoutMs: Int32 = 60_000, version: Int16 = 5) throws {
            var request = InitProducerIdRequest()
            request.transactionalID = self.id
            request.transactionTimeoutMs = timeoutMs
            for _ in 0..<2000 {
                let response = try self.client.send(request, version: version)
                switch response.errorCode {
                case .none:
                    self.identity = ProducerIdentity(id: response.producerID, epoch: response.producerEpoch)
                    self.sequences = [:]
                    return
                case .coordinatorLoadInProgress, .concurrentTransactions, .notCoordinator: usleep(5_000)
                default: throw TestFailure("InitProducerId: \(response.errorCode.name)")
                }
            }
            throw TestFailure("the coordinator of \(self.id) does not load")
        }

        func add(_ topic: TestTopic, _ partitions: [Int32], version: Int16 = 3) throws -> [ErrorCode] {
            var request = AddPartitionsToTxnRequest()
            request.v3AndBelowTransactionalID = self.id
            request.v3AndBelowProducerID = self.identity.id
            request.v3AndBelowProducerEpoch = self.identity.epoch
            var asked = AddPartitionsToTxnRequest.Topic()
            asked.name = topic.name
            asked.partitions = partitions
            request.v3AndBelowTopics = [asked]
            return try self.client.send(request, version: version).resultsByTopicV3AndBelow
                .flatMap { $0.resultsByPartition.map(\.partitionErrorCode) }
        }

        mutating func send(
            _ topic: TestTopic, _ partition: Int32 = 0, version: Int16 = 11, transactionalID: String? = nil
        ) throws -> ErrorCode {
            let sequence = self.sequences[partition, default: 0]
            let records = batch(
                producerID: self.identity.id, epoch: self.identity.epoch, sequence: sequence, isTransactional: true)
            var request = ProduceRequest(topic, records, at: partition)
            request.transactionalID = transactionalID ?? self.id
            let code = try self.client.send(request, version: version).responses[0].partitionResponses[0].errorCode
            if code == .none { self.sequences[partition] = sequence + 1 }
            return code
        }

        mutating func end(commit: Bool, version: Int16 = 4) throws -> ErrorCode {
            var request = EndTxnRequest()
            request.transactionalID = self.id
            request.producerID = self.identity.id
            request.producerEpoch = self.identity.epoch
            request.committed = commit
            let response = try self.client.send(request, version: version)
            if version >= 5, response.errorCode == .none {
                self.identity = ProducerIdentity(id: response.producerID, epoch: response.producerEpoch)
                self.sequences = [:]
            }
            return response.errorCode
        }
    }

    private func lastStableOffset(_ client: TestClient, _ topic: TestTopic, _ partition: Int32 = 0) throws -> Int64 {
        var request = FetchRequest(topic, partition, from: 0)
        request.isolationLevel = 1
        return try client.send(request, version: 12).only.lastStableOffset
    }

    /// Until markers and the complete record are written.
    private func waitForEnd(of id: String, _ client: TestClient) throws {
        var describe = DescribeTransactionsRequest()
        describe.transactionalIDs = [id]
        try waitUntil("the end of the transaction") {
            (try? client.send(describe, version: 0))?.transactionStates[0].transactionState.hasPrefix("Complete")
                == true
        }
    }

    @Test func itsTopicIsMadeWithKafkasConfigs() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=3")
        _ = try TransactionalProducer(try test.client(), "tx")
        let topic = try #require(test.broker.replicaManager.table.topic(named: "__transaction_state"))
        #expect(topic.partitions.count == 3)
        let config = try #require(topic.partitions[0]?.log.config)
        #expect(config.cleanupPolicy == .compact && config.segmentBytes == 100 << 20)
    }

    @Test(arguments: [false, true]) func version1InEveryVersion(flushes: Bool) throws {
        let test = try TestBroker(
            "ottla.log.flush.before.ack=\(flushes)", "transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        for version in Int16(0)...4 {
            var producer = try TransactionalProducer(client, "tx\(version)", version: version)
            for commits in [true, false] {
                #expect(try producer.add(topic, [0, 1], version: min(version, 3)) == [.none, .none])
                let before = try test.partition(topic).log.logEndOffset
                #expect(try producer.send(topic, version: version + 3) == .none)
                #expect(try producer.send(topic, 1, version: version + 7) == .none)
                #expect(try self.lastStableOffset(client, topic) == before)
                #expect(try producer.end(commit: commits, version: version) == .none)
                try self.waitForEnd(of: producer.id, client)
                #expect(try self.lastStableOffset(client, topic) == before + 2)
                // Record and marker.
                #expect(try test.partition(topic).log.logEndOffset == before + 2)
                // The answer was lost.
                #expect(try producer.end(commit: commits, version: version) == .none)
                #expect(try producer.end(commit: !commits, version: version) == .invalidTxnState)
            }
        }
        var request = FetchRequest(topic, from: 0)
        request.isolationLevel = 1
        #expect(try client.send(request, version: 12).only.abortedTransactions?.count == 5)
    }

    @Test(arguments: [false, true]) func version2(flushes: Bool) throws {
        let test = try TestBroker(
            "ottla.log.flush.before.ack=\(flushes)", "transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        var producer = try TransactionalProducer(client, "tx")
        for (index, commits) in [true, false, true].enumerated() {
            let epoch = producer.identity.epoch
            #expect(epoch == Int16(index))
            #expect(try producer.send(topic, version: 12) == .none)
            #expect(try producer.send(topic, version: 13) == .none)
            #expect(try producer.send(topic, 1, version: 12) == .none)
            var late = producer
            #expect(try producer.end(commit: commits, version: 5) == .none)
            #expect(producer.identity.epoch == epoch + 1)
            try self.waitForEnd(of: producer.id, client)
            #expect(try self.lastStableOffset(client, topic) == test.partition(topic).log.logEndOffset)
            // A record of the transaction that has ended: it begins none.
            #expect(try late.send(topic, version: 12) == .invalidProducerEpoch)
            #expect(try late.end(commit: commits, version: 5) == .none)
            #expect(late.identity == producer.identity)
        }
        // Nothing was sent: an abort has nothing to do, a commit nothing to commit.
        #expect(try producer.end(commit: true, version: 5) == .invalidTxnState)
        #expect(try producer.end(commit: false, version: 5) == .none)
    }

    @Test func whatWasNotAnnouncedIsRefused() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        var producer = try TransactionalProducer(client, "tx")
        for (version, code) in [
            (Int16(3), ErrorCode.invalidTxnState), (10, .invalidTxnState), (11, .transactionAbortable),
        ] {
            #expect(try producer.send(topic, version: version) == code)
        }
        #expect(try producer.add(topic, [0]) == [.none])
        #expect(try producer.send(topic, 1) == .transactionAbortable)
        #expect(try producer.send(topic, 0) == .none)
        // Somebody else's id, and one that is known to nobody.
        let other = try TransactionalProducer(client, "other")
        #expect(try producer.send(topic, 1, transactionalID: other.id) == .invalidProducerIDMapping)
        #expect(try producer.send(topic, 1, version: 12, transactionalID: "nobody") == .invalidProducerIDMapping)
        #expect(try test.partition(topic, 1).log.logEndOffset == 0)
        // Not without a transactional id at all, nor of several producers.
        let records = batch(producerID: 5, epoch: 0, sequence: 0, isTransactional: true)
        #expect(try client.produce(topic, records, at: 1).errorCode == .transactionalIDAuthorizationFailed)
        var request = ProduceRequest(
            topic, [(0, batch(producerID: 6, epoch: 0, sequence: 0, isTransactional: true)), (1, records)])
        request.transactionalID = "tx"
        let answers = try client.send(request, version: 12).responses[0].partitionResponses
        #expect(answers.map(\.errorCode) == [.invalidProducerIDMapping, .invalidProducerIDMapping])
        #expect(try test.partition(topic, 1).log.logEndOffset == 0)
        // What is not of a transaction is taken, whoever sends it.
        request = ProduceRequest(topic, batch(), at: 1)
        request.transactionalID = "tx"
        #expect(try client.send(request, version: 12).responses[0].partitionResponses[0].errorCode == .none)
    }

    @Test func verificationCanBeSwitchedOff() throws {
        let test = try TestBroker(
            "transaction.partition.verification.enable=false", "transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t")
        var producer = try TransactionalProducer(try test.client(), "tx")
        #expect(try producer.send(topic, version: 11) == .none)
    }

    @Test func missingPartitionsLetATransactionFail() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t")
        let producer = try TransactionalProducer(try test.client(), "tx")
        #expect(
            try producer.add(topic, [0, 1, -1]) == [
                .operationNotAttempted, .unknownTopicOrPartition, .unknownTopicOrPartition,
            ])
        var fenced = producer
        fenced.identity.epoch = 7
        for version in Int16(0)...3 {
            #expect(
                try fenced.add(topic, [0], version: version) == [version < 2 ? .invalidProducerEpoch : .producerFenced])
        }
    }

    @Test func batchesBetweenBrokers() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        let producer = try TransactionalProducer(client, "tx")
        #expect(try producer.add(topic, [0]) == [.none])
        for version in Int16(4)...5 {
            var request = AddPartitionsToTxnRequest()
            for (id, verifies) in [("tx", true), ("nobody", true), ("tx2", false)] {
                var transaction = AddPartitionsToTxnRequest.Transaction()
                transaction.transactionalID = id
                transaction.producerID = producer.identity.id
                transaction.producerEpoch = producer.identity.epoch
                transaction.verifyOnly = verifies
                var asked = AddPartitionsToTxnRequest.Topic()
                asked.name = topic.name
                asked.partitions = [0, 1]
                transaction.topics = [asked]
                request.transactions.append(transaction)
            }
            let results = try client.send(request, version: version).resultsByTransaction
            #expect(results.map(\.transactionalID) == ["tx", "nobody", "tx2"])
            #expect(
                results.map { $0.topicResults[0].resultsByPartition.map(\.partitionErrorCode) } == [
                    [.none, .transactionAbortable], [.invalidProducerIDMapping, .invalidProducerIDMapping],
                    [.invalidProducerIDMapping, .invalidProducerIDMapping],
                ])
        }
    }

    @Test func aTransactionThatHangsIsFoundAndAborted() throws {
        let test = try TestBroker(
            "transaction.partition.verification.enable=false", "transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        // Records of a transaction that no coordinator knows of.
        var producer = try TransactionalProducer(client, "tx")
        #expect(try producer.send(topic) == .none)
        var describe = DescribeProducersRequest()
        var asked = DescribeProducersRequest.TopicRequest()
        asked.name = topic.name
        asked.partitionIndexes = [0, 1]
        describe.topics = [asked]
        let partitions = try client.send(describe, version: 0).topics[0].partitions
        #expect(partitions.map(\.errorCode) == [.none, .unknownTopicOrPartition])
        let active = try #require(partitions[0].activeProducers.first)
        #expect(active.producerID == producer.identity.id && active.producerEpoch == 0 && active.lastSequence == 0)
        #expect(active.currentTxnStartOffset == 0 && active.coordinatorEpoch == -1)
        #expect(try self.lastStableOffset(client, topic) == 0)

        func abort(coordinatorEpoch: Int32, epoch: Int16 = 0, version: Int16) throws -> [ErrorCode] {
            var marker = WriteTxnMarkersRequest.WritableTxnMarker()
            marker.producerID = producer.identity.id
            marker.producerEpoch = epoch
            marker.coordinatorEpoch = coordinatorEpoch
            var markerTopic = WriteTxnMarkersRequest.WritableTxnMarkerTopic()
            markerTopic.name = topic.name
            markerTopic.partitionIndexes = [0, 9]
            marker.topics = [markerTopic]
            var request = WriteTxnMarkersRequest()
            request.markers = [marker]
            let markers = try client.send(request, version: version).markers
            return markers[0].topics[0].partitions.map(\.errorCode)
        }
        #expect(try abort(coordinatorEpoch: 5, version: 1) == [.none, .unknownTopicOrPartition])
        #expect(try self.lastStableOffset(client, topic) == 2)
        // An older coordinator's, and an older epoch's.
        #expect(try abort(coordinatorEpoch: 4, version: 2)[0] == .transactionCoordinatorFenced)
        #expect(try abort(coordinatorEpoch: 5, epoch: -1, version: 2)[0] == .invalidProducerEpoch)
        // Without a transaction it does no harm.
        #expect(try abort(coordinatorEpoch: 5, version: 2)[0] == .none)
    }

    @Test func describedAndListed() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t", partitions: 3)
        let client = try test.client()
        let open = try TransactionalProducer(client, "open", timeoutMs: 30_000)
        #expect(try open.add(topic, [2, 0]) == [.none, .none])
        _ = try TransactionalProducer(client, "idle")
        var describe = DescribeTransactionsRequest()
        describe.transactionalIDs = ["open", "nobody", ""]
        let states = try client.send(describe, version: 0).transactionStates
        #expect(states.map(\.errorCode) == [.none, .transactionalIDNotFound, .invalidRequest])
        #expect(states[0].transactionState == "Ongoing" && states[0].transactionTimeoutMs == 30_000)
        #expect(states[0].topics.map(\.topic) == ["t"] && states[0].topics[0].partitions == [0, 2])
        #expect(abs(states[0].transactionStartTimeMs - wallMs()) < 60_000)

        for version in Int16(0)...2 {
            func list(_ change: (inout ListTransactionsRequest) -> Void) throws -> ListTransactionsResponse {
                var request = ListTransactionsRequest()
                change(&request)
                // Shards are loaded one after the other.
                for _ in 0..<1000 {
                    let response = try client.send(request, version: version)
                    if response.errorCode != .coordinatorLoadInProgress { return response }
                    usleep(5_000)
                }
                throw TestFailure("it does not load")
            }
            func names(_ response: ListTransactionsResponse) -> [String] {
                response.transactionStates.map(\.transactionalID).sorted()
            }
            #expect(names(try list { _ in }) == ["idle", "open"])
            #expect(names(try list { $0.stateFilters = ["Ongoing"] }) == ["open"])
            let unknown = try list { $0.stateFilters = ["Nonsense"] }
            #expect(names(unknown).isEmpty && unknown.unknownStateFilters == ["Nonsense"])
            #expect(names(try list { $0.producerIDFilters = [open.identity.id] }) == ["open"])
            if version >= 1 {
                #expect(
                    names(
                        try list {
                            $0.durationFilter = 1_000_000
                            $0.stateFilters = ["Ongoing"]
                        }
                    ).isEmpty)
            }
            if version >= 2 {
                #expect(names(try list { $0.transactionalIDPattern = "o.*" }) == ["open"])
                #expect(names(try list { $0.transactionalIDPattern = "o" }).isEmpty)
                let bad = try list { $0.transactionalIDPattern = "(" }
                #expect(bad.errorCode == .invalidRegularExpression)
            }
        }
    }

    @Test func transactionsGoOnAfterARestart() throws {
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        let topic = try test.makeTopic("t")
        var producer = try TransactionalProducer(try test.client(), "tx")
        #expect(try producer.add(topic, [0]) == [.none])
        #expect(try producer.send(topic) == .none)
        try test.restart()
        let client = try test.client()
        var request = EndTxnRequest()
        request.transactionalID = producer.id
        request.producerID = producer.identity.id
        request.producerEpoch = producer.identity.epoch
        request.committed = true
        try waitUntil("its shard to load") {
            (try? client.send(request, version: 4))?.errorCode == ErrorCode.none
        }
        try self.waitForEnd(of: producer.id, client)
        #expect(try self.lastStableOffset(client, topic) == 2)
    }

    @Test func unstableVersionsAreServedWhereAskedFor() throws {
        func versions(_ client: TestClient) throws -> Int16? {
            try client.send(ApiVersionsRequest(), version: 0).apiKeys.first { $0.apiKey == 22 }?.maxVersion
        }
        let test = try TestBroker("transaction.state.log.num.partitions=1")
        #expect(try versions(try test.client()) == 5)
        let unstable = try TestBroker("unstable.api.versions.enable=true")
        let client = try unstable.client()
        #expect(try versions(client) == 6)
        var producer = try TransactionalProducer(client, "tx", version: 6)
        #expect(producer.identity.epoch == 0)
        try producer.initialise(version: 6)
        #expect(producer.identity.epoch == 1)
        var request = InitProducerIdRequest()
        request.transactionalID = "tx"
        request.enable2Pc = true
        #expect(try client.send(request, version: 6).errorCode == .transactionalIDAuthorizationFailed)
    }
}
