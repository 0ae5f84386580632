import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaMetadata

@Suite struct MetadataImageTests {
    let id1 = KafkaUUID(high: 1, low: 2)
    let id2 = KafkaUUID(high: 3, low: 4)

    private func created(_ name: String, _ id: KafkaUUID, partitions: Int) -> [MetadataTransaction.Change] {
        var changes: [MetadataTransaction.Change] = []
        for index in 0..<partitions {
            changes.append(
                .put(MetadataKeys.partition(id, Int32(index)), PartitionRegistration(replicas: [1]).record.bytes))
        }
        // The topic last: the image must not depend on the order.
        changes.append(.put(MetadataKeys.topic(name), TopicImage.record(id: id, partitions: partitions).bytes))
        return changes
    }

    private func apply(
        _ image: MetadataImage, _ changes: [MetadataTransaction.Change]
    ) -> (MetadataImage, MetadataDelta) {
        let revision = image.revision + 1
        let list: [MetadataChanges.Change] = changes.compactMap { change in
            switch change {
            case .put(let key, let value, _):
                .put(
                    MetadataEntry(key: key, value: value, createRevision: revision, modRevision: revision, version: 1))
            case .delete(let key): .delete(key)
            case .deleteRange: nil
            }
        }
        return image.applying(MetadataChanges(revision: revision, changes: list))
    }

    @Test func topicIsCreatedChangedAndDeleted() throws {
        var (image, delta) = self.apply(.empty, self.created("orders", self.id1, partitions: 2))
        let topic = try #require(image.topic("orders"))
        #expect(image.topic(id: self.id1) === topic)
        #expect(topic.partitions.count == 2 && topic.partitions[1].leader == 1)
        #expect(delta.createdTopics == [topic] && delta.changedTopics.isEmpty && delta.deletedTopics.isEmpty)
        #expect(image.revision == 1 && topic.topicRevision == 1)

        (image, delta) = self.apply(
            image, [.put(MetadataKeys.topicConfig("orders"), MetadataRecord([("retention.ms", "5")]).bytes)])
        #expect(image.topic("orders")?.configs == ["retention.ms": "5"])
        #expect(image.topic("orders")?.configRevision == 2)
        var change = try #require(delta.changedTopics.first)
        #expect(change.configsChanged && change.changedPartitions.isEmpty)

        var moved = PartitionRegistration(replicas: [2, 3], leader: 2, leaderEpoch: 1)
        moved.addingReplicas = [3]
        (image, delta) = self.apply(
            image,
            [
                .put(MetadataKeys.partition(self.id1, 1), moved.record.bytes),
                .put(MetadataKeys.partition(self.id1, 2), PartitionRegistration(replicas: [1]).record.bytes),
            ])
        change = try #require(delta.changedTopics.first)
        #expect(!change.configsChanged && change.changedPartitions == [1, 2])
        #expect(image.topic("orders")?.partitions[1] == moved)
        #expect(image.topic("orders")?.configs == ["retention.ms": "5"])

        let deletion: [MetadataTransaction.Change] =
            [
                .delete(MetadataKeys.topic("orders")), .delete(MetadataKeys.topicConfig("orders")),
            ] + (0..<3).map { .delete(MetadataKeys.partition(self.id1, $0)) }
        (image, delta) = self.apply(image, deletion)
        #expect(image.topicCount == 0 && image.topic("orders") == nil && image.topic(id: self.id1) == nil)
        #expect(delta.deletedTopics.map(\.id) == [self.id1])
        #expect(image.content.orphanPartitions.isEmpty && image.content.orphanConfigs.isEmpty)
    }

    @Test func topicMadeAnewUnderItsNameIsAnother() {
        var (image, delta) = self.apply(.empty, self.created("t", self.id1, partitions: 1))
        (image, delta) = self.apply(image, self.created("t", self.id2, partitions: 3))
        #expect(delta.deletedTopics.map(\.id) == [self.id1] && delta.createdTopics.map(\.id) == [self.id2])
        #expect(image.topic("t")?.partitions.count == 3 && image.topicCount == 1)
        #expect(image.topic(id: self.id1) == nil)
    }

    @Test func partitionsMayComeBeforeTheirTopic() {
        let changes = self.created("t", self.id1, partitions: 4)
        var (image, delta) = self.apply(.empty, Array(changes[..<4]))
        #expect(delta.isEmpty && image.topicCount == 0)
        (image, delta) = self.apply(image, [changes[4]])
        #expect(image.topic("t")?.partitions.count == 4 && image.content.orphanPartitions.isEmpty)
    }

