import KafkaMessages
import KafkaPrimitives

/// Offsets that were committed in transactions which have not ended (KIP-98, KIP-447): who asks for stable offsets is
/// told to wait, who does not sees what was committed before.
package struct PendingOffsets: Sendable {
    /// By producer id.
    package private(set) var producers: [Int64: CommittedOffsets] = [:]
    /// Who has something pending for a partition; no empty ones.
    private var byPartition: [String: [String: [Int32: Set<Int64>]]] = [:]

    package var isEmpty: Bool { self.producers.isEmpty }

    package func contains(_ group: String) -> Bool { self.byPartition[group] != nil }

    package func contains(_ group: String, _ topic: String, _ partition: Int32) -> Bool {
        !self.producers.isEmpty && self.byPartition[group]?[topic]?[partition] != nil
    }

    /// Partitions of a group by topic, both in order.
    package func partitions(of group: String) -> [(topic: String, partition: Int32)] {
        (self.byPartition[group] ?? [:]).sorted { $0.key < $1.key }.flatMap { topic, partitions in
            partitions.keys.sorted().map { (topic, $0) }
        }
    }

    /// Groups with something pending.
    package var groups: [String] { Array(self.byPartition.keys) }

    mutating func set(
        _ producerID: Int64, _ group: String, _ topic: String, _ partition: Int32, _ committed: CommittedOffset
    ) {
        self.producers[producerID, default: CommittedOffsets()].set(group, topic, partition, committed)
        self.byPartition[group, default: [:]][topic, default: [:]][partition, default: []].insert(producerID)
    }

    /// A tombstone takes what is pending along.
    mutating func remove(_ group: String, _ topic: String, _ partition: Int32) {
        for producerID in self.byPartition[group]?[topic]?[partition] ?? [] {
            self.producers[producerID]?.remove(group, topic, partition)
            if self.producers[producerID]?.count == 0 { self.producers[producerID] = nil }
        }
        self.forget(group, topic, partition, nil)
    }

    /// The transaction of a producer has ended: what it had pending.
    mutating func end(_ producerID: Int64) -> CommittedOffsets? {
        guard let offsets = self.producers.removeValue(forKey: producerID) else { return nil }
        for group in offsets.groups {
            for at in offsets.partitions(of: group) { self.forget(group, at.topic, at.partition, producerID) }
        }
        return offsets
    }

    private mutating func forget(_ group: String, _ topic: String, _ partition: Int32, _ producerID: Int64?) {
        if let producerID {
            self.byPartition[group]?[topic]?[partition]?.remove(producerID)
            guard self.byPartition[group]?[topic]?[partition]?.isEmpty == true else { return }
        }
        self.byPartition[group]?[topic]?[partition] = nil
        if self.byPartition[group]?[topic]?.isEmpty == true { self.byPartition[group]?[topic] = nil }
        if self.byPartition[group]?.isEmpty == true { self.byPartition[group] = nil }
    }
}

extension GroupCoordinatorShard {
    /// - Parameter producerID: of a record in a transaction, which counts when a marker says so.
    mutating func replay(
        offset value: OffsetCommitValue?, _ groupID: String, _ topic: String, _ partition: Int32, recordOffset: Int64,
        producerID: Int64?
    ) {
        guard let value else {
            self.offsets.remove(groupID, topic, partition)
            self.pendingOffsets.remove(groupID, topic, partition)
            return
        }
        if self.groups[groupID] == nil, self.consumerGroups[groupID] == nil, self.otherGroups[groupID] == nil {
            // A group that only stores offsets (no member ever joined) has no record of its own.
            self.groups[groupID] = ClassicGroup(groupID: groupID, nowMs: value.commitTimestamp)
        }
        var committed = CommittedOffset(value)
        committed.recordOffset = recordOffset
        if let producerID {
            self.pendingOffsets.set(producerID, groupID, topic, partition, committed)
        } else {
            self.offsets.set(groupID, topic, partition, committed)
        }
    }

    /// The marker of a transaction: what it committed counts from now on, unless something newer was committed since.
    package mutating func replayEndOfTransaction(producerID: Int64, isCommitted: Bool) {
        guard let ended = self.pendingOffsets.end(producerID), isCommitted else { return }
        for group in ended.groups {
            for at in ended.partitions(of: group) {
                let before = self.offsets[group, at.topic, at.partition]?.recordOffset ?? -1
                if at.committed.recordOffset > before {
                    self.offsets.set(group, at.topic, at.partition, at.committed)
                }
            }
        }
    }
}
