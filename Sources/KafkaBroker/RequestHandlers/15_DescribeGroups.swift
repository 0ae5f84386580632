import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// DescribeGroups 0-6. 3 brings authorized operations, 4 group.instance.id; 6 says GROUP_ID_NOT_FOUND where older ones
// show a group in state Dead (KIP-1043).
extension ApiHandler {
    /// Bits of READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS: all there are for a group.
    static let groupOperations: Int32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11

    static let describeGroups = ApiHandler.ordinary(DescribeGroupsRequest.self) { request, context, respond in
        let tellsOperations = context.apiVersion >= 3 && request.includeAuthorizedOperations
        let gather = Gather<[DescribeGroupsResponse.DescribedGroup]>(request.groups.count) { described in
            var response = DescribeGroupsResponse()
            response.groups = described.flatMap { $0 }
            for index in response.groups.indices
            where tellsOperations && response.groups[index].errorCode == .none {
                response.groups[index].authorizedOperations = groupOperations
            }
            respond(response)
        }
        var seen = Set<String>()
        for (index, group) in request.groups.enumerated() {
            // Named a million times, it is described once.
            guard seen.insert(group).inserted else {
                gather.set(index, [])
                continue
            }
            context.broker.groupCoordinator.perform(
                .describeGroups([group], apiVersion: context.apiVersion), for: group
            ) { reply in
                guard case .describeGroups(let described) = reply else { return }
                gather.set(index, described)
            }
        }
    }
}
