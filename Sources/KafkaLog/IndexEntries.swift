/// An entry of an index, as its file has it (big-endian).
protocol IndexEntry: Sendable {
    static var size: Int { get }
    init(_ bytes: UnsafeRawPointer)
    func store(_ bytes: UnsafeMutableRawPointer)
}

/// An entry of one of the two sparse indexes: two numbers, one behind the other.
protocol SparseIndexEntry: IndexEntry, Equatable {
    associatedtype First: FixedWidthInteger
    associatedtype Second: FixedWidthInteger
    init(_ first: First, _ second: Second)
    var numbers: (First, Second) { get }
}

extension SparseIndexEntry {
    static var size: Int { MemoryLayout<First>.size + MemoryLayout<Second>.size }

    init(_ bytes: UnsafeRawPointer) {
        self.init(
            First(bigEndian: bytes.loadUnaligned(as: First.self)),
            Second(bigEndian: bytes.loadUnaligned(fromByteOffset: MemoryLayout<First>.size, as: Second.self)))
    }

    func store(_ bytes: UnsafeMutableRawPointer) {
        let (first, second) = self.numbers
        bytes.storeBytes(of: first.bigEndian, as: First.self)
        bytes.storeBytes(of: second.bigEndian, toByteOffset: MemoryLayout<First>.size, as: Second.self)
    }
}

/// `.index`: the last offset of a batch, relative to the segment's base, and the position at which that batch begins.
struct OffsetIndexEntry: SparseIndexEntry {
    var relativeOffset: Int32
    var position: Int32

    init(relativeOffset: Int32, position: Int32) {
        self.relativeOffset = relativeOffset
        self.position = position
    }

    init(_ relativeOffset: Int32, _ position: Int32) { self.init(relativeOffset: relativeOffset, position: position) }

    var numbers: (Int32, Int32) { (self.relativeOffset, self.position) }
}

/// `.timeindex`: no batch that begins before the one with this last offset has a timestamp above this one.
struct TimeIndexEntry: SparseIndexEntry {
    var timestamp: Int64
    var relativeOffset: Int32

    init(timestamp: Int64, relativeOffset: Int32) {
        self.timestamp = timestamp
        self.relativeOffset = relativeOffset
    }

    init(_ timestamp: Int64, _ relativeOffset: Int32) {
        self.init(timestamp: timestamp, relativeOffset: relativeOffset)
    }

    var numbers: (Int64, Int32) { (self.timestamp, self.relativeOffset) }
}

/// The index of the active segment: its newest entries are in memory, those before them in the file only. What is not in
/// the file yet is written in runs; a crash before that costs a look at the log's last bytes, no more.
struct IndexTail<Entry: IndexEntry>: Sendable {
    /// Entries in memory after a write to the file; twice as many before the older half is let go.
    static var keptInMemory: Int { 256 }

    private(set) var entries: [Entry] = []
    /// The ordinal of `entries[0]`; as many are in the file only.
    private(set) var firstInMemory = 0
    /// Entries that are in the file.
    private(set) var persisted = 0

    /// - Parameter unwritten: what comes after the entries in the file.
    init(persisted: Int = 0, unwritten: [Entry] = []) {
        self.entries = unwritten
        self.firstInMemory = persisted
        self.persisted = persisted
    }

    var count: Int { self.firstInMemory + self.entries.count }
    var unwritten: Int { self.count - self.persisted }
    var unwrittenEntries: ArraySlice<Entry> { self.entries.suffix(self.unwritten) }

    mutating func append(_ entry: Entry) { self.entries.append(entry) }

