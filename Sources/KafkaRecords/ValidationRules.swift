import KafkaPrimitives

/// Where records come from, and so how much they are trusted.
package enum RecordOrigin: Sendable {
    /// A Produce request: everything is checked.
    case client
    /// A coordinator of this broker: may write control batches.
    case coordinator
    /// The leader: it has checked; header, length and CRC only.
    case replica
}

/// What a topic's config and the request say about the records that may come in.
package struct ValidationRules: Sendable {
    /// `max.message.bytes`: of a whole batch, compressed.
    package var maxMessageBytes: Int
    /// `cleanup.policy` has `compact`: every record needs a key.
    package var compacted: Bool
    /// `message.timestamp.type`
    package var timestampType: TimestampType
    /// `message.timestamp.before.max.ms`
    package var timestampBeforeMaxMs: Int64
    /// `message.timestamp.after.max.ms`
    package var timestampAfterMaxMs: Int64
    /// Wall time, in ms since 1970.
    package var now: Int64
    /// The Produce request's version.
    package var produceVersion: Int16
    /// `compression.type`, nil: `producer`, the batch keeps its codec.
    package var targetCompression: CompressionType?
    /// `compression.gzip.level` and so on, for `targetCompression`; nil: the codec's default.
    package var level: Int32?
    /// Bytes that a compressed batch may unpack to. The scratch's own limit holds too.
    package var maxUnpackedBytes: Int
    package var origin: RecordOrigin
    /// Named in Kafka's messages.
    package var topic: String
    package var partition: Int32

    /// Kafka's defaults for whatever is not given.
    package init(
        maxMessageBytes: Int = 1_048_588, compacted: Bool = false, timestampType: TimestampType = .createTime,
        timestampBeforeMaxMs: Int64 = .max, timestampAfterMaxMs: Int64 = 3_600_000, now: Int64,
        produceVersion: Int16 = 13, targetCompression: CompressionType? = nil, level: Int32? = nil,
        maxUnpackedBytes: Int = 128 << 20, origin: RecordOrigin = .client, topic: String = "", partition: Int32 = 0
    ) {
        self.maxMessageBytes = maxMessageBytes
        self.compacted = compacted
        self.timestampType = timestampType
        self.timestampBeforeMaxMs = timestampBeforeMaxMs
        self.timestampAfterMaxMs = timestampAfterMaxMs
        self.now = now
        self.produceVersion = produceVersion
        self.targetCompression = targetCompression
        self.level = level
        self.maxUnpackedBytes = maxUnpackedBytes
        self.origin = origin
        self.topic = topic
        self.partition = partition
    }
}

/// A batch that may be appended.
package struct ValidatedBatch: Sendable, Equatable {
    /// As it is after validation, which may have changed `maxTimestamp`, the timestamp type and the CRC.
    package var header: RecordBatchHeader
    /// As in the header: the records' largest timestamp, or the append time.
    package var maxTimestamp: Int64
    /// Delta from the base offset to the first record with the largest timestamp; 0 for the append time, -1 if no
    /// record has a timestamp.
    package var offsetOfMaxTimestampDelta: Int32
    package var recordCount: Int32
    /// Bytes of the batch, all that were given.
    package var sizeInBytes: Int
    /// The topic's codec is another one: append what `RecordValidator.rewrite` makes of it instead.
    package var needsRewrite: Bool

    package var isTransactional: Bool { self.header.isTransactional }
}

/// One of `record_errors` in a Produce response (v8+, KIP-467).
package struct RecordError: Sendable, Equatable {
    /// 0-based number of the record in its batch.
    package var batchIndex: Int32
    package var message: String?

    package init(batchIndex: Int32, message: String?) {
        self.batchIndex = batchIndex
        self.message = message
    }
}

/// Why a batch may not be appended, as the Produce response says it.
package struct ValidationFailure: Error, Sendable, Equatable {
    package var code: ErrorCode
    /// `error_message`. nil where Kafka sends none, which is everywhere but with `recordErrors`.
    package var message: String?
    /// At most `RecordValidator.maxRecordErrors`.
    package var recordErrors: [RecordError]
    /// For the log.
    package var detail: String

    package init(_ code: ErrorCode, _ detail: String, message: String? = nil, recordErrors: [RecordError] = []) {
        self.code = code
        self.message = message
        self.recordErrors = recordErrors
        self.detail = detail
    }
}
