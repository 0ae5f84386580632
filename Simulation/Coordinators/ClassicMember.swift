import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives

/// A consumer with the classic protocol: joins, is told its partitions, reads on from the committed offsets, and commits.
/// It may leave, die without a word, or stop for a while and go on as if nothing had happened.
final class ClassicMember: @unchecked Sendable {
    enum State { case joining, syncing, fetching, stable, paused, gone }

    static let sessionTimeoutMs: Int32 = 6000

    let group: String
    let name: String
    let instanceID: String?
    /// What the group reads.
    let topic: String
    let partitions: Int32
    /// What a member does between two heartbeats, in the place of committing where it has read to; it ends by `goOn`,
    /// `readOn` or `failed`.
    var work: ((ClassicMember) throws -> Void)?
    private let process: SimulatedProcess
    private let world: World
    private let broker: SimulatedBroker
    private let ledger: Ledger
    private let connection: Connection
    private(set) var state = State.joining
    private(set) var memberID = ""
    private(set) var generation: Int32 = -1
    private(set) var owned: [Int32] = []
    var positions: [Int32: Int64] = [:]
    /// When it last committed with success.
    var lastCommit: Int64 = -1
    private var beat = 0
    /// Whether the coordinator had not loaded the group yet when it carried out what was asked last.
    private var isAnsweredBlindly = false

    init(
        _ process: SimulatedProcess, _ broker: SimulatedBroker, _ ledger: Ledger, group: String, name: String,
        instanceID: String?, topic: String, partitions: Int32
    ) {
        let world = process.world
        self.process = process
        self.topic = topic
        self.partitions = partitions
        self.world = world
        self.broker = broker
        self.ledger = ledger
        self.connection = Connection(world, broker)
        self.group = group
        self.name = name
        self.instanceID = instanceID
    }

    private func note(_ what: @autoclosure () -> String) { self.world.note("\(self.group)/\(self.name): \(what())") }

    private func send(
        isPatient: Bool = false, _ request: GroupCoordinatorShard.Request,
        _ answer: @escaping (GroupCoordinatorShard.Reply?) throws -> Void
    ) {
        let (broker, group, ledger, instanceID) = (self.broker, self.group, self.ledger, self.instanceID)
        self.connection.send(
            isPatient: isPatient,
            { respond in
                self.isAnsweredBlindly = !broker.hasLoaded(group)
                broker.perform(request, for: group) { reply in
                    // When it leaves the broker: answers of two members may arrive in another order.
                    if case .joinGroup(let response) = reply, response.errorCode == .none, let instanceID,
                        !broker.disk.isStopped
                    {
                        ledger.joined(group, instance: instanceID, member: response.memberID, life: broker.life)
                    }
                    respond(reply)
                }
            },
            answer: { reply in
                try self.process.run {
                    if self.state == .gone || self.state == .paused { return }
                    try answer(reply)
                }
            })
    }

    private func again(_ action: @escaping () -> Void) {
        self.process.after(Int64(50 + self.world.random.below(200))) {
            if self.state != .gone && self.state != .paused { action() }
        }
    }

    // MARK: Joining

    func join() {
        self.state = .joining
        self.owned = []
        self.beat += 1
        var request = JoinGroupRequest()
        request.groupID = self.group
        request.memberID = self.memberID
        request.groupInstanceID = self.instanceID
        request.sessionTimeoutMs = Self.sessionTimeoutMs
        request.rebalanceTimeoutMs = 8000
        request.protocolType = "consumer"
        var one = JoinGroupRequest.RequestProtocol()
        one.name = "simulated"
        one.metadata = Array(self.name.utf8)
        request.protocols = [one]
        let origin = RequestOrigin(
            apiVersion: 9, clientID: self.name, clientHost: "/127.0.0.1", randomID: self.world.uuid())
        self.send(isPatient: true, .joinGroup(request, origin)) { reply in
            guard case .joinGroup(let response) = reply else { return self.again(self.join) }
            self.note("join: \(response.errorCode.name) \(response.generationID) \(response.memberID)")
            switch response.errorCode {
            case .none: try self.joined(response)
            case .memberIDRequired:
                self.memberID = response.memberID
                self.join()
            default: self.failed(response.errorCode)
            }
        }
    }

    private func joined(_ response: JoinGroupResponse) throws {
        self.memberID = response.memberID
        self.generation = response.generationID
        self.state = .syncing
        var request = SyncGroupRequest()
        request.groupID = self.group
        request.generationID = self.generation
        request.memberID = self.memberID
        request.groupInstanceID = self.instanceID
        if response.leader == self.memberID && !response.members.isEmpty {
            let members = response.members.map(\.memberID).sorted()
            guard members.contains(self.memberID) else { throw Violation("\(self.name) leads without being a member") }
            request.assignments = members.enumerated().map { index, member in
                var assignment = SyncGroupRequest.Assignment()
                assignment.memberID = member
                assignment.assignment = (0..<UInt8(self.partitions)).filter { Int($0) % members.count == index }
                return assignment
            }
        }
        self.send(.syncGroup(request)) { reply in
            guard case .syncGroup(let response) = reply else { return self.again(self.join) }
            self.note("sync: \(response.errorCode.name) \(response.assignment)")
            guard response.errorCode == .none else { return self.failed(response.errorCode) }
            self.owned = response.assignment.map(Int32.init)
            self.ledger.stored(self.group, instance: self.instanceID, member: self.memberID)
            try self.ledger.assigned(self.group, self.generation, self.instanceID ?? self.memberID, self.owned)
            self.readOn()
        }
    }

