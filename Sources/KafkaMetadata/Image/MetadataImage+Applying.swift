import KafkaPrimitives

extension MetadataImage {
    /// The image after `changes` of the revision that follows, and what differs.
    package func applying(_ changes: MetadataChanges) -> (MetadataImage, MetadataDelta) {
        var application = MetadataApplication(image: self)
        let parsed = changes.changes.map { (ParsedMetadataKey($0.key), $0) }
        // Topics before their parts, whatever the order of the changes.
        for (key, change) in parsed {
            if case .topic(let name) = key { application.topic(name, change) }
        }
        for (key, change) in parsed { application.part(key, change) }
        return application.finish(revision: changes.revision)
    }
}

private struct MetadataApplication {
    private struct Builder {
        var old: TopicImage?
        var name: String
        var id: KafkaUUID
        var partitions: [Int32: PartitionRegistration]
        var configs: [String: String]
        var topicRevision: Int64
        var configRevision: Int64
    }

    private let image: MetadataImage
    private var content: MetadataImage.Content
    private var delta = MetadataDelta()
    private var builders: [Builder] = []
    private var buildersByName: [String: Int] = [:]
    private var buildersByID: [KafkaUUID: Int] = [:]
    /// Partitions come topic by topic.
    private var lastBuilder: (id: KafkaUUID, index: Int)?
    /// Most partitions of a topic are registered alike: read once, and once in memory.
    private var lastRegistration: (value: [UInt8], registration: PartitionRegistration)?

    init(image: MetadataImage) {
        self.image = image
        self.content = image.content
    }

    mutating func topic(_ name: String, _ change: MetadataChanges.Change) {
        let old = self.image.topic(name)
        guard case .put(let entry) = change, let id = MetadataRecord(entry.value)["id"].flatMap({ KafkaUUID($0) })
        else {
            if let old { self.remove(old) }
            return
        }
        if let old, old.id == id {
            self.builders[self.edit(old)].topicRevision = entry.modRevision
            return
        }
        if let old { self.remove(old) }
        let configs = self.content.orphanConfigs.removeValue(forKey: name)
        self.add(
            Builder(
                old: nil, name: name, id: id,
                partitions: self.content.orphanPartitions.removeValue(forKey: id) ?? [:],
                configs: configs?.configs ?? [:], topicRevision: entry.modRevision,
                configRevision: configs?.revision ?? 0))
    }

    @discardableResult private mutating func add(_ builder: Builder) -> Int {
        let index = self.builders.count
        self.builders.append(builder)
        self.buildersByName[builder.name] = index
        self.buildersByID[builder.id] = index
        return index
    }

    private mutating func builder(ofID id: KafkaUUID) -> Int? {
        if let last = self.lastBuilder, last.id == id { return last.index }
        var index = self.buildersByID[id]
        if index == nil, let topic = self.content.topicsByID[id] { index = self.edit(topic) }
        if let index { self.lastBuilder = (id, index) }
        return index
    }

    private mutating func remove(_ topic: TopicImage) {
        self.delta.deletedTopics.append(topic)
        self.content.topicsByID[topic.id] = nil
        self.setNamed(topic.name, nil)
    }

    private mutating func setNamed(_ name: String, _ topic: TopicImage?) {
        let hash = nameHash(name)
        var list = (self.content.topicsByName[hash] ?? []).filter { $0.name != name }
        if let topic { list.append(topic) }
        self.content.topicsByName[hash] = list.isEmpty ? nil : list
        guard let key = collisionKey(name) else { return }
        let keyHash = nameHash(key)
        var names = (self.content.collidingNames[keyHash] ?? []).filter { $0 != name }
        if topic != nil { names.append(name) }
        self.content.collidingNames[keyHash] = names.isEmpty ? nil : names
    }

    @discardableResult private mutating func edit(_ topic: TopicImage) -> Int {
        if let index = self.buildersByName[topic.name] { return index }
        var partitions: [Int32: PartitionRegistration] = [:]
        for (index, partition) in topic.partitions.enumerated() { partitions[Int32(index)] = partition }
        return self.add(
            Builder(
                old: topic, name: topic.name, id: topic.id, partitions: partitions, configs: topic.configs,
                topicRevision: topic.topicRevision, configRevision: topic.configRevision))
    }

