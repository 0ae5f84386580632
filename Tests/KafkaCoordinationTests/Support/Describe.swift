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

private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

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
