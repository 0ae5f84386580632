import KafkaPrimitives

// What single records can have wrong: keys and timestamps. The walk has only noticed that one may; who, is looked up
// when it has.

extension RecordValidator {
    /// Throws if a record has no key where it needs one, or a timestamp that the topic does not take.
    static func checkRecords(
        _ walk: RecordWalk, _ header: RecordBatchHeader, _ payload: UnsafeRawBufferPointer, _ rules: ValidationRules
    ) throws(ValidationFailure) {
        guard rules.origin == .client else { return }
        let bounds = TimestampBounds(rules)
        let mayBeWrong =
            walk.hasNullKey && rules.compacted
            || header.timestampType == .logAppendTime
            || rules.timestampType == .createTime
                && (walk.minTimestamp < bounds.lowest || walk.maxTimestamp > bounds.highest)
        guard mayBeWrong else { return }
        try collectErrors(header, payload, rules, bounds)
    }

    private static func collectErrors(
        _ header: RecordBatchHeader, _ payload: UnsafeRawBufferPointer, _ rules: ValidationRules,
        _ bounds: TimestampBounds
    ) throws(ValidationFailure) {
        guard let start = payload.baseAddress else { return }
        var errors: [RecordError] = []
        var total = 0
        var isAboutTimestamps = false
        func add(_ index: Int32, _ message: @autoclosure () -> String) {
            total += 1
            if errors.count < maxRecordErrors { errors.append(RecordError(batchIndex: index, message: message())) }
        }
        // The walk has checked every record: lengths are right and varints end.
        var cursor = start
        let limit = start + payload.count
        for index in 0..<header.recordsCount {
            let length = readVarint(&cursor, limit)
            let end = cursor + length
            cursor += 1
            var timestampDelta: Int64 = 0
            _ = readVarlong(&cursor, end, &timestampDelta)
            _ = readVarint(&cursor, end)
            var key: UnsafeRawBufferPointer?
            var value: UnsafeRawBufferPointer?
            _ = readBytes(&cursor, end, &key)
            _ = readBytes(&cursor, end, &value)
            cursor = end

            let timestamp = header.baseTimestamp &+ timestampDelta
            if key == nil, rules.compacted {
                add(
                    index,
                    "Compacted topic cannot accept message without key in topic partition \(rules.topic)-\(rules.partition)"
                )
            } else if header.timestampType == .logAppendTime {
                isAboutTimestamps = true
                add(
                    index,
                    """
                    Invalid timestamp type in message DefaultRecord(offset=\(index), timestamp=\(header.maxTimestamp), \
                    key=\(key?.count ?? 0) bytes, value=\(value?.count ?? 0) bytes). \
                    Producer should not set timestamp type to LogAppendTime.
                    """)
            } else if rules.timestampType == .createTime, !bounds.accepts(timestamp) {
                isAboutTimestamps = true
                add(
                    index,
                    """
                    Timestamp \(timestamp) of message with offset \(index) is out of range. The timestamp should be \
                    within [\(rules.now &- rules.timestampBeforeMaxMs), \(rules.now &+ rules.timestampAfterMaxMs)]
                    """)
            }
        }
        guard total > 0 else { return }
        let message: String
        if isAboutTimestamps {
            message = "One or more records have been rejected due to invalid timestamp"
        } else {
            let first = errors.prefix(3)
                .map { "RecordError(batchIndex=\($0.batchIndex), message='\($0.message ?? "")')" }
                .joined(separator: ", ")
            message = """
                One or more records have been rejected due to \(total) record errors in total, and only showing the \
                first three errors at most: [\(first)]
                """
        }
        throw ValidationFailure(
            isAboutTimestamps ? .invalidTimestamp : .invalidRecord, message, message: message, recordErrors: errors)
    }
}

/// Which timestamps a topic takes. -1, no timestamp, always; below that, never.
private struct TimestampBounds {
    let lowest: Int64
    let highest: Int64

    init(_ rules: ValidationRules) {
        let (lowest, tooLow) = rules.now.subtractingReportingOverflow(rules.timestampBeforeMaxMs)
        self.lowest = tooLow ? 0 : max(lowest, 0)
        let (highest, tooHigh) = rules.now.addingReportingOverflow(rules.timestampAfterMaxMs)
        self.highest = tooHigh ? .max : highest
    }

    func accepts(_ timestamp: Int64) -> Bool {
        timestamp == RecordBatchHeader.noTimestamp || (timestamp >= self.lowest && timestamp <= self.highest)
    }
}
