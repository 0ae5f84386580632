package import NIOCore

/// Works on the requests of one event loop, and is only touched on it. Its methods are never called within one another.
package protocol RequestHandler: AnyObject {
    func connected(_ connection: Connection)
    /// One request. The bytes of `frame` are only valid until this returns, unless they are taken.
    func request(
        _ frame: inout RequestFrame, on connection: Connection, ticket: RequestTicket
    ) -> RequestOutcome
    /// The connection is gone; tickets that are still open need no answer any more (one that comes is dropped).
    func disconnected(_ connection: Connection)
    /// After a burst of requests, and after everything that the burst's completions set going.
    func loopDrained()
    /// A socket takes a part of a file more slowly than it was there: asked before the next piece of it is sent. True
    /// where that may be sent without waiting for the disk; else `whenThere` is called later, once, by any thread.
    func isThere(
        _ part: FilePart, at position: Int64, count: Int, whenThere: @escaping @Sendable () -> Void
    ) -> Bool
}

extension RequestHandler {
    package func isThere(
        _ part: FilePart, at position: Int64, count: Int, whenThere: @escaping @Sendable () -> Void
    ) -> Bool { true }
}

/// Names a request of a connection, in order of arrival.
package struct RequestTicket: Hashable, Sendable {
    package let rawValue: UInt64
}

package enum RequestOutcome {
    case answered(ResponseParts)
    /// The request has no answer (Produce with acks=0).
    case noResponse
    /// `Connection.complete` comes later. `mayOverlap`: a Produce that follows may be worked on meanwhile.
    case pending(mayOverlap: Bool)
    /// The connection is closed, after what was answered before is flushed; the text goes to the log.
    case close(String)
}

/// An answer: bytes, and parts of files among them.
package struct ResponseParts {
    /// Begins with four bytes for the length, which the transport fills in.
    package var bytes: ByteBuffer
    /// Each is inserted after so many bytes of `bytes` (the four included), ascending; several may share a place.
    package var files: [(atByte: Int, part: FilePart)]

    package init(bytes: ByteBuffer, files: [(atByte: Int, part: FilePart)] = []) {
        self.bytes = bytes
        self.files = files
    }
}

/// A piece of an open file. It must not become shorter while the answer is under way.
package struct FilePart {
    package var fd: CInt
    package var position: Int64
    package var length: Int
    /// Kept alive until the bytes have left.
    package var owner: AnyObject

    package init(fd: CInt, position: Int64, length: Int, owner: AnyObject) {
        self.fd = fd
        self.position = position
        self.length = length
        self.owner = owner
    }
}

/// A request's bytes, without the four of its length. They may be changed in place.
package struct RequestFrame {
    @usableFromInline let base: UnsafeMutableRawPointer
    package let count: Int
    private unowned(unsafe) let receiver: FrameReceiver

    init(base: UnsafeMutableRawPointer, count: Int, receiver: FrameReceiver) {
        self.base = base
        self.count = count
        self.receiver = receiver
    }

    @inlinable
    package mutating func withUnsafeMutableBytes<R, E: Error>(
        _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
    ) throws(E) -> R {
        try body(UnsafeMutableRawBufferPointer(start: base, count: count))
    }

    /// Makes the bytes the caller's own: a copy when they are few, else the buffer itself. At most once, and
    /// `withUnsafeMutableBytes` must not be used afterwards.
    package mutating func take() -> ByteBuffer { receiver.take(from: base, count: count) }
}
