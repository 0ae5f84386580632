import KafkaCoordination
import KafkaLog

/// Groups and transactions for a while with faults, then for a while without, at the end of which everybody must have
/// got on.
final class CoordinatorSimulation {
    private static let calmMs: Int64 = 45_000
    private static let settledMs: Int64 = 15_000

    let world: World
    private let broker: SimulatedBroker
    private var parts: [any Part] = []

    init(seed: UInt64, isTraced: Bool) {
        let world = World(seed: seed, isTraced: isTraced)
        self.world = world
        var groups = GroupCoordinatorConfig()
        groups.initialRebalanceDelayMs = [0, 500, 3000][world.random.below(3)]
        var transactions = TransactionCoordinatorConfig()
        transactions.abortIntervalMs = Int64(200 + world.random.below(2000))
        if world.random.oneIn(4) {
            transactions.idExpirationMs = 15_000
            transactions.removeExpiredIntervalMs = 3_000
        }
        self.broker = SimulatedBroker(
            world, groups: groups, transactions: transactions,
            topics: [("input", Transactions.partitions), ("output", Transactions.partitions)])
        let ledger = Ledger(world)
        // Not everything at once: what there is happens the more often.
        let kind = world.random.below(4)
        if kind != 1, kind != 2 {
            self.parts.append(ClassicGroups(world, self.broker, ledger))
            self.parts.append(ShortLivedGroups(world, self.broker))
        }
        if kind != 0 { self.parts.append(Transactions(world, self.broker, ledger)) }
    }

    /// - Parameter steps: events with faults.
    func run(steps: Int) throws {
        try self.broker.start()
        for part in self.parts { part.begin() }
        self.misfortunes()
        while self.world.totals.steps < steps, try self.step(until: .max) {}
        try self.calmDown()
    }

    func dispose() {
        self.world.end()
        for part in self.parts { part.dispose() }
        self.broker.dispose()
    }

    private func step(until limit: Int64) throws -> Bool {
        guard try self.world.step(until: limit) else { return false }
        try self.broker.look()
        for part in self.parts { try part.look() }
        return true
    }

    private func misfortunes() {
        self.world.after(Int64(100 + self.world.random.below(2000))) {
            if self.world.isCalm { return }
            self.misfortunes()
            let cutsPower = self.broker.flushesBeforeAck && self.world.random.oneIn(2)
            switch self.world.random.below(16) {
            case 0: try self.broker.crash(powerCut: cutsPower)
            case 1: if cutsPower { self.broker.losePowerSoon() } else { self.broker.dieSoon() }
            default: self.parts[self.world.random.below(self.parts.count)].misfortune()
            }
        }
    }

    private func calmDown() throws {
        self.world.note("the faults end")
        self.world.isCalm = true
        // Who is stopped goes on within 20 seconds, and what is dead is noticed.
        let calm = self.world.now + Self.calmMs
        while try self.step(until: calm) {}
        for part in self.parts { part.settle() }
        var end = calm + Self.settledMs
        while try self.step(until: end) {}
        // Somebody may be in the midst of something, which is over soon.
        for attempt in 1...20 {
            do {
                for part in self.parts { try part.check(since: calm) }
                return
            } catch {
                if attempt == 20 { throw error }
            }
            end += 1500
            while try self.step(until: end) {}
        }
    }
}
