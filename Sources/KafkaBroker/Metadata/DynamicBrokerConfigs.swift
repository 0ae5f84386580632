import KafkaPrimitives

/// Which broker configs may be changed while the broker runs.
package enum DynamicBrokerConfigs {
    /// Why the dynamic configs of a broker, or of all brokers, cannot become `configs`; or nil.
    /// - Parameter logDirs: the broker's data folders; nil where they are not known.
    package static func refusal(
        of configs: [String: String], before: [String: String], perBroker: Bool, logDirs: [String]? = nil
    ) -> ApiError? {
        let changed = configs.filter { before[$0.key] != $0.value }.sorted { $0.key < $1.key }
        let readOnly = changed.map(\.key).filter { BrokerConfigs.definition($0)?.updateMode == .readOnly }
        if !readOnly.isEmpty {
            return ApiError(.invalidRequest, "Cannot update these configs dynamically: \(list(readOnly))")
        }
        if !perBroker {
            let own = changed.map(\.key).filter { BrokerConfigs.definition($0)?.updateMode == .perBroker }
            if !own.isEmpty {
                return ApiError(
                    .invalidRequest,
                    "Cannot update these configs at default cluster level, broker id must be specified: \(list(own))")
            }
        }
        for (name, value) in changed {
            guard let definition = BrokerConfigs.definition(name) else { continue }
            if case .failure(let invalid) = definition.validate(value) {
                return ApiError(.invalidRequest, invalid.message)
            }
            if self.isUnsupported(name) {
                return ApiError(.invalidRequest, "\(name) cannot be changed while Ottla runs.")
            }
            if name == "cordoned.log.dirs", let logDirs, let reason = self.cordonRefusal(value, logDirs: logDirs) {
                return ApiError(.invalidRequest, "Invalid value \(value) for configuration \(name): \(reason)")
            }
        }
        return nil
    }

    /// Why `value` cannot be the cordoned folders, or nil.
    static func cordonRefusal(_ value: String, logDirs: [String]) -> String? {
        let names = configList(value)
        if names.contains("*") {
            return names.count == 1 ? nil : "must be the wildcard \"*\" alone, or folders of log.dirs"
        }
        let unknown = names.filter { !logDirs.contains($0) }
        return unknown.isEmpty ? nil : "must be folders of log.dirs: \(unknown.joined(separator: ",")) is none"
    }

    private static func list(_ names: [String]) -> String { "[" + names.joined(separator: ", ") + "]" }

    /// Kafka could; accepting it without an effect would mislead. (`sasl.*` has none in a Kafka without a SASL
    /// listener either: it is kept, as there.)
    private static func isUnsupported(_ name: String) -> Bool {
        ["listeners", "listener.security.protocol.map"].contains(name)
            || name.hasPrefix("listener.name.") || name.hasPrefix("ssl.")
            || name.hasPrefix("remote.") || name.hasPrefix("principal.")
    }
}
