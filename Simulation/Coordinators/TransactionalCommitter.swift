import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives

/// A producer that commits offsets in transactions (KIP-447), one after the other, each in an epoch of its own, and ends
/// each by a marker, as the transaction coordinator would. It looks at what is shown meanwhile.
final class TransactionalCommitter {
    private enum Phase { case sending, open, ending }

    let group: String
    private let producerID: Int64
    private let world: World
    private let broker: SimulatedBroker
    private let connection: Connection
    private let observer: Connection
    private let zombie: Connection
    private var epoch: Int16 = 0
    private var offset: Int64 = 0
    private var phase = Phase.sending
    private var commits = false
    /// What is committed for good; -1: nothing.
    private var committed: Int64 = -1
    private(set) var lastEnd: Int64 = -1

    init(_ world: World, _ broker: SimulatedBroker, group: String, producerID: Int64) {
        self.world = world
        self.broker = broker
        self.group = group
        self.producerID = producerID
        self.connection = Connection(world, broker)
        self.observer = Connection(world, broker)
        self.zombie = Connection(world, broker)
    }

    private func note(_ what: @autoclosure () -> String) { self.world.note("\(self.group): \(what())") }

    private func request(epoch: Int16, offset: Int64) -> GroupCoordinatorShard.Request {
        var request = TxnOffsetCommitRequest()
        request.transactionalID = self.group
        request.groupID = self.group
        request.producerID = self.producerID
        request.producerEpoch = epoch
        var topic = TxnOffsetCommitRequest.Topic()
        topic.name = "orders"
        var partition = TxnOffsetCommitRequest.Partition()
        partition.partitionIndex = 0
        partition.committedOffset = offset
        topic.partitions = [partition]
        request.topics = [topic]
        return .transactionalOffsetCommit(request, topicIDs: [:], verification: .off, apiVersion: 5)
    }

    private func send(
        on connection: Connection, _ request: GroupCoordinatorShard.Request,
        _ answer: @escaping (GroupCoordinatorShard.Reply?) throws -> Void
    ) {
        let (broker, group) = (self.broker, self.group)
        connection.send({ broker.perform(request, for: group, respond: $0) }, answer: answer)
    }

    // MARK: Transactions

    func begin() {
        self.epoch += 1
        self.offset += 1
        self.commits = self.world.random.oneIn(2)
        self.phase = .sending
        self.add()
    }

    private func add() {
        self.send(on: self.connection, self.request(epoch: self.epoch, offset: self.offset)) { reply in
            var error = ErrorCode.requestTimedOut
            if case .transactionalOffsetCommit(let response) = reply {
                error = response.topics.first?.partitions.first?.errorCode ?? .unknownServerError
            }
            self.note("offset \(self.offset) in epoch \(self.epoch): \(error.name)")
            switch error {
            case .none:
                self.phase = .open
                self.world.after(Int64(self.world.random.below(1500))) { self.end() }
            case .requestTimedOut, .coordinatorLoadInProgress, .notCoordinator, .coordinatorNotAvailable:
                self.world.after(100) { self.add() }
            default: throw Violation("\(self.group): an offset in a transaction is refused: \(error.name)")
            }
        }
    }

    private func end() {
        self.phase = .ending
        let marker = CoordinatorMarker(
            producerID: self.producerID, producerEpoch: self.epoch, isCommitted: self.commits, coordinatorEpoch: 0)
        let (broker, group) = (self.broker, self.group)
        self.connection.send(
            { broker.endTransaction(marker, of: group, respond: $0) },
            answer: { (error: ErrorCode?) in
                self.note("\(self.commits ? "commit" : "abort") of epoch \(self.epoch): \(error?.name ?? "no answer")")
                guard error == ErrorCode.none else {
                    self.world.after(100) { self.end() }
                    return
                }
                if self.commits { self.committed = self.offset }
                self.lastEnd = self.world.now
                let old = self.epoch
                self.begin()
                if self.world.random.oneIn(3) { self.actAsZombie(old - 1) }
            })
    }

    /// A process with an epoch that is over.
    private func actAsZombie(_ epoch: Int16) {
        guard epoch > 0 else { return }
        self.send(on: self.zombie, self.request(epoch: epoch, offset: 1_000_000)) { reply in
            guard case .transactionalOffsetCommit(let response) = reply,
                response.topics.first?.partitions.first?.errorCode == ErrorCode.none
            else { return }
            throw Violation("\(self.group): a write of epoch \(epoch) is accepted after that of \(epoch + 1)")
        }
    }

    // MARK: Looking

    func observe() {
        self.world.after(Int64(100 + self.world.random.below(500))) {
            var request = OffsetFetchRequest.Group()
            request.groupID = self.group
            var topic = OffsetFetchRequest.Topics()
            topic.name = "orders"
            topic.partitionIndexes = [0]
            request.topics = [topic]
            let requiresStable = self.world.random.oneIn(2)
            let (before, epoch, wasOpen) = (self.committed, self.epoch, self.phase == .open)
            self.send(on: self.observer, .offsetFetch(request, requireStable: requiresStable)) { reply in
                self.observe()
                guard case .offsetFetch(let response) = reply, response.errorCode == .none,
                    let partition = response.topics.first?.partitions.first
                else { return }
                if partition.errorCode == .unstableOffsetCommit {
                    if !requiresStable { throw Violation("\(self.group): unstable for who does not ask") }
                    return
                }
                guard partition.errorCode == .none else { return }
                // What may be seen: as it was, and as each transaction that has been ended since has left it.
                var allowed: Set<Int64> = [before, self.committed]
                if self.phase == .ending && self.commits { allowed.insert(self.offset) }
                let isSame = self.epoch == epoch
                if isSame || self.epoch == epoch + 1, !allowed.contains(partition.committedOffset) {
                    throw Violation(
                        "\(self.group): offset \(partition.committedOffset) is shown, committed is \(self.committed)")
                }
                if requiresStable, wasOpen, isSame, self.phase == .open {
                    throw Violation(
                        "\(self.group): an offset is shown to who requires stable ones while one is pending")
                }
            }
        }
    }
}
