import KafkaRecords

/// Timestamps of the records of one batch.
enum BatchTimestamps {
    /// The first record at or after `start` with a timestamp of at least `timestamp`; nil where there is none, or where
    /// the batch cannot be read.
    static func first(in bytes: [UInt8], timestamp: Int64, from start: Int64) -> (timestamp: Int64, offset: Int64)? {
        bytes.withUnsafeBytes { bytes in
            let scratch = DecompressionScratch()
            guard var records = try? RecordBatchIterator(bytes, scratch: scratch, checkCRC: false) else { return nil }
            while let record = try? records.next() {
                if record.timestamp >= timestamp && record.offset >= start { return (record.timestamp, record.offset) }
            }
            return nil
        }
    }
}
