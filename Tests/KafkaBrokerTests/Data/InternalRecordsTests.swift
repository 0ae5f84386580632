import Glibc
import KafkaCoordination
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// What `ottla log dump` and `ottla log verify` say of the records and the metadata that only the broker knows.
@Suite struct InternalRecordsTests {
    private func decode(_ topic: String, _ key: [UInt8]?, _ value: [UInt8]?) -> (InspectedValue, InspectedValue)? {
        (key ?? []).withUnsafeBytes { keyBytes in
            (value ?? []).withUnsafeBytes { valueBytes in
                InternalRecords.decode(
                    topic: topic, key: key == nil ? nil : keyBytes, value: value == nil ? nil : valueBytes)
            }
        }
    }

    @Test func offsets() throws {
        var value = OffsetCommitValue()
        (value.offset, value.metadata, value.commitTimestamp) = (42, "m", 7)
        let record = CoordinatorRecord(
            key: [0, 1]
                + {
                    var key = OffsetCommitKey()
                    (key.group, key.topic, key.partition) = ("g", "t", 3)
                    return key.encoded(version: 0)
                }(), value: [0, 3] + value.encoded(version: 3))
        let found = try #require(self.decode("__consumer_offsets", record.key, record.value))
        #expect(
            found.0.json == #"{"type":1,"name":"OffsetCommit","data":{"group":"g","topic":"t","partition":3}}"#)
        #expect(found.1.json.hasPrefix(#"{"version":3,"data":{"offset":42,"leaderEpoch":-1,"metadata":"m""#))
        // A tombstone, and what cannot be read.
        #expect(self.decode("__consumer_offsets", record.key, nil)?.1 == .null)
        #expect(self.decode("__consumer_offsets", [0, 99, 1], [1])?.1 == .bytes([1]))
        #expect(self.decode("__consumer_offsets", [0, 1, 0xff], nil)?.0.json.contains(#""hex":"#) == true)
        #expect(self.decode("orders", record.key, record.value) == nil)
    }

    @Test func transactions() throws {
        var key = TransactionLogKey()
        key.transactionalID = "tx"
        var value = TransactionLogValue()
        value.producerID = 9
        let found = try #require(
            self.decode(
                "__transaction_state", [0, 0] + key.encoded(version: 0), [0, 1] + value.encoded(version: 1)))
        #expect(found.0.json == #"{"type":0,"name":"TransactionLog","data":{"transactionalId":"tx"}}"#)
        #expect(found.1.json.contains(#""producerId":9"#))
    }

    @Test func metadata() throws {
        var record = TopicRecord()
        record.name = "orders"
        record.topicID = KafkaUUID(high: 1, low: 2)
        let found = try #require(self.decode("__cluster_metadata", nil, [1, 2, 0] + record.encoded(version: 0)))
        #expect(found.1.json.contains(#""name":"TopicRecord","version":0,"data":{"name":"orders","topicId":"#))
        #expect(self.decode("__cluster_metadata", nil, [7, 7])?.1 == .bytes([7, 7]))
    }

    @Test func aBrokersFolderIsVerified() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        try test.client().produce(topic, batch(count: 5))
        let folder = test.folder + "/data"
        #expect(try FolderVerification.isInUse(folder))
        test.stop()
        #expect(try !FolderVerification.isInUse(folder))
        var lines: [InspectedLine] = []
        let summary = try FolderVerification.run(folder, more: MetadataVerification.check) { lines.append($0) }
        #expect(summary.damages == 0 && summary.partitions == 2 && summary.batches == 1, "\(lines.map(\.text))")
        #expect(lines.isEmpty)
        // A folder that the metadata says is another topic's.
        _ = rename(folder + "/t-1", folder + "/nobody-1")
        lines = []
        _ = try FolderVerification.run(folder, more: MetadataVerification.check) { lines.append($0) }
        #expect(lines.count == 4 && lines.allSatisfy { $0.kind == "note" }, "\(lines.map(\.text))")
    }
}
