import Glibc
import KafkaPrimitives
import Testing

@testable import KafkaLog

/// When a segment ends, what is made ahead for the next, and settings that change meanwhile.
@Suite struct RollingTests {
    let folder = TemporaryFolder()

    private func config(_ change: (inout LogConfig) -> Void = { _ in }) -> LogConfig {
        var config = LogConfig()
        config.segmentBytes = 4000
        config.indexIntervalBytes = 200
        change(&config)
        return config
    }

    private func make(_ config: LogConfig, _ background: any BackgroundExecutor = Inline()) throws -> PartitionLog {
        try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: self.folder.path + "/orders-0"), config: config,
            environment: LogEnvironment(background: background), now: 0)
    }

    private func exists(_ log: PartitionLog, _ name: String) -> Bool {
        (try? FileSystem.exists(log.path + "/" + name)) == true
    }

    /// Bytes on disk, whatever the file's size.
    private func allocated(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_blocks) * 512 : -1
    }

    @Test func theNextSegmentIsThereBeforeItIsNeeded() throws {
        let background = Manual()
        let log = try self.make(self.config(), background)
        while log.sizeInBytes <= 2000 {
            #expect(!self.exists(log, PartitionFolder.nextSegment))
            log.append(batch(2))
            background.runAll()
        }
        #expect(self.exists(log, PartitionFolder.nextSegment))
        for suffix in ["index", "timeindex"] { #expect(self.exists(log, "00000000000000000000." + suffix)) }
        while log.segmentCount == 1 { log.append(batch(2)) }
        #expect(!self.exists(log, PartitionFolder.nextSegment))
        #expect(try log.readAll().count == Int(log.logEndOffset / 2))
        background.runAll()
        try log.close()
        #expect(!self.exists(log, PartitionFolder.nextSegment))
    }

    @Test func alsoWhereItIsTimeThatEndsTheSegment() throws {
        let background = Manual()
        let log = try self.make(self.config { $0.segmentMs = 100_000 }, background)
        log.append(batch(1, timestamp: 50_000), now: 50_000)
        log.prepareIfRollIsNear(now: 100_000, withinMs: 30_000)
        background.runAll()
        #expect(!self.exists(log, PartitionFolder.nextSegment))
        log.prepareIfRollIsNear(now: 121_000, withinMs: 30_000)
        background.runAll()
        #expect(self.exists(log, PartitionFolder.nextSegment))
        log.append(batch(1, timestamp: 150_000), now: 150_000)
        #expect(log.segmentCount == 1)
        log.append(batch(1, timestamp: 150_001), now: 150_001)
        #expect(log.segmentCount == 2 && !self.exists(log, PartitionFolder.nextSegment))
    }

    @Test func theLagOfCompactionEndsASegment() throws {
        let log = try self.make(
            self.config {
                $0.segmentMs = 100_000
                $0.maxCompactionLagMs = 1000
            })
        log.append(batch(1, timestamp: 10_000))
        log.append(batch(1, timestamp: 20_000))
        #expect(log.segmentCount == 1)
        var config = log.config
        config.cleanupPolicy = .compact
        log.update(config: config)
        log.append(batch(1, timestamp: 20_001))
        #expect(log.segmentCount == 2)
    }

    /// Kafka's bounds: as many entries of 8 bytes as fit, and one less of 12.
    @Test func aFullIndexEndsASegment() throws {
        let log = try self.make(
            self.config {
                $0.segmentBytes = 1 << 20
                $0.indexIntervalBytes = 0
                $0.segmentIndexBytes = 120
            })
        // One batch more than entries: the first has none.
        for index in 0..<10 { log.append(batch(1, timestamp: Int64(index))) }
        #expect(log.segmentCount == 1)
        log.append(batch(1, timestamp: 10))
        #expect(log.segmentCount == 2)
        // Where time stands still there are few entries of 12 bytes.
        for _ in 0..<15 { log.append(batch(1, timestamp: 10)) }
        #expect(log.segmentCount == 2)
        log.append(batch(1, timestamp: 10))
        #expect(log.segmentCount == 3)
    }

    @Test func preallocatedSpaceIsGivenBack() throws {
        let size = 1 << 20
        let config = self.config {
            $0.segmentBytes = size
            $0.preallocate = true
        }
        let log = try self.make(config)
        let first = log.path + "/00000000000000000000.log"
        guard self.allocated(first) >= size else {
            print("no space can be reserved in \(self.folder.path)")
            return
        }
        #expect(try FileSystem.status(first)?.size == 0)
        var second = 0
        while log.segmentCount == 1 {
            second = Int(log.logEndOffset)
            log.append(batch(100, size: 1000))
        }
        let slack = 64 << 10
        #expect(self.allocated(first) < (try FileSystem.status(first)?.size ?? 0) + slack)
        let next = log.path + "/" + PartitionFolder.name(Int64(second)) + ".log"
        #expect(self.allocated(next) >= size)
        try log.close()
        #expect(self.allocated(next) < (try FileSystem.status(next)?.size ?? 0) + slack)
        // What a killed process left reserved goes with the next clean end.
        FileSystem.reserve(try FileSystem.open(next, .readWrite), count: size)
        let (again, _) = try PartitionLog.reopen(self.folder, config: config)
        #expect(again.logEndOffset == log.logEndOffset)
        try again.close()
        #expect(self.allocated(next) < (try FileSystem.status(next)?.size ?? 0) + slack)
    }

    @Test func settingsTakeEffectAtOnce() throws {
        let trash = Trash()
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: self.folder.path + "/orders-0"),
            config: LogConfig(), environment: LogEnvironment(background: Inline(), trash: trash), now: 0)
        func change(_ body: (inout LogConfig) -> Void) {
            var config = log.config
            body(&config)
            log.update(config: config)
        }
        for _ in 0..<50 { log.append(batch(2)) }
        #expect(log.segmentCount == 1)
        change { $0.segmentBytes = 1000 }
        for _ in 0..<50 { log.append(batch(2)) }
        let segments = log.segmentCount
        #expect(segments > 3)
        change { $0.segmentBytes = 1 << 20 }
        for _ in 0..<50 { log.append(batch(2)) }
        // The one roll that was due.
        #expect(log.segmentCount <= segments + 1)
        #expect(try log.deleteOldSegments(now: 1) == 0)
        change {
            $0.retentionBytes = 1
            $0.fileDeleteDelayMs = 500
        }
        #expect(try log.deleteOldSegments(now: 1) > 0)
        #expect(trash.count > 0)
        trash.empty(now: 501)
        #expect(trash.count == 0)
        change { $0.cleanupPolicy = [] }
        change { $0.retentionBytes = 0 }
        let start = log.snapshot.logStartOffset
        #expect(try log.deleteOldSegments(now: .max / 2) == 0 && log.snapshot.logStartOffset == start)
        change { $0.cleanupPolicy = .delete }
        #expect(try log.deleteOldSegments(now: 1) > 0)
        #expect(log.snapshot.logStartOffset == 300 && log.sizeInBytes == 0)
    }

    @Test func timesInTheFutureKeepASegment() throws {
        let log = try self.make(self.config { $0.retentionMs = 1000 })
        for _ in 0..<50 { log.append(batch(2, timestamp: 1_000_000)) }
        #expect(try log.deleteOldSegments(now: 5000) == 0)
        #expect(try log.deleteOldSegments(now: 1_001_000) == 0)
        #expect(try log.deleteOldSegments(now: 1_001_001) > 0)
        #expect(log.sizeInBytes == 0)
    }
}
