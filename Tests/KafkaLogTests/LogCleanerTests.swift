import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite("The cleaner: choice, checkpoint, failures, ends")
struct LogCleanerTests {
    private let folder = TemporaryFolder()
    private let notices = Notices()

    private func manager(_ change: (inout LogManager.Configuration) -> Void = { _ in }) throws -> LogManager {
        var configuration = LogManager.Configuration(directories: [self.folder.path], nodeID: 1)
        change(&configuration)
        return try LogManager.open(configuration, background: Inline(), now: 0) { self.notices.add($0) }
    }

    private func fill(_ log: PartitionLog, rounds: Int = 10, size: Int = 1) throws {
        let value = String(repeating: "v", count: size)
        for round in 0..<rounds { log.append(keyed([("a", value), ("b", "\(round)")], timestamp: 1000)) }
        try log.rollNow()
    }

    private func make(
        _ manager: LogManager, _ name: String = "orders", config: LogConfig = compacted()
    ) throws -> PartitionLog {
        try manager.create(TopicPartition(topic: name, partition: 0), topicID: ordersID, config: config, now: 0)
    }

    @Test("The dirtiest log first, then the others, then none; the checkpoint says up to where, also after a restart")
    func rounds() throws {
        var manager = try self.manager()
        let log = try self.make(manager)
        let other = try self.make(manager, "other")
        try self.fill(log)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try log.keys() == ["a=v", "b=9"])
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        try self.fill(log, rounds: 1)
        try self.fill(other)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try other.keys() == ["a=v", "b=9"])
        #expect(try log.kept().count == 4)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try log.keys() == ["a=v", "b=0"])
        let text = String(decoding: contents(self.folder.path + "/cleaner-offset-checkpoint"), as: UTF8.self)
        #expect(text == "0\n2\norders 0 22\nother 0 20\n")
        #expect(self.notices.contain("orders-0: cleaned, dirty from offset 20 to 22"))
        #expect(manager.cleaner.counters.cleanings == 3)
        #expect(manager.shutdown())
        manager = try self.manager()
        _ = try manager.load(now: 0) { _, _ in compacted() }
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        let again = try #require(manager.log(for: orders))
        #expect(try again.keys() == ["a=v", "b=0"])
        manager.shutdown()
    }

    @Test("Neither deleting topics nor those without a policy are cleaned; below the ratio nothing is, unless overdue")
    func choice() throws {
        let manager = try self.manager()
        for policy in [LogConfig.CleanupPolicy.delete, []] {
            let log = try self.make(manager, "p\(policy.rawValue)", config: compacted { $0.cleanupPolicy = policy })
            try self.fill(log)
        }
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        let log = try self.make(manager, config: compacted { $0.minCleanableDirtyRatio = 0.5 })
        try self.fill(log, rounds: 20, size: 100)
        log.append(keyed([("long", String(repeating: "x", count: 200))]))
        try log.rollNow()
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        try self.fill(log, rounds: 1)
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(manager.cleaner.counters.maxDirtyRatio > 0.1)
        log.update(
            config: compacted {
                $0.minCleanableDirtyRatio = 0.5
                $0.maxCompactionLagMs = 3000
            })
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 3999))
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 4002))
        // What is too young stays.
        try self.fill(log)
        log.update(config: compacted { $0.minCompactionLagMs = 3000 })
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 3999))
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 4001))
        manager.shutdown()
    }

    @Test("compact,delete has retention too, and what is before the log's start goes")
    func compactAndDelete() throws {
        let manager = try self.manager()
        let log = try self.make(
            manager,
            config: compacted {
                $0.cleanupPolicy = [.compact, .delete]
                $0.retentionMs = 10_000
                $0.fileDeleteDelayMs = 0
            })
        try self.fill(log)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 2000))
        #expect(try log.keys() == ["a=v", "b=9"])
        // The checkpoint lies before the log's start then, which is no news here.
        #expect(log.deleteRecords(before: 20))
        log.append(keyed([("c", "1")], timestamp: 30_000))
        try log.rollNow()
        #expect(try log.deleteOldSegments(now: 2000) > 0)
        #expect(try log.keys() == ["c=1"])
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 31_000))
        #expect(try log.deleteOldSegments(now: 50_000) > 0)
        #expect(try log.keys() == [])
        #expect(log.snapshot.logStartOffset == 21)
        manager.shutdown()
    }

    @Test(
        "A damaged batch: the partition is left alone, with one line, and the others are cleaned", arguments: [20, 70])
    func damage(at position: Int) throws {
        let manager = try self.manager()
        let log = try self.make(manager)
        try self.fill(log, size: 40)
        let path = log.folder.path(0, .log)
        var bytes = contents(path)
        bytes[position] ^= 1
        let file = try FileSystem.open(path, .readWrite)
        try FileSystem.writeAll(file, bytes, at: 0)
        let before = fileNames(self.folder)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(!manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(manager.cleaner.uncleanablePartitions == [orders])
        #expect(manager.cleaner.counters.uncleanablePartitions == 1)
        let lines = self.notices.all.filter { $0.message.contains("cannot be cleaned") }
        #expect(lines.count == 1)
        #expect(lines.first?.message.contains("00000000000000000000.log") == true)
        #expect(fileNames(self.folder) == before)
        let other = try self.make(manager, "other")
        try self.fill(other)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try other.kept().count == 2)
        manager.shutdown()
    }

    @Test("A topic that is deleted while it is cleaned: the cleaning ends at once, and nothing of it is left")
    func deletion() throws {
        let manager = try self.manager { configuration in
            configuration.cleaner.maxBytesPerSecond = 2000
            configuration.cleaner.backoffMs = 10
        }
        let log = try self.make(manager, config: compacted(segmentBytes: 1 << 20) { $0.fileDeleteDelayMs = 0 })
        try self.fill(log, rounds: 200, size: 2000)
        manager.cleaner.start(manager)
        while log.state.withLock({ $0.cleaning?.isRunning }) != true { usleep(100) }
        try manager.delete(orders, now: 0)
        #expect(log.state.withLock { $0.cleaning?.isRunning } == false)
        let again = try self.make(manager)
        #expect(again.logEndOffset == 0)
        manager.environment.trash.empty(now: .max)
        #expect(!fileNames(self.folder).contains { $0.hasSuffix(".cleaned") || $0.hasSuffix(".swap") })
        #expect(manager.cleaner.checkpoint(orders, manager.directories[0]) == nil)
        #expect(manager.cleaner.uncleanablePartitions.isEmpty)
        manager.shutdown()
    }

    @Test("The end of the broker does not wait for a cleaning; the log is as it was")
    func shutdown() throws {
        let manager = try self.manager { $0.cleaner.maxBytesPerSecond = 2000 }
        let log = try self.make(manager, config: compacted(segmentBytes: 1 << 20))
        try self.fill(log, rounds: 200, size: 2000)
        let before = try log.kept()
        manager.cleaner.start(manager)
        while log.state.withLock({ $0.cleaning?.isRunning }) != true { usleep(100) }
        #expect(manager.shutdown())
        let next = try self.manager()
        _ = try next.load(now: 0) { _, _ in compacted() }
        #expect(try next.log(for: orders)?.kept() == before)
        next.shutdown()
    }

    @Test("A log that is cut is dirty from there on")
    func truncation() throws {
        let manager = try self.manager()
        let log = try self.make(manager, config: compacted(segmentBytes: 100))
        try self.fill(log)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        try log.truncate(to: 0, now: 0)
        try self.fill(log, rounds: 12)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try log.keys() == ["a=v", "b=11"])
        // A checkpoint behind the log's end is not believed.
        try log.truncate(to: 0, now: 0)
        log.state.withLock { $0.cleaning?.truncationIsNoted() }
        try self.fill(log, rounds: 3)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try log.keys() == ["a=v", "b=2"])
        manager.shutdown()
    }

    @Test("What was known of a deleted topic is not known of another of its name, even where that could not be written")
    func deletedAndMadeAnew() throws {
        let path = self.folder.path + "/cleaner-offset-checkpoint"
        var manager = try self.manager()
        try self.fill(try self.make(manager))
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        let known = contents(path)
        #expect(mkdir(path + ".tmp", 0o755) == 0)
        try manager.delete(orders, now: 0)
        #expect(contents(path) == known, "it cannot be written")
        #expect(throws: IOError.self) { try self.make(manager) }
        #expect(rmdir(path + ".tmp") == 0)
        let log = try self.make(manager)
        #expect(String(decoding: contents(path), as: UTF8.self) == "0\n0\n")
        try self.fill(log, rounds: 12)
        #expect(manager.cleaner.cleanDirtiest(of: manager, now: 5000))
        #expect(try log.keys() == ["a=v", "b=11"])
        // Nor by the next process.
        try manager.delete(orders, now: 0)
        manager.shutdown()
        try FileSystem.replace(path, with: known, durable: false)
        manager = try self.manager()
        _ = try manager.load(now: 0) { _, _ in compacted() }
        #expect(String(decoding: contents(path), as: UTF8.self) == "0\n0\n")
        manager.shutdown()
    }

    @Test("Settings while it runs: another rate at once, another number of threads")
    func settings() throws {
        let manager = try self.manager { $0.cleaner.maxBytesPerSecond = 1 }
        let log = try self.make(manager, config: compacted(segmentBytes: 1 << 20))
        try self.fill(log, rounds: 200)
        manager.cleaner.start(manager)
        while log.state.withLock({ $0.cleaning?.isRunning }) != true { usleep(100) }
        var settings = LogCleaner.Settings()
        settings.threads = 2
        settings.backoffMs = 10
        manager.update(cleaner: settings)
        let end = wallClockMs() + 20_000
        while manager.cleaner.counters.cleanings == 0, wallClockMs() < end { usleep(1000) }
        #expect(manager.cleaner.counters.cleanings == 1)
        #expect(try log.kept().count == 2)
        manager.shutdown()
    }
}
