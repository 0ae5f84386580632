import KafkaPrimitives
import Synchronization

/// What was valid of a partition at a moment: everything before it needs no check as long as the machine has not been
/// restarted (or was shut down cleanly).
struct PartitionMark: Sendable {
    var partition: TopicPartition
    var topicID: KafkaUUID
    var logStartOffset: Int64
    var logEndOffset: Int64
    var recoveryPoint: Int64
    /// The active segment then.
    var segmentBase: Int64
    /// Its size.
    var position: Int
    var lastBatchPosition: Int
    var lastBatchCRC: UInt32
    var largest: TimestampOffset
    var bytesSinceIndexEntry: Int
    /// Entries in its index files.
    var offsetIndexCount: Int
    var timeIndexCount: Int
    var lastIndexedTimestamp: Int64
    /// Entries that are in no file yet. Most partitions of a broker with many get few bytes a second: a file for their
    /// first entries would cost more than the bytes.
    var offsetEntries: [OffsetIndexEntry]
    var timeEntries: [TimeIndexEntry]
    /// As with the other two.
    var transactionIndexCount: Int
    var transactionIndexCRC: UInt32
    var transactionEntries: [AbortedTransaction]
    /// The leader epochs; empty where there are many, which are in their file then.
    var epochs: [LeaderEpochCache.Entry]
    /// How many segments are sealed, and of which list of them (`State.listVersion`).
    var sealedCount = 0
    var listVersion: UInt32 = 0
    /// With all batches that are remembered; a `.snapshot` has the last one of each producer only, and a producer that
    /// was cut off may send up to five again.
    var producers: [Int64: ProducerStateEntry]
}

extension PartitionMark {
    /// Whether markers have been seen of any producer.
    var hasEndedTransactions: Bool { self.producers.values.contains { $0.coordinatorEpoch >= 0 } }

    private static let version: UInt8 = 5
    /// So many entries wait for their file.
    static let maxEntries = 64
    /// More leader epochs than these are in their file.
    static let maxEpochs = 8

    func encode(into bytes: inout Bytes) {
        bytes.put(Self.version)
        bytes.put(self.partition.topic)
        bytes.put(self.partition.partition)
        bytes.put(self.topicID.high)
        bytes.put(self.topicID.low)
        bytes.put(self.logStartOffset)
        bytes.put(self.logEndOffset)
        bytes.put(self.recoveryPoint)
        bytes.put(self.segmentBase)
        bytes.put(Int64(self.position))
        bytes.put(Int64(self.lastBatchPosition))
        bytes.put(self.lastBatchCRC)
        bytes.put(self.largest.timestamp)
        bytes.put(self.largest.offset)
        bytes.put(Int64(self.bytesSinceIndexEntry))
        bytes.put(Int64(self.offsetIndexCount))
        bytes.put(Int64(self.timeIndexCount))
        bytes.put(self.lastIndexedTimestamp)
        bytes.put(UInt32(truncatingIfNeeded: self.sealedCount))
        bytes.put(self.listVersion)
        bytes.put(UInt8(truncatingIfNeeded: self.offsetEntries.count))
        for entry in self.offsetEntries {
            bytes.put(entry.relativeOffset)
            bytes.put(entry.position)
        }
        bytes.put(UInt8(truncatingIfNeeded: self.timeEntries.count))
        for entry in self.timeEntries {
            bytes.put(entry.timestamp)
            bytes.put(entry.relativeOffset)
        }
        bytes.put(UInt32(truncatingIfNeeded: self.transactionIndexCount))
        bytes.put(self.transactionIndexCRC)
        bytes.put(UInt8(truncatingIfNeeded: self.transactionEntries.count))
        for entry in self.transactionEntries {
            bytes.put(entry.producerID)
            bytes.put(entry.firstOffset)
            bytes.put(entry.lastOffset)
            bytes.put(entry.lastStableOffset)
        }
        bytes.put(UInt8(truncatingIfNeeded: self.epochs.count))
        for entry in self.epochs {
            bytes.put(entry.epoch)
            bytes.put(entry.startOffset)
        }
        bytes.put(UInt32(truncatingIfNeeded: self.producers.count))
        for (id, entry) in self.producers {
            bytes.put(id)
            bytes.put(entry.epoch)
            bytes.put(entry.coordinatorEpoch)
            bytes.put(entry.lastTimestamp)
            bytes.put(entry.lastAppendMs)
            bytes.put(entry.currentTransactionFirstOffset)
            bytes.put(UInt8(truncatingIfNeeded: entry.batchCount))
            for index in 0..<entry.batchCount {
                let batch = entry.batch(index)
                bytes.put(batch.lastSequence)
                bytes.put(batch.lastOffset)
                bytes.put(batch.offsetDelta)
                bytes.put(batch.timestamp)
            }
        }
    }

