import Glibc
import KafkaRecords

/// A part of a file in memory, which moves as it is asked for. To be freed by who made it.
struct FileWindow {
    let file: LogFile
    /// Bytes of the file that count.
    let end: Int
    private let buffer: UnsafeMutableRawBufferPointer
    /// After a jump over bytes that nobody looks at only as many are read as the next header is likely to be in.
    private let isSparse: Bool
    private var start = 0
    private var count = 0
    /// Bytes read from the file.
    private(set) var bytesRead = 0
    /// Called with each run of bytes before it is read, and after.
    var onRead: ((_ position: Int, _ count: Int, _ isDone: Bool) -> Void)?

    init(_ file: LogFile, end: Int, capacity: Int, isSparse: Bool = false) {
        self.file = file
        self.end = end
        self.isSparse = isSparse
        self.buffer = .allocate(byteCount: max(capacity, 4096), alignment: 64)
    }

    func free() { self.buffer.deallocate() }

    var capacity: Int { self.buffer.count }

    /// What is in memory from `position` on, at least `wanted` bytes, which are not more than the capacity; nil where the
    /// file has not that many.
    mutating func bytes(at position: Int, atLeast wanted: Int) throws(IOError) -> UnsafeRawBufferPointer? {
        guard position >= 0, wanted <= self.end - position, wanted <= self.buffer.count else { return nil }
        if position < self.start || position + wanted > self.start + self.count {
            let isJump = self.isSparse && position > self.start + self.count
            let length = min(isJump ? max(wanted, 4096) : self.buffer.count, self.end - position)
            try self.load(position, length, atLeast: wanted)
            guard self.count >= wanted else { return nil }
        }
        return UnsafeRawBufferPointer(rebasing: self.buffer[(position - self.start)..<self.count])
    }

    private mutating func load(_ position: Int, _ length: Int, atLeast wanted: Int) throws(IOError) {
        self.start = position
        self.count = 0
        self.onRead?(position, length, false)
        let target = UnsafeMutableRawBufferPointer(rebasing: self.buffer[..<length])
        do throws(IOError) {
            self.count = try FileSystem.read(self.file, target, at: position)
        } catch {
            // A bad block behind what is asked for is not this batch's.
            guard error.code == EIO, wanted < length else { throw error }
            self.count = try FileSystem.read(
                self.file, UnsafeMutableRawBufferPointer(rebasing: self.buffer[..<wanted]), at: position)
        }
        self.bytesRead += self.count
        self.onRead?(position, length, true)
    }

    /// The CRC of a batch covers everything from the attributes on. One that is longer than the window goes through it in
    /// pieces.
    mutating func isCRCValid(_ header: RecordBatchHeader, at position: Int) throws(IOError) -> Bool {
        let end = position + header.sizeInBytes
        var at = position + RecordBatchHeader.attributesOffset
        var crc: UInt32 = 0
        while at < end {
            // First what is in memory of it, so that no byte is read twice.
            let inMemory = at >= self.start ? self.start + self.count - at : 0
            let piece = min(end - at, inMemory > 0 ? inMemory : self.buffer.count)
            guard let bytes = try self.bytes(at: at, atLeast: piece) else { return false }
            crc = crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<piece]), seed: crc)
            at += piece
        }
        return crc == header.crc
    }
}
