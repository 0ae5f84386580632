import KafkaMessages
import KafkaPrimitives

extension InternalTopics {
    /// The topic `name` as it is made when it is first needed: one of Kafka's own with its settings, any other with the
    /// broker's defaults. Kafka's own never have more replicas, nor more in sync, than there are brokers.
    static func creatable(_ name: String, _ context: TopicContext) -> CreateTopicsRequest.CreatableTopic {
        let config = context.config
        var topic = CreateTopicsRequest.CreatableTopic()
        topic.name = name
        func number(_ name: String) -> Int { config.lookup([name]).flatMap { Int($0.value) } ?? 1 }
        func inSync(_ least: Int) -> String { String(min(least, context.brokers.count)) }
        func own(_ partitions: Int32, _ factor: Int, _ configs: [(String, String)]) {
            topic.numPartitions = partitions
            topic.replicationFactor = Int16(clamping: min(factor, context.brokers.count))
            topic.configs = configs.map { name, value in
                var entry = CreateTopicsRequest.CreatableTopicConfig()
                entry.name = name
                entry.value = value
                return entry
            }
        }
        switch name {
        case self.consumerOffsets:
            own(
                config.offsetsTopicNumPartitions, Int(config.offsetsTopicReplicationFactor),
                [
                    ("cleanup.policy", "compact"), ("compression.type", "producer"),
                    ("segment.bytes", String(max(config.offsetsTopicSegmentBytes, 1 << 20))),
                ])
        case self.transactionState:
            own(
                config.transactionStateLogNumPartitions, Int(config.transactionStateLogReplicationFactor),
                [
                    ("cleanup.policy", "compact"), ("compression.type", "uncompressed"),
                    ("min.insync.replicas", inSync(config.transactionStateLogMinISR)),
                    ("segment.bytes", String(max(config.transactionStateLogSegmentBytes, 1 << 20))),
                    ("unclean.leader.election.enable", "false"),
                ])
        case self.shareGroupState:
            let prefix = "share.coordinator.state.topic."
            own(
                Int32(clamping: number(prefix + "num.partitions")), number(prefix + "replication.factor"),
                [
                    ("cleanup.policy", "delete"), ("compression.type", "producer"),
                    ("min.insync.replicas", inSync(number(prefix + "min.isr"))), ("retention.ms", "-1"),
                    ("segment.bytes", String(max(number(prefix + "segment.bytes"), 1 << 20))),
                ])
        default:
            topic.numPartitions = -1
            topic.replicationFactor = -1
        }
        return topic
    }
}
