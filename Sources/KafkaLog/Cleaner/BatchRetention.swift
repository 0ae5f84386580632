import KafkaRecords

/// What is kept of a batch, before its records are looked at.
enum BatchRetention: Equatable {
    /// Nothing, whatever is in it.
    case delete
    /// What is kept of its records; nothing where none is.
    case deleteEmpty
    /// What is kept of its records; its header where none is.
    case retainEmpty
}

/// The rules of one cleaning.
struct RetentionRules: Sendable {
    /// When the cleaning began, by the wall clock, in ms.
    var now: Int64
    /// delete.retention.ms
    var deleteRetentionMs: Int64
    /// Where the cleanable part of the log ends. The batch that ends there stays, so that its offsets are not lost.
    var upperBoundOffset: Int64
    /// The producers that the log remembers.
    var producers: [Int64: ProducerStateEntry]

    struct Decision: Equatable {
        var retention: BatchRetention
        /// None of its records stays.
        var dropsRecords: Bool
        /// It is a marker that is not needed any more; it gets a delete horizon unless it has one.
        var isUnneededMarker: Bool
    }

    /// - Parameter isDiscardable: of an aborted transaction, or a marker without batches.
    func decide(_ header: RecordBatchHeader, isDiscardable: Bool) -> Decision {
        var drops = isDiscardable
        if header.isControl {
            // As tombstones, markers stay for a while: a reader may be between the transaction's begin and its end.
            drops = isDiscardable && header.hasDeleteHorizon && header.baseTimestamp <= self.now
        }
        let retention: BatchRetention
        if self.isLastOfProducer(header) || header.lastOffset &+ 1 == self.upperBoundOffset {
            retention = .retainEmpty
        } else {
            retention = drops ? .delete : .deleteEmpty
        }
        return Decision(
            retention: retention, dropsRecords: drops, isUnneededMarker: isDiscardable && header.isControl)
    }

    /// A producer's last batch has its last sequence number and stays; without any, its marker, which has its epoch.
    private func isLastOfProducer(_ header: RecordBatchHeader) -> Bool {
        guard header.hasProducerID, let entry = self.producers[header.producerID] else { return false }
        if let last = entry.last { return header.lastOffset == last.lastOffset }
        return header.isControl && header.producerEpoch == entry.epoch
    }

    /// Whether a tombstone in this batch has been there for long enough.
    @inline(__always)
    func areTombstonesDue(_ header: RecordBatchHeader) -> Bool {
        header.hasDeleteHorizon && self.now >= header.baseTimestamp
    }
}
