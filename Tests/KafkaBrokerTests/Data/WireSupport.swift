import Glibc
import KafkaLog
import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import KafkaRecords

@testable import KafkaBroker

// What the tests of Produce, Fetch, ListOffsets and the rest of the wire share: topics, batches, and requests of one
// partition.

struct TestTopic {
    let name: String
    let id: KafkaUUID
}

extension TestBroker {
    /// Makes a topic behind the API's back, so that it may have any leader epoch and name.
    func makeTopic(
        _ name: String, partitions: Int32 = 1, leaderEpoch: Int32 = 0, configs: [String: String] = [:]
    ) throws -> TestTopic {
        let id = KafkaUUID(high: 0x4000, low: UInt64.random(in: 1...UInt64.max))
        let record = TopicImage.record(id: id, partitions: Int(partitions))
        var changes = [MetadataTransaction.Change.put(MetadataKeys.topic(name), record.bytes)]
        for index in 0..<partitions {
            let registration = PartitionRegistration(
                replicas: [self.broker.nodeID], leaderEpoch: leaderEpoch)
            changes.append(.put(MetadataKeys.partition(id, index), registration.record.bytes))
        }
        if !configs.isEmpty {
            let fields = configs.map { (name: $0.key, value: $0.value) }
            changes.append(.put(MetadataKeys.topicConfig(name), MetadataRecord(fields).bytes))
        }
        _ = try self.broker.metadata.store.commitAndWait(MetadataTransaction(changes: changes))
        return TestTopic(name: name, id: id)
    }

    func deleteTopic(_ topic: TestTopic) throws {
        _ = try self.broker.metadata.store.commitAndWait(
            MetadataTransaction(changes: [
                .delete(MetadataKeys.topic(topic.name)), .deleteRange(MetadataKeys.partitions(topic.id)),
            ]))
    }

    func partition(_ topic: TestTopic, _ index: Int32 = 0) throws -> Partition {
        guard let partition = self.broker.replicaManager.table.topic(named: topic.name)?.partition(index) else {
            throw TestFailure("no partition \(topic.name)-\(index)")
        }
        return partition
    }

    /// Waits until so many fetches wait for the partition.
    func waitForWaiters(_ count: Int, of partition: Partition) throws {
        try waitUntil("\(count) waiting fetches, not \(partition.waitingCount)") { partition.waitingCount == count }
    }
}

/// Looks every millisecond, for ten seconds at most.
func waitUntil(_ what: @autoclosure () -> String, _ condition: () -> Bool) throws {
    for _ in 0..<10_000 {
        if condition() { return }
        usleep(1000)
    }
    throw TestFailure("it did not come to \(what())")
}

/// Milliseconds since 1970, as the broker has them.
func wallMs() -> Int64 { wallClockMs() }

func monotonicMs() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}

// MARK: - Batches

/// A batch of `count` records with these values' first letters, one millisecond apart.
func batch(
    _ value: String = "value", count: Int = 1, compression: CompressionType = .none, timestamp: Int64? = nil,
    key: [UInt8]? = [1], producerID: Int64 = -1, epoch: Int16 = -1, sequence: Int32 = -1,
    isTransactional: Bool = false, isControl: Bool = false, baseOffset: Int64 = 0, logAppendTime: Int64? = nil
) -> [UInt8] {
    var builder = RecordBatchBuilder(
        baseOffset: baseOffset, compression: compression, logAppendTime: logAppendTime, producerID: producerID,
        producerEpoch: epoch, baseSequence: sequence, isTransactional: isTransactional, isControl: isControl)
    let first = timestamp ?? wallMs()
    for index in 0..<count {
        builder.append(timestamp: first + Int64(index), key: key, value: Array("\(value)-\(index)".utf8))
    }
    return builder.build()
}

/// The batch as the log has it.
func stamped(_ batch: [UInt8], offset: Int64, leaderEpoch: Int32 = 0) -> [UInt8] {
    var batch = batch
    batch.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: offset, leaderEpoch: leaderEpoch) }
    return batch
}

func batches(in bytes: [UInt8]?) throws -> [RecordBatch] {
    try (bytes ?? []).withUnsafeBytes { try RecordBatch.all(in: $0, scratch: DecompressionScratch()) }
}

// MARK: - Requests

