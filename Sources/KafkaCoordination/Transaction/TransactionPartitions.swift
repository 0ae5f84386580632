import KafkaMessages

/// The partitions of a transaction, in order of topic and index.
package struct TransactionPartitions: Hashable, Sendable {
    package struct Topic: Hashable, Sendable {
        package var name: String
        /// Ascending, each once.
        package var partitions: [Int32]

        package init(name: String, partitions: [Int32]) {
            self.name = name
            self.partitions = partitions
        }
    }

    package private(set) var topics: [Topic] = []

    package init() {}

    package init(_ topics: [(name: String, partitions: [Int32])]) {
        for topic in topics {
            for partition in topic.partitions { self.insert(topic.name, partition) }
        }
    }

    package var isEmpty: Bool { self.topics.isEmpty }

    /// Of partitions.
    package var count: Int { self.topics.reduce(0) { $0 + $1.partitions.count } }

    package mutating func insert(_ topic: String, _ partition: Int32) {
        let at = Self.lowerBound(self.topics) { $0.name < topic }
        if at == self.topics.count || self.topics[at].name != topic {
            self.topics.insert(Topic(name: topic, partitions: []), at: at)
        }
        let place = Self.lowerBound(self.topics[at].partitions) { $0 < partition }
        if place == self.topics[at].partitions.count || self.topics[at].partitions[place] != partition {
            self.topics[at].partitions.insert(partition, at: place)
        }
    }

    package mutating func formUnion(_ other: TransactionPartitions) {
        for topic in other.topics {
            for partition in topic.partitions { self.insert(topic.name, partition) }
        }
    }

    package func contains(_ topic: String, _ partition: Int32) -> Bool {
        let at = Self.lowerBound(self.topics) { $0.name < topic }
        guard at < self.topics.count, self.topics[at].name == topic else { return false }
        let partitions = self.topics[at].partitions
        let place = Self.lowerBound(partitions) { $0 < partition }
        return place < partitions.count && partitions[place] == partition
    }

    package func isSubset(of other: TransactionPartitions) -> Bool {
        self.topics.allSatisfy { topic in topic.partitions.allSatisfy { other.contains(topic.name, $0) } }
    }

    private static func lowerBound<Element>(_ elements: [Element], _ isBelow: (Element) -> Bool) -> Int {
        var low = 0
        var high = elements.count
        while low < high {
            let middle = (low + high) / 2
            if isBelow(elements[middle]) { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

extension TransactionPartitions {
    init(_ schemas: [TransactionLogValue.PartitionsSchema]) {
        self.init(schemas.map { ($0.topic, $0.partitionIDs) })
    }

    var schemas: [TransactionLogValue.PartitionsSchema] {
        self.topics.map { topic in
            var schema = TransactionLogValue.PartitionsSchema()
            schema.topic = topic.name
            schema.partitionIDs = topic.partitions
            return schema
        }
    }
}
