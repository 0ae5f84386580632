import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// Requests that mean something to the broker that they are sent to: a topic that is there, a group with a member. Damaged
/// ones get further than those of the golden vectors.
struct LiveRequests {
    static let topic = "live"
    static let group = "live-group"
    let topicID: KafkaUUID
    private(set) var requests: [RequestBody] = []
    private let test: TestBroker

    init(_ test: TestBroker) throws {
        self.test = test
        let client = try test.client()
        var create = CreateTopicsRequest()
        create.topics = [.init(Self.topic, partitions: 3)]
        self.topicID = try client.send(create, version: 7).topics[0].topicID
        for codec in [CompressionType.none, .gzip, .snappy, .lz4, .zstd] {
            self.requests += RequestBody.all(self.produce(Self.batch(codec, sequence: -1)))
        }
        self.addData()
        self.addGroups()
        self.addAdmin()
        self.addTransactions()
    }

    static func batch(_ codec: CompressionType, sequence: Int32, records: Int = 5) -> [UInt8] {
        var builder = RecordBatchBuilder(
            compression: codec, producerID: sequence < 0 ? -1 : 4_000, producerEpoch: sequence < 0 ? -1 : 0,
            baseSequence: sequence)
        for index in 0..<records {
            builder.append(
                timestamp: wallClockMs(), key: Array("key \(index)".utf8), value: Array("value \(index)".utf8),
                headers: [RecordHeader("h", [1, 2, 3])])
        }
        return builder.build()
    }

    func produce(_ records: [UInt8], partition index: Int32 = 0) -> ProduceRequest {
        var partition = ProduceRequest.PartitionProduceData()
        partition.index = index
        partition.records = records
        var topic = ProduceRequest.TopicProduceData()
        topic.name = Self.topic
        topic.topicID = self.topicID
        topic.partitionData = [partition]
        var request = ProduceRequest()
        request.acks = 1
        request.topicData = [topic]
        return request
    }

    /// A batch that is damaged behind its CRC, which is made to fit, as is its length.
    func produceOfDamagedBatch(using generator: inout SeededGenerator) -> RequestBody {
        let codec = CompressionType(rawValue: UInt8(generator.below(5))) ?? .none
        var batch = Self.batch(codec, sequence: generator.below(2) == 0 ? -1 : Int32(generator.below(10)))
        var tail = Array(batch[21...])
        mutate(&tail, using: &generator)
        batch = batch[..<21] + tail
        Self.fit(&batch)
        return RequestBody(self.produce(batch, partition: Int32(generator.below(3))), version: 11)
    }

    /// Makes length and CRC of a batch right.
    static func fit(_ batch: inout [UInt8]) {
        func put(_ value: UInt32, at offset: Int) {
            for index in 0..<4 { batch[offset + index] = UInt8(truncatingIfNeeded: value >> UInt32(24 - 8 * index)) }
        }
        put(UInt32(batch.count - 12), at: 8)
        put(batch[21...].withUnsafeBytes { crc32c($0) }, at: 17)
    }

