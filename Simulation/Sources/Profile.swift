import KafkaRecords

@testable import KafkaLog

/// What is the same in all steps of a seed: sizes, habits of the disk, and how often each kind of step comes.
struct Profile {
    enum Step: Int, CaseIterable {
        case append, read, lookUp, lookUpMax, epochs, newEpoch, background, marks, checkpoint, flush, tick
        case configuration, retention, deleteRecords, truncate, truncateFully, highWatermark, hold
        case cleanRestart, kill, powerCut, stop, fault, writeBack, verify, wait, releaseFiles, expire
        case endTransaction, readCommitted, clean, recreate, queue
    }

    /// ottla.flush.before.ack on all partitions, or on none; nil: as the seed says.
    nonisolated(unsafe) static var flushBeforeAck: Bool?

    var partitions: Int
    var pageShift: Int
    var isStrict: Bool
    var fillsWithGarbage: Bool
    var slowOneIn: Int
    var shortWriteOneIn: Int
    var hasFaults: Bool
    var openSegmentLimit: Int
    var writebackBytes: Int
    var producers: Int
    /// 0: there are no transactions.
    var transactionalProducers: Int
    /// Keys of records.
    var keys: Int
    var isCompacted: Bool
    /// log.cleaner.dedupe.buffer.size
    var dedupeBytes: Int64
    var hasAppendTime: Bool
    var codec: CompressionType
    var segmentBytes: Int
    var indexInterval: Int
    var changesInterval: Bool
    var valueSize: Int
    var spread: Int
    var hasDisorder: Bool
    var producerExpirationMs: Int64
    var flushesBeforeAck: Bool
    var weights: [Int]
    private(set) var sum: Int

    init(_ random: inout SimulatedRandom) {
        self.partitions = random.oneIn(4) ? 2 : 1
        self.pageShift = [6, 7, 9, 9, 12][random.below(5)]
        self.isStrict = random.oneIn(2)
        self.fillsWithGarbage = random.oneIn(4)
        self.slowOneIn = random.oneIn(4) ? 50 : 0
        self.shortWriteOneIn = random.oneIn(4) ? 5 : 0
        self.hasFaults = random.oneIn(3)
        self.openSegmentLimit = 1 + random.below(4)
        self.writebackBytes = random.oneIn(2) ? 0 : 200 + random.below(2000)
        self.producers = random.below(5)
        self.transactionalProducers = random.oneIn(2) ? 1 + random.below(3) : 0
        self.isCompacted = random.oneIn(3)
        self.keys = [4, 8, 20, 60][random.below(4)]
        self.dedupeBytes = random.oneIn(4) ? 1 << 10 : 128 << 20
        self.hasAppendTime = random.oneIn(6)
        self.codec = random.oneIn(6) ? [.snappy, .lz4, .zstd, .gzip][random.below(4)] : .none
        self.segmentBytes = [500, 1000, 2000, 4000][random.below(4)] + random.below(500)
        self.indexInterval = [0, 1, 100, 300, 600][random.below(5)]
        self.changesInterval = random.oneIn(4)
        self.valueSize = [8, 30, 100][random.below(3)]
        self.spread = [0, 20, 500, 5000][random.below(4)]
        self.hasDisorder = random.oneIn(2)
        self.producerExpirationMs = random.oneIn(8) ? 2000 : 86_400_000_000
        self.flushesBeforeAck = random.oneIn(3)
        var weights = [Int](repeating: 0, count: Step.allCases.count)
        func set(_ step: Step, _ weight: Int) { weights[step.rawValue] = weight }
        set(.append, 60)
        set(.read, 12)
        set(.lookUp, 4)
        set(.lookUpMax, 2)
        set(.epochs, 3)
        set(.newEpoch, 2)
        set(.background, [2, 10, 30][random.below(3)])
        set(.marks, random.below(8))
        set(.checkpoint, random.below(4))
        set(.flush, random.below(6))
        set(.tick, random.below(5))
        set(.configuration, random.below(4))
        set(.retention, random.below(5))
        set(.deleteRecords, random.below(4))
        set(.truncate, random.oneIn(2) ? 0 : random.below(4))
        set(.truncateFully, random.oneIn(8) ? 1 : 0)
        set(.highWatermark, random.oneIn(3) ? 4 : 0)
        set(.hold, random.below(4))
        set(.cleanRestart, random.below(4))
        set(.kill, random.below(4))
        set(.powerCut, random.below(4))
        set(.stop, random.below(7))
        set(.fault, self.hasFaults ? 3 : 0)
        set(.writeBack, random.below(5))
        set(.verify, 1 + random.below(3))
        set(.wait, random.below(3))
        set(.releaseFiles, random.below(3))
        set(.expire, self.producerExpirationMs < 10_000 ? 3 : 0)
        set(.endTransaction, self.transactionalProducers > 0 ? 4 + random.below(12) : 0)
        set(.clean, self.isCompacted ? 3 + random.below(8) : 0)
        set(.recreate, random.oneIn(6) ? 1 : 0)
        set(.queue, random.oneIn(4) ? 4 : 0)
        set(.readCommitted, self.transactionalProducers > 0 ? 2 + random.below(8) : 0)
        self.weights = weights
        self.sum = weights.reduce(0, +)
    }

    func step(_ random: inout SimulatedRandom) -> Step {
        var number = random.below(self.sum)
        for step in Step.allCases {
            number -= self.weights[step.rawValue]
            if number < 0 { return step }
        }
        return .append
    }

    func config(_ random: inout SimulatedRandom) -> LogConfig {
        var config = LogConfig()
        config.segmentBytes = self.segmentBytes
        config.indexIntervalBytes = self.indexInterval
        config.retentionMs = -1
        if self.isCompacted {
            config.cleanupPolicy = random.oneIn(4) ? [.compact, .delete] : .compact
            config.minCleanableDirtyRatio = random.oneIn(2) ? 0 : 0.3
            config.deleteRetentionMs = [0, 200, 2000, 86_400_000][random.below(4)]
            if random.oneIn(5) { config.minCompactionLagMs = Int64(random.below(1000)) }
            if random.oneIn(5) { config.maxCompactionLagMs = Int64(random.below(4000)) }
        }
        if self.hasAppendTime { config.messageTimestampType = random.oneIn(2) ? .createTime : .logAppendTime }
        config.fileDeleteDelayMs = [0, 100, 60_000][random.below(3)]
        config.preallocate = random.oneIn(8)
        if random.oneIn(4) { config.segmentMs = 200 + Int64(random.below(2000)) }
        if random.oneIn(6) { config.segmentJitterMs = Int64(random.below(1500)) }
        if random.oneIn(6) { config.segmentIndexBytes = 36 + random.below(200) }
        if random.oneIn(5) { config.flushMessages = Int64(1 + random.below(10)) }
        let flushesBeforeAck = self.flushesBeforeAck && random.oneIn(2)
        config.flushBeforeAck = Self.flushBeforeAck ?? flushesBeforeAck
        if random.oneIn(5) { config.flushMs = Int64(1 + random.below(1000)) }
        return config
    }
}
