import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// With ottla.flush.before.ack consumers are not told how a transaction ended before its marker is on the disk; nor after
/// a restart, which makes what is not on the disk invisible again.
@Suite struct AcknowledgedTransactionTests {
    let folder = TemporaryFolder()
    let later = Manual()

    private var config: LogConfig {
        var config = LogConfig()
        config.flushBeforeAck = true
        return config
    }

    @Test(arguments: [false, true]) func aKillHidesTheEndOfATransaction(hasMark: Bool) throws {
        let environment = LogEnvironment(background: Inline(), syncs: self.later)
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: self.folder.path + "/orders-0"),
            config: self.config, environment: environment, now: 1000)
        log.append(batch(2))
        log.append(transactionalBatch(2, producer: ProducerStamp(id: 5, sequence: 0)))
        log.append(batch(2))
        self.later.runAll()
        #expect(log.highWatermark == 6 && log.snapshot.lastStableOffset == 2)
        log.end(5, committed: true)
        #expect(log.highWatermark == 6 && log.snapshot.lastStableOffset == 2)
        let mark = hasMark ? try log.takeMark() : nil

        let waits = Manual()
        let (again, _) = try PartitionLog.reopen(
            self.folder, config: self.config, mark: mark, isSameBoot: hasMark, recoveryPoint: log.recoveryPoint,
            background: waits)
        #expect(again.logEndOffset == 7 && again.highWatermark == 5)
        #expect(again.snapshot.lastStableOffset == 2)
        #expect(try again.committedOffsets() == [0, 1])
        waits.runAll()
        #expect(again.highWatermark == 7 && again.snapshot.lastStableOffset == 7)
        #expect(try again.committedOffsets() == [0, 1, 2, 3, 4, 5])
    }

    /// A mark alone does not tell it.
    @Test func aPartitionIsNotOpenedByAMarkThatDoesNotTellIt() throws {
        let environment = LogEnvironment(background: Inline(), syncs: self.later)
        let folder = PartitionFolder(path: self.folder.path + "/orders-0")
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: folder, config: self.config, environment: environment, now: 1000)
        log.append(transactionalBatch(2, producer: ProducerStamp(id: 5, sequence: 0)))
        log.end(5, committed: true)
        let mark = try #require(try log.takeMark())
        let resumed = try PartitionLog.resume(
            mark, segments: [], folder: folder, config: self.config, environment: environment,
            hints: OpenHints(isSameBoot: true), now: 2000)
        #expect(resumed == nil)
    }

    /// What a truncation leaves behind the high watermark is still not told.
    @Test func aTruncationKeepsInMindWhatEndedBehindTheHighWatermark() throws {
        let log = try PartitionLog.make(self.folder, config: self.config, background: self.later)
        log.append(batch(2))
        log.append(transactionalBatch(2, producer: ProducerStamp(id: 5, sequence: 0)))
        log.append(batch(2))
        self.later.runAll()
        log.end(5, committed: false)
        log.append(batch(2))
        try log.truncate(to: 7, now: 1000)
        #expect(log.logEndOffset == 7 && log.highWatermark == 6 && log.snapshot.lastStableOffset == 2)
        self.later.runAll()
        #expect(log.highWatermark == 7 && log.snapshot.lastStableOffset == 7)
    }
}
