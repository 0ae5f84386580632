import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

@Suite struct AppendReadTests {
    let folder = TemporaryFolder()

    @Test func offsetsFollowEachOther() throws {
        let log = try PartitionLog.make(self.folder)
        for index in 0..<10 {
            let info = try log.append(batch(3), epoch: 4).get()
            #expect(info.firstOffset == Int64(index * 3))
            #expect(info.lastOffset == Int64(index * 3 + 2))
            #expect(info.logEndOffset == Int64(index * 3 + 3))
            #expect(!info.isDuplicate)
        }
        let headers = try log.readAll()
        #expect(headers.map(\.baseOffset) == (0..<10).map { Int64($0 * 3) })
        #expect(headers.allSatisfy { $0.partitionLeaderEpoch == 4 })
        #expect(
            log.snapshot == LogOffsets(logStartOffset: 0, logEndOffset: 30, highWatermark: 30, lastStableOffset: 30))
    }

    @Test func readsAtTheEndAreEmptyAndBeyondItAnError() throws {
        let log = try PartitionLog.make(self.folder)
        log.append(batch(3))
        #expect(try log.read(from: 3, maxBytes: 100, upTo: .max, minOneMessage: true).get().slice == nil)
        #expect(throws: ErrorCode.offsetOutOfRange) {
            try log.read(from: 4, maxBytes: 100, upTo: .max, minOneMessage: true).get()
        }
        #expect(throws: ErrorCode.offsetOutOfRange) {
            try log.read(from: -1, maxBytes: 100, upTo: .max, minOneMessage: true).get()
        }
    }

    @Test func everyOffsetOfEverySegmentIsFound() throws {
        var config = LogConfig()
        config.segmentBytes = 4000
        config.indexIntervalBytes = 300
        for cacheLimit in [1, 3, 512] {
            let folder = TemporaryFolder()
            let log = try PartitionLog.make(folder, config: config, cacheLimit: cacheLimit)
            for index in 0..<200 { _ = try log.append(batch(1 + index % 4, size: index % 50)).get() }
            #expect(log.segmentCount > 5)
            let all = try log.readAll()
            for offset in 0..<log.logEndOffset {
                let read = try log.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get()
                let batches = try #require(read.slice).batches()
                #expect(batches.count == 1)
                #expect(batches[0].baseOffset <= offset && batches[0].lastOffset >= offset)
            }
            for maxBytes in [0, 70, 500, 1000, 3999, 100_000] {
                #expect(try log.readAll(maxBytes: maxBytes).map(\.baseOffset) == all.map(\.baseOffset))
            }
            for offset in stride(from: Int64(0), to: log.logEndOffset, by: 7) {
                let read = try log.read(from: offset, maxBytes: 60, upTo: .max, minOneMessage: false).get()
                #expect(read.slice == nil)
                let larger = try log.read(from: offset, maxBytes: 700, upTo: .max, minOneMessage: false).get()
                #expect(try #require(larger.slice).length <= 700)
                #expect(try #require(larger.slice?.batches().first).lastOffset >= offset)
            }
        }
    }

    @Test func nothingAtOrAboveTheLimitIsRead() throws {
        var config = LogConfig()
        config.segmentBytes = 4000
        config.indexIntervalBytes = 300
        let log = try PartitionLog.make(self.folder, config: config)
        for _ in 0..<100 { log.append(batch(2)) }
        for limit in stride(from: Int64(0), through: 200, by: 2) {
            let headers = try log.readAll(upTo: limit)
            #expect((headers.last?.lastOffset ?? -1) + 1 == limit)
        }
        log.setHighWatermark(50)
        #expect(log.snapshot.highWatermark == 50)
        log.append(batch(2))
        #expect(log.snapshot.highWatermark == 50)
    }

    @Test func rollsByIndexAndOffsetAndTime() throws {
        var config = LogConfig()
        config.segmentMs = 500
        let log = try PartitionLog.make(self.folder, config: config)
        log.append(batch(timestamp: 1000))
        log.append(batch(timestamp: 1500))
        #expect(log.segmentCount == 1)
        log.append(batch(timestamp: 1501))
        #expect(log.segmentCount == 2)
        config.segmentIndexBytes = 24
        config.indexIntervalBytes = 1
        config.segmentMs = .max
        log.update(config: config)
        for _ in 0..<6 { log.append(batch(timestamp: 1501)) }
        #expect(log.segmentCount > 3)
        #expect(try log.readAll().count == 9)
    }

    @Test func aBatchLongerThanASegmentIsRefused() throws {
        var config = LogConfig()
        config.segmentBytes = 200
        let log = try PartitionLog.make(self.folder, config: config)
        let result = log.append(batch(size: 300))
        guard case .failure(.protocolError(let code, _)) = result else {
            Issue.record("\(result)")
            return
        }
        #expect(code == .recordListTooLarge)
        #expect(log.logEndOffset == 0)
    }

    @Test func theNextSegmentIsMadeAhead() throws {
        var config = LogConfig()
        config.segmentBytes = 2000
        let background = Manual()
        let log = try PartitionLog.make(self.folder, config: config, background: background)
        while log.sizeInBytes < 1850 { log.append(batch()) }
        background.runAll()
        #expect(try FileSystem.exists(log.path + "/" + PartitionFolder.nextSegment))
        while log.segmentCount == 1 { log.append(batch()) }
        #expect(try !FileSystem.exists(log.path + "/" + PartitionFolder.nextSegment))
        let end = log.logEndOffset
        #expect(try FileSystem.exists(log.path + "/" + PartitionFolder.name(end - 1) + ".log"))
        background.runAll()
        #expect(log.recoveryPoint == end - 1)
        #expect(try FileSystem.exists(log.path + "/" + PartitionFolder.name(end - 1) + ".snapshot"))
        // Without the background a roll makes its own.
        for _ in 0..<60 { log.append(batch()) }
        #expect(log.segmentCount > 2)
        #expect(try log.readAll().count == Int(log.logEndOffset))
    }

    @Test func reopensAfterAClose() throws {
        var config = LogConfig()
        config.segmentBytes = 3000
        config.indexIntervalBytes = 200
        let log = try PartitionLog.make(self.folder, config: config)
        for index in 0..<100 { log.append(batch(2, timestamp: Int64(index)), epoch: Int32(index / 30)) }
        let before = try log.readAll()
        try log.close()
        let (again, report) = try PartitionLog.reopen(self.folder, config: config, clean: true)
        #expect(report.bytesScanned == 0)
        #expect(again.logEndOffset == 200)
        #expect(again.latestEpoch == 3)
        #expect(again.endOffset(forEpoch: 1) == (1, 120))
        #expect(try again.readAll() == before)
        #expect(try again.append(batch()).get().firstOffset == 200)
    }
}
