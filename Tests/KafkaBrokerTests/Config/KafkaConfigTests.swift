import Testing

@testable import KafkaBroker

@Suite struct KafkaConfigTests {
    private func load(
        _ file: String? = nil, environment: [String: String] = [:], overrides: [String] = []
    ) throws -> (config: KafkaConfig, warnings: [String]) {
        try KafkaConfig.load(file: file.map { Array($0.utf8) }, environment: environment, overrides: overrides)
    }

    private func errors(
        _ file: String? = nil, environment: [String: String] = [:], overrides: [String] = []
    ) -> [String] {
        do {
            _ = try self.load(file, environment: environment, overrides: overrides)
            return []
        } catch {
            return (error as? KafkaConfigErrors)?.errors.map(\.description) ?? ["\(error)"]
        }
    }

    @Test func withoutAFileItIsASingleNode() throws {
        let (config, warnings) = try self.load()
        #expect(warnings.isEmpty)
        #expect(config.nodeID == 1 && config.logDirs == ["./ottla-data"])
        #expect(config.listeners == [ListenerConfig(name: "PLAINTEXT", host: "localhost", port: 9092)])
        #expect(config.advertisedListeners.isEmpty)
        #expect(config.offsetsTopicReplicationFactor == 1 && config.transactionStateLogMinISR == 1)
        #expect(config.numNetworkThreads == 3 && config.numRecoveryThreadsPerDataDir == 2)
        #expect(config.socketRequestMaxBytes == 104_857_600 && config.connectionsMaxIdleMs == 600_000)
        #expect(config.autoCreateTopicsEnable && config.deleteTopicEnable && config.numPartitions == 1)
        #expect(config.messageMaxBytes == 1_048_588 && config.groupInitialRebalanceDelayMs == 3000)
        #expect(config.offsetsRetentionMs == 604_800_000)
    }

    @Test func kafkasOwnFileIsRead() throws {
        let (config, warnings) = try self.load(
            """
            process.roles=broker,controller
            node.id=7
            controller.quorum.bootstrap.servers=localhost:9093
            listeners=PLAINTEXT://:9092,CONTROLLER://:9093
            inter.broker.listener.name=PLAINTEXT
            advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
            controller.listener.names=CONTROLLER
            listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
            log.dirs=/tmp/kraft-combined-logs
            offsets.topic.replication.factor=1
            transaction.state.log.replication.factor=1
            """)
        #expect(warnings.isEmpty)
        #expect(config.nodeID == 7 && config.logDirs == ["/tmp/kraft-combined-logs"])
        #expect(config.listeners == [ListenerConfig(name: "PLAINTEXT", host: "", port: 9092)])
        #expect(config.advertisedListeners["PLAINTEXT"]?.host == "localhost")
    }

    @Test func laterSourcesGoFirst() throws {
        let (config, _) = try self.load(
            "num.partitions=2\nnum.io.threads=5\nqueued.max.requests=9\nnum.partitions=3",
            environment: [
                "OTTLA_NUM_PARTITIONS": "4", "OTTLA_NUM_IO_THREADS": "6", "OTTLA_VERSION": "1", "KAFKA_NODE_ID": "9",
                "CLUSTER_ID": "abc",
            ],
            overrides: ["num.partitions=8"])
        #expect(config.numPartitions == 8 && config.numIOThreads == 6 && config.clusterID == "abc")
        #expect(config.nodeID == 1 && config.lookup(["queued.max.requests"])?.value == "9")
    }

    @Test(arguments: [
        ("OTTLA_LOG_DIRS", "log.dirs"), ("OTTLA_A__B", "a_b"), ("OTTLA_A___B", "a-b"), ("OTTLA_A_B__C___D", "a.b_c-d"),
        ("OTTLA_LISTENER_NAME_INTERNAL_SSL_KEYSTORE_TYPE", "listener.name.internal.ssl.keystore.type"),
    ])
    func environmentNames(_ variable: String, _ key: String) {
        #expect(EnvironmentConfig.key(variable) == key)
    }

