import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// InitProducerId 0-5. Without a transactional id: a new id with epoch 0 for an idempotent producer. 2 is flexible, 3 sends
// the producer's present id and epoch (KIP-360), 4 knows PRODUCER_FENCED, 5 TRANSACTION_ABORTABLE.
//
// 6 (two-phase commit, KIP-939) is not stable: it is served where unstable.api.versions.enable is set, as in Kafka.
extension ApiHandler {
    static let initProducerID = initProducerID(versions: 0...5)
    static let unstableInitProducerID = initProducerID(versions: 0...6)

    private static func initProducerID(versions: ClosedRange<Int16>) -> ApiHandler {
        .ordinary(InitProducerIdRequest.self, versions: versions) { request, context, respond in
            // Both or neither.
            if (request.producerID == -1) != (request.producerEpoch == -1) {
                return respond(.init(.invalidRequest, .none))
            }
            guard let transactionalID = request.transactionalID else {
                return context.broker.producerIDs.next { result in
                    switch result {
                    case .success(let id): respond(.init(.none, ProducerIdentity(id: id, epoch: 0)))
                    case .failure(let error): respond(.init(error.code, .none))
                    }
                }
            }
            var asked = TransactionCoordinatorShard.InitProducerID(
                transactionalID: transactionalID, timeoutMs: request.transactionTimeoutMs,
                expected: request.producerID == -1
                    ? nil : ProducerIdentity(id: request.producerID, epoch: request.producerEpoch))
            asked.isTwoPhase = request.enable2Pc
            asked.keepsPreparedTransaction = request.keepPreparedTxn
            let version = context.apiVersion
            context.broker.transactionCoordinator.perform(.initProducerID(asked), for: transactionalID) { reply in
                guard case .producer(let error, let producer) = reply else { return }
                respond(.init(error.forTransactions(knowsFenced: version >= 4), producer))
            }
        }
    }
}

extension ErrorCode {
    /// Older clients know INVALID_PRODUCER_EPOCH in place of PRODUCER_FENCED.
    func forTransactions(knowsFenced: Bool) -> ErrorCode {
        self == .producerFenced && !knowsFenced ? .invalidProducerEpoch : self
    }
}

extension InitProducerIdResponse {
    fileprivate init(_ error: ErrorCode, _ producer: ProducerIdentity) {
        self.init()
        self.errorCode = error
        self.producerID = producer.id
        self.producerEpoch = producer.epoch
    }
}
