import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// Starts that do not look into folders, and what makes them look.
@Suite struct StartTests {
    let folder = TemporaryFolder()
    private let id = KafkaUUID(high: 1, low: 2)

    private var config: LogConfig {
        var config = LogConfig()
        config.segmentBytes = 3000
        config.indexIntervalBytes = 200
        return config
    }

    private var data: String { self.folder.path + "/data" }

    private func open(_ folder: TemporaryFolder? = nil) throws -> LogManager {
        try LogManager.open(
            LogManager.Configuration(directories: [(folder ?? self.folder).path + "/data"], nodeID: 1),
            background: Inline(), now: 0)
    }

    private func load(_ manager: LogManager) throws -> LogManager.LoadReport {
        try manager.load(now: 0, topicID: { $0 == "a-topic" ? self.id : nil }, config: { _, _ in self.config })
    }

    private func partition(_ index: Int) -> TopicPartition { TopicPartition(topic: "a-topic", partition: Int32(index)) }

    private func log(_ manager: LogManager, _ index: Int) throws -> PartitionLog {
        try #require(manager.log(for: self.partition(index)))
    }

    private func fill(_ manager: LogManager, _ counts: [Int]) throws {
        for (index, count) in counts.enumerated() {
            let log = try manager.create(self.partition(index), topicID: self.id, config: self.config, now: 0)
            log.assignLeaderEpoch(0)
            self.append(log, count)
        }
    }

    private func append(_ log: PartitionLog, _ count: Int) {
        for _ in 0..<count {
            let next = log.logEndOffset
            log.append(batch(1, timestamp: next, producer: ProducerStamp(id: 7, sequence: Int32(next))))
        }
    }

    private func check(_ manager: LogManager, _ counts: [Int]) throws {
        #expect(manager.allLogs.count == counts.count)
        for (index, count) in counts.enumerated() {
            let log = try self.log(manager, index)
            #expect(log.logEndOffset == Int64(count))
            #expect(try log.readAll().map(\.baseOffset) == (0..<count).map { Int64($0) })
            guard count > 0 else { continue }
            #expect(try log.offset(forTimestamp: Int64(count / 2)).get()?.offset == Int64(count / 2))
            let last = batch(1, producer: ProducerStamp(id: 7, sequence: Int32(count - 1)))
            #expect(try log.append(last).get().isDuplicate)
        }
    }

    @Test func afterACleanShutdownNoFolderIsLookedInto() throws {
        let counts = [0, 1, 20, 120]
        let manager = try self.open()
        #expect(try self.load(manager) == LogManager.LoadReport())
        try self.fill(manager, counts)
        #expect(try self.log(manager, 3).segmentCount > 3)
        manager.shutdown()
        // Three times: a shutdown of what nobody has used leaves it as it was.
        for _ in 0..<3 {
            let manager = try self.open()
            #expect(try self.load(manager) == LogManager.LoadReport(partitions: 4))
            manager.shutdown()
        }
        let again = try self.open()
        #expect(try self.load(again) == LogManager.LoadReport(partitions: 4))
        try self.check(again, counts)
        try #expect(self.log(again, 3).append(batch()).get().firstOffset == 120)
        again.shutdown()
        let last = try self.open()
        #expect(try self.load(last) == LogManager.LoadReport(partitions: 4))
        #expect(try self.log(last, 3).logEndOffset == 121)
    }