    /// Whose mark the bytes are, without the rest; nil where they are none of this version.
    /// - Parameter topic: see below.
    static func partition(
        _ reader: inout BytesReader, sharing topic: String
    ) -> (topic: String, partition: Int32)? {
        guard reader.get(UInt8.self) == Self.version, let topic = reader.getString(sharing: topic),
            let number = reader.get(Int32.self)
        else { return nil }
        return (topic, number)
    }

    /// Nil where the bytes are no mark of this version.
    /// - Parameter topic: the last mark's, whose name is shared where it is the same.
    init?(_ reader: inout BytesReader, topic previous: String = "") {
        guard let (topic, number) = Self.partition(&reader, sharing: previous),
            let high = reader.get(UInt64.self), let low = reader.get(UInt64.self), let start = reader.get(Int64.self),
            let end = reader.get(Int64.self), let recovery = reader.get(Int64.self), let base = reader.get(Int64.self),
            let position = reader.get(Int64.self), let lastBatch = reader.get(Int64.self),
            let crc = reader.get(UInt32.self), let timestamp = reader.get(Int64.self),
            let offset = reader.get(Int64.self), let sinceEntry = reader.get(Int64.self),
            let offsetCount = reader.get(Int64.self), let timeCount = reader.get(Int64.self),
            let indexed = reader.get(Int64.self), let sealedCount = reader.get(UInt32.self),
            let listVersion = reader.get(UInt32.self), let offsetEntries = Self.offsetEntries(&reader),
            let timeEntries = Self.timeEntries(&reader), let transactionCount = reader.get(UInt32.self),
            let transactionCRC = reader.get(UInt32.self),
            let transactionEntries = Self.transactionEntries(&reader), let epochs = Self.epochs(&reader),
            let producerCount = reader.get(UInt32.self),
            start >= 0, end >= start, base >= 0, end >= base, position >= 0, position <= Int64(Int32.max),
            lastBatch >= 0, lastBatch <= position, offsetCount >= 0, timeCount >= 0, offsetCount <= position,
            timeCount <= position, sinceEntry >= 0, sinceEntry <= position
        else { return nil }
        self.partition = TopicPartition(topic: topic, partition: number)
        self.topicID = KafkaUUID(high: high, low: low)
        self.logStartOffset = start
        self.logEndOffset = end
        self.recoveryPoint = recovery
        self.segmentBase = base
        self.position = Int(position)
        self.lastBatchPosition = Int(lastBatch)
        self.lastBatchCRC = crc
        self.largest = TimestampOffset(timestamp: timestamp, offset: offset)
        self.bytesSinceIndexEntry = Int(sinceEntry)
        self.offsetIndexCount = Int(offsetCount)
        self.timeIndexCount = Int(timeCount)
        self.lastIndexedTimestamp = indexed
        self.sealedCount = Int(sealedCount)
        self.listVersion = listVersion
        self.offsetEntries = offsetEntries
        self.timeEntries = timeEntries
        self.transactionIndexCount = Int(transactionCount)
        self.transactionIndexCRC = transactionCRC
        self.transactionEntries = transactionEntries
        self.epochs = epochs
        self.producers = [:]
        for _ in 0..<producerCount {
            guard let id = reader.get(Int64.self), let epoch = reader.get(Int16.self),
                let coordinator = reader.get(Int32.self), let timestamp = reader.get(Int64.self),
                let append = reader.get(Int64.self), let transaction = reader.get(Int64.self),
                let count = reader.get(UInt8.self), count <= ProducerStateEntry.batchesKept
            else { return nil }
            var entry = ProducerStateEntry(epoch: epoch, lastTimestamp: timestamp)
            for _ in 0..<count {
                guard let sequence = reader.get(Int32.self), let offset = reader.get(Int64.self),
                    let delta = reader.get(Int32.self), let timestamp = reader.get(Int64.self), delta >= 0
                else { return nil }
                entry.append(
                    ProducerBatch(
                        lastSequence: sequence, lastOffset: offset, offsetDelta: delta, timestamp: timestamp))
            }
            entry.coordinatorEpoch = coordinator
            entry.lastTimestamp = timestamp
            entry.lastAppendMs = append
            entry.currentTransactionFirstOffset = transaction
            self.producers[id] = entry
        }
    }

    private static func offsetEntries(_ reader: inout BytesReader) -> [OffsetIndexEntry]? {
        var entries: [OffsetIndexEntry] = []
        for _ in 0..<(reader.get(UInt8.self) ?? 0) {
            guard let offset = reader.get(Int32.self), let position = reader.get(Int32.self) else { return nil }
            entries.append(OffsetIndexEntry(relativeOffset: offset, position: position))
        }
        return entries
    }

    private static func epochs(_ reader: inout BytesReader) -> [LeaderEpochCache.Entry]? {
        var entries: [LeaderEpochCache.Entry] = []
        for _ in 0..<(reader.get(UInt8.self) ?? 0) {
            guard let epoch = reader.get(Int32.self), let start = reader.get(Int64.self) else { return nil }
            entries.append(LeaderEpochCache.Entry(epoch: epoch, startOffset: start))
        }
        return entries
    }

