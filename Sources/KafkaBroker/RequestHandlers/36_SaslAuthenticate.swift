import KafkaMessages
import KafkaPrimitives

// SaslAuthenticate 0-2. See SaslHandshake.
extension ApiHandler {
    static let saslAuthenticate = ApiHandler.ordinary(SaslAuthenticateRequest.self) { _, _, respond in
        var response = SaslAuthenticateResponse()
        response.errorCode = .illegalSaslState
        response.errorMessage = "SaslAuthenticate request received after successful authentication"
        respond(response)
    }
}
