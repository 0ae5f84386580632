/// Makes one batch of magic 2 out of records.
///
/// The base timestamp is the first record's, as in Kafka; with `deleteHorizon` it is that.
package struct RecordBatchBuilder: Sendable {
    private var header: RecordBatchHeader
    private let compression: CompressionType
    private let level: Int32?
    private let logAppendTime: Int64?
    private let deleteHorizon: Int64?
    /// Room for the header, then the records.
    private var bytes = [UInt8](repeating: 0, count: RecordBatchHeader.size)

    /// - Parameters:
    ///   - level: the codec's, nil: its default (`compression.gzip.level` and so on).
    ///   - logAppendTime: makes the batch's timestamp type LogAppendTime, with this time in ms.
    ///   - deleteHorizon: the time in ms when the batch's tombstones may go (KIP-534).
    package init(
        baseOffset: Int64 = 0, compression: CompressionType = .none, level: Int32? = nil, logAppendTime: Int64? = nil,
        producerID: Int64 = RecordBatchHeader.noProducerID, producerEpoch: Int16 = -1,
        baseSequence: Int32 = RecordBatchHeader.noSequence, isTransactional: Bool = false, isControl: Bool = false,
        partitionLeaderEpoch: Int32 = -1, deleteHorizon: Int64? = nil
    ) {
        self.header = RecordBatchHeader(
            baseOffset: baseOffset, partitionLeaderEpoch: partitionLeaderEpoch, compression: compression,
            timestampType: logAppendTime == nil ? .createTime : .logAppendTime, isTransactional: isTransactional,
            isControl: isControl, hasDeleteHorizon: deleteHorizon != nil)
        self.header.producerID = producerID
        self.header.producerEpoch = producerEpoch
        self.header.baseSequence = baseSequence
        self.header.lastOffsetDelta = -1
        if let deleteHorizon { self.header.baseTimestamp = deleteHorizon }
        self.compression = compression
        self.level = level
        self.logAppendTime = logAppendTime
        self.deleteHorizon = deleteHorizon
    }

    package var recordsCount: Int32 { self.header.recordsCount }
    /// Bytes that the batch has up to now, before compression.
    package var sizeInBytes: Int { self.bytes.count }
    /// The offset that the next `append` without one gives.
    package var nextOffset: Int64 { self.header.lastOffset &+ 1 }

    /// Bytes that `append` would add for this record.
    package func sizeOf(key: [UInt8]?, value: [UInt8]?, headers: [RecordHeader] = [], timestamp: Int64) -> Int {
        let delta =
            self.header.recordsCount == 0 && self.deleteHorizon == nil ? 0 : timestamp &- self.header.baseTimestamp
        let body = bodySize(timestampDelta: delta, self.header.lastOffsetDelta &+ 1, key, value, headers)
        return sizeOfVarint(Int64(body)) + body
    }

    /// Adds a record.
    /// - Parameters:
    ///   - offset: nil: the one after the last. Otherwise larger than the last, and less than 2^31 from the base.
    ///   - timestamp: in ms, the producer's; -1: none.
    package mutating func append(
        offset: Int64? = nil, timestamp: Int64, key: [UInt8]?, value: [UInt8]?, headers: [RecordHeader] = []
    ) {
        let offsetDelta =
            offset.map { Int32(truncatingIfNeeded: $0 &- self.header.baseOffset) }
            ?? self.header.lastOffsetDelta &+ 1
        if self.header.recordsCount == 0, self.deleteHorizon == nil { self.header.baseTimestamp = timestamp }
        let timestampDelta = timestamp &- self.header.baseTimestamp
        let body = bodySize(timestampDelta: timestampDelta, offsetDelta, key, value, headers)
        self.bytes.appendVarlong(Int64(body))
        self.bytes.append(0)
        self.bytes.appendVarlong(timestampDelta)
        self.bytes.appendVarint(offsetDelta)
        self.append(key)
        self.append(value)
        self.bytes.appendVarlong(Int64(headers.count))
        for header in headers {
            self.bytes.appendVarlong(Int64(header.key.utf8.count))
            self.bytes.append(contentsOf: header.key.utf8)
            self.append(header.value)
        }
        self.header.maxTimestamp = max(self.header.maxTimestamp, timestamp)
        self.header.lastOffsetDelta = offsetDelta
        self.header.recordsCount &+= 1
    }

    package mutating func append(_ record: Record) {
        self.append(
            offset: record.offset, timestamp: record.timestamp, key: record.key, value: record.value,
            headers: record.headers)
    }

    private mutating func append(_ field: [UInt8]?) {
        guard let field else { return self.bytes.append(1) }
        self.bytes.appendVarlong(Int64(field.count))
        self.bytes.append(contentsOf: field)
    }

    /// The batch, with its length and CRC.
    package func build() -> [UInt8] {
        var header = self.header
        if let logAppendTime { header.maxTimestamp = logAppendTime }
        var batch = self.bytes
        if self.compression != .none {
            let packed = self.bytes.withUnsafeBytes {
                compress(
                    UnsafeRawBufferPointer(rebasing: $0[RecordBatchHeader.size...]), self.compression,
                    level: self.level,
                    roomBefore: RecordBatchHeader.size)
            }
            if let packed {
                batch = packed
            } else {
                // A codec fails for want of memory only; uncompressed is right too.
                header.attributes &= ~RecordBatchHeader.compressionBits
            }
        }
        batch.withUnsafeMutableBytes { header.seal($0) }
        return batch
    }
}

/// Bytes of a record after its length.
private func bodySize(
    timestampDelta: Int64, _ offsetDelta: Int32, _ key: [UInt8]?, _ value: [UInt8]?, _ headers: [RecordHeader]
) -> Int {
    func size(_ field: [UInt8]?) -> Int { field.map { sizeOfVarint(Int64($0.count)) + $0.count } ?? 1 }
    var total = 1 + sizeOfVarint(timestampDelta) + sizeOfVarint(Int64(offsetDelta)) + size(key) + size(value)
    total += sizeOfVarint(Int64(headers.count))
    for header in headers {
        let count = header.key.utf8.count
        total += sizeOfVarint(Int64(count)) + count + size(header.value)
    }
    return total
}
