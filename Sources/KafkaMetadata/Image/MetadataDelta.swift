import KafkaPrimitives

/// What differs between two images: what a broker has to act on.
package struct MetadataDelta: Equatable, Sendable {
    package struct TopicChange: Equatable, Sendable {
        package var old: TopicImage
        package var new: TopicImage

        package var configsChanged: Bool { self.old.configs != self.new.configs }
        /// Indexes of partitions that are new or have another registration.
        package var changedPartitions: [Int32] {
            self.new.partitions.indices.filter {
                $0 >= self.old.partitions.count || self.old.partitions[$0] != self.new.partitions[$0]
            }.map { Int32($0) }
        }
    }

    /// In order of name. A topic that was deleted and made anew is in both.
    package var deletedTopics: [TopicImage] = []
    package var createdTopics: [TopicImage] = []
    package var changedTopics: [TopicChange] = []
    package var changedBrokers: Set<Int32> = []
    /// Brokers whose own dynamic configs have changed.
    package var changedBrokerConfigs: Set<Int32> = []
    package var brokerDefaultConfigsChanged = false
    package var featuresChanged = false
    /// Groups whose configs have changed.
    package var changedGroupConfigs: Set<String> = []

    package init() {}

    package var isEmpty: Bool { self == MetadataDelta() }

    /// By looking at all topics of both.
    package init(from old: MetadataImage, to new: MetadataImage) {
        for topic in old.topics where new.topic(id: topic.id) == nil { self.deletedTopics.append(topic) }
        for topic in new.topics {
            if let before = old.topic(id: topic.id) {
                if before != topic { self.changedTopics.append(TopicChange(old: before, new: topic)) }
            } else {
                self.createdTopics.append(topic)
            }
        }
        let brokers = Set(old.brokers.keys).union(new.brokers.keys)
        self.changedBrokers = brokers.filter { old.brokers[$0] != new.brokers[$0] }
        let configured = Set(old.configuredBrokers).union(new.configuredBrokers)
        self.changedBrokerConfigs = configured.filter { old.brokerConfigs($0) != new.brokerConfigs($0) }
        self.brokerDefaultConfigsChanged = old.brokerDefaultConfigs != new.brokerDefaultConfigs
        let groups = Set(old.configuredGroups).union(new.configuredGroups)
        self.changedGroupConfigs = groups.filter { old.groupConfigs($0) != new.groupConfigs($0) }
        self.featuresChanged = old.content.features != new.content.features
        self.sort()
    }

    mutating func sort() {
        self.deletedTopics.sort { $0.name < $1.name }
        self.createdTopics.sort { $0.name < $1.name }
        self.changedTopics.sort { $0.new.name < $1.new.name }
    }
}
