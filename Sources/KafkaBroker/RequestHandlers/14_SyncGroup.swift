import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// SyncGroup 0-5. 3 brings group.instance.id (KIP-345); from 5 on the client says which protocol it takes the group to
// use, and must (KIP-559).
extension ApiHandler {
    static let syncGroup = ApiHandler.ordinary(SyncGroupRequest.self) { request, context, respond in
        if context.apiVersion >= 5 && (request.protocolType == nil || request.protocolName == nil) {
            var response = SyncGroupResponse()
            response.errorCode = .inconsistentGroupProtocol
            return respond(response)
        }
        context.broker.groupCoordinator.perform(.syncGroup(request), for: request.groupID) { reply in
            guard case .syncGroup(let response) = reply else { return }
            respond(response)
        }
    }
}
