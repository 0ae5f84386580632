import KafkaMessages
import KafkaPrimitives

/// The records of `__consumer_offsets`: a key begins with an int16 that says what it is, a value with an int16
/// that says its version; then the message.
package enum GroupRecords {
    /// What a key says a record is. Share and streams groups: see `OtherGroup`.
    package enum Parsed: Sendable, Equatable {
        /// nil: a tombstone.
        case offsetCommit(group: String, topic: String, partition: Int32, OffsetCommitValue?)
        case groupMetadata(group: String, GroupMetadataValue?)
        /// Of a group of KIP-848.
        case consumerGroup(String, ConsumerGroupRecords.Parsed)
        /// A share or streams group; false: its tombstone.
        case otherGroup(group: String, OtherGroup.Kind, isThere: Bool)
        /// A member of such a group.
        case otherMember(group: String, OtherGroup.Kind, member: String, isThere: Bool)
        /// A kind that is not ours.
        case other(Int16)
        /// A kind of ours that cannot be read.
        case malformed(String)
    }

    static let offsetCommitKeyType: Int16 = 1
    static let legacyOffsetCommitKeyType: Int16 = 0
    static let groupMetadataKeyType: Int16 = 2

    /// What Kafka 4.3 writes. Version 3 is the last that is not flexible.
    static let groupMetadataValueVersion: Int16 = 3
    /// Version 4 carries the topic id. A commit with a retention time of its own (OffsetCommit 2 to 4) needs
    /// version 1, the only one with a field for it.
    static let offsetCommitValueVersion: Int16 = 4
    static let expiringOffsetCommitValueVersion: Int16 = 1

    // MARK: Writing

    package static func groupMetadata(_ groupID: String, _ value: GroupMetadataValue?) -> CoordinatorRecord {
        var key = GroupMetadataKey()
        key.group = groupID
        return CoordinatorRecord(
            key: self.encode(key, type: self.groupMetadataKeyType, version: 0),
            value: value.map {
                self.encode($0, type: self.groupMetadataValueVersion, version: self.groupMetadataValueVersion)
            })
    }

    package static func offsetCommit(
        _ groupID: String, topic: String, partition: Int32, _ committed: CommittedOffset?
    ) -> CoordinatorRecord {
        var key = OffsetCommitKey()
        key.group = groupID
        key.topic = topic
        key.partition = partition
        return CoordinatorRecord(
            key: self.encode(key, type: self.offsetCommitKeyType, version: 0),
            value: committed.map { committed in
                var value = OffsetCommitValue()
                value.offset = committed.offset
                value.leaderEpoch = committed.leaderEpoch
                value.metadata = committed.metadata
                value.commitTimestamp = committed.commitTimestampMs
                value.expireTimestamp = committed.expireTimestampMs ?? -1
                value.topicID = committed.topicID
                let version =
                    committed.expireTimestampMs == nil
                    ? self.offsetCommitValueVersion : self.expiringOffsetCommitValueVersion
                return self.encode(value, type: version, version: version)
            })
    }

    static func encode(_ message: some KafkaMessage, type: Int16, version: Int16) -> [UInt8] {
        withEncoded { writer in
            writer.writeInt16(type)
            message.encode(into: &writer, version: version)
        }
    }

    // MARK: Reading

    package static func parse(_ record: CoordinatorRecord) -> Parsed {
        record.withUnsafeBytes { self.parse(key: $0, value: $1) }
    }

    /// In place: a million of them are read at a start.
    static func parse(key bytes: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer?) -> Parsed {
        var reader = ByteReader(bytes)
        do {
            let type = try reader.readInt16()
            switch type {
            case self.legacyOffsetCommitKeyType, self.offsetCommitKeyType:
                let key = try OffsetCommitKey(from: &reader, version: 0)
                return .offsetCommit(
                    group: key.group, topic: key.topic, partition: key.partition, try self.decode(value))
            case self.groupMetadataKeyType:
                let key = try GroupMetadataKey(from: &reader, version: 0)
                return .groupMetadata(group: key.group, try self.decode(value))
            default:
                if let (group, parsed) = try ConsumerGroupRecords.parse(type, key: &reader, value: value) {
                    return .consumerGroup(group, parsed)
                }
                return OtherGroup.parse(type, key: &reader, isThere: value != nil) ?? .other(type)
            }
        } catch {
            return .malformed("\(error)")
        }
    }

    static func decode<Value: KafkaMessage>(_ bytes: UnsafeRawBufferPointer?) throws(DecodingError) -> Value? {
        guard let bytes else { return nil }
        var reader = ByteReader(bytes)
        let version = try reader.readInt16()
        guard Value.validVersions.contains(version) else { throw .unsupportedVersion(version) }
        return try Value(from: &reader, version: version)
    }
}
