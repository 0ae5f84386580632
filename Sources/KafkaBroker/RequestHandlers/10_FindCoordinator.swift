import KafkaMessages
import KafkaPrimitives
import Logging

// FindCoordinator 0-6. 1 brings the type of the key (0 group, 1 transactional id, 2 share group), 4 several keys at once
// (KIP-699), 6 keys of share groups. Below 4 the answer is in the response itself, from 4 on in a list.
//
// Share groups are not served yet.
extension ApiHandler {
    static let findCoordinator = ApiHandler.ordinary(FindCoordinatorRequest.self) { request, context, respond in
        let version = context.apiVersion
        let keys = version >= 4 ? request.coordinatorKeys : [request.key]
        @Sendable func answer(_ find: (String) -> FindCoordinatorResponse.Coordinator) {
            var response = FindCoordinatorResponse()
            if version >= 4 {
                response.coordinators = keys.map(find)
            } else {
                let found = find(request.key)
                response.errorCode = found.errorCode
                response.errorMessage = found.errorMessage
                response.nodeID = found.nodeID
                response.host = found.host
                response.port = found.port
            }
            respond(response)
        }
        let broker = context.broker
        let internalTopic: String
        let partition: @Sendable (String) -> Partition?
        switch request.keyType {
        case 0:
            internalTopic = InternalTopics.consumerOffsets
            partition = { broker.groupCoordinator.partition(for: $0) }
        case 1:
            internalTopic = InternalTopics.transactionState
            partition = { broker.transactionCoordinator.partition(for: $0) }
        case 2:
            return answer { .failure($0, .invalidRequest, "This broker does not serve share groups.") }
        default:
            return answer { .failure($0, .invalidRequest, "There are no coordinators of type \(request.keyType).") }
        }
        let find: @Sendable (String) -> FindCoordinatorResponse.Coordinator = { key in
            guard partition(key) != nil else {
                return .failure(key, .coordinatorNotAvailable, "Its partition of \(internalTopic) is offline.")
            }
            var coordinator = FindCoordinatorResponse.Coordinator()
            coordinator.key = key
            coordinator.nodeID = broker.nodeID
            coordinator.host = context.endpoint.host
            coordinator.port = context.endpoint.port
            coordinator.errorMessage = nil
            return coordinator
        }
        if broker.replicaManager.table.topic(named: internalTopic) != nil { return answer(find) }
        broker.topicManager.autoCreate(internalTopic) { error in
            guard let error else { return answer(find) }
            broker.logger.error("\(internalTopic) cannot be made: \(error.text)")
            answer { .failure($0, .coordinatorNotAvailable, error.text) }
        }
    }
}

extension FindCoordinatorResponse.Coordinator {
    fileprivate static func failure(_ key: String, _ error: ErrorCode, _ message: String) -> Self {
        var coordinator = Self()
        coordinator.key = key
        coordinator.nodeID = -1
        coordinator.port = -1
        coordinator.errorCode = error
        coordinator.errorMessage = message
        return coordinator
    }
}
