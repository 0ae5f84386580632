/// One entry of a DescribeConfigs answer.
package struct ConfigDescription: Sendable, Equatable {
    package struct Synonym: Sendable, Equatable {
        package var name: String
        package var value: String?
        package var source: ConfigSource
    }
    package var name: String
    /// nil: not set, or not to be shown.
    package var value: String?
    package var source: ConfigSource
    package var isReadOnly: Bool
    package var isSensitive: Bool
    /// All values that were set, the one that holds first.
    package var synonyms: [Synonym]
    package var type: ConfigDefinition.ValueType?
    package var documentation: String
}

extension TopicConfigs {
    /// All configs of a topic with `overrides`, or those of `names`, in order of name.
    package static func describe(
        overrides: [String: String], names: Set<String>?, broker: KafkaConfig
    ) -> [ConfigDescription] {
        self.all.compactMap { topicConfig in
            let name = topicConfig.name
            if let names { guard names.contains(name) else { return nil } }
            if topicConfig.definition.isHidden, overrides[name] == nil { return nil }
            let value = self.value(name, overrides, broker)
            var synonyms = broker.layers.all(topicConfig.synonyms.map(\.name)).map {
                ConfigDescription.Synonym(name: $0.name, value: $0.value, source: $0.source)
            }
            if overrides[name] != nil {
                synonyms.insert(.init(name: name, value: value, source: .dynamicTopicConfig), at: 0)
            }
            return ConfigDescription(
                name: name, value: value, source: synonyms.first?.source ?? .defaultConfig, isReadOnly: false,
                isSensitive: false, synonyms: synonyms, type: topicConfig.definition.type,
                documentation: topicConfig.definition.documentation)
        }
    }
}

extension KafkaConfig {
    /// All configs of this broker, or those of `names`, in order of name.
    package func describe(names: Set<String>?) -> [ConfigDescription] {
        var all = Set(BrokerConfigs.all.lazy.filter { !$0.isHidden }.map(\.name))
        all.formUnion(self.layers.statics.keys)
        all.formUnion(self.layers.broker.keys)
        all.formUnion(self.layers.clusterDefault.keys)
        if let names { all.formIntersection(names) }
        return all.sorted().map { self.describe($0, BrokerConfigs.synonyms(of: $0), perBroker: true) }
    }

    /// The dynamic configs that hold for all brokers.
    package func describeClusterDefaults(names: Set<String>?) -> [ConfigDescription] {
        self.layers.clusterDefault.keys.filter { names?.contains($0) ?? true }.sorted().map {
            self.describe($0, BrokerConfigs.synonyms(of: $0), perBroker: false)
        }
    }

    private func describe(_ name: String, _ names: [String], perBroker: Bool) -> ConfigDescription {
        let definition = BrokerConfigs.definition(name)
        // What is not known could be a password.
        let isSensitive = definition?.isSensitive ?? true
        let found = self.layers.all(names).filter { perBroker || $0.source == .dynamicDefaultBrokerConfig }
        let own = perBroker ? self.layers.first([name]) : found.first { $0.name == name }
        return ConfigDescription(
            name: name, value: isSensitive ? nil : own?.value, source: found.first?.source ?? .defaultConfig,
            isReadOnly: definition?.updateMode ?? .readOnly == .readOnly, isSensitive: isSensitive,
            synonyms: found.map { .init(name: $0.name, value: isSensitive ? nil : $0.value, source: $0.source) },
            type: definition?.type, documentation: definition?.documentation ?? "")
    }
}
