import KafkaCoordination
import KafkaPrimitives

/// One transaction of a client, as the client knows it.
final class ClientTransaction {
    let serial: Int
    let transactionalID: String
    let begun: Int64
    /// What the client has asked for, whether or not it was heard.
    var asksCommit = false
    var asksAbort = false
    /// What it was told.
    var isCommitted = false
    var isAborted = false
    /// How it has ended, as the first of its markers says.
    var outcome: Bool?
    /// Records that are acknowledged.
    var records: [(partition: TopicPartition, offset: Int64, number: Int)] = []

    init(_ serial: Int, _ transactionalID: String, begun: Int64) {
        self.serial = serial
        self.transactionalID = transactionalID
        self.begun = begun
    }

    /// It is seen to be committed, or not, somewhere.
    func ends(committed: Bool, _ place: @autoclosure () -> String) throws {
        if let outcome, outcome != committed {
            throw Violation("T\(self.serial) is \(outcome ? "committed" : "aborted") elsewhere, but not in \(place())")
        }
        self.outcome = committed
        if committed {
            if !self.asksCommit { throw Violation("T\(self.serial) is committed in \(place()), and nobody has asked") }
            if self.isAborted { throw Violation("T\(self.serial) is committed in \(place()) after it was aborted") }
        } else if self.isCommitted {
            throw Violation("T\(self.serial) is aborted in \(place()) after it was committed")
        }
    }
}

/// What producers were told, and what follows from it.
final class TransactionLedger: @unchecked Sendable {
    struct Place: Hashable {
        var group: String
        var topic: String
        var partition: Int32
    }

    let world: World
    private(set) var transactions: [ClientTransaction] = []
    /// Who was given a producer id and epoch.
    private var owners: [ProducerIdentity: Int] = [:]
    /// The least epoch that may still write, by producer id.
    private(set) var fences: [Int64: Int16] = [:]
    /// The producer id of a transactional id, as told last.
    private var producerIDs: [String: Int64] = [:]
    /// The last process that has asked to be the one of a transactional id.
    private var latest: [String: Int] = [:]
    private var disturbed: [String: Int64] = [:]
    private var committedOffsets: [Place: Int64] = [:]

    init(_ world: World) { self.world = world }

    func begin(_ transactionalID: String) -> ClientTransaction {
        let transaction = ClientTransaction(self.transactions.count, transactionalID, begun: self.world.now)
        self.transactions.append(transaction)
        return transaction
    }

    // MARK: Who is who

    /// A process wants to be the producer of a transactional id.
    func appears(_ process: SimulatedProcess, as transactionalID: String) {
        self.latest[transactionalID] = process.number
    }

    /// One that was the producer once asks for a new epoch, which may end the transaction of the one that is it now.
    func disturbs(_ transactionalID: String) { self.disturbed[transactionalID] = self.world.now }

    /// When one did so last.
    func disturbed(_ transactionalID: String) -> Int64 { self.disturbed[transactionalID] ?? -1 }

    func isLatest(_ process: SimulatedProcess, of transactionalID: String) -> Bool {
        self.latest[transactionalID] == process.number
    }

    /// The broker tells a producer who it is. To be called when the answer leaves.
    /// - Parameter fences: all that wrote before are fenced.
    func isTold(_ identity: ProducerIdentity, _ process: SimulatedProcess, _ transactionalID: String, fences: Bool) {
        let owner = process.number
        if let other = self.owners.updateValue(owner, forKey: identity), other != owner {
            self.world.violation = Violation(
                "\(transactionalID): epoch \(identity.epoch) of producer \(identity.id) is given out twice")
        }
        let before = self.producerIDs.updateValue(identity.id, forKey: transactionalID)
        guard fences else { return }
        if let before, before != identity.id { self.fences[before] = .max }
        let fence = self.fences[identity.id] ?? 0
        if identity.epoch < fence {
            self.world.violation = Violation(
                "\(transactionalID): epoch \(identity.epoch) of producer \(identity.id) is given out after \(fence)")
        }
        self.fences[identity.id] = max(fence, identity.epoch)
    }

    // MARK: Offsets

    /// A transaction with offsets was committed, its client is told.
    func commits(_ group: String, _ topic: String, _ partition: Int32, _ offset: Int64) {
        let place = Place(group: group, topic: topic, partition: partition)
        self.committedOffsets[place] = max(self.committedOffsets[place] ?? -1, offset)
    }

    func committedOffset(_ group: String, _ topic: String, _ partition: Int32) -> Int64 {
        self.committedOffsets[Place(group: group, topic: topic, partition: partition)] ?? -1
    }

    /// Offsets that a group is shown.
    /// - Parameters:
    ///   - metadata: stored with the offset: the transaction that has committed it.
    ///   - floor: what was known to be committed when it was asked for.
    func isShown(
        _ group: String, _ topic: String, _ partition: Int32, _ offset: Int64, _ metadata: String, floor: Int64
    ) throws {
        if offset < floor { throw Violation("\(group): offset \(offset) of \(topic)-\(partition) after \(floor)") }
        guard metadata.hasPrefix("T"), let serial = Int(metadata.dropFirst()) else { return }
        guard serial < self.transactions.count, self.transactions[serial].outcome == true else {
            throw Violation(
                "\(group): offset \(offset) of \(topic)-\(partition) is shown, of T\(serial), not committed")
        }
    }
}

/// What a record holds: which transaction it is of, and what it is a copy of.
struct SimulatedRecord: Hashable {
    var serial: Int
    /// Within the transaction.
    var number: Int
    /// The offset of the original; -1: it is none.
    var source: Int64 = -1

    var bytes: [UInt8] {
        [Int64(self.serial), Int64(self.number), self.source].flatMap { value in
            (0..<8).map { UInt8(truncatingIfNeeded: value >> Int64(56 - 8 * $0)) }
        }
    }

    init(serial: Int, number: Int, source: Int64 = -1) {
        self.serial = serial
        self.number = number
        self.source = source
    }

    init?(_ bytes: UnsafeRawBufferPointer?) {
        guard let bytes, bytes.count == 24 else { return nil }
        func value(_ at: Int) -> Int64 { (0..<8).reduce(0) { $0 << 8 | Int64(bytes[at + $1]) } }
        self.serial = Int(value(0))
        self.number = Int(value(8))
        self.source = value(16)
    }
}
