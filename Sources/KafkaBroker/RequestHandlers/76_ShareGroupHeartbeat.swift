import KafkaMessages
import KafkaPrimitives

// ShareGroupHeartbeat 1 (KIP-932): refused for good, for the reason given in 68_ConsumerGroupHeartbeat.swift.
extension ApiHandler {
    static let shareGroupHeartbeat = ApiHandler.ordinary(ShareGroupHeartbeatRequest.self) { _, _, respond in
        var response = ShareGroupHeartbeatResponse()
        response.errorCode = .unsupportedVersion
        response.errorMessage = "This broker does not serve share groups."
        respond(response)
    }
}
