import KafkaMessages
import KafkaPrimitives

/// Why a member is not served.
struct GroupRefusal: Error, Equatable {
    var error: ErrorCode
    var message: String

    init(_ error: ErrorCode, _ message: String) {
        self.error = error
        self.message = message
    }

    static func noGroup(_ groupID: String) -> GroupRefusal {
        GroupRefusal(.groupIDNotFound, "Consumer group \(groupID) not found.")
    }

    static func noConsumerGroup(_ groupID: String) -> GroupRefusal {
        GroupRefusal(.groupIDNotFound, "Group \(groupID) is not a consumer group.")
    }

    static func noMember(_ memberID: String, _ groupID: String) -> GroupRefusal {
        GroupRefusal(.unknownMemberID, "Member \(memberID) is not a member of group \(groupID).")
    }
}

extension ConsumerGroupHeartbeatResponse {
    static func failure(_ error: ErrorCode, _ message: String? = nil) -> ConsumerGroupHeartbeatResponse {
        var response = ConsumerGroupHeartbeatResponse()
        response.errorCode = error
        response.errorMessage = message
        return response
    }
}

extension ConsumerGroupHeartbeatRequest {
    /// What is wrong with a request, whatever the group.
    func refusal(apiVersion: Int16, assignors: [ServerAssignor]) -> GroupRefusal? {
        func invalid(_ message: String) -> GroupRefusal { GroupRefusal(.invalidRequest, message) }
        if self.groupID.isEmpty { return invalid("GroupId can't be empty.") }
        if self.instanceID?.isEmpty == true { return invalid("InstanceId can't be empty.") }
        if self.rackID?.isEmpty == true { return invalid("RackId can't be empty.") }
        // From version 1 on the client makes its id itself.
        if self.memberID.isEmpty && (apiVersion >= 1 || self.memberEpoch != 0) {
            return invalid("MemberId can't be empty.")
        }
        switch self.memberEpoch {
        case 1..., ConsumerGroupMember.leaveEpoch:
            break
        case 0:
            if self.rebalanceTimeoutMs == -1 {
                return invalid("RebalanceTimeoutMs must be provided in first request.")
            }
            if self.topicPartitions?.isEmpty != true {
                return invalid("TopicPartitions must be empty when (re-)joining.")
            }
            if self.subscribedTopicNames == nil && self.subscribedTopicRegex == nil {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")
            }
        case ConsumerGroupMember.leaveStaticEpoch:
            if self.instanceID == nil { return invalid("InstanceId can't be null.") }
        default:
            return invalid("MemberEpoch is invalid.")
        }
        if let assignor = self.serverAssignor, !assignors.contains(where: { $0.rawValue == assignor }) {
            let names = assignors.map(\.rawValue).joined(separator: ", ")
            return GroupRefusal(
                .unsupportedAssignor, "ServerAssignor \(assignor) is not supported. Supported assignors: \(names).")
        }
        return nil
    }

    /// Whether the member says all that there is to say: it joins, or lost an answer.
    var isFull: Bool {
        self.rebalanceTimeoutMs != -1 && (self.subscribedTopicNames != nil || self.subscribedTopicRegex != nil)
            && self.topicPartitions != nil
    }
}

extension ConsumerGroupMember {
    /// Whether a heartbeat of this epoch may be the member's.
    func refusal(
        ofEpoch received: Int32, reported: [ConsumerGroupHeartbeatRequest.TopicPartitions]?
    ) -> GroupRefusal? {
        // It joins, or joins again after it was fenced.
        if received == 0 || received == self.epoch { return nil }
        if received > self.epoch {
            return GroupRefusal(
                .fencedMemberEpoch,
                "The consumer group member has a greater member epoch (\(received)) than the one known by the group"
                    + " coordinator (\(self.epoch)). The member must abandon all its partitions and rejoin.")
        }
        // The answer with the new epoch may have been lost.
        if received == self.previousEpoch, let reported,
            reported.allSatisfy({ topic in
                topic.partitions.allSatisfy { self.assigned.contains(topic.topicID, $0) }
            })
        {
            return nil
        }
        return GroupRefusal(
            .fencedMemberEpoch,
            "The consumer group member has a smaller member epoch (\(received)) than the one known by the group"
                + " coordinator (\(self.epoch)). The member must abandon all its partitions and rejoin.")
    }
}
