import CBareLoops
import Glibc
import KafkaLog
import KafkaPrimitives
import KafkaRecords

/// Logs in a folder that goes when the run is over.
final class Logs {
    static let now: Int64 = 1_700_000_000_000
    let path: String
    private let background = BackgroundThreads(threads: 1)
    private let manager: LogManager

    init(writebackBytes: Int = 0) {
        let parent = getenv("OTTLA_BENCH_FOLDER").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/ottla-microbench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { fatalError("No folder can be made in \(parent)") }
        self.path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        var configuration = LogManager.Configuration(directories: [self.path], nodeID: 1)
        configuration.writebackBytes = writebackBytes
        do {
            self.manager = try LogManager.open(configuration, background: self.background, now: Self.now)
        } catch {
            fatalError("\(error)")
        }
    }

    func make(_ count: Int, config: LogConfig = LogConfig()) -> [PartitionLog] {
        (0..<count).map { index in
            do {
                return try self.manager.create(
                    TopicPartition(topic: "t\(count)", partition: Int32(index)),
                    topicID: KafkaUUID(high: 1, low: UInt64(count)), config: config, now: Self.now)
            } catch {
                fatalError("\(error)")
            }
        }
    }

    /// Files of our own for the bare writes.
    func descriptors(_ count: Int, _ name: String) -> [CInt] {
        (0..<count).map { index in
            let descriptor = creat("\(self.path)/\(name)-\(index)", 0o644)
            guard descriptor >= 0 else { fatalError("errno \(errno)") }
            return descriptor
        }
    }

    func update(cleaner settings: LogCleaner.Settings) { self.manager.update(cleaner: settings) }

    func cleanOnce() -> Bool { self.manager.cleaner.cleanDirtiest(of: self.manager, now: Self.now) }

    var cleanerCounters: LogCleaner.Counters { self.manager.cleaner.counters }

    func remove() {
        self.background.stop()
        removeTree(self.path)
    }
}

func removeTree(_ path: String) {
    if let directory = opendir(path) {
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { removeTree(path + "/" + name) }
        }
        closedir(directory)
        rmdir(path)
    } else {
        unlink(path)
    }
}

extension Comparison {
    func logs() {
        let rows = ["append", "read", "offset index"]
        self.heading("Log", rows: rows)
        guard
            rows.contains(where: { row in self.filter.isEmpty || self.filter.contains { row.contains($0) } })
                || self.filter.contains(where: { filter in rows.contains { filter.contains($0) } })
        else { return }
        for (name, size, times) in [("1 KB", 1024, 20_000), ("16 KB", 16384, 4000)] {
            for partitions in [1, 1000] { self.append(name, size: size, partitions: partitions, times: times) }
        }
        self.append("16 KB, with writeback,", size: 16384, partitions: 1, times: 4000, writeback: 4 << 20)
        self.append("1 KB, idempotent,", size: 1024, partitions: 1, times: 20_000, idempotent: true)
        self.reads()
    }

    private func append(
        _ name: String, size: Int, partitions: Int, times: Int, writeback: Int = 0, idempotent: Bool = false
    ) {
        let title = "append \(name) to \(partitions)"
        guard self.isWanted(title) else { return }
        let logs = Logs(writebackBytes: writeback)
        defer { logs.remove() }
        let all = logs.make(partitions)
        var batch = makeBatch(size: size)
        var validated = validated(&batch)
        let descriptors = logs.descriptors(partitions, "bare")
        var sizes = [Int](repeating: 0, count: partitions)
        var (next, bareNext) = (0, 0)
        var sequence: Int32 = 0
        batch.withUnsafeMutableBytes { batch in
            self.row(title, bare: "pwrite", times: times) { times in
                for _ in 0..<times {
                    if idempotent {
                        validated.header.producerID = 7
                        validated.header.producerEpoch = 0
                        validated.header.baseSequence = sequence
                        sequence += validated.header.recordsCount
                    }
                    let result = all[next].append(
                        batch, validated: validated, leaderEpoch: 0, now: Logs.now, origin: .client)
                    guard case .success(let info) = result else { fatalError("\(result)") }
                    use(Int(info.lastOffset))
                    next = next + 1 == partitions ? 0 : next + 1
                }
            } bare: { times in
                for _ in 0..<times {
                    let written = pwrite(descriptors[bareNext], batch.baseAddress, batch.count, off_t(sizes[bareNext]))
                    guard written == batch.count else { fatalError("errno \(errno)") }
                    sizes[bareNext] += written
                    bareNext = bareNext + 1 == partitions ? 0 : bareNext + 1
                }
            }
        }
        for descriptor in descriptors { close(descriptor) }
    }

    private func reads() {
        let logs = Logs()
        defer { logs.remove() }
        var config = LogConfig()
        config.segmentBytes = 32 << 20
        let log = logs.make(1, config: config)[0]
        var batch = makeBatch(size: 1024)
        let validated = validated(&batch)
        let step = Int64(validated.recordCount)
        var bases: [Int64] = []
        batch.withUnsafeMutableBytes { batch in
            // Four segments and a half.
            while bases.count * batch.count < 144 << 20 {
                bases.append(Int64(bases.count) * step)
                _ = log.append(batch, validated: validated, leaderEpoch: 0, now: Logs.now, origin: .client)
            }
        }
        let end = log.logEndOffset
        func read(_ offset: Int64, maxBytes: Int) -> Int {
            switch log.read(from: offset, maxBytes: maxBytes, upTo: end, minOneMessage: true) {
            case .success(let read): return Int(read.slice?.position ?? -1)
            case .failure(let code): fatalError("\(code)")
            }
        }
        func bareSearch(_ times: Int, _ offset: (Int) -> Int64) {
            bases.withUnsafeBufferPointer { bases in
                for index in 0..<times { use(bare_search(bases.baseAddress, bases.count, offset(index))) }
            }
        }
        self.row("read the last batch", bare: "search in an array") { times in
            for _ in 0..<times { use(read(end - step, maxBytes: 1 << 20)) }
        } bare: { times in
            bareSearch(times) { _ in end - step }
        }
        self.row("read at the end, where nothing is", bare: "search in an array") { times in
            for _ in 0..<times { use(read(end, maxBytes: 1 << 20)) }
        } bare: { times in
            bareSearch(times) { _ in end }
        }
        var numbers = FixedNumbers()
        let old = (0..<4096).map { _ in Int64(numbers.next(below: Int(end) * 7 / 9)) }
        self.row("read 1 MB at old random offsets", bare: "search in an array") { times in
            for index in 0..<times { use(read(old[index & 4095], maxBytes: 1 << 20)) }
        } bare: { times in
            bareSearch(times) { old[$0 & 4095] }
        }
        self.row("read old offsets in order, 64 KB each", bare: "search in an array") { times in
            var offset: Int64 = 0
            for _ in 0..<times {
                guard case .success(let read) = log.read(from: offset, maxBytes: 65536, upTo: end, minOneMessage: true)
                else { fatalError("read") }
                let batches = (read.slice?.length ?? 0) / batch.count
                offset = read.firstOffset + Int64(batches) * step
                if offset >= end { offset = 0 }
            }
            use(Int(offset))
        } bare: { times in
            bareSearch(times) { old[$0 & 4095] }
        }
    }

    func validated(_ batch: inout [UInt8]) -> ValidatedBatch {
        let result = batch.withUnsafeMutableBytes {
            RecordValidator.validate($0, rules: ValidationRules(now: Logs.now), scratch: DecompressionScratch())
        }
        guard case .success(let validated) = result else { fatalError("\(result)") }
        return validated
    }
}
