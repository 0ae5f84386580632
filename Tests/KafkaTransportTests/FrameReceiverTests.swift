import NIOCore
import Testing

@testable import KafkaTransport

/// The receiver under NIO's own buffer pool, without a socket.
private struct Reader {
    let memory: RequestMemoryPool
    let buffers: BufferPool
    let receiver: FrameReceiver
    private var pool: NIOPooledRecvBufferAllocator

    init(memoryBytes: Int = 64 << 20) {
        memory = RequestMemoryPool(capacity: memoryBytes)
        buffers = BufferPool(maxLargeBytes: 16 << 20)
        receiver = FrameReceiver(pool: buffers, memory: memory, maxFrame: 100 << 20)
        pool = NIOPooledRecvBufferAllocator(capacity: 1, recvAllocator: receiver)
    }

    /// One read, as NIO's channel does it, of at most `bytes`. How many fitted.
    mutating func read(_ bytes: ArraySlice<UInt8>) -> Int {
        let (buffer, count) = pool.buffer(allocator: ByteBufferAllocator()) { buffer in
            let count = min(bytes.count, buffer.writableBytes)
            buffer.writeBytes(bytes.prefix(count))
            return count
        }
        guard count > 0 else { return 0 }
        pool.record(actualReadBytes: count)
        receiver.accept(buffer)
        return count
    }

    /// Reads all, in pieces of at most `piece`, and gives each whole frame to `body`.
    mutating func feed(
        _ bytes: [UInt8], piece: Int, keepsReadBuffer: Bool = true, _ body: (inout RequestFrame) -> Void
    ) {
        var done = 0
        while done < bytes.count {
            let count = read(bytes[done..<min(bytes.count, done + piece)])
            guard count > 0 else {
                Issue.record("no room for a read")
                return
            }
            done += count
            while case .frame(let length) = receiver.next() {
                var frame = receiver.frame(length: length)
                body(&frame)
            }
            guard receiver.settle(keepsReadBuffer: keepsReadBuffer) != .noMemory else { return }
        }
    }
}

struct FrameReceiverTests {
    @Test(arguments: [1 << 10, 10_000, 1 << 20])
    func readsAppendInPlace(piece: Int) {
        var reader = Reader()
        var seen = 0
        for size in [3, 1000, 1_000_000, 1_000_000, 200_000, 3_000_000, 5, 1_000_000] {
            let body = pattern(size, seed: size)
            reader.feed(frame(body), piece: piece) { frame in
                seen += 1
                #expect(frame.withUnsafeMutableBytes { Array($0) } == body)
            }
        }
        #expect(seen == 8)
        #expect(reader.receiver.copiesByNIO == 0)
        #expect(!reader.receiver.hasLostBytes)
        #expect(reader.memory.inUse == 0)
    }

    @Test func aLargeFrameIsReadIntoTheBufferOfTheLast() {
        var reader = Reader()
        var addresses: [UnsafeMutableRawPointer?] = []
        for _ in 0..<5 {
            reader.feed(frame(pattern(1_000_000)), piece: 100_000) { frame in
                addresses.append(frame.withUnsafeMutableBytes { $0.baseAddress })
            }
        }
        #expect(Set(addresses.dropFirst()).count == 1)
        #expect(reader.receiver.copiesByNIO == 0)
    }

    @Test(arguments: [true, false])
    func framesAcrossReads(keepsReadBuffer: Bool) {
        var reader = Reader()
        let bodies = (0..<300).map { pattern($0 * 37 % 9000, seed: $0) }
        var got: [[UInt8]] = []
        reader.feed(bodies.flatMap(frame), piece: 65_536, keepsReadBuffer: keepsReadBuffer) { frame in
            got.append(frame.withUnsafeMutableBytes { Array($0) })
        }
        #expect(got == bodies)
        #expect(reader.memory.inUse == 0)
        #expect(reader.receiver.copiesByNIO == 0)
    }

    /// A megabyte is promised and sent; what is held at any time is no more than twice what came (or a small buffer).
    @Test func memoryIsReservedAsBytesArrive() {
        var reader = Reader()
        let bytes = be32(50 << 20) + pattern(1_200_000)
        for end in stride(from: 0, to: bytes.count, by: 7000) {
            reader.feed(Array(bytes[end..<min(end + 7000, bytes.count)]), piece: 7000) { _ in Issue.record("no frame") }
            let came = min(end + 7000, bytes.count)
            #expect(reader.memory.inUse <= max(65_536, 4 * came))
            #expect(reader.memory.inUse >= came)
        }
        reader.receiver.close()
        #expect(reader.memory.inUse == 0)
    }

    @Test func aTakenFrameOutlivesTheRequest() {
        var reader = Reader()
        var taken: [ByteBuffer] = []
        let bodies = [pattern(100), pattern(900_000, seed: 2), pattern(40_000, seed: 3), pattern(20, seed: 4)]
        for _ in 0..<3 {
            reader.feed(bodies.flatMap(frame), piece: 1 << 20) { taken.append($0.take()) }
        }
        #expect(taken.map { Array($0.readableBytesView) } == bodies + bodies + bodies)
        #expect(reader.memory.inUse > 900_000)
        reader.receiver.releaseTaken()
        #expect(reader.memory.inUse == 0)
    }

    @Test func bytesMayBeChangedInPlace() {
        var reader = Reader()
        reader.feed(frame(pattern(500_000)), piece: 100_000) { frame in
            frame.withUnsafeMutableBytes { $0[7] = 42 }
            #expect(Array(frame.take().readableBytesView.dropFirst(7).prefix(1)) == [42])
        }
    }

    @Test func largeFramesAreRefusedWhenMemoryIsFullAndSmallOnesAreNot() {
        var reader = Reader(memoryBytes: 200_000)
        reader.feed(be32(1 << 20) + pattern(400_000), piece: 50_000) { _ in }
        #expect(reader.memory.inUse <= 200_000)
        #expect(reader.receiver.unread < 200_000)
        var small = Reader(memoryBytes: 1)
        var seen = 0
        small.feed(frame(pattern(60_000)), piece: 10_000) { _ in seen += 1 }
        #expect(seen == 1)
    }
}
