import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaCoordination

@Suite struct ConsumerGroupTests {
    /// A partition is never two members', what is stored is what is there, and once faults end everything is owned.
    @Test(arguments: 0..<40) func clientsOfBothProtocols(_ seed: UInt64) {
        var clients = ConsumerGroupClients(seed: seed)
        for step in 0..<400 where clients.problems.isEmpty {
            clients.step()
            if step % 10 == 0 { clients.compareWithLoaded() }
        }
        clients.settle()
        clients.compareWithLoaded()
        #expect(clients.problems.isEmpty)
    }

    /// What other implementations say, of every length for which the algorithm differs.
    @Test(
        arguments: [
            (0, 0x2d06_8005_38d3_94c2), (1, 0x13e6_08bc_156d_efed), (3, 0xa908_8dda_485b_481c),
            (4, 0x6d92_53b1_6c8b_1ed3), (8, 0x6053_9db6_3047_1163), (9, 0xfeff_6683_61d7_23a8),
            (16, 0xb8c8_59b0_f030_b585), (17, 0x714a_0440_8e79_b80f), (64, 0x287e_b1fa_9e4b_e2c1),
            (128, 0x6742_5a03_6502_61bf), (129, 0xc664_bf33_11c6_abc4), (200, 0x746c_d002_5327_bf5b),
            (240, 0x6455_6dc6_b462_a6cf), (241, 0x8bea_dd3a_8874_fe17), (300, 0xfd9a_a0f0_d62e_0227),
            (1024, 0x9b81_661c_641c_72b1), (1025, 0x806c_2072_ed71_3576), (3000, 0xc891_78bb_873c_6b3d),
        ] as [(Int, UInt64)])
    func xxh3(_ count: Int, _ expected: UInt64) {
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7 + 3) }
        #expect(bytes.withUnsafeBytes { XXH3.hash($0) } == expected)
    }

    /// From a group's record that Kafka 4.3 wrote (Tests/Vectors/kafka-folders): another hash would give an adopted group
    /// a new epoch, whose members are gone.
    @Test func metadataHashIsKafkas() throws {
        let id = try #require(KafkaUUID("xgkkLrtfQOmY-PUxdIBfKw"))
        let topic = GroupTopic(name: "orders", id: id, partitionCount: 3)
        let image = GroupMetadataImage(revision: 1, topics: [topic])
        #expect(MetadataHash.hash(of: ["orders", "not there"], in: image) == -9_169_583_966_468_555_080)
    }

    @Test func metadataHashTellsTopicsApart() {
        func hash(_ topics: [GroupTopic], _ names: Set<String> = ["a", "b"]) -> Int64 {
            MetadataHash.hash(of: names, in: GroupMetadataImage(revision: 1, topics: topics))
        }
        let a = GroupTopic(name: "a", id: KafkaUUID(high: 1, low: 1), partitionCount: 2)
        let b = GroupTopic(name: "b", id: KafkaUUID(high: 1, low: 2), partitionCount: 1)
        #expect(hash([]) == 0)
        #expect(hash([a, b]) == hash([b, a]))
        #expect(hash([a]) != hash([a, b]))
        #expect(hash([a, b], ["a"]) == hash([a]))
        var grown = a
        grown.partitionCount = 3
        var anew = a
        anew.id = KafkaUUID(high: 2, low: 1)
        var moved = a
        moved.racks = [["r"], ["r"]]
        #expect(Set([a, grown, anew, moved].map { hash([$0]) }).count == 4)
    }

    /// A record that Kafka 4.0 left, with the topics instead of their hash: it goes with the next change.
    @Test func partitionMetadataOfOlderKafkas() {
        var shard = GroupCoordinatorShard(config: GroupCoordinatorConfig())
        var offset: Int64 = 0
        func replay(_ record: CoordinatorRecord) {
            let isUsed = shard.replay(record, offset: offset, producerID: nil)
            #expect(isUsed)
            offset += 1
        }
        var member = ConsumerGroupMember(memberID: "m")
        member.subscribedTopics = ["t"]
        replay(ConsumerGroupRecords.member("g", member))
        var key = ConsumerGroupPartitionMetadataKey()
        key.groupID = "g"
        replay(
            CoordinatorRecord(
                key: GroupRecords.encode(key, type: 4, version: 0),
                value: GroupRecords.encode(ConsumerGroupPartitionMetadataValue(), type: 0, version: 0)))
        replay(ConsumerGroupRecords.group("g", epoch: 5, metadataHash: 0))
        #expect(shard.consumerGroups["g"]?.hasPartitionMetadata == true)
        var request = ConsumerGroupHeartbeatRequest()
        request.groupID = "g"
        request.memberID = "m"
        request.memberEpoch = -1
        var effects = GroupEffects()
        let origin = RequestOrigin(apiVersion: 1, clientID: "c", clientHost: "h", randomID: .zero)
        shard.decide(
            .consumerGroupHeartbeat(request, origin), ticket: 1, now: CoordinatorTime(monotonicMs: 0, wallMs: 0),
            effects: &effects)
        for record in effects.records { replay(record) }
        #expect(shard.consumerGroups["g"]?.hasPartitionMetadata == false)
        #expect(shard.consumerGroups["g"]?.epoch == 6)
    }
}