    @Test func listenersFollowAnAdvertisedOneOfTheEnvironment() throws {
        let (config, _) = try self.load(environment: ["OTTLA_ADVERTISED_LISTENERS": "PLAINTEXT://kafka.example:19092"])
        #expect(config.listeners == [ListenerConfig(name: "PLAINTEXT", host: "0.0.0.0", port: 19092)])
        #expect(config.advertisedListeners["PLAINTEXT"]?.host == "kafka.example")
    }

    @Test(arguments: [
        ("num.partition=1", "num.partition is not a known config; did you mean num.partitions?"),
        ("lisetners=x", "lisetners is not a known config; did you mean listeners?"),
        ("zookeeper.connect=x", "zookeeper.connect is not a config of Kafka 4 any more and has no effect"),
        ("retention.ms=5", "retention.ms is a config of topics; the default for all topics is log.retention.ms"),
        ("qqqqqqqqqqqqqqqqqqqqqqqq=1", "qqqqqqqqqqqqqqqqqqqqqqqq is not a known config"),
        (
            "offsets.topic.replication.factor=3\ntransaction.state.log.replication.factor=1",
            "offsets.topic.replication.factor=3 is more than there are brokers (1); the topic is made with 1"
        ),
    ])
    func warns(_ file: String, _ warning: String) throws {
        #expect(try self.load(file).warnings == [warning])
    }

    @Test(arguments: ["rsm.config.x=1", "listener.name.internal.ssl.keystore.type=PEM", "super.users=User:a"])
    func saysNothingOf(_ line: String) throws {
        #expect(try self.load(line).warnings.isEmpty)
    }

