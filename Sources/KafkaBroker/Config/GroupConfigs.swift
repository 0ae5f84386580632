import KafkaCoordination

/// The configs of groups: those of consumer groups. Each has a default and bounds among the broker's.
package enum GroupConfigs {
    static let all: [ConfigDefinition] = [
        ConfigDefinition(
            "consumer.assignment.interval.ms", .int, nil, .atLeast(0),
            doc: "The least time between two target assignments of the group."),
        ConfigDefinition(
            "consumer.assignor.offload.enable", .boolean, nil,
            doc: "Whether large assignments are computed on a thread of their own."),
        ConfigDefinition(
            "consumer.heartbeat.interval.ms", .int, nil, .atLeast(1),
            doc: "How often members are told to send heartbeats."),
        ConfigDefinition(
            "consumer.session.timeout.ms", .int, nil, .atLeast(1), doc: "How long a member may be silent."),
    ]

    static func definition(_ name: String) -> ConfigDefinition? { self.all.first { $0.name == name } }

    /// The broker's setting that holds where nothing is set.
    static func brokerName(_ name: String) -> String { "group." + name }

    /// Why a group cannot have `configs` (INVALID_CONFIG), or nil. What it had before it may keep: a Kafka whose folder
    /// this was knows others.
    static func refusal(of configs: [String: String], before: [String: String] = [:], broker: KafkaConfig) -> String? {
        for (name, value) in configs.sorted(by: { $0.key < $1.key }) where before[name] != value {
            guard let definition = self.definition(name) else { return "Unknown group config name: \(name)" }
            if case .failure(let invalid) = definition.validate(value) { return invalid.message }
            guard definition.type == .int, let number = Int64(value) else { continue }
            let rest = name.dropFirst("consumer.".count)
            let (least, most) = ("group.consumer.min.\(rest)", "group.consumer.max.\(rest)")
            if number < broker.int64(least) { return "\(name) must be greater than or equal to \(least)" }
            if number > broker.int64(most) { return "\(name) must be less than or equal to \(most)" }
        }
        let settings = ConsumerGroupSettings(configs, ConsumerGroupSettings(broker))
        if settings.heartbeatIntervalMs >= settings.sessionTimeoutMs {
            return "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
        }
        return nil
    }

    /// All configs of a group with `overrides`, or those of `names`, in order of name.
    static func describe(
        overrides: [String: String], names: Set<String>?, broker: KafkaConfig
    ) -> [ConfigDescription] {
        self.all.filter { names?.contains($0.name) ?? true }.map { definition in
            var synonyms = broker.layers.all([self.brokerName(definition.name)]).map {
                ConfigDescription.Synonym(name: $0.name, value: $0.value, source: $0.source)
            }
            if let value = overrides[definition.name] {
                synonyms.insert(.init(name: definition.name, value: value, source: .dynamicGroupConfig), at: 0)
            }
            return ConfigDescription(
                name: definition.name, value: synonyms.first?.value, source: synonyms.first?.source ?? .defaultConfig,
                isReadOnly: false, isSensitive: false, synonyms: synonyms, type: definition.type,
                documentation: definition.documentation)
        }
    }
}

extension ConsumerGroupSettings {
    /// What is set for a group, and what holds for all of the rest.
    init(_ configs: [String: String], _ defaults: ConsumerGroupSettings) {
        self = defaults
        func number(_ name: String) -> Int32? { configs[name].flatMap { Int32($0) } }
        if let value = number("consumer.session.timeout.ms") { self.sessionTimeoutMs = value }
        if let value = number("consumer.heartbeat.interval.ms") { self.heartbeatIntervalMs = value }
        if let value = number("consumer.assignment.interval.ms") { self.assignmentIntervalMs = value }
        if let value = configs["consumer.assignor.offload.enable"] {
            self.offloadsAssignors = value.lowercased() != "false"
        }
    }

    /// A value beyond the broker's bounds, which may have changed since it was set, counts as the nearest within.
    func bounded(by broker: KafkaConfig) -> ConsumerGroupSettings {
        func bounded(_ value: Int32, _ name: String) -> Int32 {
            let least = Int32(clamping: broker.int64("group.consumer.min.\(name)"))
            return min(max(value, least), max(least, Int32(clamping: broker.int64("group.consumer.max.\(name)"))))
        }
        var settings = self
        settings.sessionTimeoutMs = bounded(self.sessionTimeoutMs, "session.timeout.ms")
        settings.heartbeatIntervalMs = bounded(self.heartbeatIntervalMs, "heartbeat.interval.ms")
        settings.assignmentIntervalMs = bounded(self.assignmentIntervalMs, "assignment.interval.ms")
        return settings
    }
}
