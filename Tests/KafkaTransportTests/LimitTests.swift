import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

@Suite(.serialized, .timeLimit(.minutes(2)))
struct LimitTests {
    @Test func silentPromisesCostWhatTheySent() throws {
        let server = try TestServer()
        defer { server.stop() }
        let attackers = try (0..<500).map { _ in try TestClient(port: server.port) }
        for attacker in attackers { attacker.send(be32(100 * 1024 * 1024) + pattern(1020)) }
        #expect(eventually { server.server.memory.inUse >= 500 * 1024 })
        usleep(1_200_000)
        #expect(server.server.memory.inUse <= 32 * 65_536 + 500 * 2048)
        let client = try TestClient(port: server.port)
        client.send(frame(pattern(1_000_000)))
        #expect(client.receiveFrame()?.count == 1_000_000)
        #expect(server.counts.disconnected.load(ordering: .relaxed) == 0)
    }

    @Test func theStalestIsClosedWhenMemoryIsFull() throws {
        var limits = TransportLimits()
        limits.requestMemoryBytes = 8 * 1024 * 1024
        limits.tickMs = 50
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        // Seven attackers hold a megabyte each; there is no room for an eighth.
        var attackers: [TestClient] = []
        for _ in 0..<7 {
            let attacker = try TestClient(port: server.port)
            attacker.send(be32(100 * 1024 * 1024) + pattern(700_000))
            usleep(150_000)
            attackers.append(attacker)
        }
        #expect(server.counts.disconnected.load(ordering: .relaxed) == 0)
        let small = try TestClient(port: server.port)
        small.send(frame([1, 2, 3]))
        #expect(small.receiveFrame() == [1, 2, 3])
        #expect(server.counts.disconnected.load(ordering: .relaxed) == 0)
        let large = try TestClient(port: server.port)
        let body = pattern(3_000_000)
        let sender = Thread { large.send(frame(body)) }
        #expect(large.receiveFrame() == body)
        sender.join()
        #expect(attackers[0].isAtEnd(), "the first to fall silent goes first")
        #expect(server.server.memory.inUse <= limits.requestMemoryBytes)
        #expect(server.logLines.contains("the memory for requests is full"))
        small.send(frame([4]))
        #expect(small.receiveFrame() == [4])
    }

