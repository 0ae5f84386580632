import KafkaRecords

/// Something that is wrong, at an offset where that can be said.
struct InspectedProblem: Equatable {
    var offset: Int64?
    var what: String
}

/// An entry whose place among the others tells whether it can be right.
private protocol CheckedEntry: IndexEntry {
    /// What is said of one that cannot be.
    static var isWrong: String { get }
    /// Whether it may come behind `last`, in a segment with these offsets.
    func follows(_ last: Self?, _ base: Int64, _ next: Int64) -> Bool
    /// The offset that it is about.
    func offset(_ base: Int64) -> Int64
    func words(_ base: Int64) -> String
}

extension CheckedEntry {
    static var isWrong: String { "does not follow the one before it" }
}

extension OffsetIndexEntry: CheckedEntry {
    func follows(_ last: Self?, _ base: Int64, _ next: Int64) -> Bool {
        self.position > last?.position ?? -1 && self.relativeOffset > last?.relativeOffset ?? -1
    }

    func offset(_ base: Int64) -> Int64 { base &+ Int64(self.relativeOffset) }

    func words(_ base: Int64) -> String { "offset \(self.offset(base)), position \(self.position)" }
}

extension TimeIndexEntry: CheckedEntry {
    func follows(_ last: Self?, _ base: Int64, _ next: Int64) -> Bool {
        self.timestamp > last?.timestamp ?? -1 && self.relativeOffset > last?.relativeOffset ?? -1
    }

    func offset(_ base: Int64) -> Int64 { base &+ Int64(self.relativeOffset) }

    func words(_ base: Int64) -> String { "timestamp \(self.timestamp), offset \(self.offset(base))" }
}

extension AbortedTransaction: CheckedEntry {
    static var isWrong: String { "cannot be right" }

    func follows(_ last: Self?, _ base: Int64, _ next: Int64) -> Bool {
        self.isPlausible(baseOffset: base, nextOffset: next, after: last)
    }

    func offset(_ base: Int64) -> Int64 { self.lastOffset }

    func words(_ base: Int64) -> String { self.words }

    fileprivate var words: String {
        "producer \(self.producerID), offsets \(self.firstOffset) to \(self.lastOffset), last stable offset "
            + "\(self.lastStableOffset)"
    }
}

/// The entries of an index file, one after the other; those that cannot be right are noted and passed over.
private struct EntryWalk<Entry: CheckedEntry> {
    private var reader: EntryReader<Entry>?
    let baseOffset: Int64
    private let nextOffset: Int64
    /// The next that the log has not been held against.
    private(set) var pending: Entry?
    private(set) var last: Entry?
    private(set) var problems: [InspectedProblem] = []

    /// - Parameter path: nil where there is no file.
    init(_ path: String?, baseOffset: Int64, nextOffset: Int64 = .max) throws(IOError) {
        self.baseOffset = baseOffset
        self.nextOffset = nextOffset
        if let path { self.reader = try EntryReader(path) }
        if let surplus = self.reader?.surplusBytes, surplus > 0 {
            self.problems.append(InspectedProblem(offset: nil, what: "\(surplus) bytes behind the last whole entry"))
        }
        try self.advance()
    }

    mutating func advance() throws(IOError) {
        self.pending = nil
        while case .entry(let index, let entry)? = try self.reader?.next() {
            if entry.follows(self.last, self.baseOffset, self.nextOffset) {
                self.last = entry
                self.pending = entry
                return
            }
            self.add(entry, "entry \(index) \(Entry.isWrong)")
        }
    }

    mutating func add(_ entry: Entry, _ what: String) {
        // Some are enough to know; the rest would be noise.
        guard self.problems.count < 10 else { return }
        self.problems.append(
            InspectedProblem(
                offset: entry.offset(self.baseOffset), what: "\(what) (\(entry.words(self.baseOffset)))"))
    }

    mutating func add(_ problem: InspectedProblem) { self.problems.append(problem) }
}

/// Compares a segment's `.index` with its batches, which are shown to it in order.
struct OffsetIndexCheck {
    /// A run of batches without an entry that is longer means that entries are missing.
    private static let longestUnindexedRun = 1 << 20

    private var walk: EntryWalk<OffsetIndexEntry>
    private var runStart = 0
    private var runBatches = 0
    private var isComplete = true

