import KafkaRecords

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

    /// A segment's index entry takes 8 bytes in one file and 12 in the other; Kafka rolls when either is full.
    var maxIndexEntries: Int { max(1, min(self.segmentIndexBytes / 8, self.segmentIndexBytes / 12)) }
}
