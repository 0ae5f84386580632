import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

typealias Entry = (key: String?, value: String?)

/// A batch of records with keys; a value of nil is a tombstone.
func keyed(
    _ entries: [Entry], timestamp: Int64 = 1000, producer: ProducerStamp? = nil, isTransactional: Bool = false,
    compression: CompressionType = .none, logAppendTime: Int64? = nil
) -> [UInt8] {
    var builder = RecordBatchBuilder(
        compression: compression, logAppendTime: logAppendTime, producerID: producer?.id ?? -1,
        producerEpoch: producer?.epoch ?? -1, baseSequence: producer?.sequence ?? -1, isTransactional: isTransactional)
    for (index, entry) in entries.enumerated() {
        builder.append(
            timestamp: timestamp + Int64(index), key: entry.key.map { Array($0.utf8) },
            value: entry.value.map { Array($0.utf8) })
    }
    return builder.build()
}

func compacted(segmentBytes: Int = 300, _ change: (inout LogConfig) -> Void = { _ in }) -> LogConfig {
    var config = LogConfig()
    config.cleanupPolicy = .compact
    config.segmentBytes = segmentBytes
    config.minCleanableDirtyRatio = 0
    change(&config)
    return config
}

/// Notices, for looking at.
final class Notices: Sendable {
    private let notices = Mutex<[LogNotice]>([])
    var all: [LogNotice] { self.notices.withLock { $0 } }
    func add(_ notice: LogNotice) { self.notices.withLock { $0.append(notice) } }
    func contain(_ text: String) -> Bool { self.all.contains { $0.message.contains(text) } }
}

struct Kept: Equatable, CustomStringConvertible {
    var offset: Int64
    var timestamp: Int64
    var key: String?
    var value: String?

    var description: String { "\(self.offset)@\(self.timestamp) \(self.key ?? "-")=\(self.value ?? "-")" }
}

extension PartitionLog {
    /// All batches, as a consumer gets them.
    func batches(from offset: Int64 = 0) throws -> [RecordBatch] {
        var batches: [RecordBatch] = []
        var next = max(offset, self.snapshot.logStartOffset)
        while true {
            let read = try self.read(from: next, maxBytes: 1 << 20, upTo: .max, minOneMessage: true).get()
            guard let slice = read.slice else { return batches }
            let bytes = slice.bytes
            batches += try bytes.withUnsafeBytes { try RecordBatch.all(in: $0, scratch: DecompressionScratch()) }
            guard let last = slice.batches().last else { return batches }
            next = last.lastOffset + 1
        }
    }

    func kept(from offset: Int64 = 0) throws -> [Kept] {
        try self.batches(from: offset).filter { !$0.header.isControl }.flatMap(\.records).map { record in
            Kept(
                offset: record.offset, timestamp: record.timestamp,
                key: record.key.map { String(decoding: $0, as: UTF8.self) },
                value: record.value.map { String(decoding: $0, as: UTF8.self) })
        }
    }

    func keys() throws -> [String] { try self.kept().map { "\($0.key ?? "-")=\($0.value ?? "-")" } }

    /// Cleans everything but the active segment.
    @discardableResult
    func clean(
        from first: Int64 = 0, now: Int64 = 10_000, mapBytes: Int = 1 << 20, bufferBytes: Int = 4096,
        isStopping: @escaping () -> Bool = { false }
    ) throws -> (endOffset: Int64, stats: CleaningStats) {
        let cleaning = try #require(self.beginCleaning())
        defer { cleaning.end() }
        let sealed = self.state.withLock { $0.sealed.map { CleanableSegment($0) } }
        let (active, offsets) = self.state.withLock { ($0.active.baseOffset, $0.offsets) }
        let range = CleanableRange(
            firstDirtyOffset: first, mustUpdateCheckpoint: false, sealed: sealed, activeBaseOffset: active,
            lastStableOffset: offsets.lastStableOffset, firstTooYoung: nil)
        let resources = CleaningResources(
            mapBytes: mapBytes, loadFactor: 0.9, bufferBytes: bufferBytes,
            throttle: CleanerThrottle(bytesPerSecond: .greatestFiniteMagnitude),
            hasher: KeyHasher(key0: 1, key1: 2), isStopping: isStopping)
        return try LogCleaning(self, cleaning, range, resources, now: now).run()
    }

    /// Everything up to now is in segments that can be cleaned.
    func rollNow() throws {
        let rolled = try self.state.withLock { state in
            try self.roll(&state, baseOffset: state.logEndOffset, now: 1000)
        }
        if let rolled { self.finish(rolled) }
    }
}

func fileNames(_ folder: TemporaryFolder) -> [String] {
    ((try? FileSystem.list(folder.path + "/orders-0")) ?? []).sorted()
}
