import KafkaMessages
import KafkaPrimitives

/// A producer id and its epoch: who a producer says it is.
package struct ProducerIdentity: Hashable, Sendable {
    package var id: Int64
    package var epoch: Int16

    package init(id: Int64, epoch: Int16) {
        self.id = id
        self.epoch = epoch
    }

    package static let none = ProducerIdentity(id: -1, epoch: -1)
}

/// What is known of one transactional id. All of it is in `__transaction_state`, but for what is said to be soft.
package struct TransactionMetadata: Hashable, Sendable {
    package var state: TransactionState = .empty
    package var producerID: Int64
    /// The one before, when the epochs of that one had run out; else -1.
    package var previousProducerID: Int64 = -1
    /// The one that comes with the end of the transaction, since epochs have run out; else -1.
    package var nextProducerID: Int64 = -1
    package var producerEpoch: Int16
    /// Of a transaction before the last end of it in two-phase commit (KIP-939); else -1. Kept as it is found.
    package var nextProducerEpoch: Int16 = -1
    package var timeoutMs: Int32
    package var partitions = TransactionPartitions()
    /// Wall clock, ms.
    package var lastUpdateMs: Int64
    /// Wall clock, ms; -1 before the first transaction.
    package var startMs: Int64 = -1
    /// How the producer does transactions: 2 as KIP-890 has it, 1 or 0 as it was before.
    package var clientTransactionVersion: Int16 = 0

    /// Soft: the epoch before, where the producer itself had it changed, so that it may ask once more; else -1.
    package var lastProducerEpoch: Int16 = -1

    package init(producerID: Int64, producerEpoch: Int16, timeoutMs: Int32, lastUpdateMs: Int64) {
        self.producerID = producerID
        self.producerEpoch = producerEpoch
        self.timeoutMs = timeoutMs
        self.lastUpdateMs = lastUpdateMs
    }

    package var producer: ProducerIdentity { ProducerIdentity(id: self.producerID, epoch: self.producerEpoch) }

    /// From version 2 on each end of a transaction raises the epoch.
    package var bumpsEpochs: Bool { self.clientTransactionVersion >= 2 }

    /// No producer is given this epoch; the one below it is the last.
    static let lastEpoch: Int16 = .max

    static func isExhausted(_ epoch: Int16) -> Bool { epoch >= self.lastEpoch - 1 }

    /// The next epoch is not for producers: a new producer id is due.
    package var isEpochExhausted: Bool { Self.isExhausted(self.producerEpoch) }
}

/// The records of `__transaction_state`, in Kafka's formats.
package enum TransactionRecords {
    package enum Parsed: Sendable, Equatable {
        /// nil: a tombstone.
        case transaction(String, TransactionMetadata?)
        /// A kind that is not ours.
        case other(Int16)
        case malformed(String)
    }

    static let keyType: Int16 = 0

    /// - Parameter version: of the value: 1 is flexible and has the fields of transaction.version 2; 0 is what brokers
    ///   before it read.
    package static func transaction(_ id: String, _ metadata: TransactionMetadata, version: Int16) -> CoordinatorRecord
    {
        var value = TransactionLogValue()
        value.producerID = metadata.producerID
        value.previousProducerID = metadata.previousProducerID
        value.nextProducerID = metadata.nextProducerID
        value.producerEpoch = metadata.producerEpoch
        value.nextProducerEpoch = metadata.nextProducerEpoch
        value.transactionTimeoutMs = metadata.timeoutMs
        value.transactionStatus = metadata.state.rawValue
        value.transactionPartitions = metadata.state == .empty ? nil : metadata.partitions.schemas
        value.transactionLastUpdateTimestampMs = metadata.lastUpdateMs
        value.transactionStartTimestampMs = metadata.startMs
        value.clientTransactionVersion = metadata.clientTransactionVersion
        return CoordinatorRecord(
            key: self.key(id), value: GroupRecords.encode(value, type: version, version: version))
    }

    package static func tombstone(_ id: String) -> CoordinatorRecord {
        CoordinatorRecord(key: self.key(id), value: nil)
    }

    private static func key(_ id: String) -> [UInt8] {
        var key = TransactionLogKey()
        key.transactionalID = id
        return GroupRecords.encode(key, type: self.keyType, version: 0)
    }

    package static func parse(_ record: CoordinatorRecord) -> Parsed {
        record.key.withUnsafeBytes { bytes in
            var reader = ByteReader(bytes)
            do {
                let type = try reader.readInt16()
                guard type == self.keyType else { return .other(type) }
                let id = try TransactionLogKey(from: &reader, version: 0).transactionalID
                guard let value = record.value else { return .transaction(id, nil) }
                return .transaction(id, try self.metadata(value))
            } catch {
                return .malformed("\(error)")
            }
        }
    }

    private static func metadata(_ bytes: [UInt8]) throws(DecodingError) -> TransactionMetadata {
        let result = bytes.withUnsafeBytes { bytes -> Result<TransactionLogValue, DecodingError> in
            var reader = ByteReader(bytes)
            do throws(DecodingError) {
                let version = try reader.readInt16()
                return .success(try TransactionLogValue(from: &reader, version: version))
            } catch {
                return .failure(error)
            }
        }
        let value = try result.get()
        guard let state = TransactionState(rawValue: value.transactionStatus) else {
            throw .invalidLength(Int(value.transactionStatus))
        }
        var metadata = TransactionMetadata(
            producerID: value.producerID, producerEpoch: value.producerEpoch, timeoutMs: value.transactionTimeoutMs,
            lastUpdateMs: value.transactionLastUpdateTimestampMs)
        metadata.state = state
        metadata.previousProducerID = value.previousProducerID
        metadata.nextProducerID = value.nextProducerID
        metadata.nextProducerEpoch = value.nextProducerEpoch
        metadata.partitions = TransactionPartitions(value.transactionPartitions ?? [])
        metadata.startMs = value.transactionStartTimestampMs
        metadata.clientTransactionVersion = value.clientTransactionVersion
        return metadata
    }
}
