import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// DeleteGroups 0-2: groups without members, with their offsets (KIP-229). A name that is given twice is answered once.
extension ApiHandler {
    static let deleteGroups = ApiHandler.ordinary(DeleteGroupsRequest.self) { request, context, respond in
        var seen: Set<String> = []
        let names = request.groupsNames.filter { seen.insert($0).inserted }
        let gather = Gather<[DeleteGroupsResponse.DeletableGroupResult]>(names.count) { results in
            var response = DeleteGroupsResponse()
            response.results = results.flatMap { $0 }
            respond(response)
        }
        for (index, group) in names.enumerated() {
            context.broker.groupCoordinator.perform(.deleteGroups([group]), for: group) { reply in
                guard case .deleteGroups(let results) = reply else { return }
                gather.set(index, results)
            }
        }
    }
}
