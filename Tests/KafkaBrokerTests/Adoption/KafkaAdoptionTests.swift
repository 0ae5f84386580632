import Glibc
import KafkaLog
import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

struct KafkaAdoptionTests {
    private typealias Resource = KafkaMetadataState.Resource

    @Test(arguments: RecordedFolder.Kind.allCases)
    func recordedMetadata(_ kind: RecordedFolder.Kind) throws {
        let folder = try RecordedFolder(kind)
        let log = try KafkaMetadataLog.read(folder.kafka())
        let state = log.state
        #expect(log.endOffset == (kind == .clean ? 541 : 372))
        #expect(state.topics.count == 11)
        #expect(state.brokers == [0])
        #expect(state.voters == [0])
        #expect(state.kraftVersion == 1)
        #expect(state.nextProducerID == 2000)
        #expect(state.features["metadata.version"] == 30)
        #expect(state.features["transaction.version"] == 2)
        #expect(state.features.count == 6)
        let topics = Dictionary(uniqueKeysWithValues: state.topics.values.map { ($0.name, $0) })
        #expect(topics["codecs"]?.id.description == "irqmvQ3eQDi3WPYhXJ2fvQ")
        #expect(topics["codecs"]?.partitions.count == 5)
        #expect(topics["__consumer_offsets"]?.partitions.count == 5)
        #expect(topics["orders"]?.partitions[2]?.replicas == [0])
        // Once more each time that the broker went and came.
        #expect(topics["orders"]?.partitions[0]?.leaderEpoch == (kind == .clean ? 5 : 2))
        #expect(topics["orders"]?.partitions[0]?.leader == (kind == .clean ? -1 : 0))
        #expect(
            state.configs[Resource(type: Resource.topic, name: "compacted")] == [
                "cleanup.policy": "compact", "delete.retention.ms": "315360000000",
                "min.cleanable.dirty.ratio": "0.01", "segment.ms": "1000",
            ])
        #expect(
            state.configs[Resource(type: Resource.group, name: "share-group")] == [
                "share.auto.offset.reset": "earliest"
            ])
        #expect(state.configs[Resource(type: Resource.broker, name: "")] == ["min.insync.replicas": "1"])
    }

    @Test func aSnapshotAndWhatFollows() throws {
        var writer = MetadataLogWriter()
        writer.appendControl(.snapshotHeader, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        writer.append(MetadataLogWriter.frame(12, 0, [2, 0x61, 0, 3, 0]), MetadataLogWriter.frame(20, 0, [0]))
        writer.appendTopic("orders", id: MetadataLogWriter.topicID)
        writer.appendControl(.snapshotFooter, [0, 0, 0])
        var log = KafkaMetadataLog()
        try log.load(snapshot: writer.bytes, name: "s", endOffset: 3)
        #expect(log.endOffset == 3)
        #expect(log.state.features == ["a": 3])
        // The segment begins before: what is in the snapshot is not done twice.
        var segment = MetadataLogWriter()
        segment.append(MetadataLogWriter.frame(12, 0, [2, 0x61, 0, 1, 0]), MetadataLogWriter.frame(20, 0, [0]))
        segment.append(
            MetadataLogWriter.frame(20, 0, [0]), MetadataLogWriter.frame(12, 0, [2, 0x62, 0, 7, 0]))
        try log.append(segment: segment.bytes, name: "l", baseOffset: 0)
        #expect(log.endOffset == 4)
        #expect(log.state.features == ["a": 3, "b": 7])
        // The next begins where that one ends, or something is missing.
        #expect(throws: KafkaMetadataError.self) { try log.append(segment: [], name: "l", baseOffset: 5) }
        #expect(throws: KafkaMetadataError.self) { try log.append(segment: [], name: "l", baseOffset: 3) }
        try log.append(segment: [], name: "l", baseOffset: 4)
        // Without its end a snapshot does not count.
        for length in [0, 60, writer.bytes.count - 76, writer.bytes.count - 1] {
            var log = KafkaMetadataLog()
            #expect(throws: KafkaMetadataError.self) {
                try log.load(snapshot: Array(writer.bytes[..<length]), name: "s", endOffset: 3)
            }
        }
    }

    @Test func transactionsOfTheMetadata() throws {
        var writer = MetadataLogWriter()
        writer.append(23, BeginTransactionRecord())
        writer.appendFeature("metadata.version", 30)
        #expect(try writer.log().state.features.isEmpty, "the transaction has not ended")
        let open = writer
        writer.append(25, AbortTransactionRecord())
        #expect(try writer.log().state.features.isEmpty)
        writer.append(23, BeginTransactionRecord())
        writer.appendFeature("group.version", 1)
        writer.append(24, EndTransactionRecord())
        #expect(try writer.log().state.features == ["group.version": 1])
        writer.append(24, EndTransactionRecord())
        #expect(throws: KafkaMetadataError.self) { try writer.log() }
        var nested = open
        nested.append(23, BeginTransactionRecord())
        #expect(throws: KafkaMetadataError.self) { try nested.log() }
    }

    @Test func changesOfPartitionsAndConfigs() throws {
        var writer = MetadataLogWriter.smallCluster()
        var change = PartitionChangeRecord()
        change.topicID = MetadataLogWriter.topicID
        change.partitionID = 0
        change.leader = -1
        writer.append(5, change, version: 2)
        change.leader = 1
        change.isr = [1]
        writer.append(5, change, version: 2)
        change.leader = -2
        writer.append(5, change, version: 0)
        writer.appendConfig(2, "orders", "retention.ms", "5")
        writer.appendConfig(2, "orders", "segment.ms", "7")
        writer.appendConfig(2, "orders", "retention.ms", nil)
        let state = try writer.log().state
        let partition = try #require(state.topics[MetadataLogWriter.topicID]?.partitions[0])
        #expect(partition.leader == 1 && partition.leaderEpoch == 2 && partition.partitionEpoch == 3)
        #expect(state.configs == [Resource(type: 2, name: "orders"): ["segment.ms": "7"]])
        var remove = RemoveTopicRecord()
        remove.topicID = MetadataLogWriter.topicID
        writer.append(9, remove)
        #expect(try writer.log().state.topics.isEmpty)
        #expect(try writer.log().state.configs.isEmpty)
        writer.append(9, remove)
        #expect(throws: KafkaMetadataError.self) { try writer.log() }
    }

    // MARK: what is refused

    private func refusal(
        overrides: [String] = [], quorumVoters: [Int32] = [],
        folders: [(String, KafkaFolder.PartitionEntry.Kind)]? = nil, topicID: KafkaUUID? = nil,
        _ change: (inout MetadataLogWriter) -> Void
    ) throws -> String {
        var writer = MetadataLogWriter.smallCluster()
        change(&writer)
        let (config, _) = try KafkaConfig.load(file: nil, overrides: overrides)
        do {
            let entries = folders ?? [("orders-0", .partition(TopicPartition(topic: "orders", partition: 0)))]
            let found = KafkaAdoption.Found(
                nodeID: 1, clusterID: "c",
                directories: [
                    (
                        "/data", MetadataLogWriter.directoryID,
                        entries.map { .init(name: $0.0, kind: $0.1, topicID: topicID) }
                    )
                ], metadata: try writer.log(), quorumVoters: quorumVoters)
            let adoption = try KafkaAdoption(found, config: config, now: 1)
            return "adopted with \(adoption.warnings)"
        } catch let error as KafkaMetadataError {
            return error.description
        }
    }

    @Test func refusals() throws {
        #expect(try self.refusal { _ in } == "adopted with []")
        let cases: [(String, (inout MetadataLogWriter) -> Void)] = [
            ("several brokers (1, 2)", { $0.appendBroker(2) }),
            (
                "orders2-0 has several replicas",
                { $0.appendTopic("orders2", id: .init(high: 9, low: 9), replicas: [[1, 2]]) }
            ),
            ("orders2-0 is on broker 3", { $0.appendTopic("orders2", id: .init(high: 9, low: 9), replicas: [[3]]) }),
            ("is not valid", { $0.appendTopic("../orders", id: .init(high: 9, low: 9)) }),
            ("metadata.version is at level 31", { $0.appendFeature("metadata.version", 31) }),
            ("before 3.3", { $0.appendFeature("metadata.version", 6) }),
            ("queues.version", { $0.appendFeature("queues.version", 1) }),
            ("group.version is at level 2", { $0.appendFeature("group.version", 2) }),
            ("TopicRecord of version 1", { $0.append(MetadataLogWriter.frame(2, 1, [0])) }),
            ("type 99", { $0.append(MetadataLogWriter.frame(99, 0, [0])) }),
            ("framed in version 2", { $0.append([2, 20, 0, 0]) }),
            ("NoOpRecord cannot be read", { $0.append([1, 20, 0, 0, 1]) }),
            ("tiered storage", { $0.appendConfig(2, "orders", "remote.storage.enable", "true") }),
            ("retention.ms", { $0.appendConfig(2, "orders", "retention.ms", "soon") }),
            ("resource of type 77", { $0.appendConfig(77, "x", "a", "b") }),
            ("access rules", { $0.append(18, AccessControlEntryRecord()) }),
            ("SCRAM", { $0.append(11, UserScramCredentialRecord()) }),
            ("delegation tokens", { $0.append(10, DelegationTokenRecord()) }),
            ("quotas", { $0.append(14, ClientQuotaRecord()) }),
            (
                "ZooKeeper",
                {
                    var record = ZkMigrationStateRecord()
                    record.zkMigrationState = 2
                    $0.append(21, record)
                }
            ),
            (
                "several controllers (1, 2)",
                {
                    var voters = VotersRecord()
                    voters.voters = ([1, 2] as [Int32]).map {
                        var voter = VotersRecord.Voter()
                        voter.voterID = $0
                        return voter
                    }
                    $0.appendControl(.kraftVoters, voters.encoded(version: 0))
                }
            ),
            ("the control record", { $0.appendControl(.commit, [0, 0, 0, 0, 0, 0]) }),
        ]
        for (text, change) in cases {
            let refusal = try self.refusal(change)
            #expect(refusal.contains(text) && !refusal.contains("adopted"), "\(refusal)")
        }
        #expect(try self.refusal(quorumVoters: [1, 2]) { _ in }.contains("several controllers"))
        #expect(try self.refusal(quorumVoters: [2]) { _ in }.contains("another node (2)"))
        #expect(try self.refusal(quorumVoters: [1]) { _ in } == "adopted with []")
    }

    @Test func folders() throws {
        func partition(_ name: String, _ index: Int32) -> (String, KafkaFolder.PartitionEntry.Kind) {
            ("\(name)-\(index)", .partition(TopicPartition(topic: name, partition: index)))
        }
        #expect(try self.refusal(folders: []) { _ in }.contains("they begin empty"))
        #expect(try self.refusal(folders: [partition("orders", 1)]) { _ in }.contains("belongs to no topic"))
        #expect(try self.refusal(folders: [partition("gone", 0)]) { _ in }.contains("belongs to no topic"))
        #expect(try self.refusal(folders: [("a-future", .future)]) { _ in }.contains("half moved"))
        #expect(try self.refusal(folders: [("a-stray", .stray)]) { _ in }.contains("set aside"))
        #expect(
            try self.refusal(folders: [partition("orders", 0), partition("orders", 0)]) { _ in }.contains("is in /data")
        )
        #expect(try self.refusal(topicID: .init(high: 3, low: 3)) { _ in }.contains("is of the topic id"))
        #expect(try self.refusal(topicID: MetadataLogWriter.topicID) { _ in } == "adopted with []")
        let elsewhere = try self.refusal(folders: []) {
            var change = PartitionChangeRecord()
            change.topicID = MetadataLogWriter.topicID
            change.partitionID = 0
            change.directories = [.init(high: 5, low: 5)]
            $0.append(5, change, version: 2)
        }
        #expect(elsewhere.contains("not among log.dirs"), "\(elsewhere)")
    }

    @Test func whatIsLeftOutOnlyWhenAsked() throws {
        for (kind, change) in [
            ("acls", { $0.append(18, AccessControlEntryRecord()) }),
            ("scram-credentials", { $0.append(11, UserScramCredentialRecord()) }),
            ("delegation-tokens", { $0.append(10, DelegationTokenRecord()) }),
            ("client-quotas", { $0.append(14, ClientQuotaRecord()) }),
        ] as [(String, (inout MetadataLogWriter) -> Void)] {
            let refused = try self.refusal(overrides: ["ottla.adopt.without="], change)
            #expect(refused.contains("ottla.adopt.without=\(kind)"))
            let adopted = try self.refusal(overrides: ["ottla.adopt.without=\(kind)"], change)
            #expect(adopted.hasPrefix("adopted with [\"1 "), "\(adopted)")
        }
        // What was taken away again is not there.
        let removed = try self.refusal {
            $0.append(18, AccessControlEntryRecord())
            $0.append(19, RemoveAccessControlEntryRecord())
            $0.append(11, UserScramCredentialRecord())
            $0.append(22, RemoveUserScramCredentialRecord())
            $0.append(10, DelegationTokenRecord())
            $0.append(26, RemoveDelegationTokenRecord())
            $0.append(14, ClientQuotaRecord())
            var quota = ClientQuotaRecord()
            quota.remove = true
            $0.append(14, quota)
            $0.appendBroker(7)
            var gone = UnregisterBrokerRecord()
            gone.brokerID = 7
            $0.append(1, gone)
        }
        #expect(removed == "adopted with []")
    }

    @Test func quorumStateVoters() {
        #expect(KafkaAdoption.voters(quorumState: []) == [])
        #expect(KafkaAdoption.voters(quorumState: Array(#"{"leaderId":1,"data_version":1}"#.utf8)) == [])
        let two = #"{"clusterId":"","votedId":-1,"currentVoters":[{"voterId":3},{"voterId": 4}],"data_version":0}"#
        #expect(KafkaAdoption.voters(quorumState: Array(two.utf8)) == [3, 4])
    }

    // MARK: damage

    /// Any bytes changed, cut off or added: read the same, or refused; never a trap.
    @Test func mutations() throws {
        let recorded = try RecordedFolder(.clean)
        let folder = try recorded.kafka()
        let segment = try #require(try folder.contents(folder.segments[0].name))
        var undamaged = KafkaMetadataLog()
        try undamaged.append(segment: segment, name: "l", baseOffset: 0)
        var generator = SplitMix(seed: 20_261_124)
        var refused = 0
        for _ in 0..<300 {
            var damaged = segment
            for _ in 0...Int.random(in: 0...2, using: &generator) {
                let position = Int.random(in: 0..<damaged.count, using: &generator)
                switch Int.random(in: 0...3, using: &generator) {
                case 0: damaged[position] ^= 1 << UInt8.random(in: 0...7, using: &generator)
                case 1: damaged[position] = UInt8.random(in: 0...255, using: &generator)
                case 2: damaged.removeLast(damaged.count - position)
                default: damaged.insert(UInt8.random(in: 0...255, using: &generator), at: position)
                }
                if damaged.isEmpty { damaged = [0] }
            }
            var log = KafkaMetadataLog()
            do {
                try log.append(segment: damaged, name: "l", baseOffset: 0)
                // The epoch of a batch's leader is outside its CRC, and nothing depends on it; a cut may be between batches.
                #expect(log.state == undamaged.state || log.endOffset < undamaged.endOffset)
            } catch {
                refused += 1
            }
        }
        #expect(refused > 250)
    }

    /// Records whose CRC is right and whose insides are anything.
    @Test func mutatedRecords() throws {
        let recorded = try RecordedFolder(.clean)
        let folder = try recorded.kafka()
        let segment = try #require(try folder.contents(folder.segments[0].name))
        var frames: [[UInt8]] = []
        try segment.withUnsafeBytes { bytes in
            for batch in try RecordBatch.all(in: bytes, scratch: DecompressionScratch()) where !batch.header.isControl {
                frames += batch.records.compactMap(\.value)
            }
        }
        var generator = SplitMix(seed: 4)
        var state = KafkaMetadataState()
        for _ in 0..<20_000 {
            var frame = frames[Int.random(in: 0..<frames.count, using: &generator)]
            for _ in 0..<Int.random(in: 0...3, using: &generator) {
                if frame.isEmpty { break }
                let position = Int.random(in: 0..<frame.count, using: &generator)
                switch Int.random(in: 0...3, using: &generator) {
                case 0: frame.removeLast(frame.count - position)
                case 1: frame[min(2, frame.count - 1)] = UInt8.random(in: 0...30, using: &generator)
                default: frame[position] = UInt8.random(in: 0...255, using: &generator)
                }
            }
            frame.withUnsafeBytes { bytes in
                do throws(KafkaMetadataError) { try state.apply(frame: bytes) } catch {}
            }
        }
    }
}

/// The same numbers for the same seed.
struct SplitMix: RandomNumberGenerator {
    private var state: UInt64
    init(seed: UInt64) { self.state = seed }
    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
