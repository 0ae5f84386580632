import KafkaPrimitives

/// The metadata of the cluster as of one revision. Never changed: a new revision is a new image.
package final class MetadataImage: Sendable {
    struct Content: Sendable {
        var clusterID: String?
        var topicsByName = ShardedMap<UInt64, [TopicImage]>()
        /// Names with `.` or `_`, by themselves with `_` for `.`: two that differ in these alone must not both be made.
        var collidingNames = ShardedMap<UInt64, [String]>()
        var topicsByID = ShardedMap<KafkaUUID, TopicImage>()
        var brokers: [Int32: BrokerRegistration] = [:]
        var brokerConfigs: [Int32: [String: String]] = [:]
        var brokerDefaultConfigs: [String: String] = [:]
        /// Mod revisions of `configs/brokers/…`, what a change of them compares.
        var brokerConfigRevisions: [Int32: Int64] = [:]
        var brokerDefaultConfigRevision: Int64 = 0
        var nextProducerID: Int64 = 0
        var features: [String: FeatureLevel] = [:]
        /// By group id: what is set for a group, and the mod revision of it.
        var groupConfigs: [String: (configs: [String: String], revision: Int64)] = [:]
        /// Of topics that are still being made: partitions come before the topic.
        var orphanPartitions: [KafkaUUID: [Int32: PartitionRegistration]] = [:]
        var orphanConfigs: [String: (configs: [String: String], revision: Int64)] = [:]
    }

    package let revision: Int64
    let content: Content

    init(revision: Int64, content: Content) {
        self.revision = revision
        self.content = content
    }

    package static let empty = MetadataImage(revision: 0, content: Content())

    /// All entries of a store as read at `revision`.
    package convenience init(entries: [MetadataEntry], revision: Int64) {
        let changes = MetadataChanges(revision: revision, changes: entries.map { .put($0) })
        let (image, _) = Self.empty.applying(changes)
        self.init(revision: revision, content: image.content)
    }

    package var clusterID: String? { self.content.clusterID }
    package var brokers: [Int32: BrokerRegistration] { self.content.brokers }
    package var topicCount: Int { self.content.topicsByID.count }
    /// In no order.
    package var topics: [TopicImage] { Array(self.content.topicsByID.values) }
    package var nextProducerID: Int64 { self.content.nextProducerID }

    package func topic(id: KafkaUUID) -> TopicImage? { self.content.topicsByID[id] }

    package func topic(_ name: String) -> TopicImage? {
        var name = name
        return name.withUTF8 { self.topic(utf8: UnsafeRawBufferPointer($0)) }
    }

    /// Makes no String: for walkers of requests.
    package func topic(utf8 name: UnsafeRawBufferPointer) -> TopicImage? {
        guard let candidates = self.content.topicsByName[nameHash(name)] else { return nil }
        return candidates.first { $0.name.utf8.elementsEqual(name) }
    }

    /// Another topic whose name differs in `.` and `_` alone (metric names would be the same), or nil.
    package func collision(with name: String) -> String? {
        guard let key = collisionKey(name) else { return nil }
        return self.content.collidingNames[nameHash(key)]?.first { $0 != name && collisionKey($0) == key }
    }

    /// The dynamic configs of one broker.
    package func brokerConfigs(_ id: Int32) -> [String: String] { self.content.brokerConfigs[id] ?? [:] }
    /// The dynamic configs that hold for every broker.
    package var brokerDefaultConfigs: [String: String] { self.content.brokerDefaultConfigs }
    /// By name; nil: nobody has ever set it.
    /// What is set for a group.
    package func groupConfigs(_ group: String) -> [String: String] { self.content.groupConfigs[group]?.configs ?? [:] }
    /// 0 if nothing is.
    package func groupConfigRevision(_ group: String) -> Int64 { self.content.groupConfigs[group]?.revision ?? 0 }
    /// Groups with configs of their own.
    package var configuredGroups: [String] { self.content.groupConfigs.keys.sorted() }
    package func feature(_ name: String) -> FeatureLevel? { self.content.features[name] }
    /// Brokers with dynamic configs of their own.
    package var configuredBrokers: [Int32] { self.content.brokerConfigs.keys.sorted() }
    /// 0 if there are none; nil: of what holds for every broker.
    package func brokerConfigRevision(_ id: Int32?) -> Int64 {
        guard let id else { return self.content.brokerDefaultConfigRevision }
        return self.content.brokerConfigRevisions[id] ?? 0
    }
}

/// The level of a feature that was set (KIP-584).
package struct FeatureLevel: Equatable, Sendable {
    package var level: Int16
    /// The mod revision of its key: what a change compares.
    package var revision: Int64

    package static func record(_ level: Int16) -> MetadataRecord { MetadataRecord([("level", String(level))]) }
}

/// FNV-1a.
func nameHash(_ name: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in name { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash
}

func nameHash(_ name: String) -> UInt64 {
    var name = name
    return name.withUTF8 { nameHash(UnsafeRawBufferPointer($0)) }
}

/// nil: the name has neither `.` nor `_`.
func collisionKey(_ name: String) -> String? {
    guard name.utf8.contains(where: { $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "_") }) else { return nil }
    let bytes = name.utf8.map { $0 == UInt8(ascii: ".") ? UInt8(ascii: "_") : $0 }
    return String(decoding: bytes, as: UTF8.self)
}
