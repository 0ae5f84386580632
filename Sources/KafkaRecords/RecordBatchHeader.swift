/// The fixed part of a record batch of magic 2, as plain values. Every field of the wire is here; the records
/// (compressed or not) follow it.
///
/// Reading it checks nothing but that 61 bytes are there and that the magic is 2: whether the length fits, the
/// CRC is right and the counts make sense is `RecordValidator`'s and `isCRCValid`'s to say.
package struct RecordBatchHeader: Sendable, Equatable {
    /// Bytes of the header, and so of a batch without records.
    package static let size = 61
    /// `baseOffset` and `batchLength`: what `batchLength` does not count.
    package static let logOverhead = 12
    /// The CRC covers everything from here on.
    package static let attributesOffset = 21

    /// Value of `producerID`, `producerEpoch`, `baseSequence` of a batch from a producer that is not idempotent.
    package static let noProducerID: Int64 = -1
    package static let noSequence: Int32 = -1
    /// Value of a timestamp that is not there.
    package static let noTimestamp: Int64 = -1

    package var baseOffset: Int64
    /// Bytes after this field.
    package var batchLength: Int32
    package var partitionLeaderEpoch: Int32
    package var magic: Int8
    package var crc: UInt32
    package var attributes: Int16
    package var lastOffsetDelta: Int32
    /// What the records' timestamp deltas are added to, in ms; the delete horizon if `hasDeleteHorizon`.
    package var baseTimestamp: Int64
    package var maxTimestamp: Int64
    package var producerID: Int64
    package var producerEpoch: Int16
    package var baseSequence: Int32
    package var recordsCount: Int32

    /// The header at the start of `bytes`; nil if there are fewer than 61 or the magic is not 2.
    @inline(__always)
    package init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count >= Self.size else { return nil }
        self.magic = bytes.bigEndian(at: 16)
        guard self.magic == 2 else { return nil }
        self.baseOffset = bytes.bigEndian(at: 0)
        self.batchLength = bytes.bigEndian(at: 8)
        self.partitionLeaderEpoch = bytes.bigEndian(at: 12)
        self.crc = bytes.bigEndian(at: 17)
        self.attributes = bytes.bigEndian(at: 21)
        self.lastOffsetDelta = bytes.bigEndian(at: 23)
        self.baseTimestamp = bytes.bigEndian(at: 27)
        self.maxTimestamp = bytes.bigEndian(at: 35)
        self.producerID = bytes.bigEndian(at: 43)
        self.producerEpoch = bytes.bigEndian(at: 51)
        self.baseSequence = bytes.bigEndian(at: 53)
        self.recordsCount = bytes.bigEndian(at: 57)
    }

    /// A header to be filled in and written. `attributes` is made of the flags.
    package init(
        baseOffset: Int64 = 0, partitionLeaderEpoch: Int32 = -1, compression: CompressionType = .none,
        timestampType: TimestampType = .createTime, isTransactional: Bool = false, isControl: Bool = false,
        hasDeleteHorizon: Bool = false
    ) {
        self.baseOffset = baseOffset
        self.batchLength = 0
        self.partitionLeaderEpoch = partitionLeaderEpoch
        self.magic = 2
        self.crc = 0
        self.attributes =
            Int16(compression.rawValue) | (timestampType == .logAppendTime ? Self.timestampTypeBit : 0)
            | (isTransactional ? Self.transactionalBit : 0) | (isControl ? Self.controlBit : 0)
            | (hasDeleteHorizon ? Self.deleteHorizonBit : 0)
        self.lastOffsetDelta = 0
        self.baseTimestamp = Self.noTimestamp
        self.maxTimestamp = Self.noTimestamp
        self.producerID = Self.noProducerID
        self.producerEpoch = -1
        self.baseSequence = Self.noSequence
        self.recordsCount = 0
    }

    // MARK: What the fields mean

    package static let compressionBits: Int16 = 0x07
    package static let timestampTypeBit: Int16 = 0x08
    static let transactionalBit: Int16 = 0x10
    static let controlBit: Int16 = 0x20
    package static let deleteHorizonBit: Int16 = 0x40

    /// Bytes of the whole batch as its length field says, which may be a lie.
    package var sizeInBytes: Int { Int(self.batchLength) + Self.logOverhead }
    /// nil: a codec that there is not (5 to 7).
    package var compression: CompressionType? {
        CompressionType(rawValue: UInt8(self.attributes & Self.compressionBits))
    }
    package var timestampType: TimestampType {
        self.attributes & Self.timestampTypeBit == 0 ? .createTime : .logAppendTime
    }
    package var isTransactional: Bool { self.attributes & Self.transactionalBit != 0 }
    /// A batch of transaction markers (or other control records), which consumers do not see.
    package var isControl: Bool { self.attributes & Self.controlBit != 0 }
    /// `baseTimestamp` holds the time, in ms, when compaction may drop the batch's tombstones (KIP-534).
    package var hasDeleteHorizon: Bool { self.attributes & Self.deleteHorizonBit != 0 }
    package var hasProducerID: Bool { self.producerID > Self.noProducerID }
    package var lastOffset: Int64 { self.baseOffset &+ Int64(self.lastOffsetDelta) }
    /// The sequence number of the last record, -1 if there is none. Wraps after 2^31 - 1 to 0.
    package var lastSequence: Int32 {
        self.baseSequence == Self.noSequence
            ? Self.noSequence : Self.sequence(self.baseSequence, plus: self.lastOffsetDelta)
    }

    /// `sequence + increment` in the numbers 0 to 2^31 - 1.
    package static func sequence(_ sequence: Int32, plus increment: Int32) -> Int32 {
        Int32(truncatingIfNeeded: (Int64(sequence) + Int64(increment)) & 0x7FFF_FFFF)
    }
}

