import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives

/// A program that stores an offset in a group without members, deletes the group, and begins anew: tombstones.
final class ShortLivedGroup {
    let group: String
    /// When it last saw what it should.
    private(set) var lastLook: Int64 = -1
    private let world: World
    private let broker: SimulatedBroker
    private let connection: Connection
    private var offset: Int64 = 0

    init(_ world: World, _ broker: SimulatedBroker, group: String) {
        self.world = world
        self.broker = broker
        self.connection = Connection(world, broker)
        self.group = group
    }

    private func send(
        _ request: GroupCoordinatorShard.Request, _ answer: @escaping (GroupCoordinatorShard.Reply?) throws -> Void
    ) {
        let (broker, group) = (self.broker, self.group)
        self.connection.send({ broker.perform(request, for: group, respond: $0) }, answer: answer)
    }

    func commit() {
        self.offset += 1
        var request = OffsetCommitRequest()
        request.groupID = self.group
        var topic = OffsetCommitRequest.Topic()
        topic.name = "orders"
        var partition = OffsetCommitRequest.Partition()
        partition.committedOffset = self.offset
        topic.partitions = [partition]
        request.topics = [topic]
        self.send(.offsetCommit(request, apiVersion: 8)) { reply in
            guard case .offsetCommit(let response) = reply,
                response.topics.first?.partitions.first?.errorCode == ErrorCode.none
            else { return self.world.after(200) { self.commit() } }
            self.look(expected: self.offset) { self.delete() }
        }
    }

    private func delete() {
        self.send(.deleteGroups([self.group])) { reply in
            // Not found: an earlier request has come through, whose answer was lost.
            guard case .deleteGroups(let response) = reply, let error = response.first?.errorCode,
                error == .none || error == .groupIDNotFound
            else { return self.world.after(200) { self.delete() } }
            self.look(expected: -1) { self.commit() }
        }
    }

    private func look(expected: Int64, _ then: @escaping () -> Void) {
        var request = OffsetFetchRequest.Group()
        request.groupID = self.group
        var topic = OffsetFetchRequest.Topics()
        topic.name = "orders"
        topic.partitionIndexes = [0]
        request.topics = [topic]
        self.send(.offsetFetch(request, requireStable: true)) { reply in
            guard case .offsetFetch(let response) = reply, response.errorCode == .none,
                let partition = response.topics.first?.partitions.first, partition.errorCode == .none
            else { return self.world.after(200) { self.look(expected: expected, then) } }
            if partition.committedOffset != expected {
                throw Violation("\(self.group): offset \(partition.committedOffset), not \(expected)")
            }
            self.lastLook = self.world.now
            self.world.after(Int64(self.world.random.below(1000)), then)
        }
    }
}
