import KafkaPrimitives
import Testing

@testable import KafkaCoordination

extension CommittedOffsets {
    /// All of them, by group.
    var all: [String: [Partition]] {
        Dictionary(uniqueKeysWithValues: self.groups.map { ($0, self.partitions(of: $0)) })
    }
}

@Suite struct CommittedOffsetsTests {
    private struct Key: Hashable {
        var group: String
        var topic: String
        var partition: Int32
    }

    private func committed(_ number: Int64) -> CommittedOffset {
        var committed = CommittedOffset(
            offset: number, leaderEpoch: Int32(truncatingIfNeeded: number % 7), metadata: number % 5 == 0 ? "m" : "",
            commitTimestampMs: number * 3, expireTimestampMs: number % 11 == 0 ? number : nil,
            topicID: number % 3 == 0 ? .zero : KafkaUUID(high: 1, low: UInt64(number % 4)))
        committed.recordOffset = number + 1
        return committed
    }

    /// Beside a dictionary, with groups of one offset and of thousands.
    @Test(arguments: 0..<6 as Range<UInt64>)
    func asADictionary(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var offsets = CommittedOffsets()
        var model: [Key: CommittedOffset] = [:]
        let partitions: Int32 = seed % 2 == 0 ? 6 : 3_000
        for step in 0..<20_000 as Range<Int64> {
            let key = Key(
                group: "g\(random.next() % 3)", topic: "t\(random.next() % 4)",
                partition: Int32(random.next() % UInt64(partitions)))
            // Now it grows, now it shrinks.
            if random.next() % 8 < (step / 4_000 % 2 == 0 ? 6 : 1) {
                offsets.set(key.group, key.topic, key.partition, self.committed(step))
                model[key] = self.committed(step)
            } else {
                let wasThere = offsets.remove(key.group, key.topic, key.partition)
                #expect(wasThere == (model.removeValue(forKey: key) != nil))
            }
            let asked = Key(group: key.group, topic: "t0", partition: Int32(random.next() % UInt64(partitions)))
            #expect(offsets[asked.group, asked.topic, asked.partition] == model[asked])
            #expect(offsets.count == model.count)
        }
        #expect(offsets.all.values.reduce(0) { $0 + $1.count } == model.count)
        for (group, partitions) in offsets.all {
            #expect(partitions == partitions.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) })
            for at in partitions {
                #expect(model[Key(group: group, topic: at.topic, partition: at.partition)] == at.committed)
            }
        }
        for (index, key) in model.keys.enumerated() {
            let wasThere = offsets.remove(key.group, key.topic, key.partition)
            #expect(wasThere)
            #expect(offsets.count == model.count - index - 1)
        }
        #expect(offsets.isEmpty && offsets.groups.isEmpty)
    }

    @Test func topicsOfAllGroups() {
        var offsets = CommittedOffsets()
        offsets.set("b", "t", 1, self.committed(1))
        offsets.set("a", "t", 2, self.committed(2))
        offsets.set("a", "t", 0, self.committed(3))
        offsets.set("a", "u", 0, self.committed(4))
        func found(_ topics: [String]) -> [String] {
            offsets.partitions(ofTopics: topics).map { "\($0.group) \($0.1.topic)-\($0.1.partition)" }
        }
        #expect(found(["t", "v"]) == ["a t-0", "a t-2", "b t-1"])
        #expect(found(["v"]).isEmpty)
        offsets.remove("a", "u", 0)
        #expect(found(["u"]).isEmpty)
        #expect(offsets["a", "u", 0] == nil)
    }

    /// Whatever a name is given for is forgotten with its last use, and its number used again.
    @Test func namesAreForgotten() {
        var table = InternTable<String>()
        let numbers = [table.take("a"), table.take("b"), table.take("a")]
        #expect(numbers == [0, 1, 0])
        table.giveBack(0)
        #expect(table.number(of: "a") == 0)
        table.giveBack(0)
        #expect(table.number(of: "a") == nil)
        let reused = table.take("c")
        #expect(reused == 0)
        #expect((table.value(of: 0), table.number(of: "b")) == ("c", 1))
    }

    @Test func anOffsetTakes48Bytes() {
        #expect(MemoryLayout<GroupOffsets.Entry>.stride == 48)
    }
}
