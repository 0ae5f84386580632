import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// The folder as it is at each point at which the machine may stop while segments are replaced.
@Suite("Segments are replaced so that each stop of the machine leaves the old ones or the new one")
struct SwapRecoveryTests {
    /// Before and after a cleaning that made one segment of three.
    private struct Fixture {
        let before = TemporaryFolder()
        let after: TemporaryFolder
        let old: [Kept]
        let new: [Kept]
        let config: LogConfig
        var bases: [Int64]

        init() throws {
            var config = compacted(segmentBytes: 300)
            let log = try PartitionLog.make(self.before, config: config)
            for round in 0..<9 { log.append(keyed([("a", "\(round)"), ("k\(round)", "x"), ("b", "y")])) }
            try log.rollNow()
            log.append(keyed([("z", "1")]))
            self.old = try log.kept()
            self.bases = log.state.withLock { $0.sealed.map(\.baseOffset) }
            try log.close()
            self.after = self.before.copy()
            config.segmentBytes = 1 << 20
            let (copy, _) = try PartitionLog.reopen(self.after, config: config, clean: true)
            try copy.clean()
            self.new = try copy.kept()
            try copy.close()
            self.config = config
            try #require(self.bases.count >= 3)
            try #require(self.old.count > self.new.count)
        }

        func bytes(_ base: Int64, _ suffix: PartitionFolder.Suffix) -> [UInt8] {
            contents(PartitionFolder(path: self.after.path + "/orders-0").path(base, suffix))
        }

        /// What is read after a start, and after one more.
        func check(_ folder: TemporaryFolder, _ expected: [Kept], _ step: Comment) throws {
            for isClean in [false, true] {
                let copy = folder.copy()
                for _ in 0..<2 {
                    let (log, _) = try PartitionLog.reopen(
                        copy, config: self.config, clean: isClean, recoveryPoint: self.bases.last ?? 0)
                    #expect(try log.kept() == expected, step)
                    #expect(log.logEndOffset == 28, step)
                    for record in expected {
                        #expect(try log.kept(from: record.offset).first { $0.offset >= record.offset } == record, step)
                    }
                    let names = fileNames(copy)
                    #expect(!names.contains { $0.hasSuffix(".swap") || $0.hasSuffix(".cleaned") }, step)
                    #expect(!names.contains { $0.hasSuffix(".deleted") }, step)
                    log.releaseFiles(onlyIdle: false)
                }
            }
        }
    }

    private static let suffixes: [PartitionFolder.Suffix] = [.index, .timeindex, .log]

    @Test("Every step, one rename after the other")
    func steps() throws {
        let fixture = try Fixture()
        let folder = fixture.before.copy()
        let files = PartitionFolder(path: folder.path + "/orders-0")
        // Half written, then whole.
        let log = fixture.bytes(0, .log)
        write(Array(log.prefix(log.count / 2)), to: files.path(0, .log) + ".cleaned")
        try fixture.check(folder, fixture.old, "half written")
        for suffix in Self.suffixes { write(fixture.bytes(0, suffix), to: files.path(0, suffix) + ".cleaned") }
        try fixture.check(folder, fixture.old, "written")
        for suffix in Self.suffixes {
            try FileSystem.rename(files.path(0, suffix) + ".cleaned", to: files.path(0, suffix) + ".swap")
            try fixture.check(folder, suffix == .log ? fixture.new : fixture.old, "\(suffix) to .swap")
        }
        for base in fixture.bases {
            for suffix in PartitionFolder.Suffix.segmentSuffixes where try FileSystem.exists(files.path(base, suffix)) {
                try FileSystem.rename(files.path(base, suffix), to: files.path(base, suffix) + ".deleted")
                try fixture.check(folder, fixture.new, "\(base) \(suffix) to .deleted")
            }
        }
        for suffix in Self.suffixes.reversed() {
            try FileSystem.rename(files.path(0, suffix) + ".swap", to: files.path(0, suffix))
            try fixture.check(folder, fixture.new, "\(suffix) in its place")
        }
    }

    @Test("Kafka renames the log first; with a .cleaned file left the old segments count")
    func asKafka() throws {
        let fixture = try Fixture()
        let folder = fixture.before.copy()
        let files = PartitionFolder(path: folder.path + "/orders-0")
        for suffix in Self.suffixes { write(fixture.bytes(0, suffix), to: files.path(0, suffix) + ".cleaned") }
        for suffix in Self.suffixes.reversed() {
            try FileSystem.rename(files.path(0, suffix) + ".cleaned", to: files.path(0, suffix) + ".swap")
            try fixture.check(folder, suffix == .index ? fixture.new : fixture.old, "\(suffix) to .swap")
        }
    }

    @Test("Renames that a power cut lost, in any combination")
    func reordered() throws {
        let fixture = try Fixture()
        for pattern in 0..<64 {
            let folder = fixture.before.copy()
            let files = PartitionFolder(path: folder.path + "/orders-0")
            for suffix in Self.suffixes { write(fixture.bytes(0, suffix), to: files.path(0, suffix) + ".swap") }
            var bit = 1
            for base in fixture.bases.prefix(2) {
                for suffix in Self.suffixes {
                    if pattern & bit != 0 {
                        try FileSystem.rename(files.path(base, suffix), to: files.path(base, suffix) + ".deleted")
                    }
                    bit <<= 1
                }
            }
            try fixture.check(folder, fixture.new, "\(pattern)")
        }
    }

    @Test("A damaged index that a cleaning left is made anew")
    func damagedIndex() throws {
        let fixture = try Fixture()
        let folder = fixture.after.copy()
        let files = PartitionFolder(path: folder.path + "/orders-0")
        write([1, 2, 3], to: files.path(0, .index))
        write([UInt8](repeating: 9, count: 24), to: files.path(0, .timeindex))
        try fixture.check(folder, fixture.new, "damaged")
    }

    @Test("Readers of old segments go on, and come to the new one with their next read")
    func readers() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 300))
        for round in 0..<12 { log.append(keyed([("a", "\(round)"), ("k\(round)", "x")])) }
        try log.rollNow()
        log.update(config: compacted(segmentBytes: 1 << 20))
        let old = try log.read(from: 3, maxBytes: 1, upTo: .max, minOneMessage: true).get()
        let bytes = try #require(old.slice).bytes
        let sealed = log.state.withLock { $0.sealed }
        try log.clean()
        #expect(old.slice?.bytes == bytes)
        // Where the last read ended is known by position, in the old file: not to be believed in the new one.
        for offset in 0..<Int64(24) {
            let read = try log.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get()
            let header = try #require(read.slice?.batches().first)
            #expect(header.lastOffset >= offset)
        }
        // Who still has the old segment in hand cannot open what has its name now.
        #expect(throws: IOError.self) { try sealed[0].view(log.environment.segmentCache) }
        #expect(log.segmentCount == 2)
    }
}
