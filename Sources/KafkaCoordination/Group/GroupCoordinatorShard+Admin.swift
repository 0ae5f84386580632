import KafkaMessages
import KafkaPrimitives

extension GroupCoordinatorShard {
    static let groupType = "classic"

    mutating func describeGroups(
        _ groupIDs: [String], _ apiVersion: Int16, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        let described = groupIDs.map { groupID in
            var response = DescribeGroupsResponse.DescribedGroup()
            response.groupID = groupID
            guard let group = self.groups[groupID] else {
                response.groupState = ClassicGroup.State.dead.rawValue
                if apiVersion >= 6 {
                    response.errorCode = .groupIDNotFound
                    response.errorMessage = "Group \(groupID) not found."
                }
                return response
            }
            response.groupState = group.state.rawValue
            response.protocolType = group.protocolType ?? ""
            let protocolName = group.state == .stable ? group.protocolName : nil
            response.protocolData = protocolName ?? ""
            response.members = group.orderedMembers.map { member in
                var described = DescribeGroupsResponse.DescribedGroupMember()
                described.memberID = member.memberID
                described.groupInstanceID = member.instanceID
                described.clientID = member.clientID
                described.clientHost = member.clientHost
                described.memberAssignment = member.assignment
                if let protocolName { described.memberMetadata = member.metadata(for: protocolName) ?? [] }
                return described
            }
            return response
        }
        effects.readsState = true
        effects.reply(ticket, .describeGroups(described))
    }

    /// Filters that are empty let everything through; upper and lower case are the same.
    mutating func listGroups(
        _ request: ListGroupsRequest, _ ticket: ReplyTicket, _ effects: inout GroupEffects
    ) {
        let states = Set(request.statesFilter.map { $0.lowercased() })
        let types = Set(request.typesFilter.map { $0.lowercased() })
        var response = ListGroupsResponse()
        if types.isEmpty || types.contains(Self.groupType) {
            response.groups = self.groups.values
                .filter { states.isEmpty || states.contains($0.state.rawValue.lowercased()) }
                .sorted { $0.groupID < $1.groupID }
                .map { group in
                    var listed = ListGroupsResponse.ListedGroup()
                    listed.groupID = group.groupID
                    listed.protocolType = group.protocolType ?? ""
                    listed.groupState = group.state.rawValue
                    listed.groupType = Self.groupType
                    return listed
                }
        }
        effects.readsState = true
        effects.reply(ticket, .listGroups(response))
    }

    mutating func deleteGroups(_ groupIDs: [String], _ ticket: ReplyTicket, _ effects: inout GroupEffects) {
        var seen: Set<String> = []
        var results: [DeleteGroupsResponse.DeletableGroupResult] = []
        for groupID in groupIDs where seen.insert(groupID).inserted {
            var result = DeleteGroupsResponse.DeletableGroupResult()
            result.groupID = groupID
            if let group = self.groups[groupID] {
                if group.state == .empty {
                    for (topic, partitions) in (self.offsets[groupID] ?? [:]).sorted(by: { $0.key < $1.key }) {
                        for partition in partitions.keys.sorted() {
                            effects.records.append(
                                GroupRecords.offsetCommit(groupID, topic: topic, partition: partition, nil))
                        }
                    }
                    effects.records.append(GroupRecords.groupMetadata(groupID, nil))
                } else {
                    result.errorCode = .nonEmptyGroup
                }
            } else {
                result.errorCode = .groupIDNotFound
            }
            results.append(result)
        }
        effects.isAtomic = false
        effects.reply(ticket, .deleteGroups(results))
    }
}
