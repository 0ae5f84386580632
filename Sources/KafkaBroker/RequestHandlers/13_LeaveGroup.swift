import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// LeaveGroup 0-5. From 3 on several members at once, each with its own error (KIP-345); 5 brings the reason (KIP-800).
extension ApiHandler {
    static let leaveGroup = ApiHandler.ordinary(LeaveGroupRequest.self) { request, context, respond in
        var request = request
        let isBatch = context.apiVersion >= 3
        if !isBatch {
            var member = LeaveGroupRequest.MemberIdentity()
            member.memberID = request.memberID
            request.members = [member]
        }
        context.broker.groupCoordinator.perform(.leaveGroup(request), for: request.groupID) { reply in
            guard case .leaveGroup(var response) = reply else { return }
            if !isBatch {
                if response.errorCode == .none { response.errorCode = response.members.first?.errorCode ?? .none }
                response.members = []
            }
            respond(response)
        }
    }
}
