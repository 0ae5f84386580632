import KafkaCoordination
import KafkaLog

/// A client's connection: what it sends arrives in order, or not at all; an answer too. A request that is not answered
/// in time is given up, and the client connects anew; what was under way may arrive all the same, before what follows.
final class Connection: @unchecked Sendable {
    private static let timeoutMs: Int64 = 3000

    private let world: World
    private let broker: SimulatedBroker
    private var lastArrival: Int64 = 0
    private var waitingFor = 0

    init(_ world: World, _ broker: SimulatedBroker) {
        self.world = world
        self.broker = broker
    }

    /// `answer` is called once: with nil where there was none in time.
    /// - Parameter isPatient: of JoinGroup, which is answered when the rebalance is through.
    func send<Answer: Sendable>(
        isPatient: Bool = false, _ request: @escaping (@escaping @Sendable (Answer) -> Void) -> Void,
        answer: @escaping (Answer?) throws -> Void
    ) {
        self.waitingFor += 1
        let number = self.waitingFor
        self.world.totals.requests += 1
        self.world.after(isPatient ? 20_000 : Self.timeoutMs) {
            guard self.waitingFor == number else { return }
            self.waitingFor += 1
            self.world.totals.lost += 1
            try answer(nil)
        }
        if self.world.loses() { return }
        let life = self.broker.life
        let arrival = max(self.world.now + self.world.delay(), self.lastArrival)
        self.lastArrival = arrival
        let box = AnswerBox(answer)
        self.world.after(arrival - self.world.now) {
            // Connections end with the process.
            guard self.broker.life == life else { return }
            request { reply in
                // What it would have said as it died is not heard.
                guard self.broker.life == life, !self.broker.disk.isStopped, !self.world.loses() else { return }
                self.world.after(self.world.delay()) {
                    guard self.waitingFor == number else { return }
                    self.waitingFor += 1
                    try box.answer(reply)
                }
            }
        }
    }

    /// Nobody waits any more.
    func forget() { self.waitingFor += 1 }
}

private final class AnswerBox<Answer>: @unchecked Sendable {
    let answer: (Answer?) throws -> Void
    init(_ answer: @escaping (Answer?) throws -> Void) { self.answer = answer }
}
