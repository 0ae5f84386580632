import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

/// Requests of the tests below: two bytes api key, a byte that says what to do, a byte that names the request.
private enum Op {
    static let echo: UInt8 = 0
    static let pendingMayOverlap: UInt8 = 1
    static let pending: UInt8 = 2
    static let silent: UInt8 = 3
    static let close: UInt8 = 4
    static let completedInside: UInt8 = 5
    static let throwDisconnected: UInt8 = 6
}

/// Requests that wait, by name; and all that were begun, in order.
private final class Parked: Sendable {
    private let state = Mutex<(waiting: [UInt8: (Connection, RequestTicket)], begun: [UInt8])>(([:], []))

    var begun: [UInt8] { state.withLock { $0.begun } }

    func outcome(_ frame: inout RequestFrame, _ connection: Connection, _ ticket: RequestTicket, _ loop: TransportLoop)
        -> RequestOutcome
    {
        let (op, name) = frame.withUnsafeMutableBytes { ($0[2], $0[3]) }
        state.withLock { $0.begun.append(name) }
        switch op {
        case Op.pendingMayOverlap, Op.pending:
            state.withLock { $0.waiting[name] = (connection, ticket) }
            return .pending(mayOverlap: op == Op.pendingMayOverlap)
        case Op.silent: return .noResponse
        case Op.close: return .close("the test says so")
        case Op.completedInside:
            connection.complete(ticket, answer([name]))
            return .pending(mayOverlap: true)
        default: return .answered(answer([name]))
        }
    }

    /// Completes from this thread; false when there is no such request.
    @discardableResult
    func complete(_ name: UInt8, withResponse: Bool = true) -> Bool {
        guard let (connection, ticket) = state.withLock({ $0.waiting.removeValue(forKey: name) }) else { return false }
        connection.eventLoop.execute {
            if withResponse {
                connection.complete(ticket, answer([name]))
            } else {
                connection.completeWithoutResponse(ticket)
            }
        }
        return true
    }

    func waits(for name: UInt8) -> Bool { eventually { state.withLock { $0.waiting[name] != nil } } }
}

private func produce(_ op: UInt8, _ name: UInt8) -> [UInt8] { frame([0, 0, op, name]) }
private func fetch(_ op: UInt8, _ name: UInt8) -> [UInt8] { frame([0, 1, op, name]) }

@Suite(.timeLimit(.minutes(2)))
struct OrderTests {
    @Test func overlappingProducesAreAnsweredInOrder() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(
            produce(Op.pendingMayOverlap, 1) + produce(Op.pendingMayOverlap, 2) + produce(Op.echo, 3)
                + produce(Op.silent, 4) + produce(Op.completedInside, 5))
        #expect(parked.waits(for: 1) && parked.waits(for: 2))
        #expect(eventually { parked.begun == [1, 2, 3, 4, 5] })
        parked.complete(2)
        usleep(50_000)
        parked.complete(1)
        for name: UInt8 in [1, 2, 3, 5] { #expect(client.receiveFrame() == [name]) }
    }

    @Test func whatIsNoProduceWaitsForPendingProduces() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(produce(Op.pendingMayOverlap, 1) + fetch(Op.echo, 2) + produce(Op.echo, 3))
        #expect(parked.waits(for: 1))
        usleep(50_000)
        #expect(parked.begun == [1])
        parked.complete(1)
        for name: UInt8 in [1, 2, 3] { #expect(client.receiveFrame() == [name]) }
        #expect(parked.begun == [1, 2, 3])
    }

    @Test func aParkedFetchHoldsEverythingBack() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(fetch(Op.pending, 1))
        #expect(parked.waits(for: 1))
        client.send(produce(Op.echo, 2) + fetch(Op.pending, 3))
        usleep(50_000)
        #expect(parked.begun == [1])
        parked.complete(1)
        #expect(client.receiveFrame() == [1])
        #expect(client.receiveFrame() == [2])
        #expect(parked.waits(for: 3))
        parked.complete(3, withResponse: false)
        client.send(fetch(Op.echo, 4))
        #expect(client.receiveFrame() == [4])
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    @Test func moreIsNotReadWhileParked() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port, timeoutSeconds: 1)
        client.send(fetch(Op.pending, 1))
        #expect(parked.waits(for: 1))
        let chunk = (0..<1000).flatMap { _ in fetch(Op.echo, 2) + frame(pattern(1000)) }
        var sent = 0
        while sent < 100, client.send(chunk) { sent += 1 }
        #expect(sent < 100, "the socket's buffers must have filled")
        #expect(server.server.memory.inUse <= 64 * 1024)
    }

    @Test(arguments: [true, false])
    func theEndOfAParkedConnectionIsNoticed(isHalfClose: Bool) throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(fetch(Op.pending, 1) + fetch(Op.echo, 2))
        #expect(parked.waits(for: 1))
        client.send(Array(repeating: 7, count: 90_000))
        if isHalfClose { shutdown(client.fd, CInt(SHUT_WR)) } else { client.shut() }
        #expect(eventually { server.counts.disconnected.load(ordering: .relaxed) == 1 })
        parked.complete(1)  // dropped
        #expect(eventually { server.server.memory.inUse == 0 && server.server.connectionCount == 0 })
    }

    @Test func closingFlushesWhatWasAnswered() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(fetch(Op.echo, 1) + fetch(Op.echo, 2) + fetch(Op.close, 3) + fetch(Op.echo, 4))
        #expect(client.receiveFrame() == [1])
        #expect(client.receiveFrame() == [2])
        #expect(client.isAtEnd())
        #expect(parked.begun == [1, 2, 3])
        #expect(server.logLines.contains("the test says so"))
    }

    @Test func shutdownLetsPendingRequestsFinish() throws {
        let parked = Parked()
        let server = try TestServer { parked.outcome(&$0, $1, $2, $3) }
        let client = try TestClient(port: server.port)
        let idle = try TestClient(port: server.port)
        client.send(fetch(Op.pending, 1))
        #expect(parked.waits(for: 1))
        let stopper = Thread {
            server.server.shutdown(grace: .seconds(5))
            try? server.group.syncShutdownGracefully()
        }
        #expect(idle.isAtEnd())
        usleep(50_000)
        parked.complete(1)
        #expect(client.receiveFrame() == [1])
        #expect(client.isAtEnd())
        stopper.join()
    }
}
