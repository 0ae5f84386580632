import KafkaCoordination
import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// ConsumerGroupHeartbeat 0-1 (KIP-848): joins, heartbeats and leaves of the consumer protocol. From 1 on members make
// their ids themselves (KIP-1082), and may subscribe by a regular expression, which the broker resolves.
extension ApiHandler {
    static let consumerGroupHeartbeat = ApiHandler.ordinary(ConsumerGroupHeartbeatRequest.self) {
        request, context, respond in
        guard context.broker.metadata.image.level(of: .groupVersion) > 0 else {
            var response = ConsumerGroupHeartbeatResponse()
            response.errorCode = .unsupportedVersion
            return respond(response)
        }
        var id = KafkaUUID.zero
        if request.memberID.isEmpty {
            var random = SystemRandomNumberGenerator()
            id = KafkaUUID.random(using: &random)
        }
        context.broker.groupCoordinator.perform(
            .consumerGroupHeartbeat(request, RequestOrigin(context, id)), for: request.groupID
        ) { reply in
            guard case .consumerGroupHeartbeat(let response) = reply else { return }
            respond(response)
        }
    }
}
