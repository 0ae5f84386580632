import Glibc
import KafkaLog
import KafkaPrimitives

/// A topic as the data path sees it.
package final class TopicEntry: Sendable {
    package let name: String
    package let nameBytes: [UInt8]
    package let id: KafkaUUID
    /// By partition index. Nil where the partition's log could not be opened.
    package let partitions: [Partition?]
    /// One of Kafka's own topics (`__consumer_offsets`, ...), which clients may read but not write.
    package let isInternal: Bool

    package init(name: String, id: KafkaUUID, partitions: [Partition?]) {
        self.name = name
        self.nameBytes = Array(name.utf8)
        self.id = id
        self.partitions = partitions
        self.isInternal = InternalTopics.contains(name)
    }

    package func partition(_ index: Int32) -> Partition? {
        guard index >= 0, Int(index) < self.partitions.count else { return nil }
        return self.partitions[Int(index)]
    }
}

package enum InternalTopics {
    package static let consumerOffsets = "__consumer_offsets"
    package static let transactionState = "__transaction_state"
    package static let shareGroupState = "__share_group_state"

    package static func contains(_ name: String) -> Bool {
        name == self.consumerOffsets || name == self.transactionState || name == self.shareGroupState
    }
}

/// Every topic, for look-ups from the bytes of a request without a String: immutable, replaced as a whole.
package final class TopicTable: Sendable {
    package static let empty = TopicTable(topics: [])

    package let topics: [TopicEntry]
    /// Of all topics together.
    package let partitionCount: Int
    private let slots: [Int32]
    private let mask: Int
    /// Of the hashes, so that nobody can choose names that all fall into one place.
    private let seed = UInt64.random(in: .min ... .max)
    private let byID: [KafkaUUID: Int32]

    package init(topics: [TopicEntry]) {
        self.topics = topics
        self.partitionCount = topics.reduce(0) { $0 + $1.partitions.count }
        let seed = self.seed
        var size = 16
        while size < topics.count * 2 { size *= 2 }
        var slots = [Int32](repeating: -1, count: size)
        var byID: [KafkaUUID: Int32] = [:]
        byID.reserveCapacity(topics.count)
        for (index, topic) in topics.enumerated() {
            var slot = topic.nameBytes.withUnsafeBytes { Self.hash($0, seed) } & (size - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (size - 1) }
            slots[slot] = Int32(index)
            byID[topic.id] = Int32(index)
        }
        self.slots = slots
        self.mask = size - 1
        self.byID = byID
    }

    package func topic(named name: UnsafeRawBufferPointer) -> TopicEntry? {
        var slot = Self.hash(name, self.seed) & self.mask
        while true {
            let index = self.slots[slot]
            if index < 0 { return nil }
            let topic = self.topics[Int(index)]
            if topic.nameBytes.count == name.count,
                topic.nameBytes.withUnsafeBytes({ own in
                    guard let left = own.baseAddress, let right = name.baseAddress else { return true }
                    return memcmp(left, right, name.count) == 0
                })
            {
                return topic
            }
            slot = (slot + 1) & self.mask
        }
    }

    package func topic(named name: String) -> TopicEntry? {
        var name = name
        return name.withUTF8 { self.topic(named: UnsafeRawBufferPointer($0)) }
    }

    /// How many partitions one request may name. A client that asks for more than twice as many as there are has not
    /// seen our metadata; what an answer to it takes in memory would have no bound but the request's length.
    package var maxPartitionsOfRequest: Int { max(10_000, self.partitionCount * 2) }

    package func topic(id: KafkaUUID) -> TopicEntry? {
        self.byID[id].map { self.topics[Int($0)] }
    }

    /// FNV-1a with a final mix, from a seed of this table's own.
    private static func hash(_ bytes: UnsafeRawBufferPointer, _ seed: UInt64) -> Int {
        var hash = seed
        for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        hash ^= hash >> 32
        return Int(truncatingIfNeeded: hash & 0x7fff_ffff)
    }
}
