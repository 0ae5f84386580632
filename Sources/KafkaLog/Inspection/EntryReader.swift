/// Goes through the entries of an index file, a block of them in memory at a time.
struct EntryReader<Entry: IndexEntry> {
    enum Step {
        case entry(Int, Entry)
        /// Room that Kafka reserves in the index of an active segment.
        case reserved(from: Int)
        case end
    }

    let path: String
    /// Bytes behind the last whole entry.
    let surplusBytes: Int
    private let file: IndexFile<Entry>
    private var block: [Entry] = []
    private var blockStart = 0
    private var index = 0

    var count: Int { self.file.count }

    init(_ path: String) throws(IOError) {
        let file = try FileSystem.open(path, .read)
        let size = try FileSystem.size(file)
        self.path = path
        self.file = IndexFile(file: file, count: size / Entry.size)
        self.surplusBytes = size % Entry.size
    }

    mutating func next() throws(IOError) -> Step {
        guard let entry = try self.entry(self.index) else { return .end }
        if self.count > 1, Self.isZero(entry), try self.isZero(from: self.index) {
            let from = self.index
            self.index = self.count
            return .reserved(from: from)
        }
        self.index += 1
        return .entry(self.index - 1, entry)
    }

    private mutating func entry(_ index: Int) throws(IOError) -> Entry? {
        if index < self.blockStart || index >= self.blockStart + self.block.count {
            self.blockStart = index
            self.block = try self.file.entries(from: index, count: 512)
        }
        return index - self.blockStart < self.block.count ? self.block[index - self.blockStart] : nil
    }

    private func isZero(from first: Int) throws(IOError) -> Bool {
        var index = first
        while index < self.count {
            let block = try self.file.entries(from: index, count: 512)
            guard !block.isEmpty, block.allSatisfy(Self.isZero) else { return false }
            index += block.count
        }
        return true
    }

    private static func isZero(_ entry: Entry) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: Entry.size, alignment: 8) { bytes in
            // Its memory is as long as an entry, and so never empty.
            guard let start = bytes.baseAddress else { return false }
            entry.store(start)
            return bytes.allSatisfy { $0 == 0 }
        }
    }
}
