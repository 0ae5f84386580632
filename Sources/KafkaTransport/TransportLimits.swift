/// Bounds of the network layer. Kafka's names where Kafka has one; every length in bytes, every time in milliseconds.
package struct TransportLimits: Sendable {
    /// `socket.request.max.bytes`: the longest frame (without its 4 length bytes). A longer one ends the connection.
    package var socketRequestMaxBytes = 100 * 1024 * 1024
    /// `max.connections`, over all listeners. One more is closed at once.
    package var maxConnections = Int.max
    /// `max.connections.per.ip`; an IPv4-mapped IPv6 address counts as the IPv4 address.
    package var maxConnectionsPerIP = Int.max
    /// `max.connections.per.ip.overrides`: IP address in text form → limit. What is no address is ignored.
    package var maxConnectionsPerIPOverrides: [String: Int] = [:]
    /// `max.connection.creation.rate`: connections a second, over all listeners. Others wait to be accepted.
    package var maxConnectionCreationRate = Int.max
    /// `connections.max.idle.ms`: a connection without a byte and without a request in work is closed after it.
    /// 0 or less: never.
    package var connectionsMaxIdleMs: Int64 = 600_000
    /// `socket.send.buffer.bytes`, `socket.receive.buffer.bytes`: -1 leaves the system's own (self-tuned) size.
    package var socketSendBufferBytes = 102_400
    package var socketReceiveBufferBytes = 102_400
    /// `socket.listen.backlog.size`.
    package var socketListenBacklogSize = 50

    /// What the buffers of unfinished requests may hold over all connections (Kafka's `queued.max.request.bytes`).
    package var requestMemoryBytes = 256 * 1024 * 1024
    /// A begun frame to which no byte is added for so long ends its connection.
    package var frameStallMs: Int64 = 30_000
    /// Requests of one connection in work at the same time (Produce only).
    package var maxOverlapping = 32
    /// File parts shorter than this are read into the answer, longer ones leave by sendfile.
    package var sendfileMinBytes = 16 * 1024
    /// A part of a file that was in the page cache when its answer was made is looked for there again when a slow reader
    /// comes to it so much later.
    package var freshFileMs: Int64 = 200
    /// Recycled request buffers over 64 KiB that a loop keeps.
    package var recycledBytesPerLoop = 16 * 1024 * 1024
    /// Milliseconds between two looks at stalled frames, idle connections and waiting ones.
    package var tickMs: Int64 = 1_000

    package init() {}
}

/// One address to listen on, and what a connection knows about where it came in.
package struct Listener: Sendable, Equatable {
    /// Kafka's listener name (`PLAINTEXT`).
    package var name: String
    /// Empty: every address of the machine.
    package var host: String
    /// 0: a free one, chosen by the system.
    package var port: Int
    /// From `advertised.listeners`; nil: not set.
    package var advertisedHost: String?
    package var advertisedPort: Int?

    package init(
        name: String, host: String, port: Int, advertisedHost: String? = nil, advertisedPort: Int? = nil
    ) {
        self.name = name
        self.host = host
        self.port = port
        self.advertisedHost = advertisedHost
        self.advertisedPort = advertisedPort
    }
}
