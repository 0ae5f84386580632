import Glibc
import KafkaTransport
import NIOCore

extension Endpoint {
    /// An address as clients write it: no brackets, no zone, and `::ffff:10.0.0.1` as the IPv4 address that it is.
    package init(_ address: SocketAddress) {
        self.init(host: Self.text(of: address), port: Int32(clamping: address.port ?? 0))
    }

    /// The IP address alone, IPv4-mapped forms undone.
    static func text(of address: SocketAddress) -> String {
        guard let text = address.ipAddress else { return "" }
        let lowercased = text.lowercased()
        if lowercased.hasPrefix("::ffff:"), lowercased.dropFirst(7).contains(".") {
            return String(lowercased.dropFirst(7))
        }
        return text.prefix { $0 != "%" }.description
    }
}

extension Connection {
    /// The client's address as Kafka writes it, in group members for one: `/10.0.0.1`.
    var clientHost: String { "/" + Endpoint.text(of: self.remoteAddress) }
}

extension Broker {
    private static func isLoopback(_ host: String) -> Bool {
        host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    /// What this client is told in every answer that names this broker: `advertised.listeners`, or else the address at
    /// which it reached us.
    func endpoint(for connection: Connection) -> Endpoint {
        if let host = connection.listener.advertisedHost, let port = connection.listener.advertisedPort {
            return Endpoint(host: host, port: Int32(clamping: port))
        }
        return Endpoint(connection.localAddress)
    }

    /// Why clients may not reach this broker where they are told to, and what to set; nil where nothing looks wrong.
    static func advertisedWarning(listeners: [Listener]) -> String? {
        let isContainer = access("/.dockerenv", F_OK) == 0 || access("/run/.containerenv", F_OK) == 0
        // Whoever reaches a loopback address is inside.
        let open = listeners.first { $0.advertisedHost == nil && !Self.isLoopback($0.host) }
        guard isContainer, let open else { return nil }
        return "this is a container and advertised.listeners is not set: clients that reach it through a mapped port "
            + "are told its inner address; set advertised.listeners=\(open.name)://HOST:PORT "
            + "(or OTTLA_ADVERTISED_LISTENERS) to where they reach it"
    }
}
