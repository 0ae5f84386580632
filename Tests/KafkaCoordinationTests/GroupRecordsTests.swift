import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaCoordination

@Suite struct GroupRecordsTests {
    /// Kafka's layout: the kind, then the key; the version, then the value.
    @Test func bytesOfAnOffsetCommit() {
        let record = GroupRecords.offsetCommit(
            "g", topic: "t", partition: 5,
            CommittedOffset(offset: 7, leaderEpoch: 3, metadata: "m", commitTimestampMs: 9))
        #expect(record.key == [0, 1, 0, 1, 0x67, 0, 1, 0x74, 0, 0, 0, 5])
        #expect(
            record.value == [0, 4] + [0, 0, 0, 0, 0, 0, 0, 7] + [0, 0, 0, 3] + [2, 0x6d] + [0, 0, 0, 0, 0, 0, 0, 9] + [
                0
            ])
    }

    @Test func commitWithARetentionTimeIsVersion1() {
        let record = GroupRecords.offsetCommit(
            "g", topic: "t", partition: 5, CommittedOffset(offset: 7, commitTimestampMs: 9, expireTimestampMs: 11))
        #expect(record.value?.prefix(2) == [0, 1])
        guard case .offsetCommit("g", "t", 5, let value?) = GroupRecords.parse(record) else {
            Issue.record("not an offset")
            return
        }
        #expect(value.expireTimestamp == 11)
    }

    @Test func tombstones() {
        #expect(GroupRecords.groupMetadata("g", nil) == CoordinatorRecord(key: [0, 2, 0, 1, 0x67], value: nil))
        #expect(GroupRecords.offsetCommit("g", topic: "t", partition: 5, nil).value == nil)
    }

    /// Whatever comes: left alone, and the rest is loaded. A damaged record is named by its offset.
    @Test func unknownAndDamagedRecordsAreSkipped() {
        var builder = RecordBatchBuilder(baseOffset: 40)
        builder.append(timestamp: 0, key: [0, 99, 1, 2, 3], value: [0, 0, 9])
        builder.append(timestamp: 0, key: [0, 2, 0, 1, 0x67], value: [0, 3, 1])
        builder.append(timestamp: 0, key: [0, 2, 0, 9], value: nil)
        builder.append(timestamp: 0, key: [0], value: nil)
        builder.append(timestamp: 0, key: nil, value: [1])
        let good = GroupRecords.offsetCommit(
            "g", topic: "t", partition: 0, CommittedOffset(offset: 1, commitTimestampMs: 2))
        builder.append(timestamp: 0, key: good.key, value: good.value)
        var loader = CoordinatorLoader(shard: GroupCoordinatorShard(config: GroupCoordinatorConfig()))
        let bytes = builder.build()
        let used = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        #expect(used == bytes.count)
        #expect(loader.faults.map(\.offset) == [41, 42, 43, 44])
        #expect(loader.shard.unknownRecordCount == 1)
        #expect(loader.shard.malformedRecordCount == 3)
        #expect(loader.shard.offsets["g", "t", 0]?.offset == 1)
        #expect(loader.nextOffset == 46)
    }

    @Test func aDamagedBatchIsSkippedAndNamed() {
        func batch(_ offset: Int64, _ committed: Int64) -> [UInt8] {
            var builder = RecordBatchBuilder(baseOffset: offset)
            let record = GroupRecords.offsetCommit(
                "g", topic: "t", partition: Int32(offset), CommittedOffset(offset: committed, commitTimestampMs: 2))
            builder.append(timestamp: 0, key: record.key, value: record.value)
            return builder.build()
        }
        var bytes = batch(0, 10) + batch(1, 11) + batch(2, 12)
        bytes[batch(0, 10).count + 70] ^= 1
        var loader = CoordinatorLoader(shard: GroupCoordinatorShard(config: GroupCoordinatorConfig()))
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        #expect(loader.faults.map(\.offset) == [1])
        #expect(loader.shard.offsets.partitions(of: "g").map(\.partition) == [0, 2])
    }

    /// Offsets of a transaction count when its marker says so.
    @Test func transactionalCommitsWaitForTheirMarker() {
        func commit(_ producer: Int64, _ partition: Int32, at offset: Int64) -> [UInt8] {
            var builder = RecordBatchBuilder(
                baseOffset: offset, producerID: producer, producerEpoch: 0, baseSequence: 0, isTransactional: true)
            let record = GroupRecords.offsetCommit(
                "g", topic: "t", partition: partition, CommittedOffset(offset: 1, commitTimestampMs: 2))
            builder.append(timestamp: 0, key: record.key, value: record.value)
            return builder.build()
        }
        func marker(_ producer: Int64, committed: Bool, at offset: Int64) -> [UInt8] {
            RecordBatchBuilder.endTransaction(
                committed: committed, marker: EndTransactionMarker(coordinatorEpoch: 0), producerID: producer,
                producerEpoch: 0, timestamp: 0, baseOffset: offset)
        }
        let bytes =
            commit(1, 1, at: 0) + commit(2, 2, at: 1) + commit(3, 3, at: 2) + marker(1, committed: true, at: 3)
            + marker(2, committed: false, at: 4)
        var loader = CoordinatorLoader(shard: GroupCoordinatorShard(config: GroupCoordinatorConfig()))
        _ = bytes.withUnsafeBytes { loader.replay($0, scratch: DecompressionScratch()) }
        #expect(loader.faultCount == 0)
        #expect(loader.shard.offsets.partitions(of: "g").map(\.partition) == [1])
    }

    @Test(arguments: [
        ("", 0), ("a", 97 % 50), ("group", 98_629_247 % 50), ("polygenelubricants", 0),
        ("gr\u{fc}ppe-\u{1f600}", -1),
    ])
    func partitionOfAGroup(_ group: String, _ expected: Int) {
        // Java: "polygenelubricants".hashCode() is -2147483648, of which Kafka's abs is 0.
        let partition = GroupCoordinator.partition(for: group, of: 50)
        if expected >= 0 { #expect(Int(partition) == expected) }
        #expect((0..<50).contains(partition))
    }

    /// Where Kafka 4.3 had put them. Half of the hashes are negative: it is their amount that counts.
    @Test(arguments: [
        ("consumer-static", 0), ("consumer-empty", 1), ("simple", 1), ("classic-empty", 2), ("classic-librdkafka", 2),
        ("share-group", 2), ("classic-live", 4), ("simple-partly-deleted", 4), ("txn-group", 4), ("deleted-group", 4),
    ])
    func partitionsOfRecordedGroups(_ group: String, _ expected: Int32) {
        #expect(GroupCoordinator.partition(for: group, of: 5) == expected)
    }

    @Test func subscriptionsAreCheckedBeforeTheyAreRead() {
        func topics(_ bytes: [UInt8]) -> Set<String>? {
            var topics: Set<String> = []
            return ConsumerProtocol.collectTopics(ofSubscription: bytes, into: &topics) ? topics : nil
        }
        #expect(topics([0, 3, 0, 0, 0, 2, 0, 1, 0x61, 0, 2, 0x62, 0x63, 0, 0]) == ["a", "bc"])
        #expect(topics([0, 0, 0, 0, 0, 0]) == [])
        let good: [UInt8] = [0, 0, 0, 0, 0, 1, 0, 1, 0x61]
        for length in 0..<good.count { #expect(topics(Array(good.prefix(length))) == nil) }
        #expect(topics([0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 1, 0x61]) == nil)
        #expect(topics([0, 0, 0xff, 0xff, 0xff, 0xff]) == nil)
        #expect(topics([0xff, 0xff, 0, 0, 0, 0]) == nil)
        #expect(topics([0, 0, 0, 0, 0, 1, 0xff, 0xff]) == nil)
    }
}
