import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import KafkaTransport
import NIOCore

/// What reaches an event loop from other threads.
enum LoopMessage: Sendable {
    /// A parked fetch has something to look at.
    case wakeUp(fetch: UInt64, target: Int, partition: Partition)
    /// A batch of a Produce that was queued.
    case appended(AppendWaiter, Result<AppendInfo, AppendError>)
    /// What a Produce waits for is committed, or never will be.
    case released(AppendWaiter, ErrorCode)
    /// The broker ends.
    case endWaits
}

/// What is told of a connection with each of its requests; made with the first.
private final class ConnectionInfo {
    let clientHost: String
    let endpoint: Endpoint

    init(clientHost: String, endpoint: Endpoint) {
        self.clientHost = clientHost
        self.endpoint = endpoint
    }
}

/// Requests of one event loop: parsed, carried out and answered on it, with no hand-off. Touched only there.
final class LoopRequestHandler: RequestHandler {
    let broker: Broker
    let loop: TransportLoop
    let scratch: DecompressionScratch
    let purgatory = FetchPurgatory()
    let produces = ProducePurgatory()
    /// Of the fetch that is worked on; kept for its memory.
    var results: [FetchResult] = []
    /// Where hot answers are written.
    let output = ResponseBuffer()
    /// No fetch is parked any more.
    var isEnding = false
    private var timer: Scheduled<Void>?
    private var timerDeadline: NIODeadline?
    private let handlers: [ApiHandler?]
    /// Not Kafka's. Decoded, and with its answer, a request takes a multiple of its size: those that carry no records
    /// nor assignments have this limit beside socket.request.max.bytes. It is room for half a million partitions.
    static let maximalOrdinaryBytes = 16 << 20
    private static let mayBeLong: Set<Int16> = [
        ProduceRequest.apiKey, JoinGroupRequest.apiKey, SyncGroupRequest.apiKey,
    ]

    func isThere(
        _ part: FilePart, at position: Int64, count: Int, whenThere: @escaping @Sendable () -> Void
    ) -> Bool {
        guard let file = part.owner as? LogFile else { return true }
        return self.broker.replicaManager.logManager.reads.isThere(
            file, at: Int(position), count: count, whenThere: whenThere)
    }

    init(broker: Broker, loop: TransportLoop) {
        self.broker = broker
        self.loop = loop
        self.scratch = DecompressionScratch()
        var handlers = [ApiHandler?](repeating: nil, count: 128)
        for handler in broker.apiHandlers { handlers[Int(handler.key)] = handler }
        self.handlers = handlers
    }

    func connected(_ connection: Connection) {}

    func disconnected(_ connection: Connection) {
        guard let fetch = self.purgatory.fetch(of: connection) else { return }
        self.purgatory.remove(fetch, loop: self.loop.index)
        self.giveBack(&fetch.operation)
    }

    func request(_ frame: inout RequestFrame, on connection: Connection, ticket: RequestTicket) -> RequestOutcome {
        frame.withUnsafeMutableBytes { bytes in
            self.request(bytes, on: connection, ticket: ticket)
        }
    }

