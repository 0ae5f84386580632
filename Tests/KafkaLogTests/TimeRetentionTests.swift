import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

@Suite struct TimestampTests {
    let folder = TemporaryFolder()

    private var config: LogConfig {
        var config = LogConfig()
        config.segmentBytes = 3000
        config.indexIntervalBytes = 200
        return config
    }

    /// Against a plain search over all records, in every codec.
    @Test(arguments: [CompressionType.none, .gzip, .snappy, .lz4, .zstd])
    func theFirstRecordAtOrAfterATimeIsFound(codec: CompressionType) throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        var times: [Int64] = []
        var seed: UInt64 = 42
        for _ in 0..<150 {
            seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            // Out of order on purpose.
            let time = Int64(times.count * 10) + Int64(seed >> 33) % 200
            let count = 1 + Int(seed >> 50) % 3
            times += (0..<count).map { time + Int64($0) * 3 }
            log.append(batch(count, size: 20, timestamp: time, step: 3, compression: codec), epoch: 2)
        }
        #expect(log.segmentCount > 3)
        func check(_ log: PartitionLog) throws {
            for target in stride(from: Int64(-1), to: 3500, by: 13) {
                let found = try log.offset(forTimestamp: target).get()
                let expected = times.indices.first { times[$0] >= target }
                #expect(found?.offset == expected.map { Int64($0) })
                #expect(found?.timestamp == expected.map { times[$0] })
                #expect(found == nil || found?.leaderEpoch == 2)
            }
            let greatest = times.max()!
            let found = try #require(try log.offsetOfMaxTimestamp().get())
            #expect(found.timestamp == greatest)
            #expect(found.offset == Int64(times.firstIndex(of: greatest)!))
        }
        try check(log)
        try log.close()
        try check(try PartitionLog.reopen(self.folder, config: self.config, clean: true).log)
        try check(try PartitionLog.reopen(self.folder, config: self.config).log)
        #expect(log.deleteRecords(before: 0))
    }

    @Test func anEmptyLogHasNone() throws {
        let log = try PartitionLog.make(self.folder)
        #expect(try log.offset(forTimestamp: 0).get() == nil)
        #expect(try log.offsetOfMaxTimestamp().get() == nil)
    }

    @Test func notBeforeTheLogStart() throws {
        let log = try PartitionLog.make(self.folder)
        log.append(batch(4, timestamp: 100, step: 10))
        log.append(batch(4, timestamp: 200, step: 10))
        #expect(log.deleteRecords(before: 2))
        #expect(try log.offset(forTimestamp: 0).get() == TimestampLookup(timestamp: 120, offset: 2, leaderEpoch: 0))
        #expect(try log.offset(forTimestamp: 0, upTo: 2).get() == nil)
    }
}

@Suite struct RetentionTests {
    let folder = TemporaryFolder()

    private func config(_ change: (inout LogConfig) -> Void = { _ in }) -> LogConfig {
        var config = LogConfig()
        config.segmentBytes = 1000
        config.indexIntervalBytes = 200
        config.segmentMs = .max
        config.retentionMs = -1
        change(&config)
        return config
    }

