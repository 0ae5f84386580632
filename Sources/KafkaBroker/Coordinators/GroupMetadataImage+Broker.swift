import KafkaCoordination
import KafkaMetadata
import KafkaPrimitives

extension GroupMetadataImage {
    /// Topics and settings as the broker knows them. Nothing is copied: topics are looked up when they are asked for.
    init(_ image: MetadataImage, _ config: KafkaConfig) {
        let rack = config.rack
        @Sendable func groupTopic(_ topic: TopicImage) -> GroupTopic {
            let count = topic.partitions.count
            return GroupTopic(
                name: topic.name, id: topic.id, partitionCount: Int32(clamping: count),
                racks: rack.map { Array(repeating: [$0], count: count) } ?? [])
        }
        self.init(
            revision: image.revision,
            topicNamed: { name in image.topic(name).map(groupTopic) },
            topicWithID: { id in image.topic(id: id).map(groupTopic) },
            allNames: { image.topics.map(\.name) })
        let settings = ConsumerGroupSettings(config)
        self.settings = settings
        for group in image.configuredGroups {
            self.settingsOfGroups[group] =
                ConsumerGroupSettings(image.groupConfigs(group), settings).bounded(by: config)
        }
    }
}

extension ConsumerGroupSettings {
    /// What holds for groups for which nothing is set apart.
    init(_ config: KafkaConfig) {
        self.init()
        self.sessionTimeoutMs = Int32(clamping: config.int64("group.consumer.session.timeout.ms"))
        self.heartbeatIntervalMs = Int32(clamping: config.int64("group.consumer.heartbeat.interval.ms"))
        self.assignmentIntervalMs = Int32(clamping: config.int64("group.consumer.assignment.interval.ms"))
        self.offloadsAssignors = config.text("group.consumer.assignor.offload.enable") != "false"
    }
}

extension ChangedTopics {
    init(_ delta: MetadataDelta) {
        let changed = delta.changedTopics.filter { !$0.changedPartitions.isEmpty }.map(\.new)
        self = .these((delta.createdTopics + delta.deletedTopics + changed).map(\.name))
    }
}
