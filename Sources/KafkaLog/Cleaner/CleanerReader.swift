import KafkaRecords

/// Reads a segment from front to back in large blocks and gives its batches one by one, CRCs checked.
struct CleanerReader {
    private let file: LogFile
    private let end: Int
    private(set) var position: Int
    private var start = 0
    private var count = 0

    enum Next {
        case batch(RecordBatchHeader, UnsafeRawBufferPointer)
        /// The next batch is not in the memory, of which so much is wanted.
        case needsBytes(Int)
        case end
    }

    init(file: LogFile, end: Int, from position: Int = 0) {
        self.file = file
        self.end = end
        self.position = position
    }

    /// The next batch of what is in memory. The bytes are good until the next `fill`.
    mutating func next(in buffer: GrowingBytes) throws(BatchDamage) -> Next {
        guard self.position < self.end else { return .end }
        let offset = self.position - self.start
        guard self.count - offset >= RecordBatchHeader.size, offset >= 0 else {
            guard self.end - self.position >= RecordBatchHeader.size else { throw .records }
            return .needsBytes(RecordBatchHeader.size)
        }
        let rest = UnsafeRawBufferPointer(start: buffer.base + offset, count: self.count - offset)
        guard let header = RecordBatchHeader(rest), header.isPlausible, header.sizeInBytes <= self.end - self.position
        else { throw .records }
        guard header.sizeInBytes <= rest.count else { return .needsBytes(header.sizeInBytes) }
        guard header.isCRCValid(in: rest) else { throw .crc }
        self.position += header.sizeInBytes
        return .batch(header, UnsafeRawBufferPointer(rebasing: rest[..<header.sizeInBytes]))
    }

    /// Reads on from the next batch. Memory grows for a batch that is longer than it, which the file has in whole.
    /// - Returns: bytes read.
    mutating func fill(_ buffer: inout GrowingBytes, atLeast wanted: Int) throws(IOError) -> Int {
        buffer.makeRoom(min(wanted, self.end - self.position))
        self.start = self.position
        let length = min(buffer.count, self.end - self.position)
        self.count = try FileSystem.read(self.file, buffer.prefix(length), at: self.position)
        // The file has become shorter, which nothing but damage does.
        guard self.count >= min(wanted, length) else { throw IOError(.read, code: 5) }
        return self.count
    }
}
