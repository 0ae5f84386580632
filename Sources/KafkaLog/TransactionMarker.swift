import KafkaRecords

/// What a control batch says about a producer's transaction: that it ends here, and how.
struct TransactionMarker: Sendable, Equatable {
    var isAbort: Bool
    /// Of the coordinator that decided.
    var coordinatorEpoch: Int32

    /// Markers are 78 bytes; a control batch of more than this is none.
    static let maxBatchSize = 4096

    init(isAbort: Bool, coordinatorEpoch: Int32) {
        self.isAbort = isAbort
        self.coordinatorEpoch = coordinatorEpoch
    }

    /// The marker in a whole batch. Nil where it has none: a data batch, a control batch of another kind, or one that
    /// compaction has emptied, which says nothing about a transaction any more.
    init?(batch: UnsafeRawBufferPointer, _ header: RecordBatchHeader) {
        guard header.isControl, header.recordsCount > 0, header.sizeInBytes <= Self.maxBatchSize,
            header.sizeInBytes <= batch.count,
            var records = try? RecordBatchIterator(batch, scratch: DecompressionScratch(), checkCRC: false),
            let record = try? records.next(), let key = record.key, let type = ControlRecordType(key: key),
            type == .abort || type == .commit, let value = record.value, let marker = EndTransactionMarker(value: value)
        else { return nil }
        self.init(isAbort: type == .abort, coordinatorEpoch: marker.coordinatorEpoch)
    }
}

extension SegmentView {
    /// The marker in a control batch of this segment, by its header; nil where it has none.
    func marker(at position: Int, _ header: RecordBatchHeader) throws(IOError) -> TransactionMarker? {
        guard header.isControl, header.sizeInBytes <= TransactionMarker.maxBatchSize else { return nil }
        var bytes = [UInt8](repeating: 0, count: header.sizeInBytes)
        guard try FileSystem.readInto(&bytes, self.file, at: position) == bytes.count else { return nil }
        return bytes.withUnsafeBytes { TransactionMarker(batch: $0, header) }
    }
}
