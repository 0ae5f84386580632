import KafkaCoordination
import KafkaLog

/// Groups and transactions for a while with faults, then for a while without, at the end of which everybody must have
/// got on.
final class CoordinatorSimulation {
    private static let calmMs: Int64 = 60_000
    private static let settledMs: Int64 = 20_000

    let world: World
    private let broker: SimulatedBroker
    private let ledger: Ledger
    private var members: [ClassicMember] = []
    private var committers: [TransactionalCommitter] = []
    private var nextName = 0

    init(seed: UInt64, isTraced: Bool) {
        self.world = World(seed: seed, isTraced: isTraced)
        self.ledger = Ledger(self.world)
        var config = GroupCoordinatorConfig()
        config.initialRebalanceDelayMs = [0, 500, 3000][self.world.random.below(3)]
        self.broker = SimulatedBroker(self.world, config: config)
    }

    /// - Parameter steps: events with faults.
    func run(steps: Int) throws {
        try self.broker.start()
        for group in 0..<1 + self.world.random.below(3) {
            for _ in 0..<1 + self.world.random.below(4) { self.addMember("group-\(group)") }
        }
        for number in 0..<1 + self.world.random.below(2) {
            let committer = TransactionalCommitter(
                self.world, self.broker, group: "transactions-\(number)", producerID: Int64(100 + number))
            self.committers.append(committer)
            committer.begin()
            committer.observe()
        }
        for number in 0..<2 { ShortLivedGroup(self.world, self.broker, group: "short-lived-\(number)").commit() }
        self.misfortunes()
        while self.world.totals.steps < steps, try self.world.step(until: .max) {}
        try self.calmDown()
    }

    private func addMember(_ group: String) {
        self.nextName += 1
        let instance = self.world.random.oneIn(4) ? "instance-\(self.world.random.below(2))" : nil
        let member = ClassicMember(
            self.world, self.broker, self.ledger, group: group, name: "m\(self.nextName)", instanceID: instance)
        self.members.append(member)
        self.world.after(Int64(self.world.random.below(3000))) { member.join() }
    }

    private func misfortunes() {
        self.world.after(Int64(200 + self.world.random.below(3000))) {
            if self.world.isCalm { return }
            self.misfortunes()
            let alive = self.members.filter { $0.state != .gone }
            let victim = alive.isEmpty ? nil : alive[self.world.random.below(alive.count)]
            switch self.world.random.below(12) {
            case 0: try self.broker.crash(powerCut: self.broker.flushesBeforeAck && self.world.random.oneIn(2))
            case 1, 2: victim?.die()
            case 3: victim?.leave()
            case 4, 5: victim?.pause(forMs: Int64(self.world.random.below(20_000)))
            case 6, 7, 8:
                if alive.count < 8 { self.addMember(victim?.group ?? "group-0") }
            default: break
            }
        }
    }

    private func calmDown() throws {
        self.world.note("the faults end")
        self.world.isCalm = true
        // Who is stopped goes on within 20 seconds, and what is dead is noticed.
        let calm = self.world.now + Self.calmMs
        while try self.world.step(until: calm) {}
        let generations = Dictionary(grouping: self.members, by: \.group).mapValues { $0[0] }.mapValues {
            self.ledger.generation($0.group)
        }
        let end = calm + Self.settledMs
        while try self.world.step(until: end) {}
        for (group, members) in Dictionary(grouping: self.members, by: \.group).sorted(by: { $0.key < $1.key }) {
            let alive = members.filter { $0.state != .gone }
            if alive.isEmpty { continue }
            guard self.ledger.generation(group) == generations[group] else {
                throw Violation("\(group) rebalances though nothing happens")
            }
            let owned = alive.flatMap(\.owned).sorted()
            guard owned == Array(0..<ClassicMember.partitions) else {
                throw Violation("\(group): \(owned) are owned \(Self.calmMs + Self.settledMs) ms after the last fault")
            }
            for member in alive where member.lastCommit < calm {
                throw Violation("\(group)/\(member.name) does not get on: \(member.state)")
            }
        }
        for committer in self.committers where committer.lastEnd < calm {
            throw Violation("\(committer.group) does not get on")
        }
    }
}
