import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite struct LogManagerTests {
    let folder = TemporaryFolder()

    private func open(
        nodeID: Int32 = 1, clusterID: String? = nil, path: String? = nil
    ) throws -> LogManager {
        try LogManager.open(
            LogManager.Configuration(
                directories: [path ?? self.folder.path + "/data"], nodeID: nodeID, clusterID: clusterID),
            background: Inline(), now: 0)
    }

    private func load(_ manager: LogManager) throws -> LogManager.LoadReport {
        try manager.load(now: 0) { _, _ in LogConfig() }
    }

    private func partition(_ index: Int) -> TopicPartition { TopicPartition(topic: "a-topic", partition: Int32(index)) }

    private func fill(_ manager: LogManager, partitions: Int = 5) throws {
        for index in 0..<partitions {
            let log = try manager.create(
                self.partition(index), topicID: KafkaUUID(high: 1, low: 2), config: LogConfig(), now: 0)
            for batchIndex in 0..<20 {
                log.append(batch(1, producer: ProducerStamp(id: 7, sequence: Int32(batchIndex))))
            }
        }
    }

    private func check(_ manager: LogManager, partitions: Int = 5, end: Int64 = 20) throws {
        #expect(manager.allLogs.count == partitions)
        for index in 0..<partitions {
            let log = try #require(manager.log(for: self.partition(index)))
            #expect(log.logEndOffset == end)
            #expect(try log.readAll().count == Int(end))
            #expect(log.topicID == KafkaUUID(high: 1, low: 2))
            // All five batches are known.
            for sequence in Int32(15)..<20 {
                #expect(try log.append(batch(1, producer: ProducerStamp(id: 7, sequence: sequence))).get().isDuplicate)
            }
        }
    }

    @Test func cleanRestart() throws {
        do {
            let manager = try self.open()
            #expect(try self.load(manager) == LogManager.LoadReport())
            try self.fill(manager)
            manager.shutdown()
        }
        let data = self.folder.path + "/data"
        #expect(try FileSystem.exists(data + "/.kafka_cleanshutdown"))
        #expect(
            contents(data + "/recovery-point-offset-checkpoint")
                == Array(("0\n5\n" + (0..<5).map { "a-topic \($0) 20\n" }.joined()).utf8))
        #expect(contents(data + "/log-start-offset-checkpoint") == Array("0\n0\n".utf8))
        #expect(contents(data + "/a-topic-3/leader-epoch-checkpoint") == Array("0\n1\n0 0\n".utf8))
        #expect(
            contents(data + "/a-topic-3/partition.metadata")
                == Array("version: 0\ntopic_id: \(KafkaUUID(high: 1, low: 2))".utf8))
        let manager = try self.open()
        #expect(
            try self.load(manager)
                == LogManager.LoadReport(partitions: 5, bytesScanned: 0, bytesCut: 0, foldersRead: 5))
        #expect(try !FileSystem.exists(data + "/.kafka_cleanshutdown"))
        try self.check(manager)
    }

    /// What Kafka leaves: no marks of ours.
    @Test func cleanRestartWithoutMarks() throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager)
            manager.shutdown()
        }
        let data = self.folder.path + "/data"
        try FileSystem.unlink(data + "/" + BootMarks.name)
        write(Array("{\"version\":0,\"brokerEpoch\":423}".utf8), to: data + "/.kafka_cleanshutdown")
        let manager = try self.open()
        #expect(
            try self.load(manager)
                == LogManager.LoadReport(partitions: 5, bytesScanned: 0, bytesCut: 0, foldersRead: 5))
        for log in manager.allLogs {
            #expect(log.logEndOffset == 20)
            #expect(try log.append(batch(1, producer: ProducerStamp(id: 7, sequence: 19))).get().isDuplicate)
        }
    }

    @Test(arguments: [true, false])
    func crash(sameBoot: Bool) throws {
        let size: Int
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager)
            manager.writeMarks()
            size = batch(1, producer: ProducerStamp(id: 7, sequence: 0)).count
            for log in manager.allLogs {
                for sequence in Int32(20)..<23 {
                    log.append(batch(1, producer: ProducerStamp(id: 7, sequence: sequence)))
                }
            }
            // Dropped without a shutdown.
        }
        let data = self.folder.path + "/data"
        if !sameBoot {
            // The file of another boot.
            var bytes = Bytes()
            let old = try BootMarks.read(directory: data)
            #expect(old.marks.count == 5 && old.bootID == FileSystem.bootID())
            let marks = BootMarks(directory: data)
            try marks.rewrite(bootID: "another boot", nonce: "", durable: false) { (old.marks.values, []) }
            bytes.put(UInt8(0))
        }
        let manager = try self.open()
        let report = try self.load(manager)
        #expect(report.bytesScanned == Int64(5 * size * (sameBoot ? 3 : 23)))
        #expect(report.bytesCut == 0)
        for log in manager.allLogs {
            #expect(log.logEndOffset == 23)
            for sequence in Int32(18)..<23 {
                #expect(try log.append(batch(1, producer: ProducerStamp(id: 7, sequence: sequence))).get().isDuplicate)
            }
        }
    }

    @Test func aTornMarkFileIsReadUpToThere() throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager)
            manager.writeMarks()
        }
        let path = self.folder.path + "/data/" + BootMarks.name
        let bytes = contents(path)
        let all = try BootMarks.read(directory: self.folder.path + "/data").marks.count
        #expect(all == 5)
        for size in stride(from: 0, to: bytes.count, by: 37) {
            write(Array(bytes[..<size]), to: path)
            #expect(try BootMarks.read(directory: self.folder.path + "/data").marks.count < 5)
        }
        let manager = try self.open()
        #expect(try self.load(manager).bytesCut == 0)
        try self.check(manager)
    }

    @Test func manyMarksAreRewritten() throws {
        let manager = try self.open()
        _ = try self.load(manager)
        try self.fill(manager, partitions: 1)
        let log = try #require(manager.log(for: self.partition(0)))
        for index in 0..<12_000 {
            log.append(batch())
            manager.writeMarks()
            if index == 11_000 {
                let size = contents(self.folder.path + "/data/" + BootMarks.name).count
                #expect(size < 5 << 20)
            }
        }
        let marks = try BootMarks.read(directory: self.folder.path + "/data").marks
        #expect(marks[self.partition(0)]?.logEndOffset == 12_020)
    }

    @Test func deletion() throws {
        let manager = try self.open()
        _ = try self.load(manager)
        try self.fill(manager)
        let log = try #require(manager.log(for: self.partition(2)))
        let slice = try #require(try log.read(from: 0, maxBytes: 1000, upTo: .max, minOneMessage: true).get().slice)
        try manager.delete(self.partition(2), now: 10)
        #expect(manager.log(for: self.partition(2)) == nil)
        #expect(!slice.bytes.isEmpty)
        guard case .failure(let error) = log.append(batch()) else {
            Issue.record("appended to a deleted log")
            return
        }
        #expect(error.code == .unknownTopicOrPartition)
        let names = try FileSystem.list(self.folder.path + "/data").filter { $0.hasSuffix("-delete") }
        #expect(names.count == 1 && names[0].hasPrefix("a-topic-2."))
        manager.tick(now: 60_009)
        #expect(try FileSystem.exists(self.folder.path + "/data/" + names[0]))
        manager.tick(now: 60_010)
        #expect(try !FileSystem.exists(self.folder.path + "/data/" + names[0]))
        // The same name again is another log.
        let again = try manager.create(
            self.partition(2), topicID: KafkaUUID(high: 5, low: 5), config: LogConfig(), now: 0)
        #expect(again.logEndOffset == 0)
    }

    @Test func aFolderOfAnotherTopicIsSetAside() throws {
        let manager = try self.open()
        _ = try self.load(manager)
        let path = self.folder.path + "/data/a-topic-0"
        try FileSystem.makeDirectory(path)
        write(Array("version: 0\ntopic_id: \(KafkaUUID(high: 8, low: 8))".utf8), to: path + "/partition.metadata")
        let log = try manager.create(
            self.partition(0), topicID: KafkaUUID(high: 1, low: 2), config: LogConfig(), now: 0)
        #expect(log.logEndOffset == 0 && log.topicID == KafkaUUID(high: 1, low: 2))
        let kept = try FileSystem.list(self.folder.path + "/data").filter { $0.hasSuffix("-stray") }
        #expect(kept.count == 1 && contents(self.folder.path + "/data/\(kept[0])/partition.metadata").count > 0)
    }

    /// As a power cut may leave it: a folder that does not tell whose it is belongs to the topic of its name.
    @Test func aFolderWithoutATopicIDIsAdopted() throws {
        let id = KafkaUUID(high: 1, low: 2)
        let manager = try self.open()
        try self.fill(manager, partitions: 2)
        let paths = [0, 1].map { manager.log(for: self.partition($0))!.path + "/partition.metadata" }
        let known = manager.log(for: self.partition(0))!.topicID
        manager.shutdown()
        write([], to: paths[0])
        try FileSystem.unlink(paths[1])
        let again = try self.open()
        _ = try again.load(
            now: 1000, topicID: { $0 == "a-topic" ? known : id }, config: { _, _ in LogConfig() })
        again.tick(now: 1001)
        for index in 0..<2 {
            #expect(again.log(for: self.partition(index))?.topicID == known)
            #expect(try again.log(for: self.partition(index))?.folder.readTopicID() == known)
        }
        try self.check(again, partitions: 2)
    }

    /// Files that nobody uses are closed, and opened again when they are needed.
    @Test func idleFilesAreClosed() throws {
        let manager = try self.open()
        try self.fill(manager)
        let logs = manager.allLogs
        func openFiles() -> Int { logs.count { log in log.state.withLock { $0.active.file != nil } } }
        #expect(openFiles() == 5)
        for log in logs { log.releaseFiles(onlyIdle: true) }
        #expect(openFiles() == 5)
        logs[0].append(batch())
        for log in logs { log.releaseFiles(onlyIdle: true) }
        #expect(openFiles() == 1)
        for log in logs { log.releaseFiles(onlyIdle: false) }
        #expect(openFiles() == 0)
        for log in logs {
            #expect(try !log.readAll().isEmpty)
            let end = log.logEndOffset
            #expect(try log.append(batch()).get().firstOffset == end)
        }
        #expect(manager.shutdown())
    }

    @Test func aDeletionThatACrashCutShortIsFinished() throws {
        do {
            let manager = try self.open()
            _ = try self.load(manager)
            try self.fill(manager)
            try manager.delete(self.partition(2), now: 10)
        }
        let manager = try self.open()
        #expect(try self.load(manager).partitions == 4)
        manager.tick(now: 1)
        #expect(try FileSystem.list(self.folder.path + "/data").allSatisfy { !$0.hasSuffix("-delete") })
    }

    // MARK: folders that cannot be used

    private func snapshot(_ path: String) throws -> [String: [UInt8]] {
        var result: [String: [UInt8]] = [:]
        for name in try FileSystem.list(path) { result[name] = contents(path + "/" + name) }
        return result
    }

    private func expectError(
        nodeID: Int32 = 1, clusterID: String? = nil, _ matches: (LogDirectoryError) -> Bool
    ) throws {
        let path = self.folder.path + "/data"
        let before = try self.snapshot(path)
        do {
            _ = try self.open(nodeID: nodeID, clusterID: clusterID)
            Issue.record("opened")
        } catch let error as LogDirectoryError {
            #expect(matches(error), "\(error)")
            #expect(error.description.contains(path))
        }
        #expect(try self.snapshot(path) == before)
    }

    @Test func identity() throws {
        do {
            let manager = try self.open(nodeID: 3, clusterID: "abc")
            #expect(manager.clusterID == "abc")
        }
        #expect(try self.open(nodeID: 3).clusterID == "abc")
        try self.expectError(nodeID: 4) { if case .otherNode(_, "3", 4) = $0 { true } else { false } }
        try self.expectError(nodeID: 3, clusterID: "xyz") {
            if case .otherCluster(_, "abc", "xyz") = $0 { true } else { false }
        }
        let manager = try self.open(nodeID: 3, clusterID: "abc")
        try self.expectError(nodeID: 3) { if case .inUse = $0 { true } else { false } }
        withExtendedLifetime(manager) {}
    }

    @Test func unknownVersionsAndDamage() throws {
        let path = self.folder.path + "/data"
        try FileSystem.makeDirectory(path)
        write(Array("version=2\ncluster.id=a\nnode.id=1\n".utf8), to: path + "/meta.properties")
        try self.expectError { if case .unsupportedVersion(_, "2") = $0 { true } else { false } }
        write(Array("version=0\nbroker.id=1\n".utf8), to: path + "/meta.properties")
        try self.expectError { if case .unsupportedVersion(_, "0") = $0 { true } else { false } }
        write(Array("version=1\nnode.id=1\n".utf8), to: path + "/meta.properties")
        try self.expectError { if case .damagedMetaProperties = $0 { true } else { false } }
        write(Array("#\n#Tue Nov 24\nnode.id=1\nversion=1\ncluster.id=y-Tw\\=\n".utf8), to: path + "/meta.properties")
        #expect(try self.open().clusterID == "y-Tw=")
        try FileSystem.makeDirectory(path + "/__cluster_metadata-0")
        #expect(try self.open().directories[0].hasKafkaMetadata)
        try FileSystem.unlink(path + "/meta.properties")
        try self.expectError { if case .damagedMetaProperties = $0 { true } else { false } }
    }

    @Test func aFileInTheWay() throws {
        write([1], to: self.folder.path + "/file")
        #expect(throws: LogDirectoryError.self) { try self.open(path: self.folder.path + "/file") }
        #expect(throws: LogDirectoryError.self) { try self.open(path: self.folder.path + "/file/below") }
        #expect(throws: LogDirectoryError.self) { try self.open(path: "/proc/ottla") }
    }

    @Test func severalFolders() throws {
        let paths = ["a", "b"].map { self.folder.path + "/" + $0 }
        let configuration = LogManager.Configuration(directories: paths, nodeID: 1)
        do {
            let manager = try LogManager.open(configuration, background: Inline(), now: 0)
            _ = try self.load(manager)
            try self.fill(manager, partitions: 6)
            manager.shutdown()
        }
        for path in paths { #expect(try FileSystem.list(path).filter { $0.hasPrefix("a-topic-") }.count == 3) }
        let manager = try LogManager.open(configuration, background: Inline(), now: 0)
        #expect(try self.load(manager).partitions == 6)
        try self.check(manager, partitions: 6)
    }

    // MARK: the rest

    @Test func checkpointsRoundTrip() {
        let offsets = [
            TopicPartition(topic: "b-1", partition: 0): Int64(5), TopicPartition(topic: "a", partition: 11): 0,
            TopicPartition(topic: "a", partition: 2): .max,
        ]
        let bytes = Checkpoint.encode(offsets)
        #expect(String(decoding: bytes, as: UTF8.self) == "0\n3\na 2 9223372036854775807\na 11 0\nb-1 0 5\n")
        #expect(Checkpoint.decodeOffsets(bytes) == offsets)
        for bad in ["", "0\n", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na x 1\n", "0\n1\na 0 -4\n"] {
            #expect(Checkpoint.decodeOffsets(Array(bad.utf8)) == nil, "\(bad)")
        }
    }

    @Test func epochFileRoundTrips() {
        var cache = LeaderEpochCache()
        cache.assign(epoch: 0, startOffset: 0)
        cache.assign(epoch: 3, startOffset: 10)
        cache.assign(epoch: 2, startOffset: 12)
        cache.assign(epoch: 5, startOffset: 20)
        #expect(String(decoding: cache.fileContents, as: UTF8.self) == "0\n3\n0 0\n3 10\n5 20\n")
        #expect(LeaderEpochCache(fileContents: cache.fileContents)?.entries == cache.entries)
        #expect(cache.endOffset(forEpoch: 5, logEndOffset: 33) == (5, 33))
        #expect(cache.endOffset(forEpoch: 4, logEndOffset: 33) == (3, 20))
        #expect(cache.endOffset(forEpoch: 0, logEndOffset: 33) == (0, 10))
        #expect(cache.endOffset(forEpoch: 6, logEndOffset: 33) == (-1, -1))
        #expect(cache.endOffset(forEpoch: -1, logEndOffset: 33) == (-1, -1))
        cache.truncateFromStart(15)
        #expect(cache.entries.map(\.startOffset) == [15, 20])
        cache.truncateFromEnd(20)
        #expect(cache.entries.map(\.epoch) == [3])
        #expect(LeaderEpochCache(fileContents: Array("0\n2\n3 5\n2 9\n".utf8)) == nil)
    }

    @Test func folderNames() {
        #expect(TopicPartition(directoryName: "a-b-12") == TopicPartition(topic: "a-b", partition: 12))
        for name in ["a", "a-", "-1", "a-01", "a--", "a-x", "a-1.0f-delete", "a--1x"] {
            #expect(TopicPartition(directoryName: name) == nil, "\(name)")
        }
        #expect(PartitionFolder.name(42) == "00000000000000000042")
        #expect(PartitionFolder.parse("00000000000000000042.log.deleted")?.suffix == "log.deleted")
    }

    /// Four threads append and read at once; a fifth deletes, checkpoints and marks.
    @Test func concurrency() throws {
        let background = BackgroundThreads(threads: 2)
        let manager = try LogManager.open(
            LogManager.Configuration(directories: [self.folder.path + "/data"], nodeID: 1), background: background,
            now: 0)
        _ = try self.load(manager)
        var config = LogConfig()
        config.segmentBytes = 20_000
        config.indexIntervalBytes = 500
        let logs = try (0..<3).map { try manager.create(self.partition($0), topicID: .zero, config: config, now: 0) }
        let running = Atomic(4)
        let appended = Atomic(0)
        let failures = Atomic(0)
        Threads.run(5) {
            guard running.wrappingSubtract(1, ordering: .relaxed).newValue >= 0 else {
                for round in 0..<40 {
                    manager.writeMarks()
                    manager.checkpoint()
                    for log in logs { _ = try? log.deleteOldSegments(now: Int64(round)) }
                    try? logs[0].flush()
                    usleep(1000)
                }
                return
            }
            var next: Int64 = 0
            for round in 0..<600 {
                let log = logs[round % 3]
                guard case .success = log.append(batch(2)) else {
                    failures.wrappingAdd(1, ordering: .relaxed)
                    continue
                }
                appended.wrappingAdd(1, ordering: .relaxed)
                if case .success(let read) = logs[0].read(from: next, maxBytes: 3000, upTo: .max, minOneMessage: true) {
                    guard let last = read.slice?.batches().last else { continue }
                    if last.lastOffset < next { failures.wrappingAdd(1, ordering: .relaxed) }
                    next = last.lastOffset + 1
                } else {
                    failures.wrappingAdd(1, ordering: .relaxed)
                }
            }
        }
        #expect(failures.load(ordering: .relaxed) == 0)
        let ends = logs.map { $0.logEndOffset }
        #expect(ends.reduce(0, +) == Int64(appended.load(ordering: .relaxed) * 2))
        for log in logs { #expect(try log.readAll().count == Int(log.logEndOffset / 2)) }
        background.stop()
        manager.shutdown()
    }
}
