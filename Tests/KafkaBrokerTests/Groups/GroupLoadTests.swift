import Foundation
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// What a start makes of `__consumer_offsets`.
@Suite struct GroupLoadTests {
    private static let count = 40

    /// The offsets of all groups; -1 where there is none.
    private func committed(_ test: TestBroker) throws -> [Int64] {
        let client = try test.client()
        return try (0..<Self.count).map { number in
            var group = OffsetFetchRequest.Group()
            group.groupID = "group-\(number)"
            var topic = OffsetFetchRequest.Topics()
            topic.name = "orders"
            topic.partitionIndexes = [0]
            group.topics = [topic]
            var request = OffsetFetchRequest()
            request.groups = [group]
            for _ in 0..<2000 {
                let answer = try client.send(request, version: 8).groups[0]
                if answer.errorCode == .none { return answer.topics[0].partitions[0].committedOffset }
                guard answer.errorCode == .coordinatorLoadInProgress || answer.errorCode == .notCoordinator else {
                    throw TestFailure("\(answer.errorCode.name)")
                }
                usleep(5_000)
            }
            throw TestFailure("the groups do not load")
        }
    }

    /// A bit that flipped in a record, or in the length of a batch, costs what was in that batch and nothing else.
    @Test func damagedBatchesAreLeftOut() throws {
        let test = try TestBroker("offsets.topic.num.partitions=1")
        let client = try test.client()
        var create = CreateTopicsRequest()
        create.topics = [.init("orders", partitions: 1)]
        _ = try client.send(create, version: 7)
        var find = FindCoordinatorRequest()
        find.coordinatorKeys = ["group-0"]
        _ = try client.send(find, version: 6)
        #expect(try self.committed(test) == Array(repeating: -1, count: Self.count))
        for number in 0..<Self.count {
            let answer = try client.send(
                OffsetCommitRequest("group-\(number)", "orders", offset: Int64(number)), version: 8)
            #expect(answer.topics[0].partitions[0].errorCode == .none)
        }
        try test.restart {
            let path = "\(test.folder)/data/__consumer_offsets-0/00000000000000000000.log"
            var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
            var starts = [0]
            while let last = starts.last, last < bytes.count {
                let header = bytes[last...].withUnsafeBytes { RecordBatchHeader($0) }
                starts.append(last + (header?.sizeInBytes ?? bytes.count))
            }
            #expect(starts.count == Self.count + 1)
            bytes[starts[12] - 1] ^= 0x10
            bytes[starts[30] + 10] ^= 0x40
            try Data(bytes).write(to: URL(fileURLWithPath: path))
        }
        let expected = (0..<Self.count).map { $0 == 11 || $0 == 30 ? -1 : Int64($0) }
        #expect(try self.committed(test) == expected)
        // And life goes on.
        let again = try test.client().send(OffsetCommitRequest("group-11", "orders", offset: 99), version: 8)
        #expect(again.topics[0].partitions[0].errorCode == .none)
        #expect(try self.committed(test)[11] == 99)
    }
}
