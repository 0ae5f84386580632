import KafkaPrimitives

/// The markers that end a transaction, one a partition of it: how the transaction went is no longer in question.
package struct TransactionMarkers: Hashable, Sendable {
    package var transactionalID: String
    package var producer: ProducerIdentity
    package var isCommit: Bool
    package var partitions: TransactionPartitions
    /// As the producer does its transactions: from 2 on the markers' epoch is greater than that of its records.
    package var transactionVersion: Int16

    package init(
        transactionalID: String, producer: ProducerIdentity, isCommit: Bool, partitions: TransactionPartitions,
        transactionVersion: Int16
    ) {
        self.transactionalID = transactionalID
        self.producer = producer
        self.isCommit = isCommit
        self.partitions = partitions
        self.transactionVersion = transactionVersion
    }
}

/// What came of them.
package struct TransactionMarkersOutcome: Sendable {
    package struct Failure: Sendable {
        package var topic: String
        package var partition: Int32
        package var error: ErrorCode

        package init(topic: String, partition: Int32, error: ErrorCode) {
            self.topic = topic
            self.partition = partition
            self.error = error
        }
    }

    package var transactionalID: String
    package var producer: ProducerIdentity
    /// All others are written and committed, or their partition is no more.
    package var failures: [Failure]

    package init(transactionalID: String, producer: ProducerIdentity, failures: [Failure]) {
        self.transactionalID = transactionalID
        self.producer = producer
        self.failures = failures
    }
}
