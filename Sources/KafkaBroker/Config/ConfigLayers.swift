/// Where a value comes from. Raw values as in DescribeConfigs.
package enum ConfigSource: Int8, Sendable {
    case dynamicTopicConfig = 1
    case dynamicBrokerConfig, dynamicDefaultBrokerConfig, staticBrokerConfig, defaultConfig, dynamicBrokerLoggerConfig
    case dynamicGroupConfig = 8
}

/// What was set for a broker, by whom. Earlier ones go before later ones.
package struct ConfigLayers: Sendable, Equatable {
    /// By AlterConfigs, for this broker.
    package var broker: [String: String] = [:]
    /// By AlterConfigs, for all brokers.
    package var clusterDefault: [String: String] = [:]
    /// By file, environment and command line.
    package var statics: [String: String] = [:]

    package init(statics: [String: String] = [:]) { self.statics = statics }

    package struct Found: Equatable, Sendable {
        package var name: String
        package var value: String
        package var source: ConfigSource
    }

    /// All values that were set under any of `names` (synonyms, the one that counts first), the one that holds first,
    /// and the defaults behind them.
    package func all(_ names: [String]) -> [Found] {
        var found: [Found] = []
        let layers: [(ConfigSource, [String: String])] = [
            (.dynamicBrokerConfig, self.broker), (.dynamicDefaultBrokerConfig, self.clusterDefault),
            (.staticBrokerConfig, self.statics),
        ]
        for (source, values) in layers where !values.isEmpty {
            for name in names {
                if let value = values[name] { found.append(Found(name: name, value: value, source: source)) }
            }
        }
        for name in names {
            if let value = BrokerConfigs.definition(name)?.defaultValue {
                found.append(Found(name: name, value: value, source: .defaultConfig))
            }
        }
        return found
    }

    package func first(_ names: [String]) -> Found? {
        for (source, values) in [
            (ConfigSource.dynamicBrokerConfig, self.broker), (.dynamicDefaultBrokerConfig, self.clusterDefault),
            (.staticBrokerConfig, self.statics),
        ] where !values.isEmpty {
            for name in names {
                if let value = values[name] { return Found(name: name, value: value, source: source) }
            }
        }
        for name in names {
            if let value = BrokerConfigs.definition(name)?.defaultValue {
                return Found(name: name, value: value, source: .defaultConfig)
            }
        }
        return nil
    }
}
