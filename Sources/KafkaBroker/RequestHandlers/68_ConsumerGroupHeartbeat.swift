import KafkaMessages
import KafkaPrimitives

// ConsumerGroupHeartbeat 0-1 (KIP-848): refused, as Kafka does where group.coordinator.rebalance.protocols lacks
// `consumer`. It is listed all the same, because librdkafka with group.protocol=consumer asks for ever, and says nothing,
// where the API is missing; UNSUPPORTED_VERSION it takes for final, as the Java client does.
extension ApiHandler {
    static let consumerGroupHeartbeat = ApiHandler.ordinary(ConsumerGroupHeartbeatRequest.self) { _, _, respond in
        var response = ConsumerGroupHeartbeatResponse()
        response.errorCode = .unsupportedVersion
        response.errorMessage = "This broker does not serve the consumer group protocol: set group.protocol=classic."
        respond(response)
    }
}