    @Test func manyGrowingAtOnceStayWithinMemory() throws {
        var limits = TransportLimits()
        limits.requestMemoryBytes = 4 * 1024 * 1024
        limits.tickMs = 50
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        let most = Atomic<Int>(0)
        let attackers = try (0..<20).map { _ in try TestClient(port: server.port, timeoutSeconds: 2) }
        let data = pattern(4_000_000)
        let threads = attackers.map { attacker in
            Thread { attacker.send(be32(50 * 1024 * 1024) + data) }
        }
        for _ in 0..<200 {
            let now = server.server.memory.inUse
            if now > most.load(ordering: .relaxed) { most.store(now, ordering: .relaxed) }
            usleep(5_000)
        }
        // Small buffers are let in beyond the limit: 64 KiB a connection.
        #expect(most.load(ordering: .relaxed) <= limits.requestMemoryBytes + 20 * 65_536)
        #expect(most.load(ordering: .relaxed) > 1024 * 1024)
        let client = try TestClient(port: server.port)
        client.send(frame(pattern(50_000)))
        #expect(client.receiveFrame()?.count == 50_000)
        for attacker in attackers { shutdown(attacker.fd, CInt(SHUT_RDWR)) }
        for thread in threads { thread.join() }
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    @Test func aFrameWithoutProgressEndsItsConnection() throws {
        var limits = TransportLimits()
        limits.frameStallMs = 400
        limits.tickMs = 50
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        let stalled = try TestClient(port: server.port)
        let slow = try TestClient(port: server.port)
        let idle = try TestClient(port: server.port)
        stalled.send(be32(1000) + [1, 2, 3])
        slow.send(be32(8))
        for byte: UInt8 in 0..<8 {
            usleep(150_000)
            slow.send([byte])
        }
        #expect(slow.receiveFrame() == Array(0..<8))
        #expect(stalled.isAtEnd())
        idle.send(frame([1]))
        #expect(idle.receiveFrame() == [1])
        #expect(server.logLines.contains("in the middle of a request"))
    }

    @Test func idleConnectionsAreClosed() throws {
        var limits = TransportLimits()
        limits.connectionsMaxIdleMs = 400
        limits.tickMs = 20
        let parkedOn = Mutex<(Connection, RequestTicket)?>(nil)
        let server = try TestServer(limits: limits) { frame, connection, ticket, loop in
            guard frame.count == 1 else { return .answered(echo(&frame, loop)) }
            parkedOn.withLock { $0 = (connection, ticket) }
            return .pending(mayOverlap: false)
        }
        defer { server.stop() }
        let idle = try TestClient(port: server.port)
        let parked = try TestClient(port: server.port)
        parked.send(frame([1]))
        #expect(idle.isAtEnd())
        usleep(300_000)
        guard let (connection, ticket) = parkedOn.withLock({ $0 }) else { throw ChannelError.eof }
        connection.eventLoop.execute { connection.complete(ticket, answer([9])) }
        #expect(parked.receiveFrame() == [9], "a long poll counts as active")
        #expect(parked.isAtEnd())
    }

    @Test func connectionLimits() throws {
        var limits = TransportLimits()
        limits.maxConnections = 3
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        var clients = try (0..<3).map { _ in try TestClient(port: server.port) }
        #expect(eventually { server.server.connectionCount == 3 })
        #expect(try TestClient(port: server.port).isAtEnd())
        clients[0].send(frame([1]))
        #expect(clients[0].receiveFrame() == [1])
        clients.removeLast()
        #expect(eventually { server.server.connectionCount == 2 })
        let next = try TestClient(port: server.port)
        next.send(frame([2]))
        #expect(next.receiveFrame() == [2])
        #expect(server.logLines.contains("max.connections allows no more"))
    }

    @Test func connectionLimitsOfAnAddress() throws {
        var limits = TransportLimits()
        limits.maxConnectionsPerIP = 1000
        limits.maxConnectionsPerIPOverrides = ["::ffff:127.0.0.1": 2, "10.0.0.1": 0]
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        let clients = try (0..<2).map { _ in try TestClient(port: server.port) }
        #expect(eventually { server.server.connectionCount == 2 })
        #expect(try TestClient(port: server.port).isAtEnd())
        #expect(server.logLines.contains("max.connections.per.ip"))
        _ = clients
    }

    @Test func aSlowReaderIsNotWorkedFor() throws {
        let server = try TestServer { frame, _, _, _ in
            var bytes = ByteBuffer()
            bytes.writeInteger(Int32(0))
            bytes.writeRepeatingByte(7, count: 100_000)
            _ = frame.count
            return .answered(ResponseParts(bytes: bytes))
        }
        defer { server.stop() }
        let reader = try TestClient(port: server.port, receiveBuffer: 65_536)
        let asks = (0..<2000).flatMap { _ in frame([1]) }
        reader.send(asks)
        usleep(300_000)
        let executed = server.counts.requests.load(ordering: .relaxed)
        #expect(executed < 200, "the rest waits until the client reads")
        for _ in 0..<2000 { #expect(reader.receiveFrame()?.count == 100_000) }
        #expect(server.counts.requests.load(ordering: .relaxed) == 2000)
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    @Test func thousandsOfConnectionsLeaveNothing() throws {
        let server = try TestServer()
        defer { server.stop() }
        let before = openSockets(port: server.port)
        #expect(before == 1, "the one that listens")
        for round in 0..<10 {
            let clients = try (0..<300).map { _ in try TestClient(port: server.port) }
            for (index, client) in clients.enumerated() {
                switch (index + round) % 3 {
                case 0: client.send(frame([1, 2]))
                case 1: client.send(be32(5000) + [1])
                default: break
                }
            }
            if round % 2 == 0 { #expect(clients[(3 - round % 3) % 3].receiveFrame() == [1, 2]) }
        }
        #expect(eventually { server.server.connectionCount == 0 })
        #expect(eventually { openSockets(port: server.port) == before })
        // The handler is told of the last ones a moment after they are counted out.
        let counts = server.counts
        #expect(
            eventually { counts.connected.load(ordering: .relaxed) == counts.disconnected.load(ordering: .relaxed) })
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    /// This process's sockets that have something to do with a server: other tests open and close files meanwhile.
    private func openSockets(port: Int) -> Int {
        guard let folder = opendir("/proc/self/fd") else { return -1 }
        defer { closedir(folder) }
        var count = 0
        while let entry = readdir(folder) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard let fd = CInt(name) else { continue }
            if Self.port(of: fd, getsockname) == port || Self.port(of: fd, getpeername) == port { count += 1 }
        }
        return count
    }

    private static func port(
        of fd: CInt, _ ask: (CInt, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> CInt
    ) -> Int? {
        var address = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { ask(fd, $0, &length) }
        }
        guard code == 0, address.sin_family == sa_family_t(AF_INET) else { return nil }
        return Int(UInt16(bigEndian: address.sin_port))
    }

    @Test func connectionsASecond() {
        let second: UInt64 = 1_000_000_000
        var rate = ConnectionRate(perSecond: 10)
        // Ten at once, then one each tenth of a second.
        #expect((0..<9).map { _ in rate.accepted(now: 5 * second) } == Array(repeating: 0, count: 9))
        #expect(rate.accepted(now: 5 * second) == second / 10)
        #expect(rate.accepted(now: 5 * second + second / 10) == second / 10)
        // Who comes all the same waits longer, but not for ever.
        for _ in 0..<1000 { _ = rate.accepted(now: 6 * second) }
        #expect(rate.accepted(now: 6 * second) <= 10 * second)
        #expect(rate.accepted(now: 30 * second) == 0)
        rate.perSecond = .max
        #expect((0..<1000).allSatisfy { _ in rate.accepted(now: 31 * second) == 0 })
        rate.perSecond = 0
        #expect(rate.accepted(now: 40 * second) == second)
    }

    /// They are not refused, and the broker goes on with those that it has.
    @Test func connectionsThatComeTooFastWait() throws {
        var limits = TransportLimits()
        limits.maxConnectionCreationRate = 10
        let server = try TestServer(limits: limits)
        defer { server.stop() }
        let began = Clock.monotonic()
        let clients = try (0..<24).map { _ in try TestClient(port: server.port) }
        #expect(eventually { server.server.connectionCount == clients.count })
        // Ten at once, and a few more in one go of the loop.
        #expect(Clock.monotonic() - began >= 700_000_000)
        clients[23].send(frame([1]))
        #expect(clients[23].receiveFrame() == [1])
    }
}
