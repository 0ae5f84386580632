import KafkaPrimitives

// What a broker makes of the coordinator's answer to `addPartitions`, when records of a transaction wait for it (KIP-890).
extension TransactionCoordinatorShard.Reply {
    /// NONE where the partition is part of the transaction.
    package func error(for topic: String, _ partition: Int32) -> ErrorCode {
        switch self {
        case .partitionsAdded(let error): error
        case .partitionsVerified(.none, let present) where !present.contains(topic, partition): .transactionAbortable
        case .partitionsVerified(let error, _): error
        default: .unknownServerError
        }
    }
}

/// Why records that were to be part of a transaction are not taken.
package struct TransactionRefusal: Sendable, Equatable {
    package var code: ErrorCode
    package var message: String?
    /// The client comes again soon: what was given out to verify the records stays good.
    package var isPassing = false

    /// Of a Produce; nil: they are part of it.
    package init?(ofProduce error: ErrorCode, version: Int16) {
        switch error {
        case .none:
            return nil
        case .producerFenced:
            self.code = .invalidProducerEpoch
        case .transactionAbortable, .invalidTxnState:
            self.code = version >= 11 ? error : .invalidTxnState
            self.message = "Partition was not added to the transaction"
        case .concurrentTransactions, .networkException, .coordinatorLoadInProgress, .coordinatorNotAvailable,
            .notCoordinator:
            // One that all clients try again, and without looking for another leader.
            self.code = .notEnoughReplicas
            self.message =
                "Unable to verify the partition has been added to the transaction. Underlying error: \(error.name)"
            self.isPassing = true
        default:
            self.code = error
        }
    }

    /// Of a TxnOffsetCommit; nil: they are part of it.
    package init?(ofOffsets error: ErrorCode, version: Int16) {
        switch error {
        case .none: return nil
        case .producerFenced: self.code = .invalidProducerEpoch
        case .transactionAbortable where version < 4: self.code = .invalidTxnState
        default: self.code = error
        }
    }
}
