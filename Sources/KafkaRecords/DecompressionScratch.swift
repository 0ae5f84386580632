import CZlib
import CZstd

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Memory that batches are unpacked into, one after the other, and the codecs' own state: one a thread (an event
/// loop, a loader), so that unpacking allocates nothing once it is warm.
///
/// It grows as bytes come out of a codec, never because a length field said so, and never beyond `limit`.
package final class DecompressionScratch {
    /// Bytes that a batch may unpack to.
    package var limit: Int
    /// What `trim` leaves.
    package static let retainedBytes = 4 << 20

    private(set) var capacity = 0
    private var memory: UnsafeMutableRawPointer?
    /// Bytes unpacked by the `decompress` under way.
    var count = 0
    var inflater: UnsafeMutablePointer<z_stream>?
    var zstd: OpaquePointer?

    package init(limit: Int = 128 << 20) { self.limit = limit }

    deinit {
        free(self.memory)
        if let inflater {
            inflateEnd(inflater)
            inflater.deallocate()
        }
        ZSTD_freeDCtx(self.zstd)
    }

    /// Bytes of memory held now, the codecs' own not counted.
    package var heldBytes: Int { self.capacity }

    /// Gives memory back that one unusually large batch needed. Bytes of the last `decompress` are then gone.
    package func trim() {
        guard self.capacity > Self.retainedBytes else { return }
        free(self.memory)
        self.memory = nil
        self.capacity = 0
        self.count = 0
    }

    /// Unpacks `input`, which is all that a batch has after its header. The result is good until the next call.
    package func decompress(
        _ input: UnsafeRawBufferPointer, _ codec: CompressionType
    ) throws(DecompressionError) -> UnsafeRawBufferPointer {
        self.count = 0
        switch codec {
        case .none: return input
        case .gzip: try self.gunzip(input)
        case .snappy: try self.unsnappy(input)
        case .lz4: try self.unlz4(input)
        case .zstd: try self.unzstd(input)
        }
        return self.unpacked
    }

    /// What is unpacked up to now.
    var unpacked: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: self.memory, count: self.count) }

    /// Memory after the `count` bytes that are there: all that is free, and at least one byte more than before.
    /// - Parameter atLeast: what is worth having; given unless the limit is nearer.
    func room(atLeast: Int) throws(DecompressionError) -> UnsafeMutableRawBufferPointer {
        let wanted = min(self.count + max(atLeast, 1), self.limit)
        guard self.count < self.limit else { throw .tooLarge(limit: self.limit) }
        if self.capacity < wanted {
            // Doubling, so that what has to be moved stays in proportion to what is unpacked.
            let grown = min(max(wanted, self.capacity * 2, 16 << 10), self.limit)
            guard let moved = realloc(self.memory, grown) else { throw .outOfMemory }
            self.memory = moved
            self.capacity = grown
        }
        let end = min(self.capacity, self.limit)
        return UnsafeMutableRawBufferPointer(start: self.memory?.advanced(by: self.count), count: end - self.count)
    }
}
