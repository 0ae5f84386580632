import Glibc
import KafkaPrimitives
import Synchronization
import Testing

@testable import KafkaLog
@testable import KafkaRecords

/// A disk that refuses blocks (EIO). In its place stands /proc/self/mem, in which what is not mapped cannot be read.
@Suite struct UnreadableTests {
    /// A file's bytes at their own positions in memory, but for the first 64 KiB, where nobody may have any.
    private final class Memory {
        static let start = 65_536
        private static let page = 4096
        private let base: UnsafeMutableRawPointer
        private let count: Int

        init(_ bytes: [UInt8]) throws {
            self.count = (bytes.count - Self.start + Self.page - 1) / Self.page * Self.page
            let wanted = UnsafeMutableRawPointer(bitPattern: Self.start)
            // MAP_FIXED_NOREPLACE
            let base = try #require(
                mmap(wanted, self.count, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1, 0))
            try #require(base == wanted, "errno \(errno)")
            self.base = base
            bytes[Self.start...].withUnsafeBytes { base.copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
        }

        /// A page that is unreadable too.
        func makeHole(at position: Int) { munmap(self.base + (position - Self.start), Self.page) }

        deinit { munmap(self.base, self.count) }
    }

    @Test func blocksThatTheDiskRefuses() throws {
        let written = try WrittenLog(batches: 60, size: 3000, segmentBytes: 100 << 20)
        let path = written.folder.path + "/orders-0/00000000000000000000.log"
        let bytes = contents(path)
        let memory = try Memory(bytes)
        let hole = Memory.start + 40 * 4096
        memory.makeHole(at: hole)
        let log = try written.open()
        let offsets = log.snapshot
        let good = try FileSystem.open(path, .read)
        let bad = try FileSystem.open("/proc/self/mem", .read)
        log.state.withLock { $0.active.file = bad }

        var position = 0
        var unreadable: Set<Int> = []
        for (index, batch) in written.batches.enumerated() {
            let end = position + batch.bytes.count
            if position < Memory.start || position < hole + 4096 && end > hole { unreadable.insert(index) }
            position = end
        }
        #expect(unreadable.count > 8 && unreadable.count < 15)
        for (index, batch) in written.batches.enumerated() {
            let read = log.read(from: batch.header.baseOffset + 1, maxBytes: 1, upTo: .max, minOneMessage: true)
            if unreadable.contains(index) {
                #expect(read.failure == .kafkaStorageError, "batch \(index)")
            } else {
                #expect(try read.get().firstOffset == batch.header.baseOffset, "batch \(index)")
            }
        }
        let counters = log.environment.counters
        #expect(counters.unreadableRanges.load(ordering: .relaxed) == 2)
        #expect(counters.corruptRanges.load(ordering: .relaxed) == 0)
        // A long read ends before the second hole; the offsets are told all the same.
        let first = try #require(unreadable.max().map { $0 - 1 })
        let read = try log.read(
            from: written.batches[first].header.baseOffset - 12, maxBytes: 1 << 20, upTo: .max, minOneMessage: true
        ).get()
        #expect(read.logEndOffset == offsets.logEndOffset)
        #expect((read.slice?.length ?? 0) > 0)

        // The disk gives them again: it is asked after a while.
        log.state.withLock { $0.active.file = good }
        let lost = try #require(unreadable.min())
        let offset = written.batches[lost].header.baseOffset
        #expect(log.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).failure == .kafkaStorageError)
        let checks = try #require(log.state.withLock { $0.active.checks })
        for var range in checks.damaged {
            range.foundMs -= DamagedRange.retryMs
            #expect(checks.note(damage: range) == false)
        }
        #expect(written.refused(log).isEmpty)
        #expect(checks.damaged.isEmpty)
    }

    /// An index that cannot be read is no answer, and not a wrong one.
    @Test func anIndexThatTheDiskRefuses() throws {
        let written = try WrittenLog()
        let log = try written.open()
        _ = log.snapshot
        let bad = try FileSystem.open("/proc/self/mem", .read)
        log.state.withLock { state in
            state.active.areIndexFilesChecked = true
            state.active.offsetIndexFile = bad
        }
        let active = log.state.withLock { $0.active.baseOffset }
        for batch in written.batches where batch.header.baseOffset >= active {
            let read = log.read(from: batch.header.baseOffset, maxBytes: 1, upTo: .max, minOneMessage: true)
            if let slice = try? read.get().slice {
                #expect(slice.bytes == batch.bytes)
            } else {
                #expect(read.failure == .kafkaStorageError)
            }
        }
    }
}
