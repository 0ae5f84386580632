import KafkaRecords

/// Goes through the batches of a file from its start, whatever is in it: in memory is a window of fixed size.
final class BatchReader {
    enum Step {
        case batch(position: Int, RecordBatchHeader, isCRCValid: Bool)
        /// No batch begins here. The next one that can be told from noise is `length` bytes on, or the file ends there.
        case damage(position: Int, length: Int, String)
        case end
    }

    private static let windowSize = 1 << 20

    let path: String
    let size: Int
    private let file: LogFile
    private let window: UnsafeMutableRawBufferPointer
    private var windowStart = 0
    private var windowCount = 0
    private var position = 0
    /// The least offset that the next batch may have.
    private(set) var nextOffset: Int64 = 0

    init(_ path: String) throws(IOError) {
        self.path = path
        self.file = try FileSystem.open(path, .read)
        self.size = try FileSystem.size(self.file)
        self.window = .allocate(byteCount: Self.windowSize, alignment: 16)
    }

    deinit { self.window.deallocate() }

    func next() throws(IOError) -> Step {
        guard self.position < self.size else { return .end }
        let start = self.position
        guard let header = try self.header(at: start) else {
            let why =
                self.size - start < RecordBatchHeader.size
                ? "\(self.size - start) bytes, fewer than a batch has" : "no batch begins here, or it is cut off"
            let next = try self.resume(after: start)
            self.position = next
            return .damage(position: start, length: next - start, why)
        }
        self.position = start + header.sizeInBytes
        let isValid = try self.crc(of: header, at: start) == header.crc
        if isValid || header.baseOffset >= self.nextOffset { self.nextOffset = header.lastOffset + 1 }
        return .batch(position: start, header, isCRCValid: isValid)
    }

    /// The whole batch; nil where it is longer than `limit`.
    func bytes(at position: Int, _ header: RecordBatchHeader, limit: Int) throws(IOError) -> [UInt8]? {
        guard header.sizeInBytes <= min(limit, self.size - position) else { return nil }
        var bytes = [UInt8](repeating: 0, count: header.sizeInBytes)
        guard try FileSystem.readInto(&bytes, self.file, at: position) == bytes.count else { return nil }
        return bytes
    }

    func marker(at position: Int, _ header: RecordBatchHeader) throws(IOError) -> TransactionMarker? {
        guard header.isControl, header.recordsCount > 0,
            let bytes = try self.bytes(at: position, header, limit: TransactionMarker.maxBatchSize)
        else { return nil }
        return bytes.withUnsafeBytes { TransactionMarker(batch: $0, header) }
    }

    // MARK: bytes

    /// From `position` on, at least `wanted` bytes; nil where the file ends before, or the window is too small.
    private func bytes(at position: Int, _ wanted: Int) throws(IOError) -> UnsafeRawBufferPointer? {
        guard wanted <= self.window.count, wanted <= self.size - position else { return nil }
        if position < self.windowStart || position + wanted > self.windowStart + self.windowCount {
            let length = min(self.window.count, self.size - position)
            self.windowStart = position
            self.windowCount = try FileSystem.read(
                self.file, UnsafeMutableRawBufferPointer(rebasing: self.window[..<length]), at: position)
            guard self.windowCount >= wanted else { return nil }
        }
        let start = position - self.windowStart
        return UnsafeRawBufferPointer(rebasing: self.window[start..<self.windowCount])
    }

    /// Nil where no whole batch begins there.
    private func header(at position: Int) throws(IOError) -> RecordBatchHeader? {
        guard let bytes = try self.bytes(at: position, RecordBatchHeader.size),
            let header = RecordBatchHeader(bytes), header.isPlausible, header.sizeInBytes <= self.size - position
        else { return nil }
        return header
    }

    private func crc(of header: RecordBatchHeader, at position: Int) throws(IOError) -> UInt32? {
        let end = position + header.sizeInBytes
        var at = position + RecordBatchHeader.attributesOffset
        var crc: UInt32 = 0
        while at < end {
            let piece = min(end - at, self.window.count)
            guard let bytes = try self.bytes(at: at, piece) else { return nil }
            crc = crc32c(UnsafeRawBufferPointer(rebasing: bytes[..<piece]), seed: crc)
            at += piece
        }
        return crc
    }

    /// The next position at which a whole batch with a right CRC and a later offset begins; the file's end where there
    /// is none.
    private func resume(after position: Int) throws(IOError) -> Int {
        var at = position + 1
        while let bytes = try self.bytes(at: at, RecordBatchHeader.size) {
            // Almost all positions are told by the one byte of the magic.
            let candidates = bytes.count - RecordBatchHeader.size + 1
            var index = 0
            while index < candidates, bytes[index + 16] != 2 { index += 1 }
            guard index < candidates else {
                at += candidates
                continue
            }
            if let header = try self.header(at: at + index), header.baseOffset >= self.nextOffset,
                header.baseOffset - self.nextOffset <= Int64(Int32.max),
                try self.crc(of: header, at: at + index) == header.crc
            {
                return at + index
            }
            at += index + 1
        }
        return self.size
    }

    /// Whether there is nothing but zeros from `position` on: room that was reserved.
    func isZero(from position: Int) throws(IOError) -> Bool {
        var at = position
        while at < self.size {
            guard let bytes = try self.bytes(at: at, 1) else { return false }
            if bytes.contains(where: { $0 != 0 }) { return false }
            at += bytes.count
        }
        return true
    }
}
