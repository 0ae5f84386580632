import KafkaPrimitives

@testable import KafkaLog

/// Log and model tell different things.
struct Disagreement: Error {
    var message: String
    init(_ message: String) { self.message = message }
}

/// What a partition should be, as simply as it can be put: everything that was appended, in order.
final class PartitionModel {
    struct Batch {
        var base: Int64
        var last: Int64
        /// Where its bytes are in `arena`, and its records' timestamps in `times`.
        var position: Int
        var size: Int
        var firstTime: Int
        var maxTimestamp: Int64
        var epoch: Int32
        var producerID: Int64
        var producerEpoch: Int16
        var baseSequence: Int32
        var isTransactional = false
        var isControl = false
        /// Of a control batch; nil where compaction has emptied it.
        var marker: Marker?
        /// Records: as many as offsets, until compaction takes some.
        var count = 0

        var lastSequence: Int32 {
            let sum = Int64(self.baseSequence) + self.last - self.base
            return Int32(sum > Int64(Int32.max) ? sum - (1 << 31) : sum)
        }
    }

    struct Marker: Equatable {
        var isAbort: Bool
        var coordinatorEpoch: Int32
    }

    struct Segment {
        var base: Int64
        /// The index of its first batch.
        var first: Int
        /// A power cut took of it, all of which lies before the log's start: the bytes that are left.
        var left: Int?
    }

    struct Epoch: Equatable {
        var epoch: Int32
        var start: Int64
    }

    struct Producer {
        var epoch: Int16
        /// Its newest batches, oldest first, at most five.
        var batches: [Batch] = []
        /// So many of them the log remembers: all until it is opened anew.
        var known = 0
        /// The wall clock at the last append; -1 after a restart.
        var lastAppend: Int64 = -1
        var lastTimestamp: Int64 = -1
        var coordinatorEpoch: Int32 = -1
        /// The first offset of its transaction that has no marker; -1: there is none.
        var openFrom: Int64 = -1
    }

    let partition: TopicPartition
    private(set) var topicID: KafkaUUID
    var config: LogConfig

    private(set) var arena: [UInt8] = []
    private(set) var times: [Int64] = []
    /// Of each record: its offset from its batch's.
    private(set) var deltas: [Int32] = []
    /// All that was ever appended and not cut off at the end, also what retention took; not what compaction took.
    private(set) var batches: [Batch] = []
    /// Those of producers, also what compaction took.
    private(set) var written: [Batch] = []
    var start: Int64 = 0
    var end: Int64 = 0
    var highWatermark: Int64 = 0
    var highWatermarkFollows = true
    /// Records since a sync was last asked for, and up to where flush.messages has asked for one.
    var unflushed: Int64 = 0
    var syncedFor: Int64 = 0
    /// Since it was opened somebody may have waited for a sync: the high watermark may lag.
    var waitsForSyncs = false
    var epochs: [Epoch] = []
    /// The leader's epoch with which batches are appended.
    var leaderEpoch: Int32 = 0
    var producers: [Int64: Producer] = [:]
    /// Transactions whose markers were not below the high watermark when they came.
    var ended: [(first: Int64, last: Int64)] = []
    /// It was compacted: offsets may be missing, and what is left of a producer's batches is not all that it wrote.
    var wasCleaned = false
    /// A cleaning that was cut short: of each segment nobody knows whether it is cleaned.
    var doubtfulCleaning: CleaningPlan?
    /// A cleaner said that all before it is clean.
    var cleanedTo: Int64 = 0
    /// The files, the last one is the active one.
    var segments: [Segment] = [Segment(base: 0, first: 0)]
    var activeCreated: Int64 = 0

    // MARK: what a crash may take

    /// The log said that all before it is on the disk.
    var promised: Int64 = 0
    /// The start offset that a kill cannot take back, and the one that a power cut cannot.
    var markedStart: Int64 = 0
    var durableStart: Int64 = 0
    /// The highest start there ever was: epochs below it may be forgotten.
    var highestStart: Int64 = 0
    /// It was made and its making succeeded.
    var exists = false
    /// In doubt since the process was stopped in the midst of something: at least up to here the log goes on.
    var doubtfulFrom: Int64?
    /// An append that failed, or of which nobody knows: it may be there.
    var doubtfulBatch: (bytes: [UInt8], batch: Batch)?
    /// The start may be anywhere up to here.
    var doubtfulStart: Int64?
    /// A start that the last opening could not read; the next may.
    var forgottenStart: Int64 = 0
    /// Everything may be gone, and the log begin here.
    var doubtfulRestart: Int64?
    /// A call on its files has failed since it was opened: it may refuse things.
    var isImpaired = false

    init(_ partition: TopicPartition, _ topicID: KafkaUUID, _ config: LogConfig) {
        self.partition = partition
        self.topicID = topicID
        self.config = config
    }

    // MARK: batches

    func bytes(_ batch: Batch) -> ArraySlice<UInt8> { self.arena[batch.position..<batch.position + batch.size] }

