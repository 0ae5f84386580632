import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// What the model test has found of starts after crashes, where a simple scenario shows it.
@Suite struct StartSafetyTests {
    let folder = TemporaryFolder()

    private var config: LogConfig {
        var config = LogConfig()
        config.segmentBytes = 3000
        config.indexIntervalBytes = 200
        return config
    }

    private func path(_ base: Int64, _ suffix: PartitionFolder.Suffix) -> String {
        PartitionFolder(path: self.folder.path + "/orders-0").path(base, suffix)
    }

    /// A mark from before a roll counts fewer entries than a segment has that was sealed and synced since. Nobody would
    /// sync its index files again.
    @Test(arguments: [false, true])
    func indexesBeforeTheRecoveryPointAreNotWritten(isSettled: Bool) throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<10 { log.append(batch(2)) }
        let mark = try #require(try log.takeMark())
        while log.segmentCount == 1 { log.append(batch(2)) }
        let next = log.logEndOffset - 2
        let path = self.path(0, .index)
        let changed = contents(path) + [0, 0, 0, 0, 0, 0, 0, 0]
        write(changed, to: path)
        let (again, _) = try PartitionLog.reopen(
            self.folder, config: self.config, mark: mark, isSameBoot: true, recoveryPoint: isSettled ? next : next - 2)
        #expect(again.logEndOffset == next + 2)
        #expect((contents(path) == changed) == isSettled)
    }

    /// It lies within the segment before it, to which was appended since.
    @Test(arguments: [false, true])
    func anEmptyFileThatARollHasLeftEndsNothing(clean: Bool) throws {
        let log = try PartitionLog.make(self.folder)
        for _ in 0..<20 { log.append(batch(2)) }
        try log.close()
        write([], to: self.path(30, .log))
        let (again, _) = try PartitionLog.reopen(self.folder, clean: clean, recoveryPoint: 40)
        #expect(again.logEndOffset == 40)
        #expect(try again.readAll().count == 20)
        #expect(try again.append(batch()).get().firstOffset == 40)
    }

    /// After a roll, with nothing appended yet: it is the active segment.
    @Test func anEmptyFileAtTheEndStays() throws {
        let log = try PartitionLog.make(self.folder)
        for _ in 0..<20 { log.append(batch(2)) }
        try log.close()
        write([], to: self.path(40, .log))
        let (again, _) = try PartitionLog.reopen(self.folder, recoveryPoint: 40)
        #expect(again.logEndOffset == 40 && again.segmentCount == 2)
    }

    /// A power cut took all of the first segment, and left some of the others: the log begins where it did.
    @Test func aLogWhoseFirstSegmentIsEmptyDoesNotBeginLater() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        while log.segmentCount < 4 { log.append(batch(2)) }
        write([], to: self.path(0, .log))
        let (again, _) = try PartitionLog.reopen(self.folder, config: self.config)
        #expect(again.snapshot.logStartOffset == 0 && again.logEndOffset == 0)
        #expect(try FileSystem.list(log.path).filter { $0.hasSuffix(".log") }.count == 1)
    }

    /// A file that cannot be renamed stays in the log, so that the newer ones do not go before it.
    @Test func whatRetentionCannotRenameIsTriedAgain() throws {
        var config = self.config
        config.retentionBytes = 1
        let log = try PartitionLog.make(self.folder, config: config)
        while log.segmentCount < 4 { log.append(batch(2)) }
        let obstacle = self.path(0, .log) + ".deleted"
        try FileSystem.makeDirectory(obstacle)
        #expect(try log.deleteOldSegments(now: 1000) == 0)
        #expect(log.segmentCount == 4)
        let start = log.snapshot.logStartOffset
        #expect(start > 0)
        #expect(try log.readAll(from: start).first?.baseOffset == start)
        let copy = self.folder.copy()
        try FileSystem.removeDirectory(copy.path + obstacle.dropFirst(self.folder.path.count))
        let (again, _) = try PartitionLog.reopen(copy, config: config)
        #expect(again.snapshot.logStartOffset == 0 && again.logEndOffset == log.logEndOffset)
        try FileSystem.removeDirectory(obstacle)
        #expect(try log.deleteOldSegments(now: 1000) == 3)
        #expect(log.segmentCount == 1 && log.snapshot.logStartOffset == start)
    }

    /// A start that is killed while it removes the sign leaves it under another name until that is on disk.
    @Test func theSignOfACleanShutdownGoesForGood() throws {
        let data = self.folder.path + "/data"
        let configuration = LogManager.Configuration(directories: [data], nodeID: 1, clusterID: "test")
        func open() throws -> LogManager {
            let manager = try LogManager.open(configuration, background: Inline(), now: 1000)
            _ = try manager.load(now: 1000, config: { _, _ in LogConfig() })
            return manager
        }
        #expect(try open().shutdown())
        let sign = data + "/" + LogDirectory.cleanShutdown
        let going = data + "/" + LogDirectory.cleanShutdownGoing
        try FileSystem.rename(sign, to: going)
        let manager = try open()
        #expect(try !FileSystem.exists(sign) && !FileSystem.exists(going))
        #expect(manager.shutdown())
        // Kafka's has no nonce, and a durable removal.
        write(Array("{\"version\":0,\"brokerEpoch\":7}".utf8), to: sign)
        #expect(try !open().directories[0].isOnline == false)
        #expect(try !FileSystem.exists(sign) && !FileSystem.exists(going))
    }
}
