import Glibc
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaLog
@testable import KafkaRecords

/// A closed log of several segments, with what was written: batches of three records, each with its bytes.
struct WrittenLog {
    static let segmentBytes = 20_000
    let folder: TemporaryFolder
    var batches: [(header: RecordBatchHeader, bytes: [UInt8])] = []
    var config: LogConfig
    /// Of the clean shutdown.
    var mark: PartitionMark?

    init(batches count: Int = 100, size: Int = 150, segmentBytes: Int = Self.segmentBytes) throws {
        var config = LogConfig()
        config.segmentBytes = segmentBytes
        config.indexIntervalBytes = 2000
        self.config = config
        self.folder = TemporaryFolder()
        let log = try PartitionLog.make(self.folder, config: config)
        for index in 0..<count {
            log.append(batch(3, size: size, timestamp: 1000 + Int64(index) * 10))
        }
        var offset: Int64 = 0
        while offset < log.logEndOffset {
            let slice = try #require(
                try log.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get().slice)
            let header = try #require(slice.batches().first)
            self.batches.append((header, slice.bytes))
            offset = header.lastOffset + 1
        }
        try log.close()
        self.mark = try log.takeMark(always: true)
    }

    var logs: [String] {
        ((try? FileSystem.list(self.folder.path + "/orders-0")) ?? []).filter { $0.hasSuffix(".log") }.sorted()
    }

    /// The file that holds a batch, and where in it.
    func place(of index: Int) -> (path: String, position: Int) {
        let base = self.batches[index].header.baseOffset
        var segments = self.logs.compactMap { PartitionFolder.parse($0)?.offset }
        segments.sort()
        let segment = segments.last { $0 <= base } ?? 0
        let position = self.batches.filter { $0.header.baseOffset >= segment && $0.header.baseOffset < base }
            .reduce(0) { $0 + $1.bytes.count }
        return (self.folder.path + "/orders-0/" + PartitionFolder.name(segment) + ".log", position)
    }

    func flip(_ path: String, at position: Int, bit: UInt8 = 0x10) {
        var bytes = contents(path)
        guard position < bytes.count else {
            Issue.record("no byte \(position) in \(path)")
            return
        }
        bytes[position] ^= bit
        guard let file = try? FileSystem.open(path, .readWrite) else { return }
        try? FileSystem.writeAll(file, [bytes[position]], at: position)
    }

    func open() throws -> PartitionLog {
        try PartitionLog.reopen(self.folder, config: self.config, clean: true, mark: self.mark).log
    }

    /// Reads each offset for itself and compares; the indexes of the batches that are refused.
    func refused(_ log: PartitionLog, maxBytes: Int = 1, sourceLocation: SourceLocation = #_sourceLocation) -> [Int] {
        var refused: [Int] = []
        for (index, batch) in self.batches.enumerated() {
            for offset in batch.header.baseOffset...batch.header.lastOffset {
                switch log.read(from: offset, maxBytes: maxBytes, upTo: .max, minOneMessage: true) {
                case .success(let read):
                    let bytes = read.slice?.bytes ?? []
                    #expect(
                        bytes.starts(with: batch.bytes), "offset \(offset)", sourceLocation: sourceLocation)
                    #expect(read.slice?.batches().isEmpty == false, sourceLocation: sourceLocation)
                case .failure(let code):
                    #expect(code == .corruptMessage, "offset \(offset)", sourceLocation: sourceLocation)
                    if refused.last != index { refused.append(index) }
                }
            }
        }
        return refused
    }
}

@Suite struct DamageTests {
    /// The fields of a batch's header, by their first byte.
    static let fields: [(name: String, at: Int)] = [
        ("baseOffset, high", 5), ("baseOffset, low", 7), ("length, high", 9), ("length, middle", 10),
        ("length, low", 11), ("leader epoch", 14), ("magic", 16), ("crc", 18), ("attributes", 22),
        ("last offset delta", 26), ("base timestamp", 33), ("max timestamp", 40), ("producer id", 45),
        ("producer epoch", 52), ("base sequence", 55), ("count", 60), ("records", 100), ("last byte of records", 400),
    ]

    @Test(arguments: [10, 60, 99]) func aBitFlippedWhileStopped(damaged: Int) throws {
        let written = try WrittenLog()
        for field in Self.fields {
            let copy = WrittenLog.copy(written)
            let (path, position) = copy.place(of: damaged)
            copy.flip(path, at: position + field.at)
            let log = try copy.open()
            let refused = copy.refused(log)
            #expect(refused == [damaged], "\(field.name)")
            #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 1, "\(field.name)")
            // Again, now that it is known, and in long reads.
            #expect(copy.refused(log, maxBytes: 1 << 20) == [damaged], "\(field.name)")
        }
    }