    @Test func byTime() throws {
        let log = try PartitionLog.make(self.folder, config: self.config { $0.retentionMs = 500 })
        for index in 0..<100 { log.append(batch(2, timestamp: Int64(index * 10))) }
        let segments = log.segmentCount
        #expect(try log.deleteOldSegments(now: 500) == 0)
        let deleted = try log.deleteOldSegments(now: 1000)
        #expect(deleted > 2 && deleted < segments - 2)
        let start = log.snapshot.logStartOffset
        // Records of up to 500 ms ago are kept.
        #expect(start <= 100 && start > 60)
        #expect(try log.readAll(from: start).first?.baseOffset == start)
        #expect(throws: ErrorCode.offsetOutOfRange) {
            try log.read(from: start - 1, maxBytes: 100, upTo: .max, minOneMessage: true).get()
        }
        // All of it: the active segment rolls and goes too.
        _ = try log.deleteOldSegments(now: 100_000)
        #expect(log.segmentCount == 1)
        #expect(log.snapshot.logStartOffset == 200)
        #expect(log.sizeInBytes == 0)
        #expect(try log.append(batch()).get().firstOffset == 200)
        let (again, _) = try PartitionLog.reopen(self.folder)
        #expect(again.snapshot.logStartOffset == 200)
        #expect(again.logEndOffset == 201)
    }

    @Test func bySize() throws {
        let log = try PartitionLog.make(self.folder, config: self.config { $0.retentionBytes = 3000 })
        for _ in 0..<100 { log.append(batch(2)) }
        _ = try log.deleteOldSegments(now: 1)
        #expect(log.sizeInBytes >= 3000)
        #expect(log.sizeInBytes < 4000)
        var config = log.config
        config.retentionBytes = 0
        log.update(config: config)
        _ = try log.deleteOldSegments(now: 1)
        #expect(log.segmentCount == 1)
        // The active segment too, as in Kafka.
        #expect(log.sizeInBytes == 0 && log.snapshot.logStartOffset == 200)
    }

    @Test func compactAloneKeepsAll() throws {
        let log = try PartitionLog.make(
            self.folder,
            config: self.config {
                $0.retentionBytes = 0
                $0.retentionMs = 0
                $0.cleanupPolicy = .compact
            })
        for _ in 0..<100 { log.append(batch(2)) }
        #expect(try log.deleteOldSegments(now: 100_000) == 0)
        var config = log.config
        config.cleanupPolicy = [.compact, .delete]
        log.update(config: config)
        #expect(try log.deleteOldSegments(now: 100_000) > 0)
    }

    @Test func nothingAtOrAboveTheHighWatermarkGoes() throws {
        let log = try PartitionLog.make(self.folder, config: self.config { $0.retentionMs = 0 })
        for _ in 0..<100 { log.append(batch(2)) }
        log.setHighWatermark(101)
        _ = try log.deleteOldSegments(now: 100_000)
        #expect(log.snapshot.logStartOffset <= 101)
        #expect(log.snapshot.logStartOffset > 80)
    }

    @Test func deletedRecords() throws {
        let log = try PartitionLog.make(self.folder, config: self.config())
        for _ in 0..<100 { log.append(batch(2), epoch: 3) }
        let segments = log.segmentCount
        #expect(!log.deleteRecords(before: 201))
        #expect(log.deleteRecords(before: 77))
        #expect(log.snapshot.logStartOffset == 77)
        #expect(try log.readAll(from: 77).first?.baseOffset == 76)
        #expect(try log.deleteOldSegments(now: 1) > 0)
        #expect(log.segmentCount < segments)
        #expect(log.snapshot.logStartOffset == 77)
        #expect(log.leaderEpoch(forOffset: 77) == 3)
    }

    @Test func filesGoAfterTheDelayAndReadsInFlightGoOn() throws {
        let trash = Trash()
        let environment = LogEnvironment(background: Inline(), trash: trash)
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: self.folder.path + "/orders-0"),
            config: self.config { $0.retentionMs = 0 }, environment: environment, now: 0)
        for _ in 0..<50 { log.append(batch(2)) }
        let slice = try #require(try log.read(from: 0, maxBytes: 500, upTo: .max, minOneMessage: true).get().slice)
        let before = slice.bytes
        let deleted = try log.deleteOldSegments(now: 100_000)
        #expect(slice.bytes == before && !before.isEmpty)
        func count(_ suffix: String) throws -> Int {
            try FileSystem.list(log.path).filter { $0.hasSuffix(suffix) }.count
        }
        #expect(try count(".log.deleted") == deleted)
        #expect(try count(".index.deleted") == deleted)
        trash.empty(now: 100_000 + 59_999)
        #expect(try count(".log.deleted") == deleted)
        trash.empty(now: 100_000 + 60_000)
        #expect(try count(".deleted") == 0)
        #expect(slice.bytes == before)
    }

    @Test func truncation() throws {
        let log = try PartitionLog.make(self.folder, config: self.config())
        for index in 0..<100 {
            log.append(
                batch(2, timestamp: Int64(index), producer: ProducerStamp(id: 1, sequence: Int32(index * 2))),
                epoch: Int32(index / 20))
        }
        let whole = try log.readAll()
        for end in [Int64(198), 150, 99, 20, 0] {
            try log.truncate(to: end, now: 1)
            // The batch that holds the offset goes whole.
            let even = end / 2 * 2
            #expect(log.logEndOffset == even)
            #expect(try log.readAll() == Array(whole.prefix(Int(even / 2))))
            #expect(log.latestEpoch == (even == 0 ? nil : Int32((even / 2 - 1) / 20)))
            #expect(log.producerCount == (even == 0 ? 0 : 1))
            let copy = self.folder.copy()
            let (again, report) = try PartitionLog.reopen(copy, config: self.config())
            #expect(again.logEndOffset == even && report.bytesCut == 0)
        }
        try log.truncateFullyAndStart(at: 500, now: 1)
        #expect(log.snapshot.logStartOffset == 500)
        #expect(try log.append(batch()).get().firstOffset == 500)
        #expect(try log.readAll(from: 500).count == 1)
    }

    @Test func replicasKeepTheirOffsets() throws {
        let log = try PartitionLog.make(self.folder)
        var bytes = batch(3)
        bytes.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: 40, leaderEpoch: 6) }
        let info = try log.append(bytes, origin: .replica).get()
        #expect(info.firstOffset == 40 && info.lastOffset == 42)
        #expect(log.latestEpoch == 6)
        guard case .failure = log.append(bytes, origin: .replica) else {
            Issue.record("appended twice")
            return
        }
        #expect(try log.readAll().map(\.baseOffset) == [40])
    }
}
