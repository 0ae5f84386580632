import KafkaCoordination
import KafkaMessages
import KafkaMetadata
import KafkaPrimitives

// ConsumerGroupDescribe 0-1 (KIP-848). 1 says of each member by which protocol it is in the group (KIP-1099).
extension ApiHandler {
    static let consumerGroupDescribe = ApiHandler.ordinary(ConsumerGroupDescribeRequest.self) {
        request, context, respond in
        guard context.broker.metadata.image.level(of: .groupVersion) > 0 else {
            var response = ConsumerGroupDescribeResponse()
            response.groups = Set(request.groupIDs).sorted().map { id in
                var group = ConsumerGroupDescribeResponse.DescribedGroup()
                group.groupID = id
                group.errorCode = .unsupportedVersion
                return group
            }
            return respond(response)
        }
        let tellsOperations = request.includeAuthorizedOperations
        let gather = Gather<[ConsumerGroupDescribeResponse.DescribedGroup]>(request.groupIDs.count) { described in
            var response = ConsumerGroupDescribeResponse()
            response.groups = described.flatMap { $0 }
            for index in response.groups.indices where tellsOperations && response.groups[index].errorCode == .none {
                response.groups[index].authorizedOperations = Self.groupOperations
            }
            respond(response)
        }
        var seen = Set<String>()
        for (index, group) in request.groupIDs.enumerated() {
            // Named a million times, it is described once.
            guard seen.insert(group).inserted else {
                gather.set(index, [])
                continue
            }
            context.broker.groupCoordinator.perform(.consumerGroupDescribe([group]), for: group) { reply in
                guard case .consumerGroupDescribe(let described) = reply else { return }
                gather.set(index, described)
            }
        }
    }
}