    func failed(_ error: ErrorCode) {
        switch error {
        case .unknownMemberID, .illegalGeneration:
            if error == .unknownMemberID { self.memberID = "" }
            self.generation = -1
            self.join()
        case .fencedInstanceID:
            self.note("fenced")
            self.state = .gone
        default: self.again(self.join)
        }
    }

    // MARK: Reading and committing

    /// From what is committed.
    func readOn() {
        self.state = .fetching
        var request = OffsetFetchRequest.Group()
        request.groupID = self.group
        var topic = OffsetFetchRequest.Topics()
        topic.name = self.topic
        topic.partitionIndexes = self.owned
        request.topics = [topic]
        let floors = self.owned.map { self.ledger.acknowledged(self.group, $0) }
        let owned = self.owned
        self.send(.offsetFetch(request, requireStable: true)) { reply in
            guard case .offsetFetch(let response) = reply, response.errorCode == .none else {
                return self.again(self.readOn)
            }
            if response.topics.contains(where: { $0.partitions.contains { $0.errorCode == .unstableOffsetCommit } }) {
                return self.again(self.readOn)
            }
            for partition in response.topics.flatMap(\.partitions) {
                guard let index = owned.firstIndex(of: partition.partitionIndex), partition.errorCode == .none else {
                    continue
                }
                try self.ledger.fetched(
                    self.group, partition.partitionIndex, partition.committedOffset, floor: floors[index])
                self.positions[partition.partitionIndex] = max(partition.committedOffset, 0)
            }
            self.state = .stable
            self.beat += 1
            self.heartbeat(self.beat)
        }
    }

    /// The work is done, for now.
    func goOn() {
        self.state = .stable
        self.beat += 1
        self.heartbeat(self.beat)
    }

    private func heartbeat(_ beat: Int) {
        self.process.after(Int64(500 + self.world.random.below(1000))) {
            guard self.beat == beat, self.state == .stable else { return }
            var request = HeartbeatRequest()
            request.groupID = self.group
            request.memberID = self.memberID
            request.generationID = self.generation
            request.groupInstanceID = self.instanceID
            let holder = self.ledger.holder(self.group, instance: self.instanceID, life: self.broker.life)
            self.send(.heartbeat(request)) { reply in
                guard case .heartbeat(let response) = reply else { return self.heartbeat(beat) }
                if response.errorCode != .none || self.instanceID != nil {
                    self.note("heartbeat: \(response.errorCode.name)")
                }
                switch response.errorCode {
                case .none:
                    // While it loads a coordinator says yes to everybody, as Kafka's does.
                    if let holder, holder != self.memberID, !self.isAnsweredBlindly {
                        throw Violation("\(self.memberID) is alive although \(holder) has taken its place")
                    }
                    if let work = self.work { try work(self) } else { self.commit(beat) }
                case .rebalanceInProgress: self.join()
                case .coordinatorLoadInProgress, .notCoordinator, .coordinatorNotAvailable: self.heartbeat(beat)
                default: self.failed(response.errorCode)
                }
            }
        }
    }

    private func commit(_ beat: Int) {
        var request = OffsetCommitRequest()
        request.groupID = self.group
        request.memberID = self.memberID
        request.generationIDOrMemberEpoch = self.generation
        request.groupInstanceID = self.instanceID
        var topic = OffsetCommitRequest.Topic()
        topic.name = self.topic
        for partition in self.owned {
            self.positions[partition, default: 0] += Int64(1 + self.world.random.below(5))
            var one = OffsetCommitRequest.Partition()
            one.partitionIndex = partition
            one.committedOffset = self.positions[partition] ?? 0
            topic.partitions.append(one)
            self.ledger.sends(self.group, partition, one.committedOffset)
        }
        request.topics = [topic]
        let (generation, latest) = (self.generation, self.ledger.generation(self.group))
        let positions = self.positions
        self.send(.offsetCommit(request, apiVersion: 8)) { reply in
            guard case .offsetCommit(let response) = reply else { return self.heartbeat(beat) }
            for partition in response.topics.flatMap(\.partitions) {
                switch partition.errorCode {
                case .none:
                    try self.ledger.committed(
                        self.group, partition.partitionIndex, positions[partition.partitionIndex] ?? 0,
                        generation: generation, latest: latest)
                case .unknownMemberID, .illegalGeneration, .fencedInstanceID:
                    self.note("commit: \(partition.errorCode.name)")
                    return self.failed(partition.errorCode)
                case .rebalanceInProgress: return self.join()
                default: return self.heartbeat(beat)
                }
            }
            self.lastCommit = self.world.now
            self.heartbeat(beat)
        }
    }

    // MARK: Misfortunes

    /// Without a word.
    func die() {
        self.note("dies")
        self.process.die()
        self.state = .gone
        self.connection.forget()
    }

    func leave() {
        self.note("leaves")
        var request = LeaveGroupRequest()
        request.groupID = self.group
        var identity = LeaveGroupRequest.MemberIdentity()
        identity.memberID = self.memberID
        identity.groupInstanceID = self.instanceID
        request.members = [identity]
        self.connection.forget()
        self.send(.leaveGroup(request)) { _ in }
        self.state = .gone
    }

    /// Stops, and goes on with a commit of what it has read before.
    func pause(forMs duration: Int64) {
        guard self.state == .stable else { return }
        self.note("stops for \(duration) ms")
        self.state = .paused
        self.connection.forget()
        self.world.after(duration) {
            guard self.state == .paused else { return }
            self.note("goes on")
            self.state = .stable
            self.beat += 1
            self.commit(self.beat)
        }
    }
}
