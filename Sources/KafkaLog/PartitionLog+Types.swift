import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Runs jobs that may block, in some order, off the event loops.
package protocol BackgroundExecutor: Sendable {
    func submit(_ job: @escaping @Sendable () -> Void)
}

/// Something an operator may want to read. `message` is one line.
package struct LogNotice: Sendable {
    package enum Level: Sendable { case info, warning, error }
    package var level: Level
    package var message: String
}

/// Set by who knows all logs.
typealias FileRelief = CallbackSlot<Void>

/// What the logs of a broker share. A class: each of 100,000 logs holds it with one reference.
package final class LogEnvironment: Sendable {
    package let background: any BackgroundExecutor
    package let segmentCache: SegmentCache
    package let trash: Trash
    /// producer.id.expiration.ms
    package let producerIDExpirationMs: Int64
    /// Writeback is started each time that so many bytes were appended to a segment; 0: never.
    package let writebackBytes: Int
    package let report: @Sendable (LogNotice) -> Void
    /// Reads and checks what a fetch waits for.
    package let reads: ReadPool
    package let counters = LogCounters()
    let damageReport = DamageReport()
    /// Closes files that are not needed at the moment, where the process can open no more. To be called without a lock.
    let fileRelief = FileRelief()
    let changes = ChangedLogs()
    let openLogs: OpenLogs
    /// Where changes of segment lists are noted.
    let marks: MarksOfFolders
    package let events = LogEvents()
    package let writers: FolderWriters
    /// Carries out the syncs that somebody waits for, many at once.
    package let syncs: any BackgroundExecutor

    package convenience init(
        background: any BackgroundExecutor, segmentCache: SegmentCache = SegmentCache(limit: 512),
        trash: Trash = Trash(),
        producerIDExpirationMs: Int64 = 86_400_000, writebackBytes: Int = 4 << 20,
        syncs: (any BackgroundExecutor)? = nil,
        report: @escaping @Sendable (LogNotice) -> Void = { _ in }
    ) {
        self.init(
            background: background, segmentCache: segmentCache, trash: trash,
            producerIDExpirationMs: producerIDExpirationMs, writebackBytes: writebackBytes, syncs: syncs,
            openLogs: OpenLogs(), marks: MarksOfFolders(), report: report)
    }

    init(
        background: any BackgroundExecutor, segmentCache: SegmentCache, trash: Trash, producerIDExpirationMs: Int64,
        writebackBytes: Int, syncs: (any BackgroundExecutor)?, openLogs: OpenLogs, marks: MarksOfFolders,
        reads: ReadPool = ReadPool(), writers: FolderWriters = FolderWriters(),
        report: @escaping @Sendable (LogNotice) -> Void
    ) {
        self.background = background
        self.syncs = syncs ?? background
        self.reads = reads
        self.writers = writers
        self.segmentCache = segmentCache
        self.trash = trash
        self.producerIDExpirationMs = producerIDExpirationMs
        self.writebackBytes = writebackBytes
        self.openLogs = openLogs
        self.marks = marks
        self.report = report
    }
}

package struct AppendInfo: Sendable, Equatable {
    package var firstOffset: Int64
    package var lastOffset: Int64
    /// The broker's time where the topic says LogAppendTime, else -1.
    package var logAppendTime: Int64
    package var logStartOffset: Int64
    /// After the append.
    package var logEndOffset: Int64
    /// The batch had been appended before; the offsets are those of then and nothing was written.
    package var isDuplicate: Bool
    /// It may be acknowledged, and consumers see it. Otherwise see `whenCommitted`.
    package var isCommitted: Bool
}

package enum AppendError: Error, Sendable, Equatable {
    /// Refused; the log is as it was.
    case protocolError(ErrorCode, String?)
    /// The file system refused (errno); the log is as it was. Kafka's answer is KAFKA_STORAGE_ERROR.
    case storage(CInt)

    package var code: ErrorCode {
        switch self {
        case .protocolError(let code, _): code
        case .storage: .kafkaStorageError
        }
    }
}

/// The offsets of a log at one moment.
package struct LogOffsets: Sendable, Equatable {
    package var logStartOffset: Int64
    package var logEndOffset: Int64
    package var highWatermark: Int64
    /// The first offset of a transaction that is not decided, at most the high watermark.
    package var lastStableOffset: Int64
}

package struct LogRead: Sendable {
    /// Nil where nothing is to be read, which is no error.
    package var slice: FileSlice?
    /// What is asked for is being read from the disk, or checked: `ReadPool.onDone` tells when.
    package var isPending = false
    /// The base offset of the first batch of the slice, at or below what was asked for; what was asked for without one.
    package var firstOffset: Int64
    package var end: ReadEnd
    /// No batch of the slice begins at or after it.
    package var upperBound: Int64
    package var logStartOffset: Int64
    package var logEndOffset: Int64
    package var highWatermark: Int64
    package var lastStableOffset: Int64
}

/// Why a read gives no more than it does.
package enum ReadEnd: Sendable, Equatable {
    /// It gives all that is below the limit.
    case limit
    /// The next batch does not fit.
    case size
    /// The next batch is in another file.
    case segment
}

/// The answer to a look-up by time.
package struct TimestampLookup: Sendable, Equatable {
    package var timestamp: Int64
    package var offset: Int64
    /// -1 where it is not known.
    package var leaderEpoch: Int32
}
