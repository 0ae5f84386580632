import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// What was changed in a partition's files after a clean end: what was known of it holds as far as it can.
@Suite struct ClosedDamageTests {
    let folder = TemporaryFolder()

    private var path: String { self.folder.path + "/data" }
    private var file: String { self.path + "/orders-0/00000000000000000000.log" }

    private func open() throws -> (manager: LogManager, log: PartitionLog) {
        let manager = try LogManager.open(
            LogManager.Configuration(directories: [self.path], nodeID: 1), background: Inline(), now: 0)
        _ = try manager.load(now: 0, topicID: { _ in ordersID }, config: { _, _ in LogConfig() })
        return (manager, try manager.create(orders, topicID: ordersID, config: LogConfig(), now: 0))
    }

    private static func put(_ bytes: [UInt8], to path: String) { KafkaLogTests.write(bytes, to: path) }

    /// Ten batches of three records, by a producer that may send five of them again.
    private func write() throws -> Int {
        let (manager, log) = try self.open()
        for index in Int32(0)..<10 { log.append(batch(3, producer: ProducerStamp(id: 4, sequence: 3 * index))) }
        #expect(manager.shutdown())
        return contents(self.file).count / 10
    }

    /// A byte of the last batch's header: its length, magic, CRC, attributes, last offset, number of records,
    /// base offset.
    @Test(arguments: [5, 7, 11, 16, 18, 22, 26, 24, 60]) func theLastBatchIsDamaged(byte: Int) throws {
        let size = try self.write()
        var bytes = contents(self.file)
        bytes[9 * size + byte] ^= 0x40
        Self.put(bytes, to: self.file)
        let (manager, log) = try self.open()
        #expect(log.logEndOffset == 30)
        #expect(throws: ErrorCode.corruptMessage) {
            try log.read(from: 27, maxBytes: 1000, upTo: .max, minOneMessage: true).get()
        }
        #expect(throws: ErrorCode.corruptMessage) {
            try log.read(from: 29, maxBytes: 1000, upTo: .max, minOneMessage: true).get()
        }
        #expect(try log.readAll(upTo: 27).count == 9)
        #expect(try log.append(batch()).get().firstOffset == 30)
        #expect(try log.readAll(from: 30).count == 1)
        manager.shutdown()
    }

    /// A start that was killed while it cut something off may have left it for the next power cut to bring back.
    @Test func aLongerFileIsCutAndTheProducersAreKnown() throws {
        _ = try self.write()
        let bytes = contents(self.file)
        Self.put(bytes + [0], to: self.file)
        let (manager, log) = try self.open()
        #expect(log.logEndOffset == 30 && log.sizeInBytes == bytes.count)
        // The oldest of the five that are remembered.
        let again = try log.append(batch(3, producer: ProducerStamp(id: 4, sequence: 15))).get()
        #expect(again.isDuplicate && again.firstOffset == 15)
        #expect(contents(self.file) == bytes)
        manager.shutdown()
    }

    /// flush.ms counts for what the last process did not sync, also where nothing more is appended.
    @Test func whatAKillLeavesUnsyncedIsSynced() throws {
        var config = LogConfig()
        config.flushMs = 500
        let log = try PartitionLog.make(self.folder, config: config)
        log.append(batch(3))
        let mark = try #require(try log.takeMark())
        let environment = LogEnvironment(background: Inline())
        let again = try #require(
            try PartitionLog.resume(
                mark, segments: [], folder: PartitionFolder(path: self.folder.path + "/orders-0"), config: config,
                environment: environment, hints: OpenHints(isSameBoot: true), now: 1000))
        #expect(again.recoveryPoint == 0)
        for listed in environment.changes.take() { listed.flushIfDue(now: 2000) }
        #expect(again.recoveryPoint == 3)
    }

    /// As it does for a log whose flush.ms is set later.
    @Test func aChangeOfFlushMsIsSeen() throws {
        let log = try PartitionLog.make(self.folder)
        log.append(batch(3))
        _ = log.environment.changes.take()
        log.state.withLock { $0.isListed = false }
        var config = LogConfig()
        config.flushMs = 1
        log.update(config: config)
        #expect(log.environment.changes.take().count == 1)
    }
}

private enum Tests {
    static func write(_ bytes: [UInt8], to path: String) { KafkaLogTests.write(bytes, to: path) }
}
