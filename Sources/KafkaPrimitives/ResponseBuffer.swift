/// Memory that grows as it is written, and that is used again for the next answer: one for each event loop.
///
/// Only touched by the thread that owns it.
@usableFromInline package final class ResponseBuffer {
    @usableFromInline package var memory: UnsafeMutableRawBufferPointer
    /// How many bytes have been written since `reset`.
    @usableFromInline package var count = 0

    /// `reset` gives memory back that is larger than this, so that one large answer does not stay for ever.
    package static var keptCapacity: Int { 256 * 1024 }

    package init(capacity: Int = 4096) {
        self.memory = .allocate(byteCount: max(capacity, 64), alignment: 16)
    }

    deinit {
        self.memory.deallocate()
    }

    /// What has been written. Valid until the next write.
    package var bytes: UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self.memory[0..<self.count])
    }

    /// Forgets what has been written.
    package func reset() {
        self.count = 0
        if self.memory.count > Self.keptCapacity {
            self.memory.deallocate()
            self.memory = .allocate(byteCount: 4096, alignment: 16)
        }
    }

    /// Begins an answer: four bytes of room for the frame's length, then the response header.
    ///
    /// - Parameter headerVersion: as `MessageIndex.responseHeaderVersion` says.
    package func begin(correlationID: Int32, headerVersion: Int16) {
        self.reset()
        self.append { writer in
            writer.writeInt32(0)
            writer.writeInt32(correlationID)
            if headerVersion >= 1 { writer.writeUInt8(0) }
        }
    }

    /// Writes at the end. `body` is called again, with more room, when its first call ran out of it; so it must do
    /// nothing but write.
    @inlinable
    @inline(__always)
    package func append(_ body: (inout ByteWriter) -> Void) {
        var writer = ByteWriter(self.free)
        body(&writer)
        if writer.overflowed {
            self.grow(by: writer.count)
            writer = ByteWriter(self.free)
            body(&writer)
        }
        self.count &+= writer.count
    }

    /// A writer at the end, with room for `size` bytes: for what is known to take no more. What it wrote is `add`ed.
    @inlinable
    @inline(__always)
    package func writer(reserving size: Int) -> ByteWriter {
        if self.memory.count &- self.count < size { self.grow(by: size) }
        return ByteWriter(self.free)
    }

    /// Takes over what a writer of `writer(reserving:)` has written.
    @inlinable
    @inline(__always)
    package func add(_ writer: ByteWriter) {
        precondition(!writer.overflowed)
        self.count &+= writer.count
    }

    /// Fills in the length of the frame, for those that send the memory as it is.
    ///
    /// - Parameter extra: how many bytes will be inserted into it by others.
    package func patchLength(extra: Int = 0) {
        let length = Int32(clamping: self.count &- 4 &+ extra)
        ByteWriter(self.memory).patchInt32(length, at: 0)
    }

    @inlinable
    @inline(__always)
    package var free: UnsafeMutableRawBufferPointer {
        // `count` is never beyond the end; it is somewhere in the memory, which is never empty.
        UnsafeMutableRawBufferPointer(
            start: self.memory.baseAddress?.advanced(by: self.count), count: self.memory.count &- self.count)
    }

    @inline(never)
    @usableFromInline
    package func grow(by needed: Int) {
        let capacity = max(self.memory.count * 2, self.count + needed)
        let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 16)
        larger.copyMemory(from: self.bytes)
        self.memory.deallocate()
        self.memory = larger
    }
}