    @Test func theFirstBatchOfASegment() throws {
        let written = try WrittenLog()
        for field in Self.fields {
            let copy = WrittenLog.copy(written)
            let first = try #require(
                (1..<copy.batches.count).first { copy.place(of: $0).position == 0 })
            let (path, position) = copy.place(of: first)
            copy.flip(path, at: position + field.at)
            #expect(copy.refused(try copy.open()) == [first], "\(field.name)")
        }
    }

    @Test func twoInARowAndTheirNeighbours() throws {
        let copy = WrittenLog.copy(try WrittenLog())
        for (index, at) in [(40, 11), (41, 80), (43, 100)] {
            let (path, position) = copy.place(of: index)
            copy.flip(path, at: position + at)
        }
        let log = try copy.open()
        let refused = copy.refused(log)
        #expect(Set(refused).isSuperset(of: [40, 41, 43]))
        // What lies between damage that hides lengths may be lost with it, but not beyond the next index entry.
        #expect(refused.allSatisfy { $0 >= 40 && $0 <= 46 }, "\(refused)")
    }

    /// Records that hold a batch of the same log must not be taken for one when their own batch is damaged.
    @Test func aBatchInsideARecord() throws {
        let folder = TemporaryFolder()
        var config = LogConfig()
        config.segmentBytes = 1000
        let log = try PartitionLog.make(folder, config: config)
        var inner = batch(1)
        inner.withUnsafeMutableBytes { RecordBatchHeader.stamp($0, baseOffset: 1, leaderEpoch: 0) }
        var builder = RecordBatchBuilder(baseOffset: 0)
        builder.append(timestamp: 1000, key: nil, value: inner)
        log.append(builder.build())
        for _ in 0..<20 { log.append(batch(1)) }
        #expect(log.segmentCount > 1)
        try log.close()
        let path = folder.path + "/orders-0/00000000000000000000.log"
        var bytes = contents(path)
        bytes[10] ^= 1
        write(bytes, to: path)
        let reopened = try PartitionLog.reopen(folder, clean: true).log
        #expect(reopened.read(from: 0, maxBytes: 1, upTo: .max, minOneMessage: true).failure == .corruptMessage)
        let read = try reopened.read(from: 1, maxBytes: 1, upTo: .max, minOneMessage: true).get()
        #expect(read.slice?.bytes.count == batch(1).count)
        #expect(read.firstOffset == 1)
    }

    @Test func aReadEndsBeforeDamage() throws {
        let copy = WrittenLog.copy(try WrittenLog())
        let (path, position) = copy.place(of: 5)
        copy.flip(path, at: position + 100)
        let log = try copy.open()
        let read = try log.read(from: 0, maxBytes: 1 << 20, upTo: .max, minOneMessage: true).get()
        #expect(read.slice?.batches().count == 5)
        #expect(
            log.read(from: 15, maxBytes: 1 << 20, upTo: .max, minOneMessage: true).failure == .corruptMessage)
    }

    @Test func indexesThatLie() throws {
        let written = try WrittenLog()
        for suffix in ["index", "timeindex"] {
            let name = written.logs[0].replacing(".log", with: "." + suffix)
            let size = contents(written.folder.path + "/orders-0/" + name).count
            #expect(size > 24)
            for position in 0..<size {
                let copy = WrittenLog.copy(written)
                copy.flip(copy.folder.path + "/orders-0/" + name, at: position, bit: 1 << UInt8(position % 8))
                let log = try copy.open()
                #expect(copy.refused(log).isEmpty, "\(suffix) byte \(position)")
                for index in [0, 3, 17, 30] {
                    let found = try log.offset(forTimestamp: 1000 + Int64(index) * 10).get()
                    #expect(found?.offset == Int64(index) * 3, "\(suffix) byte \(position)")
                }
            }
        }
    }

    @Test func lookUpsByTimeOverDamage() throws {
        let written = try WrittenLog()
        let before = try written.open()
        for field in Self.fields {
            let copy = WrittenLog.copy(written)
            let (path, position) = copy.place(of: 20)
            copy.flip(path, at: position + field.at)
            let log = try copy.open()
            for index in 0..<100 {
                let time = 995 + Int64(index) * 10
                switch (log.offset(forTimestamp: time), before.offset(forTimestamp: time)) {
                case (.success(let found), .success(let right)): #expect(found == right, "\(field.name) \(index)")
                case (.failure(let code), _): #expect(code == .corruptMessage)
                case (_, .failure): Issue.record("undamaged")
                }
            }
            #expect(try log.offset(forTimestamp: 1000 + 900).get()?.offset == 270, "\(field.name)")
            #expect(try log.offsetOfMaxTimestamp().get()?.offset == 297, "\(field.name)")
        }
    }

    // MARK: what counts as checked

    @Test func whatThisProcessWroteIsNotChecked() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        for _ in 0..<50 { log.append(batch(3)) }
        _ = try log.readAll()
        #expect(log.environment.counters.checkedBytes.load(ordering: .relaxed) == 0)
    }

    @Test func whatWasCheckedIsNotCheckedAgain() throws {
        let written = try WrittenLog()
        let log = try written.open()
        _ = try log.readAll()
        let checked = log.environment.counters.checkedBytes.load(ordering: .relaxed)
        #expect(checked > 0)
        _ = try log.readAll()
        for offset in stride(from: Int64(0), to: 300, by: 7) {
            _ = try log.read(from: offset, maxBytes: 1000, upTo: .max, minOneMessage: true).get()
        }
        #expect(log.environment.counters.checkedBytes.load(ordering: .relaxed) == checked)
        // What is appended now is known.
        log.append(batch(3))
        _ = try log.readAll(from: 300)
        #expect(log.environment.counters.checkedBytes.load(ordering: .relaxed) == checked)
    }

    // MARK: scrubber

    @Test func theScrubberFindsAFlippedBitInWhatThisProcessWrote() throws {
        let folder = TemporaryFolder()
        var config = LogConfig()
        config.segmentBytes = 20_000
        let log = try PartitionLog.make(folder, config: config)
        for _ in 0..<100 { log.append(batch(3, size: 150)) }
        let scrubber = LogScrubber(bytesPerSecond: 1 << 40, intervalMs: 0, counters: log.environment.counters)
        scrubber.pass([log])
        #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 0)
        #expect(log.environment.counters.scrubbedBytes.load(ordering: .relaxed) == Int(log.sizeInBytes))
        let active = log.state.withLock { $0.active.baseOffset }
        for base in [0, active] {
            let path = folder.path + "/orders-0/" + PartitionFolder.name(base) + ".log"
            var byte: [UInt8] = [0]
            let file = try FileSystem.open(path, .readWrite)
            _ = try FileSystem.readInto(&byte, file, at: 200)
            try FileSystem.writeAll(file, [byte[0] ^ 4], at: 200)
        }
        #expect(throws: Never.self) {
            try log.read(from: 0, maxBytes: 1, upTo: .max, minOneMessage: true).get()
        }
        scrubber.pass([log])
        #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 2)
        for base in [0, active] {
            #expect(
                log.read(from: base, maxBytes: 1, upTo: .max, minOneMessage: true).failure == .corruptMessage)
            #expect(
                log.readNow(from: base, maxBytes: 1, upTo: .max, minOneMessage: true).failure == .corruptMessage)
            #expect(
                try log.read(from: base + 3, maxBytes: 1, upTo: .max, minOneMessage: true).get().slice != nil)
        }
        // And again, as if nothing had been found before; nothing new.
        scrubber.pass([log])
        #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 2)
    }

    @Test func theScrubberChecksWhatWasThereBefore() throws {
        let copy = WrittenLog.copy(try WrittenLog())
        let (path, position) = copy.place(of: 30)
        copy.flip(path, at: position + 11)
        let log = try copy.open()
        let scrubber = LogScrubber(bytesPerSecond: 1 << 40, intervalMs: 0, counters: log.environment.counters)
        scrubber.pass([log])
        #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 1)
        #expect(copy.refused(log) == [30])
        #expect(log.environment.counters.checkedBytes.load(ordering: .relaxed) == 0)
    }

    @Test func theScrubberMakesWrongIndexesAnew() throws {
        let written = try WrittenLog()
        for suffix in ["index", "timeindex"] {
            let copy = WrittenLog.copy(written)
            let path = copy.folder.path + "/orders-0/" + copy.logs[0].replacing(".log", with: "." + suffix)
            copy.flip(path, at: 5, bit: 1)
            let log = try copy.open()
            let scrubber = LogScrubber(bytesPerSecond: 1 << 40, intervalMs: 0, counters: log.environment.counters)
            scrubber.pass([log])
            #expect(log.environment.counters.rebuiltIndexes.load(ordering: .relaxed) == 1)
            #expect(contents(path).count > 0)
            scrubber.pass([log])
            #expect(log.environment.counters.rebuiltIndexes.load(ordering: .relaxed) == 1)
            #expect(copy.refused(log).isEmpty)
        }
    }

    @Test func thePaceHolds() {
        var pace = Pace(bytesPerSecond: 1_000_000)
        #expect(pace.delayMs(after: 100_000, now: 5000) == 100)
        #expect(pace.delayMs(after: 100_000, now: 5100) == 100)
        // What was not used is not made up for.
        #expect(pace.delayMs(after: 100_000, now: 50_000) == 100)
    }
}

extension WrittenLog {
    static func copy(_ other: WrittenLog) -> WrittenLog { WrittenLog(other) }

    private init(_ other: WrittenLog) {
        self.batches = other.batches
        self.config = other.config
        self.mark = other.mark
        self.folder = other.folder.copy()
    }
}

extension Result {
    var failure: Failure? {
        if case .failure(let failure) = self { failure } else { nil }
    }
}
