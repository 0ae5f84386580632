extension LocalMetadataStore {
    /// Keeps nothing beyond the process: for tests.
    package static func inMemory(historyLimit: Int = 16_384) -> LocalMetadataStore {
        LocalMetadataStore(backend: MemoryBackend(), historyLimit: historyLimit)
    }
}

private final class MemoryBackend: MetadataBackend {
    private(set) var revision: Int64 = 0
    private var entries: [MetadataEntry] = []
    private var saved: [MetadataEntry] = []

    /// Where `key` is or belongs.
    private func index(_ key: MetadataKey) -> Int {
        var low = 0
        var high = self.entries.count
        while low < high {
            let middle = (low + high) / 2
            if self.entries[middle].key < key { low = middle + 1 } else { high = middle }
        }
        return low
    }

    func get(_ key: MetadataKey) -> MetadataEntry? {
        let index = self.index(key)
        return index < self.entries.count && self.entries[index].key == key ? self.entries[index] : nil
    }

    func entries(_ range: MetadataRange, limit: Int?) -> [MetadataEntry] {
        let start = self.index(range.start)
        let end = max(start, range.end.map { self.index($0) } ?? self.entries.count)
        return Array(self.entries[start..<end].prefix(limit ?? Int.max))
    }

    func begin() { self.saved = self.entries }

    func put(_ entry: MetadataEntry) {
        let index = self.index(entry.key)
        if index < self.entries.count, self.entries[index].key == entry.key {
            self.entries[index] = entry
        } else {
            self.entries.insert(entry, at: index)
        }
    }

    func delete(_ key: MetadataKey) {
        let index = self.index(key)
        if index < self.entries.count, self.entries[index].key == key { self.entries.remove(at: index) }
    }

    func commit(revision: Int64) { self.revision = revision }
    func rollback() { self.entries = self.saved }
    func close() {}
    func leaveAsItIs() {}
}
