import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import KafkaTransport

/// A handler whose requests are answered by a closure; counts what happens.
final class ScriptedHandler: RequestHandler {
    typealias Script = (inout RequestFrame, Connection, RequestTicket, TransportLoop) -> RequestOutcome

    let loop: TransportLoop
    let counts: Counts
    let script: Script

    init(loop: TransportLoop, counts: Counts, script: @escaping Script) {
        self.loop = loop
        self.counts = counts
        self.script = script
    }

    func connected(_ connection: Connection) { counts.connected.add(1, ordering: .relaxed) }

    func request(
        _ frame: inout RequestFrame, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome {
        counts.requests.add(1, ordering: .relaxed)
        return script(&frame, connection, ticket, loop)
    }

    func disconnected(_ connection: Connection) { counts.disconnected.add(1, ordering: .relaxed) }

    func loopDrained() {}

    func isThere(
        _ part: FilePart, at position: Int64, count: Int, whenThere: @escaping @Sendable () -> Void
    ) -> Bool {
        counts.isThere.withLock { $0 }?(position, count, whenThere) ?? true
    }
}

final class Counts: Sendable {
    let connected = Atomic<Int>(0)
    let requests = Atomic<Int>(0)
    let disconnected = Atomic<Int>(0)
    /// What the handler says of parts of files; nil: all are there.
    let isThere = Mutex<(@Sendable (Int64, Int, @escaping @Sendable () -> Void) -> Bool)?>(nil)
}

/// An answer with the frame's bytes.
func echo(_ frame: inout RequestFrame, _ loop: TransportLoop) -> ResponseParts {
    var bytes = loop.responseBuffer(capacity: frame.count + 4)
    bytes.writeInteger(Int32(0))
    frame.withUnsafeMutableBytes { _ = bytes.writeBytes($0) }
    return ResponseParts(bytes: bytes)
}

func answer(_ text: [UInt8]) -> ResponseParts {
    var bytes = ByteBuffer()
    bytes.writeInteger(Int32(0))
    bytes.writeBytes(text)
    return ResponseParts(bytes: bytes)
}

/// A server on a free port, closed with `stop`.
final class TestServer: Sendable {
    let group: MultiThreadedEventLoopGroup
    let server: KafkaServer
    let port: Int
    let counts = Counts()
    let logLines: LogLines

    init(
        threads: Int = 2, limits: TransportLimits = TransportLimits(),
        script: @escaping @Sendable (inout RequestFrame, Connection, RequestTicket, TransportLoop) -> RequestOutcome = {
            frame, _, _, loop in .answered(echo(&frame, loop))
        }
    ) throws {
        group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        let lines = LogLines()
        logLines = lines
        var logger = Logger(label: "test") { _ in lines }
        logger.logLevel = .debug
        let counts = self.counts
        var limits = limits
        if limits.socketListenBacklogSize == 50 { limits.socketListenBacklogSize = 1024 }
        server = try KafkaServer(
            group: group, listeners: [Listener(name: "PLAINTEXT", host: "127.0.0.1", port: 0)], limits: limits,
            logger: logger
        ) { loop in ScriptedHandler(loop: loop, counts: counts, script: script) }
        port = try server.start().first?.port ?? 0
    }

    func stop() {
        server.shutdown(grace: .milliseconds(200))
        try? group.syncShutdownGracefully()
    }
}

final class LogLines: LogHandler, Sendable {
    private let lines = Mutex<[String]>([])
    var all: [String] { lines.withLock { $0 } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }

    func log(event: LogEvent) { lines.withLock { $0.append("\(event.message)") } }
    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    var metadata: Logger.Metadata {
        get { [:] }
        set {}
    }
    var logLevel: Logger.Level {
        get { .debug }
        set {}
    }
}

/// A blocking socket, with a receive time-out of some seconds.
final class TestClient {
    let fd: CInt

    init(port: Int, receiveBuffer: CInt = 0, timeoutSeconds: Int = 10) throws {
        fd = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
        guard fd >= 0 else { throw IOError(errnoCode: errno, reason: "socket") }
        if receiveBuffer > 0 {
            var size = receiveBuffer
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        }
        var timeout = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var one: CInt = 1
        setsockopt(fd, CInt(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<CInt>.size))
        let address = try SocketAddress(ipAddress: "127.0.0.1", port: port)
        let result = address.withSockAddr { connect(fd, $0, socklen_t($1)) }
        guard result == 0 else { throw IOError(errnoCode: errno, reason: "connect") }
    }

    deinit { shut() }

    private var isShut = false
    func shut() {
        if !isShut { close(fd) }
        isShut = true
    }

    @discardableResult
    func send(_ bytes: [UInt8]) -> Bool {
        var done = 0
        while done < bytes.count {
            let sent = bytes.withUnsafeBytes {
                Glibc.send(fd, $0.baseAddress! + done, bytes.count - done, CInt(MSG_NOSIGNAL))
            }
            guard sent > 0 else { return false }
            done += sent
        }
        return true
    }

    /// So many bytes, or fewer at the end of the connection or after the time-out.
    func receive(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var done = 0
        while done < count {
            let got = bytes.withUnsafeMutableBytes { recv(fd, $0.baseAddress! + done, count - done, 0) }
            guard got > 0 else { break }
            done += got
        }
        return Array(bytes.prefix(done))
    }

    func receiveFrame() -> [UInt8]? {
        let head = receive(4)
        guard head.count == 4 else { return nil }
        let length = head.reduce(0) { $0 << 8 | Int($1) }
        let body = receive(length)
        return body.count == length ? body : nil
    }

    /// The peer closed or reset the connection (within the time-out).
    func isAtEnd() -> Bool {
        var byte: UInt8 = 0
        let got = recv(fd, &byte, 1, 0)
        return got == 0 || (got < 0 && errno == ECONNRESET)
    }
}

func frame(_ body: [UInt8]) -> [UInt8] { be32(body.count) + body }

func be32(_ value: Int) -> [UInt8] {
    let bits = UInt32(bitPattern: Int32(truncatingIfNeeded: value))
    return [UInt8(bits >> 24), UInt8(bits >> 16 & 255), UInt8(bits >> 8 & 255), UInt8(bits & 255)]
}

/// A request with an api key, then bytes that tell it from others.
func request(_ apiKey: UInt8, _ text: [UInt8]) -> [UInt8] { frame([0, apiKey] + text) }

func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
    var state = UInt32(truncatingIfNeeded: seed) | 1
    return (0..<count).map { _ in
        state = state &* 1_664_525 &+ 1_013_904_223
        return UInt8(state >> 24)
    }
}

/// Waits for a condition for at most some seconds.
func eventually(seconds: Double = 5, _ condition: () -> Bool) -> Bool {
    let end = Clock.monotonic() + UInt64(seconds * 1e9)
    while Clock.monotonic() < end {
        if condition() { return true }
        usleep(2000)
    }
    return condition()
}
