import KafkaLog
import KafkaPrimitives

/// A topic as a fetch names it: by name up to version 12, by id from 13 on.
final class FetchTopic: Sendable {
    let name: [UInt8]
    let id: KafkaUUID

    init(name: [UInt8], id: KafkaUUID) {
        self.name = name
        self.id = id
    }

    func isSame(as other: FetchTopic, usesIDs: Bool) -> Bool {
        self === other || (usesIDs ? self.id == other.id : self.name == other.name)
    }

    func entry(in table: TopicTable, usesIDs: Bool) -> TopicEntry? {
        usesIDs ? table.topic(id: self.id) : self.name.withUnsafeBytes { table.topic(named: $0) }
    }
}

/// One partition that a fetch asks for, and for a session what its client was last told of it (KIP-227).
struct FetchTarget {
    let topic: FetchTopic
    let index: Int32
    var currentLeaderEpoch: Int32
    var fetchOffset: Int64
    var lastFetchedEpoch: Int32
    /// Bytes, as asked for; may be zero or negative, which reads nothing.
    var maxBytes: Int32

    var toldHighWatermark: Int64 = -1
    var toldLastStableOffset: Int64 = -1
    var toldLogStartOffset: Int64 = -1

    mutating func update(from asked: FetchTarget) {
        self.currentLeaderEpoch = asked.currentLeaderEpoch
        self.fetchOffset = asked.fetchOffset
        self.lastFetchedEpoch = asked.lastFetchedEpoch
        self.maxBytes = asked.maxBytes
    }
}

/// What one partition gives at this moment.
struct FetchResult {
    var error: ErrorCode = .none
    var highWatermark: Int64 = -1
    var lastStableOffset: Int64 = -1
    var logStartOffset: Int64 = -1
    var slice: FileSlice?
    var diverging: (epoch: Int32, endOffset: Int64)?
    /// Whose records a reader of committed ones leaves out.
    var aborted: [AbortedTransaction] = []
    /// What `min_bytes` counts: the records given, and those that are there but do not fit.
    var available = 0
    /// There is more than is given, in another segment.
    var isCutBySegment = false
    /// It is being read from the disk, or checked: it gives nothing yet.
    var isPending = false
    /// The leader's, where the client has another idea of it; -1: not told.
    var leaderEpoch: Int32 = -1
    /// Whether the answer names it: always, but in an incremental session only when there is news.
    var isIncluded = true

    var bytes: Int { self.slice?.length ?? 0 }

    /// The partition or its topic is not there. Such a one alone does not end the wait for the others, as in Kafka:
    /// a client that knows no better would come again at once.
    var isUnknown: Bool { self.error == .unknownTopicOrPartition || self.error == .unknownTopicID }

    /// The answer leaves now, whatever the number of bytes: an error, or more bytes would not come by waiting.
    var isUrgent: Bool {
        self.error != .none && !self.isUnknown || self.diverging != nil || self.isCutBySegment
    }

    /// Without them nothing may be given: aborted records would pass for committed ones.
    mutating func addAborted(_ aborted: Result<[AbortedTransaction], ErrorCode>) {
        switch aborted {
        case .success(let aborted): self.aborted = aborted
        case .failure(let code): (self.error, self.slice) = (code, nil)
        }
    }

    mutating func set(_ read: LogRead) {
        self.highWatermark = read.highWatermark
        self.lastStableOffset = read.lastStableOffset
        self.logStartOffset = read.logStartOffset
    }

    mutating func set(_ offsets: LogOffsets) {
        self.highWatermark = offsets.highWatermark
        self.lastStableOffset = offsets.lastStableOffset
        self.logStartOffset = offsets.logStartOffset
    }
}

/// What a look at all targets of a fetch has found.
struct FetchLook {
    /// Of all targets; see `FetchResult`.
    var available = 0
    var isUrgent = false
    var unknownCount = 0
    /// Of the records given.
    var bytes = 0
    /// Targets that wait for the disk or a check.
    var pendingCount = 0

    /// Nothing but what waits for the disk.
    var isOnlyPending: Bool { self.pendingCount > 0 && self.bytes == 0 }
}

/// The parts of a fetch that are about the whole.
struct FetchParameters {
    var version: Int16
    var correlationID: Int32
    /// -1 for a consumer, -2 for a consumer that may read past the high watermark, a broker's id for a follower.
    var replicaID: Int32
    var maxWaitMs: Int32
    var minBytes: Int32
    var maxBytes: Int32
    var isReadCommitted: Bool

    var usesTopicIDs: Bool { self.version >= 13 }
}

/// A fetch under way: what is asked, and the session it belongs to, if any.
struct FetchOperation {
    var parameters: FetchParameters
    var targets: [FetchTarget]
    var session: FetchContext

    enum FetchContext {
        /// No session; the answer's session id is 0.
        case sessionless
        /// A full fetch that would like a session; made when the answer is.
        case full
        /// An incremental fetch; `session` lent its targets to this operation.
        case incremental(FetchSession)
    }

