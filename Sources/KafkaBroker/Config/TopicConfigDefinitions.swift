/// A topic config with the broker configs that give its default.
package struct TopicConfigDefinition: Sendable {
    package struct Synonym: Sendable {
        package var name: String
        /// What the broker's value is multiplied by: hours become milliseconds.
        package var scale: Int64
    }

    package let definition: ConfigDefinition
    /// In the order in which they count.
    package let synonyms: [Synonym]

    package var name: String { self.definition.name }

    fileprivate init(_ definition: ConfigDefinition, _ synonyms: [String] = []) {
        self.definition = definition
        self.synonyms = synonyms.map { name in
            let scale: Int64 =
                name.hasSuffix(".hours") ? 3_600_000 : name.hasSuffix(".minutes") ? 60_000 : 1
            return Synonym(name: name, scale: scale)
        }
    }
}

extension TopicConfigs {
    /// Names, types, defaults and limits are those of Kafka 4.3.
    package static let all: [TopicConfigDefinition] = [
        TopicConfigDefinition(
            ConfigDefinition(
                "cleanup.policy", .list, "delete", .listOf(["compact", "delete"]), .clusterWide,
                doc: "What happens to old records: delete, compact, both, or (empty) nothing."), ["log.cleanup.policy"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "compression.gzip.level", .int, "-1", .gzipLevel, .clusterWide,
                doc: "The level when compression.type is gzip."), ["compression.gzip.level"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "compression.lz4.level", .int, "9", .between(1, 17), .clusterWide,
                doc: "The level when compression.type is lz4."), ["compression.lz4.level"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "compression.type", .string, "producer",
                .oneOf(["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), .clusterWide,
                doc: "How records are stored; producer keeps what came."), ["compression.type"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "compression.zstd.level", .int, "3", .between(-131072, 22), .clusterWide,
                doc: "The level when compression.type is zstd."), ["compression.zstd.level"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "delete.retention.ms", .long, "86400000", .atLeast(0), .clusterWide,
                doc: "How long a compacted topic keeps tombstones."), ["log.cleaner.delete.retention.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "file.delete.delay.ms", .long, "60000", .atLeast(0), .clusterWide,
                doc: "How long a deleted segment stays on disk."), ["log.segment.delete.delay.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "flush.messages", .long, "9223372036854775807", .atLeast(1), .clusterWide,
                doc: "After so many records a partition is synced to disk; 1: each batch, before it is acknowledged."),
            ["log.flush.interval.messages"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "flush.ms", .long, "9223372036854775807", .atLeast(0), .clusterWide,
                doc: "After this time a partition is synced to disk."),
            ["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "follower.replication.throttled.replicas", .list, "", .throttledReplicas, .clusterWide,
                doc: "Followers whose replication is throttled.")),
        TopicConfigDefinition(
            ConfigDefinition(
                "index.interval.bytes", .int, "4096", .atLeast(0), .clusterWide,
                doc: "So many bytes of records have one index entry."), ["log.index.interval.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "leader.replication.throttled.replicas", .list, "", .throttledReplicas, .clusterWide,
                doc: "Leaders whose replication is throttled.")),
        TopicConfigDefinition(
            ConfigDefinition(
                "local.retention.bytes", .long, "-2", .atLeast(-2), .clusterWide,
                doc: "Of tiered storage: how much stays on the broker; -2: as retention.bytes."),
            ["log.local.retention.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "local.retention.ms", .long, "-2", .atLeast(-2), .clusterWide,
                doc: "Of tiered storage: how long records stay on the broker; -2: as retention.ms."),
            ["log.local.retention.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "max.compaction.lag.ms", .long, "9223372036854775807", .atLeast(1), .clusterWide,
                doc: "The age at which a record is compacted in any case."), ["log.cleaner.max.compaction.lag.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "max.message.bytes", .int, "1048588", .atLeast(0), .clusterWide,
                doc: "The largest record batch that is taken."), ["message.max.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "message.downconversion.enable", .boolean, "true", .any, .clusterWide, hidden: true,
                doc: "Without effect since Kafka 4.0."), ["log.message.downconversion.enable"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "message.timestamp.after.max.ms", .long, "3600000", .atLeast(0), .clusterWide,
                doc: "How far a record's time may be in the future."), ["log.message.timestamp.after.max.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "message.timestamp.before.max.ms", .long, "9223372036854775807", .atLeast(0), .clusterWide,
                doc: "How far a record's time may be in the past."), ["log.message.timestamp.before.max.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "message.timestamp.type", .string, "CreateTime", .oneOf(["CreateTime", "LogAppendTime"]), .clusterWide,
                doc: "Whose clock a record has its time from."), ["log.message.timestamp.type"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "min.cleanable.dirty.ratio", .double, "0.5", .fraction(0, 1), .clusterWide,
                doc: "The part of a log that must be new before it is compacted."), ["log.cleaner.min.cleanable.ratio"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "min.compaction.lag.ms", .long, "0", .atLeast(0), .clusterWide,
                doc: "The age before which a record is not compacted."), ["log.cleaner.min.compaction.lag.ms"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "min.insync.replicas", .int, "1", .atLeast(1), .clusterWide,
                doc: "How many replicas must have a record for acks=all."), ["min.insync.replicas"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "ottla.flush.before.ack", .boolean, "false", .any, .clusterWide,
                doc: "Whether records are acknowledged, and seen by consumers, only when they are synced to disk."),
            ["ottla.log.flush.before.ack"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "preallocate", .boolean, "false", .any, .clusterWide,
                doc: "Whether segment files get their disk space at once."), ["log.preallocate"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "remote.log.copy.disable", .boolean, "false", .any, .clusterWide,
                doc: "Of tiered storage: whether nothing more is copied to it.")),
        TopicConfigDefinition(
            ConfigDefinition(
                "remote.log.delete.on.disable", .boolean, "false", .any, .clusterWide,
                doc: "Of tiered storage: whether its records are deleted when it is turned off.")),
        TopicConfigDefinition(
            ConfigDefinition(
                "remote.storage.enable", .boolean, "false", .any, .clusterWide,
                doc: "Tiered storage; not supported.")),
        TopicConfigDefinition(
            ConfigDefinition(
                "retention.bytes", .long, "-1", .any, .clusterWide,
                doc: "The size that a partition may grow to; -1: any."), ["log.retention.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "retention.ms", .long, "604800000", .atLeast(-1), .clusterWide,
                doc: "Records are deleted at this age; -1: never."),
            ["log.retention.ms", "log.retention.minutes", "log.retention.hours"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "segment.bytes", .int, "1073741824", .atLeast(1_048_576), .clusterWide,
                doc: "A segment file is begun anew at this size."), ["log.segment.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "segment.index.bytes", .int, "10485760", .atLeast(4), .clusterWide, doc: "The size of an index file."),
            ["log.index.size.max.bytes"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "segment.jitter.ms", .long, "0", .atLeast(0), .clusterWide,
                doc: "Up to so much is taken from segment.ms, by chance."),
            ["log.roll.jitter.ms", "log.roll.jitter.hours"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "segment.ms", .long, "604800000", .atLeast(1), .clusterWide,
                doc: "A segment file is begun anew at this age."), ["log.roll.ms", "log.roll.hours"]),
        TopicConfigDefinition(
            ConfigDefinition(
                "unclean.leader.election.enable", .boolean, "false", .any, .clusterWide,
                doc: "Whether a replica that lacks records may lead."), ["unclean.leader.election.enable"]),
    ]

    package static let byName: [String: TopicConfigDefinition] = Dictionary(
        all.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
}
