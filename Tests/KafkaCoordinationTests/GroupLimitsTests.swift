import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaCoordination

/// What hostile or broken clients leave behind in a group: nothing, in the end.
@Suite struct GroupLimitsTests {
    private let coordinator = GroupCoordinator(
        config: {
            var config = GroupCoordinatorConfig()
            config.initialRebalanceDelayMs = 0
            return config
        }(), partitions: 1)

    private func open(at now: CoordinatorTime) {
        _ = self.coordinator.runtime.beginLoading(0, epoch: 0)
        self.coordinator.runtime.finishLoading(
            0, epoch: 0, shard: GroupCoordinatorShard(config: self.coordinator.config), log: InMemoryLog(),
            endOffset: 0, highWatermark: 0, now: now)
    }

    private func join(
        _ group: String, _ number: UInt64, protocols: Int = 1, version: Int16 = 3, now: CoordinatorTime
    ) {
        var request = JoinGroupRequest()
        request.groupID = group
        request.sessionTimeoutMs = 6_000
        request.rebalanceTimeoutMs = 6_000
        request.protocolType = "consumer"
        request.protocols = (0..<protocols).map { number in
            var offered = JoinProtocol()
            offered.name = "p\(number)"
            return offered
        }
        let origin = RequestOrigin(
            apiVersion: version, clientID: "c", clientHost: "/h", randomID: KafkaUUID(high: 0, low: number))
        self.coordinator.perform(.joinGroup(request, origin), on: 0, now: now) { _ in }
    }

    /// A thousand members that join and are not heard of again, over and over.
    @Test func aThousandMembersThatFlap() throws {
        var now = CoordinatorTime(monotonicMs: 0, wallMs: 0)
        self.open(at: now)
        var number: UInt64 = 0
        for round in 0..<10 {
            for _ in 0..<1_000 {
                number += 1
                self.join("g", number, version: round % 2 == 0 ? 3 : 9, now: now)
            }
            let timers = self.coordinator.runtime.timers(of: 0).count
            #expect(timers <= 2_100)
            now.monotonicMs += 700_000
            now.wallMs += 700_000
            for _ in 0..<4 { self.coordinator.advance(now: now) }
        }
        for _ in 0..<10 {
            now.monotonicMs += 700_000
            now.wallMs += 700_000
            self.coordinator.advance(now: now)
        }
        let shard = try #require(self.coordinator.runtime.withShard(0) { $0 })
        if let group = shard.groups["g"] {
            #expect(group.members.isEmpty && group.pendingJoinMembers.isEmpty && group.pendingJoinMembers.bytes == 0)
            #expect(group.heldBytes == 0 && group.awaitingJoinCount == 0 && group.supportedProtocols.isEmpty)
        }
        // The look for what is expired.
        #expect(self.coordinator.runtime.timers(of: 0).count == 1)
    }

    @Test func groupsWithLongNamesAndManyProtocols() throws {
        var now = CoordinatorTime(monotonicMs: 0, wallMs: 0)
        self.open(at: now)
        for number in 0..<50 as Range<UInt64> {
            let name = String(repeating: "n", count: 32_700) + "\(number)"
            self.join(name, number, protocols: number == 0 ? 1_000_000 : 1, version: 9, now: now)
        }
        #expect(self.coordinator.runtime.withShard(0) { $0.groups.count } == 50)
        now.monotonicMs += 700_000
        now.wallMs += 700_000
        self.coordinator.advance(now: now)
        for _ in 0..<100 {
            now.monotonicMs += 20
            self.coordinator.advance(now: now)
        }
        #expect(self.coordinator.runtime.withShard(0) { $0.groups.count } == 0)
        #expect(self.coordinator.runtime.timers(of: 0).count == 1)
    }
}
