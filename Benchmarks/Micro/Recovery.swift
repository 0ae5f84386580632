import CBareLoops
import Glibc
import KafkaLog
import KafkaPrimitives
import KafkaRecords

extension Comparison {
    /// A start that believes nothing: every batch is read, its CRC checked, the indexes made anew. The files are in the page
    /// cache. Beside it: the same bytes read in blocks, and the CRC of each block.
    func recovery() {
        self.heading("Recovery, the whole of it", rows: ["recovery"])
        for (name, size) in [("1 KB", 1024), ("16 KB", 16384), ("1 MB", 1 << 20)] { self.recovery(name, size: size) }
    }

    private func recovery(_ name: String, size: Int) {
        let bytes = 512 << 20
        let title = "recovery of 512 MB in batches of \(name)"
        guard self.isWanted(title) else { return }
        var batch = makeBatch(size: size)
        let folder = RecoveryFolder(bytes: bytes, batch: batch, self.validated(&batch))
        defer { folder.remove() }
        var best = Double.infinity
        self.row(title, bare: "pread, crc32c", times: 1) { _ in
            let began = bare_cpu_ns()
            folder.recover()
            best = min(best, Double(bare_cpu_ns() - began))
        } bare: { _ in
            folder.readPlainly()
        }
        print("    \(Int(Double(folder.written) / best * 1000)) MB/s a core")
        fflush(nil)
    }
}

/// A partition of some segments, written and never closed.
private final class RecoveryFolder {
    let path: String
    private(set) var written = 0
    private let background = BackgroundThreads(threads: 1)
    private let partition = TopicPartition(topic: "recovered", partition: 0)
    private var config = LogConfig()

    init(bytes: Int, batch: [UInt8], _ known: ValidatedBatch) {
        var batch = batch
        let parent = getenv("OTTLA_BENCH_FOLDER").map { String(cString: $0) } ?? "/tmp"
        var template = Array("\(parent)/ottla-microbench-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { fatalError("No folder can be made in \(parent)") }
        self.path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.config.segmentBytes = 128 << 20
        do {
            let manager = try self.open()
            let log = try manager.create(
                self.partition, topicID: KafkaUUID(high: 1, low: 1), config: self.config, now: Logs.now)
            batch.withUnsafeMutableBytes { batch in
                while self.written < bytes {
                    let result = log.append(
                        batch, validated: known, leaderEpoch: 0, now: Logs.now, origin: .client)
                    guard case .success = result else { fatalError("\(result)") }
                    self.written += batch.count
                }
            }
        } catch {
            fatalError("\(error)")
        }
    }

    private func open() throws -> LogManager {
        var configuration = LogManager.Configuration(directories: [self.path], nodeID: 1)
        configuration.writebackBytes = 0
        return try LogManager.open(configuration, background: self.background, now: Logs.now)
    }

    func recover() {
        unlink("\(self.path)/ottla-boot-marks")
        do {
            let config = self.config
            let report = try self.open().load(now: Logs.now) { _, _ in config }
            guard report.bytesScanned == self.written, report.bytesCut == 0 else { fatalError("\(report)") }
        } catch {
            fatalError("\(error)")
        }
    }

    func readPlainly() {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
        defer { block.deallocate() }
        let folder = "\(self.path)/\(self.partition)"
        guard let directory = opendir(folder) else { fatalError("errno \(errno)") }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard name.hasSuffix(".log") else { continue }
            let descriptor = Glibc.open("\(folder)/\(name)", O_RDONLY)
            guard descriptor >= 0 else { fatalError("errno \(errno)") }
            var position: off_t = 0
            while case let count = pread(descriptor, block.baseAddress, block.count, position), count > 0 {
                use(Int(crc32c(UnsafeRawBufferPointer(rebasing: block[..<count]))))
                position += off_t(count)
            }
            close(descriptor)
        }
    }

    func remove() {
        self.background.stop()
        removeTree(self.path)
    }
}
