// Names, types, defaults and limits are those of Kafka 4.3. A documentation means that Ottla acts on it.
extension BrokerConfigs {
    /// The logs; most are the defaults of topic configs.
    static let logDefinitions: [ConfigDefinition] = [
        ConfigDefinition(
            "num.partitions", .int, "1", .atLeast(1),
            doc: "Partitions of a topic for which no number was given."),
        ConfigDefinition(
            "default.replication.factor", .int, "1",
            doc: "Replicas of a topic for which no number was given."),
        ConfigDefinition("log.dir", .list, "/tmp/kafka-logs", doc: "The data folder, where log.dirs is not set."),
        ConfigDefinition("log.dirs", .list, nil, doc: "The data folders; the first holds the metadata."),
        ConfigDefinition(
            "ottla.scrub.bytes.per.second", .long, "8388608", .atLeast(0),
            doc: "So fast is everything in the logs read and checked, again and again; 0: it is not."),
        ConfigDefinition(
            "ottla.scrub.interval.ms", .long, "86400000", .atLeast(0),
            doc: "A pass over the logs begins no earlier after the last one began."),
        ConfigDefinition(
            "cordoned.log.dirs", .list, "", .any, .perBroker,
            doc: "Folders of log.dirs that get no new partitions; *: all of them."),
        ConfigDefinition(
            "log.segment.bytes", .int, "1073741824", .atLeast(1_048_576), .clusterWide,
            doc: "A segment file is begun anew at this size."),
        ConfigDefinition(
            "log.roll.ms", .long, nil, .any, .clusterWide, doc: "A segment file is begun anew at this age."),
        ConfigDefinition(
            "log.roll.hours", .int, "168", .atLeast(1), doc: "As log.roll.ms, which goes first, in hours."),
        ConfigDefinition(
            "log.roll.jitter.ms", .long, nil, .any, .clusterWide,
            doc: "Up to so much is taken from log.roll.ms, by chance."),
        ConfigDefinition(
            "log.roll.jitter.hours", .int, "0", .atLeast(0),
            doc: "As log.roll.jitter.ms, which goes first, in hours."),
        ConfigDefinition(
            "log.retention.ms", .long, nil, .any, .clusterWide,
            doc: "Records are deleted at this age; -1: never."),
        ConfigDefinition("log.retention.minutes", .int, nil, doc: "As log.retention.ms, which goes first, in minutes."),
        ConfigDefinition(
            "log.retention.hours", .int, "168", doc: "As log.retention.minutes, which goes first, in hours."),
        ConfigDefinition(
            "log.retention.bytes", .long, "-1", .any, .clusterWide,
            doc: "The size that a partition may grow to; -1: any."),
        ConfigDefinition(
            "log.retention.check.interval.ms", .long, "300000", .atLeast(1),
            doc: "How often old segments are looked for."),
        ConfigDefinition(
            "log.cleanup.policy", .list, "delete", .listOf(["compact", "delete"]), .clusterWide,
            doc: "What happens to old records: delete, compact or both."),
        ConfigDefinition(
            "log.index.size.max.bytes", .int, "10485760", .atLeast(4), .clusterWide,
            doc: "The size of an index file."),
        ConfigDefinition(
            "log.index.interval.bytes", .int, "4096", .atLeast(0), .clusterWide,
            doc: "So many bytes of records have one index entry."),
        ConfigDefinition(
            "log.flush.interval.messages", .long, "9223372036854775807", .atLeast(1), .clusterWide,
            doc: "After so many records a partition is synced to disk."),
        ConfigDefinition(
            "log.flush.interval.ms", .long, nil, .any, .clusterWide,
            doc: "After this time a partition is synced to disk."),
        ConfigDefinition(
            "log.flush.scheduler.interval.ms", .long, "9223372036854775807",
            doc: "How often is looked for partitions to sync."),
        ConfigDefinition(
            "ottla.log.flush.before.ack", .boolean, "false", .any, .clusterWide,
            doc: "Whether records are acknowledged, and seen by consumers, only when they are synced to disk."),
        ConfigDefinition(
            "log.flush.offset.checkpoint.interval.ms", .int, "60000", .atLeast(0),
            doc: "How often the recovery points are written."),
        ConfigDefinition(
            "log.flush.start.offset.checkpoint.interval.ms", .int, "60000", .atLeast(0),
            doc: "How often the log start offsets are written."),
        ConfigDefinition(
            "log.segment.delete.delay.ms", .long, "60000", .atLeast(0), .clusterWide,
            doc: "How long a deleted segment stays on disk."),
        ConfigDefinition(
            "log.preallocate", .boolean, "false", .any, .clusterWide,
            doc: "Whether segment files get their disk space at once."),
        ConfigDefinition(
            "num.recovery.threads.per.data.dir", .int, "2", .atLeast(1), .clusterWide,
            doc: "Threads that load and check the logs at start."),
        ConfigDefinition(
            "min.insync.replicas", .int, "1", .atLeast(1), .clusterWide,
            doc: "How many replicas must have a record for acks=all."),
        ConfigDefinition(
            "log.message.timestamp.type", .string, "CreateTime", .oneOf(["CreateTime", "LogAppendTime"]), .clusterWide,
            doc: "Whose clock a record has its time from."),
        ConfigDefinition(
            "log.message.timestamp.before.max.ms", .long, "9223372036854775807", .atLeast(0), .clusterWide,
            doc: "How far a record's time may be in the past."),
        ConfigDefinition(
            "log.message.timestamp.after.max.ms", .long, "3600000", .atLeast(0), .clusterWide,
            doc: "How far a record's time may be in the future."),
        ConfigDefinition("log.dir.failure.timeout.ms", .long, "30000", .atLeast(1)),
        ConfigDefinition("log.initial.task.delay.ms", .long, "30000", .atLeast(0), hidden: true),
        ConfigDefinition("log.message.downconversion.enable", .boolean, "true", hidden: true),
        ConfigDefinition(
            "unclean.leader.election.enable", .boolean, "false", .any, .clusterWide,
            doc: "Whether a replica that lacks records may lead."),
        ConfigDefinition("unclean.leader.election.interval.ms", .long, "300000", .atLeast(1), hidden: true),
        ConfigDefinition("log.cleaner.threads", .int, "1", .atLeast(0), .clusterWide, doc: "Threads that compact."),
        ConfigDefinition(
            "log.cleaner.io.max.bytes.per.second", .double, "1.7976931348623157E308", .any, .clusterWide,
            doc: "The rate that compaction reads and writes at, at most."),
        ConfigDefinition(
            "log.cleaner.dedupe.buffer.size", .long, "134217728", .any, .clusterWide,
            doc: "The memory for the keys of what is compacted."),
        ConfigDefinition("log.cleaner.io.buffer.size", .int, "524288", .atLeast(0), .clusterWide),
        ConfigDefinition("log.cleaner.io.buffer.load.factor", .double, "0.9", .any, .clusterWide),
        ConfigDefinition(
            "log.cleaner.backoff.ms", .long, "15000", .atLeast(0), .clusterWide,
            doc: "How long the compactor rests when nothing is to be done."),
        ConfigDefinition(
            "log.cleaner.min.cleanable.ratio", .double, "0.5", .fraction(0, 1), .clusterWide,
            doc: "The part of a log that must be new before it is compacted."),
        ConfigDefinition("log.cleaner.enable", .boolean, "true", doc: "Whether logs are compacted."),
        ConfigDefinition(
            "log.cleaner.delete.retention.ms", .long, "86400000", .atLeast(0), .clusterWide,
            doc: "How long a compacted log keeps tombstones."),
        ConfigDefinition(
            "log.cleaner.min.compaction.lag.ms", .long, "0", .atLeast(0), .clusterWide,
            doc: "The age before which a record is not compacted."),
        ConfigDefinition(
            "log.cleaner.max.compaction.lag.ms", .long, "9223372036854775807", .atLeast(1), .clusterWide,
            doc: "The age at which a record is compacted in any case."),
        ConfigDefinition("log.local.retention.ms", .long, "-2", .atLeast(-2), .clusterWide),
        ConfigDefinition("log.local.retention.bytes", .long, "-2", .atLeast(-2), .clusterWide),
    ]