    /// What was taken can be read back, by a consumer that trusts the broker.
    func expectReadable() throws {
        let scratch = DecompressionScratch()
        for index in 0..<Int32(3) {
            let log = try #require(
                self.test.broker.replicaManager.table.topic(named: Self.topic)?.partition(index)?.log)
            var offset = log.snapshot.logStartOffset
            let end = log.logEndOffset
            let client = try self.test.client()
            while offset < end {
                var wanted = FetchRequest.Partition()
                wanted.partition = index
                wanted.fetchOffset = offset
                wanted.partitionMaxBytes = 1 << 20
                var topic = FetchRequest.Topic()
                topic.topic = Self.topic
                topic.partitions = [wanted]
                var fetch = FetchRequest()
                fetch.topics = [topic]
                let answer = try client.send(fetch, version: 12).responses[0].partitions[0]
                #expect(answer.errorCode == .none)
                let records = answer.records ?? []
                let before = offset
                try records.withUnsafeBytes { bytes in
                    var slices = RecordBatchSlices(bytes)
                    while let (header, batch) = try slices.next() {
                        var count = 0
                        var iterator = try RecordBatchIterator(batch, scratch: scratch)
                        while try iterator.next() != nil { count += 1 }
                        #expect(count == Int(header.recordsCount) && count > 0, "at \(header.baseOffset)")
                        offset = header.lastOffset + 1
                    }
                }
                if offset == before { throw TestFailure("\(Self.topic)-\(index) gives nothing at \(offset)") }
            }
        }
    }

    // MARK: The others

    private mutating func add<Request: KafkaRequest>(_ request: Request) { self.requests += RequestBody.all(request) }

    private mutating func addData() {
        var wanted = FetchRequest.Partition()
        wanted.partitionMaxBytes = 1 << 20
        var topic = FetchRequest.Topic()
        topic.topic = Self.topic
        topic.topicID = self.topicID
        topic.partitions = [wanted]
        var fetch = FetchRequest()
        fetch.topics = [topic]
        fetch.sessionEpoch = 0
        self.add(fetch)

        var listed = ListOffsetsRequest.Partition()
        var listedTopic = ListOffsetsRequest.Topic()
        listedTopic.name = Self.topic
        for timestamp: Int64 in [-1, -2, -3, 0, .max] {
            listed.timestamp = timestamp
            listedTopic.partitions.append(listed)
            listed.partitionIndex += 1
        }
        var list = ListOffsetsRequest()
        list.replicaID = -1
        list.topics = [listedTopic]
        self.add(list)

        var epoch = OffsetForLeaderEpochRequest.OffsetForLeaderTopic()
        epoch.topic = Self.topic
        epoch.partitions = [.init()]
        var epochs = OffsetForLeaderEpochRequest()
        epochs.topics = [epoch]
        self.add(epochs)

        var deleted = DeleteRecordsRequest.Topic()
        deleted.name = Self.topic
        deleted.partitions = [.init()]
        var deleteRecords = DeleteRecordsRequest()
        deleteRecords.topics = [deleted]
        self.add(deleteRecords)

        var dirTopic = DescribeLogDirsRequest.DescribableLogDirTopic()
        dirTopic.topic = Self.topic
        dirTopic.partitions = [0, 1, 2]
        var describeDirs = DescribeLogDirsRequest()
        describeDirs.topics = [dirTopic]
        self.add(describeDirs)
        var moved = AlterReplicaLogDirsRequest.AlterReplicaLogDirTopic()
        moved.name = Self.topic
        moved.partitions = [0, 1, 2]
        var move = AlterReplicaLogDirsRequest.AlterReplicaLogDir()
        move.path = "\(self.test.folder)/data"
        move.topics = [moved]
        var alterDirs = AlterReplicaLogDirsRequest()
        alterDirs.dirs = [move]
        self.add(alterDirs)

        var handshake = SaslHandshakeRequest()
        handshake.mechanism = "PLAIN"
        self.add(handshake)
        var authenticate = SaslAuthenticateRequest()
        authenticate.authBytes = Array("\0user\0secret".utf8)
        self.add(authenticate)

        var metadata = MetadataRequest()
        var named = MetadataRequest.Topic()
        named.name = Self.topic
        metadata.topics = [named]
        self.add(metadata)
        var describe = DescribeTopicPartitionsRequest()
        var described = DescribeTopicPartitionsRequest.TopicRequest()
        described.name = Self.topic
        var cursor = DescribeTopicPartitionsRequest.Cursor()
        cursor.topicName = Self.topic
        describe.topics = [described]
        describe.cursor = cursor
        self.add(describe)
        var producer = InitProducerIdRequest()
        producer.transactionalID = nil
        self.add(producer)
    }

    private mutating func addGroups() {
        var offered = JoinGroupRequest.RequestProtocol()
        offered.name = "range"
        offered.metadata = [0, 0, 0, 0, 0, 1, 0, 4] + Array(Self.topic.utf8) + [0, 0, 0, 0]
        var join = JoinGroupRequest()
        join.groupID = Self.group
        join.sessionTimeoutMs = 6_000
        join.rebalanceTimeoutMs = 6_000
        join.protocolType = "consumer"
        join.protocols = [offered]
        self.add(join)
        join.groupInstanceID = "static"
        self.add(join)
        var sync = SyncGroupRequest()
        sync.groupID = Self.group
        sync.generationID = 1
        sync.memberID = "static"
        sync.groupInstanceID = "static"
        sync.protocolType = "consumer"
        sync.protocolName = "range"
        self.add(sync)
        var heartbeat = HeartbeatRequest()
        heartbeat.groupID = Self.group
        heartbeat.generationID = 1
        self.add(heartbeat)
        var leave = LeaveGroupRequest()
        leave.groupID = Self.group
        var gone = LeaveGroupRequest.MemberIdentity()
        gone.groupInstanceID = "static"
        leave.members = [gone]
        self.add(leave)

        var partition = OffsetCommitRequest.Partition()
        partition.committedOffset = 5
        partition.committedMetadata = "metadata"
        var topic = OffsetCommitRequest.Topic()
        topic.name = Self.topic
        topic.topicID = self.topicID
        topic.partitions = [partition]
        var commit = OffsetCommitRequest()
        commit.groupID = Self.group + "-offsets"
        commit.topics = [topic]
        self.add(commit)
        var fetchedTopic = OffsetFetchRequest.Topics()
        fetchedTopic.name = Self.topic
        fetchedTopic.topicID = self.topicID
        fetchedTopic.partitionIndexes = [0, 1, 2]
        var group = OffsetFetchRequest.Group()
        group.groupID = commit.groupID
        group.topics = [fetchedTopic]
        var fetch = OffsetFetchRequest()
        fetch.groupID = commit.groupID
        fetch.topics = nil
        fetch.groups = [group]
        self.add(fetch)
        var describe = DescribeGroupsRequest()
        describe.groups = [Self.group, commit.groupID]
        self.add(describe)
        var delete = DeleteGroupsRequest()
        delete.groupsNames = [commit.groupID]
        self.add(delete)
        var deletedTopic = OffsetDeleteRequest.Topic()
        deletedTopic.name = Self.topic
        deletedTopic.partitions = [.init()]
        var offsetDelete = OffsetDeleteRequest()
        offsetDelete.groupID = commit.groupID
        offsetDelete.topics = [deletedTopic]
        self.add(offsetDelete)
        var find = FindCoordinatorRequest()
        find.key = Self.group
        find.coordinatorKeys = [Self.group]
        self.add(find)
    }

    private mutating func addAdmin() {
        var partitions = CreatePartitionsRequest.Topic()
        partitions.name = Self.topic
        partitions.count = 3
        var createPartitions = CreatePartitionsRequest()
        createPartitions.topics = [partitions]
        createPartitions.validateOnly = true
        self.add(createPartitions)
        for type: Int8 in [2, 4, 8, 16, 32] {
            var resource = DescribeConfigsRequest.Resource()
            resource.resourceType = type
            resource.resourceName = type == 2 ? Self.topic : "1"
            resource.configurationKeys = nil
            var describe = DescribeConfigsRequest()
            describe.resources = [resource]
            describe.includeSynonyms = true
            self.add(describe)
        }
        var config = IncrementalAlterConfigsRequest.AlterableConfig()
        config.name = "retention.ms"
        config.value = "1000000"
        var resource = IncrementalAlterConfigsRequest.AlterConfigsResource()
        resource.resourceType = 2
        resource.resourceName = Self.topic
        resource.configs = [config]
        config.name = "segment.bytes"
        config.value = "2000000"
        resource.configs.append(config)
        var alter = IncrementalAlterConfigsRequest()
        alter.resources = [resource]
        self.add(alter)
    }

    private mutating func addTransactions() {
        let id = "live-transaction"
        var find = FindCoordinatorRequest()
        find.keyType = 1
        find.key = id
        find.coordinatorKeys = [id]
        self.add(find)
        var producer = InitProducerIdRequest()
        producer.transactionalID = id
        producer.transactionTimeoutMs = 10_000
        self.add(producer)
        var topic = AddPartitionsToTxnRequest.Topic()
        topic.name = Self.topic
        topic.partitions = [0, 1, 2]
        var transaction = AddPartitionsToTxnRequest.Transaction()
        transaction.transactionalID = id
        transaction.topics = [topic]
        var add = AddPartitionsToTxnRequest()
        add.v3AndBelowTransactionalID = id
        add.v3AndBelowTopics = [topic]
        add.transactions = [transaction]
        self.add(add)
        var offsets = AddOffsetsToTxnRequest()
        offsets.transactionalID = id
        offsets.groupID = Self.group
        self.add(offsets)
        var committed = TxnOffsetCommitRequest.Topic()
        committed.name = Self.topic
        committed.partitions = [.init()]
        var commit = TxnOffsetCommitRequest()
        commit.transactionalID = id
        commit.groupID = Self.group
        commit.topics = [committed]
        self.add(commit)
        var end = EndTxnRequest()
        end.transactionalID = id
        end.committed = true
        self.add(end)
        var producers = DescribeProducersRequest()
        var described = DescribeProducersRequest.TopicRequest()
        described.name = Self.topic
        described.partitionIndexes = [0, 1, 2, 3]
        producers.topics = [described]
        self.add(producers)
        var describe = DescribeTransactionsRequest()
        describe.transactionalIDs = [id, "nobody"]
        self.add(describe)
        var list = ListTransactionsRequest()
        list.stateFilters = ["Ongoing", "Empty"]
        self.add(list)
    }
}
