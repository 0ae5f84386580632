import KafkaPrimitives
import Synchronization

/// All sessions, as many as max.incremental.fetch.session.cache.slots says, and no more partitions in them than
/// `partitionCapacity`.
package final class FetchSessionCache: Sendable {
    /// A session may be evicted for another when it was not used, or is as old and smaller, for this long (Kafka's
    /// two minutes).
    static let evictionMs: Int64 = 120_000
    /// A cache that was found full is not searched again for this long: it would be at each fetch of those who got no
    /// session.
    static let searchIntervalMs: Int64 = 1000

    private let capacity: Int
    private let partitionCapacity: Int
    private struct Entry {
        let session: FetchSession
        /// As counted in `partitions`.
        var size: Int
    }
    private struct State {
        var sessions: [Int32: Entry] = [:]
        var partitions = 0
        var foundFullMs: Int64?
    }
    private let state = Mutex(State())

    /// - Parameter partitionCapacity: a bound of the memory, some 100 bytes each.
    package init(capacity: Int, partitionCapacity: Int = 2_000_000) {
        self.capacity = capacity
        self.partitionCapacity = partitionCapacity
    }

    var count: Int { self.state.withLock { $0.sessions.count } }

    func session(_ id: Int32) -> FetchSession? {
        self.state.withLock { $0.sessions[id]?.session }
    }

    func remove(_ id: Int32) {
        self.state.withLock { Self.remove(id, from: &$0) }
    }

    private static func remove(_ id: Int32, from state: inout State) {
        guard let entry = state.sessions.removeValue(forKey: id) else { return }
        state.partitions -= entry.size
        state.foundFullMs = nil
    }

    /// A session has grown or shrunk.
    /// - Returns: false when there is no room for that; the session is gone then.
    func resized(_ session: FetchSession, to size: Int) -> Bool {
        self.state.withLock { state in
            guard let old = state.sessions[session.id], old.session === session else { return true }
            if state.partitions - old.size + size > self.partitionCapacity {
                Self.remove(session.id, from: &state)
                return false
            }
            state.partitions += size - old.size
            state.sessions[session.id]?.size = size
            return true
        }
    }

    /// A new session for these targets, each partition once, or nil when the cache is full of sessions with a better
    /// claim.
    func create(targets: [FetchTarget], usesTopicIDs: Bool, nowMs: Int64) -> FetchSession? {
        guard self.capacity > 0, !targets.isEmpty, self.isWorthATry(nowMs: nowMs) else { return nil }
        let targets = FetchSession.withoutRepetitions(targets, usesTopicIDs)
        return self.state.withLock { state -> FetchSession? in
            guard self.makeRoom(for: targets.count, nowMs: nowMs, in: &state) else { return nil }
            var id: Int32
            repeat {
                id = Int32.random(in: 1...Int32.max)
            } while state.sessions[id] != nil
            let session = FetchSession(id: id, usesTopicIDs: usesTopicIDs, targets: targets, nowMs: nowMs)
            state.sessions[id] = Entry(session: session, size: session.size)
            state.partitions += session.size
            return session
        }
    }

    private func isWorthATry(nowMs: Int64) -> Bool { self.state.withLock { Self.isWorthATry($0, nowMs) } }

    /// False for a while after the cache was found full, unless a session has left it since.
    private static func isWorthATry(_ state: State, _ nowMs: Int64) -> Bool {
        guard let found = state.foundFullMs else { return true }
        return nowMs < found || nowMs - found >= self.searchIntervalMs
    }

    private func makeRoom(for size: Int, nowMs: Int64, in state: inout State) -> Bool {
        let hasRoom = state.sessions.count < self.capacity && state.partitions + size <= self.partitionCapacity
        if hasRoom { return true }
        guard Self.isWorthATry(state, nowMs) else { return false }
        guard let victim = self.victim(among: state.sessions, size: size, nowMs: nowMs) else {
            if state.sessions.count >= self.capacity { state.foundFullMs = nowMs }
            return false
        }
        Self.remove(victim, from: &state)
        return state.partitions + size <= self.partitionCapacity
    }

    private func victim(among sessions: [Int32: Entry], size: Int, nowMs: Int64) -> Int32? {
        var oldest: (id: Int32, used: Int64)?
        var smallest: (id: Int32, size: Int)?
        for (id, entry) in sessions {
            let (used, count) = entry.session.state.withLock { ($0.lastUsedMs, $0.size) }
            if oldest.map({ used < $0.used }) ?? true { oldest = (id, used) }
            if nowMs - entry.session.createdMs > Self.evictionMs, smallest.map({ count < $0.size }) ?? true {
                smallest = (id, count)
            }
        }
        if let oldest, nowMs - oldest.used > Self.evictionMs { return oldest.id }
        if let smallest, smallest.size < size { return smallest.id }
        return nil
    }
}
