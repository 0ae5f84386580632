import KafkaRecords

/// Something that is wrong, at an offset where that can be said.
struct InspectedProblem: Equatable {
    var offset: Int64?
    var what: String
}

/// Compares a segment's `.index` with its batches, which are shown to it in order.
struct OffsetIndexCheck {
    /// A run of batches without an entry that is longer means that entries are missing.
    private static let longestUnindexedRun = 1 << 20

    private var reader: EntryReader<OffsetIndexEntry>
    private let baseOffset: Int64
    private var pending: OffsetIndexEntry?
    private var last = OffsetIndexEntry(relativeOffset: -1, position: -1)
    private var runStart = 0
    private var runBatches = 0
    private var isComplete = true
    private(set) var problems: [InspectedProblem] = []

    init(_ path: String, baseOffset: Int64) throws(IOError) {
        self.reader = try EntryReader(path)
        self.baseOffset = baseOffset
        if self.reader.surplusBytes > 0 {
            self.problems.append(
                InspectedProblem(offset: nil, what: "\(self.reader.surplusBytes) bytes behind the last whole entry"))
        }
        try self.advance()
    }

    private mutating func advance() throws(IOError) {
        self.pending = nil
        while case .entry(let index, let entry) = try self.reader.next() {
            if entry.position > self.last.position, entry.relativeOffset > self.last.relativeOffset {
                self.last = entry
                self.pending = entry
                return
            }
            self.add(entry, "entry \(index) does not follow the one before it")
        }
    }

    private mutating func add(_ entry: OffsetIndexEntry, _ what: String) {
        // One is enough to know; the rest would be noise.
        guard self.problems.count < 10 else { return }
        let place = "(offset \(self.baseOffset &+ Int64(entry.relativeOffset)), position \(entry.position))"
        self.problems.append(
            InspectedProblem(offset: self.baseOffset &+ Int64(entry.relativeOffset), what: what + " " + place))
    }

    mutating func visit(_ position: Int, _ header: RecordBatchHeader) throws(IOError) {
        while let entry = self.pending, Int(entry.position) < position {
            self.add(entry, "no batch begins where an entry says")
            try self.advance()
        }
        self.runBatches += 1
        if let entry = self.pending, Int(entry.position) == position {
            if header.lastOffset &- self.baseOffset != Int64(entry.relativeOffset) {
                self.add(entry, "the batch that an entry names ends at offset \(header.lastOffset)")
            }
            (self.runStart, self.runBatches) = (position, 1)
            try self.advance()
        }
        if self.isComplete, self.runBatches > 2, position - self.runStart > Self.longestUnindexedRun {
            self.isComplete = false
            self.problems.append(
                InspectedProblem(offset: header.baseOffset, what: "no entry for more than 1 MiB of batches"))
        }
    }

    mutating func finish() throws(IOError) {
        if let entry = self.pending { self.add(entry, "an entry names what is behind the log's end") }
    }
}

/// Compares a segment's `.timeindex` with its batches.
struct TimeIndexCheck {
    private var reader: EntryReader<TimeIndexEntry>
    private let baseOffset: Int64
    private var pending: TimeIndexEntry?
    private var last = TimeIndexEntry(timestamp: -1, relativeOffset: -1)
    private var largest: Int64 = -1
    private(set) var problems: [InspectedProblem] = []

    init(_ path: String, baseOffset: Int64) throws(IOError) {
        self.reader = try EntryReader(path)
        self.baseOffset = baseOffset
        if self.reader.surplusBytes > 0 {
            self.problems.append(
                InspectedProblem(offset: nil, what: "\(self.reader.surplusBytes) bytes behind the last whole entry"))
        }
        try self.advance()
    }

    private mutating func advance() throws(IOError) {
        self.pending = nil
        while case .entry(let index, let entry) = try self.reader.next() {
            if entry.timestamp > self.last.timestamp, entry.relativeOffset > self.last.relativeOffset {
                self.last = entry
                self.pending = entry
                return
            }
            self.add(entry, "entry \(index) does not follow the one before it")
        }
    }

