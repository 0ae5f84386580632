import Glibc
import Synchronization

/// Whether a log is being cleaned, and who wants it to end. One cleaning at a time; none while something else changes the
/// log's segments.
final class CleaningState: Sendable {
    private struct State {
        var isRunning = false
        var pauses = 0
        var hasUnfinishedFiles = false
        /// The log was cut here since the cleaner last looked: what follows was never cleaned.
        var truncatedTo: Int64?
    }

    private let state = Mutex(State())
    private let abort = Atomic(false)

    var isRunning: Bool { self.state.withLock { $0.isRunning } }
    /// Whether a cleaning may begin.
    var isFree: Bool { self.state.withLock { !$0.isRunning && $0.pauses == 0 } }
    /// The cleaning is to end soon.
    var isAborted: Bool { self.abort.load(ordering: .relaxed) }
    /// Files of a cleaning are in the folder, or may be: whoever opens it next must finish or delete them.
    var hasUnfinishedFiles: Bool { self.state.withLock { $0.hasUnfinishedFiles } }
    var truncatedTo: Int64? { self.state.withLock { $0.truncatedTo } }

    func begin() -> Bool {
        self.state.withLock { state in
            guard !state.isRunning, state.pauses == 0 else { return false }
            state.isRunning = true
            self.abort.store(false, ordering: .relaxed)
            return true
        }
    }

    func end() { self.state.withLock { $0.isRunning = false } }

    func setUnfinishedFiles(_ value: Bool) { self.state.withLock { $0.hasUnfinishedFiles = value } }

    /// The checkpoint knows of the truncation.
    func truncationIsNoted() { self.state.withLock { $0.truncatedTo = nil } }

    /// Keeps cleanings from beginning, and waits for the end of one under way.
    func pause(truncatingTo offset: Int64? = nil) {
        self.state.withLock { state in
            state.pauses += 1
            if let offset { state.truncatedTo = min(offset, state.truncatedTo ?? .max) }
            if state.isRunning { self.abort.store(true, ordering: .relaxed) }
        }
        // Rare, and soon over: a cleaning looks after each block that it reads.
        while self.isRunning { usleep(500) }
    }

    func resume() { self.state.withLock { $0.pauses -= 1 } }
}

extension PartitionLog {
    private func cleaningState() -> CleaningState {
        self.state.withLock { state in
            if let cleaning = state.cleaning { return cleaning }
            let cleaning = CleaningState()
            state.cleaning = cleaning
            return cleaning
        }
    }

    /// Nil where it cannot be cleaned now. Who gets one calls `end` of it.
    func beginCleaning() -> CleaningState? {
        let cleaning = self.cleaningState()
        guard self.state.withLock({ $0.status == .open && cleaning.begin() }) else { return nil }
        return cleaning
    }

    /// Ends a cleaning under way and keeps others from beginning until `resume`. Blocks.
    func pauseCleaning(truncatingTo offset: Int64? = nil) -> CleaningState {
        let cleaning = self.cleaningState()
        cleaning.pause(truncatingTo: offset)
        return cleaning
    }

    /// Ends a cleaning under way. Blocks.
    func abortCleaning() {
        guard let cleaning = self.state.withLock({ $0.cleaning }) else { return }
        cleaning.pause()
        cleaning.resume()
    }
}
