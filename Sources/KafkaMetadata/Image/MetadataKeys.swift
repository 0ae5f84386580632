import KafkaPrimitives

/// The keys of a cluster, below one prefix in a store that is shared.
package enum MetadataKeys {
    package static let clusterID: MetadataKey = "cluster/id"
    /// The first producer id that no block has been taken from.
    package static let nextProducerID: MetadataKey = "producer-ids/next"

    package static let topicPrefix = "topics/"
    package static let partitionPrefix = "partitions/"
    package static let brokerPrefix = "brokers/"
    package static let topicConfigPrefix = "configs/topics/"
    package static let brokerConfigPrefix = "configs/brokers/"

    package static func topic(_ name: String) -> MetadataKey { MetadataKey(Self.topicPrefix + name) }
    package static func partition(_ topicID: KafkaUUID, _ index: Int32) -> MetadataKey {
        MetadataKey("\(Self.partitionPrefix)\(topicID)/\(index)")
    }
    package static func partitions(_ topicID: KafkaUUID) -> MetadataRange {
        .prefix(MetadataKey("\(Self.partitionPrefix)\(topicID)/"))
    }
    package static func broker(_ id: Int32) -> MetadataKey { MetadataKey("\(Self.brokerPrefix)\(id)") }
    package static func topicConfig(_ name: String) -> MetadataKey { MetadataKey(Self.topicConfigPrefix + name) }
    /// nil: what holds for every broker.
    package static func brokerConfig(_ id: Int32?) -> MetadataKey {
        MetadataKey(Self.brokerConfigPrefix + (id.map { String($0) } ?? "<default>"))
    }
}

/// A key of the cluster, taken apart.
enum ParsedMetadataKey {
    case clusterID
    case nextProducerID
    case topic(String)
    case partition(KafkaUUID, Int32)
    case broker(Int32)
    case topicConfig(String)
    case brokerConfig(Int32?)
    case unknown

    init(_ key: MetadataKey) {
        let text = String(decoding: key.bytes, as: UTF8.self)
        func rest(_ prefix: String) -> Substring? { text.hasPrefix(prefix) ? text.dropFirst(prefix.count) : nil }
        self = .unknown
        if key == MetadataKeys.clusterID {
            self = .clusterID
        } else if key == MetadataKeys.nextProducerID {
            self = .nextProducerID
        } else if let name = rest(MetadataKeys.topicPrefix) {
            self = .topic(String(name))
        } else if let name = rest(MetadataKeys.topicConfigPrefix) {
            self = .topicConfig(String(name))
        } else if let path = rest(MetadataKeys.partitionPrefix) {
            let parts = path.split(separator: "/", omittingEmptySubsequences: false)
            if parts.count == 2, let id = KafkaUUID(parts[0]), let index = Int32(parts[1]), index >= 0 {
                self = .partition(id, index)
            }
        } else if let id = rest(MetadataKeys.brokerConfigPrefix) {
            if id == "<default>" { self = .brokerConfig(nil) } else if let id = Int32(id) { self = .brokerConfig(id) }
        } else if let id = rest(MetadataKeys.brokerPrefix) {
            if let id = Int32(id) { self = .broker(id) }
        }
    }
}
