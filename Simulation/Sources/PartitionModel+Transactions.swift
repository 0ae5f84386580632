/// What the batches tell of transactions.
extension PartitionModel {
    enum Outcome: Equatable {
        case open
        case committed
        case aborted
    }

    /// A transaction that was aborted, by its own batches.
    struct AbortedRange: Equatable {
        var producerID: Int64
        /// The base offsets of its batches.
        var batches: [Int64]
        /// Of its marker.
        var last: Int64
    }

    /// All before it is decided and below the high watermark.
    var lastStableOffset: Int64 {
        var first = Int64.max
        for producer in self.producers.values where producer.openFrom >= 0 { first = min(first, producer.openFrom) }
        for one in self.ended where one.last >= self.highWatermark { first = min(first, one.first) }
        return min(max(first, self.start), self.highWatermark)
    }

    /// How each transactional batch's transaction ended, by the index of the batch; nil of others.
    func outcomes() -> (outcomes: [Outcome?], aborted: [AbortedRange]) {
        var outcomes = [Outcome?](repeating: nil, count: self.batches.count)
        var open: [Int64: [Int]] = [:]
        var aborted: [AbortedRange] = []
        for (index, batch) in self.batches.enumerated() where batch.isTransactional {
            if !batch.isControl {
                outcomes[index] = .open
                open[batch.producerID, default: []].append(index)
            } else if let marker = batch.marker, let batches = open.removeValue(forKey: batch.producerID) {
                for index in batches { outcomes[index] = marker.isAbort ? .aborted : .committed }
                if marker.isAbort {
                    aborted.append(
                        AbortedRange(
                            producerID: batch.producerID, batches: batches.map { self.batches[$0].base },
                            last: batch.last))
                }
            }
        }
        return (outcomes, aborted)
    }
}
