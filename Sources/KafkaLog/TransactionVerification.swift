import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Given out when a transactional batch is to be verified with its coordinator, and shown when it is appended (KIP-890).
///
/// If the transaction has ended in between, the marker has taken the guard away, and the batch is refused: it would begin
/// a transaction that nobody ends.
package struct VerificationGuard: Hashable, Sendable {
    /// Tells one from another.
    package let number: UInt64

    package init(number: UInt64) { self.number = number }

    private static let last = Atomic<UInt64>(0)

    static func next() -> VerificationGuard {
        VerificationGuard(number: self.last.add(1, ordering: .relaxed).newValue)
    }
}

/// What is asked of a batch of a transaction besides what is asked of every batch.
package enum TransactionCheck: Hashable, Sendable {
    case none
    /// Data: the producer's transaction is open in this partition, or the guard is the one that was given out for it.
    case verified(VerificationGuard?)
    /// A marker of a transaction of this version. From 2 on its epoch is greater than that of the transaction's records.
    case marker(version: Int16)
}

/// A verification that is under way.
struct ProducerVerification: Sendable {
    var guardian: VerificationGuard
    var epoch: Int16
    /// The least that was seen: later ones wait until it is written, or they could never follow it.
    var lowestSequence: Int32
    /// Its producer begins each transaction with a new epoch, and so with sequence 0.
    var bumpsEpochs: Bool
    /// Wall clock, ms.
    var beganMs: Int64
}

extension ProducerStateManager {
    func hasOpenTransaction(_ producerID: Int64, epoch: Int16) -> Bool {
        guard let entry = self.producers[producerID] else { return false }
        return entry.currentTransactionFirstOffset >= 0 && entry.epoch == epoch
    }

    /// - Returns: nil where the transaction is open here, and nothing has to be verified.
    mutating func beginVerification(
        of producerID: Int64, epoch: Int16, sequence: Int32, bumpsEpochs: Bool, now: Int64
    ) -> VerificationGuard? {
        if self.hasOpenTransaction(producerID, epoch: epoch) { return nil }
        if var known = self.verifications[producerID] {
            if epoch == known.epoch { known.lowestSequence = min(known.lowestSequence, sequence) }
            if epoch > known.epoch {
                known.epoch = epoch
                known.lowestSequence = sequence
            }
            self.verifications[producerID] = known
            return known.guardian
        }
        let guardian = VerificationGuard.next()
        self.verifications[producerID] = ProducerVerification(
            guardian: guardian, epoch: epoch, lowestSequence: sequence, bumpsEpochs: bumpsEpochs, beganMs: now)
        return guardian
    }

    /// Why a batch of a transaction is not taken, or nil.
    func verify(_ header: RecordBatchHeader, _ entry: ProducerStateEntry?, _ check: TransactionCheck) -> Decision? {
        guard case .verified(let shown) = check, header.isTransactional, !header.isControl else { return nil }
        if let entry, entry.currentTransactionFirstOffset >= 0, entry.epoch == header.producerEpoch { return nil }
        guard let shown, let known = self.verifications[header.producerID], known.guardian == shown else {
            return .refuse(
                .invalidTxnState,
                "Producer \(header.producerID) has no open transaction here, and the record was not verified to be of one"
            )
        }
        let isFirst = known.bumpsEpochs && entry == nil && header.baseSequence != 0
        guard isFirst || (header.producerEpoch == known.epoch && header.baseSequence > known.lowestSequence) else {
            return nil
        }
        return .refuse(
            .outOfOrderSequenceNumber,
            "Producer \(header.producerID) sent sequence \(header.baseSequence) first, before "
                + "\(isFirst ? 0 : known.lowestSequence)")
    }

    /// With version 2 a marker ends what came before its epoch: one of the very epoch in which records are open is a late
    /// one, of the transaction before. Again without an open transaction does no harm.
    static func check(
        markerEpoch header: RecordBatchHeader, _ entry: ProducerStateEntry, _ check: TransactionCheck
    ) -> Decision? {
        guard case .marker(let version) = check, version >= 2, header.producerEpoch == entry.epoch,
            entry.currentTransactionFirstOffset >= 0
        else { return nil }
        return .refuse(
            .invalidProducerEpoch,
            "A marker of epoch \(header.producerEpoch) cannot end the transaction of this epoch of producer "
                + "\(header.producerID)")
    }
}

extension PartitionLog {
    /// A transactional batch is to come from a producer.
    /// - Parameters:
    ///   - bumpsEpochs: its transactions are of version 2.
    ///   - now: the wall clock, ms.
    /// - Returns: a guard that its append shows once the transaction is verified; nil where it is open here already.
    package func beginVerification(
        of producerID: Int64, epoch: Int16, sequence: Int32, bumpsEpochs: Bool, now: Int64
    ) -> VerificationGuard? {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.producers.beginVerification(
                of: producerID, epoch: epoch, sequence: sequence, bumpsEpochs: bumpsEpochs, now: now)
        }
    }

    /// It turned out not to be of a transaction.
    package func endVerification(of producerID: Int64, _ guardian: VerificationGuard) {
        self.state.withLock { state in
            guard state.producers.verifications[producerID]?.guardian == guardian else { return }
            state.producers.verifications[producerID] = nil
        }
    }

    /// The producers that this partition knows (DescribeProducers, KIP-664), by id.
    package var activeProducers: [ActiveProducer] {
        self.state.withLock { state in
            self.verifyIfNeeded(&state)
            return state.producers.producers.sorted { $0.key < $1.key }.map { id, entry in
                ActiveProducer(
                    id: id, epoch: entry.epoch, lastSequence: entry.last?.lastSequence ?? -1,
                    lastTimestamp: entry.lastTimestamp, coordinatorEpoch: entry.coordinatorEpoch,
                    currentTransactionFirstOffset: entry.currentTransactionFirstOffset)
            }
        }
    }
}

/// A producer as a partition knows it.
package struct ActiveProducer: Hashable, Sendable {
    package var id: Int64
    package var epoch: Int16
    /// -1: none in this epoch.
    package var lastSequence: Int32
    package var lastTimestamp: Int64
    /// Of the coordinator of its last marker; -1: none.
    package var coordinatorEpoch: Int32
    /// -1: no transaction is open.
    package var currentTransactionFirstOffset: Int64
}