extension ProduceRequest {
    init(_ topic: TestTopic, _ records: [UInt8]?, at partition: Int32 = 0, acks: Int16 = -1) {
        self.init(topic, [(partition, records)], acks: acks)
    }

    init(_ topic: TestTopic, _ partitions: [(Int32, [UInt8]?)], acks: Int16 = -1) {
        self.init()
        self.acks = acks
        self.timeoutMs = 1000
        self.add(topic, partitions)
    }

    mutating func add(_ topic: TestTopic, _ partitions: [(Int32, [UInt8]?)]) {
        var data = ProduceRequest.TopicProduceData()
        data.name = topic.name
        data.topicID = topic.id
        data.partitionData = partitions.map { index, records in
            var partition = ProduceRequest.PartitionProduceData()
            partition.index = index
            partition.records = records
            return partition
        }
        self.topicData.append(data)
    }
}

extension FetchRequest {
    init(_ topic: TestTopic, _ partition: Int32 = 0, from offset: Int64, maxWaitMs: Int32 = 0, minBytes: Int32 = 1) {
        self.init()
        self.replicaID = -1
        self.replicaState.replicaID = -1
        self.maxWaitMs = maxWaitMs
        self.minBytes = minBytes
        self.maxBytes = 50 << 20
        self.sessionEpoch = -1
        self.add(topic, partition, from: offset)
    }

    /// Of a session, or for one.
    init(session: Int32, epoch: Int32, maxWaitMs: Int32 = 0) {
        self.init()
        self.replicaID = -1
        self.replicaState.replicaID = -1
        self.maxWaitMs = maxWaitMs
        self.minBytes = 1
        self.maxBytes = 50 << 20
        self.sessionID = session
        self.sessionEpoch = epoch
    }

    mutating func add(
        _ topic: TestTopic, _ index: Int32 = 0, from offset: Int64, maxBytes: Int32 = 1 << 20,
        currentLeaderEpoch: Int32 = -1, lastFetchedEpoch: Int32 = -1
    ) {
        var partition = FetchRequest.Partition()
        partition.partition = index
        partition.fetchOffset = offset
        partition.partitionMaxBytes = maxBytes
        partition.currentLeaderEpoch = currentLeaderEpoch
        partition.lastFetchedEpoch = lastFetchedEpoch
        partition.logStartOffset = -1
        if self.topics.last.map({ $0.topic == topic.name && $0.topicID == topic.id }) ?? false {
            self.topics[self.topics.count - 1].partitions.append(partition)
            return
        }
        var entry = FetchRequest.Topic()
        entry.topic = topic.name
        entry.topicID = topic.id
        entry.partitions = [partition]
        self.topics.append(entry)
    }

    mutating func forget(_ topic: TestTopic, _ partitions: [Int32]) {
        var entry = FetchRequest.ForgottenTopic()
        entry.topic = topic.name
        entry.topicID = topic.id
        entry.partitions = partitions
        self.forgottenTopicsData.append(entry)
    }
}

extension FetchResponse {
    var partitions: [FetchResponse.PartitionData] { self.responses.flatMap(\.partitions) }

    /// The one partition of an answer to a request for one.
    var only: FetchResponse.PartitionData {
        get throws {
            guard self.partitions.count == 1 else {
                throw TestFailure("\(self.partitions.count) partitions, error \(self.errorCode)")
            }
            return self.partitions[0]
        }
    }
}

extension TestClient {
    /// Produces to one partition and gives its answer.
    @discardableResult
    func produce(
        _ topic: TestTopic, _ records: [UInt8]?, at partition: Int32 = 0, version: Int16 = 9, acks: Int16 = -1
    ) throws -> ProduceResponse.PartitionProduceResponse {
        let response = try self.send(ProduceRequest(topic, records, at: partition, acks: acks), version: version)
        guard response.responses.count == 1, response.responses[0].partitionResponses.count == 1 else {
            throw TestFailure("not one partition: \(response)")
        }
        return response.responses[0].partitionResponses[0]
    }

    /// Whether the broker hangs up on this request.
    func isClosed<Request: KafkaRequest>(after request: Request, version: Int16) throws -> Bool {
        try self.sendOnly(request, version: version)
        return self.isClosedByBroker()
    }
}
