import KafkaPrimitives
import KafkaRecords

/// Reads a whole partition: every batch, and each index, snapshot and epoch against them. Its memory grows with the
/// number of producers and aborted transactions that are under way, up to a limit, and with nothing else.
struct PartitionVerification {
    struct Finding {
        var isDamage: Bool
        /// The name in the partition's folder.
        var file: String
        var offset: Int64?
        var what: String
    }

    /// What came of it.
    struct Result {
        var firstOffset: Int64 = 0
        var logEndOffset: Int64 = 0
        var segments = 0
        var batches = 0
        var bytes = 0
        var findings: [Finding] = []
    }

    private static let maxProducers = 1 << 20

    private let folder: PartitionFolder
    /// The broker closed everything: nothing waits to be written.
    private let wasClean: Bool
    private var result = Result()
    private var names: Set<String> = []
    private var producers = ProducerStateManager()
    private var epochs: LeaderEpochCache?
    private var snapshots: [Int64] = []
    /// Offsets are missing: compaction has been here, and what it took away indexes and snapshots may still name.
    private var hasGaps = false
    private var nextOffset: Int64 = 0

    private init(_ folder: PartitionFolder, wasClean: Bool) {
        self.folder = folder
        self.wasClean = wasClean
    }

    static func run(_ folder: PartitionFolder, wasClean: Bool) throws(IOError) -> Result {
        var verification = PartitionVerification(folder, wasClean: wasClean)
        try verification.run()
        return verification.result
    }

    private mutating func add(_ isDamage: Bool, _ file: String, _ offset: Int64? = nil, _ what: String) {
        self.result.findings.append(Finding(isDamage: isDamage, file: file, offset: offset, what: what))
    }

    private mutating func run() throws(IOError) {
        self.names = Set(try FileSystem.list(self.folder.path))
        var bases: [Int64] = []
        for name in self.names.sorted() {
            if let leftover = FileKind.leftovers.first(where: { name.hasSuffix($0) }) {
                self.add(false, name, nil, "left over from what was under way (\(leftover.dropFirst()))")
            }
            guard let (offset, suffix) = PartitionFolder.parse(name) else { continue }
            if suffix == "log" { bases.append(offset) }
            if suffix == "snapshot" { self.snapshots.append(offset) }
        }
        bases.sort()
        self.snapshots.sort()
        for name in self.names.sorted() {
            guard let (offset, suffix) = PartitionFolder.parse(name), !bases.contains(offset),
                suffix == "index" || suffix == "timeindex" || suffix == "txnindex"
            else { continue }
            self.add(true, name, nil, "an index without its log")
        }
        try self.checkTopicID()
        try self.readEpochs()
        guard let first = bases.first else {
            self.add(true, "", nil, "no segment")
            return
        }
        self.result.firstOffset = first
        self.nextOffset = first
        try self.takeSnapshot(at: first)
        for (index, base) in bases.enumerated() {
            try self.checkSegment(base, next: index + 1 < bases.count ? bases[index + 1] : nil)
        }
        self.result.logEndOffset = self.nextOffset
        try self.checkSnapshots(upTo: .max)
    }

    private mutating func checkTopicID() throws(IOError) {
        let name = PartitionFolder.partitionMetadata
        guard self.names.contains(name) else {
            self.add(false, name, nil, "is not there: the topic's id is told by nothing in the folder")
            return
        }
        if try self.folder.readTopicID() == nil { self.add(true, name, nil, "no topic id can be read from it") }
    }

    private mutating func readEpochs() throws(IOError) {
        let name = PartitionFolder.leaderEpochs
        guard self.names.contains(name) else { return }
        self.epochs = try self.folder.readLeaderEpochs()
        if self.epochs == nil { self.add(true, name, nil, "no epochs can be read from it") }
    }

    // MARK: a segment

