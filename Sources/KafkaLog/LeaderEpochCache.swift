/// Leader epochs and the offsets at which they began (KIP-101), kept in `leader-epoch-checkpoint`. A value; who holds it
/// writes the file when `needsWrite` says so.
struct LeaderEpochCache: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        var epoch: Int32
        var startOffset: Int64
    }

    private(set) var entries: [Entry] = []
    var needsWrite = false

    init(entries: [Entry] = []) { self.entries = entries }

    var latestEpoch: Int32? { self.entries.last?.epoch }

    /// A batch of `epoch` begins at `startOffset`. Older epochs are no news; a newer one at or before the starts of others
    /// replaces them.
    mutating func assign(epoch: Int32, startOffset: Int64) {
        guard epoch >= 0 else { return }
        if let last = self.entries.last, last.epoch >= epoch { return }
        while let last = self.entries.last, last.startOffset >= startOffset { self.entries.removeLast() }
        self.entries.append(Entry(epoch: epoch, startOffset: startOffset))
        self.needsWrite = true
    }

    /// The log was cut at `endOffset`.
    mutating func truncateFromEnd(_ endOffset: Int64) {
        while let last = self.entries.last, last.startOffset >= endOffset {
            self.entries.removeLast()
            self.needsWrite = true
        }
    }

    /// The log now begins at `startOffset`: the epoch in force there begins there.
    mutating func truncateFromStart(_ startOffset: Int64) {
        guard let index = self.entries.lastIndex(where: { $0.startOffset <= startOffset }) else { return }
        if index == 0 && self.entries[0].startOffset == startOffset { return }
        self.entries.removeFirst(index)
        self.entries[0].startOffset = startOffset
        self.needsWrite = true
    }

    mutating func removeAll() {
        guard !self.entries.isEmpty else { return }
        self.entries = []
        self.needsWrite = true
    }

    /// The largest epoch at or below `epoch`, and where the one after it begins; (-1, -1) where that is not known.
    func endOffset(forEpoch epoch: Int32, logEndOffset: Int64) -> (epoch: Int32, endOffset: Int64) {
        guard epoch >= 0, let last = self.entries.last else { return (-1, -1) }
        if epoch == last.epoch { return (epoch, logEndOffset) }
        guard let higher = self.entries.firstIndex(where: { $0.epoch > epoch }) else { return (-1, -1) }
        // Before the first epoch known: what is asked for is its start.
        if higher == 0 { return (epoch, self.entries[0].startOffset) }
        return (self.entries[higher - 1].epoch, self.entries[higher].startOffset)
    }

    /// The epoch of the batch that holds an offset.
    func epoch(forOffset offset: Int64) -> Int32? {
        self.entries.last { $0.startOffset <= offset }?.epoch
    }

    // MARK: file

    var fileContents: [UInt8] {
        Checkpoint.encode(self.entries.map { "\($0.epoch) \($0.startOffset)" })
    }

    /// Nil where the file is damaged.
    init?(fileContents: [UInt8]) {
        guard let lines = Checkpoint.decode(fileContents) else { return nil }
        for line in lines {
            guard line.count == 2, let epoch = Int32(line[0]), let start = Int64(line[1]), epoch >= 0, start >= 0 else {
                return nil
            }
            if let last = self.entries.last, last.epoch >= epoch || last.startOffset > start { return nil }
            self.entries.append(Entry(epoch: epoch, startOffset: start))
        }
    }
}
