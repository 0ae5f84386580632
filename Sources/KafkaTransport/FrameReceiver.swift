internal import NIOCore

/// The receive buffer of one connection, and the frames in it.
///
/// NIO asks it for the buffer of each read (it is the channel's RecvByteBufferAllocator): it hands out its own buffer,
/// partly filled, by moving it out, so that NIO appends to it without a copy; channelRead gives it back. Between two
/// reads with nothing left over it holds no buffer at all.
///
/// NIO keeps a reference to the very first buffer that it is given (NIOPooledRecvBufferAllocator), and to no later one
/// as long as `maxMessagesPerRead` is 1, `nextBufferSize` nil and `record` true: the first is a throwaway.
/// During channelRead NIO still holds the buffer; in channelReadComplete it is ours alone.
///
/// Only touched on its loop.
final class FrameReceiver: RecvByteBufferAllocator, @unchecked Sendable {
    enum Next {
        case frame(length: Int)
        case incomplete
        case badLength(Int)
    }

    enum Settled {
        case empty
        /// Holds bytes, and there is room for the next read.
        case holding
        /// Needs more memory than there is.
        case noMemory
    }

    private let pool: BufferPool
    private let memory: RequestMemoryPool
    private let maxFrame: Int
    /// A large frame that has got so far moves into a buffer of its own.
    private static let largeFrom = 32 * 1024
    private static let smallestLarge = 128 * 1024

    @exclusivity(unchecked) private var storage: ByteBuffer?
    @exclusivity(unchecked) private var base: UnsafeMutableRawPointer
    /// Unread bytes: `base + head ..< base + tail`.
    @exclusivity(unchecked) private var head = 0
    @exclusivity(unchecked) private var tail = 0
    @exclusivity(unchecked) private var isFirst = true
    @exclusivity(unchecked) private var isLent = false
    @exclusivity(unchecked) private var isThrowaway = false
    /// The size of the last frame: the next one is likely to need the same.
    @exclusivity(unchecked) private var expected = 0
    @exclusivity(unchecked) private(set) var charged = 0
    @exclusivity(unchecked) private(set) var takenBytes = 0
    @exclusivity(unchecked) private(set) var hasLostBytes = false
    /// For tests: reads after which the bytes lay elsewhere than before (there must be none).
    @exclusivity(unchecked) private(set) var copiesByNIO = 0

    init(pool: BufferPool, memory: RequestMemoryPool, maxFrame: Int) {
        self.pool = pool
        self.memory = memory
        self.maxFrame = maxFrame
        base = UnsafeMutableRawPointer(bitPattern: 8).unsafelyUnwrapped
    }

    var unread: Int { tail - head }
    /// A whole request waits.
    var hasFrame: Bool {
        if case .incomplete = next() { return false }
        return true
    }
    var holdsReadBuffer: Bool { storage?.storageCapacity == BufferPool.readSize }
    var isLarge: Bool { charged > RequestMemoryPool.smallBytes }

    // MARK: NIO's reads

    func nextBufferSize() -> Int? { nil }
    func record(actualReadBytes: Int) -> Bool { true }

    func buffer(allocator: ByteBufferAllocator) -> ByteBuffer {
        if isFirst {
            isFirst = false
            return allocator.buffer(capacity: 16)
        }
        if isLent, !isThrowaway {
            // A read that was announced and found nothing: what was in the buffer went with it.
            hasLostBytes = hasLostBytes || tail > head
            head = 0
            tail = 0
        }
        makeRoom()
        isLent = true
        if !isThrowaway, let buffer = storage.take() { return buffer }
        isThrowaway = true
        return pool.readBuffer()
    }

    /// Makes sure that `storage` has room; where it cannot, the next read is thrown away (it is that of an end of file
    /// that NIO wants to see).
    private func makeRoom() {
        isThrowaway = false
        let capacity = heldCapacity
        if capacity == 0 {
            if expected > BufferPool.readSize, let large = pool.recycledLarge(wanted: expected) {
                adopt(consume large, window: expected)
            } else {
                adopt(pool.readBuffer())
            }
            head = 0
            tail = 0
        } else if capacity < BufferPool.readSize {
            moveUnread(into: pool.readBuffer())
        } else if room == 0 {
            isThrowaway = true
        }
    }

