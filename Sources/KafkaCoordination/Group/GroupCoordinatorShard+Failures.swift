import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    package static func failure(of request: Request, _ error: ErrorCode) -> Reply {
        switch request {
        case .joinGroup(let request, _):
            return .joinGroup(.failure(error, memberID: request.memberID))
        case .syncGroup:
            return .syncGroup(.failure(error))
        case .heartbeat:
            var response = HeartbeatResponse()
            // A member must not be alarmed while its group is being loaded: its session has not begun.
            response.errorCode = error == .coordinatorLoadInProgress ? .none : error
            return .heartbeat(response)
        case .leaveGroup:
            var response = LeaveGroupResponse()
            response.errorCode = error
            return .leaveGroup(response)
        case .offsetCommit(let request, _):
            return .offsetCommit(OffsetCommitResponse(refusing: request, error))
        case .transactionalOffsetCommit(let request, _, _, _):
            return .transactionalOffsetCommit(TxnOffsetCommitResponse(refusing: request, error))
        case .offsetFetch(let request, _):
            return .offsetFetch(self.failedFetch(request.groupID, error))
        case .offsetDelete:
            var response = OffsetDeleteResponse()
            response.errorCode = error
            return .offsetDelete(response)
        case .describeGroups(let groupIDs, _):
            return .describeGroups(groupIDs.map { self.failedDescription($0, error) })
        case .listGroups:
            var response = ListGroupsResponse()
            response.errorCode = error
            return .listGroups(response)
        case .deleteGroups(let groupIDs):
            return .deleteGroups(
                groupIDs.map { groupID in
                    var result = DeleteGroupsResponse.DeletableGroupResult()
                    result.groupID = groupID
                    result.errorCode = error
                    return result
                })
        case .topicsDeleted:
            return .topicsDeleted(error)
        case .consumerGroupHeartbeat:
            return .consumerGroupHeartbeat(.failure(error))
        case .consumerGroupDescribe(let groupIDs):
            return .consumerGroupDescribe(groupIDs.map { .failure($0, error) })
        case .metadataChanged:
            return .metadataChanged
        }
    }

    package static func failure(of reply: Reply, _ error: ErrorCode) -> Reply {
        switch reply {
        case .joinGroup(let response):
            return .joinGroup(.failure(error, memberID: response.memberID))
        case .syncGroup:
            return .syncGroup(.failure(error))
        case .heartbeat:
            var response = HeartbeatResponse()
            response.errorCode = error
            return .heartbeat(response)
        case .leaveGroup:
            var response = LeaveGroupResponse()
            response.errorCode = error
            return .leaveGroup(response)
        case .offsetCommit(var response):
            response.refuse(error)
            return .offsetCommit(response)
        case .transactionalOffsetCommit(var response):
            response.refuse(error)
            return .transactionalOffsetCommit(response)
        case .offsetFetch(let response):
            return .offsetFetch(self.failedFetch(response.groupID, error))
        case .offsetDelete:
            var response = OffsetDeleteResponse()
            response.errorCode = error
            return .offsetDelete(response)
        case .describeGroups(let groups):
            return .describeGroups(groups.map { self.failedDescription($0.groupID, error) })
        case .listGroups:
            var response = ListGroupsResponse()
            response.errorCode = error
            return .listGroups(response)
        case .deleteGroups(let results):
            return .deleteGroups(
                results.map { result in
                    var result = result
                    result.errorCode = error
                    return result
                })
        case .topicsDeleted:
            return .topicsDeleted(error)
        case .consumerGroupHeartbeat:
            return .consumerGroupHeartbeat(.failure(error))
        case .consumerGroupDescribe(let groups):
            return .consumerGroupDescribe(groups.map { .failure($0.groupID, error) })
        case .metadataChanged:
            return .metadataChanged
        }
    }

    /// Older consumers do not know COORDINATOR_NOT_AVAILABLE here; NOT_COORDINATOR makes all of them retry.
    private static func failedFetch(_ groupID: String, _ error: ErrorCode) -> OffsetFetchResponse.Group {
        var response = OffsetFetchResponse.Group()
        response.groupID = groupID
        response.errorCode = error == .coordinatorNotAvailable ? .notCoordinator : error
        return response
    }

    private static func failedDescription(
        _ groupID: String, _ error: ErrorCode
    ) -> DescribeGroupsResponse.DescribedGroup {
        var response = DescribeGroupsResponse.DescribedGroup()
        response.groupID = groupID
        response.errorCode = error
        return response
    }
}
