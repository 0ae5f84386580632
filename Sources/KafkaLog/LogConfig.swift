import KafkaRecords
import Synchronization

/// The configuration of one topic, typed. Defaults are Kafka's. Sizes are bytes.
package struct LogConfig: Sendable, Equatable {
    package struct CleanupPolicy: OptionSet, Sendable, Hashable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        package static let delete = CleanupPolicy(rawValue: 1)
        package static let compact = CleanupPolicy(rawValue: 2)
    }

    package var segmentBytes: Int = 1 << 30
    package var segmentMs: Int64 = 7 * 24 * 3_600_000
    package var segmentJitterMs: Int64 = 0
    package var segmentIndexBytes: Int = 10 << 20
    package var indexIntervalBytes: Int = 4096
    /// -1: for ever.
    package var retentionMs: Int64 = 7 * 24 * 3_600_000
    /// -1: no limit.
    package var retentionBytes: Int64 = -1
    package var maxMessageBytes: Int = 1_048_588
    /// Nil is `producer`: as the producer sent it.
    package var compressionType: CompressionType?
    /// Nil: the codec's default.
    package var compressionGzipLevel: Int32?
    package var compressionLz4Level: Int32?
    package var compressionZstdLevel: Int32?
    package var cleanupPolicy: CleanupPolicy = .delete
    package var messageTimestampType: TimestampType = .createTime
    package var messageTimestampBeforeMaxMs: Int64 = .max
    package var messageTimestampAfterMaxMs: Int64 = 3_600_000
    package var flushMessages: Int64 = .max
    package var flushMs: Int64 = .max
    /// ottla.flush.before.ack: an append is acknowledged, and consumers see it, when it is synced.
    package var flushBeforeAck = false
    package var fileDeleteDelayMs: Int64 = 60_000
    package var preallocate = false
    package var minInSyncReplicas: Int32 = 1
    package var minCleanableDirtyRatio: Double = 0.5
    package var deleteRetentionMs: Int64 = 24 * 3_600_000
    package var minCompactionLagMs: Int64 = 0
    package var maxCompactionLagMs: Int64 = .max
    package var uncleanLeaderElectionEnable = false
    package var followerReplicationThrottledReplicas: [String] = []
    package var leaderReplicationThrottledReplicas: [String] = []

    package init() {}

    /// Entries that fit into segment.index.bytes. In the time index one place is kept for the last entry, which comes
    /// when the segment is sealed.
    var maxOffsetIndexEntries: Int { max(1, self.segmentIndexBytes / 8) }
    var maxTimeIndexEntries: Int { max(1, self.segmentIndexBytes / 12 - 1) }

    /// How long a segment takes records: what is to be compacted after a certain time must be in a sealed one by then.
    var maxSegmentMs: Int64 {
        self.cleanupPolicy.contains(.compact) && self.maxCompactionLagMs > 0
            ? min(self.maxCompactionLagMs, self.segmentMs) : self.segmentMs
    }

    /// From this size of the active segment on the next one's file is made: well before it is needed, also where a few
    /// requests fill a segment.
    var nextSegmentBytes: Int {
        min(self.segmentBytes / 10 * 9, max(self.segmentBytes / 2, self.segmentBytes - (4 << 20)))
    }
}

/// A configuration that many partitions share: one in memory for all of a topic.
final class SharedLogConfig: Sendable {
    let value: LogConfig
    private static let last = Mutex<SharedLogConfig?>(nil)

    init(_ value: LogConfig) { self.value = value }

    /// One that is there already, where the last asked for was the same.
    static func shared(_ value: LogConfig) -> SharedLogConfig {
        self.last.withLock { last in
            if let last, last.value == value { return last }
            let made = SharedLogConfig(value)
            last = made
            return made
        }
    }
}
