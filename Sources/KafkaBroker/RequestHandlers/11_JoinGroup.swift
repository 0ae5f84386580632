import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// JoinGroup 0-9. 1 brings the rebalance timeout; from 4 on a new member is given an id and asks again (KIP-394); 5 brings
// group.instance.id (KIP-345), 7 the protocol type in answers (KIP-559), 8 the reason (KIP-800), 9 skipAssignment
// (KIP-814). The answer may be minutes away: the request is held until all members have joined.
extension ApiHandler {
    static let joinGroup = ApiHandler.ordinary(JoinGroupRequest.self) { request, context, respond in
        var random = SystemRandomNumberGenerator()
        let id = KafkaUUID(high: random.next(), low: random.next())
        context.broker.groupCoordinator.perform(.joinGroup(request, RequestOrigin(context, id)), for: request.groupID) {
            reply in
            guard case .joinGroup(let response) = reply else { return }
            respond(response)
        }
    }
}

extension RequestOrigin {
    /// - Parameter randomID: zero where no member can be given an id.
    init(_ context: RequestContext, _ randomID: KafkaUUID) {
        self.init(
            apiVersion: context.apiVersion, clientID: context.clientID ?? "", clientHost: context.clientHost,
            randomID: randomID)
    }
}