    init(_ path: String, baseOffset: Int64) throws(IOError) {
        self.walk = try EntryWalk(path, baseOffset: baseOffset)
    }

    var problems: [InspectedProblem] { self.walk.problems }

    mutating func visit(_ position: Int, _ header: RecordBatchHeader) throws(IOError) {
        while let entry = self.walk.pending, Int(entry.position) < position {
            self.walk.add(entry, "no batch begins where an entry says")
            try self.walk.advance()
        }
        self.runBatches += 1
        if let entry = self.walk.pending, Int(entry.position) == position {
            if header.lastOffset &- self.walk.baseOffset != Int64(entry.relativeOffset) {
                self.walk.add(entry, "the batch that an entry names ends at offset \(header.lastOffset)")
            }
            (self.runStart, self.runBatches) = (position, 1)
            try self.walk.advance()
        }
        if self.isComplete, self.runBatches > 2, position - self.runStart > Self.longestUnindexedRun {
            self.isComplete = false
            self.walk.add(
                InspectedProblem(offset: header.baseOffset, what: "no entry for more than 1 MiB of batches"))
        }
    }

    mutating func finish() throws(IOError) {
        if let entry = self.walk.pending { self.walk.add(entry, "an entry names what is behind the log's end") }
    }
}

/// Compares a segment's `.timeindex` with its batches.
struct TimeIndexCheck {
    private var walk: EntryWalk<TimeIndexEntry>
    private var largest: Int64 = -1

    init(_ path: String, baseOffset: Int64) throws(IOError) {
        self.walk = try EntryWalk(path, baseOffset: baseOffset)
    }

    var problems: [InspectedProblem] { self.walk.problems }

    mutating func visit(_ position: Int, _ header: RecordBatchHeader) throws(IOError) {
        while let entry = self.walk.pending, self.walk.baseOffset &+ Int64(entry.relativeOffset) <= header.lastOffset {
            if self.walk.baseOffset &+ Int64(entry.relativeOffset) < header.baseOffset {
                self.walk.add(entry, "an entry names an offset that is in no batch")
            } else if header.maxTimestamp != entry.timestamp {
                self.walk.add(entry, "the batch that an entry names has timestamp \(header.maxTimestamp)")
            } else if self.largest > entry.timestamp {
                self.walk.add(entry, "a batch before the one that an entry names has timestamp \(self.largest)")
            }
            try self.walk.advance()
        }
        self.largest = max(self.largest, header.maxTimestamp)
    }

    /// - Parameter isSealed: the greatest timestamp must have an entry then.
    mutating func finish(isSealed: Bool) throws(IOError) {
        if let entry = self.walk.pending {
            self.walk.add(entry, "an entry names what is behind the log's end")
        } else if isSealed, self.walk.last?.timestamp ?? -1 < self.largest {
            self.walk.add(
                InspectedProblem(offset: nil, what: "no entry for the greatest timestamp, \(self.largest)"))
        }
    }
}

/// Compares a segment's `.txnindex` with what its markers say.
struct TransactionIndexCheck {
    private var walk: EntryWalk<AbortedTransaction>
    /// Transactions that have no entry.
    private(set) var missing: [InspectedProblem] = []

    /// - Parameter path: nil where there is no file.
    init(_ path: String?, baseOffset: Int64, nextOffset: Int64) throws(IOError) {
        self.walk = try EntryWalk(path, baseOffset: baseOffset, nextOffset: nextOffset)
    }

    var problems: [InspectedProblem] { self.walk.problems }

    /// A marker that aborts a transaction.
    mutating func visit(_ aborted: AbortedTransaction) throws(IOError) {
        while let entry = self.walk.pending, entry.lastOffset < aborted.lastOffset {
            self.walk.add(entry, "no transaction was aborted as an entry says")
            try self.walk.advance()
        }
        guard let entry = self.walk.pending, entry.lastOffset == aborted.lastOffset else {
            if self.missing.count < 10 {
                self.missing.append(
                    InspectedProblem(offset: aborted.lastOffset, what: "no entry for a transaction (\(aborted.words))"))
            }
            return
        }
        if entry != aborted { self.walk.add(entry, "an entry is not what the log says, \(aborted.words),") }
        try self.walk.advance()
    }

    mutating func finish() throws(IOError) {
        while let entry = self.walk.pending {
            self.walk.add(entry, "no transaction was aborted as an entry says")
            try self.walk.advance()
        }
    }
}
