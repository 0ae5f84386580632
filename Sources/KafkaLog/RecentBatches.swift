/// Where the newest batches of the active segment begin, so that a read near the log's end needs no look into a file.
/// Empty until the first append: an idle partition pays nothing for it.
struct RecentBatches: Sendable {
    struct Batch: Sendable {
        /// Of the batch's base offset, from the segment's.
        var relativeOffset: Int32
        var position: Int32
    }

    private static let capacity = 64

    private var batches: [Batch] = []
    /// Batches ever added; the newest is at `(added - 1) % capacity`.
    private var added = 0

    private var count: Int { self.batches.count }

    /// The `index`th oldest of those kept.
    private func at(_ index: Int) -> Batch {
        self.batches[self.added > Self.capacity ? (self.added + index) & (Self.capacity - 1) : index]
    }

    mutating func append(relativeOffset: Int32, position: Int32) {
        let batch = Batch(relativeOffset: relativeOffset, position: position)
        if self.batches.count < Self.capacity {
            self.batches.append(batch)
        } else {
            self.batches[self.added & (Self.capacity - 1)] = batch
        }
        self.added += 1
    }

    mutating func removeAll() {
        self.batches = []
        self.added = 0
    }

    /// The last batch that begins at or before an offset; nil where older batches would have to be known.
    func batch(atOrBefore relativeOffset: Int) -> Batch? {
        self.last { Int($0.relativeOffset) <= relativeOffset }
    }

    /// The last batch that begins at or before a position.
    func batch(atOrBeforePosition position: Int) -> Batch? {
        self.last { Int($0.position) <= position }
    }

    private func last(where isBelow: (Batch) -> Bool) -> Batch? {
        var low = 0
        var high = self.count
        while low < high {
            let middle = (low + high) / 2
            if isBelow(self.at(middle)) { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : self.at(low - 1)
    }
}

/// Where the last reads ended: a consumer comes back for the offset that follows.
struct ReadEnds: Sendable {
    struct End: Sendable {
        var segment: Int64
        var offset: Int64
        var position: Int
    }

    private var ends = (
        End(segment: -1, offset: -1, position: 0), End(segment: -1, offset: -1, position: 0),
        End(segment: -1, offset: -1, position: 0), End(segment: -1, offset: -1, position: 0)
    )
    private var next = 0

    func position(segment: Int64, offset: Int64) -> Int? {
        if self.ends.0.offset == offset, self.ends.0.segment == segment { return self.ends.0.position }
        if self.ends.1.offset == offset, self.ends.1.segment == segment { return self.ends.1.position }
        if self.ends.2.offset == offset, self.ends.2.segment == segment { return self.ends.2.position }
        if self.ends.3.offset == offset, self.ends.3.segment == segment { return self.ends.3.position }
        return nil
    }

    mutating func add(segment: Int64, offset: Int64, position: Int) {
        if self.position(segment: segment, offset: offset) != nil { return }
        let end = End(segment: segment, offset: offset, position: position)
        switch self.next {
        case 0: self.ends.0 = end
        case 1: self.ends.1 = end
        case 2: self.ends.2 = end
        default: self.ends.3 = end
        }
        self.next = (self.next + 1) & 3
    }

    mutating func removeAll() { self = ReadEnds() }
}