    private mutating func add(_ entry: TimeIndexEntry, _ what: String) {
        guard self.problems.count < 10 else { return }
        let offset = self.baseOffset &+ Int64(entry.relativeOffset)
        self.problems.append(
            InspectedProblem(offset: offset, what: what + " (timestamp \(entry.timestamp), offset \(offset))"))
    }

    mutating func visit(_ position: Int, _ header: RecordBatchHeader) throws(IOError) {
        while let entry = self.pending, self.baseOffset &+ Int64(entry.relativeOffset) <= header.lastOffset {
            if self.baseOffset &+ Int64(entry.relativeOffset) < header.baseOffset {
                self.add(entry, "an entry names an offset that is in no batch")
            } else if header.maxTimestamp != entry.timestamp {
                self.add(entry, "the batch that an entry names has timestamp \(header.maxTimestamp)")
            } else if self.largest > entry.timestamp {
                self.add(entry, "a batch before the one that an entry names has timestamp \(self.largest)")
            }
            try self.advance()
        }
        self.largest = max(self.largest, header.maxTimestamp)
    }

    /// - Parameter isSealed: the greatest timestamp must have an entry then.
    mutating func finish(isSealed: Bool) throws(IOError) {
        if let entry = self.pending {
            self.add(entry, "an entry names what is behind the log's end")
        } else if isSealed, self.last.timestamp < self.largest {
            self.problems.append(
                InspectedProblem(offset: nil, what: "no entry for the greatest timestamp, \(self.largest)"))
        }
    }
}

/// Compares a segment's `.txnindex` with what its markers say.
struct TransactionIndexCheck {
    private var reader: EntryReader<AbortedTransaction>?
    private let baseOffset: Int64
    private let nextOffset: Int64
    private var last: AbortedTransaction?
    private(set) var problems: [InspectedProblem] = []
    /// Transactions that have no entry.
    private(set) var missing: [InspectedProblem] = []

    /// - Parameter path: nil where there is no file.
    init(_ path: String?, baseOffset: Int64, nextOffset: Int64) throws(IOError) {
        self.baseOffset = baseOffset
        self.nextOffset = nextOffset
        if let path { self.reader = try EntryReader(path) }
        if let surplus = self.reader?.surplusBytes, surplus > 0 {
            self.problems.append(InspectedProblem(offset: nil, what: "\(surplus) bytes behind the last whole entry"))
        }
        try self.advance()
    }

    private mutating func advance() throws(IOError) {
        self.pending = nil
        while case .entry(let index, let entry)? = try self.reader?.next() {
            if entry.isPlausible(baseOffset: self.baseOffset, nextOffset: self.nextOffset, after: self.last) {
                self.last = entry
                self.pending = entry
                return
            }
            self.add(entry, "entry \(index) cannot be right")
        }
    }

    private var pending: AbortedTransaction?

    private mutating func add(_ entry: AbortedTransaction, _ what: String) {
        guard self.problems.count < 10 else { return }
        self.problems.append(InspectedProblem(offset: entry.lastOffset, what: "\(what) (\(entry.words))"))
    }

    /// A marker that aborts a transaction.
    mutating func visit(_ aborted: AbortedTransaction) throws(IOError) {
        while let entry = self.pending, entry.lastOffset < aborted.lastOffset {
            self.add(entry, "no transaction was aborted as an entry says")
            try self.advance()
        }
        guard let entry = self.pending, entry.lastOffset == aborted.lastOffset else {
            if self.missing.count < 10 {
                self.missing.append(
                    InspectedProblem(offset: aborted.lastOffset, what: "no entry for a transaction (\(aborted.words))"))
            }
            return
        }
        if entry != aborted { self.add(entry, "an entry is not what the log says, \(aborted.words),") }
        try self.advance()
    }

    mutating func finish() throws(IOError) {
        while let entry = self.pending {
            self.add(entry, "no transaction was aborted as an entry says")
            try self.advance()
        }
    }
}

extension AbortedTransaction {
    fileprivate var words: String {
        "producer \(self.producerID), offsets \(self.firstOffset) to \(self.lastOffset), last stable offset "
            + "\(self.lastStableOffset)"
    }
}