    mutating func part(_ key: ParsedMetadataKey, _ change: MetadataChanges.Change) {
        var entry: MetadataEntry?
        if case .put(let put) = change { entry = put }
        switch key {
        case .partition(let id, let index): self.partition(id, index, entry)
        case .topicConfig(let name): self.topicConfig(name, entry)
        case .brokerConfig(let id?):
            self.content.brokerConfigs[id] = entry.map { Self.configs($0) }
            self.content.brokerConfigRevisions[id] = entry?.modRevision
            self.delta.changedBrokerConfigs.insert(id)
        case .brokerConfig(nil):
            self.content.brokerDefaultConfigs = entry.map { Self.configs($0) } ?? [:]
            self.content.brokerDefaultConfigRevision = entry?.modRevision ?? 0
            self.delta.brokerDefaultConfigsChanged = true
        case .broker(let id):
            self.content.brokers[id] = entry.map {
                BrokerRegistration(id: id, record: MetadataRecord($0.value), epoch: $0.createRevision)
            }
            self.delta.changedBrokers.insert(id)
        case .clusterID: self.content.clusterID = entry.map { String(decoding: $0.value, as: UTF8.self) }
        case .nextProducerID:
            self.content.nextProducerID = entry.flatMap { Int64(String(decoding: $0.value, as: UTF8.self)) } ?? 0
        case .groupConfig(let group):
            self.content.groupConfigs[group] = entry.map { (Self.configs($0), $0.modRevision) }
            self.delta.changedGroupConfigs.insert(group)
        case .feature(let name):
            self.content.features[name] = entry.flatMap { entry in
                MetadataRecord(entry.value)["level"].flatMap { Int16($0) }.map {
                    FeatureLevel(level: $0, revision: entry.modRevision)
                }
            }
            self.delta.featuresChanged = true
        case .topic, .unknown: break
        }
    }

    private static func configs(_ entry: MetadataEntry) -> [String: String] {
        Dictionary(MetadataRecord(entry.value).fields.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    }

    private mutating func partition(_ id: KafkaUUID, _ index: Int32, _ entry: MetadataEntry?) {
        let registration = entry.map { self.registration($0.value) }
        if let builder = self.builder(ofID: id) {
            self.builders[builder].partitions[index] = registration
        } else {
            self.content.orphanPartitions[id, default: [:]][index] = registration
            if self.content.orphanPartitions[id]?.isEmpty == true { self.content.orphanPartitions[id] = nil }
        }
    }

    private mutating func registration(_ value: [UInt8]) -> PartitionRegistration {
        if let last = self.lastRegistration, last.value == value { return last.registration }
        let registration = PartitionRegistration(record: MetadataRecord(value))
        self.lastRegistration = (value, registration)
        return registration
    }

    private mutating func topicConfig(_ name: String, _ entry: MetadataEntry?) {
        let configs = entry.map { Self.configs($0) }
        if self.buildersByName[name] == nil, let topic = self.image.topic(name),
            self.content.topicsByID[topic.id] != nil
        {
            self.edit(topic)
        }
        if let builder = self.buildersByName[name] {
            self.builders[builder].configs = configs ?? [:]
            self.builders[builder].configRevision = entry?.modRevision ?? 0
        } else {
            self.content.orphanConfigs[name] = configs.map { ($0, entry?.modRevision ?? 0) }
        }
    }

    mutating func finish(revision: Int64) -> (MetadataImage, MetadataDelta) {
        for (index, builder) in self.builders.enumerated() where self.buildersByName[builder.name] == index {
            var partitions: [PartitionRegistration] = []
            partitions.reserveCapacity(builder.partitions.count)
            while let next = builder.partitions[Int32(partitions.count)] { partitions.append(next) }
            let topic = TopicImage(
                name: builder.name, id: builder.id, partitions: partitions, configs: builder.configs,
                topicRevision: builder.topicRevision, configRevision: builder.configRevision)
            self.content.topicsByID[topic.id] = topic
            self.setNamed(topic.name, topic)
            if let old = builder.old {
                if old != topic { self.delta.changedTopics.append(.init(old: old, new: topic)) }
            } else {
                self.delta.createdTopics.append(topic)
            }
        }
        self.delta.sort()
        return (MetadataImage(revision: revision, content: self.content), self.delta)
    }
}
