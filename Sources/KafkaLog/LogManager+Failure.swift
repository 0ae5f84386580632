import Glibc
import KafkaPrimitives
import Synchronization

extension LogManager {
    /// Called once for each data folder that fails, on a background thread, when its partitions have been taken offline.
    package func onFailedFolder(_ body: @escaping @Sendable (FailedFolder) -> Void) {
        self.failedFolder.set(body)
    }

    /// Whether a data folder could not be opened, or has failed since.
    package var hasOfflineFolders: Bool { self.directories.contains { !$0.isOnline } }

    /// What an error in a folder means for it, found out in the background.
    func storageFailed(_ failure: StorageFailure) {
        let error = failure.error
        guard let index = self.directoryIndex(ofPath: failure.path) else { return }
        // A start after a kill must not trust the page cache.
        if failure.endedLog != nil { try? self.directories[index].marks.invalidate() }
        guard error.isOfFolder, self.directories[index].isOnline else { return }
        self.environment.background.submit { [weak self] in
            guard let self else { return }
            if error.meaning == .folderSuspect {
                do throws(IOError) { try self.directories[index].probe() } catch {
                    if error.meaning != .full && error.meaning != .other { self.fail(index, error) }
                }
            } else {
                self.fail(index, error)
            }
        }
    }

    /// Looks after each folder that is online. Blocks.
    func probeFolders() {
        for index in self.directories.indices where self.directories[index].isOnline {
            do throws(IOError) { try self.directories[index].probe() } catch {
                self.environment.storageFailed(error, self.directories[index].path)
            }
        }
    }

    /// Tells of an error. That the disk is full is told every ten seconds, not with each thing that it stops.
    func report(_ error: IOError, _ message: String) {
        if error.meaning == .full {
            let now = wallClockMs()
            let isDue = self.fullReported.withLock { reported -> Bool in
                guard now &- reported >= 10_000 || now < reported else { return false }
                reported = now
                return true
            }
            guard isDue else { return }
        }
        self.environment.report(LogNotice(level: .error, message: message))
    }

    private func directoryIndex(ofPath path: String) -> Int? {
        self.directories.firstIndex { path == $0.path || path.hasPrefix($0.path + "/") }
    }

    /// Takes a folder and all partitions in it offline, until the broker is started again.
    func fail(_ index: Int, _ error: IOError) {
        let directory = self.directories[index]
        guard directory.fail(error) else { return }
        let logs = self.state.withLock { state -> [PartitionLog] in
            let logs = state.logs.values.filter { $0.directory == index }.map(\.log)
            for log in logs { state.logs[log.topicPartition] = nil }
            return logs
        }
        for log in logs { log.tell(log.markOffline()) }
        self.abandonMoves(of: index)
        self.environment.report(
            LogNotice(
                level: .error,
                message: "data folder \(directory.path) has failed: \(error); its \(logs.count) partitions are offline")
        )
        let isFatal = index == 0 || self.directories.allSatisfy { !$0.isOnline }
        self.failedFolder(
            FailedFolder(
                path: directory.path, error: error, partitions: logs.map(\.topicPartition), isFatal: isFatal))
    }
}

extension LogDirectory {
    private static let probeName = "ottla-probe"

    /// Makes a file in the folder and syncs it, and looks whether the folder is still the one that was opened: an unmounted
    /// disk leaves an empty one. A full disk is no failure.
    func probe() throws(IOError) {
        let path = self.path + "/" + Self.probeName
        do throws(IOError) {
            let file = try FileSystem.open(path, .create)
            try FileSystem.writeAll(file, [1], at: 0)
            try FileSystem.sync(file)
            try FileSystem.unlink(path)
            let found = (try? MetaProperties.read(self.path)) ?? nil
            guard found?.directoryID == self.properties.directoryID else {
                throw IOError(.read, self.path + "/" + MetaProperties.name, code: ENODEV)
            }
        } catch {
            if error.meaning != .full { throw IOError(error.call, path, code: error.code) }
        }
    }
}

extension PartitionLog {
    /// Its folder has failed: nothing is read or written here any more.
    /// - Returns: who waits for a sync.
    func markOffline() -> SyncOutcome {
        var outcome = SyncOutcome()
        // Files close after the lock is released.
        let (segments, files) = self.state.withLock { state -> ([SealedSegment], [LogFile?]) in
            guard state.status == .open || state.status == .failed else { return ([], []) }
            state.status = .offline
            outcome.released = state.sync?.takeAll(.kafkaStorageError) ?? []
            let files = [
                state.nextFile, state.active.file, state.active.offsetIndexFile, state.active.timeIndexFile,
            ]
            state.nextFile = nil
            state.active.file = nil
            state.active.offsetIndexFile = nil
            state.active.timeIndexFile = nil
            return (state.sealed, files)
        }
        withExtendedLifetime(files) {}
        for segment in segments { self.environment.segmentCache.remove(segment) }
        return outcome
    }
}
