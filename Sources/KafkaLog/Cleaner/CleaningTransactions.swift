import KafkaRecords

/// What a walk over a log from its begin knows of the transactions: which batches were aborted, which markers are still
/// needed. A marker is needed as long as batches of its transaction are in the log.
struct CleaningTransactions {
    /// Aborted transactions that the walk has not come to, by first offset, the last first.
    private var ahead: [AbortedTransaction] = []
    /// Those it is in, and whether it has met batches of them.
    private var aborted: [Int64: (transaction: AbortedTransaction, hasBatches: Bool)] = [:]
    /// Producers with batches of a transaction that will be committed.
    private var committed: Set<Int64> = []
    /// Aborted transactions whose markers stay, for the new segment's index, in the order of their markers.
    private(set) var kept: [AbortedTransaction] = []

    /// Transactions of the part of the log that comes next.
    mutating func add(_ transactions: [AbortedTransaction]) {
        guard !transactions.isEmpty else { return }
        self.ahead.append(contentsOf: transactions)
        self.ahead.sort { $0.firstOffset > $1.firstOffset }
    }

    /// Takes what the segment's index gets.
    mutating func takeKept() -> [AbortedTransaction] {
        defer { self.kept = [] }
        return self.kept
    }

    /// Whether a batch of records belongs to a transaction that was aborted.
    mutating func isAborted(_ header: RecordBatchHeader) -> Bool {
        self.advance(to: header.lastOffset)
        guard header.isTransactional else { return false }
        if self.aborted[header.producerID] != nil {
            self.aborted[header.producerID]?.hasBatches = true
            return true
        }
        self.committed.insert(header.producerID)
        return false
    }

    /// Whether a marker has no batch left that it would be needed for.
    /// - Parameter type: nil where the batch of markers is empty.
    mutating func isMarkerUnneeded(_ header: RecordBatchHeader, _ type: ControlRecordType?) -> Bool {
        self.advance(to: header.lastOffset)
        switch type {
        case .abort:
            guard let ended = self.aborted.removeValue(forKey: header.producerID), ended.hasBatches else { return true }
            self.kept.append(ended.transaction)
            return false
        case .commit:
            return self.committed.remove(header.producerID) == nil
        case nil:
            return true
        default:
            return false
        }
    }

    private mutating func advance(to offset: Int64) {
        while let next = self.ahead.last, next.firstOffset <= offset {
            self.ahead.removeLast()
            if self.aborted[next.producerID] == nil { self.aborted[next.producerID] = (next, false) }
        }
    }
}
