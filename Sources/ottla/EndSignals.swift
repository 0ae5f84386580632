import Glibc
import KafkaBroker
import Synchronization

/// SIGTERM and SIGINT, taken by a thread that waits for them.
final class EndSignals: Sendable {
    enum Reason: Sendable {
        case signal(String)
        case failure(String)
    }

    private let outcome = Mutex<Reason?>(nil)
    private let endAtOnce = Atomic<Bool>(false)
    private let happened = Semaphore()

    /// Blocks both signals for this thread and all that it starts; nothing else takes them then.
    init() {
        var set = Self.signalSet()
        pthread_sigmask(SIG_BLOCK, &set, nil)
        _ = startThread { [self] in
            var set = Self.signalSet()
            var number: CInt = 0
            while sigwait(&set, &number) == 0 {
                if self.endAtOnce.exchange(true, ordering: .sequentiallyConsistent) { _exit(1) }
                self.finish(.signal(number == SIGINT ? "SIGINT" : "SIGTERM"))
            }
        }
    }

    private static func signalSet() -> sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        sigaddset(&set, SIGTERM)
        sigaddset(&set, SIGINT)
        return set
    }

    private func finish(_ reason: Reason) {
        let first = self.outcome.withLock { outcome in
            guard outcome == nil else { return false }
            outcome = reason
            return true
        }
        if first { self.happened.signal() }
    }

    /// Waits for a signal, or for the broker to say that it cannot go on.
    func wait(orEndOf broker: Broker) -> Reason {
        broker.onFailure { self.finish(.failure($0)) }
        self.happened.wait()
        return self.outcome.withLock { $0 } ?? .failure("woken without a reason")
    }
}
