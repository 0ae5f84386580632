import Glibc

/// A value that the broker cannot start with.
package struct KafkaConfigError: Error, Equatable, Sendable, CustomStringConvertible {
    package var key: String
    package var value: String
    /// What is allowed, or what is wrong.
    package var allowed: String

    package var description: String { "\(self.key)=\(self.value): \(self.allowed)" }
}

package struct KafkaConfigErrors: Error, Sendable, CustomStringConvertible {
    package var errors: [KafkaConfigError]
    package var description: String { self.errors.map(\.description).joined(separator: "\n") }
}

extension KafkaConfig {
    /// What Kafka's own config/server.properties says for a single node, on localhost only.
    package static let singleNode: [String: String] = [
        "node.id": "1",
        "listeners": "PLAINTEXT://localhost:9092",
        "num.network.threads": "3",
        "num.io.threads": "8",
        "socket.send.buffer.bytes": "102400",
        "socket.receive.buffer.bytes": "102400",
        "socket.request.max.bytes": "104857600",
        "log.dirs": "./ottla-data",
        "num.partitions": "1",
        "num.recovery.threads.per.data.dir": "2",
        "offsets.topic.replication.factor": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "log.retention.hours": "168",
        "log.segment.bytes": "1073741824",
        "log.retention.check.interval.ms": "300000",
    ]

    /// Puts together the file (nil: `singleNode`), the environment and the overrides, later ones before earlier ones.
    /// - Parameters:
    ///   - file: the bytes of a server.properties file.
    ///   - overrides: `KEY=VALUE`.
    /// - Throws: every value that is not allowed.
    package static func load(
        file: [UInt8]?, environment: [String: String] = [:], overrides: [String] = []
    ) throws(KafkaConfigErrors) -> (config: KafkaConfig, warnings: [String]) {
        var loading = KafkaConfigLoading()
        var values: [String: String] = [:]
        if let file {
            for entry in PropertiesParser.parse(file) { values[entry.key] = entry.value }
        } else {
            values = self.singleNode
        }
        let fromEnvironment = EnvironmentConfig(environment)
        values.merge(fromEnvironment.values) { $1 }
        if fromEnvironment.values["listeners"] == nil, let advertised = fromEnvironment.values["advertised.listeners"] {
            values["listeners"] = EnvironmentConfig.listeners(fromAdvertised: advertised)
        }
        for override in overrides {
            guard let equals = override.firstIndex(of: "="), equals > override.startIndex else {
                loading.errors.append(
                    KafkaConfigError(key: "--override", value: override, allowed: "must be KEY=VALUE"))
                continue
            }
            values[trimmed(override[..<equals])] = String(override[override.index(after: equals)...])
        }
        let statics = loading.check(values)
        let config = KafkaConfig(layers: ConfigLayers(statics: statics), clusterID: fromEnvironment.clusterID)
        if loading.errors.isEmpty { loading.checkTogether(config) }
        guard loading.errors.isEmpty else { throw KafkaConfigErrors(errors: loading.errors) }
        return (config, loading.warnings)
    }

    /// - Throws: the errno of the file.
    package static func readFile(_ path: String) throws(KafkaConfigErrors) -> [UInt8] {
        guard let file = fopen(path, "r") else {
            throw KafkaConfigErrors(errors: [
                KafkaConfigError(key: "FILE", value: path, allowed: String(cString: strerror(errno)))
            ])
        }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 16_384)
        while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
        return bytes
    }
}

/// `OTTLA_LOG_DIRS` is log.dirs: `_` stands for `.`, `__` for `_`, `___` for `-`, as in Kafka's container image.
struct EnvironmentConfig {
    var values: [String: String] = [:]
    var clusterID: String?

    /// Not configs: Kafka's image has such names for other things, and so have Ottla's own scripts.
    private static let others: Set<String> = [
        "OTTLA_VERSION", "OTTLA_HEAP_OPTS", "OTTLA_LOG4J_OPTS", "OTTLA_OPTS", "OTTLA_JMX_OPTS",
        "OTTLA_JVM_PERFORMANCE_OPTS", "OTTLA_GC_LOG_OPTS", "OTTLA_LOG4J_ROOT_LOGLEVEL", "OTTLA_LOG4J_LOGGERS",
        "OTTLA_TOOLS_LOG4J_LOGLEVEL", "OTTLA_JMX_HOSTNAME", "OTTLA_JMX_PORT", "OTTLA_LOAD", "OTTLA_MESSAGE_VECTORS",
        "OTTLA_RECORD_VECTORS", "OTTLA_BATCH_VECTORS", "OTTLA_HOME", "OTTLA_BUILD",
    ]

    init(_ environment: [String: String]) {
        for (variable, value) in environment where variable.hasPrefix("OTTLA_") {
            if variable == "OTTLA_CLUSTER_ID" {
                self.clusterID = value
            } else if !Self.others.contains(variable) {
                self.values[Self.key(variable)] = value
            }
        }
        if self.clusterID == nil { self.clusterID = environment["CLUSTER_ID"] }
    }

    static func key(_ variable: String) -> String {
        var key = ""
        var underscores = 0
        func flush() {
            // Threes first, then twos, then ones: as replacing "..." and then ".." from the left does.
            var left = underscores
            while left >= 3 {
                key += "-"
                left -= 3
            }
            if left == 2 { key += "_" } else if left == 1 { key += "." }
            underscores = 0
        }
        for character in variable.dropFirst("OTTLA_".count) {
            if character == "_" {
                underscores += 1
            } else {
                flush()
                key += character.lowercased()
            }
        }
        flush()
        return key
    }

    /// The same ports on every address.
    static func listeners(fromAdvertised text: String) -> String {
        configList(text).map { entry in
            guard var listener = ListenerConfig(entry) else { return entry }
            listener.host = "0.0.0.0"
            return listener.description
        }.joined(separator: ",")
    }
}
