import Synchronization

/// The logs in which something has changed that is to be noted: marks, flush.ms, checkpoints. What is done every second
/// looks at these, not at all partitions.
final class ChangedLogs: Sendable {
    private let logs = Mutex<[PartitionLog]>([])

    var isEmpty: Bool { self.logs.withLock { $0.isEmpty } }

    func add(_ log: PartitionLog) { self.logs.withLock { $0.append(log) } }

    func add(_ some: [PartitionLog]) { self.logs.withLock { $0 += some } }

    func take() -> [PartitionLog] {
        self.logs.withLock { logs in
            var taken: [PartitionLog] = []
            swap(&taken, &logs)
            return taken
        }
    }
}

extension PartitionLog.State {
    /// Of a log that is opened: a mark is to be taken, or flush.ms counts for what the last process left unsynced.
    var mustBeListed: Bool { self.needsMark || (self.config.flushMs < .max && self.recoveryPoint < self.logEndOffset) }
}

extension PartitionLog {
    /// To be called when something changed of which a mark must tell, under the lock.
    @inline(__always) func changed(_ state: inout State) {
        state.needsMark = true
        self.list(&state)
    }

    @inline(__always) func list(_ state: inout State) {
        guard !state.isListed else { return }
        state.isListed = true
        self.environment.changes.add(self)
    }

    /// Whether it is still to be looked at, in the next round; else the next change lists it anew.
    func staysListed() -> Bool {
        self.state.withLock { state in
            let isOpen = state.status == .open
            let needsFlush =
                (state.config.flushMs < .max && state.logEndOffset > state.recoveryPoint)
                || state.sync.map { !$0.isDone } ?? false
            state.isListed = isOpen && (state.needsMark || needsFlush)
            return state.isListed
        }
    }
}
