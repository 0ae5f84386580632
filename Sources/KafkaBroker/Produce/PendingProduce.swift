import KafkaTransport

/// A Produce that waits for its transaction's coordinator: with its bytes, which the connection's buffer does not keep.
/// Touched on its event loop only.
final class PendingProduce: @unchecked Sendable {
    struct Kept {
        var bytes: [UInt8]
        var position: Int
        var version: Int16
        var correlationID: Int32
        var isAdmin: Bool
        var connection: Connection
        var ticket: RequestTicket
    }

    /// acks=0: it has no answer.
    let isSilent: Bool
    private var kept: Kept?

    init(isSilent: Bool) { self.isSilent = isSilent }

    func keep(
        _ bytes: [UInt8], bodyAt position: Int, version: Int16, correlationID: Int32, isAdmin: Bool,
        on connection: Connection, ticket: RequestTicket
    ) {
        self.kept = Kept(
            bytes: bytes, position: position, version: version, correlationID: correlationID, isAdmin: isAdmin,
            connection: connection, ticket: ticket)
    }

    /// Once.
    func take() -> Kept? {
        defer { self.kept = nil }
        return self.kept
    }
}
