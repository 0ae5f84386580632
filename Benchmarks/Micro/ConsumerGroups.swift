import KafkaCoordination
import KafkaMessages
import KafkaPrimitives
import Synchronization

// Heartbeats of KIP-848 members through the coordinator's runtime and its shard: of a group in which nothing changes.

extension Comparison {
    func consumerGroups() {
        self.heading("Consumer groups (KIP-848)", rows: ["heartbeat"])
        for members in [1, 100, 1000] { self.consumerHeartbeats(members: members) }
    }

    private func consumerHeartbeats(members: Int) {
        let title = "heartbeat of KIP-848, a group of \(members), as many partitions"
        guard self.isWanted(title) else { return }
        let group = SettledGroup(members: members)
        var table: [String: [String: Int64]] = [SettledGroup.name: [:]]
        for request in group.heartbeats { table[SettledGroup.name]?[request.memberID] = 0 }
        self.row(title, bare: "two look-ups of a String, one store") { times in
            for index in 0..<times { group.perform(group.heartbeats[index % members]) }
            use(group.answered)
        } bare: { times in
            for index in 0..<times {
                table[SettledGroup.name]?[group.heartbeats[index % members].memberID] = Int64(index)
            }
        }
    }
}

/// A group whose members have what they should have.
private final class SettledGroup {
    static let name = "the-consumers-of-orders"

    private final class Inbox: Sendable {
        let answered = Atomic<Int>(0)
        let isSettled = Atomic<Bool>(false)
        let last = Mutex<ConsumerGroupHeartbeatResponse?>(nil)
        let work = Mutex<[(work: GroupWork, epoch: Int32)]>([])
    }

    private let coordinator: GroupCoordinator
    private let inbox = Inbox()
    private var now = CoordinatorTime(monotonicMs: 0, wallMs: 1_000_000)
    /// What each member sends from now on.
    private(set) var heartbeats: [ConsumerGroupHeartbeatRequest] = []

    init(members: Int) {
        self.coordinator = GroupCoordinator(
            config: GroupCoordinatorConfig(), partitions: 1,
            carryOut: { [inbox] work, _, epoch in inbox.work.withLock { $0.append((work, epoch)) } })
        let topic = GroupTopic(
            name: "orders", id: KafkaUUID(high: 1, low: 2), partitionCount: Int32(members))
        let log = MemoryLog()
        _ = self.coordinator.runtime.beginLoading(0, epoch: 0)
        self.coordinator.runtime.finishLoading(
            0, epoch: 0,
            shard: self.coordinator.makeLoader().shard.knowing(GroupMetadataImage(revision: 0, topics: [topic])),
            log: log, endOffset: 0, highWatermark: 0, now: self.now)
        self.heartbeats = (0..<members).map { index in
            var request = ConsumerGroupHeartbeatRequest()
            request.groupID = Self.name
            request.memberID = "consumer-of-orders-\(index)-0000-4000-8000"
            request.rebalanceTimeoutMs = 300_000
            request.subscribedTopicNames = ["orders"]
            request.topicPartitions = []
            return request
        }
        self.settle()
        for index in self.heartbeats.indices {
            self.heartbeats[index].rebalanceTimeoutMs = -1
            self.heartbeats[index].subscribedTopicNames = nil
            self.heartbeats[index].topicPartitions = nil
        }
    }

    var answered: Int { self.inbox.answered.load(ordering: .relaxed) }

    func perform(_ request: ConsumerGroupHeartbeatRequest) {
        let origin = RequestOrigin(
            apiVersion: 1, clientID: "bench", clientHost: "/127.0.0.1", randomID: KafkaUUID(high: 1, low: 1))
        self.coordinator.perform(.consumerGroupHeartbeat(request, origin), for: Self.name, now: self.now) {
            [inbox] reply in
            guard case .consumerGroupHeartbeat(let response) = reply, response.errorCode == .none else {
                fatalError("\(reply)")
            }
            inbox.answered.add(1, ordering: .relaxed)
            if !inbox.isSettled.load(ordering: .relaxed) { inbox.last.withLock { $0 = response } }
        }
    }

    /// Rounds of heartbeats, until one in which nothing new is said.
    private func settle() {
        while true {
            var isNew = false
            for index in self.heartbeats.indices {
                self.inbox.last.withLock { $0 = nil }
                self.perform(self.heartbeats[index])
                guard let answer = self.inbox.last.withLock({ $0 }) else { fatalError("no answer") }
                isNew = isNew || answer.memberEpoch != self.heartbeats[index].memberEpoch || answer.assignment != nil
                self.heartbeats[index].memberEpoch = answer.memberEpoch
                self.heartbeats[index].rebalanceTimeoutMs = -1
                self.heartbeats[index].subscribedTopicNames = nil
                self.heartbeats[index].topicPartitions = answer.assignment.map { assignment in
                    assignment.topicPartitions.map { topic in
                        var owned = ConsumerGroupHeartbeatRequest.TopicPartitions()
                        owned.topicID = topic.topicID
                        owned.partitions = topic.partitions
                        return owned
                    }
                }
                self.doWork()
            }
            self.now.monotonicMs += 1_500
            self.coordinator.advance(now: self.now)
            self.doWork()
            if !isNew { return self.inbox.isSettled.store(true, ordering: .relaxed) }
        }
    }

    private func doWork() {
        let waiting = self.inbox.work.withLock { all in
            defer { all = [] }
            return all
        }
        for (work, epoch) in waiting {
            self.coordinator.runtime.workDone(work.run(), on: 0, epoch: epoch, now: self.now)
        }
    }
}

/// Takes what comes and keeps nothing.
private final class MemoryLog: CoordinatorLog {
    private let end = Mutex<Int64>(0)
    let maxBatchBytes = 1_048_588

    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
        self.end.withLock { end in
            let first = end
            end += Int64(recordCount)
            return .appended(CoordinatorAppend(firstOffset: first, endOffset: end, highWatermark: end))
        }
    }
}
