import Glibc
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaLog
@testable import KafkaRecords

/// Jobs run when they are submitted.
struct Inline: BackgroundExecutor {
    func submit(_ job: @escaping @Sendable () -> Void) { job() }
}

/// Jobs wait until they are run.
final class Manual: BackgroundExecutor {
    private let jobs = Mutex<[@Sendable () -> Void]>([])
    func submit(_ job: @escaping @Sendable () -> Void) { self.jobs.withLock { $0.append(job) } }
    var pending: Int { self.jobs.withLock { $0.count } }
    func runAll() {
        while let job = self.jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) { job() }
    }
}

/// A folder that goes with the test.
final class TemporaryFolder: Sendable {
    let path: String

    init() {
        self.path = "/tmp/ottla-log-tests-\(getpid())-\(FileSystem.random64())"
        try? FileSystem.makeDirectories(self.path)
    }

    deinit { removeTree(self.path) }

    func copy() -> TemporaryFolder {
        let other = TemporaryFolder()
        copyTree(self.path, other.path)
        return other
    }
}

func removeTree(_ path: String) {
    for name in (try? FileSystem.list(path)) ?? [] {
        let child = path + "/" + name
        if (try? FileSystem.status(child))??.isDirectory == true {
            removeTree(child)
        } else {
            try? FileSystem.unlink(child)
        }
    }
    rmdir(path)
}

func copyTree(_ from: String, _ to: String) {
    try? FileSystem.makeDirectory(to)
    for name in (try? FileSystem.list(from)) ?? [] {
        let child = from + "/" + name
        if (try? FileSystem.status(child))??.isDirectory == true {
            copyTree(child, to + "/" + name)
        } else if let bytes = try? FileSystem.contents(child) {
            write(bytes, to: to + "/" + name)
        }
    }
}

func write(_ bytes: [UInt8], to path: String) {
    try? FileSystem.unlink(path)
    guard let file = try? FileSystem.open(path, .create) else { return }
    try? FileSystem.writeAll(file, bytes, at: 0)
}

func contents(_ path: String) -> [UInt8] { ((try? FileSystem.contents(path)) ?? nil) ?? [] }

let ordersID = KafkaUUID(high: 7, low: 9)
let orders = TopicPartition(topic: "orders", partition: 0)

struct ProducerStamp {
    var id: Int64
    var epoch: Int16 = 0
    var sequence: Int32
}

/// A batch of `count` records with values of `size` bytes.
func batch(
    _ count: Int = 1, size: Int = 10, timestamp: Int64 = 1000, step: Int64 = 0, producer: ProducerStamp? = nil,
    compression: CompressionType = .none
) -> [UInt8] {
    var builder = RecordBatchBuilder(
        baseOffset: 0, compression: compression, producerID: producer?.id ?? -1, producerEpoch: producer?.epoch ?? -1,
        baseSequence: producer?.sequence ?? -1)
    for index in 0..<count {
        builder.append(
            timestamp: timestamp + Int64(index) * step, key: nil,
            value: (0..<size).map { UInt8(truncatingIfNeeded: $0 &+ index) })
    }
    return builder.build()
}

func validated(_ bytes: [UInt8]) -> ValidatedBatch {
    let header = bytes.withUnsafeBytes { RecordBatchHeader($0)! }
    return ValidatedBatch(
        header: header, maxTimestamp: header.maxTimestamp, offsetOfMaxTimestampDelta: 0,
        recordCount: header.recordsCount, sizeInBytes: bytes.count, needsRewrite: false)
}

extension PartitionLog {
    @discardableResult
    func append(
        _ bytes: [UInt8], epoch: Int32 = 0, now: Int64 = 1000, origin: RecordOrigin = .client
    ) -> Result<AppendInfo, AppendError> {
        var bytes = bytes
        let validated = validated(bytes)
        return bytes.withUnsafeMutableBytes {
            self.append($0, validated: validated, leaderEpoch: epoch, now: now, origin: origin)
        }
    }

    static func make(
        _ folder: TemporaryFolder, config: LogConfig = LogConfig(), background: any BackgroundExecutor = Inline(),
        cacheLimit: Int = 512
    ) throws -> PartitionLog {
        try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: folder.path + "/orders-0"), config: config,
            environment: LogEnvironment(background: background, segmentCache: SegmentCache(limit: cacheLimit)),
            now: 1000)
    }

    static func reopen(
        _ folder: TemporaryFolder, config: LogConfig = LogConfig(), clean: Bool = false, mark: PartitionMark? = nil,
        isSameBoot: Bool = false, recoveryPoint: Int64 = 0, background: any BackgroundExecutor = Inline()
    ) throws -> (log: PartitionLog, report: OpenReport) {
        try PartitionLog.open(
            orders, topicID: ordersID, folder: PartitionFolder(path: folder.path + "/orders-0"), config: config,
            environment: LogEnvironment(background: background),
            hints: OpenHints(isClean: clean, mark: mark, isSameBoot: isSameBoot, recoveryPoint: recoveryPoint),
            now: 2000)
    }

    /// Everything from `offset` on, read as a consumer does.
    func readAll(from offset: Int64 = 0, maxBytes: Int = 1 << 20, upTo limit: Int64 = .max) throws
        -> [RecordBatchHeader]
    {
        var headers: [RecordBatchHeader] = []
        var next = offset
        while true {
            let read = try self.read(from: next, maxBytes: maxBytes, upTo: limit, minOneMessage: true).get()
            guard let slice = read.slice else { return headers }
            let batches = slice.batches()
            guard let last = batches.last else {
                Issue.record("no whole batch in \(slice.length) bytes at offset \(next)")
                return headers
            }
            #expect(batches[0].baseOffset == read.firstOffset || read.firstOffset == next)
            headers += batches
            next = last.lastOffset + 1
        }
    }
}

extension FileSlice {
    var bytes: [UInt8] {
        var bytes = [UInt8](repeating: 0, count: self.length)
        let count = (try? FileSystem.readInto(&bytes, self.file, at: Int(self.position))) ?? 0
        return Array(bytes[..<count])
    }

    /// The batches of the slice; their CRCs are checked, and that the slice holds whole ones only.
    func batches() -> [RecordBatchHeader] {
        let bytes = self.bytes
        var headers: [RecordBatchHeader] = []
        var position = 0
        while position < bytes.count {
            let header = bytes.withUnsafeBytes { buffer -> RecordBatchHeader? in
                let rest = UnsafeRawBufferPointer(rebasing: buffer[position...])
                guard let header = RecordBatchHeader(rest), header.sizeInBytes <= rest.count else { return nil }
                return header.isCRCValid(in: rest) ? header : nil
            }
            guard let header else {
                Issue.record("no whole batch at byte \(position) of \(bytes.count)")
                return headers
            }
            headers.append(header)
            position += header.sizeInBytes
        }
        return headers
    }
}
