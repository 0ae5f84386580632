/// The logs of a broker, each with the index of its data folder: by topic first, so that a start, which goes topic by
/// topic, hashes a name once and not once a partition.
struct LogTable: Sendable {
    typealias Entry = (log: PartitionLog, directory: Int)
    private var topics: [String: [Int32: Entry]] = [:]
    private(set) var count = 0

    subscript(partition: TopicPartition) -> Entry? {
        get { self.topics[partition.topic]?[partition.partition] }
        set {
            guard let newValue else {
                self.removeValue(forKey: partition)
                return
            }
            let old = self.topics[partition.topic, default: [:]].updateValue(newValue, forKey: partition.partition)
            if old == nil { self.count += 1 }
        }
    }

    @discardableResult mutating func removeValue(forKey partition: TopicPartition) -> Entry? {
        guard let removed = self.topics[partition.topic]?.removeValue(forKey: partition.partition) else { return nil }
        self.count -= 1
        if self.topics[partition.topic]?.isEmpty == true { self.topics[partition.topic] = nil }
        return removed
    }

    /// Those of one topic, by partition.
    func logs(ofTopic topic: String) -> [Int32: Entry] { self.topics[topic] ?? [:] }

    /// Takes logs of one topic in.
    mutating func add(_ logs: [PartitionLog], ofTopic topic: String, in directory: Int, expecting count: Int) {
        var entries = self.topics.removeValue(forKey: topic) ?? [:]
        self.count -= entries.count
        entries.reserveCapacity(count)
        for log in logs { entries[log.topicPartition.partition] = (log, directory) }
        self.count += entries.count
        if !entries.isEmpty { self.topics[topic] = entries }
    }

    /// Topic by topic.
    var values: some Sequence<Entry> { self.topics.values.lazy.flatMap(\.values) }
}
