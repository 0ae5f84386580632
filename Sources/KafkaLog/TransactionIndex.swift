import Glibc
import KafkaPrimitives

/// A transaction that was aborted, as far as a partition is concerned: an entry of a segment's `.txnindex`, the segment
/// being the one that holds the marker.
package struct AbortedTransaction: Sendable, Hashable {
    package var producerID: Int64
    /// Of its first batch here.
    package var firstOffset: Int64
    /// Of its marker.
    package var lastOffset: Int64
    /// What the last stable offset became when the marker was written: a search for a range that ends at or before it
    /// needs to look at no later entry.
    package var lastStableOffset: Int64

    package init(producerID: Int64, firstOffset: Int64, lastOffset: Int64, lastStableOffset: Int64) {
        self.producerID = producerID
        self.firstOffset = firstOffset
        self.lastOffset = lastOffset
        self.lastStableOffset = lastStableOffset
    }

    /// Whether it has records in `start..<end`, as Kafka sees it.
    func overlaps(from start: Int64, to end: Int64) -> Bool { self.lastOffset >= start && self.firstOffset < end }
}

extension AbortedTransaction: IndexEntry {
    /// int16 version, then the four fields.
    static let size = 34
    private static let version: Int16 = 0

    /// An entry of a version that is not known reads as one that cannot be, which `isPlausible` tells.
    init(_ bytes: UnsafeRawPointer) {
        func field(_ offset: Int) -> Int64 {
            Int64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: Int64.self))
        }
        let version = Int16(bigEndian: bytes.loadUnaligned(as: Int16.self))
        self.init(
            producerID: version == Self.version ? field(2) : -1, firstOffset: field(10), lastOffset: field(18),
            lastStableOffset: field(26))
    }

    func store(_ bytes: UnsafeMutableRawPointer) {
        bytes.storeBytes(of: Self.version.bigEndian, as: Int16.self)
        bytes.storeBytes(of: self.producerID.bigEndian, toByteOffset: 2, as: Int64.self)
        bytes.storeBytes(of: self.firstOffset.bigEndian, toByteOffset: 10, as: Int64.self)
        bytes.storeBytes(of: self.lastOffset.bigEndian, toByteOffset: 18, as: Int64.self)
        bytes.storeBytes(of: self.lastStableOffset.bigEndian, toByteOffset: 26, as: Int64.self)
    }

    /// Whether it can be an entry of a segment with these offsets, after `previous`.
    func isPlausible(baseOffset: Int64, nextOffset: Int64, after previous: AbortedTransaction?) -> Bool {
        self.producerID >= 0 && self.firstOffset >= 0 && self.firstOffset < self.lastOffset
            && self.lastOffset >= baseOffset && self.lastOffset < nextOffset
            && self.lastStableOffset >= 0 && self.lastStableOffset <= self.lastOffset + 1
            && self.lastOffset > previous?.lastOffset ?? -1
    }
}

/// The `.txnindex` file of a segment: its aborted transactions in the order of their markers. There is none where no
/// transaction was aborted, as in Kafka.
struct TransactionIndex: Sendable {
    let file: IndexFile<AbortedTransaction>

    /// Nil where there is no such file.
    /// - Parameter count: the entries that count; nil: as many whole ones as the file has.
    init?(_ folder: PartitionFolder, _ baseOffset: Int64, count: Int? = nil) throws(IOError) {
        do throws(IOError) {
            let file = try FileSystem.open(folder.path(baseOffset, .txnindex), .read)
            let whole = try FileSystem.size(file) / AbortedTransaction.size
            self.file = IndexFile(file: file, count: min(count ?? whole, whole))
        } catch {
            if error.code == ENOENT { return nil }
            throw error
        }
    }

    var count: Int { self.file.count }

    /// Whether every entry can be one of a segment with these offsets and stands in order.
    func isPlausible(baseOffset: Int64, nextOffset: Int64) throws(IOError) -> Bool {
        var previous: AbortedTransaction?
        var isRight = true
        try self.forEach(from: 0) { entry in
            isRight = entry.isPlausible(baseOffset: baseOffset, nextOffset: nextOffset, after: previous)
            previous = entry
            return isRight
        }
        return isRight
    }

    /// How many entries have their marker before `offset`: those come first.
    func count(before offset: Int64) throws(IOError) -> Int {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            guard let entry = try self.file.entry(middle) else { return low }
            if entry.lastOffset < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    /// Calls `body` with one entry after the other until it returns false, a block of them in memory at a time.
    func forEach(from first: Int, _ body: (AbortedTransaction) -> Bool) throws(IOError) {
        var index = first
        while index < self.count {
            let block = try self.file.entries(from: index, count: 120)
            guard !block.isEmpty else { return }
            for entry in block where !body(entry) { return }
            index += block.count
        }
    }

    /// The entries that the search for `start..<end` takes.
    /// - Returns: whether no later entry can belong to the range.
    func collect(
        from start: Int64, to end: Int64, into found: inout [AbortedTransaction]
    ) throws(IOError) -> Bool {
        var isComplete = false
        var entries: [AbortedTransaction] = []
        try self.forEach(from: self.count(before: start)) { entry in
            isComplete = Self.collect(entry, from: start, to: end, into: &entries)
            return !isComplete
        }
        found += entries
        return isComplete
    }

    /// One step of the search: takes the entry where it has records in `start..<end`.
    /// - Returns: whether the search is over: every transaction with an earlier offset than `end` was decided when this
    ///   one was, so that none of the later markers belongs to one.
    static func collect(
        _ entry: AbortedTransaction, from start: Int64, to end: Int64, into found: inout [AbortedTransaction]
    ) -> Bool {
        if entry.overlaps(from: start, to: end) { found.append(entry) }
        return entry.lastStableOffset >= end
    }
}

extension ActiveSegment {
    /// Drops the entries whose markers are at or after `offset`, from memory and file.
    mutating func cutTransactionIndex(before offset: Int64, _ folder: PartitionFolder) throws(IOError) {
        guard self.transactionIndex.count > 0 else { return }
        let path = folder.path(self.baseOffset, .txnindex)
        try self.transactionIndex.write(to: path)
        let index = try TransactionIndex(folder, self.baseOffset)
        let count = try index?.count(before: offset) ?? 0
        if count > 0 {
            try FileSystem.truncate(FileSystem.open(path, .readWrite), to: count * AbortedTransaction.size)
        } else {
            try FileSystem.unlink(path)
        }
        self.transactionIndex = IndexTail(persisted: count)
        self.transactionIndexCRC = try TransactionIndex(folder, self.baseOffset)?.crc() ?? 0
    }
}
