import KafkaMessages
import KafkaPrimitives
import KafkaTransport
import NIOCore
import Synchronization

/// The answer that a connection waits for. Given once; dropped without an answer it closes the connection, so that no
/// client waits for ever for a handler's mistake.
package final class PendingResponse: @unchecked Sendable {
    private let connection: Connection
    private let ticket: RequestTicket
    private let eventLoop: any EventLoop
    private let version: Int16
    private let correlationID: Int32
    private let flexibleHeader: Bool
    private let answered = Atomic<Bool>(false)

    // Touched on the event loop only: while the handler runs there, an answer is kept here and leaves with the burst.
    private var handling = true
    private var parts: ResponseParts?

    init(
        connection: Connection, ticket: RequestTicket, version: Int16, correlationID: Int32, flexibleHeader: Bool
    ) {
        self.connection = connection
        self.ticket = ticket
        self.eventLoop = connection.eventLoop
        self.version = version
        self.correlationID = correlationID
        self.flexibleHeader = flexibleHeader
    }

    deinit {
        guard !self.answered.load(ordering: .relaxed) else { return }
        let connection = self.connection
        self.eventLoop.execute { connection.close("a request was left without an answer") }
    }

    func answer<Response: KafkaMessage>(_ response: Response) {
        guard !self.answered.exchange(true, ordering: .acquiringAndReleasing) else { return }
        let encoded = encodeResponse(
            response, version: self.version, correlationID: self.correlationID, flexibleHeader: self.flexibleHeader)
        guard let bytes = encoded else {
            let connection = self.connection
            return self.eventLoop.execute {
                connection.close("an answer of more than \(maximalResponseBytes) bytes was asked for")
            }
        }
        if self.eventLoop.inEventLoop {
            if self.handling {
                self.parts = ResponseParts(bytes: bytes)
            } else {
                self.connection.complete(self.ticket, ResponseParts(bytes: bytes))
            }
        } else {
            let (connection, ticket) = (self.connection, self.ticket)
            self.eventLoop.execute { connection.complete(ticket, ResponseParts(bytes: bytes)) }
        }
    }

    /// The connection is closed instead of an answer. Any thread.
    package func close(_ reason: String) {
        guard !self.answered.exchange(true, ordering: .acquiringAndReleasing) else { return }
        let connection = self.connection
        self.eventLoop.execute { connection.close(reason) }
    }

    /// Nothing was begun for this request (it could not be read): no answer is owed.
    func abandon() { self.answered.store(true, ordering: .relaxed) }

    /// The handler has returned: what it answered meanwhile, or nil when that comes later.
    func handlerReturned() -> ResponseParts? {
        self.handling = false
        defer { self.parts = nil }
        return self.parts
    }
}

/// Gives a handler's answer: exactly once, now or later, from any thread.
package struct Responder<Response: KafkaMessage>: Sendable {
    let pending: PendingResponse

    package func callAsFunction(_ response: Response) { self.pending.answer(response) }
}
