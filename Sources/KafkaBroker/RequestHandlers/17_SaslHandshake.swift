import KafkaMessages
import KafkaPrimitives

// SaslHandshake 0-1. There are only listeners without authentication: who asks for it has taken one for another. As in
// Kafka, where these two are listed on every listener, it is told at once, and need not try again.
extension ApiHandler {
    static let saslHandshake = ApiHandler.ordinary(SaslHandshakeRequest.self) { _, _, respond in
        var response = SaslHandshakeResponse()
        response.errorCode = .illegalSaslState
        respond(response)
    }
}
