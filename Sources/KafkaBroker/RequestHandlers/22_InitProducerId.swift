import KafkaMessages
import KafkaPrimitives

// InitProducerId 0-5. A new id with epoch 0 for an idempotent producer. 2 is flexible, 3 sends the producer's present id
// and epoch (KIP-360), 4 knows PRODUCER_FENCED, 5 TRANSACTION_ABORTABLE; 6 (two-phase commit) is not stable.
//
// Transactions are not here yet. A transactional id gets TRANSACTIONAL_ID_AUTHORIZATION_FAILED: the one code that the
// Java client, librdkafka and kafka-python all take as final, here and in FindCoordinator; other codes librdkafka
// tries again for ever.
extension ApiHandler {
    static let initProducerID = ApiHandler.ordinary(InitProducerIdRequest.self, versions: 0...5) {
        request, context, respond in
        if let error = refusal(of: request) { return respond(.init(.failure(ApiError(error)))) }
        context.broker.producerIDs.next { respond(.init($0)) }
    }
}

/// Why no id is given, or nil.
func refusal(of request: InitProducerIdRequest) -> ErrorCode? {
    // Both or neither.
    if (request.producerID == -1) != (request.producerEpoch == -1) { return .invalidRequest }
    guard let transactionalID = request.transactionalID else { return nil }
    return transactionalID.isEmpty ? .invalidRequest : .transactionalIDAuthorizationFailed
}

extension InitProducerIdResponse {
    fileprivate init(_ result: Result<Int64, ApiError>) {
        self.init()
        switch result {
        case .success(let id): self.producerID = id
        case .failure(let error):
            self.errorCode = error.code
            self.producerID = -1
            self.producerEpoch = -1
        }
    }
}
