/// Judges what was set: each value by itself, then all together.
struct KafkaConfigLoading {
    var errors: [KafkaConfigError] = []
    var warnings: [String] = []

    /// The known names with canonical values, and the unknown ones as they are.
    mutating func check(_ values: [String: String]) -> [String: String] {
        var checked: [String: String] = [:]
        for (key, value) in values.sorted(by: { $0.key < $1.key }) {
            guard let definition = BrokerConfigs.definition(key) else {
                if !BrokerConfigs.isForeign(key) { self.warnAboutUnknown(key) }
                checked[key] = value
                continue
            }
            // An empty value of something without a default is "not set", as in the files that people have.
            if definition.defaultValue == nil, trimmed(value).isEmpty { continue }
            switch definition.validate(value) {
            case .success(let value): checked[key] = value
            case .failure(let invalid):
                let shown = definition.isSensitive ? "(hidden)" : invalid.value
                self.errors.append(
                    KafkaConfigError(key: key, value: shown, allowed: "must be \(definition.allowed)"))
            }
        }
        return checked
    }

    private mutating func warnAboutUnknown(_ key: String) {
        if BrokerConfigs.isRetired(key) {
            self.warnings.append("\(key) is not a config of Kafka 4 any more and has no effect")
        } else if TopicConfigs.byName[key] != nil, let synonym = TopicConfigs.byName[key]?.synonyms.first?.name {
            self.warnings.append("\(key) is a config of topics; the default for all topics is \(synonym)")
        } else if let nearest = nearest(to: key, among: BrokerConfigs.byName.keys) {
            self.warnings.append("\(key) is not a known config; did you mean \(nearest)?")
        } else {
            self.warnings.append("\(key) is not a known config")
        }
    }

    mutating func checkTogether(_ config: KafkaConfig) {
        self.checkListeners(config)
        self.checkAdvertised(config)
        self.checkRoles(config)
        self.checkUnsupported(config)
        self.checkReplicationFactors(config)
        let overrides = self.text(config, "max.connections.per.ip.overrides")
        if KafkaConfig.parseOverrides(overrides) == nil {
            self.refuse("max.connections.per.ip.overrides", overrides, "must be address:number, several with commas")
        }
        if config.groupMinSessionTimeoutMs > config.groupMaxSessionTimeoutMs {
            self.refuse(
                "group.min.session.timeout.ms", String(config.groupMinSessionTimeoutMs),
                "must not be more than group.max.session.timeout.ms (\(config.groupMaxSessionTimeoutMs))")
        }
    }

    private func text(_ config: KafkaConfig, _ name: String) -> String { config.lookup([name])?.value ?? "" }

    private mutating func refuse(_ key: String, _ value: String, _ allowed: String) {
        self.errors.append(KafkaConfigError(key: key, value: value, allowed: allowed))
    }

    private mutating func checkListeners(_ config: KafkaConfig) {
        let text = self.text(config, "listeners")
        let entries = configList(text)
        let parsed = entries.compactMap { ListenerConfig($0) }
        guard !entries.isEmpty, parsed.count == entries.count else {
            let wrong = entries.first { ListenerConfig($0) == nil }
            return self.refuse("listeners", wrong ?? text, "must be \(ListenerConfig.form), several with commas")
        }
        if Set(parsed.map(\.name)).count != parsed.count {
            return self.refuse("listeners", text, "each listener needs a name of its own")
        }
        let used = parsed.filter { $0.port != 0 }.map { "\($0.host):\($0.port)" }
        if Set(used).count != used.count {
            return self.refuse("listeners", text, "each listener needs a port of its own")
        }
        if config.listeners.isEmpty {
            return self.refuse("listeners", text, "one is needed that is not in controller.listener.names")
        }
        let before = self.errors.count
        let protocols = self.protocols(config)
        guard self.errors.count == before else { return }
        for listener in config.listeners {
            switch protocols[listener.name] {
            case nil:
                self.refuse(
                    "listeners", listener.description,
                    "listener.security.protocol.map has no security protocol for \(listener.name)")
            case "PLAINTEXT": break
            case .some(let name):
                self.refuse(
                    "listeners", listener.description, "\(name) is not supported yet; only PLAINTEXT listeners are")
            }
        }
        if let name = config.interBrokerListenerName, !parsed.contains(where: { $0.name == name.uppercased() }) {
            self.refuse("inter.broker.listener.name", name, "must be the name of one of the listeners \(text)")
        }
    }

