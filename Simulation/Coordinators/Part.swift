import KafkaLog

/// Two modules have one.
typealias TopicPartition = KafkaLog.TopicPartition

/// Clients of one kind, which take part in the simulation.
protocol Part: AnyObject {
    /// Begins to live.
    func begin()
    /// Something bad happens to one of its clients. Not called once the faults have ended.
    func misfortune()
    /// After each event: what must hold at any time.
    func look() throws
    /// Things have been calm for a while; what is remembered now is compared at the end.
    func settle()
    /// The end.
    /// - Parameter calm: since when nothing bad has happened, and everybody should have come to terms with what had.
    func check(since calm: Int64) throws
    /// Lets go of what holds on to it.
    func dispose()
}

extension Part {
    func dispose() {}
    func misfortune() {}
    func look() throws {}
    func settle() {}
}

/// A client's process: it can stop for a while, in which the world goes on without it, and it can die.
final class SimulatedProcess: @unchecked Sendable {
    let world: World
    /// Tells one from all others.
    let number: Int
    private(set) var isDead = false
    private(set) var isPaused = false
    private var waiting: [World.Event] = []

    init(_ world: World) {
        self.world = world
        self.number = world.nextNumber()
    }

    /// Does something now, or when the process goes on, or never.
    func run(_ action: @escaping World.Event) throws {
        if self.isDead { return }
        if self.isPaused { self.waiting.append(action) } else { try action() }
    }

    func after(_ delayMs: Int64, _ action: @escaping World.Event) {
        self.world.after(delayMs) { try self.run(action) }
    }

    func die() {
        self.isDead = true
        self.waiting = []
    }

    func pause(forMs duration: Int64) {
        guard !self.isPaused, !self.isDead else { return }
        self.isPaused = true
        self.world.after(duration) {
            self.isPaused = false
            while !self.waiting.isEmpty, !self.isDead, !self.isPaused { try self.waiting.removeFirst()() }
        }
    }
}
