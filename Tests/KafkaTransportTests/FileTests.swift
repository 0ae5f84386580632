import Glibc
import NIOCore
import Synchronization
import Testing

@testable import KafkaTransport

/// A file that is gone from its folder, closed with the last reference.
private final class TestFile: Sendable {
    let fd: CInt
    let bytes: [UInt8]
    let closed: Atomic<Int>

    init(_ bytes: [UInt8]) {
        var name = Array("/tmp/ottla-transport-XXXXXX".utf8CString)
        fd = mkstemp(&name)
        unlink(name)
        self.bytes = bytes
        closed = Atomic(0)
        _ = bytes.withUnsafeBytes { pwrite(fd, $0.baseAddress, $0.count, 0) }
    }

    deinit { close(fd) }

    func part(_ range: Range<Int>) -> FilePart {
        FilePart(fd: fd, position: Int64(range.lowerBound), length: range.count, owner: self)
    }
}

@Suite(.timeLimit(.minutes(2)))
struct FileTests {
    /// Parts of many sizes at many places, all answers of one burst.
    @Test func smallAndLargePartsAmongBytes() throws {
        let file = TestFile(pattern(5_000_000))
        let sizes: [[Int]] = [
            [10], [0, 20_000], [100, 200, 16_383, 16_384, 16_385], [3_000_000], [1_048_576, 1_048_577, 5],
            [50_000, 40_000],
            [], [64_000, 15_000, 15_000, 15_000, 15_000, 15_000, 15_000],
        ]
        let header = pattern(20_000, seed: 9)
        let server = try TestServer { frame, _, _, _ in
            let index = frame.withUnsafeMutableBytes { Int($0[0]) }
            let (bytes, files) = Self.compose(index: index, sizes: sizes[index], header: header)
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            buffer.writeBytes(bytes)
            return .answered(
                ResponseParts(bytes: buffer, files: files.map { ($0.place + 4, file.part($0.range)) }))
        }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        for _ in 0..<3 {
            client.send(sizes.indices.flatMap { frame([UInt8($0)]) })
            for index in sizes.indices {
                let (bytes, files) = Self.compose(index: index, sizes: sizes[index], header: header)
                var expected: [UInt8] = []
                var done = 0
                for part in files {
                    expected += bytes[done..<part.place] + file.bytes[part.range]
                    done = part.place
                }
                expected += bytes[done...]
                #expect(client.receiveFrame() == expected)
            }
        }
        #expect(fcntl(file.fd, F_GETFD) >= 0, "the descriptor is still the owner's")
    }

    private static func compose(
        index: Int, sizes: [Int], header: [UInt8]
    ) -> (bytes: [UInt8], files: [(place: Int, range: Range<Int>)]) {
        let bytes = Array(header.prefix(index % 2 == 0 ? 50 : 20_000))
        var place = index
        var files: [(place: Int, range: Range<Int>)] = []
        for (part, size) in sizes.enumerated() {
            files.append((place, part * 1000..<part * 1000 + size))
            place += part % 2 * 12
        }
        return (bytes, files)
    }

    @Test func aSlowReaderGetsEveryByteAndTheOwnerIsLetGo() throws {
        let weak = Mutex<WeakFile?>(nil)
        let server = try TestServer { _, _, _, _ in
            let file = TestFile(pattern(4_000_000, seed: 3))
            weak.withLock { $0 = WeakFile(file) }
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            return .answered(ResponseParts(bytes: buffer, files: [(4, file.part(0..<4_000_000))]))
        }
        defer { server.stop() }
        let client = try TestClient(port: server.port, receiveBuffer: 65_536)
        client.send(frame([1]))
        #expect(client.receive(4) == be32(4_000_000))
        #expect(weak.withLock { $0?.file != nil })
        #expect(client.receive(4_000_000) == pattern(4_000_000, seed: 3))
        #expect(eventually { weak.withLock { $0?.file == nil } })
    }

    @Test func aConnectionThatGoesAwayLetsTheOwnerGo() throws {
        let weak = Mutex<WeakFile?>(nil)
        let server = try TestServer { _, _, _, _ in
            let file = TestFile(pattern(4_000_000, seed: 3))
            weak.withLock { $0 = WeakFile(file) }
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            return .answered(ResponseParts(bytes: buffer, files: [(4, file.part(0..<4_000_000))]))
        }
        defer { server.stop() }
        let client = try TestClient(port: server.port, receiveBuffer: 65_536)
        client.send(frame([1]))
        #expect(client.receive(4) == be32(4_000_000))
        client.shut()
        #expect(eventually { weak.withLock { $0?.file == nil } })
        #expect(eventually { server.server.connectionCount == 0 })
    }

    @Test(arguments: [100, 100_000])
    func aPartBeyondTheEndOfTheFileEndsTheConnection(length: Int) throws {
        let file = TestFile(pattern(50))
        var limits = TransportLimits()
        limits.tickMs = 50
        let server = try TestServer(limits: limits) { _, _, _, _ in
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            return .answered(ResponseParts(bytes: buffer, files: [(4, file.part(0..<length))]))
        }
        defer { server.stop() }
        let client = try TestClient(port: server.port)
        client.send(frame([1]))
        _ = client.receive(54)
        #expect(client.isAtEnd())
        #expect(server.logLines.contains("closed, a file part beyond the file's end"))
    }
}

private struct WeakFile: Sendable {
    weak let file: TestFile?
    init(_ file: TestFile) { self.file = file }
}