// MARK: - In place

extension RecordBatchHeader {
    /// Gives the batch its place in the log. Neither field is covered by the CRC.
    /// - Precondition: `bytes` has at least 61 bytes.
    @inline(__always)
    package static func stamp(_ bytes: UnsafeMutableRawBufferPointer, baseOffset: Int64, leaderEpoch: Int32) {
        precondition(bytes.count >= Self.size)
        bytes.setBigEndian(baseOffset, at: 0)
        bytes.setBigEndian(leaderEpoch, at: 12)
    }

    /// The CRC that the batch at the start of `bytes` should have, nil if its length does not fit `bytes`.
    package func computedCRC(of bytes: UnsafeRawBufferPointer) -> UInt32? {
        let size = self.sizeInBytes
        guard size >= Self.size, size <= bytes.count else { return nil }
        return crc32c(UnsafeRawBufferPointer(rebasing: bytes[Self.attributesOffset..<size]))
    }

    /// Whether the bytes from the attributes to the end of the batch are what the producer or broker wrote.
    package func isCRCValid(in bytes: UnsafeRawBufferPointer) -> Bool { self.computedCRC(of: bytes) == self.crc }

    /// Writes all 61 bytes, with the `crc` that the field has.
    /// - Precondition: `bytes` has at least 61 bytes.
    package func write(to bytes: UnsafeMutableRawBufferPointer) {
        precondition(bytes.count >= Self.size)
        bytes.setBigEndian(self.baseOffset, at: 0)
        bytes.setBigEndian(self.batchLength, at: 8)
        bytes.setBigEndian(self.partitionLeaderEpoch, at: 12)
        bytes.setBigEndian(self.magic, at: 16)
        bytes.setBigEndian(self.crc, at: 17)
        bytes.setBigEndian(self.attributes, at: 21)
        bytes.setBigEndian(self.lastOffsetDelta, at: 23)
        bytes.setBigEndian(self.baseTimestamp, at: 27)
        bytes.setBigEndian(self.maxTimestamp, at: 35)
        bytes.setBigEndian(self.producerID, at: 43)
        bytes.setBigEndian(self.producerEpoch, at: 51)
        bytes.setBigEndian(self.baseSequence, at: 53)
        bytes.setBigEndian(self.recordsCount, at: 57)
    }

    /// Writes this header over the first 61 of `batch`, which is one whole batch, with the length and the CRC that
    /// `batch` then has. Both are kept in `self` too.
    package mutating func seal(_ batch: UnsafeMutableRawBufferPointer) {
        precondition(batch.count >= Self.size && batch.count <= Int(Int32.max))
        self.batchLength = Int32(batch.count - Self.logOverhead)
        self.write(to: batch)
        self.crc = crc32c(UnsafeRawBufferPointer(rebasing: batch.readOnly[Self.attributesOffset...]))
        batch.setBigEndian(self.crc, at: 17)
    }
}