    private var unwrittenBytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: self.unwritten * Entry.size)
        bytes.withUnsafeMutableBytes { buffer in
            for (index, entry) in self.unwrittenEntries.enumerated() {
                entry.store(buffer.baseAddress! + index * Entry.size)
            }
        }
        return bytes
    }

    /// Makes a file of all entries, none of which is in one yet, and puts it in the place of the one there is, on disk.
    func replace(_ path: String) throws(IOError) {
        try FileSystem.replace(path, with: self.unwrittenBytes, durable: true)
    }

    /// Appends what the file lacks to it, and lets go of the older entries.
    mutating func write(to path: String, preallocated: Bool = false) throws(IOError) {
        let unwritten = self.unwritten
        guard unwritten > 0 else { return }
        let file = try FileSystem.open(path, .create)
        let position = self.persisted * Entry.size
        do throws(IOError) {
            try FileSystem.writeAll(file, self.unwrittenBytes, at: position)
        } catch {
            try? FileSystem.truncate(file, to: position)
            throw error
        }
        self.persisted = self.count
        if self.entries.count > 2 * Self.keptInMemory {
            let dropped = self.entries.count - Self.keptInMemory
            self.entries = Array(self.entries.suffix(Self.keptInMemory))
            self.firstInMemory += dropped
        }
    }
}

/// The index in a file, searched where it lies: the page cache is its cache. About `log2(count) - 9` reads of some bytes
/// and one of some kilobytes a search.
struct IndexFile<Entry: IndexEntry>: Sendable {
    let file: LogFile
    /// Entries that count; the file may be longer (Kafka allocates ahead).
    let count: Int
    /// See `SegmentView.readsNow`.
    var readsNow = false

    private static var block: Int { 512 }

    func entry(_ index: Int) throws(IOError) -> Entry? {
        guard index >= 0, index < self.count else { return nil }
        return try self.read(index, 1) { $0(0) }
    }

    /// Entries in a row, fewer where the file ends before.
    func entries(from first: Int, count: Int) throws(IOError) -> [Entry] {
        let length = min(count, self.count - first)
        guard first >= 0, length > 0 else { return [] }
        return try self.read(first, length) { entryAt in (0..<length).map(entryAt) } ?? []
    }

    /// The last entry for which `isBelow` holds; it must hold for a first run of entries and for no other.
    func last(where isBelow: (Entry) -> Bool) throws(IOError) -> Entry? {
        // Which block: the last whose first entry is below. The first block is looked through in any case.
        var low = 1
        var high = max(1, (self.count + Self.block - 1) / Self.block)
        while low < high {
            let middle = (low + high) / 2
            guard let entry = try self.entry(middle * Self.block) else { return nil }
            if isBelow(entry) { low = middle + 1 } else { high = middle }
        }
        let first = (low - 1) * Self.block
        let length = min(Self.block, self.count - first)
        guard length > 0 else { return nil }
        return try self.read(first, length) { entryAt in
            var low = 0
            var high = length
            while low < high {
                let middle = (low + high) / 2
                if isBelow(entryAt(middle)) { low = middle + 1 } else { high = middle }
            }
            return low == 0 ? nil : entryAt(low - 1)
        }
    }

    private func read<R>(_ first: Int, _ length: Int, _ body: ((Int) -> Entry) -> R?) throws(IOError) -> R? {
        var failure: IOError?
        let result: R? = withUnsafeTemporaryAllocation(byteCount: length * Entry.size, alignment: 8) { buffer in
            do throws(IOError) {
                let position = first * Entry.size
                let count =
                    self.readsNow
                    ? try FileSystem.readNow(self.file, buffer, at: position, atLeast: buffer.count)
                    : try FileSystem.read(self.file, buffer, at: position)
                guard count == buffer.count else { return nil }
            } catch {
                failure = error
                return nil
            }
            let base = UnsafeRawPointer(buffer.baseAddress!)
            return body { Entry(base + $0 * Entry.size) }
        }
        if let failure { throw failure }
        return result
    }
}

extension IndexTail {
    /// As `IndexFile.last(where:)`, in memory. `.inFile` where only the entries in the file can tell.
    enum Found {
        case entry(Entry)
        case none, inFile
    }

    func last(where isBelow: (Entry) -> Bool) -> Found {
        var low = 0
        var high = self.entries.count
        while low < high {
            let middle = (low + high) / 2
            if isBelow(self.entries[middle]) { low = middle + 1 } else { high = middle }
        }
        if low > 0 { return .entry(self.entries[low - 1]) }
        return self.firstInMemory > 0 ? .inFile : .none
    }
}
