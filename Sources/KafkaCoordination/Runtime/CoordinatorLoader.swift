import KafkaPrimitives
import KafkaRecords

/// Rebuilds a shard from its partition, on a thread of the pool: nobody else sees the shard until the runtime is
/// given it. Memory is the shard's own and one batch.
package struct CoordinatorLoader<Shard: CoordinatorShard>: Sendable {
    package private(set) var shard: Shard
    package private(set) var recordCount = 0
    /// Batches and records that could not be used, each with its offset; the rest is loaded. The first hundred.
    package private(set) var faults: [(offset: Int64, description: String)] = []
    package private(set) var faultCount = 0
    /// The offset after the last batch seen.
    package private(set) var nextOffset: Int64 = 0

    package init(shard: Shard) {
        self.shard = shard
    }

    /// Replays the whole batches at the start of `bytes`, and says how many bytes that were.
    package mutating func replay(_ bytes: UnsafeRawBufferPointer, scratch: DecompressionScratch) -> Int {
        var slices = RecordBatchSlices(bytes)
        while true {
            do {
                guard let (header, batch) = try slices.next() else { break }
                self.nextOffset = header.lastOffset &+ 1
                do { try self.replay(header, batch, scratch) } catch {
                    self.fault(header.baseOffset, "batch: \(error)")
                }
            } catch {
                // No length to go on by.
                self.fault(self.nextOffset, "batch header: \(error)")
                break
            }
        }
        return bytes.count - slices.remainingBytes
    }

    private mutating func replay(
        _ header: RecordBatchHeader, _ batch: UnsafeRawBufferPointer, _ scratch: DecompressionScratch
    ) throws(RecordBatchError) {
        var records = try RecordBatchIterator(batch, scratch: scratch)
        while let view = try records.next() {
            guard let key = view.key else {
                self.fault(view.offset, "record without a key")
                continue
            }
            if header.isControl {
                if let marker = ControlRecordType(key: key), marker == .commit || marker == .abort {
                    self.shard.replayEndOfTransaction(
                        producerID: header.producerID, isCommitted: marker == .commit)
                }
                continue
            }
            self.recordCount += 1
            let producerID = header.isTransactional ? header.producerID : nil
            if !self.shard.replay(key: key, value: view.value, offset: view.offset, producerID: producerID) {
                self.fault(view.offset, "record that cannot be read")
            }
        }
    }

    /// Offsets that the log cannot give: what they held is lost, and said to be; the rest is loaded.
    package mutating func skip(_ offsets: Range<Int64>, _ description: String) {
        self.nextOffset = max(self.nextOffset, offsets.upperBound)
        self.fault(offsets.lowerBound, "\(description), up to offset \(offsets.upperBound &- 1)")
    }

    private mutating func fault(_ offset: Int64, _ description: String) {
        self.faultCount += 1
        if self.faults.count < 100 { self.faults.append((offset, description)) }
    }
}
