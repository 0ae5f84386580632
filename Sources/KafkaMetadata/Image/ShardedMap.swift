/// A dictionary whose copies share all but what was changed: a change copies one shard of 64.
struct ShardedMap<Key: Hashable & Sendable, Value: Sendable>: Sendable {
    private static var shardCount: Int { 64 }
    private var shards: [[Key: Value]] = Array(repeating: [:], count: Self.shardCount)
    private(set) var count = 0

    private func shard(_ key: Key) -> Int { Int(UInt(bitPattern: key.hashValue) % UInt(Self.shardCount)) }

    subscript(key: Key) -> Value? {
        get { self.shards[self.shard(key)][key] }
        set {
            let shard = self.shard(key)
            let before = self.shards[shard].count
            self.shards[shard][key] = newValue
            self.count += self.shards[shard].count - before
        }
    }

    var values: some Sequence<Value> { self.shards.lazy.flatMap { $0.values } }
}
