internal import NIOCore

/// Receive buffers of one loop, recycled so that fresh pages need not be faulted in for every large request.
/// Only touched on its loop.
final class BufferPool {
    /// What a read is given when nothing is known about what comes.
    static let readSize = 64 * 1024
    /// The largest buffer that is kept.
    static let maxRecycled = 4 * 1024 * 1024
    private static let maxReadBuffers = 32

    private let allocator = ByteBufferAllocator()
    private let maxLargeBytes: Int
    @exclusivity(unchecked) private var reads: [ByteBuffer] = []
    /// By power of two: 128 KiB, 256 KiB … 4 MiB.
    @exclusivity(unchecked) private var large: [[ByteBuffer]] = Array(repeating: [], count: 6)
    @exclusivity(unchecked) private var largeBytes = 0
    /// The fewest bytes that lay unused since the last trim: that much is not needed.
    @exclusivity(unchecked) private var unusedBytes = 0
    @exclusivity(unchecked) private var unusedReads = 0

    init(maxLargeBytes: Int) { self.maxLargeBytes = maxLargeBytes }

    func readBuffer() -> ByteBuffer {
        guard let buffer = reads.popLast() else { return allocator.buffer(capacity: Self.readSize) }
        if reads.count < unusedReads { unusedReads = reads.count }
        return buffer
    }

    func fresh(capacity: Int) -> ByteBuffer { allocator.buffer(capacity: capacity) }

    /// A recycled buffer over `readSize`: one that holds `wanted`, else the largest there is.
    func recycledLarge(wanted: Int) -> ByteBuffer? {
        guard largeBytes > 0 else { return nil }
        let first = Self.index(of: min(wanted, Self.maxRecycled))
        for index in first..<large.count where !large[index].isEmpty { return pop(index) }
        for index in (0..<first).reversed() where !large[index].isEmpty { return pop(index) }
        return nil
    }

    private func pop(_ index: Int) -> ByteBuffer? {
        let buffer = large[index].popLast()
        largeBytes -= 0x20000 << index
        if largeBytes < unusedBytes { unusedBytes = largeBytes }
        return buffer
    }

    /// The smallest class that holds `bytes`.
    private static func index(of bytes: Int) -> Int {
        var index = 0
        while index < 5 && (0x20000 << index) < bytes { index += 1 }
        return index
    }

    /// Takes a buffer back; keeps it where it has one of the pool's sizes, nobody else holds it and there is room.
    func recycle(_ given: inout ByteBuffer?) {
        guard var buffer = given.take() else { return }
        let capacity = buffer.storageCapacity
        guard capacity == Self.readSize || (capacity >= 0x20000 && capacity <= Self.maxRecycled) else { return }
        guard buffer.modifyIfUniquelyOwned({ $0.clear() }) != nil else { return }
        if capacity == Self.readSize {
            if reads.count < Self.maxReadBuffers { reads.append(buffer) }
        } else if largeBytes + capacity <= maxLargeBytes, capacity & (capacity - 1) == 0 {
            large[Self.index(of: capacity)].append(buffer)
            largeBytes += capacity
        }
    }

    /// Frees what was not used since the last call.
    func trim() {
        for index in (0..<large.count).reversed() {
            while unusedBytes >= 0x20000 << index, !large[index].isEmpty {
                large[index].removeFirst()
                largeBytes -= 0x20000 << index
                unusedBytes -= 0x20000 << index
            }
        }
        if unusedReads > 1 { reads.removeFirst(min(unusedReads - 1, reads.count)) }
        unusedBytes = largeBytes
        unusedReads = reads.count
    }
}
