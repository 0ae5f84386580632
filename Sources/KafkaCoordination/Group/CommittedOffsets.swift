import KafkaPrimitives

/// The offsets of many groups, by group, topic and partition.
///
/// Of a million offsets the names of topics and their ids are mostly the same few: they are kept once (`InternTable`), and
/// `GroupOffsets` has numbers for them.
package struct CommittedOffsets: Sendable {
    /// One of a group's offsets.
    package struct Partition: Sendable, Equatable {
        package var topic: String
        package var partition: Int32
        package var committed: CommittedOffset
    }

    package private(set) var count = 0
    private var byGroup: [String: GroupOffsets] = [:]
    private var topics = InternTable<String>()
    private var topicIDs = InternTable<KafkaUUID>()

    package init() {}

    package var isEmpty: Bool { self.count == 0 }

    /// The ids of the groups that have any.
    package var groups: [String] { Array(self.byGroup.keys) }

    package func contains(_ group: String) -> Bool { self.byGroup[group] != nil }

    /// How many a group has.
    package func count(of group: String) -> Int { self.byGroup[group]?.count ?? 0 }

    package subscript(_ group: String, _ topic: String, _ partition: Int32) -> CommittedOffset? {
        guard let topic = self.topics.number(of: topic), let offsets = self.byGroup[group],
            let index = offsets.index(topic, partition)
        else { return nil }
        return self.committed(offsets.entries[index])
    }

    /// Those of a group, by topic and partition.
    package func partitions(
        of group: String, where isIncluded: (Partition) -> Bool = { _ in true }
    ) -> [Partition] {
        guard let offsets = self.byGroup[group] else { return [] }
        return offsets.entries.compactMap { entry in
            let partition = Partition(
                topic: self.topics.value(of: entry.topic), partition: entry.partition,
                committed: self.committed(entry))
            return isIncluded(partition) ? partition : nil
        }.sorted { ($0.topic, $0.partition) < ($1.topic, $1.partition) }
    }

    /// The partitions of topics of which anybody has offsets, by group, topic and partition. One pass over all of them,
    /// where there are any.
    package func partitions(
        ofTopics topics: some Sequence<String>
    ) -> [(group: String, Partition)] {
        let numbers = Set(topics.compactMap { self.topics.number(of: $0) })
        guard !numbers.isEmpty else { return [] }
        var found: [(group: String, Partition)] = []
        for (group, offsets) in self.byGroup {
            for entry in offsets.entries where numbers.contains(entry.topic) {
                let topic = self.topics.value(of: entry.topic)
                found.append(
                    (group, Partition(topic: topic, partition: entry.partition, committed: self.committed(entry))))
            }
        }
        return found.sorted { ($0.group, $0.1.topic, $0.1.partition) < ($1.group, $1.1.topic, $1.1.partition) }
    }

    mutating func set(_ group: String, _ topic: String, _ partition: Int32, _ committed: CommittedOffset) {
        let details =
            committed.metadata.isEmpty && committed.expireTimestampMs == nil
            ? nil
            : GroupOffsets.Details(metadata: committed.metadata, expireTimestampMs: committed.expireTimestampMs)
        let entry = GroupOffsets.Entry(
            offset: committed.offset, recordOffset: committed.recordOffset,
            commitTimestampMs: committed.commitTimestampMs, topic: self.topics.take(topic), partition: partition,
            leaderEpoch: committed.leaderEpoch,
            topicID: committed.topicID == .zero ? 0 : self.topicIDs.take(committed.topicID) + 1, details: details)
        if let old = self.byGroup[group, default: GroupOffsets()].set(entry) {
            self.giveBack(old)
        } else {
            self.count += 1
        }
    }

    /// Returns whether it was there.
    @discardableResult
    mutating func remove(_ group: String, _ topic: String, _ partition: Int32) -> Bool {
        guard let topic = self.topics.number(of: topic), let removed = self.byGroup[group]?.remove(topic, partition)
        else { return false }
        self.count -= 1
        if self.byGroup[group]?.isEmpty == true { self.byGroup[group] = nil }
        self.giveBack(removed)
        return true
    }

    private mutating func giveBack(_ entry: GroupOffsets.Entry) {
        self.topics.giveBack(entry.topic)
        if entry.topicID != 0 { self.topicIDs.giveBack(entry.topicID - 1) }
    }

    private func committed(_ entry: GroupOffsets.Entry) -> CommittedOffset {
        var committed = CommittedOffset(
            offset: entry.offset, leaderEpoch: entry.leaderEpoch, metadata: entry.details?.metadata ?? "",
            commitTimestampMs: entry.commitTimestampMs, expireTimestampMs: entry.details?.expireTimestampMs,
            topicID: entry.topicID == 0 ? .zero : self.topicIDs.value(of: entry.topicID - 1))
        committed.recordOffset = entry.recordOffset
        return committed
    }
}

/// Numbers for values that are used many times over. A value that nobody uses any more is forgotten.
struct InternTable<Value: Hashable & Sendable>: Sendable {
    private var numbers: [Value: UInt32] = [:]
    private var values: [(value: Value, uses: Int)] = []
    private var free: [UInt32] = []
    /// What came last: mostly it comes again.
    private var last: UInt32?

    func number(of value: Value) -> UInt32? { self.numbers[value] }

    func value(of number: UInt32) -> Value { self.values[Int(number)].value }

    /// One use more.
    mutating func take(_ value: Value) -> UInt32 {
        if let last, self.values[Int(last)].value == value {
            self.values[Int(last)].uses += 1
            return last
        }
        let number: UInt32
        if let known = self.numbers[value] {
            number = known
            self.values[Int(known)].uses += 1
        } else if let reused = self.free.popLast() {
            number = reused
            self.values[Int(reused)] = (value, 1)
            self.numbers[value] = reused
        } else {
            number = UInt32(self.values.count)
            self.values.append((value, 1))
            self.numbers[value] = number
        }
        self.last = number
        return number
    }

    /// One use less.
    mutating func giveBack(_ number: UInt32) {
        self.values[Int(number)].uses -= 1
        guard self.values[Int(number)].uses == 0 else { return }
        self.numbers[self.values[Int(number)].value] = nil
        self.free.append(number)
        if self.last == number { self.last = nil }
    }
}
