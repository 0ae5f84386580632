import KafkaPrimitives

/// The offsets of one group: a dense array of 48 bytes each, and, once there are more than a few, a hash table of four
/// bytes a slot that finds them. A million offsets are a usual number, so each byte counts.
///
/// Topics and topic ids are numbers here; `CommittedOffsets` knows their names.
struct GroupOffsets: Sendable {
    struct Entry: Sendable {
        var offset: Int64
        var recordOffset: Int64
        var commitTimestampMs: Int64
        var topic: UInt32
        var partition: Int32
        var leaderEpoch: Int32
        /// 0: unknown.
        var topicID: UInt32
        /// Nil for most.
        var details: Details?
    }

    /// What few commits have.
    final class Details: Sendable {
        let metadata: String
        let expireTimestampMs: Int64?

        init(metadata: String, expireTimestampMs: Int64?) {
            self.metadata = metadata
            self.expireTimestampMs = expireTimestampMs
        }
    }

    /// So many are looked through one by one.
    private static let scanned = 12

    private(set) var entries: [Entry] = []
    /// Of a power of two slots: 0 where it is free, or the number of an entry and one. Empty while there are few entries.
    private var slots: [UInt32] = []

    var isEmpty: Bool { self.entries.isEmpty }
    var count: Int { self.entries.count }

    func index(_ topic: UInt32, _ partition: Int32) -> Int? {
        if self.slots.isEmpty {
            return self.entries.firstIndex { $0.topic == topic && $0.partition == partition }
        }
        let slot = self.slot(topic, partition)
        return self.slots[slot] == 0 ? nil : Int(self.slots[slot] - 1)
    }

    /// Returns the entry that was there.
    mutating func set(_ entry: Entry) -> Entry? {
        if self.slots.isEmpty {
            if let index = self.index(entry.topic, entry.partition) { return self.replace(index, by: entry) }
            self.append(entry)
            if self.entries.count > Self.scanned { self.rebuildSlots(4 * Self.scanned) }
            return nil
        }
        let slot = self.slot(entry.topic, entry.partition)
        if self.slots[slot] != 0 { return self.replace(Int(self.slots[slot] - 1), by: entry) }
        self.append(entry)
        self.slots[slot] = UInt32(self.entries.count)
        // At most three of four slots are taken.
        if self.entries.count > self.slots.count / 4 * 3 { self.rebuildSlots(2 * self.slots.count) }
        return nil
    }

    /// Returns the entry that was there.
    mutating func remove(_ topic: UInt32, _ partition: Int32) -> Entry? {
        guard let index = self.index(topic, partition) else { return nil }
        let last = self.entries.count - 1
        if !self.slots.isEmpty {
            // While all entries are where the slots say they are.
            self.free(self.slot(topic, partition))
            if index != last {
                let moved = self.entries[last]
                self.slots[self.slot(moved.topic, moved.partition)] = UInt32(index + 1)
            }
        }
        self.entries.swapAt(index, last)
        let removed = self.entries.removeLast()
        self.giveBackRoom()
        return removed
    }

    // MARK: Inside

    private mutating func replace(_ index: Int, by entry: Entry) -> Entry {
        let old = self.entries[index]
        self.entries[index] = entry
        return old
    }

    /// Arrays double when they grow; these grow by a quarter.
    private mutating func append(_ entry: Entry) {
        let count = self.entries.count
        if count == self.entries.capacity { self.entries.reserveCapacity(count + max(2, count / 4)) }
        self.entries.append(entry)
    }

    private mutating func giveBackRoom() {
        let count = self.entries.count
        guard self.entries.capacity > 4 * max(count, Self.scanned) else { return }
        var smaller: [Entry] = []
        smaller.reserveCapacity(2 * count)
        smaller += self.entries
        self.entries = smaller
        if count <= Self.scanned {
            self.slots = []
        } else if self.slots.count > 8 * count {
            self.rebuildSlots(4 * count)
        }
    }

    /// The slot of an entry, or the free one in which it belongs.
    private func slot(_ topic: UInt32, _ partition: Int32) -> Int {
        let mask = self.slots.count - 1
        var slot = Self.hash(topic, partition) & mask
        while self.slots[slot] != 0 {
            let entry = self.entries[Int(self.slots[slot] - 1)]
            if entry.partition == partition && entry.topic == topic { break }
            slot = (slot + 1) & mask
        }
        return slot
    }

    /// Frees a slot, and moves those behind it that would not be found any more.
    private mutating func free(_ freed: Int) {
        let mask = self.slots.count - 1
        var hole = freed
        var slot = (freed + 1) & mask
        while self.slots[slot] != 0 {
            let entry = self.entries[Int(self.slots[slot] - 1)]
            let home = Self.hash(entry.topic, entry.partition) & mask
            // Whether the hole lies on its way from where it belongs to where it is.
            if (slot - home) & mask >= (slot - hole) & mask {
                self.slots[hole] = self.slots[slot]
                hole = slot
            }
            slot = (slot + 1) & mask
        }
        self.slots[hole] = 0
    }

    private mutating func rebuildSlots(_ least: Int) {
        var size = 16
        while size < least { size *= 2 }
        let mask = size - 1
        self.slots = [UInt32](repeating: 0, count: size)
        for (index, entry) in self.entries.enumerated() {
            var slot = Self.hash(entry.topic, entry.partition) & mask
            while self.slots[slot] != 0 { slot = (slot + 1) & mask }
            self.slots[slot] = UInt32(index + 1)
        }
    }

    /// Every bit of both has a say in every bit of the result.
    private static func hash(_ topic: UInt32, _ partition: Int32) -> Int {
        var bits = UInt64(topic) << 32 | UInt64(UInt32(bitPattern: partition))
        bits = (bits ^ bits >> 33) &* 0xff51_afd7_ed55_8ccd
        bits = (bits ^ bits >> 33) &* 0xc4ce_b9fe_1a85_ec53
        return Int(truncatingIfNeeded: bits ^ bits >> 33)
    }
}
