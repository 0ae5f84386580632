/// All broker configs that are known.
package enum BrokerConfigs {
    package static let all: [ConfigDefinition] =
        generalDefinitions + networkDefinitions + kraftDefinitions + logDefinitions + replicationDefinitions
        + coordinatorDefinitions + securityDefinitions + remoteStorageDefinitions

    package static let byName: [String: ConfigDefinition] = Dictionary(
        all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })

    /// The definition of `name`, also behind the name of a listener (`listener.name.internal.ssl.keystore.type`).
    package static func definition(_ name: String) -> ConfigDefinition? {
        if let definition = self.byName[name] { return definition }
        guard name.hasPrefix("listener.name.") else { return nil }
        let parts = name.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        if let definition = self.byName[String(parts[3])] { return definition }
        // And behind the name of a mechanism: listener.name.internal.plain.sasl.jaas.config
        guard let dot = parts[3].firstIndex(of: ".") else { return nil }
        return self.byName[String(parts[3][parts[3].index(after: dot)...])]
    }

    /// Belongs to a plug-in: whatever it is, it is not ours to judge.
    package static func isForeign(_ name: String) -> Bool {
        ["rsm.config.", "rlmm.config.", "config.providers.", "confluent."].contains { name.hasPrefix($0) }
    }

    /// Earlier versions of Kafka had it, 4.3 has not.
    package static func isRetired(_ name: String) -> Bool {
        name.hasPrefix("zookeeper.") || name.hasPrefix("password.encoder.") || self.retired.contains(name)
    }

    private static let retired: Set<String> = [
        "advertised.host.name", "advertised.port", "auto.include.jmx.reporter", "broker.id.generation.enable",
        "control.plane.listener.name", "eligible.leader.replicas.enable", "group.coordinator.new.enable", "host.name",
        "inter.broker.protocol.version", "log.message.format.version", "log.message.timestamp.difference.max.ms",
        "offsets.commit.required.acks", "port", "quota.consumer.default", "quota.producer.default",
        "reserved.broker.max.id",
    ]

    /// Names of one setting in the order in which they count, of which `name` is one.
    package static func synonyms(of name: String) -> [String] {
        self.synonymGroups.first { $0.contains(name) } ?? [name]
    }

    private static let synonymGroups = [
        ["log.roll.ms", "log.roll.hours"],
        ["log.roll.jitter.ms", "log.roll.jitter.hours"],
        ["log.flush.interval.ms", "log.flush.scheduler.interval.ms"],
        ["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
    ]
}
