import Foundation
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaCoordination

/// Member ids as `a-1` instead of with 32 zeroes.
func shortenIDs(_ text: String) -> String {
    var text = text
    while let zeroes = text.range(of: "00000000-0000-0000-0000-") {
        let digits = text[zeroes.upperBound...].prefix(12)
        let number = UInt64(digits, radix: 16) ?? 0
        text.replaceSubrange(zeroes.lowerBound..<digits.endIndex, with: String(number))
    }
    return text
}

/// An assignment of consumers as `t:0,1 u:2`; anything else as text.
private func text(_ bytes: [UInt8]) -> String {
    if bytes.count >= 6, bytes[0] == 0, let assignment = ConsumerProtocol.assignment(bytes) {
        return assignment.assignedPartitions.map { topic in
            "\(topic.topic):" + topic.partitions.map(String.init).joined(separator: ",")
        }.joined(separator: " ")
    }
    return String(decoding: bytes, as: UTF8.self)
}

func describe(_ reply: GroupCoordinatorShard.Reply) -> [String] {
    switch reply {
    case .joinGroup(let response):
        if response.errorCode != .none { return ["JoinGroup \(response.errorCode.name) member=\(response.memberID)"] }
        let members = response.members.map { member in
            member.memberID + (member.groupInstanceID.map { "/\($0)" } ?? "")
        }
        return [
            "JoinGroup generation=\(response.generationID) protocol=\(response.protocolName ?? "null")"
                + " leader=\(response.leader) member=\(response.memberID)"
                + (members.isEmpty ? "" : " members=[\(members.joined(separator: ", "))]")
                + (response.skipAssignment ? " skipAssignment" : "")
        ]
    case .syncGroup(let response):
        if response.errorCode != .none { return ["SyncGroup \(response.errorCode.name)"] }
        return ["SyncGroup protocol=\(response.protocolName ?? "null") assignment=\(text(response.assignment))"]
    case .heartbeat(let response): return ["Heartbeat \(response.errorCode.name)"]
    case .leaveGroup(let response):
        return ["LeaveGroup \(response.errorCode.name)"]
            + response.members.map { member in
                "  \(member.memberID)\(member.groupInstanceID.map { "/\($0)" } ?? "") \(member.errorCode.name)"
            }
    case .offsetCommit(let response):
        return response.topics.flatMap { topic in
            topic.partitions.map { "OffsetCommit \(topic.name)-\($0.partitionIndex) \($0.errorCode.name)" }
        }
    case .transactionalOffsetCommit(let response):
        return response.topics.flatMap { topic in
            topic.partitions.map { "TxnOffsetCommit \(topic.name)-\($0.partitionIndex) \($0.errorCode.name)" }
        }
    case .offsetFetch(let response):
        if response.errorCode != .none { return ["OffsetFetch \(response.errorCode.name)"] }
        let lines = response.topics.flatMap { topic in
            topic.partitions.map { partition in
                "OffsetFetch \(topic.name)-\(partition.partitionIndex) = \(partition.committedOffset)"
                    + (partition.committedLeaderEpoch == -1 ? "" : " epoch=\(partition.committedLeaderEpoch)")
                    + (partition.metadata == "" ? "" : " metadata=\(partition.metadata ?? "null")")
                    + (partition.errorCode == .none ? "" : " \(partition.errorCode.name)")
            }
        }
        return lines.isEmpty ? ["OffsetFetch nothing"] : lines
    case .offsetDelete(let response):
        return ["OffsetDelete \(response.errorCode.name)"]
            + response.topics.flatMap { topic in
                topic.partitions.map { "  \(topic.name)-\($0.partitionIndex) \($0.errorCode.name)" }
            }
    case .describeGroups(let groups):
        return groups.flatMap { group in
            [
                "DescribeGroups \(group.groupID) \(group.errorCode.name) \(group.groupState)"
                    + " type=\(group.protocolType) protocol=\(group.protocolData)"
            ]
                + group.members.map { member in
                    "  \(member.memberID)\(member.groupInstanceID.map { "/\($0)" } ?? "")"
                        + " client=\(member.clientID) host=\(member.clientHost)"
                        + " metadata=\(member.memberMetadata.count) bytes assignment=\(text(member.memberAssignment))"
                }
        }
    case .listGroups(let response):
        return ["ListGroups \(response.errorCode.name)"]
            + response.groups.map { "  \($0.groupID) \($0.groupState) type=\($0.protocolType) \($0.groupType)" }
    case .deleteGroups(let results): return results.map { "DeleteGroups \($0.groupID) \($0.errorCode.name)" }
    case .topicsDeleted(let error): return ["topics deleted \(error.name)"]
    case .metadataChanged: return []
    case .consumerGroupHeartbeat(let response):
        if response.errorCode != .none { return ["Heartbeat \(response.errorCode.name)"] }
        let assignment = response.assignment.map { assignment in
            " assignment=" + topicText(assignment.topicPartitions.map { ($0.topicID, $0.partitions) })
        }
        return ["Heartbeat member=\(response.memberID ?? "null") epoch=\(response.memberEpoch)\(assignment ?? "")"]
    case .consumerGroupDescribe(let groups):
        return groups.flatMap { group in
            [
                "Describe \(group.groupID) \(group.errorCode.name) \(group.groupState) epoch=\(group.groupEpoch)"
                    + " assignmentEpoch=\(group.assignmentEpoch) assignor=\(group.assignorName)"
            ]
                + group.members.map { member in
                    let name = member.memberID + (member.instanceID.map { "/\($0)" } ?? "")
                    let kind = member.memberType == 0 ? "classic" : "consumer"
                    let topics = member.subscribedTopicNames.joined(separator: "+")
                    let regex = member.subscribedTopicRegex.map { " regex=\($0)" } ?? ""
                    let has = topicText(member.assignment.topicPartitions.map { ($0.topicID, $0.partitions) })
                    let target = topicText(member.targetAssignment.topicPartitions.map { ($0.topicID, $0.partitions) })
                    return "  \(name) epoch=\(member.memberEpoch) \(kind) topics=\(topics)\(regex)"
                        + " has=\(has) target=\(target)"
                }
        }
    }
}

