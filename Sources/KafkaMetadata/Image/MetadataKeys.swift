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
    package static let groupConfigPrefix = "configs/groups/"
    package static let featurePrefix = "features/"

    package static func topic(_ name: String) -> MetadataKey { MetadataKey(Self.topicPrefix + name) }
    package static func partition(_ topicID: KafkaUUID, _ index: Int32) -> MetadataKey {
        MetadataKey("\(Self.partitionPrefix)\(topicID)/\(index)")
    }
    package static func partitions(_ topicID: KafkaUUID) -> MetadataRange {
        .prefix(MetadataKey("\(Self.partitionPrefix)\(topicID)/"))
    }
    package static func groupConfig(_ name: String) -> MetadataKey { MetadataKey(Self.groupConfigPrefix + name) }
    /// The finalized level of a feature.
    package static func feature(_ name: String) -> MetadataKey { MetadataKey(Self.featurePrefix + name) }
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
    case groupConfig(String)
    case feature(String)
    case unknown

    init(_ key: MetadataKey) {
        // Nearly all keys are of partitions.
        if let partition = Self.partition(key.bytes) {
            self = partition
            return
        }
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
        } else if let name = rest(MetadataKeys.groupConfigPrefix) {
            self = .groupConfig(String(name))
        } else if let name = rest(MetadataKeys.featurePrefix) {
            self = .feature(String(name))
        } else if let id = rest(MetadataKeys.brokerPrefix) {
            if let id = Int32(id) { self = .broker(id) }
        }
    }

    private static let partitionPrefix = Array(MetadataKeys.partitionPrefix.utf8)

    /// `partitions/`, an id of 22 characters, a slash, a number; nil: look again.
    private static func partition(_ bytes: [UInt8]) -> ParsedMetadataKey? {
        let idStart = self.partitionPrefix.count
        let idEnd = idStart + 22
        guard bytes.count > idEnd + 1, bytes.count <= idEnd + 10, bytes[idEnd] == UInt8(ascii: "/"),
            bytes.starts(with: self.partitionPrefix)
        else { return nil }
        var index: Int32 = 0
        for byte in bytes[(idEnd + 1)...] {
            guard UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte else { return nil }
            index = index &* 10 &+ Int32(byte &- UInt8(ascii: "0"))
        }
        guard let id = KafkaUUID(base64URL: bytes[idStart..<idEnd]) else { return nil }
        return .partition(id, index)
    }
}