    private mutating func checkSegment(_ base: Int64, next: Int64?) throws(IOError) {
        let log = PartitionFolder.name(base) + ".log"
        let reader = try BatchReader(self.folder.path(base, .log))
        self.result.segments += 1
        self.result.bytes += reader.size
        if base < self.nextOffset { self.add(true, log, base, "begins before the end of the one before it") }
        if base > self.nextOffset { self.hasGaps = true }
        self.nextOffset = max(self.nextOffset, base)

        var offsets = try self.path(base, .index).map { path throws(IOError) in
            try OffsetIndexCheck(path, baseOffset: base)
        }
        var times = try self.path(base, .timeindex).map { path throws(IOError) in
            try TimeIndexCheck(path, baseOffset: base)
        }
        if next != nil, offsets == nil || times == nil {
            self.add(false, log, nil, "has not both of its indexes: they will be made anew")
        }
        var transactions = try TransactionIndexCheck(
            self.path(base, .txnindex), baseOffset: base, nextOffset: next ?? .max)
        var isWhole = true
        var epochIsWrong = false
        loop: while true {
            switch try reader.next() {
            case .end:
                break loop
            case .damage(let position, let length, let what):
                if position + length == reader.size, try reader.isZero(from: position) {
                    self.add(next != nil, log, nil, "\(length) zero bytes at its end")
                    break loop
                }
                isWhole = false
                self.add(true, log, self.nextOffset, "\(what): \(length) bytes from byte \(position) on")
            case .batch(let position, let header, let isCRCValid):
                guard isCRCValid else {
                    isWhole = false
                    self.add(true, log, header.baseOffset, "a batch whose CRC is wrong, at byte \(position)")
                    self.nextOffset = max(self.nextOffset, header.baseOffset)
                    continue
                }
                self.result.batches += 1
                self.check(header, at: position, in: log, base: base, next: next, &epochIsWrong)
                try offsets?.visit(position, header)
                try times?.visit(position, header)
                try self.checkSnapshots(upTo: header.baseOffset)
                let marker = try reader.marker(at: position, header)
                let aborted = self.producers.update(header, baseOffset: header.baseOffset, now: -1, marker: marker)
                if let aborted { try transactions.visit(aborted) }
                self.nextOffset = max(self.nextOffset, header.lastOffset + 1)
            }
        }
        if self.producers.count > Self.maxProducers {
            self.add(false, log, nil, "more than \(Self.maxProducers) producers: they are no longer followed")
            self.producers.removeAll()
            self.hasGaps = true
        }
        try offsets?.finish()
        try times?.finish(isSealed: next != nil || self.wasClean)
        try transactions.finish()
        // Where batches are unreadable, an index that names them is right and cannot be told to be.
        guard isWhole else { return }
        self.add(offsets?.problems ?? [], isDamage: true, PartitionFolder.name(base) + ".index")
        self.add(times?.problems ?? [], isDamage: true, PartitionFolder.name(base) + ".timeindex")
        let name = PartitionFolder.name(base) + ".txnindex"
        if self.hasGaps {
            // The records of an aborted transaction go before its marker does.
            self.add(transactions.problems.filter { $0.what.contains("cannot be right") }, isDamage: true, name)
        } else {
            self.add(transactions.problems, isDamage: true, name)
            // The newest entries of a segment that grows are not in the file until it is marked, sealed or closed.
            self.add(transactions.missing, isDamage: next != nil || self.wasClean, name)
        }
    }

    private mutating func check(
        _ header: RecordBatchHeader, at position: Int, in log: String, base: Int64, next: Int64?,
        _ epochIsWrong: inout Bool
    ) {
        if header.baseOffset < self.nextOffset {
            self.add(
                true, log, header.baseOffset, "a batch at byte \(position) whose offset is below \(self.nextOffset)")
        }
        if header.baseOffset > self.nextOffset || header.recordsCount != header.lastOffsetDelta &+ 1 {
            self.hasGaps = true
        }
        if let next, header.lastOffset >= next {
            self.add(true, log, header.baseOffset, "a batch at byte \(position) that reaches into the next segment")
        }
        if !epochIsWrong, header.partitionLeaderEpoch >= 0,
            let known = self.epochs?.epoch(forOffset: header.baseOffset),
            known != header.partitionLeaderEpoch
        {
            epochIsWrong = true
            self.add(
                self.wasClean, PartitionFolder.leaderEpochs, header.baseOffset,
                "says epoch \(known), the batch \(header.partitionLeaderEpoch)")
        }
    }

    private func path(_ base: Int64, _ suffix: PartitionFolder.Suffix) -> String? {
        self.names.contains(PartitionFolder.name(base) + "." + suffix.rawValue) ? self.folder.path(base, suffix) : nil
    }

    private mutating func add(_ problems: [InspectedProblem], isDamage: Bool, _ file: String) {
        for problem in problems { self.add(isDamage, file, problem.offset, problem.what) }
    }

    // MARK: producers

    /// What is older than the log's first segment is told by the snapshot at its begin.
    private mutating func takeSnapshot(at base: Int64) throws(IOError) {
        guard self.snapshots.contains(base), let entries = try self.folder.readSnapshot(base) else { return }
        for (id, entry) in entries { self.producers.restore(id, entry) }
    }

    /// The snapshots at or before an offset, once each, as the batches before it tell.
    private mutating func checkSnapshots(upTo offset: Int64) throws(IOError) {
        while let snapshot = self.snapshots.first, snapshot <= offset {
            self.snapshots.removeFirst()
            let name = PartitionFolder.name(snapshot) + ".snapshot"
            guard let entries = try self.folder.readSnapshot(snapshot) else {
                self.add(true, name, nil, "no snapshot of producers of version 1, or its CRC is wrong")
                continue
            }
            if snapshot > self.nextOffset, offset == .max {
                self.add(true, name, snapshot, "is of an offset behind the log's end, \(self.nextOffset)")
                continue
            }
            guard !self.hasGaps else { continue }
            for (id, entry) in entries.sorted(by: { $0.key < $1.key }) {
                // A producer that is not known here wrote before the log's first segment.
                guard let known = self.producers.producers[id] else { continue }
                if known.epoch != entry.epoch || known.last?.lastOffset != entry.last?.lastOffset
                    || known.last?.lastSequence != entry.last?.lastSequence
                    || known.currentTransactionFirstOffset != entry.currentTransactionFirstOffset
                {
                    self.add(true, name, snapshot, "does not say of producer \(id) what the batches before it do")
                }
            }
            for transaction in self.producers.openTransactions where entries[transaction.producerID] == nil {
                self.add(
                    true, name, snapshot,
                    "lacks producer \(transaction.producerID), whose transaction is open since \(transaction.firstOffset)"
                )
            }
        }
    }
}
