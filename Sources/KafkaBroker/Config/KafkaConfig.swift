import KafkaLog

/// The configuration of a broker: what was set, and the typed values of what Ottla acts on.
/// Times are in milliseconds, sizes in bytes. Made anew when a dynamic config changes.
package struct KafkaConfig: Sendable {
    package let layers: ConfigLayers

    // The broker.
    package let nodeID: Int32
    package let rack: String?
    /// Asked for by CLUSTER_ID; nil: what the data folder says, or a new one.
    package let clusterID: String?
    package let logDirs: [String]
    /// Those that get no new partitions (KIP-1066).
    package let cordonedLogDirs: [String]
    package var areAllLogDirsCordoned: Bool { Set(self.cordonedLogDirs).isSuperset(of: self.logDirs) }
    package let numIOThreads: Int
    package let backgroundThreads: Int
    package let numRecoveryThreadsPerDataDir: Int
    package let deleteTopicEnable: Bool
    package let autoCreateTopicsEnable: Bool

    // The network.
    /// Those that are opened: CONTROLLER ones are not among them.
    package let listeners: [ListenerConfig]
    /// By listener name; none: clients are told the address at which they came.
    package let advertisedListeners: [String: ListenerConfig]
    package let interBrokerListenerName: String?
    package let numNetworkThreads: Int
    package let socketSendBufferBytes: Int
    package let socketReceiveBufferBytes: Int
    package let socketRequestMaxBytes: Int
    package let socketListenBacklogSize: Int
    package let maxConnections: Int
    package let maxConnectionsPerIP: Int
    package let maxConnectionsPerIPOverrides: [String: Int]
    package let maxConnectionCreationRate: Int
    /// Negative: never.
    package let connectionsMaxIdleMs: Int64
    /// -1: chosen by the broker.
    package let queuedMaxRequestBytes: Int64

    // Topics and logs.
    package let numPartitions: Int32
    package let defaultReplicationFactor: Int32
    package let minInSyncReplicas: Int
    package let messageMaxBytes: Int
    package let logRetentionCheckIntervalMs: Int64
    package let logFlushSchedulerIntervalMs: Int64
    package let logFlushOffsetCheckpointIntervalMs: Int64
    package let logFlushStartOffsetCheckpointIntervalMs: Int64
    package let logInitialTaskDelayMs: Int64
    package let replicaHighWatermarkCheckpointIntervalMs: Int64
    package let producerIDExpirationMs: Int64
    package let producerIDExpirationCheckIntervalMs: Int64
    package let logCleaner: LogCleaner.Settings
    /// 0: no scrubber.
    package let scrubBytesPerSecond: Int
    package let scrubIntervalMs: Int64

    // Fetch.
    package let fetchMaxBytes: Int
    package let maxIncrementalFetchSessionCacheSlots: Int
    package let maxRequestPartitionSizeLimit: Int

    // Groups.
    package let offsetsTopicNumPartitions: Int32
    package let offsetsTopicReplicationFactor: Int16
    package let offsetsTopicSegmentBytes: Int
    package let offsetsTopicCompressionCodec: Int
    package let offsetsRetentionMs: Int64
    package let offsetsRetentionCheckIntervalMs: Int64
    package let offsetsCommitTimeoutMs: Int64
    package let offsetMetadataMaxBytes: Int
    package let groupMinSessionTimeoutMs: Int64
    package let groupMaxSessionTimeoutMs: Int64
    package let groupInitialRebalanceDelayMs: Int64
    package let groupMaxSize: Int

    // Transactions.
    package let transactionStateLogNumPartitions: Int32
    package let transactionStateLogReplicationFactor: Int16
    package let transactionStateLogMinISR: Int
    package let transactionStateLogSegmentBytes: Int
    package let transactionMaxTimeoutMs: Int64

    /// - Precondition: every value of a known name in `layers` is valid (`KafkaConfig.load`, `validate`).
    package init(layers: ConfigLayers, clusterID: String? = nil) {
        func text(_ name: String) -> String? { layers.first(BrokerConfigs.synonyms(of: name))?.value }
        func long(_ name: String) -> Int64 { text(name).flatMap { Int64($0) } ?? 0 }
        func int(_ name: String) -> Int { Int(long(name)) }
        func bool(_ name: String) -> Bool { text(name) == "true" }

        self.layers = layers
        let configuredID = int("node.id")
        let oldID = int("broker.id")
        self.nodeID = Int32(truncatingIfNeeded: configuredID >= 0 ? configuredID : oldID >= 0 ? oldID : 1)
        self.rack = text("broker.rack")
        self.clusterID = clusterID
        let logDirs = configList(text("log.dirs") ?? text("log.dir") ?? "")
        self.logDirs = logDirs
        let cordoned = configList(text("cordoned.log.dirs") ?? "")
        self.cordonedLogDirs = cordoned == ["*"] ? logDirs : cordoned
        self.numIOThreads = int("num.io.threads")
        self.backgroundThreads = int("background.threads")
        self.numRecoveryThreadsPerDataDir = int("num.recovery.threads.per.data.dir")
        self.deleteTopicEnable = bool("delete.topic.enable")
        self.autoCreateTopicsEnable = bool("auto.create.topics.enable")

        let controllerNames = Set(configList(text("controller.listener.names") ?? "").map { $0.uppercased() })
        self.listeners = configList(text("listeners") ?? "").compactMap { ListenerConfig($0) }.filter {
            !controllerNames.contains($0.name)
        }
        var advertised: [String: ListenerConfig] = [:]
        for listener in configList(text("advertised.listeners") ?? "").compactMap({ ListenerConfig($0) }) {
            advertised[listener.name] = listener
        }
        self.advertisedListeners = advertised
        self.interBrokerListenerName = text("inter.broker.listener.name")
        self.numNetworkThreads = int("num.network.threads")
        self.socketSendBufferBytes = int("socket.send.buffer.bytes")
        self.socketReceiveBufferBytes = int("socket.receive.buffer.bytes")
        self.socketRequestMaxBytes = int("socket.request.max.bytes")
        self.socketListenBacklogSize = int("socket.listen.backlog.size")
        self.maxConnections = int("max.connections")
        self.maxConnectionsPerIP = int("max.connections.per.ip")
        self.maxConnectionsPerIPOverrides =
            KafkaConfig.parseOverrides(text("max.connections.per.ip.overrides") ?? "") ?? [:]
        self.maxConnectionCreationRate = int("max.connection.creation.rate")
        self.connectionsMaxIdleMs = long("connections.max.idle.ms")
        self.queuedMaxRequestBytes = long("queued.max.request.bytes")

        self.numPartitions = Int32(truncatingIfNeeded: int("num.partitions"))
        self.defaultReplicationFactor = Int32(truncatingIfNeeded: int("default.replication.factor"))
        self.minInSyncReplicas = int("min.insync.replicas")
        self.messageMaxBytes = int("message.max.bytes")
        self.logRetentionCheckIntervalMs = long("log.retention.check.interval.ms")
        self.logFlushSchedulerIntervalMs = long("log.flush.scheduler.interval.ms")
        self.logFlushOffsetCheckpointIntervalMs = long("log.flush.offset.checkpoint.interval.ms")
        self.logFlushStartOffsetCheckpointIntervalMs = long("log.flush.start.offset.checkpoint.interval.ms")
        self.logInitialTaskDelayMs = long("log.initial.task.delay.ms")
        self.replicaHighWatermarkCheckpointIntervalMs = long("replica.high.watermark.checkpoint.interval.ms")
        self.producerIDExpirationMs = long("producer.id.expiration.ms")
        self.producerIDExpirationCheckIntervalMs = long("producer.id.expiration.check.interval.ms")
        func double(_ name: String) -> Double { text(name).flatMap { Double($0) } ?? 0 }
        var cleaner = LogCleaner.Settings()
        cleaner.isEnabled = bool("log.cleaner.enable")
        cleaner.threads = int("log.cleaner.threads")
        cleaner.dedupeBufferBytes = long("log.cleaner.dedupe.buffer.size")
        cleaner.loadFactor = double("log.cleaner.io.buffer.load.factor")
        cleaner.ioBufferBytes = int("log.cleaner.io.buffer.size")
        cleaner.maxBytesPerSecond = double("log.cleaner.io.max.bytes.per.second")
        cleaner.backoffMs = long("log.cleaner.backoff.ms")
        self.logCleaner = cleaner
        self.scrubBytesPerSecond = int("ottla.scrub.bytes.per.second")
        self.scrubIntervalMs = long("ottla.scrub.interval.ms")

        self.fetchMaxBytes = int("fetch.max.bytes")
        self.maxIncrementalFetchSessionCacheSlots = int("max.incremental.fetch.session.cache.slots")
        self.maxRequestPartitionSizeLimit = int("max.request.partition.size.limit")

        self.offsetsTopicNumPartitions = Int32(truncatingIfNeeded: int("offsets.topic.num.partitions"))
        self.offsetsTopicReplicationFactor = Int16(truncatingIfNeeded: int("offsets.topic.replication.factor"))
        self.offsetsTopicSegmentBytes = int("offsets.topic.segment.bytes")
        self.offsetsTopicCompressionCodec = int("offsets.topic.compression.codec")
        self.offsetsRetentionMs = long("offsets.retention.minutes") * 60_000
        self.offsetsRetentionCheckIntervalMs = long("offsets.retention.check.interval.ms")
        self.offsetsCommitTimeoutMs = long("offsets.commit.timeout.ms")
        self.offsetMetadataMaxBytes = int("offset.metadata.max.bytes")
        self.groupMinSessionTimeoutMs = long("group.min.session.timeout.ms")
        self.groupMaxSessionTimeoutMs = long("group.max.session.timeout.ms")
        self.groupInitialRebalanceDelayMs = long("group.initial.rebalance.delay.ms")
        self.groupMaxSize = int("group.max.size")

        self.transactionStateLogNumPartitions = Int32(truncatingIfNeeded: int("transaction.state.log.num.partitions"))
        self.transactionStateLogReplicationFactor = Int16(
            truncatingIfNeeded: int("transaction.state.log.replication.factor"))
        self.transactionStateLogMinISR = int("transaction.state.log.min.isr")
        self.transactionStateLogSegmentBytes = int("transaction.state.log.segment.bytes")
        self.transactionMaxTimeoutMs = long("transaction.max.timeout.ms")
    }

    /// The value that holds under any of `names`; nil: neither set nor a default.
    package func lookup(_ names: [String]) -> ConfigLayers.Found? { self.layers.first(names) }

    /// With other dynamic configs.
    package func with(broker: [String: String], clusterDefault: [String: String]) -> KafkaConfig {
        var layers = self.layers
        layers.broker = broker
        layers.clusterDefault = clusterDefault
        return KafkaConfig(layers: layers, clusterID: self.clusterID)
    }

    /// `address:number,…`; nil: not in that form.
    static func parseOverrides(_ text: String) -> [String: Int]? {
        var overrides: [String: Int] = [:]
        for part in configList(text) {
            guard let colon = part.lastIndex(of: ":"), let number = Int(part[part.index(after: colon)...]), number >= 0
            else { return nil }
            overrides[String(part[..<colon])] = number
        }
        return overrides
    }
}
