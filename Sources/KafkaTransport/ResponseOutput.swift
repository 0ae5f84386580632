import Glibc
internal import NIOCore

/// Sends the answers of one loop. Small ones are copied together and leave in one send(2), large ones from where they
/// lie, long file parts by sendfile(2): all straight to the socket, as long as it takes everything. What it does not
/// take goes to the NIO channel, which sends it when the socket has room; until then nothing else is sent or worked
/// on for that connection.
///
/// Only touched on its loop, and used for one connection at a time: `add` as often as needed, then `finish`.
final class ResponseOutput {
    enum Failure: Error {
        /// The answer has no room for its length, is longer than 2 GiB, or its file parts are out of order.
        case malformed
        /// pread(2) or sendfile(2) gave this errno; 0: the file ends before the part does.
        case file(errno: CInt)
        /// The client is gone.
        case socket
    }

    private static let capacity = 64 * 1024
    /// Up to so many bytes are copied rather than sent from where they lie.
    private static let copyBytes = 8 * 1024
    /// After so many bytes of one part the loop turns to others, even if the socket takes more.
    private static let turnBytes = 4 * 1024 * 1024

    private let sendfileMinBytes: Int
    private let allocator = ByteBufferAllocator()
    /// What is put together for the connection that is being worked on.
    private let pending = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    @exclusivity(unchecked) private var used = 0
    @exclusivity(unchecked) private var small: [ByteBuffer] = []

    init(sendfileMinBytes: Int) { self.sendfileMinBytes = min(sendfileMinBytes, Self.capacity) }

    deinit { pending.deallocate() }

    // MARK: Buffers of answers

    func responseBuffer(capacity: Int) -> ByteBuffer {
        if capacity <= Self.copyBytes, var buffer = small.popLast() {
            buffer.reserveCapacity(capacity)
            return buffer
        }
        return allocator.buffer(capacity: max(capacity, 256))
    }

    private func recycle(_ buffer: inout ByteBuffer) {
        guard small.count < 32, buffer.capacity <= Self.copyBytes else { return }
        let isOurs: Void? = buffer.modifyIfUniquelyOwned { buffer in
            buffer.moveReaderIndex(to: 0)
            buffer.moveWriterIndex(to: 0)
        }
        if isOurs != nil { small.append(buffer) }
    }

    // MARK: Answers

    func add(_ answer: consuming ResponseParts, to connection: Connection) throws(Failure) {
        let count = answer.bytes.readableBytes
        guard count >= 4 else { throw .malformed }
        if answer.files.isEmpty {
            if count <= Self.copyBytes {
                try makeRoom(count, to: connection)
                let target = pending + used
                answer.bytes.withUnsafeReadableBytes { bytes in
                    target.copyMemory(from: bytes.baseAddress.unsafelyUnwrapped, byteCount: bytes.count)
                }
                target.storeBytes(of: Int32(truncatingIfNeeded: count - 4).bigEndian, as: Int32.self)
                used += count
                recycle(&answer.bytes)
            } else {
                guard count - 4 <= Int(Int32.max) else { throw .malformed }
                answer.bytes.setInteger(Int32(truncatingIfNeeded: count - 4), at: answer.bytes.readerIndex)
                try send(answer.bytes, to: connection)
            }
            return
        }
        var total = count - 4
        var before = 4
        for (place, part) in answer.files {
            guard place >= before, place <= count, part.length >= 0, part.position >= 0 else { throw .malformed }
            before = place
            total = total &+ part.length
            guard total <= Int(Int32.max) else { throw .malformed }
        }
        answer.bytes.setInteger(Int32(truncatingIfNeeded: total), at: answer.bytes.readerIndex)
        var done = 0
        for (place, part) in answer.files {
            try append(answer.bytes, from: done, upTo: place, to: connection)
            done = place
            if part.length < sendfileMinBytes {
                try read(part, to: connection)
            } else {
                try sendFile(part, to: connection)
            }
        }
        try append(answer.bytes, from: done, upTo: count, to: connection)
    }

    /// Sends what was put together.
    func finish(to connection: Connection) throws(Failure) { try push(to: connection, more: false) }

    /// Forgets what was put together, for a connection that is gone.
    func discard() { used = 0 }

    // MARK: Bytes

    private func append(_ bytes: ByteBuffer, from: Int, upTo end: Int, to connection: Connection) throws(Failure) {
        guard from < end, let slice = bytes.getSlice(at: bytes.readerIndex + from, length: end - from) else { return }
        guard end - from <= Self.copyBytes else { return try send(slice, to: connection) }
        try makeRoom(end - from, to: connection)
        let target = pending + used
        slice.withUnsafeReadableBytes { bytes in
            target.copyMemory(from: bytes.baseAddress.unsafelyUnwrapped, byteCount: bytes.count)
        }
        used += end - from
    }

