import KafkaMessages

extension OffsetCommitRequest {
    /// Of a group without members, for the first partition of a topic.
    init(_ group: String, _ topic: String, offset: Int64) {
        var partition = OffsetCommitRequest.Partition()
        partition.committedOffset = offset
        var asked = OffsetCommitRequest.Topic()
        asked.name = topic
        asked.partitions = [partition]
        self.init()
        self.groupID = group
        self.topics = [asked]
    }
}
