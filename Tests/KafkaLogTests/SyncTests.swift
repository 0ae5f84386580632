import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// What logs told, in order.
final class ToldEvents: Sendable {
    struct Told: Sendable, Equatable {
        var released: [ReleasedWaiter] = []
        var moves: [Int64] = []
        var failures: [String] = []
    }
    private let told = Mutex(Told())

    init(_ events: LogEvents) {
        events.onHighWatermark { log in
            let mark = log.highWatermark
            self.told.withLock { $0.moves.append(mark) }
        }
        events.onRelease { waiters in self.told.withLock { $0.released += waiters } }
        events.onStorageFailure { failure in self.told.withLock { $0.failures.append(failure.path) } }
    }

    /// Since the last call.
    func take() -> Told {
        self.told.withLock { told in
            defer { told = Told() }
            return told
        }
    }
}

@Suite struct SyncTests {
    let folder = TemporaryFolder()
    let syncs = Manual()

    private func make(
        _ change: (inout LogConfig) -> Void = { $0.flushBeforeAck = true }
    ) throws -> (log: PartitionLog, told: ToldEvents) {
        var config = LogConfig()
        change(&config)
        let environment = LogEnvironment(background: Inline(), syncs: self.syncs)
        let told = ToldEvents(environment.events)
        let log = try PartitionLog.create(
            orders, topicID: ordersID, folder: PartitionFolder(path: self.folder.path + "/orders-0"), config: config,
            environment: environment, now: 1000)
        return (log, told)
    }

    private func waiter(_ item: Int) -> AppendWaiter { AppendWaiter(loop: 0, request: 1, item: item) }

    @Test func anAppendIsCommittedWhenItIsSynced() throws {
        let (log, told) = try self.make()
        let info = try log.append(batch(3)).get()
        #expect(!info.isCommitted && info.lastOffset == 2)
        #expect(log.highWatermark == 0 && log.logEndOffset == 3)
        // A consumer reads up to the high watermark.
        let read = try log.read(from: 0, maxBytes: 1000, upTo: log.highWatermark, minOneMessage: true).get()
        #expect(read.slice == nil)
        #expect(log.whenCommitted(3, self.waiter(0)) == .waiting)
        self.syncs.runAll()
        #expect(told.take() == .init(released: [.init(waiter: self.waiter(0), error: .none)], moves: [3]))
        #expect(log.highWatermark == 3 && log.recoveryPoint == 2)
        #expect(log.whenCommitted(3, self.waiter(1)) == .committed)
        #expect(try log.readAll(upTo: log.highWatermark).count == 1)
    }

    @Test func appendsDuringASyncShareTheNext() throws {
        let (log, told) = try self.make()
        for index in 0..<50 {
            _ = try log.append(batch(1)).get()
            #expect(log.whenCommitted(Int64(index) + 1, self.waiter(index)) == .waiting)
        }
        // One job for all that came before it ran.
        #expect(self.syncs.pending == 1)
        self.syncs.runAll()
        #expect(told.take().released.map(\.waiter.item) == Array(0..<50))
        #expect(self.syncs.pending == 0)
    }

    @Test func aDuplicateWaitsForTheSyncOfTheFirst() throws {
        let (log, told) = try self.make()
        let stamp = ProducerStamp(id: 5, sequence: 0)
        #expect(try !log.append(batch(2, producer: stamp)).get().isCommitted)
        let again = try log.append(batch(2, producer: stamp)).get()
        #expect(again.isDuplicate && !again.isCommitted && again.lastOffset == 1)
        #expect(log.whenCommitted(2, self.waiter(7)) == .waiting)
        self.syncs.runAll()
        #expect(told.take().released.count == 1)
        #expect(try log.append(batch(2, producer: stamp)).get().isCommitted)
        #expect(log.logEndOffset == 2 && self.syncs.pending == 0)
    }

