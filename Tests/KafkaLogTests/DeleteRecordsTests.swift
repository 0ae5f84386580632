import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaLog

@Suite struct DeleteRecordsTests {
    let folder = TemporaryFolder()

    private func open(_ path: String) throws -> LogManager {
        let manager = try LogManager.open(
            LogManager.Configuration(directories: [path], nodeID: 1), background: Inline(), now: 0)
        _ = try manager.load(now: 0) { _, _ in LogConfig() }
        return manager
    }

    /// Once acknowledged it holds, whatever is left of the files that are written about every second: the process is
    /// killed (the folder as it is), or the machine is (another boot's marks count for nothing).
    @Test(arguments: [false, true]) func survivesACrash(machineIsKilled: Bool) throws {
        let manager = try self.open(self.folder.path + "/data")
        let logs = try (0..<3).map { index in
            try manager.create(
                TopicPartition(topic: "t", partition: Int32(index)), topicID: ordersID, config: LogConfig(), now: 0)
        }
        for log in logs { for _ in 0..<20 { log.append(batch(2)) } }
        manager.writeMarks()
        manager.checkpoint()
        let results = manager.deleteRecords(before: [(logs[0], 10), (logs[1], -1), (logs[2], 41)])
        #expect(results == [.success(10), .success(40), .failure(.offsetOutOfRange)])
        let copy = self.folder.copy()
        if machineIsKilled { try FileSystem.unlink(copy.path + "/data/" + BootMarks.name) }
        let again = try self.open(copy.path + "/data")
        let starts = (0..<3).map {
            again.log(for: TopicPartition(topic: "t", partition: Int32($0)))?.snapshot.logStartOffset
        }
        #expect(starts == [10, 40, 0])
        again.shutdown()
        manager.shutdown()
    }

    /// Where the records of a deleted topic began, and up to where they were on disk, tells nothing of another of its name.
    @Test(arguments: [false, true]) func aNewTopicDoesNotBeginWhereTheDeletedOneDid(restarts: Bool) throws {
        let partition = TopicPartition(topic: "t", partition: 0)
        var manager = try self.open(self.folder.path + "/data")
        var log = try manager.create(partition, topicID: ordersID, config: LogConfig(), now: 0)
        for _ in 0..<20 { log.append(batch(2)) }
        #expect(manager.deleteRecords(before: [(log, 10)]) == [.success(10)])
        try log.flush()
        manager.checkpoint()
        try manager.delete(partition, now: 0)
        var folder = self.folder
        if restarts {
            // Killed, and started again.
            folder = folder.copy()
            manager.shutdown()
            manager = try self.open(folder.path + "/data")
        }
        let id = KafkaUUID(high: 7, low: 10)
        log = try manager.create(partition, topicID: id, config: LogConfig(), now: 0)
        for _ in 0..<3 { log.append(batch(2)) }
        manager.writeMarks()
        let copy = folder.copy()
        let again = try self.open(copy.path + "/data")
        let found = try #require(again.log(for: partition))
        #expect(found.topicID == id)
        #expect(found.snapshot.logStartOffset == 0 && found.logEndOffset == 6 && found.recoveryPoint == 0)
        again.shutdown()
        manager.shutdown()
    }

    /// A flush that was asked for before the topic was deleted writes nothing into the folder of another of its name.
    @Test func aLateFlushOfADeletedTopicWritesNothing() throws {
        let later = Manual()
        let manager = try LogManager.open(
            LogManager.Configuration(directories: [self.folder.path + "/data"], nodeID: 1), background: later, now: 0)
        var config = LogConfig()
        config.flushMs = 100
        config.indexIntervalBytes = 0
        _ = try manager.load(now: 0, config: { [config] _, _ in config })
        let partition = TopicPartition(topic: "t", partition: 0)
        let old = try manager.create(partition, topicID: ordersID, config: config, now: 0)
        for _ in 0..<4 { old.append(batch(2), epoch: 3) }
        old.flushIfDue(now: 200)
        try manager.delete(partition, now: 0)
        let id = KafkaUUID(high: 7, low: 10)
        let log = try manager.create(partition, topicID: id, config: config, now: 0)
        log.append(batch(1))
        later.runAll()
        let files = PartitionFolder(path: log.path)
        #expect(contents(files.path(0, .index)).isEmpty)
        #expect(contents(log.path + "/" + PartitionFolder.leaderEpochs).isEmpty)
        manager.shutdown()
    }

    @Test func anOlderCheckpointDoesNotReplaceANewer() throws {
        let path = self.folder.path + "/data"
        let manager = try self.open(path)
        let log = try manager.create(
            TopicPartition(topic: "t", partition: 0), topicID: ordersID, config: LogConfig(), now: 0)
        for _ in 0..<200 { log.append(batch(1)) }
        let isDone = Atomic(false)
        Threads.run(2) { [manager] in
            if !isDone.exchange(true, ordering: .acquiringAndReleasing) {
                for offset in Int64(1)...200 {
                    guard manager.deleteRecords(before: [(log, offset)]) == [.success(offset)] else { return }
                    let starts = try? manager.directories[0].readCheckpoint(LogDirectory.logStartOffsets)
                    let stored = starts?.values.first ?? 0
                    if stored < offset { Issue.record("\(stored) after \(offset)") }
                }
            } else {
                for _ in 0..<100 { manager.checkpoint() }
            }
        }
        manager.shutdown()
    }

    @Test func whatIsNotOnDiskIsNotAcknowledged() throws {
        let path = self.folder.path + "/data"
        let manager = try self.open(path)
        let log = try manager.create(
            TopicPartition(topic: "t", partition: 0), topicID: ordersID, config: LogConfig(), now: 0)
        for _ in 0..<10 { log.append(batch(1)) }
        // A folder is in the way of the temporary file.
        try FileSystem.makeDirectory(path + "/" + LogDirectory.logStartOffsets + ".tmp")
        #expect(manager.deleteRecords(before: [(log, 5)]) == [.failure(.kafkaStorageError)])
        removeTree(path + "/" + LogDirectory.logStartOffsets + ".tmp")
        #expect(manager.deleteRecords(before: [(log, 5)]) == [.success(5)])
        try manager.delete(log.topicPartition, now: 0)
        #expect(manager.deleteRecords(before: [(log, 6)]) == [.failure(.unknownTopicOrPartition)])
        manager.shutdown()
    }
}