    @Test func untouchedImageStaysAsItWas() {
        let (first, _) = self.apply(.empty, self.created("a", self.id1, partitions: 1))
        let (second, _) = self.apply(first, self.created("b", self.id2, partitions: 1))
        #expect(first.topic("b") == nil && first.topicCount == 1)
        #expect(second.topic("a") === first.topic("a") && second.topicCount == 2)
    }

    @Test func looksUpByBytes() {
        var image = MetadataImage.empty
        for index in 0..<500 {
            (image, _) = self.apply(
                image, self.created("topic-\(index)", KafkaUUID(high: 9, low: UInt64(index)), partitions: 1))
        }
        for index in 0..<500 {
            let name = Array("topic-\(index)".utf8)
            let found = name.withUnsafeBytes { image.topic(utf8: $0) }
            #expect(found?.name == "topic-\(index)")
        }
        #expect(Array("topic-500".utf8).withUnsafeBytes { image.topic(utf8: $0) } == nil)
        #expect(image.topics.count == 500)
    }

    @Test func collidingNamesAreFound() {
        var (image, _) = self.apply(.empty, self.created("a.b_c", self.id1, partitions: 1))
        #expect(image.collision(with: "a_b.c") == "a.b_c" && image.collision(with: "a.b_c") == nil)
        #expect(image.collision(with: "abc") == nil && image.collision(with: "a.b.d") == nil)
        (image, _) = self.apply(image, [.delete(MetadataKeys.topic("a.b_c"))])
        #expect(image.collision(with: "a_b.c") == nil)
    }

    @Test func brokersConfigsAndOddKeys() {
        let broker = BrokerRegistration(
            id: 7, rack: "r1", listeners: [.init(name: "PLAINTEXT", host: "::1", port: 9092)], epoch: 1)
        let (image, delta) = self.apply(
            .empty,
            [
                .put(MetadataKeys.broker(7), broker.record.bytes),
                .put(MetadataKeys.brokerConfig(7), MetadataRecord([("a", "1")]).bytes),
                .put(MetadataKeys.brokerConfig(nil), MetadataRecord([("b", "2")]).bytes),
                .put(MetadataKeys.clusterID, Array("abc".utf8)),
                .put(MetadataKeys.nextProducerID, Array("3000".utf8)),
                .put("partitions/nonsense/1", []), .put("brokers/x", []), .put("later/feature", []),
                .put("topics/broken", Array("id=?".utf8)),
            ])
        #expect(image.brokers == [7: broker])
        #expect(image.brokerConfigs(7) == ["a": "1"] && image.brokerDefaultConfigs == ["b": "2"])
        #expect(image.brokerConfigs(8).isEmpty && image.clusterID == "abc" && image.nextProducerID == 3000)
        #expect(delta.changedBrokers == [7] && delta.changedBrokerConfigs == [7] && delta.brokerDefaultConfigsChanged)
        #expect(image.topicCount == 0)
    }

    @Test(arguments: ["", "plain", "a=b=c", "line\nbreak", "back\\slash", "\r\\n", "ünï"])
    func recordsKeepAnyValue(_ text: String) {
        let record = MetadataRecord([("name", text), (text + "=x", "v"), ("last", "")])
        #expect(MetadataRecord(record.bytes) == record)
    }
}

@Suite struct MetadataManagerTests {
    @Test(arguments: StoreKind.allCases)
    func imageFollowsTheStore(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let id = KafkaUUID(high: 1, low: 1)
            try store.put(MetadataKeys.clusterID, "c")
            let manager = MetadataManager(store: store)
            let told = Mutex<[MetadataDelta]>([])
            manager.addPublisher { _, delta in told.withLock { $0.append(delta) } }
            #expect(try manager.start().clusterID == "c")
            let commit = try store.commitAndWait(
                MetadataTransaction(changes: [
                    .put(MetadataKeys.topic("t"), TopicImage.record(id: id, partitions: 1).bytes),
                    .put(MetadataKeys.partition(id, 0), PartitionRegistration(replicas: [1]).record.bytes),
                ]))
            // Before the completion of the commit the image has it.
            #expect(commit == .committed(revision: manager.image.revision))
            #expect(manager.image.topic("t")?.partitions.count == 1)
            #expect(told.withLock { $0.map { $0.createdTopics.map(\.name) } } == [["t"]])
            // Read anew it is the same.
            let read = try store.readAndWait(.all)
            let fresh = MetadataImage(entries: read.entries, revision: read.revision)
            #expect(MetadataDelta(from: manager.image, to: fresh).isEmpty)
            #expect(MetadataDelta(from: .empty, to: fresh).createdTopics.count == 1)
            #expect(MetadataDelta(from: fresh, to: .empty).deletedTopics.count == 1)
        }
    }
}