    /// /dev/null takes every write and has nothing to sync: fdatasync gives EINVAL.
    @Test func afterASyncThatFailsNothingIsBelieved() throws {
        let (log, told) = try self.make()
        _ = try log.append(batch(1)).get()
        self.syncs.runAll()
        #expect(log.highWatermark == 1)
        _ = told.take()
        log.releaseFiles(onlyIdle: false)
        let path = log.path + "/00000000000000000000.log"
        try FileSystem.unlink(path)
        #expect(symlink("/dev/null", path) == 0)
        _ = try log.append(batch(1)).get()
        #expect(log.whenCommitted(2, self.waiter(0)) == .waiting)
        self.syncs.runAll()
        #expect(
            told.take()
                == .init(
                    released: [.init(waiter: self.waiter(0), error: .kafkaStorageError)], moves: [],
                    failures: [log.path]))
        #expect(log.highWatermark == 1 && log.recoveryPoint <= 1)
        guard case .failure(.storage) = log.append(batch(1)) else {
            Issue.record("appended")
            return
        }
        #expect(log.whenCommitted(2, self.waiter(1)) == .failed(.kafkaStorageError))
        #expect(try log.takeMark(always: true) == nil)
        #expect(throws: IOError.self) { try log.flush() }
        #expect(throws: IOError.self) { try log.close() }
        #expect(told.take() == .init())
    }

    @Test func aFlushThatFailsEndsAppendsInTheDefaultModeToo() throws {
        let (log, told) = try self.make { $0.flushMs = 1000 }
        let path = log.path + "/00000000000000000000.log"
        try FileSystem.unlink(path)
        #expect(symlink("/dev/null", path) == 0)
        #expect(try log.append(batch(1)).get().isCommitted)
        log.flushIfDue(now: 5000)
        self.syncs.runAll()
        #expect(told.take().failures == [log.path])
        #expect(log.recoveryPoint == 0)
        guard case .failure(.storage) = log.append(batch(1)) else {
            Issue.record("appended")
            return
        }
    }

    @Test func flushMessagesWaitsOffTheLoop() throws {
        let (log, told) = try self.make { $0.flushMessages = 3 }
        #expect(try log.append(batch(2)).get().isCommitted)
        #expect(log.highWatermark == 2 && self.syncs.pending == 0)
        let third = try log.append(batch(1)).get()
        #expect(!third.isCommitted && log.highWatermark == 2)
        // What comes behind it waits with it, as behind Kafka's lock.
        #expect(try !log.append(batch(1)).get().isCommitted)
        #expect(log.whenCommitted(3, self.waiter(0)) == .waiting)
        #expect(log.whenCommitted(4, self.waiter(1)) == .waiting)
        self.syncs.runAll()
        #expect(told.take().released.map(\.waiter.item) == [0, 1])
        #expect(log.highWatermark == 4)
        #expect(try log.append(batch(1)).get().isCommitted)
        #expect(self.syncs.pending == 0)
    }

    @Test func switchedOnAndOffWhileItIsUsed() throws {
        let (log, told) = try self.make { _ in }
        var config = LogConfig()
        let stamp = ProducerStamp(id: 5, sequence: 0)
        #expect(try log.append(batch(1, producer: stamp)).get().isCommitted)
        config.flushBeforeAck = true
        log.update(config: config)
        // What was there is synced at once; who could see it still can, but it is acknowledged to nobody before.
        #expect(self.syncs.pending == 1 && log.highWatermark == 1)
        #expect(try !log.append(batch(1, producer: stamp)).get().isCommitted)
        #expect(log.whenCommitted(1, self.waiter(0)) == .waiting)
        #expect(try !log.append(batch(1)).get().isCommitted)
        #expect(log.highWatermark == 1)
        self.syncs.runAll()
        #expect(told.take().released.count == 1)
        #expect(log.highWatermark == 2)

        #expect(try !log.append(batch(1)).get().isCommitted)
        #expect(log.whenCommitted(3, self.waiter(2)) == .waiting)
        config.flushBeforeAck = false
        log.update(config: config)
        self.syncs.runAll()
        #expect(told.take().released.count == 1)
        #expect(try log.append(batch(1)).get().isCommitted)
        #expect(log.highWatermark == 4 && self.syncs.pending == 0)
    }

    @Test func whatAKilledProcessLeftIsSyncedBeforeItIsSeen() throws {
        let (log, _) = try self.make()
        for _ in 0..<3 { _ = try log.append(batch(1)).get() }
        self.syncs.runAll()
        _ = try log.append(batch(1)).get()
        let copy = self.folder.copy()
        var config = LogConfig()
        config.flushBeforeAck = true
        let syncs = Manual()
        let environment = LogEnvironment(background: Inline(), syncs: syncs)
        let told = ToldEvents(environment.events)
        let (again, _) = try PartitionLog.open(
            orders, topicID: ordersID, folder: PartitionFolder(path: copy.path + "/orders-0"), config: config,
            environment: environment, hints: OpenHints(recoveryPoint: 2), now: 2000)
        #expect(again.logEndOffset == 4 && again.highWatermark == 2)
        syncs.runAll()
        #expect(again.highWatermark == 4 && told.take().moves == [4])
    }

    @Test func segmentsThatWereRolledMeanwhileAreSyncedToo() throws {
        let (log, told) = try self.make {
            $0.flushBeforeAck = true
            $0.segmentBytes = 300
        }
        for index in 0..<10 {
            _ = try log.append(batch(1, size: 100)).get()
            #expect(log.whenCommitted(Int64(index) + 1, self.waiter(index)) != .failed(.kafkaStorageError))
        }
        #expect(log.segmentCount > 3)
        self.syncs.runAll()
        #expect(log.highWatermark == 10)
        // The flush after each roll has told of some before.
        #expect(told.take().released.count <= 10)
        #expect(log.state.withLock { $0.sync?.waiters.count } == 0)
        // Retention goes on as ever, and a segment that is gone holds nothing up.
        _ = try log.append(batch(1, size: 100)).get()
        #expect(log.deleteRecords(before: 9))
        #expect(try log.deleteOldSegments(now: 1) > 0)
        self.syncs.runAll()
        #expect(log.highWatermark == 11)
    }

    @Test func whoGivesUpIsNotTold() throws {
        let (log, told) = try self.make()
        _ = try log.append(batch(1)).get()
        #expect(log.whenCommitted(1, self.waiter(0)) == .waiting)
        #expect(log.whenCommitted(1, self.waiter(1)) == .waiting)
        log.stopWaiting(self.waiter(0))
        self.syncs.runAll()
        #expect(told.take().released.map(\.waiter.item) == [1])
    }

    @Test func whoWaitsForADeletedLogIsTold() throws {
        let (log, told) = try self.make()
        _ = try log.append(batch(1)).get()
        #expect(log.whenCommitted(1, self.waiter(0)) == .waiting)
        log.markDeleted()
        self.syncs.runAll()
        #expect(told.take().released == [.init(waiter: self.waiter(0), error: .unknownTopicOrPartition)])
    }

    @Test func aCutIsNotUndoneByASyncOfBefore() throws {
        let (log, _) = try self.make()
        for _ in 0..<3 { _ = try log.append(batch(1)).get() }
        self.syncs.runAll()
        try log.truncate(to: 1, now: 1)
        #expect(log.highWatermark == 1)
        _ = try log.append(batch(1)).get()
        #expect(log.highWatermark == 1)
        self.syncs.runAll()
        #expect(log.highWatermark == 2)
    }
}
