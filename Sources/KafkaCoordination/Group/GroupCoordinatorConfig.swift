/// The settings of the group coordinator; names and defaults are Kafka's.
package struct GroupCoordinatorConfig: Sendable, Equatable {
    /// `group.min.session.timeout.ms`
    package var minSessionTimeoutMs: Int32 = 6_000
    /// `group.max.session.timeout.ms`
    package var maxSessionTimeoutMs: Int32 = 1_800_000
    /// `group.initial.rebalance.delay.ms`
    package var initialRebalanceDelayMs: Int32 = 3_000
    /// `group.max.size`
    package var maxSize: Int32 = .max
    /// `offset.metadata.max.bytes`, counted as Kafka does: in UTF-16 units.
    package var offsetMetadataMaxSize: Int32 = 4_096
    /// `offsets.retention.minutes`, in milliseconds.
    package var offsetsRetentionMs: Int64 = 7 * 24 * 60 * 60 * 1_000
    /// `offsets.retention.check.interval.ms`
    package var offsetsRetentionCheckIntervalMs: Int64 = 600_000
    /// `offset.commit.timeout.ms`: how long a reply waits for its records to be committed.
    package var offsetCommitTimeoutMs: Int64 = 5_000
    /// How long a new member may wait in JoinGroup before it must ask again. Fixed in Kafka too.
    package var newMemberJoinTimeoutMs: Int64 = 5 * 60 * 1_000

    /// Whether `group.coordinator.rebalance.protocols` names the consumer protocol.
    package var servesConsumerProtocol = true
    /// `group.consumer.max.size`
    package var consumerMaxSize: Int32 = .max
    /// `group.consumer.assignors`, the default first.
    package var consumerAssignors: [ServerAssignor] = [.uniform, .range]
    /// `group.consumer.migration.policy`
    package var consumerMigrationPolicy = ConsumerGroupMigrationPolicy.bidirectional
    /// `group.consumer.regex.refresh.interval.ms`
    package var consumerRegexRefreshIntervalMs: Int32 = 600_000
    /// Not Kafka's: members and partitions of which the target assignment is made within the heartbeat that needs it,
    /// though assignors are offloaded; some tenths of a millisecond.
    package var maxAssignedAtOnce = 300

    /// Not Kafka's: members that were told an id and have not come back with it, a group. Each lives for its
    /// session timeout, so a client that never comes back could otherwise fill the memory.
    package var maxPendingMembers = 20_000
    /// Not Kafka's: bytes that those may take. An id of a client with a long name is long too.
    package var maxPendingBytes = 16 << 20
    /// Not Kafka's: bytes of metadata and assignments that the members of one group may hold.
    package var maxGroupBytes = 256 << 20
    /// Not Kafka's: tombstones that one pass of the expiry writes before it lets others in.
    package var maxExpiredOffsetsAPass = 1_000
    /// Not Kafka's: and how many offsets it looks at.
    package var maxOffsetsLookedAtAPass = 20_000

    package init() {}
}