    private func request(
        _ bytes: UnsafeMutableRawBufferPointer, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome {
        var reader = ByteReader(UnsafeRawBufferPointer(bytes))
        do throws(DecodingError) {
            let key = try reader.readInt16()
            let version = try reader.readInt16()
            let correlationID = try reader.readInt32()
            guard key >= 0, Int(key) < self.handlers.count, let handler = self.handlers[Int(key)] else {
                return .close("a request with the api key \(key), which is not served")
            }
            // Never compact, even in a flexible header.
            let clientIDLength = Int(try reader.readInt16())
            let clientID = clientIDLength < 0 ? nil : try reader.readView(clientIDLength)
            guard handler.versions.contains(version) else {
                if key == ApiVersionsRequest.apiKey {
                    return .answered(ResponseParts(bytes: ApiHandler.unsupportedApiVersions(correlationID)))
                }
                return .close("\(handler.name) in version \(version); \(handler.versions) are served")
            }
            if bytes.count > Self.maximalOrdinaryBytes, !Self.mayBeLong.contains(key) {
                return .close("\(handler.name) of \(bytes.count) bytes; \(Self.maximalOrdinaryBytes) are taken")
            }
            if version >= handler.firstFlexibleVersion { try reader.skipTaggedFields() }
            switch handler.body {
            case .produce:
                return try self.produce(
                    bytes, bodyAt: reader.position, version: version, correlationID: correlationID,
                    clientID: clientID, on: connection, ticket: ticket)
            case .fetch:
                return try self.fetch(
                    UnsafeRawBufferPointer(bytes), bodyAt: reader.position, version: version,
                    correlationID: correlationID, on: connection, ticket: ticket)
            case .ordinary(let run):
                let pending = PendingResponse(
                    connection: connection, ticket: ticket, version: version, correlationID: correlationID,
                    flexibleHeader: handler.responseHeaderIsFlexible(version: version))
                let info = self.info(of: connection)
                let context = RequestContext(
                    broker: self.broker, apiKey: key, apiVersion: version, correlationID: correlationID,
                    clientID: clientID.map { String(decoding: $0, as: UTF8.self) },
                    clientHost: info.clientHost, listenerName: connection.listener.name,
                    endpoint: info.endpoint, connectionID: connection.id,
                    nowMs: wallClockMs())
                do throws(DecodingError) {
                    try run(&reader, context, pending)
                } catch {
                    _ = pending.handlerReturned()
                    pending.abandon()
                    throw error
                }
                if let parts = pending.handlerReturned() { return .answered(parts) }
                return .pending(mayOverlap: false)
            }
        } catch {
            return .close("a request that cannot be read: \(error)")
        }
    }

    func loopDrained() {}

    /// What was written, as a buffer of its own.
    func takeOutput() -> ByteBuffer {
        let bytes = self.output.bytes
        var buffer = self.loop.responseBuffer(capacity: bytes.count)
        buffer.writeBytes(bytes)
        return buffer
    }

    /// From this loop's requests or from another thread.
    func received(_ messages: [LoopMessage]) {
        for message in messages {
            switch message {
            case .wakeUp(let id, let target, let partition):
                guard let fetch = self.purgatory.fetch(id) else { continue }
                self.lookAgain(at: fetch, target: target, wokenBy: partition)
            case .appended(let waiter, let result):
                self.appended(waiter, result)
            case .released(let waiter, let error):
                self.released(waiter, error)
            case .endWaits:
                self.endWaits()
            }
        }
    }

    private func info(of connection: Connection) -> ConnectionInfo {
        if let info = connection.userData as? ConnectionInfo { return info }
        let info = ConnectionInfo(
            clientHost: connection.clientHost, endpoint: self.broker.endpoint(for: connection))
        connection.userData = info
        return info
    }

    /// Arms the one timer of this loop for the nearest deadline.
    func armTimer() {
        let deadlines = (self.purgatory.nextDeadline(), self.produces.nextDeadline())
        guard let next = deadlines.0.map({ min($0, deadlines.1 ?? $0) }) ?? deadlines.1 else { return }
        if let armed = self.timerDeadline, armed <= next { return }
        self.timer?.cancel()
        self.timerDeadline = next
        // The closure runs on this handler's own loop.
        let handler = UncheckedSendableBox(self)
        self.timer = self.loop.eventLoop.scheduleTask(deadline: next) { handler.value.timerFired() }
    }

    private func timerFired() {
        self.timer = nil
        self.timerDeadline = nil
        let now = NIODeadline.now()
        // As one burst: the answers to one connection leave together.
        self.loop.run {
            while let fetch = self.purgatory.popDue(now: now) { self.timeIsUp(for: fetch) }
            while let request = self.produces.popDue(now: now) { self.timeIsUp(for: request) }
        }
        self.armTimer()
    }
}

/// Carries a value that belongs to one event loop into a closure that runs on that same loop.
struct UncheckedSendableBox<Value>: @unchecked Sendable {
    let value: Value
    init(_ value: Value) { self.value = value }
}
