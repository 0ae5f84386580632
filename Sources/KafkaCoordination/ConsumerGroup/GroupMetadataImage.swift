import KafkaPrimitives

/// A topic as groups see it.
package struct GroupTopic: Sendable, Equatable {
    package var name: String
    package var id: KafkaUUID
    package var partitionCount: Int32
    /// The racks of each partition's replicas, sorted; empty where no broker has a rack.
    package var racks: [[String]]

    package init(name: String, id: KafkaUUID, partitionCount: Int32, racks: [[String]] = []) {
        self.name = name
        self.id = id
        self.partitionCount = partitionCount
        self.racks = racks
    }
}

/// What a consumer group's clients are told, and how often its assignment may change. Of all groups, or of one for
/// which they were set apart (KIP-848, KIP-1263).
package struct ConsumerGroupSettings: Sendable, Equatable {
    /// `group.consumer.session.timeout.ms`, `consumer.session.timeout.ms`
    package var sessionTimeoutMs: Int32 = 45_000
    /// `group.consumer.heartbeat.interval.ms`, `consumer.heartbeat.interval.ms`
    package var heartbeatIntervalMs: Int32 = 5_000
    /// `group.consumer.assignment.interval.ms`, `consumer.assignment.interval.ms`
    package var assignmentIntervalMs: Int32 = 1_000
    /// `group.consumer.assignor.offload.enable`, `consumer.assignor.offload.enable`: whether large assignments are
    /// computed on the pool.
    package var offloadsAssignors = true

    package init() {}
}

/// What the broker knows beside the groups, as a value that a shard may keep: topics, and settings that change while
/// the broker runs. The broker hands a new one to every shard when something of it has changed.
package struct GroupMetadataImage: Sendable {
    /// Rises with each change.
    package var revision: Int64
    package var settings = ConsumerGroupSettings()
    /// By group id; only groups for which something is set apart.
    package var settingsOfGroups: [String: ConsumerGroupSettings] = [:]

    private let topicNamed: @Sendable (String) -> GroupTopic?
    private let topicWithID: @Sendable (KafkaUUID) -> GroupTopic?
    private let allNames: @Sendable () -> [String]

    package init(
        revision: Int64, topicNamed: @escaping @Sendable (String) -> GroupTopic?,
        topicWithID: @escaping @Sendable (KafkaUUID) -> GroupTopic?, allNames: @escaping @Sendable () -> [String]
    ) {
        self.revision = revision
        self.topicNamed = topicNamed
        self.topicWithID = topicWithID
        self.allNames = allNames
    }

    /// Of these topics.
    package init(revision: Int64, topics: [GroupTopic]) {
        let byName = Dictionary(topics.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        let byID = Dictionary(topics.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        self.init(
            revision: revision, topicNamed: { byName[$0] }, topicWithID: { byID[$0] },
            allNames: { Array(byName.keys) })
    }

    /// No topics; older than any other.
    package static let empty = GroupMetadataImage(revision: -1, topics: [])

    package func topic(named name: String) -> GroupTopic? { self.topicNamed(name) }

    package func topic(withID id: KafkaUUID) -> GroupTopic? { self.topicWithID(id) }

    /// In no particular order; internal topics are among them.
    package var topicNames: [String] { self.allNames() }

    package func settings(of groupID: String) -> ConsumerGroupSettings {
        self.settingsOfGroups.isEmpty ? self.settings : self.settingsOfGroups[groupID] ?? self.settings
    }
}