    var isIncremental: Bool {
        if case .incremental = self.session { return true }
        return false
    }

    func isEnough(_ look: FetchLook) -> Bool {
        // Kafka, whose threads wait for the disk themselves, never gives nothing where there are records.
        look.isUrgent || look.available >= Int(self.parameters.minBytes) && !look.isOnlyPending
    }

    /// Looks at every target once. `results` is as long as `targets` afterwards.
    func read(from table: TopicTable, into results: inout [FetchResult]) -> FetchLook {
        results.removeAll(keepingCapacity: true)
        results.reserveCapacity(self.targets.count)
        var remaining = Int(self.parameters.maxBytes)
        var look = FetchLook()
        var isFirst = true
        var lastTopic: FetchTopic?
        var entry: TopicEntry?
        for target in self.targets {
            if lastTopic !== target.topic {
                lastTopic = target.topic
                entry = target.topic.entry(in: table, usesIDs: self.parameters.usesTopicIDs)
            }
            let result = self.read(target, entry, remaining: remaining, isFirst: isFirst)
            if result.isUrgent { look.isUrgent = true }
            if result.isUnknown { look.unknownCount += 1 }
            look.available += result.available
            look.bytes += result.bytes
            if result.isPending { look.pendingCount += 1 }
            if result.bytes > 0 { isFirst = false }
            remaining -= result.bytes
            results.append(result)
        }
        return look
    }

    /// Looks at one target as if it were the only one.
    func read(target index: Int, from table: TopicTable) -> FetchResult {
        let target = self.targets[index]
        return self.read(
            target, target.topic.entry(in: table, usesIDs: self.parameters.usesTopicIDs),
            remaining: Int(self.parameters.maxBytes), isFirst: true)
    }

    private func read(_ target: FetchTarget, _ entry: TopicEntry?, remaining: Int, isFirst: Bool) -> FetchResult {
        var result = FetchResult()
        guard let entry else {
            result.error = self.parameters.usesTopicIDs ? .unknownTopicID : .unknownTopicOrPartition
            return result
        }
        guard target.index >= 0, Int(target.index) < entry.partitions.count else {
            result.error = .unknownTopicOrPartition
            return result
        }
        guard let partition = entry.partitions[Int(target.index)] else {
            result.error = .kafkaStorageError
            return result
        }
        if let error = partition.check(currentLeaderEpoch: target.currentLeaderEpoch) {
            result.error = error
            if error == .fencedLeaderEpoch { result.leaderEpoch = partition.leaderEpoch }
            return result
        }
        // No followers exist here: whoever claims to be one is not in the partition's replica set.
        if self.parameters.replicaID >= 0 {
            result.error = .notLeaderOrFollower
            result.leaderEpoch = partition.leaderEpoch
            return result
        }
        let offsets: LogOffsets
        if let known = partition.log.snapshotNow {
            offsets = known
        } else {
            // Nobody has looked at its files since the start.
            switch partition.log.readNow(
                from: target.fetchOffset, maxBytes: max(0, min(Int(target.maxBytes), remaining)), upTo: .max,
                minOneMessage: isFirst)
            {
            case .success(let read) where read.isPending:
                result.set(read)
                result.isPending = true
                return result
            case .success:
                offsets = partition.log.snapshot
            case .failure(let code):
                result.error = code
                return result
            }
        }
        if target.lastFetchedEpoch >= 0 {
            // KIP-595: tells a reader whose history parted from ours where it did.
            let end = partition.log.endOffset(forEpoch: target.lastFetchedEpoch)
            guard end.endOffset >= 0, target.fetchOffset >= offsets.logStartOffset else {
                result.error = .offsetOutOfRange
                return result
            }
            if end.epoch < target.lastFetchedEpoch || end.endOffset < target.fetchOffset {
                result.set(offsets)
                result.diverging = end
                return result
            }
        }
        let limit =
            self.parameters.replicaID == -2
            ? Int64.max : self.parameters.isReadCommitted ? offsets.lastStableOffset : offsets.highWatermark
        let room = max(0, min(Int(target.maxBytes), remaining))
        switch partition.log.readNow(
            from: target.fetchOffset, maxBytes: room, upTo: limit,
            // From version 3 on (all that are served) the first batch is given however large, so that no consumer is
            // stuck before it (KIP-74).
            minOneMessage: isFirst)
        {
        case .success(let read):
            result.set(read)
            result.slice = read.slice
            if self.parameters.isReadCommitted, read.slice != nil {
                result.addAborted(partition.log.abortedTransactions(from: target.fetchOffset, to: read.upperBound))
            }
            result.available = read.end == .size ? max(room, result.bytes) : result.bytes
            result.isCutBySegment = read.end == .segment
            result.isPending = read.isPending
        case .failure(let code):
            result.error = code
        }
        return result
    }
}
