import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// Several data folders: who gets what, moves between them, and what fails.
@Suite struct FolderTests {
    let folder = TemporaryFolder()

    private var paths: [String] { (0..<3).map { "\(self.folder.path)/data-\($0)" } }

    private func open(
        _ paths: [String]? = nil, background: any BackgroundExecutor = Inline(), rate: Int64? = nil
    ) throws -> LogManager {
        var configuration = LogManager.Configuration(directories: paths ?? self.paths, nodeID: 1)
        configuration.moveBytesPerSecond = rate
        let manager = try LogManager.open(configuration, background: background, now: 0)
        _ = try manager.load(now: 0) { _, _ in Self.config }
        return manager
    }

    private static var config: LogConfig {
        var config = LogConfig()
        config.segmentBytes = 20_000
        config.indexIntervalBytes = 500
        config.fileDeleteDelayMs = 0
        return config
    }

    private func partition(_ index: Int) -> TopicPartition { TopicPartition(topic: "t", partition: Int32(index)) }

    private func create(_ manager: LogManager, _ index: Int) throws -> PartitionLog {
        try manager.create(self.partition(index), topicID: ordersID, config: Self.config, now: 0)
    }

    private func folders(of path: String) throws -> [String] {
        try FileSystem.list(path).filter { $0.hasPrefix("t-") }.sorted()
    }

    private func wait(_ what: String, _ condition: () -> Bool) throws {
        for _ in 0..<10_000 {
            if condition() { return }
            usleep(1000)
        }
        Issue.record("it did not come to: \(what)")
    }

    @Test func theFolderWithTheFewestGetsTheNext() throws {
        let manager = try self.open()
        for index in 0..<9 { _ = try self.create(manager, index) }
        #expect(manager.directories.indices.map { manager.logs(in: $0).count } == [3, 3, 3])
        for index in [0, 3, 6] { try manager.delete(self.partition(index), now: 0) }
        for index in 10..<13 {
            #expect(manager.directory(of: try self.create(manager, index).topicPartition)?.path == self.paths[0])
        }
        manager.shutdown()
        let again = try self.open()
        #expect(again.allLogs.count == 9)
        #expect(Set(again.directories.map(\.properties.directoryID)).count == 3)
        #expect(Set(again.directories.map(\.properties.clusterID)).count == 1)
        again.shutdown()
    }