    /// Offsets and times of its records.
    func records(_ batch: Batch) -> Zip2Sequence<ArraySlice<Int32>, ArraySlice<Int64>> {
        let range = batch.firstTime..<batch.firstTime + batch.count
        return zip(self.deltas[range], self.times[range])
    }

    /// The index of the first batch whose last offset is at or after `offset`.
    func index(atOrAfter offset: Int64) -> Int {
        var low = 0
        var high = self.batches.count
        while low < high {
            let middle = (low + high) / 2
            if self.batches[middle].last < offset { low = middle + 1 } else { high = middle }
        }
        return low
    }

    var firstBase: Int64 { self.segments[0].base }
    var activeSize: Int { self.size(self.segments.count - 1) }

    func range(_ segment: Int) -> Range<Int> {
        let end = segment + 1 < self.segments.count ? self.segments[segment + 1].first : self.batches.count
        return self.segments[segment].first..<end
    }

    /// Whether files before the log's start are not what they were.
    var hasRuins: Bool { self.segments[0].left != nil || self.segments.contains { $0.left != nil } }

    func size(_ segment: Int) -> Int {
        if let left = self.segments[segment].left { return left }
        let range = self.range(segment)
        guard let first = range.first, let last = range.last else { return 0 }
        return self.batches[last].position + self.batches[last].size - self.batches[first].position
    }

    var size: Int {
        if self.hasRuins { return self.segments.indices.reduce(0) { $0 + self.size($1) } }
        guard self.segments[0].first < self.batches.count else { return 0 }
        return self.arena.count - self.batches[self.segments[0].first].position
    }

    func maxTimestamp(_ segment: Int) -> Int64 {
        self.batches[self.range(segment)].reduce(-1) { max($0, $1.maxTimestamp) }
    }

    /// The largest timestamp before each offset decides nothing: the first record at or after the target does.
    func lookUp(_ target: Int64, limit: Int64) -> (timestamp: Int64, offset: Int64, epoch: Int32)? {
        var index = max(self.segments[0].first, self.index(atOrAfter: self.start))
        while index < self.batches.count {
            let batch = self.batches[index]
            index += 1
            guard batch.maxTimestamp >= target else { continue }
            for (delta, time) in self.records(batch) where time >= target && batch.base + Int64(delta) >= self.start {
                let offset = batch.base + Int64(delta)
                return offset < limit ? (time, offset, batch.epoch) : nil
            }
        }
        return nil
    }

    /// The first record with the greatest timestamp in the files.
    func lookUpMax() -> (timestamp: Int64, offset: Int64)? {
        var best: (timestamp: Int64, offset: Int64)?
        for batch in self.batches[self.segments[0].first...] where batch.maxTimestamp > best?.timestamp ?? -1 {
            for (delta, time) in self.records(batch) where time == batch.maxTimestamp {
                best = (time, batch.base + Int64(delta))
                break
            }
        }
        return best
    }

    // MARK: what changes it

    /// - Parameter bytes: as the log should have them, stamped.
    func append(_ bytes: [UInt8], _ batch: Batch, times: [Int64], now: Int64) {
        self.add(bytes[...], batch, times: times, deltas: Int32(0)..<Int32(times.count))
        self.assign(batch.epoch, at: batch.base)
        self.end = batch.last + 1
        if batch.producerID >= 0 { self.written.append(batch) }
        if self.config.flushMessages < .max || self.config.flushBeforeAck { self.waitsForSyncs = true }
        if self.config.flushMessages < .max { self.unflushed += Int64(times.count) }
        if self.config.flushBeforeAck || self.unflushed >= self.config.flushMessages {
            (self.unflushed, self.syncedFor) = (0, self.end)
        }
        let before = self.highWatermark
        if self.highWatermarkFollows && !self.waitsForSyncs { self.highWatermark = self.end }
        self.note(batch, now: now, in: &self.producers) { first in
            // As it was while the marker was appended.
            if batch.last >= before { self.ended.append((first, batch.last)) }
        }
    }

    private func add(
        _ bytes: ArraySlice<UInt8>, _ batch: Batch, times: some Sequence<Int64>, deltas: some Sequence<Int32>
    ) {
        var batch = batch
        batch.position = self.arena.count
        batch.size = bytes.count
        batch.firstTime = self.times.count
        self.arena.append(contentsOf: bytes)
        self.times.append(contentsOf: times)
        self.deltas.append(contentsOf: deltas)
        batch.count = self.times.count - batch.firstTime
        self.batches.append(batch)
    }

    /// Other batches for those that there are.
    func replaceBatches(_ made: [(bytes: ArraySlice<UInt8>, batch: Batch, times: [Int64], deltas: [Int32])]) {
        let (arena, times, deltas) = (self.arena, self.times, self.deltas)
        self.arena = []
        self.arena.reserveCapacity(arena.count)
        self.times = []
        self.deltas = []
        self.batches = []
        for one in made { self.add(one.bytes, one.batch, times: one.times, deltas: one.deltas) }
        _ = (arena, times, deltas)
    }

