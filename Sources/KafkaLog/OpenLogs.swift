import Synchronization

/// The logs whose active segment is open. Where so many files are open that connections might want for descriptors, the
/// ones that were not used for longest, roughly, are closed: a clock with a hand, which each new one moves a little.
final class OpenLogs: Sendable {
    /// So many are looked at for each that is opened: with all in use the hand goes round and clears their signs.
    private static let looksPerOpen = 8
    private let state = Mutex(State())
    /// Files of the whole process.
    private let limit: Int

    private struct State {
        var logs: [PartitionLog] = []
        var hand = 0
    }

    init(limit: Int = .max) { self.limit = limit }

    var all: [PartitionLog] { self.state.withLock { $0.logs } }

    func removeAll() { self.state.withLock { $0 = State() } }

    /// To be called without a log's lock, when one has been opened.
    func opened(_ log: PartitionLog) {
        self.state.withLock { $0.logs.append(log) }
        self.trim(looks: Self.looksPerOpen)
    }

    /// Closes what was not used since it was last looked at, while there are too many.
    func trim(looks: Int? = nil) {
        var looks = looks ?? self.state.withLock { $0.logs.count }
        while looks > 0, LogFile.openCount > self.limit, self.look(onlyIdle: true) { looks -= 1 }
    }

    /// The process can open nothing more: a quarter is closed whether it is used or not.
    func relieve() {
        var looks = self.state.withLock { $0.logs.count } / 4 + 16
        while looks > 0, self.look(onlyIdle: false) { looks -= 1 }
    }

    /// Moves the hand by one. False where there is none.
    private func look(onlyIdle: Bool) -> Bool {
        let log = self.state.withLock { state -> PartitionLog? in
            guard !state.logs.isEmpty else { return nil }
            if state.hand >= state.logs.count { state.hand = 0 }
            return state.logs[state.hand]
        }
        guard let log else { return false }
        let isOpen = log.releaseFiles(onlyIdle: onlyIdle)
        self.state.withLock { state in
            guard state.hand < state.logs.count, state.logs[state.hand] === log else { return }
            if isOpen {
                state.hand += 1
            } else {
                state.logs.swapAt(state.hand, state.logs.count - 1)
                state.logs.removeLast()
            }
        }
        return true
    }
}

extension PartitionLog {
    /// Whether the log must be told to `OpenLogs`, once the lock is released.
    @inline(__always) func isNewlyOpen(_ state: inout State) -> Bool {
        guard !state.isPooled, state.active.file != nil else { return false }
        state.isPooled = true
        return true
    }
}
