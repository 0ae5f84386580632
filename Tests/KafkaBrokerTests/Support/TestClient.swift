import Glibc
import KafkaMessages
import KafkaPrimitives

/// One blocking connection that speaks the protocol, for tests.
final class TestClient {
    private let socket: CInt
    private var nextCorrelationID: Int32 = 1

    init(port: Int) throws {
        self.socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port).bigEndian)
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        // A test that waits for ever says nothing: an answer comes within 20 s or never.
        var timeout = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(self.socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        let code = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard code == 0 else { throw TestFailure("connect: \(errno)") }
    }

    deinit { Glibc.close(self.socket) }

    /// Sends a request and waits for its answer.
    func send<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Request.Response {
        let id = try self.sendOnly(request, version: version)
        return try self.receive(Request.self, version: version, correlationID: id)
    }

    /// Sends a request without waiting.
    @discardableResult
    func sendOnly<Request: KafkaRequest>(_ request: Request, version: Int16) throws -> Int32 {
        let id = self.nextCorrelationID
        self.nextCorrelationID += 1
        let bytes = withEncoded { writer in
            writer.writeInt16(Request.apiKey)
            writer.writeInt16(version)
            writer.writeInt32(id)
            writer.writeNullableString("test-client", flexible: false)
            if Request.requestHeaderVersion(version) >= 2 { writer.writeUnsignedVarint(0) }
            request.encode(into: &writer, version: version)
        }
        try self.write(withEncoded { $0.writeInt32(Int32(bytes.count)) } + bytes)
        return id
    }

    func receive<Request: KafkaRequest>(
        _: Request.Type, version: Int16, correlationID: Int32
    ) throws -> Request.Response {
        let frame = try self.receiveFrame()
        return try frame.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            let id = try reader.readInt32()
            guard id == correlationID else { throw TestFailure("correlation id \(id), expected \(correlationID)") }
            if Request.responseHeaderVersion(version) >= 1 { try reader.skipTaggedFields() }
            let response = try Request.Response(from: &reader, version: version)
            try reader.finish()
            return response
        }
    }

    func receiveFrame() throws -> [UInt8] {
        let length = try self.read(4).withUnsafeBytes { Int(Int32(bigEndian: $0.loadUnaligned(as: Int32.self))) }
        guard length >= 0 else { throw TestFailure("frame of \(length) bytes") }
        return try self.read(length)
    }

    func write(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(self.socket, $0.baseAddress! + sent, bytes.count - sent, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw TestFailure("send: \(errno)") }
            sent += count
        }
    }

    /// Exactly `count` bytes.
    func read(_ count: Int) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var got = 0
        while got < count {
            let more = bytes.withUnsafeMutableBytes { recv(self.socket, $0.baseAddress! + got, count - got, 0) }
            guard more > 0 else { throw TestFailure(more == 0 ? "closed by the broker" : "recv: \(errno)") }
            got += more
        }
        return bytes
    }

    /// Whether something has come that was not received yet.
    var hasAnswer: Bool {
        var byte: UInt8 = 0
        return recv(self.socket, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) > 0
    }

    /// Whether the broker closes the connection (within 20 s) without sending anything more.
    func isClosedByBroker() -> Bool {
        var byte: UInt8 = 0
        return recv(self.socket, &byte, 1, 0) == 0 || errno == ECONNRESET
    }
}
