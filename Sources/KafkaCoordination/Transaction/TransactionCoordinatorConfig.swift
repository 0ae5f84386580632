/// The settings of the transaction coordinator; names and defaults are Kafka's.
package struct TransactionCoordinatorConfig: Sendable, Equatable {
    /// `transaction.max.timeout.ms`
    package var maxTimeoutMs: Int32 = 900_000
    /// `transactional.id.expiration.ms`
    package var idExpirationMs: Int64 = 604_800_000
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: transactions are timed out at its multiples.
    package var abortIntervalMs: Int64 = 10_000
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`
    package var removeExpiredIntervalMs: Int64 = 3_600_000
    /// `transaction.two.phase.commit.enable`
    package var isTwoPhaseCommitEnabled = false
    /// The level of the feature `transaction.version`, until `.useTransactionVersion` says another.
    package var transactionVersion: Int16 = 2
    /// How long a reply waits for its records to be committed.
    package var commitTimeoutMs: Int64 = 5_000

    /// Not Kafka's: markers that could not be written are tried again after this time, then twice that, and so on.
    package var markerRetryMs: Int64 = 100
    package var maxMarkerRetryMs: Int64 = 3_200
    /// Not Kafka's: tombstones that one pass of the expiry writes before it lets others in.
    package var maxExpiredIDsAPass = 1_000

    package init() {}
}
