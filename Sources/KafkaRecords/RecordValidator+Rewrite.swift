import KafkaPrimitives

extension RecordValidator {
    /// The batch in the topic's codec (`compression.type`), with producer, sequence and flags as they were. Call it
    /// where `needsRewrite` is set, with the same arguments as `validate`.
    ///
    /// - Returns: new bytes and what to append them with. MESSAGE_TOO_LARGE if they have become too many.
    package static func rewrite(
        _ records: UnsafeRawBufferPointer, validated: ValidatedBatch, rules: ValidationRules,
        scratch: DecompressionScratch
    ) -> Result<(bytes: [UInt8], validated: ValidatedBatch), ValidationFailure> {
        defer { scratch.trim() }
        let target = rules.targetCompression ?? validated.header.compression ?? .none
        guard
            var bytes = try? recompress(
                records, to: target, level: rules.level, scratch: scratch, maxUnpackedBytes: rules.maxUnpackedBytes)
        else {
            return .failure(ValidationFailure(.unknownServerError, "cannot recompress to \(target.name)"))
        }
        guard rules.origin == .replica || bytes.count <= rules.maxMessageBytes else {
            return .failure(
                ValidationFailure(
                    .messageTooLarge, "recompressed to \(bytes.count) bytes, allowed are \(rules.maxMessageBytes)"))
        }
        var result = validated
        result.needsRewrite = false
        result.sizeInBytes = bytes.count
        bytes.withUnsafeMutableBytes { batch in
            guard var header = RecordBatchHeader(batch.readOnly) else { return }
            header.maxTimestamp = validated.maxTimestamp
            if rules.timestampType == .logAppendTime { header.attributes |= RecordBatchHeader.timestampTypeBit }
            header.seal(batch)
            result.header = header
        }
        return .success((bytes, result))
    }

    /// A batch with its records packed by another codec; all else as it was. The new CRC is right.
    package static func recompress(
        _ batch: UnsafeRawBufferPointer, to target: CompressionType, level: Int32? = nil, scratch: DecompressionScratch,
        maxUnpackedBytes: Int = .max
    ) throws(RecordBatchError) -> [UInt8] {
        guard var header = RecordBatchHeader(batch) else { throw .tooShort }
        guard header.sizeInBytes >= RecordBatchHeader.size, header.sizeInBytes <= batch.count else {
            throw .badBatchLength(header.batchLength)
        }
        guard let source = header.compression else { throw .unknownCompression }
        let ownLimit = scratch.limit
        scratch.limit = min(ownLimit, maxUnpackedBytes)
        defer { scratch.limit = ownLimit }
        let packedRecords = UnsafeRawBufferPointer(rebasing: batch[RecordBatchHeader.size..<header.sizeInBytes])
        let records: UnsafeRawBufferPointer
        do { records = try scratch.decompress(packedRecords, source) } catch { throw .decompression(error) }
        guard var bytes = compress(records, target, level: level, roomBefore: RecordBatchHeader.size) else {
            throw .decompression(.outOfMemory)
        }
        guard bytes.count <= Int(Int32.max) else { throw .decompression(.tooLarge(limit: Int(Int32.max))) }
        header.attributes = header.attributes & ~RecordBatchHeader.compressionBits | Int16(target.rawValue)
        bytes.withUnsafeMutableBytes { header.seal($0) }
        return bytes
    }
}
