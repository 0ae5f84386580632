import KafkaPrimitives

/// A partition of a topic, by the topic's id.
package struct TopicPartition: Hashable, Sendable {
    package var topicID: KafkaUUID
    package var partition: Int32

    package init(topicID: KafkaUUID, partition: Int32) {
        self.topicID = topicID
        self.partition = partition
    }
}

/// Partitions of several topics. Topics ascend by id, partitions by number; no topic is without partitions.
package struct PartitionSet: Sendable, Hashable {
    package struct Topic: Sendable, Hashable {
        package var topicID: KafkaUUID
        package var partitions: [Int32]
    }

    package private(set) var topics: [Topic] = []

    package init() {}

    /// In any order, with repetitions.
    package init(_ topics: some Sequence<(topicID: KafkaUUID, partitions: [Int32])>) {
        var byID: [KafkaUUID: [Int32]] = [:]
        for topic in topics where !topic.partitions.isEmpty {
            byID[topic.topicID, default: []] += topic.partitions
        }
        self.topics = byID.sorted { $0.key < $1.key }.map { topicID, partitions in
            Topic(topicID: topicID, partitions: partitions.sortedWithoutRepetitions())
        }
    }

    package init(_ topics: [KafkaUUID: [Int32]]) {
        self.init(topics.lazy.map { (topicID: $0.key, partitions: $0.value) })
    }

    package var isEmpty: Bool { self.topics.isEmpty }

    package var count: Int { self.topics.reduce(0) { $0 + $1.partitions.count } }

    /// Empty for a topic of which there is none.
    package func partitions(of topicID: KafkaUUID) -> [Int32] {
        self.topics.firstIndex(ofTopic: topicID, \.topicID).map { self.topics[$0].partitions } ?? []
    }

    package func contains(_ topicID: KafkaUUID, _ partition: Int32) -> Bool {
        guard let index = self.topics.firstIndex(ofTopic: topicID, \.topicID) else { return false }
        return self.topics[index].partitions.firstIndex(ofSorted: partition) != nil
    }

    var sizeInBytes: Int { self.topics.reduce(0) { $0 + 48 + 4 * $1.partitions.count } }
}

/// Partitions that a member has, each with the member epoch by which it was given it (KIP-1251).
package struct HeldPartitions: Sendable, Equatable {
    package struct Topic: Sendable, Equatable {
        package var topicID: KafkaUUID
        /// Ascending.
        package var partitions: [Int32]
        /// As many as partitions.
        package var epochs: [Int32]
    }

    /// Ascending by id; none without partitions.
    package private(set) var topics: [Topic] = []

    package init() {}

    /// All with the same epoch.
    package init(_ partitions: PartitionSet, epoch: Int32) {
        self.topics = partitions.topics.map { topic in
            Topic(
                topicID: topic.topicID, partitions: topic.partitions,
                epochs: Array(repeating: epoch, count: topic.partitions.count))
        }
    }

    /// Of topics in ascending order of their ids, each with its partitions in order.
    init(ascending topics: [Topic]) { self.topics = topics }

    package var isEmpty: Bool { self.topics.isEmpty }

    package var partitions: PartitionSet {
        PartitionSet(self.topics.lazy.map { (topicID: $0.topicID, partitions: $0.partitions) })
    }

    package func topic(_ topicID: KafkaUUID) -> Topic? {
        self.topics.firstIndex(ofTopic: topicID, \.topicID).map { self.topics[$0] }
    }

    /// Nil for a partition that is not among them.
    package func epoch(of topicID: KafkaUUID, _ partition: Int32) -> Int32? {
        guard let index = self.topics.firstIndex(ofTopic: topicID, \.topicID) else { return nil }
        let topic = self.topics[index]
        return topic.partitions.firstIndex(ofSorted: partition).map { topic.epochs[$0] }
    }

    package func contains(_ topicID: KafkaUUID, _ partition: Int32) -> Bool {
        self.epoch(of: topicID, partition) != nil
    }

    /// Both together. What is in both has the epoch of `other`.
    func union(_ other: HeldPartitions) -> HeldPartitions {
        if other.isEmpty { return self }
        if self.isEmpty { return other }
        var byID: [KafkaUUID: [Int32: Int32]] = [:]
        for topic in self.topics + other.topics {
            for (partition, epoch) in zip(topic.partitions, topic.epochs) {
                byID[topic.topicID, default: [:]][partition] = epoch
            }
        }
        return HeldPartitions(
            ascending: byID.sorted { $0.key < $1.key }.map { topicID, epochs in
                let sorted = epochs.sorted { $0.key < $1.key }
                return Topic(topicID: topicID, partitions: sorted.map(\.key), epochs: sorted.map(\.value))
            })
    }

    /// Those of the topics for which `isIncluded` says yes, and the others.
    func split(by isIncluded: (KafkaUUID) -> Bool) -> (included: HeldPartitions, others: HeldPartitions) {
        var included: [Topic] = []
        var others: [Topic] = []
        for topic in self.topics {
            if isIncluded(topic.topicID) { included.append(topic) } else { others.append(topic) }
        }
        return (HeldPartitions(ascending: included), HeldPartitions(ascending: others))
    }

    func visit(_ body: (TopicPartition, Int32) -> Void) {
        for topic in self.topics {
            for (partition, epoch) in zip(topic.partitions, topic.epochs) {
                body(TopicPartition(topicID: topic.topicID, partition: partition), epoch)
            }
        }
    }

    var sizeInBytes: Int { self.topics.reduce(0) { $0 + 56 + 8 * $1.partitions.count } }
}

extension Array where Element: Comparable {
    func firstIndex(ofSorted element: Element) -> Int? {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < element { low = middle + 1 } else { high = middle }
        }
        return low < self.count && self[low] == element ? low : nil
    }

    func sortedWithoutRepetitions() -> [Element] {
        var isSorted = true
        for index in self.indices.dropFirst() where self[index - 1] >= self[index] {
            isSorted = false
            break
        }
        if isSorted { return self }
        var result: [Element] = []
        result.reserveCapacity(self.count)
        for element in self.sorted() where result.last != element { result.append(element) }
        return result
    }
}

extension Array {
    fileprivate func firstIndex(ofTopic topicID: KafkaUUID, _ id: (Element) -> KafkaUUID) -> Int? {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if id(self[middle]) < topicID { low = middle + 1 } else { high = middle }
        }
        return low < self.count && id(self[low]) == topicID ? low : nil
    }
}
