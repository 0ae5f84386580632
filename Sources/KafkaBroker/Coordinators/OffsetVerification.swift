import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import Synchronization

extension Broker {
    /// Asks the transaction's coordinator whether offsets that a producer commits are part of its transaction, or, for one
    /// of version 2, makes them so (KIP-890). Nothing is asked where the transaction is open in the partition already.
    /// - Parameters:
    ///   - partition: of `__consumer_offsets`.
    ///   - then: called once, with what the append is to show to the log, on whichever thread has the answer.
    func verifyOffsets(
        of request: TxnOffsetCommitRequest, version: Int16, in partition: Partition,
        _ then: @escaping @Sendable (ErrorCode, OffsetVerification) -> Void
    ) {
        let verifies = self.verifiesTransactions.load(ordering: .relaxed)
        let adds = version >= 5
        guard verifies || adds else { return then(.none, .off) }
        let producer = ProducerIdentity(id: request.producerID, epoch: request.producerEpoch)
        let guardian = partition.log.beginVerification(
            of: producer.id, epoch: producer.epoch, sequence: 0, bumpsEpochs: adds, now: wallClockMs())
        guard let guardian else { return then(.none, verifies ? .open : .off) }
        let asked = TransactionCoordinatorShard.AddPartitions(
            transactionalID: request.transactionalID, producer: producer,
            partitions: TransactionPartitions([(partition.topic, [partition.index])]), isVerification: !adds,
            clientVersion: 2)
        self.transactionCoordinator.perform(.addPartitions(asked), for: request.transactionalID) { reply in
            let error = reply.error(for: partition.topic, partition.index)
            guard let refusal = TransactionRefusal(ofOffsets: error, version: version) else {
                return then(.none, verifies ? .shown(guardian.number) : .off)
            }
            then(refusal.code, .off)
            partition.log.endVerification(of: producer.id, guardian)
        }
    }
}
