import KafkaRecords

/// A transaction with records in a log and no marker yet.
struct OpenTransaction: Sendable, Equatable {
    var firstOffset: Int64
    var producerID: Int64
}

/// A transaction whose marker is not below the high watermark: until it is, nobody is told how it ended.
struct EndedTransaction: Sendable, Equatable {
    var firstOffset: Int64
    /// Of its marker.
    var lastOffset: Int64
}

extension ProducerStateManager {
    mutating func begin(_ producerID: Int64, at offset: Int64) {
        var at = self.openTransactions.count
        while at > 0, self.openTransactions[at - 1].firstOffset > offset { at -= 1 }
        self.openTransactions.insert(OpenTransaction(firstOffset: offset, producerID: producerID), at: at)
    }

    /// - Returns: the entry for the transaction index where it was aborted.
    mutating func end(
        _ transaction: OpenTransaction, with marker: TransactionMarker, lastOffset: Int64, _ highWatermark: Int64
    ) -> AbortedTransaction? {
        self.openTransactions.removeAll { $0 == transaction }
        if !self.endedTransactions.isEmpty { self.endedTransactions.removeAll { $0.lastOffset < highWatermark } }
        if lastOffset >= highWatermark {
            self.endedTransactions.append(
                EndedTransaction(firstOffset: transaction.firstOffset, lastOffset: lastOffset))
        }
        guard marker.isAbort else { return nil }
        return AbortedTransaction(
            producerID: transaction.producerID, firstOffset: transaction.firstOffset, lastOffset: lastOffset,
            lastStableOffset: self.openTransactions.first?.firstOffset ?? lastOffset + 1)
    }

    /// Whether markers have been seen of any producer.
    var haveEndedTransactions: Bool { self.producers.values.contains { $0.coordinatorEpoch >= 0 } }

    /// The first offset of a transaction that is open, or whose marker is not below the high watermark; nil where there
    /// is none.
    func firstUnstableOffset(highWatermark: Int64) -> Int64? {
        var first = self.openTransactions.first?.firstOffset
        for ended in self.endedTransactions where ended.lastOffset >= highWatermark {
            first = min(first ?? .max, ended.firstOffset)
        }
        return first
    }
}
