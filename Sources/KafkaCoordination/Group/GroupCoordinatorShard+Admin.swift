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
                    response.errorMessage =
                        self.otherGroups[groupID] == nil && self.consumerGroups[groupID] == nil
                        ? "Group \(groupID) not found." : "Group \(groupID) is not a classic group."
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
        func list(_ groupID: String, _ type: String, _ state: String, _ protocolType: String) {
            guard types.isEmpty || types.contains(type), states.isEmpty || states.contains(state.lowercased()) else {
                return
            }
            var listed = ListGroupsResponse.ListedGroup()
            listed.groupID = groupID
            listed.protocolType = protocolType
            listed.groupState = state
            listed.groupType = type
            response.groups.append(listed)
        }
        for group in self.groups.values {
            list(group.groupID, Self.groupType, group.state.rawValue, group.protocolType ?? "")
        }
        for (groupID, group) in self.consumerGroups {
            list(groupID, ConsumerGroup.groupType, group.state.rawValue, ConsumerGroup.groupType)
        }
        for (groupID, group) in self.otherGroups {
            list(groupID, group.kind.rawValue, group.stateName, group.kind.rawValue)
        }
        response.groups.sort { $0.groupID < $1.groupID }
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
                    self.deleteOffsets(of: groupID, &effects)
                    effects.records.append(GroupRecords.groupMetadata(groupID, nil))
                } else {
                    result.errorCode = .nonEmptyGroup
                }
            } else if let group = self.consumerGroups[groupID] {
                if group.isEmpty {
                    self.deleteOffsets(of: groupID, &effects)
                    effects.records += ConsumerGroupRecords.tombstones(of: group)
                } else {
                    result.errorCode = .nonEmptyGroup
                }
            } else if let group = self.otherGroups[groupID] {
                // More than its records here would have to go.
                result.errorCode = group.isEmpty ? .unsupportedVersion : .nonEmptyGroup
            } else {
                result.errorCode = .groupIDNotFound
            }
            results.append(result)
        }
        effects.isAtomic = false
        // That a group is not there rests on tombstones that may not be committed yet.
        effects.readsState = true
        effects.reply(ticket, .deleteGroups(results))
    }

    /// Tombstones for all offsets of a group, those of open transactions included.
    private func deleteOffsets(of groupID: String, _ effects: inout GroupEffects) {
        for at in self.offsets.partitions(of: groupID) {
            effects.records.append(GroupRecords.offsetCommit(groupID, topic: at.topic, partition: at.partition, nil))
        }
        for (topic, partition) in self.pendingOffsets.partitions(of: groupID)
        where self.offsets[groupID, topic, partition] == nil {
            effects.records.append(GroupRecords.offsetCommit(groupID, topic: topic, partition: partition, nil))
        }
    }
}
