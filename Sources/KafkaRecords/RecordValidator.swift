import KafkaPrimitives

/// The door: what Kafka's ProduceRequest, UnifiedLog and LogValidator check before an append, and what would choke a
/// consumer later. One pass over the bytes for the CRC and one over the records.
package enum RecordValidator {
    /// Entries of `record_errors` in one answer; Kafka has no bound.
    package static let maxRecordErrors = 1000

    /// Checks the records of one partition in a Produce request (or what a coordinator appends).
    ///
    /// When all is well and the batch keeps its codec, this also sets, in place, what depends on the topic: the
    /// largest timestamp if the producer's header has it wrong, or timestamp type and append time for LogAppendTime,
    /// and then the CRC. Nothing is changed in a batch that is refused or that `needsRewrite`.
    package static func validate(
        _ records: UnsafeMutableRawBufferPointer, rules: ValidationRules, scratch: DecompressionScratch
    ) -> Result<ValidatedBatch, ValidationFailure> {
        // Nothing points into the scratch afterwards.
        defer { scratch.trim() }
        do { return .success(try check(records, rules, scratch)) } catch { return .failure(error) }
    }

    private static func check(
        _ records: UnsafeMutableRawBufferPointer, _ rules: ValidationRules, _ scratch: DecompressionScratch
    ) throws(ValidationFailure) -> ValidatedBatch {
        let bytes = records.readOnly
        let header = try checkedHeader(bytes, rules)
        guard rules.origin != .replica else {
            return ValidatedBatch(
                header: header, maxTimestamp: header.maxTimestamp,
                offsetOfMaxTimestampDelta: header.lastOffsetDelta, recordCount: header.recordsCount,
                sizeInBytes: bytes.count, needsRewrite: false)
        }
        guard let compression = header.compression else {
            throw ValidationFailure(.unsupportedCompressionType, "unknown codec in attributes \(header.attributes)")
        }
        try checkFlagsAndCounts(header, rules)

        var payload = UnsafeRawBufferPointer(rebasing: bytes[RecordBatchHeader.size...])
        if compression != .none { payload = try unpack(payload, compression, rules, scratch) }
        let walk: RecordWalk
        do {
            walk = try RecordWalk.over(payload, count: header.recordsCount, baseTimestamp: header.baseTimestamp)
        } catch {
            throw ValidationFailure(.invalidRecord, "\(error)")
        }
        try checkRecords(walk, header, payload, rules)

        let appendTime: Int64? = rules.timestampType == .logAppendTime ? rules.now : nil
        var validated = ValidatedBatch(
            header: header, maxTimestamp: appendTime ?? walk.maxTimestamp,
            offsetOfMaxTimestampDelta: appendTime == nil ? walk.indexOfMaxTimestamp : 0,
            recordCount: header.recordsCount, sizeInBytes: bytes.count, needsRewrite: false)
        // Control batches stay as they are, as in Kafka.
        if let target = rules.targetCompression, target != compression, !header.isControl {
            validated.needsRewrite = true
        } else if let appendTime {
            validated.header.attributes |= RecordBatchHeader.timestampTypeBit
            validated.header.maxTimestamp = appendTime
            validated.header.seal(records)
        } else if header.maxTimestamp != walk.maxTimestamp {
            validated.header.maxTimestamp = walk.maxTimestamp
            validated.header.seal(records)
        }
        return validated
    }

    // MARK: - Parts

    /// One batch of magic 2 that fills `bytes`, not too large, its CRC right: in Kafka's order.
    private static func checkedHeader(
        _ bytes: UnsafeRawBufferPointer, _ rules: ValidationRules
    ) throws(ValidationFailure) -> RecordBatchHeader {
        // Kafka's reader of batches sees none where the bytes end before the batch does.
        guard bytes.count > 16 else { throw ValidationFailure(.invalidRecord, "no record batch") }
        let batchLength = bytes.bigEndian(at: 8, as: Int32.self)
        guard batchLength >= 14 else { throw ValidationFailure(.corruptMessage, "batch length \(batchLength)") }
        let magic = bytes.bigEndian(at: 16, as: Int8.self)
        guard magic == 2 else { throw ValidationFailure(.invalidRecord, "magic \(magic), only 2 may be produced") }
        let size = Int(batchLength) + RecordBatchHeader.logOverhead
        guard size <= bytes.count else {
            throw ValidationFailure(.invalidRecord, "no whole record batch: \(bytes.count) of \(size) bytes")
        }
        guard let header = RecordBatchHeader(bytes), size >= RecordBatchHeader.size else {
            throw ValidationFailure(.corruptMessage, "batch of \(size) bytes, shorter than its header")
        }
        if rules.origin == .client, header.compression == .zstd, rules.produceVersion < 7 {
            throw ValidationFailure(.unsupportedCompressionType, "zstd needs Produce v7")
        }
        guard size == bytes.count else {
            throw ValidationFailure(
                .invalidRecord, "\(bytes.count - size) bytes after the batch, only one may be produced")
        }
        if rules.origin == .client, header.baseOffset != 0 {
            throw ValidationFailure(.invalidRecord, "base offset \(header.baseOffset), not 0")
        }
        guard rules.origin == .replica || size <= rules.maxMessageBytes else {
            throw ValidationFailure(.messageTooLarge, "batch of \(size) bytes, allowed are \(rules.maxMessageBytes)")
        }
        let computed = header.computedCRC(of: bytes)
        guard computed == header.crc else {
            throw ValidationFailure(.corruptMessage, "CRC \(header.crc), computed \(computed ?? 0)")
        }
        return header
    }

    private static func checkFlagsAndCounts(
        _ header: RecordBatchHeader, _ rules: ValidationRules
    ) throws(ValidationFailure) {
        guard header.recordsCount > 0, header.lastOffsetDelta == header.recordsCount - 1 else {
            throw ValidationFailure(
                .invalidRecord, "\(header.recordsCount) records, last offset delta \(header.lastOffsetDelta)")
        }
        guard rules.origin == .client else { return }
        guard !header.isControl else {
            throw ValidationFailure(.invalidRecord, "clients may not write control records")
        }
        guard !header.hasDeleteHorizon else {
            throw ValidationFailure(.invalidRecord, "clients may not set a delete horizon")
        }
        guard header.producerID >= RecordBatchHeader.noProducerID else {
            throw ValidationFailure(.invalidRecord, "producer id \(header.producerID)")
        }
        if header.hasProducerID, header.producerEpoch < 0 || header.baseSequence < 0 {
            throw ValidationFailure(
                .invalidRecord,
                "producer id \(header.producerID) with epoch \(header.producerEpoch), sequence \(header.baseSequence)")
        }
    }

    private static func unpack(
        _ payload: UnsafeRawBufferPointer, _ compression: CompressionType, _ rules: ValidationRules,
        _ scratch: DecompressionScratch
    ) throws(ValidationFailure) -> UnsafeRawBufferPointer {
        let ownLimit = scratch.limit
        scratch.limit = min(ownLimit, rules.maxUnpackedBytes)
        defer { scratch.limit = ownLimit }
        do { return try scratch.decompress(payload, compression) } catch {
            switch error {
            case .malformed: throw ValidationFailure(.invalidRecord, "cannot unpack \(compression.name)")
            case .tooLarge(let limit):
                throw ValidationFailure(.messageTooLarge, "\(compression.name) unpacks to more than \(limit) bytes")
            case .outOfMemory: throw ValidationFailure(.unknownServerError, "no memory to unpack \(compression.name)")
            }
        }
    }
}