    @Test(arguments: [
        ("num.partitions=0", "num.partitions=0: must be a whole number of at least 1"),
        ("num.partitions=many", "num.partitions=many: must be a whole number of at least 1"),
        ("socket.request.max.bytes=3000000000", "must be a whole number of at least 1"),
        ("delete.topic.enable=yes", "delete.topic.enable=yes: must be true or false"),
        ("compression.type=brotli", "must be one of uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("compression.gzip.level=0", "must be -1, or a whole number from 1 to 9"),
        ("log.cleaner.min.cleanable.ratio=1.5", "must be a number from 0 to 1"),
        ("log.cleanup.policy=delete,forget", "must be a list with commas of compact, delete"),
        ("listeners=localhost:9092", "listeners=localhost:9092: must be NAME://host:port"),
        ("listeners=PLAINTEXT://a:70000", "must be NAME://host:port"),
        ("listeners=PLAINTEXT://a:1,PLAINTEXT://b:2", "each listener needs a name of its own"),
        ("listeners=SSL://:9093", "SSL is not supported yet"),
        ("listeners=SASL_PLAINTEXT://:9093", "SASL_PLAINTEXT is not supported yet"),
        ("listeners=FRONT://:9093", "listener.security.protocol.map has no security protocol for FRONT"),
        ("listener.security.protocol.map=PLAINTEXT:TLS", "must be NAME:PROTOCOL"),
        ("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "clients cannot connect to 0.0.0.0"),
        ("advertised.listeners=OTHER://a:9092", "listeners has none of the name OTHER"),
        ("process.roles=controller", "Ottla is a broker"),
        ("process.roles=both", "must be a list with commas of broker, controller"),
        ("authorizer.class.name=x.Y", "authorization is not supported yet"),
        ("log.dirs=/a,/a", "must be one folder or more"),
        ("max.connections.per.ip.overrides=a", "must be address:number"),
        ("inter.broker.listener.name=X", "must be the name of one of the listeners"),
        ("node.id=1\nbroker.id=2", "must be the same as node.id (1)"),
        ("group.max.session.timeout.ms=5", "must not be more than group.max.session.timeout.ms (5)"),
    ])
    func refuses(_ file: String, _ part: String) {
        let errors = self.errors(file)
        #expect(errors.count == 1 && errors.first?.contains(part) == true, "\(errors)")
    }

    @Test func allErrorsAreToldAndSecretsAreNot() {
        #expect(self.errors("num.partitions=0\nnum.io.threads=x").count == 2)
        #expect(self.errors(overrides: ["nonsense"]) == ["--override=nonsense: must be KEY=VALUE"])
    }

    @Test(arguments: [
        ("PLAINTEXT://localhost:9092", "PLAINTEXT", "localhost", Int32(9092)),
        ("plaintext://:0", "PLAINTEXT", "", 0), ("A_B-1://[::1]:9", "A_B-1", "::1", 9),
        ("X://10.0.0.1:65535", "X", "10.0.0.1", 65535),
    ])
    func listenersAreRead(_ text: String, _ name: String, _ host: String, _ port: Int32) {
        #expect(ListenerConfig(text) == ListenerConfig(name: name, host: host, port: port))
    }

    @Test(arguments: ["", "a", "://a:1", "A://a", "A://a:x", "A://a:-1", "A://::1:9", "A B://a:1", "A://a/b:1"])
    func otherListenersAreNot(_ text: String) {
        #expect(ListenerConfig(text) == nil)
    }

    @Test func olderSynonymsGiveWay() throws {
        func retention(_ file: String) throws -> String {
            let config = try self.load(file).config
            return TopicConfigs.value("retention.ms", [:], config)
        }
        #expect(try retention("") == "604800000")
        #expect(try retention("log.retention.hours=2") == "7200000")
        #expect(try retention("log.retention.hours=2\nlog.retention.minutes=3") == "180000")
        #expect(try retention("log.retention.hours=2\nlog.retention.minutes=3\nlog.retention.ms=4") == "4")
        #expect(try retention("log.retention.hours=-1") == "-1")
        let config = try self.load("log.roll.hours=1\nlog.roll.jitter.hours=2\nlog.flush.scheduler.interval.ms=77")
            .config
        #expect(TopicConfigs.value("segment.ms", [:], config) == "3600000")
        #expect(TopicConfigs.value("segment.jitter.ms", [:], config) == "7200000")
        #expect(TopicConfigs.value("flush.ms", [:], config) == "77")
    }
}

@Suite struct ConfigDefinitionTests {
    @Test func definitionsAreSane() {
        #expect(BrokerConfigs.byName.count == BrokerConfigs.all.count, "a name is there twice")
        #expect(TopicConfigs.byName.count == TopicConfigs.all.count)
        #expect(BrokerConfigs.all.count > 350)
        for definition in BrokerConfigs.all + TopicConfigs.all.map(\.definition) {
            if let value = definition.defaultValue, definition.type != .double {
                #expect(definition.validate(value) == .success(value), "\(definition.name)")
            }
            #expect(definition.name == trimmed(definition.name) && !definition.name.isEmpty)
            #expect(!definition.name.contains(" ") && !definition.documentation.hasPrefix("'"))
        }
        #expect(TopicConfigs.all.map(\.name) == TopicConfigs.all.map(\.name).sorted())
    }

    @Test func topicConfigsHaveTheDefaultsOfTheirSynonyms() throws {
        let broker = try KafkaConfig.load(file: []).config
        for topicConfig in TopicConfigs.all {
            for synonym in topicConfig.synonyms {
                let definition = try #require(BrokerConfigs.byName[synonym.name], "\(synonym.name)")
                #expect(
                    definition.updateMode == .clusterWide || synonym.name.contains("hours")
                        || synonym.name.contains("minutes") || synonym.name.contains("scheduler")
                        || topicConfig.definition.isHidden, "\(synonym.name)")
            }
            #expect(TopicConfigs.defaultValue(topicConfig, broker) == topicConfig.definition.defaultValue)
        }
        for name in KafkaConfig.singleNode.keys { #expect(BrokerConfigs.byName[name] != nil, "\(name)") }
    }

    /// `is_read_only` of DescribeConfigs; clients' suites look at advertised.listeners, dynamic only in ZooKeeper times.
    @Test(arguments: [
        ("advertised.listeners", ConfigDefinition.UpdateMode.readOnly), ("node.id", .readOnly), ("log.dirs", .readOnly),
        ("num.partitions", .readOnly), ("listeners", .perBroker), ("listener.security.protocol.map", .perBroker),
        ("max.connections", .clusterWide), ("message.max.bytes", .clusterWide), ("num.io.threads", .clusterWide),
    ])
    func brokerConfigsAreDynamicWhereKafkasAre(name: String, mode: ConfigDefinition.UpdateMode) throws {
        #expect(try #require(BrokerConfigs.definition(name)).updateMode == mode)
    }

    @Test(arguments: [
        ("segment.bytes", "14", "Invalid value 14 for configuration segment.bytes: Value must be at least 1048576"),
        ("retention.ms", "abc", "Invalid value abc for configuration retention.ms: Not a number of type LONG"),
        ("min.cleanable.dirty.ratio", "2", "Value must be no more than 1"),
        ("cleanup.policy", "delete,delete", "must not be duplicated"),
        ("cleanup.policy", "snapshot", "String must be one of: compact, delete"),
        ("preallocate", "1", "Expected value to be either true or false"),
        ("compression.type", "br", "String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
        ("leader.replication.throttled.replicas", "1", "must be the literal '*' or a list of replicas"),
        ("no.such", "1", "Unknown topic config name: no.such"),
        ("min.compaction.lag.ms", "9223372036854775807", ""),
        ("remote.storage.enable", "true", "Tiered Storage functionality is disabled in the broker"),
    ])
    func topicConfigsAreJudged(_ name: String, _ value: String, _ part: String) throws {
        let broker = try KafkaConfig.load(file: nil).config
        let refusal = TopicConfigs.refusal(of: [name: value], broker: broker)
        if part.isEmpty {
            #expect(refusal == nil)
        } else {
            #expect(refusal?.contains(part) == true, "\(refusal ?? "")")
        }
    }

    @Test func goodTopicConfigs() throws {
        let broker = try KafkaConfig.load(file: nil).config
        let good = [
            "cleanup.policy": " compact , delete ", "retention.ms": "-1", "segment.bytes": "1048576",
            "leader.replication.throttled.replicas": "0:1,1:2", "preallocate": "TRUE", "compression.zstd.level": "-5",
        ]
        #expect(TopicConfigs.refusal(of: good, broker: broker) == nil)
        #expect(TopicConfigs.value("cleanup.policy", good, broker) == "compact,delete")
        #expect(TopicConfigs.value("preallocate", good, broker) == "true")
        #expect(TopicConfigs.refusal(of: ["cleanup.policy": ""], broker: broker) == nil)
        let conflict = ["min.compaction.lag.ms": "9", "max.compaction.lag.ms": "8"]
        #expect(TopicConfigs.refusal(of: conflict, broker: broker)?.contains("(9) > max.compaction.lag.ms (8)") == true)
    }

    @Test func descriptionsNameTheirSources() throws {
        var broker = try KafkaConfig.load(file: Array("log.retention.hours=2\nfoo.password=x".utf8)).config
        broker = broker.with(broker: ["log.retention.ms": "55"], clusterDefault: ["log.retention.ms": "66"])
        let topic = TopicConfigs.describe(
            overrides: ["retention.ms": "44"], names: ["retention.ms", "segment.ms", "nothing"], broker: broker)
        #expect(topic.map(\.name) == ["retention.ms", "segment.ms"])
        #expect(topic[0].value == "44" && topic[0].source == .dynamicTopicConfig && !topic[0].isReadOnly)
        #expect(
            topic[0].synonyms.map { "\($0.name)=\($0.value ?? "") \($0.source)" } == [
                "retention.ms=44 dynamicTopicConfig", "log.retention.ms=55 dynamicBrokerConfig",
                "log.retention.ms=66 dynamicDefaultBrokerConfig", "log.retention.hours=2 staticBrokerConfig",
                "log.retention.hours=168 defaultConfig",
            ])
        #expect(topic[1].value == "604800000" && topic[1].source == .defaultConfig)

        let own = broker.describe(names: ["log.retention.ms", "log.retention.hours", "foo.password", "node.id"])
        #expect(own.map(\.name) == ["foo.password", "log.retention.hours", "log.retention.ms", "node.id"])
        #expect(own[0].value == nil && own[0].isSensitive)
        #expect(own[1].value == "2" && own[1].isReadOnly)
        #expect(own[2].value == "55" && own[2].source == .dynamicBrokerConfig && !own[2].isReadOnly)
        #expect(broker.describe(names: nil).count > 300)
        let defaults = broker.describeClusterDefaults(names: nil)
        #expect(defaults.map(\.name) == ["log.retention.ms"] && defaults[0].value == "66")
        #expect(defaults[0].source == .dynamicDefaultBrokerConfig && defaults[0].synonyms.count == 1)
    }
}
