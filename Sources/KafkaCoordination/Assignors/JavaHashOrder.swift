import KafkaPrimitives

/// The order in which Java's `HashMap` and `HashSet` are walked. Kafka's uniform assignor goes through members,
/// topics and partitions in it, and whoever comes first keeps or gets the partition; so the same input has the same
/// answer here.
///
/// Keys are walked by bucket, which is the low bits of their hash (with the high half folded in), and within a bucket
/// in the order in which they were put in.
enum JavaHashOrder {
    /// How many buckets a map of `count` entries has that was made empty and grew.
    static func grownCapacity(_ count: Int) -> Int {
        var capacity = 16
        while count * 4 > capacity * 3 { capacity *= 2 }
        return capacity
    }

    /// How many buckets a map has that was made as a copy of one with `count` entries; a set has 16 or more.
    static func copiedCapacity(_ count: Int, atLeast least: Int = 1) -> Int {
        let wanted = max(count * 4 / 3 + 1, least)
        var capacity = 1
        while capacity < wanted { capacity *= 2 }
        return capacity
    }

    /// The positions of the keys with these hashes in the order of a map of `capacity` buckets, a power of two.
    static func positions(of hashes: [UInt32], capacity: Int) -> [Int] {
        let mask = UInt32(truncatingIfNeeded: capacity &- 1)
        return hashes.enumerated()
            .map { index, hash in UInt64((hash ^ hash >> 16) & mask) << 32 | UInt64(index) }
            .sorted()
            .map { Int($0 & 0xffff_ffff) }
    }

    /// Member ids as the map of them that an assignor is given has them: grown, and then copied once.
    static func members(_ ids: some Collection<String>) -> [String] {
        let grown = Self.sorted(ids.sorted(), by: Self.hash, capacity: Self.grownCapacity(ids.count))
        return Self.sorted(grown, by: Self.hash, capacity: Self.copiedCapacity(ids.count))
    }

    /// The topics that a group subscribes to, a set.
    static func subscribedTopics(_ ids: some Collection<KafkaUUID>) -> [KafkaUUID] {
        Self.sorted(ids.sorted(), by: Self.hash, capacity: Self.copiedCapacity(ids.count, atLeast: 16))
    }

    /// The topics of which a member has partitions, a map.
    static func assignedTopics(_ ids: some Collection<KafkaUUID>) -> [KafkaUUID] {
        if ids.count < 2 { return Array(ids) }
        return Self.sorted(ids.sorted(), by: Self.hash, capacity: Self.copiedCapacity(ids.count))
    }

    /// The partitions of a topic that a member has, a set.
    static func partitions(_ partitions: [Int32]) -> [Int32] {
        Self.sorted(
            partitions, by: { UInt32(bitPattern: $0) },
            capacity: Self.copiedCapacity(partitions.count, atLeast: 16))
    }

    private static func sorted<Key>(_ keys: [Key], by hash: (Key) -> UInt32, capacity: Int) -> [Key] {
        if keys.count < 2 { return keys }
        return Self.positions(of: keys.map(hash), capacity: capacity).map { keys[$0] }
    }

    /// `String.hashCode`: over UTF-16.
    static func hash(_ string: String) -> UInt32 {
        string.utf16.reduce(0) { $0 &* 31 &+ UInt32($1) }
    }

    /// `Uuid.hashCode`.
    static func hash(_ id: KafkaUUID) -> UInt32 {
        let both = id.high ^ id.low
        return UInt32(truncatingIfNeeded: both ^ both >> 32)
    }
}