    private var heldCapacity: Int { storage?.storageCapacity ?? 0 }
    private var room: Int { storage?.writableBytes ?? 0 }

    /// Takes a buffer that nobody else holds as the storage, empty and writable up to `window` bytes.
    private func adopt(_ buffer: consuming ByteBuffer, window: Int = .max) {
        storage = consume buffer
        bound(window)
    }

    /// Empties the storage and lets a read fill it up to `window` bytes: the bound of a slice is the bound of the
    /// read, which must not go far beyond the frame's end. The bytes stay where they are.
    private func bound(_ window: Int) {
        storage?.clear()  // forgets the bound of before
        if window < heldCapacity {
            storage?.moveWriterIndex(to: window)
            storage = storage?.getSlice(at: 0, length: window)
            storage?.moveWriterIndex(to: 0)
        }
        base = storage?.withVeryUnsafeBytes { UnsafeMutableRawPointer(mutating: $0.baseAddress) } ?? base
    }

    private func moveUnread(into buffer: consuming ByteBuffer, window: Int = .max) {
        var old = storage.take()
        let from = base + head
        let count = tail - head
        adopt(consume buffer, window: window)
        base.copyMemory(from: from, byteCount: count)
        setUnread(count)
        pool.recycle(&old)
    }

    private func setUnread(_ count: Int) {
        head = 0
        tail = count
        storage?.moveWriterIndex(to: count)
    }

    func accept(_ buffer: ByteBuffer) {
        if isLent {
            isLent = false
            if isThrowaway {
                hasLostBytes = true
                return
            }
            tail = buffer.writerIndex
            let returned = buffer.withVeryUnsafeBytes { UnsafeMutableRawPointer(mutating: $0.baseAddress) } ?? base
            if returned != base { copiesByNIO += 1 }
            base = returned
            storage = buffer
            return
        }
        // The first, tiny one, which NIO keeps.
        if storage == nil {
            adopt(pool.readBuffer())
            head = 0
            tail = 0
        }
        guard room >= buffer.readableBytes else {
            hasLostBytes = true
            return
        }
        storage?.writeImmutableBuffer(buffer)
        tail += buffer.readableBytes
    }

    // MARK: Frames

    func next() -> Next {
        guard tail - head >= 4 else { return .incomplete }
        let length = Int(Int32(bigEndian: base.loadUnaligned(fromByteOffset: head, as: Int32.self)))
        guard length >= 0, length <= maxFrame else { return .badLength(length) }
        guard tail - head - 4 >= length else { return .incomplete }
        return .frame(length: length)
    }

    /// The api key of the frame at the head, which is whole; -1 where it is too short for one.
    func apiKey(length: Int) -> Int16 {
        guard length >= 2 else { return -1 }
        return Int16(bigEndian: base.loadUnaligned(fromByteOffset: head + 4, as: Int16.self))
    }

    /// The frame at the head, which is whole and is consumed with it.
    func frame(length: Int) -> RequestFrame {
        let start = base + head + 4
        head += 4 + length
        expected = 4 + length
        return RequestFrame(base: start, count: length, receiver: self)
    }

    func take(from start: UnsafeMutableRawPointer, count: Int) -> ByteBuffer {
        let offset = start - base
        guard count > 16 * 1024, offset + count == head, var whole = storage.take() else {
            var copy = pool.fresh(capacity: count)
            copy.writeBytes(UnsafeRawBufferPointer(start: start, count: count))
            return copy
        }
        // The buffer goes, what follows the frame in it moves out.
        takenBytes += whole.storageCapacity
        memory.reserveSmall(whole.storageCapacity)
        let rest = tail - head
        let from = base + head
        if rest > 0 {
            adopt(rest <= BufferPool.readSize ? pool.readBuffer() : pool.fresh(capacity: rest))
            base.copyMemory(from: from, byteCount: rest)
        }
        setUnread(rest)
        whole.moveReaderIndex(to: offset)
        whole.moveWriterIndex(to: offset + count)
        return whole
    }

    /// The requests whose bytes were taken are answered.
    func releaseTaken() {
        memory.release(takenBytes)
        takenBytes = 0
    }