    private mutating func protocols(_ config: KafkaConfig) -> [String: String] {
        let known: Set<String> = ["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
        let key = "listener.security.protocol.map"
        var protocols: [String: String] = [:]
        for entry in configList(self.text(config, key)) {
            let parts = entry.split(separator: ":", omittingEmptySubsequences: false).map { trimmed($0).uppercased() }
            guard parts.count == 2, known.contains(parts[1]) else {
                self.refuse(
                    key, entry, "must be NAME:PROTOCOL; protocols are \(known.sorted().joined(separator: ", "))")
                continue
            }
            protocols[parts[0]] = parts[1]
        }
        return protocols
    }

    private mutating func checkAdvertised(_ config: KafkaConfig) {
        let names = Set(configList(self.text(config, "listeners")).compactMap { ListenerConfig($0)?.name })
        for entry in configList(self.text(config, "advertised.listeners")) {
            guard let listener = ListenerConfig(entry) else {
                self.refuse("advertised.listeners", entry, "must be NAME://host:port, several with commas")
                continue
            }
            if listener.host == "0.0.0.0" || listener.host == "::" {
                self.refuse(
                    "advertised.listeners", entry,
                    "clients cannot connect to \(listener.host); give a name or an address that they can reach")
            } else if !names.contains(listener.name) {
                self.refuse("advertised.listeners", entry, "listeners has none of the name \(listener.name)")
            }
        }
    }

    private mutating func checkRoles(_ config: KafkaConfig) {
        let oldID = self.text(config, "broker.id")
        let newID = self.text(config, "node.id")
        if oldID != "-1", newID != "-1", oldID != newID {
            self.refuse("broker.id", oldID, "must be the same as node.id (\(newID)), or left out")
        }
        let roles = configList(self.text(config, "process.roles"))
        guard !roles.isEmpty else { return }
        if !roles.contains("broker") {
            self.refuse("process.roles", roles.joined(separator: ","), "Ottla is a broker and needs no controllers")
        } else if !roles.contains("controller") {
            self.warnings.append(
                "process.roles=broker: Ottla keeps its metadata itself and asks no controller quorum")
        }
    }

    private mutating func checkUnsupported(_ config: KafkaConfig) {
        let authorizer = self.text(config, "authorizer.class.name")
        if !authorizer.isEmpty {
            self.refuse(
                "authorizer.class.name", authorizer, "authorization is not supported yet; it must be left out")
        }
        if self.text(config, "remote.log.storage.system.enable") == "true" {
            self.refuse("remote.log.storage.system.enable", "true", "tiered storage is not supported; must be false")
        }
        if config.logDirs.isEmpty || config.logDirs.contains("") || Set(config.logDirs).count < config.logDirs.count {
            self.refuse(
                "log.dirs", config.logDirs.joined(separator: ","), "must be one folder or more, each named once")
        }
        let cordoned = self.text(config, "cordoned.log.dirs")
        if let reason = DynamicBrokerConfigs.cordonRefusal(cordoned, logDirs: config.logDirs) {
            self.refuse("cordoned.log.dirs", cordoned, reason)
        }
    }

    private mutating func checkReplicationFactors(_ config: KafkaConfig) {
        let brokers = 1
        let prefixes = ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"]
        for key in prefixes.map({ $0 + ".replication.factor" }) {
            // Kafka's default of 3 was not asked for, and is cut down without a word.
            guard let factor = config.layers.statics[key].flatMap({ Int($0) }), factor > brokers else { continue }
            self.warnings.append(
                "\(key)=\(factor) is more than there are brokers (\(brokers)); the topic is made with \(brokers)")
        }
    }
}
