import Glibc
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaLog
@testable import KafkaRecords

/// Index files whose entries are well-formed and wrong: they cost time, not correctness. And who finds them, when.
@Suite struct LyingIndexTests {
    private func path(_ written: WrittenLog, _ segment: Int, _ suffix: String) -> String {
        written.folder.path + "/orders-0/" + written.logs[segment].replacing(".log", with: "." + suffix)
    }

    private func store(_ number: Int, _ size: Int, _ bytes: inout [UInt8], at position: Int) {
        for index in 0..<size {
            bytes[position + index] = UInt8(truncatingIfNeeded: number >> (8 * (size - 1 - index)))
        }
    }

    private func expectRight(_ copy: WrittenLog, _ what: String) throws {
        let log = try copy.open()
        #expect(copy.refused(log).isEmpty, "\(what)")
        #expect(copy.refused(log, maxBytes: 1 << 20).isEmpty, "\(what)")
        for index in [0, 1, 17, 18, 30, 55, 98, 99] {
            let found = try log.offset(forTimestamp: 1000 + Int64(index) * 10).get()
            #expect(found?.offset == Int64(index) * 3, "\(what), time of batch \(index)")
        }
        #expect(try log.offset(forTimestamp: 5000).get() == nil, "\(what)")
    }

    /// Positions, and offsets, behind the log's end, in sealed segments and in the active one.
    @Test func entriesThatPointPastTheLog() throws {
        let written = try WrittenLog()
        #expect(written.logs.count > 2)
        for segment in [0, written.logs.count - 1] {
            let entries = contents(self.path(written, segment, "index")).count / OffsetIndexEntry.size
            #expect(entries > 2)
            for entry in [0, entries / 2, entries - 1] {
                for (position, offset) in [(0x7FFF_FFFF, nil), (30_000, nil), (nil, 0x7FFF_FFFF), (-1, -1)]
                    as [(Int?, Int?)]
                {
                    let copy = WrittenLog.copy(written)
                    let path = self.path(copy, segment, "index")
                    var bytes = contents(path)
                    if let offset { self.store(offset, 4, &bytes, at: entry * 8) }
                    if let position { self.store(position, 4, &bytes, at: entry * 8 + 4) }
                    write(bytes, to: path)
                    try self.expectRight(copy, "segment \(segment), entry \(entry): \(position ?? 0) \(offset ?? 0)")
                }
            }
        }
    }

    @Test func aTimeIndexThatDoesNotAscend() throws {
        let written = try WrittenLog()
        for segment in [0, written.logs.count - 1] {
            let size = TimeIndexEntry.size
            let original = contents(self.path(written, segment, "timeindex"))
            let entries = original.count / size
            #expect(entries > 3)
            for kind in ["swapped", "all the last", "times reversed", "offsets past the log", "all zero"] {
                var bytes = original
                switch kind {
                case "swapped":
                    let (first, second) = (size, (entries - 2) * size)
                    bytes.replaceSubrange(first..<first + size, with: original[second..<second + size])
                    bytes.replaceSubrange(second..<second + size, with: original[first..<first + size])
                case "all the last":
                    for entry in 0..<entries {
                        bytes.replaceSubrange(entry * size..<(entry + 1) * size, with: original.suffix(size))
                    }
                case "times reversed":
                    for entry in 0..<entries {
                        let other = (entries - 1 - entry) * size
                        bytes.replaceSubrange(entry * size..<entry * size + 8, with: original[other..<other + 8])
                    }
                case "offsets past the log":
                    for entry in 0..<entries { self.store(0x7FFF_FFF0, 4, &bytes, at: entry * size + 8) }
                default:
                    bytes = [UInt8](repeating: 0, count: original.count)
                }
                let copy = WrittenLog.copy(written)
                write(bytes, to: self.path(copy, segment, "timeindex"))
                try self.expectRight(copy, "segment \(segment), \(kind)")
            }
        }
    }

    // MARK: the active segment's, by the scrubber

