import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// Heartbeat 0-4. 3 brings group.instance.id (KIP-345).
extension ApiHandler {
    static let heartbeat = ApiHandler.ordinary(HeartbeatRequest.self) { request, context, respond in
        context.broker.groupCoordinator.perform(.heartbeat(request), for: request.groupID) { reply in
            guard case .heartbeat(let response) = reply else { return }
            respond(response)
        }
    }
}
