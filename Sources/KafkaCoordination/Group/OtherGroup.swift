import KafkaMessages
import KafkaPrimitives

/// A group of a protocol that is not served here, as its records in `__consumer_offsets` tell: a Kafka whose data folder
/// this was has left it. It stays as it is, with its offsets, which can be read as those of any group.
package struct OtherGroup: Sendable, Equatable {
    /// By the names that ListGroups has for them.
    package enum Kind: String, Sendable {
        /// KIP-848
        case consumer
        /// KIP-932
        case share
        /// KIP-1071
        case streams
    }

    package var kind: Kind
    /// The ids of its members; they are those that were there when Kafka wrote last.
    package var members: Set<String> = []

    package init(kind: Kind) { self.kind = kind }

    package var isEmpty: Bool { self.members.isEmpty }

    /// What ListGroups calls its state.
    var stateName: String { self.isEmpty ? "Empty" : "Stable" }

    /// The kinds of record that say that a group, or a member, is there. Nil for any other, and for one that cannot be read.
    static func parse(_ type: Int16, key reader: inout ByteReader, isThere: Bool) -> GroupRecords.Parsed? {
        let kind: Kind
        switch type {
        case 3, 5: kind = .consumer
        case 10, 11: kind = .share
        case 17, 19: kind = .streams
        default: return nil
        }
        // The keys are alike: a group, and for a member its id.
        if type == 3 || type == 11 || type == 17 {
            guard let key = try? ConsumerGroupMetadataKey(from: &reader, version: 0) else { return nil }
            return .otherGroup(group: key.groupID, kind, isThere: isThere)
        }
        guard let key = try? ConsumerGroupMemberMetadataKey(from: &reader, version: 0) else { return nil }
        return .otherMember(group: key.groupID, kind, member: key.memberID, isThere: isThere)
    }

    /// What takes a consumer group without members out of the partition: its epoch, target assignment and, of Kafka before
    /// 4.1, its partitions.
    static func tombstones(ofConsumerGroup groupID: String) -> [CoordinatorRecord] {
        ([6, 4, 3] as [Int16]).map { type in
            var key = ConsumerGroupMetadataKey()
            key.groupID = groupID
            return CoordinatorRecord(key: GroupRecords.encode(key, type: type, version: 0), value: nil)
        }
    }
}

extension GroupCoordinatorShard {
    mutating func replay(otherGroup groupID: String, _ kind: OtherGroup.Kind, isThere: Bool) {
        guard isThere else {
            if self.otherGroups[groupID]?.kind == kind { self.otherGroups[groupID] = nil }
            return
        }
        if self.otherGroups[groupID]?.kind != kind { self.otherGroups[groupID] = OtherGroup(kind: kind) }
        // Offsets that stand before it in the log made it look like a group that only stores offsets.
        self.groups[groupID] = nil
    }

    mutating func replay(otherMember member: String, of groupID: String, _ kind: OtherGroup.Kind, isThere: Bool) {
        if isThere {
            self.replay(otherGroup: groupID, kind, isThere: true)
            self.otherGroups[groupID]?.members.insert(member)
        } else {
            self.otherGroups[groupID]?.members.remove(member)
        }
    }

    /// Why a classic member cannot join a group of this id; nil: it can, after `tombstones`. As in Kafka a consumer group
    /// whose members are gone may become a classic one and keeps its offsets.
    func refusalOfJoin(_ groupID: String) -> ErrorCode? {
        guard let other = self.otherGroups[groupID] else { return nil }
        return other.kind == .consumer && other.isEmpty ? nil : .inconsistentGroupProtocol
    }

    /// Why a commit is refused.
    /// - Parameter isAnonymousInTransaction: it is a producer's that says nothing of a member.
    func refusalOfCommit(_ groupID: String, generation: Int32, isAnonymousInTransaction: Bool) -> ErrorCode? {
        guard let other = self.otherGroups[groupID] else { return nil }
        guard other.kind == .consumer else { return .groupIDNotFound }
        return generation < 0 && other.isEmpty || isAnonymousInTransaction ? nil : .unknownMemberID
    }
}
