import Foundation
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite struct InspectionTests {
    /// A data folder with one partition: three segments, transactions, a snapshot at each roll.
    private func make() throws -> TemporaryFolder {
        let folder = TemporaryFolder()
        let config = LogConfig.with { $0.indexIntervalBytes = 100 }
        let log = try PartitionLog.make(folder, config: config)
        for segment in 0..<3 {
            for index in 0..<20 {
                let sequence = Int32(segment * 20 + index)
                log.append(batch(2, timestamp: Int64(1000 + 10 * sequence)))
                log.append(transactionalBatch(producer: ProducerStamp(id: 5, sequence: sequence), timestamp: 900))
                if index % 5 == 4 { _ = try log.end(5, committed: index % 10 == 9).get() }
            }
            if segment < 2 { try log.roll() }
        }
        try log.close()
        write(Array("version=1\nnode.id=1\ncluster.id=c\n".utf8), to: folder.path + "/meta.properties")
        write([], to: folder.path + "/" + LogDirectory.cleanShutdown)
        write(
            Checkpoint.encode([orders: log.logEndOffset]), to: folder.path + "/" + LogDirectory.recoveryPoints)
        return folder
    }

    private func verify(_ folder: TemporaryFolder) throws -> (FolderVerification.Summary, [InspectedLine]) {
        var lines: [InspectedLine] = []
        let summary = try FolderVerification.run(folder.path) { lines.append($0) }
        #expect(lines.count { $0.kind == "damage" } == summary.damages)
        return (summary, lines)
    }

    private func dump(_ path: String, _ change: (inout DumpOptions) -> Void = { _ in }) -> (Bool, [InspectedLine]) {
        var options = DumpOptions()
        change(&options)
        var lines: [InspectedLine] = []
        let isSound = LogInspection.dump(path, options) { lines.append($0) }
        return (isSound, lines)
    }

    private func names(_ folder: TemporaryFolder) -> [String] {
        ((try? FileSystem.list(folder.path + "/orders-0")) ?? []).sorted()
    }

    private func path(_ folder: TemporaryFolder, _ suffix: String, _ number: Int = 0) throws -> String {
        let all = self.names(folder).filter { $0.hasSuffix(suffix) }
        try #require(number < all.count)
        return folder.path + "/orders-0/" + all[number]
    }

    @Test func aSoundFolderIsSound() throws {
        let folder = try self.make()
        let before = Dictionary(
            uniqueKeysWithValues: self.names(folder).map {
                ($0, contents(folder.path + "/orders-0/" + $0))
            })
        let (summary, lines) = try self.verify(folder)
        #expect(lines.isEmpty)
        #expect(summary.partitions == 1 && summary.segments == 3 && summary.batches == 132)
        #expect(summary.bytes == before.filter { $0.key.hasSuffix(".log") }.reduce(0) { $0 + $1.value.count })
        for name in self.names(folder) {
            let (isSound, lines) = self.dump(folder.path + "/orders-0/" + name) {
                ($0.deep, $0.printData, $0.verify) = (true, true, true)
            }
            #expect(isSound, "\(name)")
            // Each line is JSON.
            for line in lines {
                let object = try JSONSerialization.jsonObject(with: Data(line.json.utf8)) as? [String: Any]
                #expect(object?["type"] as? String == line.kind)
            }
        }
        // It reads, and does nothing else.
        #expect(
            before
                == Dictionary(
                    uniqueKeysWithValues: self.names(folder).map {
                        ($0, contents(folder.path + "/orders-0/" + $0))
                    }))
    }

    @Test func batchesAndRecords() throws {
        let folder = try self.make()
        let (_, lines) = self.dump(try self.path(folder, ".log")) { ($0.deep, $0.printData) = (true, true) }
        #expect(lines[0].kind == "file" && lines[1].kind == "start")
        #expect(
            lines[2].text.hasPrefix(
                "baseOffset: 0 lastOffset: 1 count: 2 baseSequence: -1 lastSequence: -1 producerId: -1 producerEpoch: -1 "
                    + "partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: null position: 0 "
                    + "CreateTime: 1000 size: "))
        #expect(lines[3].kind == "record" && lines[3].text.hasPrefix("| offset: 0 CreateTime: 1000 keySize: -1"))
        let markers = lines.compactMap { $0["endTxnMarker"] }
        #expect(markers == [.text("ABORT"), .text("COMMIT"), .text("ABORT"), .text("COMMIT")])
        #expect(lines.count { $0.kind == "batch" } == 44 && lines.count { $0.kind == "record" } == 64)
        let (_, entries) = self.dump(try self.path(folder, ".txnindex"))
        #expect(
            entries.dropFirst().map(\.text).first
                == "version: 0 producerId: 5 firstOffset: 2 lastOffset: 15 lastStableOffset: 16")
    }

    /// One byte changed in each file: it is found, and said where.
    @Test(arguments: [
        (".log", 0, 30), (".log", 1, 90), (".log", 2, 16), (".index", 0, 4), (".index", 1, 7), (".timeindex", 0, 7),
        (".timeindex", 2, 11), (".txnindex", 0, 9), (".txnindex", 1, 17), (".txnindex", 2, 33), (".snapshot", 0, 20),
        ("leader-epoch-checkpoint", 0, 0), ("partition.metadata", 0, 14),
    ]) func aChangedByteIsFound(suffix: String, number: Int, position: Int) throws {
        let folder = try self.make()
        let path = try self.path(folder, suffix, number)
        var bytes = contents(path)
        try #require(position < bytes.count)
        bytes[position] ^= 0x41
        write(bytes, to: path)
        let (summary, lines) = try self.verify(folder)
        #expect(summary.damages > 0)
        let found = lines.filter { $0["file"] == .text(path) && $0.kind == "damage" }
        #expect(!found.isEmpty, "\(lines.map(\.text))")
        #expect(found.allSatisfy { $0["topic"] == .text("orders") && $0["partition"] == .number(0) })
        if suffix == ".log" {
            #expect(found.first?["offset"] != nil)
            // What is behind the damage is read all the same.
            #expect(summary.batches >= 130)
        }
        if suffix != "partition.metadata", !suffix.hasSuffix("checkpoint") {
            #expect(!self.dump(path, { $0.verify = true }).0)
        }
    }

    @Test func missingAndLeftOverFiles() throws {
        let folder = try self.make()
        // Without its file a transaction would pass for committed.
        try FileSystem.unlink(try self.path(folder, ".txnindex", 1))
        write([], to: folder.path + "/orders-0/00000000000000000007.log.deleted")
        write([1], to: folder.path + "/orders-0/00000000000000000007.index")
        let (summary, lines) = try self.verify(folder)
        #expect(summary.notes == 1 && summary.damages == 3)
        #expect(lines.count { $0["what"]?.plain.contains("no entry for a transaction") == true } == 2)
        #expect(lines.count { $0["what"]?.plain.contains("without its log") == true } == 1)
    }

    @Test func cutAndGarbage() throws {
        let folder = try self.make()
        let path = try self.path(folder, ".log", 2)
        let bytes = contents(path)
        write(Array(bytes.dropLast(5)), to: path)
        let (cut, lines) = try self.verify(folder)
        #expect(cut.damages >= 1 && lines.contains { $0["what"]?.plain.contains("cut off") == true })
        // Garbage between batches: the batches behind it are found.
        let first = bytes.withUnsafeBytes { RecordBatchHeader($0)?.sizeInBytes ?? 0 }
        write(bytes[..<first] + [UInt8](repeating: 2, count: 500) + bytes[first...], to: path)
        let (garbage, found) = try self.verify(folder)
        #expect(garbage.batches == 132)
        #expect(found.contains { $0["what"]?.plain.contains("500 bytes from byte \(first) on") == true })
        // Zeros at the end are room that was reserved.
        write(bytes + [UInt8](repeating: 0, count: 5000), to: path)
        #expect(try self.verify(folder).0.damages == 0)
    }

    @Test func checkpointsBehindTheLog() throws {
        let folder = try self.make()
        write(Checkpoint.encode([orders: 1 << 40]), to: folder.path + "/" + LogDirectory.recoveryPoints)
        let (summary, lines) = try self.verify(folder)
        #expect(summary.damages == 1)
        #expect(lines.first?["what"]?.plain.hasPrefix("is behind the log's end") == true)
        #expect(
            self.dump(folder.path + "/" + LogDirectory.recoveryPoints).1.last?.text
                == "topic: orders partition: 0 offset: \(1 << 40)")
        #expect(self.dump(folder.path + "/meta.properties").1.last?.text == "cluster.id: c")
    }

    @Test func aFolderInUseIsTold() throws {
        let folder = try self.make()
        #expect(try !FolderVerification.isInUse(folder.path))
        let lock = try FileSystem.open(folder.path + "/.lock", .create)
        #expect(try FileSystem.lock(lock, path: ""))
        #expect(try FolderVerification.isInUse(folder.path))
    }

    /// Whatever a file holds, it is read to its end.
    @Test func noise() throws {
        let folder = TemporaryFolder()
        var random = SplitMix(3)
        for suffix in [".log", ".index", ".timeindex", ".txnindex", ".snapshot", "-checkpoint"] {
            for length in [0, 1, 7, 34, 61, 700, 5000] {
                let path = folder.path + "/00000000000000000000" + suffix
                write((0..<length).map { _ in UInt8(random.below(256)) }, to: path)
                _ = self.dump(path) { ($0.deep, $0.verify) = (true, true) }
            }
        }
    }

    @Test func jsonAndText() {
        let value = InspectedValue.object([
            .init("a\"\\\n\u{1}é", .list([.null, .bool(true), .number(-5), .text("t")])),
            .init("b", .bytes([0xff, 0])), .init("c", .bytes(Array("text".utf8))),
        ])
        #expect(value.json == #"{"a\"\\\n\u0001é":[null,true,-5,"t"],"b":{"hex":"ff00"},"c":"text"}"#)
        #expect(InspectedValue.bytes([0xff, 0]).plain == "0xff00")
        #expect(InspectedValue.text("\u{1b}[2J").plain == #""\u001b[2J""#)
    }

    /// Kafka's own folders hold nothing that is not right (see `KafkaFolderTests`).
    @Test(
        .enabled(if: ProcessInfo.processInfo.environment["OTTLA_KAFKA_FOLDERS"] != nil), arguments: ["clean", "killed"])
    func kafkasFolders(name: String) throws {
        let root = ProcessInfo.processInfo.environment["OTTLA_KAFKA_FOLDERS"] ?? ""
        var lines: [InspectedLine] = []
        let summary = try FolderVerification.run(root + "/" + name) { lines.append($0) }
        #expect(summary.partitions > 20 && summary.damages == 0, "\(lines.map(\.text))")
    }
}