/// `[t:0,1 u:2]`: topics of scenarios have ids of one letter each.
func topicText(_ topics: [(topicID: KafkaUUID, partitions: [Int32])]) -> String {
    "["
        + topics.map { "\(topicName($0.topicID)):" + $0.partitions.map(String.init).joined(separator: ",") }
        .joined(separator: " ") + "]"
}

/// A topic's id is its name, up to eight letters of it.
func topicID(named name: String) -> KafkaUUID {
    KafkaUUID(high: 1, low: name.utf8.prefix(8).reduce(0) { $0 << 8 | UInt64($1) })
}

func topicName(_ id: KafkaUUID) -> String {
    let bytes = (0..<8).map { UInt8(truncatingIfNeeded: id.low >> UInt64(56 - 8 * $0)) }.filter { $0 != 0 }
    return String(decoding: bytes, as: UTF8.self)
}

private func topicText(_ partitions: HeldPartitions) -> String {
    topicText(partitions.topics.map { ($0.topicID, $0.partitions) })
}

/// `g Reconciling epoch=3 assignment=2 [a@2 [t:0,1] gives [t:1], b@2/i1 [t:2] waits]`
func describe(_ group: ConsumerGroup) -> String {
    let members = group.members.values.sorted { $0.memberID < $1.memberID }.map { member -> String in
        var text = member.memberID
        if let instanceID = member.instanceID { text += "/\(instanceID)" }
        text += "@\(member.epoch)"
        if member.usesClassicProtocol { text += " classic" }
        text += " \(topicText(member.assigned))"
        if !member.pendingRevocation.isEmpty { text += " gives \(topicText(member.pendingRevocation))" }
        if member.state == .unreleasedPartitions { text += " waits" }
        return text
    }
    return "\(group.groupID) \(group.state.rawValue) epoch=\(group.epoch) assignment=\(group.assignmentEpoch)"
        + " [\(members.joined(separator: ", "))]"
}