    // MARK: Between two reads

    /// Bytes of the frame at the head, its length included; 0 where that is unknown or not allowed.
    private var announced: Int {
        guard tail - head >= 4 else { return 0 }
        let length = Int(Int32(bigEndian: base.loadUnaligned(fromByteOffset: head, as: Int32.self)))
        return length >= 0 && length <= maxFrame ? 4 + length : 0
    }

    /// After a burst: gives back what is not needed, makes room for the frame that has begun.
    /// `keepsReadBuffer`: a few bytes may stay in the 64 KiB buffer that they came in.
    func settle(keepsReadBuffer: Bool) -> Settled {
        let rest = tail - head
        let capacity = heldCapacity
        guard rest > 0, capacity > 0 else {
            pool.recycle(&storage)
            head = 0
            tail = 0
            charge(0)
            return .empty
        }
        let total = announced
        if total > BufferPool.readSize, rest < total, rest >= Self.largeFrom || capacity > BufferPool.readSize {
            if head == 0, room > 0, charged == capacity { return .holding }
            return growLarge(rest: rest, total: total, capacity: capacity)
        }
        if capacity > BufferPool.readSize {
            // Small things in a large buffer; whole requests that wait stay where they are when they are many.
            if rest <= Self.largeFrom { shrink() } else { setBack(rest) }
        } else if capacity == BufferPool.readSize {
            if keepsReadBuffer || rest > Self.largeFrom { setBack(rest) } else { shrink() }
        }
        charge(heldCapacity)
        return .holding
    }

    /// Moves a few bytes into a buffer of their size.
    func shrink() {
        let rest = tail - head
        guard heldCapacity > 2 * rest, heldCapacity > 1024 else { return }
        moveUnread(into: pool.fresh(capacity: max(rest, 512)))
        charge(heldCapacity)
    }

    /// Moves the unread bytes to the front where the room behind them gets short.
    private func setBack(_ rest: Int) {
        guard head > 0, room < 16 * 1024 || room < announced - rest else { return }
        base.copyMemory(from: base + head, byteCount: rest)
        setUnread(rest)
    }

    private func growLarge(rest: Int, total: Int, capacity: Int) -> Settled {
        let wanted = min(total, max(Self.smallestLarge, 2 * rest))
        if capacity >= wanted {
            // `capacity` is memory in hand: the frame may use all of it.
            if head > 0 { base.copyMemory(from: base + head, byteCount: rest) }
            charge(capacity)
            bound(min(total, capacity))
            setUnread(rest)
            return .holding
        }
        var recycled = pool.recycledLarge(wanted: total)
        let recycledCapacity = recycled?.storageCapacity ?? 0
        if recycledCapacity >= wanted {
            guard reserve(recycledCapacity), let buffer = recycled.take() else {
                pool.recycle(&recycled)
                return setAside()
            }
            moveUnread(into: consume buffer, window: min(total, recycledCapacity))
            return .holding
        }
        pool.recycle(&recycled)
        var size = Self.smallestLarge
        while size < wanted { size *= 2 }
        guard reserve(size) else { return setAside() }
        if capacity > BufferPool.readSize, head == 0 {
            storage?.clear()
            storage?.moveWriterIndex(to: rest)
            storage?.reserveCapacity(size)  // realloc: pages are moved, not copied
            bound(min(total, size))
            setUnread(rest)
        } else {
            moveUnread(into: pool.fresh(capacity: size), window: min(total, size))
        }
        return .holding
    }

    private func setAside() -> Settled {
        if charged < heldCapacity { charge(heldCapacity) }
        return .noMemory
    }

    private func reserve(_ capacity: Int) -> Bool {
        guard capacity > charged else { return true }
        guard memory.reserveLarge(capacity - charged) else { return false }
        charged = capacity
        return true
    }

    private func charge(_ bytes: Int) {
        if bytes > charged { memory.reserveSmall(bytes - charged) } else { memory.release(charged - bytes) }
        charged = bytes
    }

    /// The connection is gone.
    func close() {
        pool.recycle(&storage)
        head = 0
        tail = 0
        isLent = false
        charge(0)
        releaseTaken()
    }
}
