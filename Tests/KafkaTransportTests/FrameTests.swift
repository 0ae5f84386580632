import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

@Suite(.timeLimit(.minutes(2)))
struct FrameTests {
    @Test func oneByteAtATime() throws {
        let server = try TestServer()
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        let body = pattern(100)
        for byte in frame(body) + frame([]) + frame([7]) { client.send([byte]) }
        #expect(client.receiveFrame() == body)
        #expect(client.receiveFrame() == [])
        #expect(client.receiveFrame() == [7])
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    @Test func pipelinedSmallFrames() throws {
        let server = try TestServer()
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        let bodies = (0..<5000).map { pattern($0 % 300, seed: $0) }
        let all = bodies.flatMap(frame)
        let sender = Thread { client.send(all) }
        for body in bodies { #expect(client.receiveFrame() == body) }
        sender.join()
    }

    @Test(arguments: [60_000, 65_531, 65_532, 65_533, 131_068, 1_000_000, 10_000_000])
    func largeFrames(size: Int) throws {
        let server = try TestServer()
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        for round in 0..<4 {
            let body = pattern(size + round, seed: size)
            let bytes = frame([1, 2, 3]) + frame(body) + frame([UInt8(round)])
            let sender = Thread { client.send(bytes) }
            #expect(client.receiveFrame() == [1, 2, 3])
            #expect(client.receiveFrame() == body)
            #expect(client.receiveFrame() == [UInt8(round)])
            sender.join()
        }
        #expect(eventually { server.server.memory.inUse == 0 })
    }

    @Test(arguments: [-1, Int(Int32.min), 100 * 1024 * 1024 + 1, Int(Int32.max), 0x474554_20])
    func lengthsThatAreNotAllowed(length: Int) throws {
        let server = try TestServer()
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(frame([1]) + be32(length) + [1, 2, 3])
        #expect(client.receiveFrame() == [1])
        #expect(client.isAtEnd())
        #expect(server.logLines.contains("a request of \(length) bytes"))
        #expect(eventually { server.counts.disconnected.load(ordering: .relaxed) == 1 })
    }
}
