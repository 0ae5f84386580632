import Glibc
internal import NIOCore
import Synchronization

/// Counts connections, over all loops, and refuses those beyond a limit.
final class ConnectionGate: Sendable {
    struct Admission: Sendable { fileprivate let ip: IPKey? }
    enum Answer {
        case admitted(Admission)
        case refused(String)
    }
    private struct State {
        var total = 0
        /// Counted whether there is a limit or not: one may be set at any time.
        var byIP: [IPKey: Int] = [:]
        var maxConnections: Int
        var maxPerIP: Int
        var overrides: [IPKey: Int] = [:]
        var rate: ConnectionRate

        init(_ limits: TransportLimits) {
            maxConnections = limits.maxConnections
            maxPerIP = limits.maxConnectionsPerIP
            rate = ConnectionRate(perSecond: limits.maxConnectionCreationRate)
            for (text, limit) in limits.maxConnectionsPerIPOverrides {
                if let key = IPKey(text) { overrides[key] = limit }
            }
        }
    }

    private let state: Mutex<State>
    private let lastID = Atomic<UInt64>(0)

    init(_ limits: TransportLimits) { state = Mutex(State(limits)) }

    /// Other limits, for connections to come; those that are open stay.
    func update(_ limits: TransportLimits) {
        let new = State(limits)
        state.withLock { state in
            state.maxConnections = new.maxConnections
            state.maxPerIP = new.maxPerIP
            state.overrides = new.overrides
            state.rate.perSecond = new.rate.perSecond
        }
    }

    /// One more was accepted.
    /// - Returns: for how long, ns, no other must be.
    func accepted(now: UInt64) -> UInt64 { state.withLock { $0.rate.accepted(now: now) } }

    var count: Int { state.withLock { $0.total } }

    func nextID() -> UInt64 { lastID.add(1, ordering: .relaxed).newValue }

    func admit(_ address: SocketAddress) -> Answer {
        let key = IPKey(address)
        return state.withLock { state in
            guard state.total < state.maxConnections else {
                return .refused("\(state.total) connections are open, max.connections allows no more")
            }
            if let key {
                let open = state.byIP[key] ?? 0
                guard open < state.overrides[key] ?? state.maxPerIP else {
                    return .refused("\(open) connections from this address are open, max.connections.per.ip")
                }
                state.byIP[key] = open + 1
            }
            state.total += 1
            return .admitted(Admission(ip: key))
        }
    }

    func release(_ admission: Admission) {
        state.withLock { state in
            state.total -= 1
            guard let key = admission.ip, let open = state.byIP[key] else { return }
            state.byIP[key] = open > 1 ? open - 1 : nil
        }
    }
}

/// How many connections may be made in a second; so many at once.
struct ConnectionRate: Sendable {
    /// 0 is taken for 1: one that is never accepted helps nobody.
    var perSecond: Int
    /// When, with a steady stream, the next one would come.
    private var nextAt: UInt64 = 0
    private static let second: UInt64 = 1_000_000_000

    init(perSecond: Int) { self.perSecond = perSecond }

    /// - Parameter now: of a clock that does not go back, ns.
    /// - Returns: how long, ns, the next has to wait.
    mutating func accepted(now: UInt64) -> UInt64 {
        let interval = Self.second / UInt64(max(1, min(perSecond, Int(Self.second))))
        // Some may come at once in spite of a pause; they are counted, but not for ever.
        nextAt = min(max(nextAt, now), now &+ 10 &* Self.second) &+ interval
        let due = nextAt &+ interval
        return due > now &+ Self.second ? due &- now &- Self.second : 0
    }
}

/// An IP address as 16 bytes; IPv4 addresses in their mapped form.
struct IPKey: Hashable, Sendable {
    private var high: UInt64 = 0
    private var low: UInt64 = 0

    init?(_ address: SocketAddress) {
        let bytes: [UInt8]? = address.withSockAddr { pointer, size in
            let raw = UnsafeRawBufferPointer(start: pointer, count: size)
            switch address {
            case .v4: return Array(raw.dropFirst(4).prefix(4))  // sin_addr
            case .v6: return Array(raw.dropFirst(8).prefix(16))  // sin6_addr
            case .unixDomainSocket: return nil
            }
        }
        guard let bytes else { return nil }
        self.init(bytes: bytes)
    }

    init?(_ text: String) {
        var bytes = [UInt8](repeating: 0, count: 16)
        if inet_pton(AF_INET, text, &bytes) == 1 {
            self.init(bytes: Array(bytes.prefix(4)))
        } else if inet_pton(AF_INET6, text, &bytes) == 1 {
            self.init(bytes: bytes)
        } else {
            return nil
        }
    }

    private init?(bytes: [UInt8]) {
        var all = bytes
        if all.count == 4 { all = [UInt8](repeating: 0, count: 10) + [0xFF, 0xFF] + bytes }
        guard all.count == 16 else { return nil }
        for byte in all[0..<8] { high = high << 8 | UInt64(byte) }
        for byte in all[8..<16] { low = low << 8 | UInt64(byte) }
    }
}
