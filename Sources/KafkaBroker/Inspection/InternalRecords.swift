import KafkaLog
import KafkaMessages
import KafkaPrimitives

/// Keys and values of the internal topics in words, for `ottla log dump`.
package enum InternalRecords {
    /// Nil for any other topic.
    @Sendable package static func decode(
        topic: String, key: UnsafeRawBufferPointer?, value: UnsafeRawBufferPointer?
    ) -> (key: InspectedValue, value: InspectedValue)? {
        switch topic {
        case "__consumer_offsets": self.decode(key, value, self.groupTypes)
        case "__transaction_state":
            self.decode(key, value, [0: Types("TransactionLog", TransactionLogKey.self, TransactionLogValue.self)])
        case "__share_group_state":
            self.decode(
                key, value,
                [
                    0: Types("ShareSnapshot", ShareSnapshotKey.self, ShareSnapshotValue.self),
                    1: Types("ShareUpdate", ShareUpdateKey.self, ShareUpdateValue.self),
                ])
        case "__cluster_metadata": (raw(key), value.map(self.metadata) ?? .null)
        default: nil
        }
    }

    private struct Types: Sendable {
        var name: String
        var key: any KafkaMessage.Type
        var value: any KafkaMessage.Type

        init(_ name: String, _ key: any KafkaMessage.Type, _ value: any KafkaMessage.Type) {
            (self.name, self.key, self.value) = (name, key, value)
        }
    }

    private static let groupTypes: [Int16: Types] = [
        0: Types("OffsetCommit", LegacyOffsetCommitKey.self, LegacyOffsetCommitValue.self),
        1: Types("OffsetCommit", OffsetCommitKey.self, OffsetCommitValue.self),
        2: Types("GroupMetadata", GroupMetadataKey.self, GroupMetadataValue.self),
        3: Types("ConsumerGroupMetadata", ConsumerGroupMetadataKey.self, ConsumerGroupMetadataValue.self),
        4: Types(
            "ConsumerGroupPartitionMetadata", ConsumerGroupPartitionMetadataKey.self,
            ConsumerGroupPartitionMetadataValue.self),
        5: Types(
            "ConsumerGroupMemberMetadata", ConsumerGroupMemberMetadataKey.self, ConsumerGroupMemberMetadataValue.self),
        6: Types(
            "ConsumerGroupTargetAssignmentMetadata", ConsumerGroupTargetAssignmentMetadataKey.self,
            ConsumerGroupTargetAssignmentMetadataValue.self),
        7: Types(
            "ConsumerGroupTargetAssignmentMember", ConsumerGroupTargetAssignmentMemberKey.self,
            ConsumerGroupTargetAssignmentMemberValue.self),
        8: Types(
            "ConsumerGroupCurrentMemberAssignment", ConsumerGroupCurrentMemberAssignmentKey.self,
            ConsumerGroupCurrentMemberAssignmentValue.self),
        10: Types("ShareGroupMemberMetadata", ShareGroupMemberMetadataKey.self, ShareGroupMemberMetadataValue.self),
        11: Types("ShareGroupMetadata", ShareGroupMetadataKey.self, ShareGroupMetadataValue.self),
        12: Types(
            "ShareGroupTargetAssignmentMetadata", ShareGroupTargetAssignmentMetadataKey.self,
            ShareGroupTargetAssignmentMetadataValue.self),
        13: Types(
            "ShareGroupTargetAssignmentMember", ShareGroupTargetAssignmentMemberKey.self,
            ShareGroupTargetAssignmentMemberValue.self),
        14: Types(
            "ShareGroupCurrentMemberAssignment", ShareGroupCurrentMemberAssignmentKey.self,
            ShareGroupCurrentMemberAssignmentValue.self),
        15: Types(
            "ShareGroupStatePartitionMetadata", ShareGroupStatePartitionMetadataKey.self,
            ShareGroupStatePartitionMetadataValue.self),
        16: Types(
            "ConsumerGroupRegularExpression", ConsumerGroupRegularExpressionKey.self,
            ConsumerGroupRegularExpressionValue.self),
        17: Types("StreamsGroupMetadata", StreamsGroupMetadataKey.self, StreamsGroupMetadataValue.self),
        19: Types(
            "StreamsGroupMemberMetadata", StreamsGroupMemberMetadataKey.self, StreamsGroupMemberMetadataValue.self),
        20: Types(
            "StreamsGroupTargetAssignmentMetadata", StreamsGroupTargetAssignmentMetadataKey.self,
            StreamsGroupTargetAssignmentMetadataValue.self),
        21: Types(
            "StreamsGroupTargetAssignmentMember", StreamsGroupTargetAssignmentMemberKey.self,
            StreamsGroupTargetAssignmentMemberValue.self),
        22: Types(
            "StreamsGroupCurrentMemberAssignment", StreamsGroupCurrentMemberAssignmentKey.self,
            StreamsGroupCurrentMemberAssignmentValue.self),
        23: Types("StreamsGroupTopology", StreamsGroupTopologyKey.self, StreamsGroupTopologyValue.self),
    ]

    /// The records of `__cluster_metadata`, by the number that each begins with.
    private static let metadataTypes: [UInt32: any KafkaMessage.Type] = [
        0: RegisterBrokerRecord.self, 1: UnregisterBrokerRecord.self, 2: TopicRecord.self, 3: PartitionRecord.self,
        4: ConfigRecord.self, 5: PartitionChangeRecord.self, 7: FenceBrokerRecord.self, 8: UnfenceBrokerRecord.self,
        9: RemoveTopicRecord.self, 10: DelegationTokenRecord.self, 11: UserScramCredentialRecord.self,
        12: FeatureLevelRecord.self, 14: ClientQuotaRecord.self, 15: ProducerIdsRecord.self,
        17: BrokerRegistrationChangeRecord.self, 18: AccessControlEntryRecord.self,
        19: RemoveAccessControlEntryRecord.self, 20: NoOpRecord.self, 21: ZkMigrationStateRecord.self,
        22: RemoveUserScramCredentialRecord.self, 23: BeginTransactionRecord.self, 24: EndTransactionRecord.self,
        25: AbortTransactionRecord.self, 26: RemoveDelegationTokenRecord.self, 27: RegisterControllerRecord.self,
        28: ClearElrRecord.self,
    ]

    // MARK: decoding

    private static func raw(_ bytes: UnsafeRawBufferPointer?) -> InspectedValue {
        bytes.map { .bytes(Array($0)) } ?? .null
    }

    /// A key begins with an int16 that says what the record is, a value with one that says its version.
    private static func decode(
        _ key: UnsafeRawBufferPointer?, _ value: UnsafeRawBufferPointer?, _ types: [Int16: Types]
    ) -> (key: InspectedValue, value: InspectedValue) {
        guard let key, key.count >= 2 else { return (self.raw(key), self.raw(value)) }
        let type = Int16(bigEndian: key.loadUnaligned(as: Int16.self))
        guard let known = types[type] else { return (self.raw(key), self.raw(value)) }
        let decodedKey = self.message(known.key, UnsafeRawBufferPointer(rebasing: key[2...]), version: 0)
        let printedKey = InspectedValue.object([
            .init("type", .int(type)), .init("name", .text(known.name)), .init("data", decodedKey ?? self.raw(key)),
        ])
        guard let value else { return (printedKey, .null) }
        guard value.count >= 2 else { return (printedKey, self.raw(value)) }
        let version = Int16(bigEndian: value.loadUnaligned(as: Int16.self))
        let decodedValue = self.message(known.value, UnsafeRawBufferPointer(rebasing: value[2...]), version: version)
        return (
            printedKey,
            .object([.init("version", .int(version)), .init("data", decodedValue ?? self.raw(value))])
        )
    }

    private static func metadata(_ value: UnsafeRawBufferPointer) -> InspectedValue {
        var reader = ByteReader(value)
        guard let frame = try? reader.readUnsignedVarint(), frame == 1, let type = try? reader.readUnsignedVarint(),
            let version = try? reader.readUnsignedVarint(), let known = self.metadataTypes[type],
            let data = self.message(
                known, UnsafeRawBufferPointer(rebasing: value[(value.count - reader.remaining)...]),
                version: Int16(truncatingIfNeeded: version))
        else { return self.raw(value) }
        return .object([
            .init("type", .int(type)), .init("name", .text("\(known)")), .init("version", .int(version)),
            .init("data", data),
        ])
    }

    private static func message(
        _ type: any KafkaMessage.Type, _ bytes: UnsafeRawBufferPointer, version: Int16
    ) -> InspectedValue? {
        guard let message = try? type.init(decoding: bytes, version: version) else { return nil }
        return self.inspect(message)
    }

    // MARK: printing

    /// The fields of a message by Kafka's names: `groupID` is `groupId`.
    private static func inspect(_ value: Any) -> InspectedValue {
        switch value {
        case let value as Bool: return .bool(value)
        case let value as String: return .text(value)
        // Not by the cast alone: an empty array of anything can be cast.
        case let bytes as [UInt8] where type(of: value) == [UInt8].self: return .bytes(bytes)
        case let value as KafkaUUID: return .text(value.description)
        case let value as any FixedWidthInteger: return .int(value)
        case let value as ErrorCode: return .int(value.rawValue)
        case let value as Double: return .text("\(value)")
        default: break
        }
        let mirror = Mirror(reflecting: value)
        switch mirror.displayStyle {
        case .optional: return mirror.children.first.map { self.inspect($0.value) } ?? .null
        case .collection, .set: return .list(mirror.children.map { self.inspect($0.value) })
        default:
            return .object(
                mirror.children.compactMap { child in
                    guard let label = child.label, label != "unknownTaggedFields" else { return nil }
                    return .init(self.kafkaName(label), self.inspect(child.value))
                })
        }
    }

    private static func kafkaName(_ name: String) -> String {
        var result = ""
        var rest = name[...]
        while let at = rest.firstRange(of: "ID") {
            result += rest[..<at.lowerBound] + "Id"
            rest = rest[at.upperBound...]
        }
        return result + rest
    }
}

extension StringProtocol {
    /// Where two letters stand together.
    fileprivate func firstRange(of two: String) -> Range<Index>? {
        var at = self.startIndex
        while at < self.endIndex {
            if self[at...].hasPrefix(two) { return at..<self.index(at, offsetBy: two.count) }
            at = self.index(after: at)
        }
        return nil
    }
}
