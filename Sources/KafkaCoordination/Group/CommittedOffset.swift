import KafkaMessages
import KafkaPrimitives

/// What a group committed for a partition.
package struct CommittedOffset: Sendable, Hashable {
    package var offset: Int64
    /// -1: unknown.
    package var leaderEpoch: Int32
    package var metadata: String
    /// Wall milliseconds.
    package var commitTimestampMs: Int64
    /// Only from clients that set a retention time of their own (OffsetCommit 2 to 4).
    package var expireTimestampMs: Int64?
    /// Zero: unknown. Another topic of the same name does not inherit the offset.
    package var topicID: KafkaUUID
    /// Where the commit stands in `__consumer_offsets`; -1: nowhere yet.
    package var recordOffset: Int64 = -1

    package init(
        offset: Int64, leaderEpoch: Int32 = -1, metadata: String = "", commitTimestampMs: Int64,
        expireTimestampMs: Int64? = nil, topicID: KafkaUUID = .zero
    ) {
        self.offset = offset
        self.leaderEpoch = leaderEpoch
        self.metadata = metadata
        self.commitTimestampMs = commitTimestampMs
        self.expireTimestampMs = expireTimestampMs
        self.topicID = topicID
    }

    init(_ value: OffsetCommitValue) {
        self.init(
            offset: value.offset, leaderEpoch: value.leaderEpoch, metadata: value.metadata,
            commitTimestampMs: value.commitTimestamp,
            expireTimestampMs: value.expireTimestamp == -1 ? nil : value.expireTimestamp, topicID: value.topicID)
    }

    func belongs(to topicID: KafkaUUID) -> Bool {
        self.topicID == .zero || topicID == .zero || self.topicID == topicID
    }

    /// `base` is the moment from which the retention counts; an offset with a time of its own ignores it.
    func isExpired(base: Int64, now: Int64, retentionMs: Int64) -> Bool {
        if let expireTimestampMs { return now >= expireTimestampMs }
        return now.subtractingReportingOverflow(base).partialValue >= retentionMs
    }
}
