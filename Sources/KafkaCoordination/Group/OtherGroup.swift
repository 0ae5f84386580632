import KafkaMessages
import KafkaPrimitives

/// A group of a protocol that is not served here, as its records in `__consumer_offsets` tell: a Kafka whose data folder
/// this was has left it. It stays as it is, with its offsets, which can be read as those of any group.
package struct OtherGroup: Sendable, Equatable {
    /// By the names that ListGroups has for them.
    package enum Kind: String, Sendable {
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
        case 10, 11: kind = .share
        case 17, 19: kind = .streams
        default: return nil
        }
        // The keys are alike: a group, and for a member its id.
        if type == 11 || type == 17 {
            guard let key = try? ConsumerGroupMetadataKey(from: &reader, version: 0) else { return nil }
            return .otherGroup(group: key.groupID, kind, isThere: isThere)
        }
        guard let key = try? ConsumerGroupMemberMetadataKey(from: &reader, version: 0) else { return nil }
        return .otherMember(group: key.groupID, kind, member: key.memberID, isThere: isThere)
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
        self.consumerGroups[groupID] = nil
    }

    mutating func replay(otherMember member: String, of groupID: String, _ kind: OtherGroup.Kind, isThere: Bool) {
        if isThere {
            self.replay(otherGroup: groupID, kind, isThere: true)
            self.otherGroups[groupID]?.members.insert(member)
        } else {
            self.otherGroups[groupID]?.members.remove(member)
        }
    }
}
