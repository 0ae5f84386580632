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

    /// Each piece of what the socket did not take at once is asked for, one at a time, and sent when it is there.
    @Test func aSlowReaderWaitsForWhatIsGone() throws {
        let file = TestFile(pattern(6_000_000, seed: 4))
        var limits = TransportLimits()
        limits.freshFileMs = 0
        let server = try TestServer(limits: limits) { frame, _, _, _ in
            let index = frame.withUnsafeMutableBytes { Int($0[0]) }
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            buffer.writeBytes([1, 2, 3])
            let parts = [0..<3_000_000 + index, 5_000_000..<5_000_100, 1_000_000..<2_500_000]
            return .answered(
                ResponseParts(bytes: buffer, files: zip([4, 6, 7], parts).map { ($0, file.part($1)) }))
        }
        defer { server.stop() }
        let asked = Mutex((pieces: [Int](), waiting: 0, mostWaiting: 0))
        server.counts.isThere.withLock {
            $0 = { position, count, whenThere in
                let waits = asked.withLock { asked in
                    asked.pieces.append(count)
                    guard asked.pieces.count % 3 != 0 else { return false }
                    asked.waiting += 1
                    asked.mostWaiting = max(asked.mostWaiting, asked.waiting)
                    return true
                }
                guard waits else { return true }
                _ = Thread {
                    asked.withLock { $0.waiting -= 1 }
                    whenThere()
                }
                return false
            }
        }
        let client = try TestClient(port: server.port, receiveBuffer: 65_536)
        client.send(frame([0]) + frame([7]) + frame([200]))
        for index in [0, 7, 200] {
            var expected: [UInt8] = []
            expected += file.bytes[0..<3_000_000 + index]
            expected += [1, 2]
            expected += file.bytes[5_000_000..<5_000_100]
            expected += [3]
            expected += file.bytes[1_000_000..<2_500_000]
            #expect(client.receiveFrame() == expected)
        }
        let (pieces, waiting, mostWaiting) = asked.withLock { $0 }
        #expect(pieces.count > 10 && pieces.allSatisfy { $0 <= Rest.pieceBytes })
        #expect(waiting == 0 && mostWaiting == 1)
    }

    @Test func aConnectionThatGoesAwayWhileItWaitsLetsTheOwnerGo() throws {
        let weak = Mutex<WeakFile?>(nil)
        var limits = TransportLimits()
        limits.freshFileMs = 0
        let server = try TestServer(limits: limits) { _, _, _, _ in
            let file = TestFile(pattern(4_000_000, seed: 3))
            weak.withLock { $0 = WeakFile(file) }
            var buffer = ByteBuffer()
            buffer.writeInteger(Int32(0))
            return .answered(ResponseParts(bytes: buffer, files: [(4, file.part(0..<4_000_000))]))
        }
        defer { server.stop() }
        let waiting = Mutex<[@Sendable () -> Void]>([])
        server.counts.isThere.withLock {
            $0 = { _, _, whenThere in
                waiting.withLock { $0.append(whenThere) }
                return false
            }
        }
        let client = try TestClient(port: server.port, receiveBuffer: 65_536)
        client.send(frame([1]))
        #expect(client.receive(4) == be32(4_000_000))
        #expect(eventually { waiting.withLock { $0.count } == 1 })
        client.shut()
        #expect(eventually { server.server.connectionCount == 0 })
        for body in waiting.withLock({ $0 }) { body() }
        waiting.withLock { $0 = [] }
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
