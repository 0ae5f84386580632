import KafkaPrimitives

/// Who holds a partition, as the cluster has agreed.
package struct PartitionRegistration: Hashable, Sendable {
    package var replicas: [Int32]
    package var isr: [Int32]
    package var addingReplicas: [Int32]
    package var removingReplicas: [Int32]
    /// -1: none.
    package var leader: Int32
    /// One more with each change of leader.
    package var leaderEpoch: Int32
    /// One more with each change of this registration.
    package var partitionEpoch: Int32

    package init(
        replicas: [Int32], isr: [Int32]? = nil, leader: Int32? = nil, leaderEpoch: Int32 = 0, partitionEpoch: Int32 = 0
    ) {
        self.replicas = replicas
        self.isr = isr ?? replicas
        self.addingReplicas = []
        self.removingReplicas = []
        self.leader = leader ?? replicas.first ?? -1
        self.leaderEpoch = leaderEpoch
        self.partitionEpoch = partitionEpoch
    }

    package init(record: MetadataRecord) {
        self.replicas = record.int32s("replicas")
        self.isr = record.int32s("isr")
        self.addingReplicas = record.int32s("adding")
        self.removingReplicas = record.int32s("removing")
        self.leader = record["leader"].flatMap { Int32($0) } ?? -1
        self.leaderEpoch = record["leaderEpoch"].flatMap { Int32($0) } ?? 0
        self.partitionEpoch = record["partitionEpoch"].flatMap { Int32($0) } ?? 0
    }

    package var record: MetadataRecord {
        var fields = [("replicas", joined(self.replicas)), ("isr", joined(self.isr))]
        if !self.addingReplicas.isEmpty { fields.append(("adding", joined(self.addingReplicas))) }
        if !self.removingReplicas.isEmpty { fields.append(("removing", joined(self.removingReplicas))) }
        fields += [
            ("leader", String(self.leader)), ("leaderEpoch", String(self.leaderEpoch)),
            ("partitionEpoch", String(self.partitionEpoch)),
        ]
        return MetadataRecord(fields.map { (name: $0.0, value: $0.1) })
    }
}

/// A topic as of one revision.
package final class TopicImage: Sendable, Equatable, CustomStringConvertible {
    package let name: String
    package let id: KafkaUUID
    /// From 0 on, without a gap.
    package let partitions: [PartitionRegistration]
    /// The overrides, as they were given.
    package let configs: [String: String]
    /// When the topic and when its configs were last changed; what a change of them compares.
    package let topicRevision: Int64
    package let configRevision: Int64

    package init(
        name: String, id: KafkaUUID, partitions: [PartitionRegistration], configs: [String: String] = [:],
        topicRevision: Int64 = 0, configRevision: Int64 = 0
    ) {
        self.name = name
        self.id = id
        self.partitions = partitions
        self.configs = configs
        self.topicRevision = topicRevision
        self.configRevision = configRevision
    }

    package var isInternal: Bool { Self.internalNames.contains(self.name) }
    package static let internalNames: Set<String> = [
        "__consumer_offsets", "__transaction_state", "__share_group_state",
    ]

    package var description: String { "\(self.name) (\(self.id), \(self.partitions.count) partitions)" }

    package static func == (left: TopicImage, right: TopicImage) -> Bool {
        left === right
            || (left.name == right.name && left.id == right.id && left.partitions == right.partitions
                && left.configs == right.configs)
    }

    /// `topics/NAME`: the id, and how many partitions there are to be.
    package static func record(id: KafkaUUID, partitions: Int) -> MetadataRecord {
        MetadataRecord([("id", id.description), ("partitions", String(partitions))])
    }
}

/// A broker that holds a lease.
package struct BrokerRegistration: Hashable, Sendable {
    package struct Listener: Hashable, Sendable {
        package var name: String
        package var host: String
        package var port: Int32
        package init(name: String, host: String, port: Int32) {
            self.name = name
            self.host = host
            self.port = port
        }
    }
    package var id: Int32
    package var rack: String?
    package var listeners: [Listener]
    /// The revision that made the registration.
    package var epoch: Int64

    package init(id: Int32, rack: String?, listeners: [Listener], epoch: Int64 = 0) {
        self.id = id
        self.rack = rack
        self.listeners = listeners
        self.epoch = epoch
    }

    package init(id: Int32, record: MetadataRecord, epoch: Int64) {
        self.id = id
        self.rack = record["rack"]
        self.epoch = epoch
        self.listeners = record.fields.filter { $0.name == "listener" }.compactMap { field in
            // NAME host port, the host without a space in any case
            let parts = field.value.split(separator: " ")
            guard parts.count == 3, let port = Int32(parts[2]) else { return nil }
            return Listener(name: String(parts[0]), host: String(parts[1]), port: port)
        }
    }

    package var record: MetadataRecord {
        var fields: [(name: String, value: String)] = self.rack.map { [("rack", $0)] } ?? []
        for listener in self.listeners {
            fields.append(("listener", "\(listener.name) \(listener.host) \(listener.port)"))
        }
        return MetadataRecord(fields)
    }
}
