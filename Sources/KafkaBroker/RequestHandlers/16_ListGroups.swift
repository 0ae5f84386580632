import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// ListGroups 0-5. 4 filters by state (KIP-518), 5 by type (KIP-848). Each broker lists the groups that it coordinates.
extension ApiHandler {
    static let listGroups = ApiHandler.ordinary(ListGroupsRequest.self) { request, context, respond in
        context.broker.groupCoordinator.performOnAll(.listGroups(request)) { replies in
            var response = ListGroupsResponse()
            for case .listGroups(let listed) in replies where listed.errorCode != .notCoordinator {
                // One shard that is being loaded: the list would not be whole.
                if listed.errorCode != .none {
                    response.errorCode = listed.errorCode
                    response.groups = []
                    break
                }
                response.groups += listed.groups
            }
            respond(response)
        }
    }
}
