import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// What readers of committed records get of a log that holds transactions. Clients cannot write any yet; these are put
/// into the log as a coordinator and its producers would.
@Suite struct TransactionFetchTests {
    private func append(_ log: PartitionLog, _ batch: [UInt8], _ origin: RecordOrigin = .client) throws {
        var batch = batch
        _ = try batch.withUnsafeMutableBytes { bytes in
            let validated = try #require(ValidatedBatch(own: UnsafeRawBufferPointer(bytes)))
            return try log.append(bytes, validated: validated, leaderEpoch: 0, now: 1000, origin: origin).get()
        }
    }

    private func send(_ log: PartitionLog, _ producer: Int64, sequence: Int32) throws {
        try self.append(
            log, batch(timestamp: 1000, producerID: producer, epoch: 0, sequence: sequence, isTransactional: true))
    }

    private func end(_ log: PartitionLog, _ producer: Int64, committed: Bool) throws {
        let marker = RecordBatchBuilder.endTransaction(
            committed: committed, marker: EndTransactionMarker(coordinatorEpoch: 0), producerID: producer,
            producerEpoch: 0, timestamp: 1000)
        try self.append(log, marker, .coordinator)
    }

    /// 0 aborted, 1 committed, 2 plain, 3 and 4 markers, 5 open.
    private func fill(_ log: PartitionLog) throws {
        try self.send(log, 1, sequence: 0)
        try self.send(log, 2, sequence: 0)
        try self.append(log, batch(timestamp: 1000))
        try self.end(log, 2, committed: true)
        try self.end(log, 1, committed: false)
        try self.send(log, 2, sequence: 1)
        try self.append(log, batch(timestamp: 2000))
    }

    private func fetch(_ topic: TestTopic, from offset: Int64, _ isolation: Int8) -> FetchRequest {
        var request = FetchRequest(topic, from: offset)
        request.isolationLevel = isolation
        return request
    }

    @Test(arguments: [4, 11, 12, 13, 18] as [Int16], [false, true]) func fetch(version: Int16, restarts: Bool) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        try self.fill(try test.partition(topic).log)
        if restarts { try test.restart() }
        let client = try test.client()

        let committed = try client.send(fetch(topic, from: 0, 1), version: version).only
        #expect(committed.highWatermark == 7 && committed.lastStableOffset == 5)
        #expect(try batches(in: committed.records).map(\.header.baseOffset) == [0, 1, 2, 3, 4])
        #expect(committed.abortedTransactions?.map(\.producerID) == [1])
        #expect(committed.abortedTransactions?.map(\.firstOffset) == [0])

        let uncommitted = try client.send(fetch(topic, from: 0, 0), version: version).only
        #expect(uncommitted.lastStableOffset == 5)
        #expect(try batches(in: uncommitted.records).count == 7)
        #expect(uncommitted.abortedTransactions == nil)

        // Behind the last stable offset a reader of committed records waits, which is no error.
        for offset: Int64 in [5, 6, 7] {
            let nothing = try client.send(fetch(topic, from: offset, 1), version: version).only
            #expect(nothing.errorCode == .none && nothing.records == [] && nothing.abortedTransactions == [])
        }
        // Past the marker the transaction is of no interest.
        #expect(try client.send(fetch(topic, from: 5, 1), version: version).only.abortedTransactions == [])
    }

    @Test func aMarkerEndsTheWait() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let partition = try test.partition(topic)
        try self.fill(partition.log)
        let client = try test.client()
        var request = FetchRequest(topic, from: 5, maxWaitMs: 20_000)
        request.isolationLevel = 1
        let id = try client.sendOnly(request, version: 12)
        try test.waitForWaiters(1, of: partition)
        try self.end(partition.log, 2, committed: false)
        // Whoever appends wakes those who wait; a coordinator does so through the partition, and so does a producer.
        try test.client().produce(topic, batch(timestamp: 3000))
        let answer = try client.receive(FetchRequest.self, version: 12, correlationID: id).only
        #expect(try batches(in: answer.records).first?.header.baseOffset == 5)
        #expect(answer.abortedTransactions?.map(\.producerID) == [2])
        #expect(answer.abortedTransactions?.map(\.firstOffset) == [5])
    }

    @Test(arguments: Array(ListOffsetsRequest.validVersions.dropFirst())) func listOffsets(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        try self.fill(try test.partition(topic).log)
        let client = try test.client()
        for (isolation, timestamp, expected) in [
            (0, -1, 7), (1, -1, 5), (0, -2, 0), (1, -2, 0), (0, 2000, 6), (1, 2000, -1), (0, 1000, 0), (1, 1000, 0),
        ] as [(Int8, Int64, Int64)] {
            var request = ListOffsetsRequest()
            request.replicaID = -1
            request.isolationLevel = isolation
            var entry = ListOffsetsRequest.Topic()
            entry.name = topic.name
            var asked = ListOffsetsRequest.Partition()
            asked.timestamp = timestamp
            entry.partitions = [asked]
            request.topics = [entry]
            let answer = try client.send(request, version: version).topics.first?.partitions.first
            #expect(answer?.errorCode == ErrorCode.none)
            #expect(answer?.offset == expected, "isolation \(isolation), time \(timestamp)")
        }
    }
}