    private static func transactionEntries(_ reader: inout BytesReader) -> [AbortedTransaction]? {
        var entries: [AbortedTransaction] = []
        for _ in 0..<(reader.get(UInt8.self) ?? 0) {
            guard let producer = reader.get(Int64.self), let first = reader.get(Int64.self),
                let last = reader.get(Int64.self), let stable = reader.get(Int64.self)
            else { return nil }
            entries.append(
                AbortedTransaction(
                    producerID: producer, firstOffset: first, lastOffset: last, lastStableOffset: stable))
        }
        return entries
    }

    private static func timeEntries(_ reader: inout BytesReader) -> [TimeIndexEntry]? {
        var entries: [TimeIndexEntry] = []
        for _ in 0..<(reader.get(UInt8.self) ?? 0) {
            guard let timestamp = reader.get(Int64.self), let offset = reader.get(Int32.self) else { return nil }
            entries.append(TimeIndexEntry(timestamp: timestamp, relativeOffset: offset))
        }
        return entries
    }
}

extension PartitionLog {
    /// How much a partition may grow before its mark is taken anew, and for how many rounds it may be put off. What lies
    /// past a mark is read after a crash: so much is soon read.
    static let lazyMarkBytes = 4 << 20
    private static let lazyMarkRounds = 10

    /// What a start after a crash would have to read.
    var unmarkedBytes: Int {
        self.state.withLock { state in
            guard state.needsMark else { return 0 }
            guard let marked = state.marked, marked.base == state.active.baseOffset else { return state.active.size }
            return max(0, state.active.size - marked.position)
        }
    }

    /// A mark of now, if something changed since the last; what the mark refers to is in it or, when this returns, in
    /// the files.
    /// - Parameter lazyBytes: not yet, where less has changed, for some rounds.
    /// - Parameter withoutIndexWrites: not yet, where a file would have to be made for index entries: at a start nobody should
    ///   wait for the making of files.
    func takeMark(
        always: Bool = false, lazyBytes: Int = 0, withoutIndexWrites: Bool = false
    ) throws(IOError) -> PartitionMark? {
        let isPutOff =
            lazyBytes > 0
            && self.state.withLock { $0.putsMarkOff(bytes: lazyBytes, rounds: Self.lazyMarkRounds) }
        if isPutOff { return nil }
        let epochs = self.state.withLock { state -> LeaderEpochCache? in
            guard state.status == .open, state.epochs.needsWrite,
                state.epochs.entries.isEmpty || state.epochs.entries.count > PartitionMark.maxEpochs
            else { return nil }
            state.epochs.needsWrite = false
            return state.epochs
        }
        if let epochs {
            do throws(IOError) { try self.folder.writeLeaderEpochs(epochs, durable: false) } catch {
                self.state.withLock { $0.epochs.needsWrite = true }
                throw error
            }
        }
        return try self.state.withLock { state throws(IOError) -> PartitionMark? in
            // An epoch that came in between waits for the next round, and the mark with it.
            let epochs = state.epochs.entries.count <= PartitionMark.maxEpochs ? state.epochs.entries : []
            guard state.status != .deleted, state.status != .failed, state.needsMark || always,
                always || !state.epochs.needsWrite || !epochs.isEmpty
            else { return nil }
            let unwritten = max(
                state.active.offsetIndex.unwritten, state.active.timeIndex.unwritten,
                state.active.transactionIndex.unwritten)
            if unwritten > PartitionMark.maxEntries {
                if withoutIndexWrites { return nil }
                try state.active.writeIndexes(self.folder)
            }
            state.needsMark = false
            state.marked = (state.active.baseOffset, state.active.size)
            state.markRoundsLeftOut = 0
            return self.mark(of: state, epochs: epochs)
        }
    }

    /// - Parameter epochs: empty where they are in their file.
    func mark(of state: borrowing State, epochs: [LeaderEpochCache.Entry]) -> PartitionMark {
        let active = state.active
        return PartitionMark(
            partition: self.topicPartition, topicID: self.topicID, logStartOffset: state.logStartOffset,
            logEndOffset: state.logEndOffset, recoveryPoint: state.recoveryPoint, segmentBase: active.baseOffset,
            position: active.size, lastBatchPosition: active.lastBatchPosition, lastBatchCRC: active.lastBatchCRC,
            largest: active.largest, bytesSinceIndexEntry: active.bytesSinceIndexEntry,
            offsetIndexCount: active.offsetIndex.persisted, timeIndexCount: active.timeIndex.persisted,
            lastIndexedTimestamp: active.lastIndexedTimestamp,
            offsetEntries: Array(active.offsetIndex.unwrittenEntries),
            timeEntries: Array(active.timeIndex.unwrittenEntries),
            transactionIndexCount: active.transactionIndex.persisted,
            transactionIndexCRC: active.transactionIndexCRC,
            transactionEntries: Array(active.transactionIndex.unwrittenEntries), epochs: epochs,
            sealedCount: state.sealed.count, listVersion: state.listVersion,
            producers: state.producers.producers)
    }
}
