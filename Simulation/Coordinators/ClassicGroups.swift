import KafkaCoordination
import KafkaLog

/// Groups of the classic protocol whose members join, leave, die, stop, and commit where they have read to.
final class ClassicGroups: Part {
    private let world: World
    private let broker: SimulatedBroker
    private let ledger: Ledger
    private var members: [ClassicMember] = []
    private var nextName = 0
    private var generations: [String: Int32] = [:]

    init(_ world: World, _ broker: SimulatedBroker, _ ledger: Ledger) {
        self.world = world
        self.broker = broker
        self.ledger = ledger
    }

    func begin() {
        for group in 0..<1 + self.world.random.below(3) {
            for _ in 0..<1 + self.world.random.below(4) { self.addMember("group-\(group)") }
        }
    }

    private func addMember(_ group: String) {
        self.nextName += 1
        let instance = self.world.random.oneIn(4) ? "instance-\(self.world.random.below(2))" : nil
        let member = ClassicMember(
            SimulatedProcess(self.world), self.broker, self.ledger, group: group, name: "m\(self.nextName)",
            instanceID: instance, topic: "orders", partitions: 4)
        self.members.append(member)
        self.world.after(Int64(self.world.random.below(3000))) { if member.state != .gone { member.join() } }
    }

    func misfortune() {
        let alive = self.members.filter { $0.state != .gone }
        let victim = alive.isEmpty ? nil : alive[self.world.random.below(alive.count)]
        switch self.world.random.below(8) {
        case 0, 1: victim?.die()
        case 2: victim?.leave()
        case 3, 4: victim?.pause(forMs: Int64(self.world.random.below(20_000)))
        default:
            if alive.count < 8 { self.addMember(victim?.group ?? "group-0") }
        }
    }

    func settle() {
        for member in self.members { self.generations[member.group] = self.ledger.generation(member.group) }
    }

    func check(since calm: Int64) throws {
        for (group, members) in Dictionary(grouping: self.members, by: \.group).sorted(by: { $0.key < $1.key }) {
            let alive = members.filter { $0.state != .gone }
            if alive.isEmpty { continue }
            guard self.ledger.generation(group) == self.generations[group] else {
                throw Violation("\(group) rebalances though nothing happens")
            }
            let owned = alive.flatMap(\.owned).sorted()
            guard owned == Array(0..<4) else { throw Violation("\(group): \(owned) are owned at the end") }
            for member in alive where member.lastCommit < calm {
                throw Violation("\(group)/\(member.name) does not get on: \(member.state)")
            }
        }
    }
}

/// Groups that come and go.
final class ShortLivedGroups: Part {
    private let groups: [ShortLivedGroup]

    init(_ world: World, _ broker: SimulatedBroker) {
        self.groups = (0..<2).map { ShortLivedGroup(world, broker, group: "short-lived-\($0)") }
    }

    func begin() { for group in self.groups { group.commit() } }

    func check(since calm: Int64) throws {
        for group in self.groups where group.lastLook < calm { throw Violation("\(group.group) does not get on") }
    }
}
