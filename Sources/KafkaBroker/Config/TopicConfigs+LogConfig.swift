import KafkaLog
import KafkaRecords

extension TopicConfigs {
    /// What holds for a topic with `overrides`, typed.
    package static func logConfig(_ overrides: [String: String], broker: KafkaConfig) -> LogConfig {
        func text(_ name: String) -> String { self.value(name, overrides, broker) }
        func long(_ name: String) -> Int64 { self.long(name, overrides, broker) }
        func bool(_ name: String) -> Bool { text(name) == "true" }
        var config = LogConfig()
        config.segmentBytes = Int(long("segment.bytes"))
        config.segmentMs = long("segment.ms")
        config.segmentJitterMs = long("segment.jitter.ms")
        config.segmentIndexBytes = Int(long("segment.index.bytes"))
        config.indexIntervalBytes = Int(long("index.interval.bytes"))
        config.retentionMs = long("retention.ms")
        config.retentionBytes = long("retention.bytes")
        config.maxMessageBytes = Int(long("max.message.bytes"))
        // `producer` is no codec's name: nil; so is `uncompressed`, which is Kafka's word for none.
        let codec = text("compression.type")
        config.compressionType = codec == "uncompressed" ? CompressionType.none : CompressionType(name: codec)
        config.compressionGzipLevel = Int32(text("compression.gzip.level"))
        config.compressionLz4Level = Int32(text("compression.lz4.level"))
        config.compressionZstdLevel = Int32(text("compression.zstd.level"))
        var policy = LogConfig.CleanupPolicy()
        for name in configList(text("cleanup.policy")) {
            if name == "delete" { policy.insert(.delete) }
            if name == "compact" { policy.insert(.compact) }
        }
        config.cleanupPolicy = policy
        config.messageTimestampType = TimestampType(name: text("message.timestamp.type")) ?? .createTime
        config.messageTimestampBeforeMaxMs = long("message.timestamp.before.max.ms")
        config.messageTimestampAfterMaxMs = long("message.timestamp.after.max.ms")
        config.flushMessages = long("flush.messages")
        config.flushMs = long("flush.ms")
        config.flushBeforeAck = bool("ottla.flush.before.ack")
        config.fileDeleteDelayMs = long("file.delete.delay.ms")
        config.preallocate = bool("preallocate")
        config.minInSyncReplicas = Int32(clamping: long("min.insync.replicas"))
        config.minCleanableDirtyRatio = Double(text("min.cleanable.dirty.ratio")) ?? 0.5
        config.deleteRetentionMs = long("delete.retention.ms")
        config.minCompactionLagMs = long("min.compaction.lag.ms")
        config.maxCompactionLagMs = long("max.compaction.lag.ms")
        config.uncleanLeaderElectionEnable = bool("unclean.leader.election.enable")
        config.leaderReplicationThrottledReplicas = configList(text("leader.replication.throttled.replicas"))
        config.followerReplicationThrottledReplicas = configList(text("follower.replication.throttled.replicas"))
        return config
    }
}