    @Test func theScrubberMakesTheActiveIndexAnew() throws {
        let written = try WrittenLog()
        let active = written.logs.count - 1
        for (suffix, position) in [("index", 8 + 7), ("timeindex", 12 + 7), ("index", -1), ("timeindex", -1)] {
            let copy = WrittenLog.copy(written)
            let path = self.path(copy, active, suffix)
            let original = contents(path)
            #expect(original.count > 36)
            let log = try copy.open()
            _ = try log.readAll()
            // Once it was looked at on first use, so that nobody but the scrubber looks again.
            log.checkActiveIndexes()
            if position < 0 { write([], to: path) } else { copy.flip(path, at: position, bit: 1) }
            log.state.withLock { ($0.active.offsetIndexFile, $0.active.timeIndexFile) = (nil, nil) }
            let counters = log.environment.counters
            let scrubber = LogScrubber(bytesPerSecond: 1 << 40, intervalMs: 0, counters: counters)
            scrubber.pass([log])
            #expect(counters.rebuiltIndexes.load(ordering: .relaxed) == 1, "\(suffix) \(position)")
            #expect(copy.refused(log).isEmpty)
            scrubber.pass([log])
            log.append(batch(3, size: 150, timestamp: 2000))
            scrubber.pass([log])
            #expect(counters.rebuiltIndexes.load(ordering: .relaxed) == 1, "\(suffix) \(position)")
            try log.close()
            // A clean end adds an entry for the newest time.
            let kept = original.dropLast(suffix == "timeindex" ? TimeIndexEntry.size : 0)
            #expect(contents(path).starts(with: kept), "\(suffix) \(position)")
        }
    }

    @Test func theScrubberLeavesARightActiveIndexAlone() throws {
        let folder = TemporaryFolder()
        var config = LogConfig()
        config.indexIntervalBytes = 500
        let log = try PartitionLog.make(folder, config: config)
        let scrubber = LogScrubber(bytesPerSecond: 1 << 40, intervalMs: 0, counters: log.environment.counters)
        for round in 0..<20 {
            // Out of order too: the time index has the greatest so far.
            for index in 0..<17 { log.append(batch(2, size: 90, timestamp: 1000 + Int64((round * 17 + index) % 23))) }
            if round % 3 == 0 { _ = try log.takeMark(always: true) }
            scrubber.pass([log])
        }
        #expect(log.environment.counters.rebuiltIndexes.load(ordering: .relaxed) == 0)
        #expect(log.environment.counters.corruptRanges.load(ordering: .relaxed) == 0)
    }

    // MARK: who looks first

    /// A start that read the segments with their CRCs does not have them read again.
    @Test func whatRecoveryCheckedIsNotCheckedAgain() throws {
        let written = try WrittenLog()
        let log = try PartitionLog.reopen(written.folder, config: written.config).log
        #expect(log.segmentCount > 2)
        _ = try log.readAll()
        #expect(log.environment.counters.checkedBytes.load(ordering: .relaxed) == 0)
        #expect(written.refused(log).isEmpty)
    }

    /// What it read by headers alone is checked. (After a kill within one boot.)
    @Test func whatRecoveryDidNotCheckIs() throws {
        let copy = WrittenLog.copy(try WrittenLog())
        let (path, position) = copy.place(of: 10)
        copy.flip(path, at: position + 100)
        var mark = try #require(copy.mark)
        mark.position += 1
        // A mark that fits nothing: all is read, with CRCs, and cut at the damage.
        let log = try PartitionLog.reopen(copy.folder, config: copy.config, mark: mark).log
        #expect(log.logEndOffset == 30)
        #expect(try log.readAll().count == 10)
    }

    /// Nobody has looked at the files since the start: an event loop does not either.
    @Test func anEventLoopLeavesTheFirstLookToThePool() throws {
        let written = try WrittenLog()
        for isCut in [false, true] {
            let copy = WrittenLog.copy(written)
            let log = try copy.open()
            // As a start that opens nothing leaves it.
            log.state.withLock { $0.isUnverified = true }
            if isCut {
                let (path, position) = copy.place(of: 98)
                try FileSystem.truncate(FileSystem.open(path, .readWrite), to: position + 20)
            }
            let done = Mutex(0)
            log.environment.reads.onDone { _ in done.withLock { $0 += 1 } }
            #expect(log.snapshotNow == nil && log.isUnverified)
            var rounds = 0
            var read = try log.readNow(from: 3, maxBytes: 1 << 20, upTo: .max, minOneMessage: true).get()
            #expect(read.isPending && read.slice == nil)
            while read.isPending, rounds < 10 {
                rounds += 1
                try #require(eventually { done.withLock { $0 >= rounds } })
                read = try log.readNow(from: 3, maxBytes: 1 << 20, upTo: .max, minOneMessage: true).get()
            }
            #expect(!log.isUnverified)
            #expect(read.firstOffset == 3 && read.logEndOffset == (isCut ? 294 : 300))
            #expect(log.snapshotNow == log.snapshot)
            log.environment.reads.stop()
        }
    }
}

/// Looks every millisecond, for ten seconds at most.
func eventually(_ condition: () -> Bool) -> Bool {
    for _ in 0..<10_000 {
        if condition() { return true }
        usleep(1000)
    }
    return condition()
}
