import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// A transaction index that was changed while nobody looked: no aborted record passes for a committed one, and no
/// committed one for aborted.
@Suite struct TransactionIndexDamageTests {
    /// Three segments with aborted transactions; the last one is active.
    private func make(_ folder: TemporaryFolder) throws -> (log: PartitionLog, visible: [Int64]) {
        let log = try PartitionLog.make(folder)
        for segment in 0..<3 {
            for index in 0..<12 {
                let sequence = Int32(segment * 12 + index)
                log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: sequence)))
                log.append(transactionalBatch(producer: ProducerStamp(id: 6, sequence: sequence)))
                if index % 3 == 2 { _ = try log.end(5, committed: index % 2 == 1).get() }
                // The other's transactions go over the segments' edges.
                if index == 4 { _ = try log.end(6, committed: segment == 1).get() }
            }
            if segment < 2 { try log.roll() }
        }
        _ = try log.end(6, committed: true).get()
        return (log, try log.committedOffsets())
    }

    private func indexes(_ folder: TemporaryFolder) throws -> [String] {
        try FileSystem.list(folder.path + "/orders-0").filter { $0.hasSuffix(".txnindex") }.sorted()
    }

    @Test(arguments: [false, true]) func everyFlippedBitIsFound(isClean: Bool) throws {
        let folder = TemporaryFolder()
        let (log, visible) = try self.make(folder)
        var mark = try log.takeMark(always: true)
        // With what has come so far in its file, a mark of it, too.
        log.state.withLock { state in try? state.active.writeIndexes(log.folder) }
        if isClean { try log.close() }
        mark = try log.takeMark(always: true) ?? mark
        let names = try self.indexes(folder)
        #expect(names.count == 3)
        let sealed = try FileSystem.list(folder.path + "/orders-0").contains(TransactionIndexChecks.name)
        #expect(sealed)
        for name in names {
            for position in stride(from: 0, to: contents(folder.path + "/orders-0/" + name).count, by: 5) {
                let copy = folder.copy()
                let path = copy.path + "/orders-0/" + name
                let right = contents(path)
                var bytes = right
                bytes[position] ^= 1 << UInt8(position % 8)
                write(bytes, to: path)
                let opened = try PartitionLog.reopen(copy, clean: isClean, mark: mark, isSameBoot: true).log
                #expect(try opened.committedOffsets(maxBytes: 1000) == visible, "\(name) byte \(position)")
                // And it is right again.
                opened.state.withLock { state in try? state.active.writeIndexes(opened.folder) }
                #expect(contents(path) == right, "\(name) byte \(position)")
            }
        }
    }

    @Test(arguments: ["missing", "short", "long", "empty"]) func wrongFiles(how: String) throws {
        let folder = TemporaryFolder()
        let (log, visible) = try self.make(folder)
        let mark = try log.takeMark(always: true)
        for name in try self.indexes(folder) {
            let copy = folder.copy()
            let path = copy.path + "/orders-0/" + name
            let right = contents(path)
            switch how {
            case "missing": try FileSystem.unlink(path)
            case "short": write(Array(right.dropLast(34)), to: path)
            case "long": write(right + right.suffix(34), to: path)
            default: write([], to: path)
            }
            let opened = try PartitionLog.reopen(copy, mark: mark, isSameBoot: true).log
            #expect(try opened.committedOffsets() == visible, "\(name)")
            #expect(contents(path) == right, "\(name)")
        }
    }

    @Test func withoutTheNotesItIsCompared() throws {
        let folder = TemporaryFolder()
        let (log, visible) = try self.make(folder)
        let mark = try log.takeMark(always: true)
        let notes = folder.path + "/orders-0/" + TransactionIndexChecks.name
        let before = contents(notes)
        try FileSystem.unlink(notes)
        let opened = try PartitionLog.reopen(folder, mark: mark, isSameBoot: true).log
        #expect(try opened.committedOffsets() == visible)
        #expect(contents(notes) == before)
    }

    @Test func noFileWhereNothingWasAborted() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder)
        log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: 0)))
        _ = try log.end(5, committed: true).get()
        try log.roll()
        #expect(try log.committedOffsets() == [0])
        #expect(try !FileSystem.exists(folder.path + "/orders-0/" + TransactionIndexChecks.name))
    }
}
