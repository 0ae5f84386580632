/// The configs of topics: what may be set, and what holds.
package enum TopicConfigs {
    package static func definition(_ name: String) -> ConfigDefinition? { self.byName[name]?.definition }

    /// Why the overrides of a topic are refused (INVALID_CONFIG), or nil.
    package static func refusal(of overrides: [String: String], broker: KafkaConfig) -> String? {
        for (name, value) in overrides.sorted(by: { $0.key < $1.key }) {
            guard let topicConfig = self.byName[name] else { return "Unknown topic config name: \(name)" }
            if case .failure(let invalid) = topicConfig.definition.validate(value) { return invalid.message }
        }
        let least = self.long("min.compaction.lag.ms", overrides, broker)
        let most = self.long("max.compaction.lag.ms", overrides, broker)
        if least > most {
            return "conflict topic config setting min.compaction.lag.ms (\(least)) > max.compaction.lag.ms (\(most))"
        }
        if self.value("remote.storage.enable", overrides, broker) == "true" {
            return "Tiered Storage functionality is disabled in the broker. "
                + "Topic cannot be configured with remote log storage."
        }
        return nil
    }

    /// What holds for a topic with `overrides`: the override, else the broker's default. Canonical form.
    package static func value(_ name: String, _ overrides: [String: String], _ broker: KafkaConfig) -> String {
        guard let topicConfig = self.byName[name] else { return "" }
        if let override = overrides[name], case .success(let value) = topicConfig.definition.validate(override) {
            return value
        }
        return self.defaultValue(topicConfig, broker)
    }

    /// What holds for a topic without overrides.
    package static func defaultValue(_ topicConfig: TopicConfigDefinition, _ broker: KafkaConfig) -> String {
        let names = topicConfig.synonyms.map(\.name)
        if let found = broker.lookup(names) {
            let scale = topicConfig.synonyms.first { $0.name == found.name }?.scale ?? 1
            if scale != 1, let number = Int64(found.value) { return String(number < 0 ? -1 : number &* scale) }
            return found.value
        }
        return topicConfig.definition.defaultValue ?? ""
    }

    package static func long(_ name: String, _ overrides: [String: String], _ broker: KafkaConfig) -> Int64 {
        Int64(self.value(name, overrides, broker)) ?? 0
    }
}