    /// Records are written and read all the while; nothing is lost or doubled.
    @Test func aMoveUnderWrites() throws {
        let manager = try self.open(rate: 3_000_000)
        let log = try self.create(manager, 0)
        for sequence in 0..<300 {
            log.append(batch(1, size: 500, producer: ProducerStamp(id: 7, sequence: Int32(sequence))), epoch: 3)
        }
        let isDone = Atomic(false)
        let written = Atomic(300)
        let slice = try log.read(from: 0, maxBytes: 5000, upTo: .max, minOneMessage: true).get().slice
        let before = slice?.bytes
        Threads.run(2) { [manager] in
            if !isDone.exchange(true, ordering: .acquiringAndReleasing) {
                for target in [1, 2, 0, 1] {
                    if manager.move(log, toFolder: target) != .none { Issue.record("refused") }
                    for _ in 0..<10_000 where !manager.moves.isEmpty || manager.directoryIndex(of: log) != target {
                        usleep(1000)
                    }
                    if manager.directoryIndex(of: log) != target { Issue.record("not in \(target)") }
                }
                written.store(-1, ordering: .releasing)
            } else {
                var sequence = 300
                while written.load(ordering: .acquiring) >= 0 {
                    let bytes = batch(1, size: 500, producer: ProducerStamp(id: 7, sequence: Int32(sequence)))
                    guard case .success(let info) = log.append(bytes, epoch: 3), info.firstOffset == Int64(sequence)
                    else {
                        Issue.record("at \(sequence)")
                        return
                    }
                    sequence += 1
                    if sequence % 50 == 0, (try? log.deleteOldSegments(now: 0)) == nil { Issue.record("retention") }
                    usleep(200)
                }
            }
        }
        #expect(slice?.bytes == before)
        let end = log.logEndOffset
        #expect(
            end > 400 && log.path == "\(self.paths[1])/t-0"
                && manager.directory(of: log.topicPartition)?.path == self.paths[1])
        #expect(try log.readAll().map(\.baseOffset) == Array(0..<end))
        #expect(try self.folders(of: self.paths[0]).isEmpty && self.folders(of: self.paths[2]).isEmpty)
        // What a kill leaves, and what a clean end does.
        for isClean in [false, true] {
            if isClean { manager.shutdown() }
            let copy = self.folder.copy()
            let again = try self.open((0..<3).map { "\(copy.path)/data-\($0)" })
            let other = try #require(again.log(for: self.partition(0)))
            #expect(other.logEndOffset == end && other.latestEpoch == 3)
            #expect(try other.readAll().map(\.baseOffset) == Array(0..<end))
            let last = batch(1, size: 500, producer: ProducerStamp(id: 7, sequence: Int32(end - 1)))
            #expect(try other.append(last, epoch: 3).get().isDuplicate)
            #expect(try other.offset(forTimestamp: 0).get()?.offset == 0)
            again.shutdown()
        }
    }

    @Test func aMoveGoesOnAfterARestart() throws {
        let manager = try self.open(rate: 1000)
        let log = try self.create(manager, 0)
        for _ in 0..<100 { log.append(batch(1, size: 500)) }
        #expect(manager.move(log, toFolder: 2) == .none)
        try self.wait("a copy") { manager.moves.first.map { $0.progress.bytes > 0 } ?? false }
        let future = try #require(manager.describeFolders { _ in true }[2].replicas.first)
        #expect(future.isFuture && future.size > 0 && future.lag > 0)
        #expect(manager.describeFolders { _ in true }[0].replicas.map(\.isFuture) == [false])
        let killed = self.folder.copy()
        manager.shutdown()
        for root in [killed.path, self.folder.path] {
            #expect(try self.folders(of: "\(root)/data-2").count == 1)
            let again = try self.open((0..<3).map { "\(root)/data-\($0)" })
            again.resumeMoves()
            try self.wait("the move") {
                again.moves.isEmpty && again.directory(of: self.partition(0))?.path == "\(root)/data-2"
            }
            again.environment.trash.empty(now: .max)
            #expect(try self.folders(of: "\(root)/data-2") == ["t-0"] && self.folders(of: "\(root)/data-0").isEmpty)
            #expect(try again.log(for: self.partition(0))?.readAll().count == 100)
            again.shutdown()
        }
    }

    @Test func aMoveIsCalledOffByAnotherOrByTheDeletion() throws {
        let manager = try self.open(rate: 1000)
        let logs = try (0..<2).map { try self.create(manager, $0) }
        for log in logs { for _ in 0..<100 { log.append(batch(1, size: 500)) } }
        #expect(manager.move(logs[0], toFolder: 1) == .none && manager.move(logs[0], toFolder: 0) == .none)
        #expect(manager.moves.isEmpty)
        #expect(manager.move(logs[1], toFolder: 2) == .none)
        try manager.delete(self.partition(1), now: 0)
        #expect(manager.moves.isEmpty && manager.move(logs[1], toFolder: 2) == .kafkaStorageError)
        #expect(manager.move(logs[0], toFolder: 9) == .logDirNotFound)
        try self.wait("no copy") {
            (try? self.folders(of: self.paths[1]).filter { $0.hasSuffix("-future") }.isEmpty) ?? false
                && (try? self.folders(of: self.paths[2]).isEmpty) ?? false
        }
        #expect(try logs[0].readAll().count == 100)
        manager.shutdown()
    }

    @Test func oneInTwoFoldersIsTheOneWithMore() throws {
        let manager = try self.open()
        let log = try self.create(manager, 0)
        for _ in 0..<10 { log.append(batch(1)) }
        let copy = self.folder.copy()
        for _ in 0..<5 { log.append(batch(1)) }
        copyTree(log.path, "\(copy.path)/data-2/t-0")
        manager.shutdown()
        let again = try self.open((0..<3).map { "\(copy.path)/data-\($0)" })
        #expect(again.log(for: self.partition(0))?.logEndOffset == 15)
        #expect(again.directory(of: self.partition(0))?.path == "\(copy.path)/data-2")
        again.environment.trash.empty(now: .max)
        #expect(try self.folders(of: "\(copy.path)/data-0").isEmpty)
        again.shutdown()
    }

    /// KIP-1066: what is in a cordoned folder stays and is served.
    @Test func cordonedFoldersGetNothingNew() throws {
        let manager = try self.open()
        let logs = try (0..<3).map { try self.create(manager, $0) }
        manager.cordon([self.paths[1], self.paths[2] + "/", "/elsewhere"])
        #expect(manager.describeFolders { _ in true }.map(\.isCordoned) == [false, true, true])
        for index in 3..<6 {
            #expect(manager.directory(of: try self.create(manager, index).topicPartition)?.path == self.paths[0])
        }
        #expect(manager.move(logs[0], toFolder: 1) == .invalidReplicaAssignment)
        #expect(manager.move(logs[1], toFolder: 1) == .none)
        #expect(try logs[1].append(batch(1)).get().firstOffset == 0)
        // Who is asked for by name, with all of them cordoned, takes the emptiest.
        manager.cordon(self.paths)
        #expect(manager.directory(of: try self.create(manager, 6).topicPartition)?.path == self.paths[1])
        manager.cordon([])
        #expect(manager.move(logs[0], toFolder: 1) == .none)
        try self.wait("the move") { manager.moves.isEmpty }
        #expect(manager.directory(of: logs[0].topicPartition)?.path == self.paths[1])
        manager.shutdown()
    }

    // MARK: failures

    @Test func aFolderThatFailsTakesItsPartitionsAndNoOthers() throws {
        let manager = try self.open()
        let logs = try (0..<6).map { try self.create(manager, $0) }
        for log in logs { for _ in 0..<10 { log.append(batch(1)) } }
        let failed = Mutex<[FailedFolder]>([])
        manager.onFailedFolder { folder in failed.withLock { $0.append(folder) } }
        let environment = manager.environment
        environment.storageFailed(IOError(.write, code: ENOSPC), logs[1].path)
        environment.storageFailed(IOError(.open, code: EMFILE), logs[1].path)
        // Suspected, and found well.
        environment.storageFailed(IOError(.open, code: ENOENT), logs[1].path)
        environment.readFailed(IOError(.read, code: EIO), logs[1].path)
        #expect(failed.withLock { $0.isEmpty })
        environment.storageFailed(IOError(.write, code: EIO), logs[1].path)
        environment.storageFailed(IOError(.sync, code: EIO), logs[4].path)
        let folder = try #require(failed.withLock { $0.count == 1 ? $0[0] : nil })
        #expect(folder.path == self.paths[1] && !folder.isFatal)
        #expect(Set(folder.partitions) == [self.partition(1), self.partition(4)])
        for (index, log) in logs.enumerated() {
            if index % 3 == 1 {
                #expect(log.append(batch(1)) == .failure(.protocolError(.kafkaStorageError, nil)))
                guard case .failure(.kafkaStorageError) = log.read(from: 0, maxBytes: 9, upTo: 9, minOneMessage: true)
                else {
                    Issue.record("it is read")
                    continue
                }
                #expect(manager.log(for: log.topicPartition) == nil)
            } else {
                #expect(try log.append(batch(1)).get().firstOffset == 10)
            }
        }
        #expect(manager.describeFolders { _ in true }.map(\.isOnline) == [true, false, true])
        #expect(manager.move(logs[0], toFolder: 1) == .kafkaStorageError)
        // New ones go elsewhere.
        for index in 10..<14 {
            #expect(manager.directory(of: try self.create(manager, index).topicPartition)?.path != self.paths[1])
        }
        manager.writeMarks()
        manager.checkpoint()
        environment.storageFailed(IOError(.write, code: EROFS), logs[2].path)
        #expect(failed.withLock { $0.map(\.isFatal) } == [false, false])
        environment.storageFailed(IOError(.write, code: EROFS), logs[0].path)
        #expect(failed.withLock { $0.map(\.isFatal) } == [false, false, true])
        #expect(!manager.shutdown())
        let again = try self.open()
        #expect((0..<6).compactMap { again.log(for: self.partition($0))?.logEndOffset } == [11, 10, 11, 11, 10, 11])
        again.shutdown()
    }

    /// The kernel has thrown away what it could not write, in this file and maybe in others.
    @Test func aSyncThatFailsTakesItsFolderOffline() throws {
        let manager = try self.open()
        let logs = try (0..<6).map { try self.create(manager, $0) }
        for log in logs { for _ in 0..<10 { log.append(batch(1)) } }
        let failed = Mutex<[FailedFolder]>([])
        let ended = Mutex<[TopicPartition]>([])
        manager.onFailedFolder { folder in failed.withLock { $0.append(folder) } }
        manager.events.onStorageFailure { failure in
            if let log = failure.endedLog { ended.withLock { $0.append(log.topicPartition) } }
        }
        // Not the disk's fault: the log alone takes nothing any more.
        logs[0].tell(logs[0].fail(IOError(.sync, code: EINVAL)))
        #expect(failed.withLock { $0.isEmpty })
        #expect(logs[3].append(batch(1)).isTaken && !logs[0].append(batch(1)).isTaken)
        logs[1].tell(logs[1].fail(IOError(.sync, code: EIO)))
        let folder = try #require(failed.withLock { $0.count == 1 ? $0[0] : nil })
        #expect(folder.path == self.paths[1] && Set(folder.partitions) == [self.partition(1), self.partition(4)])
        #expect(logs.map { $0.append(batch(1)).isTaken } == [false, false, true, true, false, true])
        #expect(ended.withLock { $0 } == [self.partition(0), self.partition(1)])
        for (index, isThere) in [false, false, true].enumerated() {
            #expect(try FileSystem.exists(self.paths[index] + "/" + BootMarks.name) == isThere)
        }
        #expect(!manager.shutdown())
    }

    @Test func aFolderThatIsGoneAtTheStartIsOffline() throws {
        let first = try self.open()
        for index in 0..<3 { _ = try self.create(first, index) }
        first.shutdown()
        // A file in its place.
        rename(self.paths[1], self.paths[1] + "-away")
        write([1], to: self.paths[1])
        let manager = try self.open()
        #expect(manager.hasOfflineFolders && manager.allLogs.count == 2)
        manager.shutdown()
        try FileSystem.unlink(self.paths[1])
        rename(self.paths[1] + "-away", self.paths[1])
        let again = try self.open()
        #expect(!again.hasOfflineFolders && again.allLogs.count == 3)
        again.shutdown()
        // Without the first there is nothing.
        rename(self.paths[0], self.paths[0] + "-away")
        write([1], to: self.paths[0])
        #expect(throws: LogDirectoryError.self) { try self.open() }
    }

    @Test func aFolderOfAnotherTopicIsSetAside() throws {
        let manager = try self.open([self.paths[0]])
        let log = try self.create(manager, 0)
        log.append(batch(1))
        let copy = TemporaryFolder()
        copyTree(log.path, copy.path + "/t-0")
        try manager.delete(log.topicPartition, now: 0)
        copyTree(copy.path + "/t-0", self.paths[0] + "/t-0")
        let other = try manager.create(
            self.partition(0), topicID: KafkaUUID(high: 5, low: 6), config: Self.config, now: 0)
        #expect(other.logEndOffset == 0)
        #expect(try self.folders(of: self.paths[0]).contains { $0.hasSuffix("-stray") })
        manager.shutdown()
    }

    @Test func namesOfCopies() {
        let name = PartitionFolder.marked("a.b-c-7", "future")
        #expect(PartitionFolder.partition(ofFuture: name) == TopicPartition(topic: "a.b-c", partition: 7))
        for name in ["a-7-future", "a-7.0123-future", "a-7", PartitionFolder.marked("a-7", "delete")] {
            #expect(PartitionFolder.partition(ofFuture: name) == nil)
        }
        #expect(LogDirectory.absolute("/a/b//") == "/a/b" && LogDirectory.absolute("./x").hasSuffix("/x"))
        #expect(!LogDirectory.absolute("./x").contains("/./"))
    }
}

extension Result where Success == AppendInfo {
    fileprivate var isTaken: Bool { (try? self.get()) != nil }
}
