import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

/// A small generator with a seed, for reproducible disorder.
private struct Dice {
    var state: UInt64
    mutating func roll(_ sides: Int) -> Int {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int(state >> 33) % sides
    }
}

@Suite(.timeLimit(.minutes(2)))
struct StressTests {
    /// Clients pipeline requests of all sizes and kinds; the server answers at once, later from another thread, with
    /// the taken bytes, or not at all. Every client gets its answers whole and in order.
    @Test func everythingAtOnce() throws {
        var limits = TransportLimits()
        limits.tickMs = 20
        limits.maxOverlapping = 3
        let later = Mutex<[(Connection, RequestTicket, ByteBuffer)]>([])
        let server = try TestServer(limits: limits) { frame, connection, ticket, loop in
            let kind = frame.withUnsafeMutableBytes { $0[2] }
            switch kind {
            case 0: return .answered(echo(&frame, loop))
            case 1: return .noResponse
            case 2, 3:
                let bytes = frame.take()
                later.withLock { $0.append((connection, ticket, bytes)) }
                return .pending(mayOverlap: kind == 2)
            default:
                let bytes = frame.take()
                var answer = ByteBuffer()
                answer.writeInteger(Int32(0))
                answer.writeImmutableBuffer(bytes)
                loop.recycle(bytes)
                return .answered(ResponseParts(bytes: answer))
            }
        }
        defer { server.stop() }
        let isOver = Atomic(false)
        let completer = Thread {
            var dice = Dice(state: 5)
            while !isOver.load(ordering: .relaxed) {
                usleep(200)
                let item = later.withLock { $0.isEmpty ? nil : $0.remove(at: dice.roll($0.count)) }
                guard let (connection, ticket, bytes) = item else { continue }
                connection.eventLoop.execute {
                    var answer = connection.loop.responseBuffer(capacity: bytes.readableBytes + 4)
                    answer.writeInteger(Int32(0))
                    answer.writeImmutableBuffer(bytes)
                    connection.loop.recycle(bytes)
                    connection.complete(ticket, ResponseParts(bytes: answer))
                }
            }
        }
        let wrong = Atomic<Int>(0)
        let answered = Atomic<Int>(0)
        let clients = (0..<12).map { index in
            Thread {
                guard let client = try? TestClient(port: server.port) else { return }
                var dice = Dice(state: UInt64(index))
                let source = pattern(300_000, seed: index)
                for _ in 0..<8 {
                    var bytes: [UInt8] = []
                    var expected: [[UInt8]] = []
                    for _ in 0..<40 {
                        let kind = UInt8(dice.roll(5))
                        let size = dice.roll(50) == 0 ? dice.roll(300_000) : dice.roll(3000)
                        let body = [0, UInt8(dice.roll(3) / 2), kind] + source.prefix(size)
                        bytes += frame(body)
                        if kind != 1 { expected.append(body) }
                    }
                    let sender = Thread { client.send(bytes) }
                    for body in expected {
                        if client.receiveFrame() == body {
                            answered.add(1, ordering: .relaxed)
                        } else {
                            wrong.add(1, ordering: .relaxed)
                        }
                    }
                    sender.join()
                }
            }
        }
        for client in clients { client.join() }
        isOver.store(true, ordering: .relaxed)
        completer.join()
        #expect(wrong.load(ordering: .relaxed) == 0)
        #expect(answered.load(ordering: .relaxed) > 2000)
        #expect(eventually { server.server.memory.inUse == 0 && server.server.connectionCount == 0 })
        #expect(!server.logLines.contains("lost"))
    }

    /// Connections that are cut at any time, with requests in work and answers under way.
    @Test func connectionsCutAtAnyTime() throws {
        let later = Mutex<[(Connection, RequestTicket)]>([])
        let server = try TestServer { frame, connection, ticket, loop in
            if frame.count % 3 == 0 {
                later.withLock { $0.append((connection, ticket)) }
                return .pending(mayOverlap: frame.count % 2 == 0)
            }
            var bytes = ByteBuffer()
            bytes.writeInteger(Int32(0))
            bytes.writeRepeatingByte(1, count: frame.count % 5 == 0 ? 400_000 : 100)
            return .answered(ResponseParts(bytes: bytes))
        }
        defer { server.stop() }
        let threads = (0..<6).map { index in
            Thread {
                var dice = Dice(state: UInt64(index + 100))
                for _ in 0..<15 {
                    guard let client = try? TestClient(port: server.port, timeoutSeconds: 1) else { continue }
                    for _ in 0..<dice.roll(6) { client.send(frame(pattern(2 + dice.roll(2000)))) }
                    client.send(Array(frame(pattern(2 + dice.roll(100_000))).prefix(dice.roll(100_000))))
                    if dice.roll(2) == 0 { _ = client.receive(dice.roll(5000) + 1) }
                    client.shut()
                    for (connection, ticket) in later.withLock({ all in
                        defer { all = [] }
                        return all
                    }) {
                        connection.eventLoop.execute { connection.complete(ticket, answer([1])) }
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(eventually { server.server.connectionCount == 0 && server.server.memory.inUse == 0 })
        #expect(server.counts.connected.load(ordering: .relaxed) == server.counts.disconnected.load(ordering: .relaxed))
    }

    /// Garbage in every form ends in an answer or a closed connection, and nothing stays.
    @Test func garbage() throws {
        let server = try TestServer()
        defer { server.stop() }
        let good = try TestClient(port: server.port)
        for seed in 0..<200 {
            let client = try TestClient(port: server.port)
            client.send(pattern(1 + seed * 7, seed: seed * 31))
            if seed % 2 == 0 { client.shut() }
        }
        good.send(frame([5]))
        #expect(good.receiveFrame() == [5])
        good.shut()
        #expect(eventually { server.server.connectionCount == 0 && server.server.memory.inUse == 0 })
    }
}
