import KafkaLog
import KafkaMetadata
import KafkaPrimitives

/// What becomes of Kafka's metadata here: the entries of our store, and what is said about it.
package struct KafkaAdoption: Sendable {
    /// `adopted/kafka`: a store that has it has taken Kafka's metadata over, whole, and never does so again.
    package static let key: MetadataKey = "adopted/kafka"

    package struct Summary: Sendable, Equatable {
        package var topics = 0
        package var partitions = 0
        package var topicConfigs = 0
        package var brokerConfigs = 0
        package var groupConfigs = 0
        package var nextProducerID: Int64 = 0
        package var metadataVersion: Int16 = 0
        package var endOffset: Int64 = 0
    }

    package private(set) var summary = Summary()
    /// Things an operator should know; nothing of it stands in the way.
    package private(set) var warnings: [String] = []
    package private(set) var changes: [MetadataTransaction.Change] = []

    /// What of Kafka's metadata may be left behind (`ottla.adopt.without`).
    package enum Leavable: String, CaseIterable, Sendable {
        case acls = "acls"
        case scramCredentials = "scram-credentials"
        case delegationTokens = "delegation-tokens"
        case clientQuotas = "client-quotas"
    }

    /// What the data folders look like.
    package struct Found: Sendable {
        package var nodeID: Int32
        package var clusterID: String
        /// Id of each data folder, and the partitions in it.
        package var directories: [(path: String, id: KafkaUUID, partitions: [KafkaFolder.PartitionEntry])]
        package var metadata: KafkaMetadataLog
        /// The newest file of the metadata log, by which it is seen later whether Kafka has written again.
        package var lastSegment: KafkaFolder.Segment?
        /// The voters that `quorum-state` names (kraft.version 0).
        package var quorumVoters: [Int32]

        package init(
            nodeID: Int32, clusterID: String,
            directories: [(path: String, id: KafkaUUID, partitions: [KafkaFolder.PartitionEntry])],
            metadata: KafkaMetadataLog, lastSegment: KafkaFolder.Segment? = nil, quorumVoters: [Int32] = []
        ) {
            self.nodeID = nodeID
            self.clusterID = clusterID
            self.directories = directories
            self.metadata = metadata
            self.lastSegment = lastSegment
            self.quorumVoters = quorumVoters
        }
    }

    /// Judges what was found.
    /// - Throws: why it cannot be taken over.
    package init(_ found: Found, config: KafkaConfig, now: Int64) throws(KafkaMetadataError) {
        let state = found.metadata.state
        try Self.checkCluster(state, found)
        try self.checkFeatures(state)
        try self.checkSecurity(state, leavingOut: config.adoptWithout)
        try Self.checkPartitions(state, found)
        try self.checkFolders(state, found)
        self.changes.append(.put(MetadataKeys.clusterID, Array(found.clusterID.utf8)))
        self.addTopics(state, found)
        try self.addConfigs(state, found, config)
        self.summary.nextProducerID = state.nextProducerID
        self.summary.endOffset = found.metadata.endOffset
        self.changes.append(.put(MetadataKeys.nextProducerID, Array(String(state.nextProducerID).utf8)))
        // What Kafka has not set is switched off. Its metadata.version says nothing about our store.
        if !state.features.isEmpty {
            for feature in Feature.allCases where feature != .metadataVersion {
                let level = state.features[feature.rawValue] ?? 0
                self.changes.append(.put(MetadataKeys.feature(feature.rawValue), FeatureLevel.record(level).bytes))
            }
        }
        self.changes.append(.put(Self.key, Self.marker(found, now).bytes))
    }

    /// All of it, in one transaction: after a crash either it is all there or it is done again.
    package var transaction: MetadataTransaction {
        MetadataTransaction(
            compares: [.absent(Self.key), .absent(MetadataKeys.clusterID)], changes: self.changes)
    }

    private static func marker(_ found: Found, _ now: Int64) -> MetadataRecord {
        MetadataRecord([
            ("node", String(found.nodeID)), ("offset", String(found.metadata.endOffset)),
            ("segment", found.lastSegment?.name ?? ""), ("size", String(found.lastSegment?.size ?? 0)),
            ("timestampMs", String(now)),
        ])
    }

    // MARK: judging

    private static func checkCluster(_ state: KafkaMetadataState, _ found: Found) throws(KafkaMetadataError) {
        let node = found.nodeID
        let voters = state.voters ?? found.quorumVoters
        if voters.count > 1 {
            throw KafkaMetadataError(
                "the cluster has several controllers (\(list(voters))); only a single node is opened")
        }
        if let voter = voters.first, voter != node {
            throw KafkaMetadataError(
                "the cluster's controller is another node (\(voter)); only a single node is opened")
        }
        if state.kraftVersion > 1 {
            throw KafkaMetadataError("kraft.version \(state.kraftVersion) is later than 4.3's (1)")
        }
        if state.zkMigrationState == 1 || state.zkMigrationState == 2 {
            throw KafkaMetadataError("a migration from ZooKeeper is under way; let Kafka finish it first")
        }
        if state.brokers.count > 1 {
            throw KafkaMetadataError(
                "the cluster has several brokers (\(list(state.brokers.sorted()))); only a single node is opened")
        }
        if let broker = state.brokers.first, broker != node {
            throw KafkaMetadataError(
                "node \(node) is a controller only; the cluster's broker is \(broker). Only a single node that is both is opened"
            )
        }
        if state.brokers.isEmpty, !state.topics.isEmpty {
            throw KafkaMetadataError("there are topics, but no broker is registered; node \(node) is a controller only")
        }
    }

    /// Names and highest levels of 4.3.
    static let knownFeatures: [String: Int16] = [
        "metadata.version": 30, "kraft.version": 1, "transaction.version": 2, "group.version": 1,
        "eligible.leader.replicas.version": 1, "share.version": 1, "streams.version": 1,
    ]
    /// 3.3-IV3, the first that Kafka 4 still reads.
    static let lowestMetadataVersion: Int16 = 7

    private mutating func checkFeatures(_ state: KafkaMetadataState) throws(KafkaMetadataError) {
        for (name, level) in state.features.sorted(by: { $0.key < $1.key }) {
            guard let known = Self.knownFeatures[name] else {
                throw KafkaMetadataError(
                    "the feature \(name) is in use (level \(level)), which Kafka 4.3 does not have")
            }
            if level > known {
                throw KafkaMetadataError("\(name) is at level \(level), later than Kafka 4.3's (\(known))")
            }
        }
        guard let version = state.features["metadata.version"] else {
            if state.topics.isEmpty { return }
            throw KafkaMetadataError("no metadata.version is set")
        }
        if version < Self.lowestMetadataVersion {
            throw KafkaMetadataError(
                "metadata.version \(version) is of a Kafka before 3.3; upgrade it with Kafka first")
        }
        self.summary.metadataVersion = version
    }

    /// What Ottla does not enforce must not go away silently.
    private mutating func checkSecurity(
        _ state: KafkaMetadataState, leavingOut allowed: Set<String>
    ) throws(KafkaMetadataError) {
        let found: [(Leavable, Int, String)] = [
            (.acls, state.accessRules.count, "access rules (ACLs)"),
            (.scramCredentials, state.scramCredentials.count, "SCRAM credentials"),
            (.delegationTokens, state.delegationTokens.count, "delegation tokens"),
            (.clientQuotas, state.quotas.count, "client quotas"),
        ]
        for (kind, count, name) in found where count > 0 {
            guard allowed.contains(kind.rawValue) else {
                throw KafkaMetadataError(
                    """
                    it has \(count) \(name), which Ottla does not have yet; ottla.adopt.without=\(kind.rawValue) \
                    opens the folder without them
                    """)
            }
            self.warnings.append("\(count) \(name) are left out and hold no more (ottla.adopt.without)")
        }
    }

    private static func checkPartitions(_ state: KafkaMetadataState, _ found: Found) throws(KafkaMetadataError) {
        for topic in state.topics.values.sorted(by: { $0.name < $1.name }) {
            if let refusal = TopicNames.refusal(of: topic.name) {
                throw KafkaMetadataError("the topic name '\(topic.name)' is not valid: \(refusal.text)")
            }
            guard !topic.partitions.isEmpty else { throw KafkaMetadataError("topic \(topic.name) has no partition") }
            for index in 0..<Int32(clamping: topic.partitions.count) {
                guard let partition = topic.partitions[index] else {
                    throw KafkaMetadataError("partition \(topic.name)-\(index) is missing")
                }
                let replicas = partition.replicas + partition.addingReplicas
                if Set(replicas).count > 1 {
                    throw KafkaMetadataError(
                        "\(topic.name)-\(index) has several replicas (\(list(partition.replicas))); one is all there can be"
                    )
                }
                if replicas.first != found.nodeID {
                    throw KafkaMetadataError(
                        "\(topic.name)-\(index) is on broker \(replicas.first.map { String($0) } ?? "none"), not on \(found.nodeID)"
                    )
                }
            }
        }
        let names = Dictionary(state.topics.values.map { ($0.name, 1) }, uniquingKeysWith: +)
        if let twice = names.first(where: { $0.value > 1 }) {
            throw KafkaMetadataError("there are two topics of the name \(twice.key)")
        }
    }

    /// Kafka's ids for no folder in particular.
    private static func isReserved(_ id: KafkaUUID) -> Bool { id.high == 0 && id.low < 100 }

    private mutating func checkFolders(_ state: KafkaMetadataState, _ found: Found) throws(KafkaMetadataError) {
        let names = Dictionary(state.topics.values.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var places: [TopicPartition: String] = [:]
        for directory in found.directories {
            for entry in directory.partitions {
                let path = directory.path + "/" + entry.name
                switch entry.kind {
                case .future:
                    throw KafkaMetadataError("\(path) is half moved to another log folder; let Kafka finish that first")
                case .stray:
                    throw KafkaMetadataError("\(path) was set aside by Kafka; move it away if it is not needed")
                case .partition(let partition):
                    guard let topic = names[partition.topic], topic.partitions[partition.partition] != nil else {
                        throw KafkaMetadataError(
                            "\(path) belongs to no topic of the metadata; move it away if it is not needed")
                    }
                    if let id = entry.topicID, id != topic.id {
                        throw KafkaMetadataError(
                            "\(path) is of the topic id \(id), but \(topic.name) is \(topic.id); move it away if it is not needed"
                        )
                    }
                    if let other = places.updateValue(directory.path, forKey: partition) {
                        throw KafkaMetadataError("\(partition) is in \(other) and in \(directory.path)")
                    }
                }
            }
        }
        let ids = Set(found.directories.map(\.id))
        var missing: [String] = []
        for topic in state.topics.values {
            for (index, partition) in topic.partitions
            where places[TopicPartition(topic: topic.name, partition: index)] == nil {
                if let id = partition.directories.first, !ids.contains(id), !Self.isReserved(id) {
                    throw KafkaMetadataError(
                        "\(topic.name)-\(index) is in a log folder of the id \(id), which is not among log.dirs")
                }
                missing.append("\(topic.name)-\(index)")
            }
        }
        if let first = missing.min() {
            self.warnings.append("\(missing.count) partitions have no folder, such as \(first): they begin empty")
        }
    }

    // MARK: taking over

    private mutating func addTopics(_ state: KafkaMetadataState, _ found: Found) {
        for topic in state.topics.values.sorted(by: { $0.name < $1.name }) {
            self.summary.topics += 1
            self.changes.append(
                .put(
                    MetadataKeys.topic(topic.name),
                    TopicImage.record(id: topic.id, partitions: topic.partitions.count).bytes))
            for (index, partition) in topic.partitions.sorted(by: { $0.key < $1.key }) {
                self.summary.partitions += 1
                // This broker takes the lead, as Kafka's would have with its next start: a new epoch.
                let registration = PartitionRegistration(
                    replicas: [found.nodeID], leader: found.nodeID, leaderEpoch: max(0, partition.leaderEpoch) &+ 1,
                    partitionEpoch: max(0, partition.partitionEpoch) &+ 1)
                self.changes.append(.put(MetadataKeys.partition(topic.id, index), registration.record.bytes))
            }
        }
    }

    private mutating func addConfigs(
        _ state: KafkaMetadataState, _ found: Found, _ config: KafkaConfig
    ) throws(KafkaMetadataError) {
        let names = Set(state.topics.values.map(\.name))
        for (resource, values) in state.configs.sorted(by: { ($0.key.type, $0.key.name) < ($1.key.type, $1.key.name) })
        {
            switch resource.type {
            case KafkaMetadataState.Resource.topic:
                guard names.contains(resource.name) else { continue }
                try self.checkTopicConfigs(resource.name, values)
                self.put(MetadataKeys.topicConfig(resource.name), values)
                self.summary.topicConfigs += values.count
            case KafkaMetadataState.Resource.broker:
                let id = resource.name.isEmpty ? nil : Int32(resource.name)
                guard resource.name.isEmpty || id == found.nodeID else {
                    self.warnings.append("configs of the broker \(resource.name), which is not there, are left out")
                    continue
                }
                let kept = self.brokerConfigs(values, isOwn: id != nil)
                if !kept.isEmpty { self.put(MetadataKeys.brokerConfig(id), kept) }
                self.summary.brokerConfigs += kept.count
            case KafkaMetadataState.Resource.group:
                // Nothing acts on them yet; they are kept for what will.
                self.put(MetadataKey("configs/groups/" + resource.name), values)
                self.summary.groupConfigs += values.count
            case KafkaMetadataState.Resource.clientMetrics:
                self.put(MetadataKey("configs/client-metrics/" + resource.name), values)
            default:
                throw KafkaMetadataError(
                    "there are configs of a resource of type \(resource.type), which Kafka 4.3 does not have")
            }
        }
    }

    private mutating func put(_ key: MetadataKey, _ values: [String: String]) {
        let fields = values.sorted { $0.key < $1.key }.map { (name: $0.key, value: $0.value) }
        self.changes.append(.put(key, MetadataRecord(fields).bytes))
    }

    private mutating func checkTopicConfigs(_ topic: String, _ values: [String: String]) throws(KafkaMetadataError) {
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            guard let definition = TopicConfigs.definition(name) else {
                self.warnings.append("topic \(topic): the config \(name) is not known and has no effect")
                continue
            }
            if case .failure(let invalid) = definition.validate(value) {
                throw KafkaMetadataError("topic \(topic): \(invalid.message)")
            }
        }
        if values["remote.storage.enable"] == "true" {
            throw KafkaMetadataError(
                "topic \(topic) is in tiered storage (remote.storage.enable), which Ottla does not have")
        }
    }

    /// Those that can be had here.
    private mutating func brokerConfigs(_ values: [String: String], isOwn: Bool) -> [String: String] {
        var kept: [String: String] = [:]
        for (name, value) in values.sorted(by: { $0.key < $1.key }) {
            if let refusal = DynamicBrokerConfigs.refusal(of: [name: value], before: [:], perBroker: isOwn) {
                self.warnings.append("the dynamic broker config \(name) is left out: \(refusal.text)")
            } else {
                kept[name] = value
            }
        }
        return kept
    }
}

private func list(_ numbers: [Int32]) -> String { numbers.map { String($0) }.joined(separator: ", ") }