    /// Nothing is synced or closed: as after `kill -9`.
    @Test func afterAKillOnlyWhatHasChangedIsLookedAt() throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager, [0, 5, 20, 120])
            manager.writeMarks()
            try self.append(self.log(manager, 1), 3)
            // Into the next segment.
            try self.append(self.log(manager, 3), 40)
        }
        let manager = try self.open()
        let report = try self.load(manager)
        #expect(report.foldersRead == 2 && report.bytesCut == 0)
        #expect(report.bytesScanned > 0 && report.bytesScanned < 10_000)
        try self.check(manager, [0, 8, 20, 160])
    }

    @Test(arguments: ["retention", "truncation", "emptied", "roll"])
    func aListThatChangedAfterTheMarkIsNotBelieved(_ what: String) throws {
        var end = 120
        var start: Int64 = 0
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager, [120])
            manager.writeMarks()
            let log = try self.log(manager, 0)
            switch what {
            case "retention":
                #expect(log.deleteRecords(before: 60))
                #expect(try log.deleteOldSegments(now: 0) > 0)
                start = log.snapshot.logStartOffset
                manager.writeMarks()
                try log.truncate(to: 119, now: 0)
                self.append(log, 1)
            case "truncation":
                try log.truncate(to: 50, now: 0)
                end = 50
            case "emptied":
                try log.truncateFullyAndStart(at: 500, now: 0)
                (start, end) = (500, 500)
            default:
                self.append(log, 80)
                end = 200
            }
        }
        let manager = try self.open()
        #expect(try self.load(manager).foldersRead == 1)
        let log = try self.log(manager, 0)
        #expect(log.logEndOffset == Int64(end))
        #expect(log.snapshot.logStartOffset == start)
        #expect(try log.readAll(from: start).map(\.baseOffset) == (start..<Int64(end)).map { $0 })
        // And from then on it is.
        manager.writeMarks()
        manager.shutdown()
        let again = try self.open()
        #expect(try self.load(again).foldersRead == 0)
        #expect(try self.log(again, 0).readAll(from: start).count == end - Int(start))
    }

    /// Files that somebody changed while the broker was stopped: what is served is what is there.
    @Test(arguments: ["cut", "longer", "gone", "other", "sealed"], [false, true])
    func changedFilesAreNoticed(_ what: String, inBackground: Bool) throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager, [120])
            manager.shutdown()
        }
        let names = try FileSystem.list(self.data + "/a-topic-0").filter { $0.hasSuffix(".log") }.sorted()
        let first = self.data + "/a-topic-0/" + names[0]
        let last = self.data + "/a-topic-0/" + (try #require(names.last))
        let base = try #require(Int64(names[names.count - 1].dropLast(4)))
        let bytes = contents(last)
        var expected: Int64 = 120
        switch what {
        case "cut":
            write(Array(bytes.dropLast()), to: last)
            expected = 119
        case "longer": write(bytes + [1, 2, 3], to: last)
        case "gone":
            try FileSystem.unlink(last)
            expected = base
        case "other": write(Array(repeating: 0, count: bytes.count), to: last)
        default:
            // The first segment loses its last byte: the log ends there.
            write(Array(contents(first).dropLast()), to: first)
            expected = try #require(Int64(names[1].dropLast(4))) - 1
        }
        let manager = try self.open()
        #expect(try self.load(manager).foldersRead == 0)
        let log = try self.log(manager, 0)
        if inBackground {
            manager.tick(now: 1)
            #expect(!log.isUnverified)
        }
        #expect(log.snapshot.logEndOffset == expected)
        // What is as long as it was, and not what it was, is damaged: its offsets are refused and not given out again.
        let readable = what == "other" ? base : expected
        #expect(try log.readAll(upTo: readable).map(\.baseOffset) == (0..<readable).map { $0 })
        if readable < expected {
            #expect(throws: ErrorCode.corruptMessage) {
                try log.read(from: readable, maxBytes: 1000, upTo: .max, minOneMessage: true).get()
            }
        }
        #expect(try log.append(batch()).get().firstOffset == expected)
    }

    /// Any byte of the marks file may be wrong: a start gives the same log, if need be from the folders.
    @Test func aDamagedMarksFileIsNotBelieved() throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager, [3, 40])
            manager.shutdown()
        }
        let path = self.data + "/" + BootMarks.name
        let bytes = contents(path)
        for byte in stride(from: 0, to: bytes.count, by: 3) {
            let copy = self.folder.copy()
            var damaged = bytes
            damaged[byte] ^= 1 << UInt8(byte % 8)
            write(damaged, to: path.replacingPrefix(self.folder.path, copy.path))
            let manager = try self.open(copy)
            let report = try self.load(manager)
            #expect(report.foldersRead > 0 && report.bytesCut == 0)
            try self.check(manager, [3, 40])
        }
    }

    /// After a kill too: what stands before a damaged entry may be older than what the entry, or one behind it, said.
    @Test func marksBeforeADamagedOneAreNotBelieved() throws {
        let manager = try self.open()
        _ = try self.load(manager)
        try self.fill(manager, [3])
        for _ in 0..<3 {
            try self.append(self.log(manager, 0), 5)
            manager.writeMarks()
        }
        let bytes = contents(self.data + "/" + BootMarks.name)
        #expect(BootMarks.decode(bytes).marks.count > 0)
        for byte in bytes.indices {
            var damaged = bytes
            damaged[byte] ^= 1 << UInt8(byte % 8)
            #expect(BootMarks.decode(damaged).marks.count == 0)
        }
        manager.shutdown()
    }

    /// Another shutdown's marks do not fit the sign of this one.
    @Test func marksOfAnotherShutdownAreNotBelieved() throws {
        let path = self.data + "/" + BootMarks.name
        let manager = try self.open()
        _ = try self.load(manager)
        try self.fill(manager, [10])
        manager.shutdown()
        let old = contents(path)
        let second = try self.open()
        _ = try self.load(second)
        try self.append(self.log(second, 0), 5)
        second.shutdown()
        // As if the machine had lost the newer file, and had been started anew.
        let contents = BootMarks.decode(old)
        write(old, to: path)
        try BootMarks(directory: self.data).rewrite(bootID: "another", nonce: contents.nonce, durable: false) {
            (contents.marks.values, [])
        }
        let third = try self.open()
        #expect(try self.load(third).foldersRead == 1)
        try self.check(third, [15])
    }

    /// A note cannot be written: no mark is believed any more.
    @Test func notesAndMarksInEveryOrder() throws {
        let manager = try self.open()
        _ = try self.load(manager)
        try self.fill(manager, [120])
        let log = try self.log(manager, 0)
        let mark = try #require(try log.takeMark(always: true))
        let list = try #require(log.takeSegmentList(always: true))
        manager.writeMarks()
        self.append(log, 40)
        // The mark of before comes late.
        _ = try manager.directories[0].marks.append([mark], [list])
        let read = try BootMarks.read(directory: self.data)
        #expect(read.marks[self.partition(0)]?.listVersion == mark.listVersion)
        #expect(read.segments(of: mark) == nil)
        manager.writeMarks()
        let after = try BootMarks.read(directory: self.data)
        let newest = try #require(after.marks[self.partition(0)])
        #expect(after.segments(of: newest)?.count == log.segmentCount - 1)
        #expect(newest.logEndOffset == 160)
    }
}