    /// Between brokers.
    static let replicationDefinitions: [ConfigDefinition] = [
        ConfigDefinition("controller.socket.timeout.ms", .int, "30000"),
        ConfigDefinition("replica.lag.time.max.ms", .long, "30000"),
        ConfigDefinition("replica.socket.timeout.ms", .int, "30000"),
        ConfigDefinition("replica.socket.receive.buffer.bytes", .int, "65536"),
        ConfigDefinition("replica.fetch.max.bytes", .int, "1048576", .atLeast(0)),
        ConfigDefinition("replica.fetch.wait.max.ms", .int, "500"),
        ConfigDefinition("replica.fetch.backoff.ms", .int, "1000", .atLeast(0)),
        ConfigDefinition("replica.fetch.min.bytes", .int, "1"),
        ConfigDefinition("replica.fetch.response.max.bytes", .int, "10485760", .atLeast(0)),
        ConfigDefinition("num.replica.fetchers", .int, "1", .any, .clusterWide),
        ConfigDefinition(
            "replica.high.watermark.checkpoint.interval.ms", .long, "5000",
            doc: "How often the high watermarks are written."),
        ConfigDefinition("fetch.purgatory.purge.interval.requests", .int, "1000"),
        ConfigDefinition("producer.purgatory.purge.interval.requests", .int, "1000"),
        ConfigDefinition("delete.records.purgatory.purge.interval.requests", .int, "1"),
        ConfigDefinition("auto.leader.rebalance.enable", .boolean, "true"),
        ConfigDefinition("leader.imbalance.per.broker.percentage", .int, "10"),
        ConfigDefinition("leader.imbalance.check.interval.seconds", .long, "300", .atLeast(1)),
        ConfigDefinition("replica.selector.class", .string, nil),
        ConfigDefinition(
            "leader.replication.throttled.rate", .long, "9223372036854775807", .atLeast(0), .perBroker, hidden: true),
        ConfigDefinition(
            "follower.replication.throttled.rate", .long, "9223372036854775807", .atLeast(0), .perBroker, hidden: true),
        ConfigDefinition(
            "replica.alter.log.dirs.io.max.bytes.per.second", .long, "9223372036854775807", .atLeast(0), .perBroker,
            hidden: true),
    ]

