// Names, types, defaults and limits are those of Kafka 4.3. A documentation means that Ottla acts on it.
extension BrokerConfigs {
    /// The broker, its limits and quotas.
    static let generalDefinitions: [ConfigDefinition] = [
        ConfigDefinition(
            "node.id", .int, "-1", doc: "The number of this broker; no other broker of the cluster has it."),
        ConfigDefinition("broker.id", .int, "-1", doc: "The old name of node.id."),
        ConfigDefinition(
            "broker.rack", .string, nil,
            doc: "Where the broker stands. Clients and replica placement may look at it."),
        ConfigDefinition(
            "num.io.threads", .int, "8", .atLeast(1), .clusterWide,
            doc: "Threads for work that may wait for a disk."),
        ConfigDefinition(
            "background.threads", .int, "10", .atLeast(1), .clusterWide,
            doc: "Threads for work in the background."),
        ConfigDefinition("num.replica.alter.log.dirs.threads", .int, nil),
        ConfigDefinition(
            "request.timeout.ms", .int, "30000",
            doc: "How long a broker waits for an answer of another one."),
        ConfigDefinition("socket.connection.setup.timeout.ms", .long, "10000"),
        ConfigDefinition("socket.connection.setup.timeout.max.ms", .long, "30000"),
        ConfigDefinition("delete.topic.enable", .boolean, "true", doc: "Whether topics can be deleted."),
        ConfigDefinition(
            "auto.create.topics.enable", .boolean, "true",
            doc: "Whether a topic is made when a client first asks for it."),
        ConfigDefinition("create.topic.policy.class.name", .class, nil),
        ConfigDefinition("alter.config.policy.class.name", .class, nil),
        ConfigDefinition("authorizer.class.name", .string, ""),
        ConfigDefinition("early.start.listeners", .string, nil),
        ConfigDefinition("super.users", .string, nil, hidden: true),
        ConfigDefinition("allow.everyone.if.no.acl.found", .boolean, "false", hidden: true),
        ConfigDefinition("config.providers", .list, "", hidden: true),
        ConfigDefinition("controlled.shutdown.enable", .boolean, "true"),
        ConfigDefinition("controlled.shutdown.max.retries", .int, "3"),
        ConfigDefinition("controlled.shutdown.retry.backoff.ms", .long, "5000"),
        ConfigDefinition(
            "max.incremental.fetch.session.cache.slots", .int, "1000", .atLeast(0),
            doc: "How many incremental fetch sessions are kept."),
        ConfigDefinition(
            "fetch.max.bytes", .int, "57671680", .atLeast(1024),
            doc: "The most bytes that one answer to a Fetch carries."),
        ConfigDefinition(
            "max.request.partition.size.limit", .int, "2000", .atLeast(1),
            doc: "The most partitions that one DescribeTopicPartitions answers."),
        ConfigDefinition("unstable.api.versions.enable", .boolean, "false", hidden: true),
        ConfigDefinition("unstable.feature.versions.enable", .boolean, "false", hidden: true),
        ConfigDefinition(
            "compression.type", .string, "producer",
            .oneOf(["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), .clusterWide,
            doc: "How records are stored; producer keeps what came."),
        ConfigDefinition(
            "compression.gzip.level", .int, "-1", .gzipLevel, .clusterWide,
            doc: "The level when compression.type is gzip."),
        ConfigDefinition(
            "compression.lz4.level", .int, "9", .between(1, 17), .clusterWide,
            doc: "The level when compression.type is lz4."),
        ConfigDefinition(
            "compression.zstd.level", .int, "3", .between(-131072, 22), .clusterWide,
            doc: "The level when compression.type is zstd."),
        ConfigDefinition(
            "message.max.bytes", .int, "1048588", .atLeast(0), .clusterWide,
            doc: "The largest record batch that is taken."),
        ConfigDefinition("quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition("replication.quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("replication.quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition("alter.log.dirs.replication.quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("alter.log.dirs.replication.quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition("controller.quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("controller.quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition("client.quota.callback.class", .class, nil),
        ConfigDefinition("metrics.num.samples", .int, "2", .atLeast(1)),
        ConfigDefinition("metrics.sample.window.ms", .long, "30000", .atLeast(1)),
        ConfigDefinition("metric.reporters", .list, "org.apache.kafka.common.metrics.JmxReporter", .any, .clusterWide),
        ConfigDefinition("metrics.recording.level", .string, "INFO"),
        ConfigDefinition("kafka.metrics.reporters", .list, ""),
        ConfigDefinition("kafka.metrics.polling.interval.secs", .int, "10", .atLeast(1)),
        ConfigDefinition("telemetry.max.bytes", .int, "1048576", .atLeast(1)),
        ConfigDefinition("delegation.token.secret.key", .password, nil),
        ConfigDefinition("delegation.token.max.lifetime.ms", .long, "604800000", .atLeast(1)),
        ConfigDefinition("delegation.token.expiry.time.ms", .long, "86400000", .atLeast(1)),
        ConfigDefinition("delegation.token.expiry.check.interval.ms", .long, "3600000", .atLeast(1)),
    ]

    /// Listeners and connections.
    static let networkDefinitions: [ConfigDefinition] = [
        ConfigDefinition(
            "listeners", .list, "PLAINTEXT://:9092", .any, .perBroker,
            doc: "What the broker listens on: NAME://host:port, several with commas. No host: every address."),
        ConfigDefinition(
            "advertised.listeners", .list, nil, .any, .readOnly,
            doc: "The addresses that clients are told. Not set: the one at which a client reached this broker."),
        ConfigDefinition(
            "listener.security.protocol.map", .string,
            "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", .any, .perBroker,
            doc: "The security protocol of each listener name."),
        ConfigDefinition("inter.broker.listener.name", .string, nil, doc: "The listener that other brokers use."),
        ConfigDefinition(
            "security.inter.broker.protocol", .string, "PLAINTEXT",
            .oneOf(["SASL_SSL", "PLAINTEXT", "SSL", "SASL_PLAINTEXT"])),
        ConfigDefinition(
            "socket.send.buffer.bytes", .int, "102400",
            doc: "The send buffer of a connection's socket; -1: the system's."),
        ConfigDefinition(
            "socket.receive.buffer.bytes", .int, "102400",
            doc: "The receive buffer of a connection's socket; -1: the system's."),
        ConfigDefinition(
            "socket.request.max.bytes", .int, "104857600", .atLeast(1),
            doc: "The largest request that is read."),
        ConfigDefinition(
            "socket.listen.backlog.size", .int, "50", .atLeast(1),
            doc: "How many connections wait to be accepted."),
        ConfigDefinition(
            "max.connections", .int, "2147483647", .atLeast(0), .clusterWide,
            doc: "The most connections at a time."),
        ConfigDefinition(
            "max.connections.per.ip", .int, "2147483647", .atLeast(0), .clusterWide,
            doc: "The most connections of one address."),
        ConfigDefinition(
            "max.connections.per.ip.overrides", .string, "", .any, .clusterWide,
            doc: "Other limits for given addresses: address:number, several with commas."),
        ConfigDefinition(
            "max.connection.creation.rate", .int, "2147483647", .atLeast(0), .clusterWide,
            doc: "So many connections are accepted in a second; others wait."),
        ConfigDefinition(
            "connections.max.idle.ms", .long, "600000",
            doc: "A connection without a request for so long is closed."),
        ConfigDefinition("connection.failed.authentication.delay.ms", .int, "100", .atLeast(0)),
        ConfigDefinition("queued.max.requests", .int, "500", .atLeast(1)),
        ConfigDefinition(
            "queued.max.request.bytes", .long, "-1",
            doc: "The memory for requests of all connections; -1: chosen by the broker."),
        ConfigDefinition(
            "num.network.threads", .int, "3", .atLeast(1), .clusterWide,
            doc: "Event loops; no more than there are cores are started."),
    ]

    /// Of Kafka with KRaft: known, so that its files can be used.
    static let kraftDefinitions: [ConfigDefinition] = [
        ConfigDefinition(
            "process.roles", .list, "", .listOf(["broker", "controller"]),
            doc: "What this process is: broker, controller or both. Ottla is a broker that needs no controller."),
        ConfigDefinition("controller.quorum.voters", .list, ""),
        ConfigDefinition("controller.quorum.bootstrap.servers", .list, ""),
        ConfigDefinition("controller.quorum.election.timeout.ms", .int, "1000"),
        ConfigDefinition("controller.quorum.fetch.timeout.ms", .int, "2000"),
        ConfigDefinition("controller.quorum.election.backoff.max.ms", .int, "1000"),
        ConfigDefinition("controller.quorum.append.linger.ms", .int, "25"),
        ConfigDefinition("controller.quorum.request.timeout.ms", .int, "2000"),
        ConfigDefinition("controller.quorum.retry.backoff.ms", .int, "20"),
        ConfigDefinition("controller.quorum.auto.join.enable", .boolean, "false"),
        ConfigDefinition("controller.quorum.fetch.snapshot.max.bytes", .int, "1048576", .atLeast(1)),
        ConfigDefinition("controller.quorum.fetch.max.bytes", .int, "1048576", .atLeast(1)),
        ConfigDefinition("controller.listener.names", .list, ""),
        ConfigDefinition("sasl.mechanism.controller.protocol", .string, "GSSAPI"),
        ConfigDefinition("metadata.log.dir", .string, nil),
        ConfigDefinition(
            "ottla.adopt.without", .list, "", .listOf(KafkaAdoption.Leavable.allCases.map(\.rawValue)),
            doc: "What a data folder of Apache Kafka may lose when it is opened: Ottla does not have it yet."),
        ConfigDefinition("metadata.log.segment.bytes", .int, "1073741824", .atLeast(8_388_608)),
        ConfigDefinition("metadata.log.segment.ms", .long, "604800000"),
        ConfigDefinition("metadata.max.retention.bytes", .long, "104857600"),
        ConfigDefinition("metadata.max.retention.ms", .long, "604800000"),
        ConfigDefinition("metadata.max.idle.interval.ms", .int, "500", .atLeast(0)),
        ConfigDefinition("metadata.log.max.record.bytes.between.snapshots", .long, "20971520", .atLeast(1)),
        ConfigDefinition("metadata.log.max.snapshot.interval.ms", .long, "3600000", .atLeast(0)),
        ConfigDefinition("initial.broker.registration.timeout.ms", .int, "60000"),
        ConfigDefinition("broker.heartbeat.interval.ms", .int, "2000"),
        ConfigDefinition("broker.session.timeout.ms", .int, "9000"),
        ConfigDefinition("controller.performance.sample.period.ms", .long, "60000", .atLeast(100)),
        ConfigDefinition("controller.performance.always.log.threshold.ms", .long, "2000", .atLeast(0)),
        ConfigDefinition("server.max.startup.time.ms", .long, "9223372036854775807", .atLeast(0), hidden: true),
    ]
}