    private func makeRoom(_ bytes: Int, to connection: Connection) throws(Failure) {
        if Self.capacity - used < bytes { try push(to: connection, more: true) }
    }

    private func push(to connection: Connection, more: Bool) throws(Failure) {
        guard used > 0 else { return }
        let bytes = UnsafeRawBufferPointer(start: pending, count: used)
        used = 0
        let sent = try connection.isBacklogged ? 0 : Self.send(bytes, to: connection.fd, more: more)
        guard sent < bytes.count else { return }
        var rest = allocator.buffer(capacity: bytes.count - sent)
        rest.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[sent...]))
        connection.handOver(rest)
    }

    private func send(_ bytes: ByteBuffer, to connection: Connection) throws(Failure) {
        try push(to: connection, more: true)
        var sent = 0
        if !connection.isBacklogged {
            sent = try bytes.withUnsafeReadableBytes { bytes throws(Failure) in
                try Self.send(bytes, to: connection.fd, more: false)
            }
        }
        guard sent < bytes.readableBytes else { return }
        var rest = bytes
        rest.moveReaderIndex(forwardBy: sent)
        connection.handOver(rest)
    }

    /// How many bytes the socket took.
    private static func send(_ bytes: UnsafeRawBufferPointer, to fd: CInt, more: Bool) throws(Failure) -> Int {
        // MSG_NOSIGNAL, MSG_DONTWAIT, MSG_MORE
        let flags: CInt = 0x4000 | 0x40 | (more ? 0x8000 : 0)
        while true {
            let sent = Glibc.send(fd, bytes.baseAddress, bytes.count, flags)
            if sent >= 0 { return sent }
            switch errno {
            case EINTR: continue
            case EAGAIN: return 0
            default: throw .socket
            }
        }
    }

    // MARK: Files

    private func read(_ part: FilePart, to connection: Connection) throws(Failure) {
        try makeRoom(part.length, to: connection)
        var done = 0
        while done < part.length {
            let got = pread(part.fd, pending + used, part.length - done, off_t(part.position) + off_t(done))
            guard got > 0 else {
                if got < 0, errno == EINTR { continue }
                throw .file(errno: got < 0 ? errno : 0)
            }
            done += got
            used += got
        }
    }

    private func sendFile(_ part: FilePart, to connection: Connection) throws(Failure) {
        try push(to: connection, more: true)
        var position = off_t(part.position)
        var left = part.length
        while left > 0, !connection.isBacklogged {
            let sent = sendfile(connection.fd, part.fd, &position, min(left, Self.turnBytes))
            if sent > 0 {
                left -= sent
                if part.length - left >= Self.turnBytes { break }
                continue
            }
            guard sent < 0 else { throw .file(errno: 0) }
            if errno == EAGAIN { break }
            if errno == EPIPE || errno == ECONNRESET { throw .socket }
            if errno != EINTR { throw .file(errno: errno) }
        }
        guard left > 0 else { return }
        guard part.isWithinFile else { throw .file(errno: 0) }
        connection.handOver(part, from: Int(position), upTo: Int(position) + left)
    }
}

/// What follows once the channel has sent what it has. A file leaves in pieces, so that each is looked at just before: what
/// was in the page cache when the answer was made may be gone when a slow reader comes to it.
enum Rest {
    case bytes(ByteBuffer)
    /// - Parameter seen: when it was known to be in the page cache, monotonic nanoseconds.
    case file(FilePart, from: Int, upTo: Int, seen: UInt64)

    /// So much of a file at a time: what sending it may cost the loop at most, should it be gone after all.
    static let pieceBytes = 256 * 1024
}

/// A piece of a file that the NIO channel has to send: keeps the file's owner, and borrows its descriptor.
final class Backlog: @unchecked Sendable {
    private var handle: NIOFileHandle?
    private var part: FilePart?

    init(_ part: FilePart? = nil) {
        self.part = part
        handle = part.map { NIOFileHandle(_deprecatedTakingOwnershipOfDescriptor: $0.fd) }
    }

    func region(from: Int, upTo: Int) -> FileRegion? {
        handle.map { FileRegion(fileHandle: $0, readerIndex: from, endIndex: upTo) }
    }

    /// The file was cut while it is sent: sendfile then gets no byte and NIO tries for ever.
    var isCut: Bool { part.map { !$0.isWithinFile } ?? false }

    /// All is sent, or nothing more will be. The descriptor stays open: it is the owner's.
    func release() {
        _ = try? handle?.takeDescriptorOwnership()
        handle = nil
        part = nil
    }
}

extension FilePart {
    var isWithinFile: Bool {
        var status = stat()
        return fstat(fd, &status) == 0 && Int64(status.st_size) - position >= Int64(length)
    }
}