    /// - Parameter ends: told of the first offset of a transaction that the batch ends.
    func note(
        _ batch: Batch, now: Int64, in producers: inout [Int64: Producer], ends: (Int64) -> Void = { _ in }
    ) {
        guard batch.producerID >= 0 else { return }
        var producer = producers[batch.producerID] ?? Producer(epoch: batch.producerEpoch)
        defer { producers[batch.producerID] = producer }
        if producers[batch.producerID] == nil { producer.lastTimestamp = batch.maxTimestamp }
        producer.lastAppend = now
        if batch.isControl && batch.marker == nil { return }
        if producer.epoch != batch.producerEpoch {
            producer.epoch = batch.producerEpoch
            producer.batches = []
            producer.known = 0
        }
        producer.lastTimestamp = batch.maxTimestamp
        if let marker = batch.marker {
            producer.coordinatorEpoch = marker.coordinatorEpoch
            if producer.openFrom >= 0 { ends(producer.openFrom) }
            producer.openFrom = -1
            return
        }
        if batch.isTransactional, producer.openFrom < 0 { producer.openFrom = batch.base }
        producer.batches.append(batch)
        producer.known += 1
        if producer.batches.count > 5 { producer.batches.removeFirst() }
        producer.known = min(producer.known, 5)
    }

    /// The producers as the batches before `end` tell, those that are in no file included.
    func producersFromHistory() -> [Int64: Producer] {
        var producers: [Int64: Producer] = [:]
        for batch in self.batches { self.note(batch, now: -1, in: &producers) }
        return producers
    }

    /// The transactions with a marker at or behind the high watermark.
    func endedFromHistory() -> [(first: Int64, last: Int64)] {
        guard self.highWatermark < self.end else { return [] }
        var ended: [(first: Int64, last: Int64)] = []
        var producers: [Int64: Producer] = [:]
        for batch in self.batches {
            self.note(batch, now: -1, in: &producers) { first in
                if batch.last >= self.highWatermark { ended.append((first, batch.last)) }
            }
        }
        return ended
    }

    func assign(_ epoch: Int32, at offset: Int64) {
        if let last = self.epochs.last, last.epoch >= epoch { return }
        while let last = self.epochs.last, last.start >= offset { self.epochs.removeLast() }
        self.epochs.append(Epoch(epoch: epoch, start: offset))
    }

    func moveStart(to offset: Int64) {
        guard offset > self.start else { return }
        self.start = offset
        self.highestStart = max(self.highestStart, offset)
        if let index = self.epochs.lastIndex(where: { $0.start <= offset }) {
            self.epochs.removeFirst(index)
            self.epochs[0].start = offset
        }
    }

    /// Batches from `offset` on go; one that holds it too.
    func cut(to offset: Int64) {
        guard let first = self.batches.firstIndex(where: { $0.last >= offset }) else { return }
        let batch = self.batches[first]
        self.arena.removeSubrange(batch.position...)
        self.times.removeSubrange(batch.firstTime...)
        self.deltas.removeSubrange(batch.firstTime...)
        self.batches.removeSubrange(first...)
        while let last = self.written.last, last.last >= offset { self.written.removeLast() }
        // Within a gap that compaction left.
        let before = first > 0 ? self.batches[first - 1].last + 1 : 0
        self.end = self.wasCleaned && offset >= before && offset < batch.base ? offset : batch.base
        self.cleanedTo = min(self.cleanedTo, self.end)
        while self.segments.count > 1, self.segments[self.segments.count - 1].base > offset {
            self.segments.removeLast()
        }
        self.start = min(self.start, self.end)
        self.highWatermark = min(self.highWatermark, self.end)
        self.promised = min(self.promised, self.end)
        self.syncedFor = min(self.syncedFor, self.end)
        while let last = self.epochs.last, last.start >= self.end { self.epochs.removeLast() }
    }

    func restart(at offset: Int64) {
        self.arena = []
        self.times = []
        self.deltas = []
        self.batches = []
        self.written = []
        self.ended = []
        self.wasCleaned = false
        self.doubtfulCleaning = nil
        self.cleanedTo = 0
        self.segments = [Segment(base: offset, first: 0)]
        self.start = offset
        self.end = offset
        self.highWatermark = offset
        self.promised = 0
        self.syncedFor = 0
        self.highestStart = max(self.highestStart, offset)
        self.epochs = []
        self.producers = [:]
    }

    func recreateID() {
        self.topicID = KafkaUUID(high: self.topicID.high, low: self.topicID.low &+ 0x9E37_79B9_7F4A_7C15)
    }

    /// The topic is deleted, and another of its name is made.
    func recreate() {
        self.restart(at: 0)
        self.highestStart = 0
        self.unflushed = 0
        self.markedStart = 0
        self.durableStart = 0
        self.forgottenStart = 0
        self.leaderEpoch = 0
        self.highWatermarkFollows = true
        self.waitsForSyncs = self.config.flushBeforeAck
    }

    /// Where the log may end.
    func isBoundary(_ offset: Int64) -> Bool {
        if offset == self.end { return true }
        let index = self.index(atOrAfter: offset)
        if self.wasCleaned, index > 0, self.batches[index - 1].last + 1 == offset { return true }
        return index < self.batches.count && self.batches[index].base == offset
    }
}