func describe(_ groupID: String, _ record: ConsumerGroupRecords.Parsed) -> String {
    switch record {
    case .group(let value?): return "Group \(groupID) epoch=\(value.epoch)"
    case .group(nil): return "Group \(groupID) deleted"
    case .partitionMetadata(let isThere): return "Topics \(groupID)\(isThere ? "" : " deleted")"
    case .member(let member, let value?):
        var text = "Member \(groupID) \(member)"
        if let instanceID = value.instanceID { text += "/\(instanceID)" }
        if !value.subscribedTopicNames.isEmpty {
            text += " topics=" + value.subscribedTopicNames.joined(separator: "+")
        }
        if let regex = value.subscribedTopicRegex, !regex.isEmpty { text += " regex=\(regex)" }
        if let assignor = value.serverAssignor { text += " assignor=\(assignor)" }
        if let rack = value.rackID { text += " rack=\(rack)" }
        if value.classicMemberMetadata != nil { text += " classic" }
        return text
    case .member(let member, nil): return "Member \(groupID) \(member) deleted"
    case .targetMetadata(let value?): return "Target \(groupID) epoch=\(value.assignmentEpoch)"
    case .targetMetadata(nil): return "Target \(groupID) deleted"
    case .target(let member, let value?):
        let partitions = topicText(value.topicPartitions.map { ($0.topicID, $0.partitions) })
        return "Target \(groupID) \(member) = \(partitions)"
    case .target(let member, nil): return "Target \(groupID) \(member) deleted"
    case .current(let member, let value?):
        let state = ConsumerGroupMember.State(rawValue: value.state).map { "\($0)" } ?? "?"
        let has = topicText(value.assignedPartitions.map { ($0.topicID, $0.partitions) })
        let gives = topicText(value.partitionsPendingRevocation.map { ($0.topicID, $0.partitions) })
        return "Current \(groupID) \(member) epoch=\(value.memberEpoch) \(state) has=\(has)"
            + (value.partitionsPendingRevocation.isEmpty ? "" : " gives=\(gives)")
    case .current(let member, nil): return "Current \(groupID) \(member) deleted"
    case .regex(let regex, let value?):
        return "Regex \(groupID) \(regex) = [\(value.topics.joined(separator: " "))]"
    case .regex(let regex, nil): return "Regex \(groupID) \(regex) deleted"
    }
}

/// What is part of a transaction begins with its producer.
func describe(_ record: Record, in batch: RecordBatchHeader) -> String {
    let key = record.key ?? []
    let producer = "producer \(batch.producerID)/\(batch.producerEpoch)"
    if batch.isControl {
        let type = key.withUnsafeBytes { ControlRecordType(key: $0) }
        return "\(producer) " + (type == .commit ? "COMMIT" : type == .abort ? "ABORT" : "control record")
    }
    let text = describe(GroupRecords.parse(CoordinatorRecord(key: key, value: record.value)))
    return batch.isTransactional ? "\(producer) \(text)" : text
}

func describe(_ record: GroupRecords.Parsed) -> String {
    switch record {
    case .consumerGroup(let group, let record): describe(group, record)
    case .otherGroup(let group, let kind, let isThere): "\(kind) group \(group)\(isThere ? "" : " deleted")"
    case .otherMember(let group, let kind, let member, let isThere):
        "\(kind) group \(group) member \(member)\(isThere ? "" : " deleted")"
    case .offsetCommit(let group, let topic, let partition, let value?):
        "Offset \(group) \(topic)-\(partition) = \(value.offset)"
            + (value.leaderEpoch == -1 ? "" : " epoch=\(value.leaderEpoch)")
            + (value.metadata.isEmpty ? "" : " metadata=\(value.metadata)")
            + (value.expireTimestamp == -1 ? "" : " expires=\(value.expireTimestamp)")
    case .offsetCommit(let group, let topic, let partition, nil): "Offset \(group) \(topic)-\(partition) deleted"
    case .groupMetadata(let group, let value?):
        "GroupMetadata \(group) generation=\(value.generation) protocol=\(value.protocol ?? "null")"
            + " leader=\(value.leader ?? "null") members=["
            + value.members.map { member in
                "\(member.memberID)\(member.groupInstanceID.map { "/\($0)" } ?? "")=\(text(member.assignment))"
            }.joined(separator: ", ") + "]"
    case .groupMetadata(let group, nil): "GroupMetadata \(group) deleted"
    case .other(let type): "record of type \(type)"
    case .malformed(let reason): "malformed \(reason)"
    }
}

/// `g Stable generation=1 protocol=range [a-1*, b-2]`: the leader has a star, who waits for JoinGroup's answer is
/// marked `join`, for SyncGroup's `sync`.
func describe(_ group: ClassicGroup) -> String {
    let members = group.orderedMembers.map { member in
        member.memberID + (member.instanceID.map { "/\($0)" } ?? "") + (group.isLeader(member.memberID) ? "*" : "")
            + (member.awaitingJoin == nil ? "" : " join") + (member.awaitingSync == nil ? "" : " sync")
    }
    return "\(group.groupID) \(group.state.rawValue) generation=\(group.generation)"
        + " protocol=\(group.protocolName ?? "null") [\(members.joined(separator: ", "))]"
        + (group.pendingJoinMembers.isEmpty
            ? "" : " pending=[\(group.pendingJoinMembers.sorted.joined(separator: ", "))]")
}
