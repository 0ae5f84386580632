import KafkaCoordination
import KafkaPrimitives
import Testing

@testable import KafkaBroker
@testable import KafkaMetadata

/// Configs of groups: their bounds are the broker's, and so is what is not set.
@Suite struct GroupConfigTests {
    private let broker: KafkaConfig

    init() throws { self.broker = try KafkaConfig.load(file: []).config }

    @Test(
        arguments: [
            (["consumer.session.timeout.ms": "50000"], nil),
            (
                ["consumer.session.timeout.ms": "44999"],
                "greater than or equal to group.consumer.min.session.timeout.ms"
            ),
            (["consumer.session.timeout.ms": "60001"], "less than or equal to group.consumer.max.session.timeout.ms"),
            (
                ["consumer.heartbeat.interval.ms": "15001"],
                "less than or equal to group.consumer.max.heartbeat.interval.ms"
            ),
            (["consumer.assignment.interval.ms": "0"], nil),
            (["consumer.assignment.interval.ms": "x"], "consumer.assignment.interval.ms"),
            (["consumer.assignor.offload.enable": "false"], nil),
            (["share.session.timeout.ms": "50000"], "Unknown group config name"),
        ] as [([String: String], String?)])
    func bounds(_ configs: [String: String], _ expected: String?) {
        let refusal = GroupConfigs.refusal(of: configs, broker: self.broker)
        if let expected { #expect(refusal?.contains(expected) == true) } else { #expect(refusal == nil) }
        // What is there already may stay.
        #expect(GroupConfigs.refusal(of: configs, before: configs, broker: self.broker) == nil)
    }

    @Test func whatHolds() throws {
        let described = GroupConfigs.describe(
            overrides: ["consumer.session.timeout.ms": "50000"], names: nil, broker: self.broker)
        #expect(
            described.map { "\($0.name)=\($0.value ?? "") \($0.source)" } == [
                "consumer.assignment.interval.ms=1000 defaultConfig",
                "consumer.assignor.offload.enable=true defaultConfig",
                "consumer.heartbeat.interval.ms=5000 defaultConfig",
                "consumer.session.timeout.ms=50000 dynamicGroupConfig",
            ])
    }

    /// From the metadata to what a group's members are told.
    @Test func imageOfGroups() {
        let record = MetadataRecord([
            (name: "consumer.heartbeat.interval.ms", value: "6000"),
            (name: "consumer.session.timeout.ms", value: "99999"),
        ])
        let entry = MetadataEntry(
            key: MetadataKeys.groupConfig("a/b"), value: record.bytes, createRevision: 1, modRevision: 1, version: 1)
        let (image, delta) = MetadataImage.empty.applying(MetadataChanges(revision: 1, changes: [.put(entry)]))
        #expect(delta.changedGroupConfigs == ["a/b"] && image.configuredGroups == ["a/b"])
        let groups = GroupMetadataImage(image, self.broker)
        #expect(groups.settings(of: "a/b").heartbeatIntervalMs == 6_000)
        // The broker's bounds may have changed since.
        #expect(groups.settings(of: "a/b").sessionTimeoutMs == 60_000)
        #expect(groups.settings(of: "c") == ConsumerGroupSettings())
        let (gone, _) = image.applying(
            MetadataChanges(revision: 2, changes: [.delete(MetadataKeys.groupConfig("a/b"))]))
        #expect(gone.configuredGroups.isEmpty)
    }
}
