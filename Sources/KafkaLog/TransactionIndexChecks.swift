import KafkaPrimitives
import KafkaRecords
import Synchronization

/// What the transaction indexes of a partition's sealed segments were when they were last right: `.txnindex` files have no
/// checksum of their own, a reader of committed records believes them, and one that is missing looks like one that there
/// never was. Kept in `ottla-transaction-indexes`, which there is only where a transaction was aborted. It may lack a
/// segment or say what is no longer true: then the segment's index is compared with its log once more.
struct TransactionIndexChecks: Equatable {
    struct Entry: Equatable {
        var count: Int
        var crc: UInt32
    }

    static let name = "ottla-transaction-indexes"
    /// Those who write it, or an index anew, do so one after the other.
    static let writers = Mutex(())

    /// By base offset.
    var entries: [Int64: Entry] = [:]

    init() {}

    init(_ folder: PartitionFolder) throws(IOError) {
        guard let bytes = try FileSystem.contents(folder.path + "/" + Self.name),
            let lines = Checkpoint.decode(bytes)
        else { return }
        for line in lines {
            guard line.count == 3, let base = Int64(line[0]), let count = Int(line[1]), let crc = UInt32(line[2]) else {
                continue
            }
            self.entries[base] = Entry(count: count, crc: crc)
        }
    }

    func write(_ folder: PartitionFolder) throws(IOError) {
        let lines = self.entries.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value.count) \($0.value.crc)" }
        try FileSystem.replace(folder.path + "/" + Self.name, with: Checkpoint.encode(lines), durable: false)
    }

    /// Notes a segment's index as it is in its file now; nothing where it has none and is not noted.
    /// - Parameter first: the base of the log's first segment; what is noted of older ones goes.
    static func note(_ base: Int64, first: Int64, _ folder: PartitionFolder) throws(IOError) {
        let index = try TransactionIndex(folder, base)
        var checks = try TransactionIndexChecks(folder)
        let before = checks
        checks.entries[base] = nil
        if let index, index.count > 0 { checks.entries[base] = Entry(count: index.count, crc: try index.crc()) }
        guard checks != before else { return }
        checks.entries = checks.entries.filter { $0.key >= first }
        try checks.write(folder)
    }
}

extension TransactionIndex {
    static func crc(_ entries: some Sequence<AbortedTransaction>, seed: UInt32 = 0) -> UInt32 {
        withUnsafeTemporaryAllocation(byteCount: AbortedTransaction.size, alignment: 8) { bytes in
            var crc = seed
            guard let start = bytes.baseAddress else { return crc }
            for entry in entries {
                entry.store(start)
                crc = crc32c(UnsafeRawBufferPointer(bytes), seed: crc)
            }
            return crc
        }
    }

    /// Of all its entries.
    func crc() throws(IOError) -> UInt32 {
        var crc: UInt32 = 0
        try self.forEach(from: 0) { entry in
            crc = Self.crc(CollectionOfOne(entry), seed: crc)
            return true
        }
        return crc
    }
}

extension PartitionLog {
    /// Looks, once, whether a sealed segment's transaction index is the one that was written; where that is not known it
    /// is compared with the log, and made anew where it differs.
    func checkTransactionIndex(_ segment: SealedSegment, before: ArraySlice<SealedSegment>) throws(IOError) {
        let index = try TransactionIndex(self.folder, segment.baseOffset)
        let noted = try TransactionIndexChecks(self.folder).entries[segment.baseOffset]
        if index?.count ?? 0 == noted?.count ?? 0, try index?.crc() ?? 0 == noted?.crc ?? 0 { return }

        let result = TransactionIndexChecks.writers.withLock { _ in
            Result<Bool, IOError> { () throws(IOError) in try self.compareTransactionIndex(segment, before) }
        }
        if try result.get() {
            self.notice(
                .warning,
                "\(PartitionFolder.name(segment.baseOffset)).txnindex is not what its log says and is made anew")
        }
    }

    /// - Returns: whether it had to be made anew.
    private func compareTransactionIndex(
        _ segment: SealedSegment, _ before: ArraySlice<SealedSegment>
    ) throws(IOError) -> Bool {
        let base = segment.baseOffset
        // Also what lies before the log's start, as when it was written.
        var loader = LogLoader(folder: self.folder, config: self.config, hints: OpenHints(), now: 0)
        var producers = try loader.replayProducers(
            segments: before.map { ($0.baseOffset, $0.size) }, upTo: base)
        let view = SegmentView(
            baseOffset: base, file: try FileSystem.open(self.folder.path(base, .log), .read), end: segment.size,
            offsetIndex: nil, timeIndex: nil)
        var found: [AbortedTransaction] = []
        var failure: IOError?
        _ = try view.walk(from: 0, block: 64 << 10) { position, header in
            guard header.producerID >= 0 else { return true }
            do throws(IOError) {
                let marker = try view.marker(at: position, header)
                let aborted = producers.update(header, baseOffset: header.baseOffset, now: -1, marker: marker)
                if let aborted { found.append(aborted) }
                return true
            } catch {
                failure = error
                return false
            }
        }
        if let failure { throw failure }
        let index = try TransactionIndex(self.folder, base)
        let crc = try index?.crc() ?? 0
        let isRight = index?.count ?? 0 == found.count && crc == TransactionIndex.crc(found)
        if !isRight {
            let path = self.folder.path(base, .txnindex)
            if found.isEmpty {
                try FileSystem.unlink(path)
            } else {
                var bytes = [UInt8](repeating: 0, count: found.count * AbortedTransaction.size)
                bytes.withUnsafeMutableBytes { buffer in
                    guard let start = buffer.baseAddress else { return }
                    for (number, entry) in found.enumerated() { entry.store(start + number * AbortedTransaction.size) }
                }
                // A segment before the recovery point is not looked into after a power cut.
                try FileSystem.replace(path, with: bytes, durable: true)
            }
        }
        try TransactionIndexChecks.note(base, first: before.first?.baseOffset ?? base, self.folder)
        return !isRight
    }

    /// After a roll: what the sealed segment's index is, for the next start.
    func noteTransactionIndex(of segment: SealedSegment) throws(IOError) {
        let first = self.state.withLock { $0.sealed.first?.baseOffset ?? $0.active.baseOffset }
        let result = TransactionIndexChecks.writers.withLock { _ in
            Result<Void, IOError> { () throws(IOError) in
                try TransactionIndexChecks.note(segment.baseOffset, first: first, self.folder)
            }
        }
        try result.get()
    }
}
