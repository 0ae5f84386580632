import KafkaMessages
import KafkaPrimitives

/// Why Kafka's metadata cannot be taken over; one sentence, for an operator.
package struct KafkaMetadataError: Error, Equatable, Sendable, CustomStringConvertible {
    package let description: String
    package init(_ description: String) { self.description = description }
}

/// What the records of Kafka's metadata log (`__cluster_metadata`) add up to. Pure: records in, state out.
package struct KafkaMetadataState: Sendable, Equatable {
    package struct Partition: Sendable, Equatable {
        package var replicas: [Int32] = []
        package var isr: [Int32] = []
        package var addingReplicas: [Int32] = []
        package var removingReplicas: [Int32] = []
        package var leader: Int32 = -1
        package var leaderEpoch: Int32 = 0
        package var partitionEpoch: Int32 = 0
        /// The ids of the log folders, one a replica; empty: not told (before metadata.version 3.7-IV2).
        package var directories: [KafkaUUID] = []
    }

    package struct Topic: Sendable, Equatable {
        package var name: String
        package var id: KafkaUUID
        package var partitions: [Int32: Partition] = [:]
    }

    /// What configs belong to.
    package struct Resource: Hashable, Sendable {
        package static let topic: Int8 = 2
        package static let broker: Int8 = 4
        package static let clientMetrics: Int8 = 16
        package static let group: Int8 = 32
        package var type: Int8
        package var name: String
    }

    package var topics: [KafkaUUID: Topic] = [:]
    package var configs: [Resource: [String: String]] = [:]
    package var features: [String: Int16] = [:]
    /// Registered brokers.
    package var brokers: Set<Int32> = []
    /// The first producer id that no block has been taken from.
    package var nextProducerID: Int64 = 0
    /// The controllers, where the log names them (kraft.version 1).
    package var voters: [Int32]?
    package var kraftVersion: Int16 = 0
    /// 0 or 3 when no migration from ZooKeeper is under way (KIP-866).
    package var zkMigrationState: Int8 = 0
    package var accessRules: Set<KafkaUUID> = []
    /// Name and mechanism.
    package var scramCredentials: Set<String> = []
    package var delegationTokens: Set<String> = []
    package var quotas: Set<String> = []

    /// Records since BeginTransactionRecord; nil: in no transaction.
    private var transaction: [(type: UInt32, version: Int16, message: [UInt8])]?

    package init() {}

    package static func == (left: KafkaMetadataState, right: KafkaMetadataState) -> Bool {
        left.topics == right.topics && left.configs == right.configs && left.features == right.features
            && left.brokers == right.brokers && left.nextProducerID == right.nextProducerID
            && left.voters == right.voters && left.kraftVersion == right.kraftVersion
            && left.zkMigrationState == right.zkMigrationState && left.accessRules == right.accessRules
            && left.scramCredentials == right.scramCredentials && left.delegationTokens == right.delegationTokens
            && left.quotas == right.quotas
    }

    /// The value of a record: varints for the version of this frame, the type and the version of the message, then the
    /// message.
    package mutating func apply(frame: UnsafeRawBufferPointer) throws(KafkaMetadataError) {
        var reader = ByteReader(frame)
        let frameVersion: UInt32
        let type: UInt32
        let version: UInt32
        do throws(DecodingError) {
            frameVersion = try reader.readUnsignedVarint()
            type = try reader.readUnsignedVarint()
            version = try reader.readUnsignedVarint()
        } catch {
            throw KafkaMetadataError("a record's frame cannot be read (\(error))")
        }
        guard frameVersion == 1 else {
            throw KafkaMetadataError("records are framed in version \(frameVersion); only version 1 is known")
        }
        guard let version = Int16(exactly: version) else {
            throw KafkaMetadataError("a record of type \(type) has version \(version)")
        }
        let message = UnsafeRawBufferPointer(rebasing: frame[(frame.count - reader.remaining)...])
        try self.apply(type, version, message)
    }

    private mutating func apply(
        _ type: UInt32, _ version: Int16, _ message: UnsafeRawBufferPointer
    ) throws(KafkaMetadataError) {
        switch type {
        case 23:
            _ = try decode(BeginTransactionRecord.self, version, message)
            guard self.transaction == nil else {
                throw KafkaMetadataError("a BeginTransactionRecord stands within a transaction")
            }
            self.transaction = []
        case 24, 25:
            if type == 24 { _ = try decode(EndTransactionRecord.self, version, message) }
            if type == 25 { _ = try decode(AbortTransactionRecord.self, version, message) }
            guard let records = self.transaction else {
                throw KafkaMetadataError("a transaction ends that has not begun")
            }
            self.transaction = nil
            guard type == 24 else { return }
            for record in records {
                let result = record.message.withUnsafeBytes { bytes in
                    Result<Void, KafkaMetadataError> { () throws(KafkaMetadataError) in
                        try self.carryOut(record.type, record.version, bytes)
                    }
                }
                try result.get()
            }
        default:
            if self.transaction != nil {
                self.transaction?.append((type, version, Array(message)))
            } else {
                try self.carryOut(type, version, message)
            }
        }
    }

    private mutating func carryOut(
        _ type: UInt32, _ version: Int16, _ message: UnsafeRawBufferPointer
    ) throws(KafkaMetadataError) {
        switch type {
        case 0: self.brokers.insert(try decode(RegisterBrokerRecord.self, version, message).brokerID)
        case 1: self.brokers.remove(try decode(UnregisterBrokerRecord.self, version, message).brokerID)
        case 2: try self.add(try decode(TopicRecord.self, version, message))
        case 3: try self.set(try decode(PartitionRecord.self, version, message))
        case 4: self.set(try decode(ConfigRecord.self, version, message))
        case 5: try self.change(try decode(PartitionChangeRecord.self, version, message))
        case 7: _ = try decode(FenceBrokerRecord.self, version, message)
        case 8: _ = try decode(UnfenceBrokerRecord.self, version, message)
        case 9: try self.remove(try decode(RemoveTopicRecord.self, version, message))
        case 10: self.delegationTokens.insert(try decode(DelegationTokenRecord.self, version, message).tokenID)
        case 11:
            let record = try decode(UserScramCredentialRecord.self, version, message)
            self.scramCredentials.insert("\(record.name)/\(record.mechanism)")
        case 12:
            let record = try decode(FeatureLevelRecord.self, version, message)
            self.features[record.name] = record.featureLevel == 0 ? nil : record.featureLevel
        case 14: self.set(try decode(ClientQuotaRecord.self, version, message))
        case 15: self.nextProducerID = try decode(ProducerIdsRecord.self, version, message).nextProducerID
        case 17: _ = try decode(BrokerRegistrationChangeRecord.self, version, message)
        case 18: self.accessRules.insert(try decode(AccessControlEntryRecord.self, version, message).id)
        case 19: self.accessRules.remove(try decode(RemoveAccessControlEntryRecord.self, version, message).id)
        case 20: _ = try decode(NoOpRecord.self, version, message)
        case 21: self.zkMigrationState = try decode(ZkMigrationStateRecord.self, version, message).zkMigrationState
        case 22:
            let record = try decode(RemoveUserScramCredentialRecord.self, version, message)
            self.scramCredentials.remove("\(record.name)/\(record.mechanism)")
        case 26: self.delegationTokens.remove(try decode(RemoveDelegationTokenRecord.self, version, message).tokenID)
        case 27: _ = try decode(RegisterControllerRecord.self, version, message)
        // Eligible leader replicas say who may lead besides the one replica there is.
        case 28: _ = try decode(ClearElrRecord.self, version, message)
        default: throw KafkaMetadataError("a record of type \(type), which Kafka 4.3 does not have")
        }
    }

    // MARK: topics

    private mutating func add(_ record: TopicRecord) throws(KafkaMetadataError) {
        guard self.topics[record.topicID] == nil else {
            throw KafkaMetadataError("the topic id \(record.topicID) is there twice")
        }
        self.topics[record.topicID] = Topic(name: record.name, id: record.topicID)
    }

    private mutating func remove(_ record: RemoveTopicRecord) throws(KafkaMetadataError) {
        guard let topic = self.topics.removeValue(forKey: record.topicID) else {
            throw KafkaMetadataError("a RemoveTopicRecord names the topic \(record.topicID), which is not there")
        }
        self.configs[Resource(type: Resource.topic, name: topic.name)] = nil
    }

    private mutating func set(_ record: PartitionRecord) throws(KafkaMetadataError) {
        guard self.topics[record.topicID] != nil, record.partitionID >= 0 else {
            throw KafkaMetadataError(
                "a PartitionRecord names partition \(record.partitionID) of the topic \(record.topicID), which is not there"
            )
        }
        self.topics[record.topicID]?.partitions[record.partitionID] = Partition(
            replicas: record.replicas, isr: record.isr, addingReplicas: record.addingReplicas,
            removingReplicas: record.removingReplicas, leader: record.leader, leaderEpoch: record.leaderEpoch,
            partitionEpoch: record.partitionEpoch, directories: record.directories)
    }

    private mutating func change(_ record: PartitionChangeRecord) throws(KafkaMetadataError) {
        guard var partition = self.topics[record.topicID]?.partitions[record.partitionID] else {
            throw KafkaMetadataError(
                """
                a PartitionChangeRecord names partition \(record.partitionID) of the topic \(record.topicID), which is \
                not there
                """)
        }
        if let isr = record.isr { partition.isr = isr }
        if let replicas = record.replicas { partition.replicas = replicas }
        if let adding = record.addingReplicas { partition.addingReplicas = adding }
        if let removing = record.removingReplicas { partition.removingReplicas = removing }
        if let directories = record.directories { partition.directories = directories }
        // -2: as before. Each new leader, nobody included, begins an epoch.
        if record.leader != -2 {
            partition.leader = record.leader
            partition.leaderEpoch &+= 1
        }
        partition.partitionEpoch &+= 1
        self.topics[record.topicID]?.partitions[record.partitionID] = partition
    }

    // MARK: the rest

    private mutating func set(_ record: ConfigRecord) {
        let resource = Resource(type: record.resourceType, name: record.resourceName)
        self.configs[resource, default: [:]][record.name] = record.value
        if self.configs[resource]?.isEmpty == true { self.configs[resource] = nil }
    }

    private mutating func set(_ record: ClientQuotaRecord) {
        let entity = record.entity.map { "\($0.entityType)=\($0.entityName ?? "<default>")" }.sorted()
        let quota = entity.joined(separator: ",") + ":" + record.key
        if record.remove { self.quotas.remove(quota) } else { self.quotas.insert(quota) }
    }
}

private func decode<Message: KafkaMessage>(
    _ type: Message.Type, _ version: Int16, _ bytes: UnsafeRawBufferPointer
) throws(KafkaMetadataError) -> Message {
    guard type.validVersions.contains(version) else {
        throw KafkaMetadataError(
            """
            a \(type) of version \(version) (known: \(type.validVersions.lowerBound) to \
            \(type.validVersions.upperBound)); a later Kafka than 4.3 has written it
            """)
    }
    do throws(DecodingError) { return try Message(decoding: bytes, version: version) } catch {
        throw KafkaMetadataError("a \(type) cannot be read (\(error))")
    }
}