    /// Tiered storage: known, not supported.
    static let remoteStorageDefinitions: [ConfigDefinition] = [
        ConfigDefinition("remote.log.storage.system.enable", .boolean, "false"),
        ConfigDefinition("remote.log.storage.manager.impl.prefix", .string, "rsm.config.", .nonEmpty),
        ConfigDefinition("remote.log.metadata.manager.impl.prefix", .string, "rlmm.config.", .nonEmpty),
        ConfigDefinition("remote.log.storage.manager.class.name", .string, nil),
        ConfigDefinition("remote.log.storage.manager.class.path", .string, nil),
        ConfigDefinition(
            "remote.log.metadata.manager.class.name", .string,
            "org.apache.kafka.server.log.remote.metadata.storage.TopicBasedRemoteLogMetadataManager", .nonEmpty),
        ConfigDefinition("remote.log.metadata.manager.class.path", .string, nil),
        ConfigDefinition("remote.log.metadata.manager.listener.name", .string, nil),
        ConfigDefinition("remote.log.metadata.custom.metadata.max.bytes", .int, "128", .atLeast(0)),
        ConfigDefinition(
            "remote.log.index.file.cache.total.size.bytes", .long, "1073741824", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.thread.pool.size", .int, "2", .atLeast(1)),
        ConfigDefinition("remote.log.manager.copier.thread.pool.size", .int, "10", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.expiration.thread.pool.size", .int, "10", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.follower.thread.pool.size", .int, "2", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.task.interval.ms", .long, "30000", .atLeast(1)),
        ConfigDefinition("remote.log.reader.threads", .int, "10", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.reader.max.pending.tasks", .int, "100", .atLeast(1)),
        ConfigDefinition(
            "remote.log.manager.copy.max.bytes.per.second", .long, "9223372036854775807", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.copy.quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("remote.log.manager.copy.quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition(
            "remote.log.manager.fetch.max.bytes.per.second", .long, "9223372036854775807", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.log.manager.fetch.quota.window.num", .int, "11", .atLeast(1)),
        ConfigDefinition("remote.log.manager.fetch.quota.window.size.seconds", .int, "1", .atLeast(1)),
        ConfigDefinition("remote.fetch.max.wait.ms", .int, "500", .atLeast(1), .clusterWide),
        ConfigDefinition("remote.list.offsets.request.timeout.ms", .long, "30000", .atLeast(1), .clusterWide),
    ]
}
