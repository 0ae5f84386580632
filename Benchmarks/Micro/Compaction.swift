import CBareLoops
import Glibc
import KafkaLog
import KafkaPrimitives
import KafkaRecords

extension Comparison {
    /// `script/bench micro compact`: whole cleanings of warm logs of 1 kB records in batches of 16 kB. OTTLA_BENCH_FOLDER
    /// says where, OTTLA_BENCH_MB how much (2048).
    func compaction() {
        let rows = [
            ("compact 1 kB records with 100k keys", 100_000), ("compact 1 kB records with 10M keys", 10_000_000),
        ].filter { self.isWanted($0.0) }
        // They take seconds and gigabytes: only where asked for.
        guard !self.filter.isEmpty, !rows.isEmpty else { return }
        print("\nCompaction: MB/s by the clock and by the processor; keys, MB read and written")
        for (name, keys) in rows { self.compact(name, keys: keys) }
    }

    private func compact(_ name: String, keys: Int) {
        let megabytes = getenv("OTTLA_BENCH_MB").flatMap { Int(String(cString: $0)) } ?? 2048
        let records = megabytes << 10
        let logs = Logs()
        defer { logs.remove() }
        var config = LogConfig()
        config.cleanupPolicy = .compact
        config.segmentBytes = 256 << 20
        config.minCleanableDirtyRatio = 0
        config.fileDeleteDelayMs = 0
        let log = logs.make(1, config: config)[0]
        var numbers = FixedNumbers()
        var value = [UInt8](repeating: 0, count: 1000)
        for index in value.indices { value[index] = UInt8(numbers.next(below: 256)) }
        var made = 0
        while made < records {
            var builder = RecordBatchBuilder()
            for _ in 0..<16 {
                // Each key once before any comes again, where there are as many records.
                let key = made < keys ? made : numbers.next(below: keys)
                builder.append(timestamp: Logs.now, key: Array("key-\(1_000_000_000_000 + key)".utf8), value: value)
                made += 1
            }
            var batch = builder.build()
            batch.withUnsafeMutableBytes { bytes in
                let rules = ValidationRules(now: Logs.now)
                guard
                    case .success(let validated) = RecordValidator.validate(
                        bytes, rules: rules, scratch: DecompressionScratch()),
                    case .success = log.append(
                        bytes, validated: validated, leaderEpoch: 0, now: Logs.now, origin: .client)
                else { fatalError("append") }
            }
        }
        var settings = LogCleaner.Settings()
        settings.dedupeBufferBytes = 512 << 20
        logs.update(cleaner: settings)
        let (wall, cpu) = (wallClockNs(), bare_cpu_ns())
        guard logs.cleanOnce() else { fatalError("not cleaned") }
        let (wallNs, cpuNs) = (wallClockNs() - wall, bare_cpu_ns() - cpu)
        let counters = logs.cleanerCounters
        func rate(_ ns: Int64) -> Int { Int(Double(counters.bytesRead) / 1_048_576 / (Double(ns) / 1e9)) }
        print(
            "\(name): \(rate(wallNs)), \(rate(cpuNs)); \(min(keys, records)), \(counters.bytesRead >> 20), "
                + "\(counters.bytesWritten >> 20)")
        fflush(nil)
    }
}

private func wallClockNs() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
}
