import Glibc
import KafkaPrimitives
import Synchronization

/// The moves of partitions between data folders (AlterReplicaLogDirs, KIP-113).
final class FolderMoves: Sendable {
    let running = Mutex<[TopicPartition: FolderMove]>([:])
    /// Wanted before the last start.
    let pending = Mutex<[(partition: TopicPartition, target: Int)]>([])
    let threads: BackgroundThreads

    init(threads: Int) { self.threads = BackgroundThreads(threads: threads) }
}

extension LogManager {
    var moves: [FolderMove] { self.folderMoves.running.withLock { Array($0.values) } }

    /// Begins to move a log to another data folder, in the background; it is used meanwhile. A move that is under way to
    /// another folder is called off; to the one where it is, any.
    /// - Returns: KAFKA_STORAGE_ERROR where one of the folders is offline; INVALID_REPLICA_ASSIGNMENT where the other is
    ///   cordoned.
    package func move(_ log: PartitionLog, toFolder target: Int) -> ErrorCode {
        guard self.directories.indices.contains(target) else { return .logDirNotFound }
        guard self.directories[target].isOnline, let current = self.directoryIndex(of: log) else {
            return .kafkaStorageError
        }
        if current != target, self.cordoned.withLock({ $0.contains(target) }) { return .invalidReplicaAssignment }
        let partition = log.topicPartition
        let move = self.folderMoves.running.withLock { running -> FolderMove? in
            if let old = running[partition] {
                if old.target == target { return nil }
                old.stop(.cancelled)
                running[partition] = nil
            }
            guard current != target else { return nil }
            let move = FolderMove(log: log, target: target, directory: self.directories[target].path)
            running[partition] = move
            return move
        }
        if let move { self.folderMoves.threads.submit { self.run(move) } }
        return .none
    }

    private func run(_ move: FolderMove) {
        defer {
            self.folderMoves.running.withLock { running in
                if running[move.partition] === move { running[move.partition] = nil }
            }
        }
        // The cleaner replaces segments by their names.
        let cleaning = move.log.pauseCleaning()
        defer { cleaning.resume() }
        let old = move.log.path
        var outcome = FolderCopier.Outcome.stopped
        if move.whyEnded == .none {
            do throws(IOError) {
                var copier = FolderCopier(move, bytesPerSecond: self.configuration.moveBytesPerSecond)
                outcome = try copier.run()
            } catch {
                move.log.notice(
                    .error, "its move to \(self.directories[move.target].path) has failed: \(error)")
                self.environment.storageFailed(error, error.path.isEmpty ? move.future.path : error.path)
                move.stop(.cancelled)
            }
        }
        switch outcome {
        case .stopped:
            if move.whyEnded != .paused { try? FileSystem.removeDirectory(move.future.path) }
        case .moved:
            self.finish(move, old: old)
        }
    }

    private func finish(_ move: FolderMove, old: String) {
        let isThere = self.state.withLock { state -> Bool in
            guard state.logs[move.partition]?.log === move.log else { return false }
            state.logs[move.partition]?.directory = move.target
            return true
        }
        if isThere, let source = self.directories.first(where: { old.hasPrefix($0.path + "/") }) {
            self.cleaner.moved(move.partition, from: source, to: self.directories[move.target])
        }
        guard isThere else {
            // Deleted in this moment (the copy has gone with it), or its old folder has failed: the next start has the copy.
            try? self.discardFolder(old, dueMs: 0)
            return
        }
        // A round of marks may have taken them for the old folder in between.
        move.log.state.withLock { state in
            state.marked = nil
            state.listNoted = state.listVersion &- 1
            move.log.changed(&state)
        }
        do throws(IOError) {
            try move.log.flush()
            try FileSystem.syncDirectory(self.directories[move.target].path)
        } catch {
            move.log.notice(.error, "after its move: \(error)")
            self.environment.storageFailed(error, move.final.path)
        }
        do throws(IOError) { try self.discardFolder(old, dueMs: 0) } catch {
            move.log.notice(.error, "after its move: \(error)")
            self.environment.storageFailed(error, old)
        }
        self.writeMarks()
        self.checkpoint()
        self.environment.trash.empty(now: 0)
        move.log.notice(.info, "moved to \(self.directories[move.target].path)")
    }

    /// Renames a partition's folder, so that it is nobody's any more, and leaves it to the trash.
    func discardFolder(_ path: String, as purpose: String = "delete", dueMs: Int64) throws(IOError) {
        guard let slash = path.lastIndex(of: "/") else { return }
        let name = PartitionFolder.marked(String(path[path.index(after: slash)...]), purpose)
        let renamed = String(path[...slash]) + name
        try FileSystem.rename(path, to: renamed)
        if purpose == "delete" { self.environment.trash.add(renamed, isDirectory: true, dueMs: dueMs) }
    }

    func cancelMove(of partition: TopicPartition) {
        self.folderMoves.running.withLock { running in
            running[partition]?.stop(.cancelled)
            running[partition] = nil
        }
    }

    /// A folder has failed: nothing moves into it or out of it any more.
    func abandonMoves(of index: Int) {
        for move in self.moves where move.target == index || self.directoryIndex(of: move.log) == nil {
            self.cancelMove(of: move.partition)
        }
    }

    // MARK: start and end

    /// A copy that the last run did not finish is begun anew, once all logs are open.
    func foundFuture(_ partition: TopicPartition, _ path: String, in index: Int) {
        self.folderMoves.pending.withLock { $0.append((partition, index)) }
        self.environment.trash.add(path, isDirectory: true, dueMs: 0)
    }

    func resumeMoves() {
        let pending = self.folderMoves.pending.withLock { pending in
            defer { pending = [] }
            return pending
        }
        for (partition, target) in pending {
            if let log = self.log(for: partition) { _ = self.move(log, toFolder: target) }
        }
    }

    func pauseMoves() {
        for move in self.moves { move.stop(.paused) }
        self.folderMoves.threads.stop()
    }

    /// Takes an opened log in. Where another folder has the partition too (a kill in the last step of a move), the one
    /// with more counts, the other goes.
    func adopt(_ log: PartitionLog, in index: Int, topicID: KafkaUUID?) throws(IOError) {
        let partition = log.topicPartition
        let loser = self.state.withLock { state -> PartitionLog? in
            guard let old = state.logs[partition]?.log else {
                state.logs[partition] = (log, index)
                return nil
            }
            let (isOld, isNew) = (old.topicID == topicID, log.topicID == topicID)
            guard isNew == isOld ? log.logEndOffset > old.logEndOffset : isNew else { return log }
            state.logs[partition] = (log, index)
            return old
        }
        guard let loser else { return }
        let winner = self.log(for: partition)
        loser.notice(.warning, "is in two data folders: \(loser.path) is set aside")
        loser.markDeleted()
        try self.discardFolder(
            loser.path, as: loser.topicID == winner?.topicID ? "delete" : "stray", dueMs: 0)
    }
}
