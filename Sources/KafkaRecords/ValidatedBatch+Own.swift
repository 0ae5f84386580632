extension ValidatedBatch {
    /// A batch that this process has just built itself: there is nothing to check.
    /// - Returns: nil if the bytes do not begin with a header.
    package init?(own batch: UnsafeRawBufferPointer) {
        guard let header = RecordBatchHeader(batch) else { return nil }
        self.init(
            header: header, maxTimestamp: header.maxTimestamp, offsetOfMaxTimestampDelta: 0,
            recordCount: header.recordsCount, sizeInBytes: batch.count, needsRewrite: false)
    }
}
