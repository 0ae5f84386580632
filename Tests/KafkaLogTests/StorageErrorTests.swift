import Glibc
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

@Suite struct StorageErrorTests {
    let folder = TemporaryFolder()

    /// A log whose file takes nothing: every write gives ENOSPC.
    @Test func aFailedWriteChangesNothing() throws {
        let log = try PartitionLog.make(self.folder)
        let path = log.path + "/00000000000000000000.log"
        try FileSystem.unlink(path)
        #expect(symlink("/dev/full", path) == 0)
        for _ in 0..<3 {
            let result = log.append(batch(1, producer: ProducerStamp(id: 1, sequence: 0)))
            guard case .failure(.storage) = result else {
                Issue.record("\(result)")
                return
            }
            #expect(
                log.snapshot
                    == LogOffsets(
                        logStartOffset: 0, logEndOffset: 0, highWatermark: 0, lastStableOffset: 0))
            #expect(log.producerCount == 0)
            #expect(log.latestEpoch == nil)
        }
    }

    /// `OTTLA_SMALL_FS` names a folder on a file system of at most some megabytes: it is filled, and used again.
    @Test(.enabled(if: getenv("OTTLA_SMALL_FS") != nil))
    func aFullDisk() throws {
        let path = String(cString: getenv("OTTLA_SMALL_FS")) + "/orders-0"
        defer { removeTree(path) }
        var config = LogConfig()
        config.segmentBytes = 200_000
        config.retentionMs = -1
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: path), config: config,
            environment: LogEnvironment(background: Inline()), now: 0)
        var sequence: Int32 = 0
        for round in 0..<3 {
            var refused = 0
            for _ in 0..<10_000 where refused < 5 {
                let result = log.append(batch(1, size: 3000, producer: ProducerStamp(id: 1, sequence: sequence)))
                switch result {
                case .success(let info):
                    #expect(info.firstOffset == Int64(sequence))
                    sequence += 1
                case .failure(let error):
                    #expect(error.code == .kafkaStorageError)
                    refused += 1
                }
            }
            #expect(refused == 5)
            #expect(log.logEndOffset == Int64(sequence))
            let start = log.snapshot.logStartOffset
            #expect(try log.readAll(from: start).count == Int(Int64(sequence) - start))
            // Room again.
            config.retentionBytes = 200_000
            config.fileDeleteDelayMs = 0
            log.update(config: config)
            #expect(try log.deleteOldSegments(now: 1) > 0, "round \(round)")
            log.environment.trash.empty(now: 2)
            config.retentionBytes = -1
            log.update(config: config)
        }
        let (again, report) = try PartitionLog.open(
            orders, topicID: ordersID, folder: PartitionFolder(path: path), config: config,
            environment: LogEnvironment(background: Inline()), hints: OpenHints(), now: 0)
        #expect(again.logEndOffset == Int64(sequence))
        #expect(report.bytesCut == 0)
    }

    @Test func aLogThatIsClosedRefuses() throws {
        let log = try PartitionLog.make(self.folder)
        log.append(batch())
        try log.close()
        guard case .failure(let error) = log.append(batch()) else {
            Issue.record("appended")
            return
        }
        #expect(error.code == .notLeaderOrFollower)
    }
}
