import Synchronization

extension LogManager {
    /// From so many logs with something to sync on, the whole file system is synced at once at the end: five syncs for
    /// each would take seconds.
    private static let syncAtOnceFrom = 500

    /// Closes all logs and leaves the sign of a clean shutdown in each folder where that went well. Blocks for the syncs.
    /// The folders are given up at the end.
    /// - Returns: false where the next start must look at the logs' ends.
    @discardableResult
    package func shutdown() -> Bool {
        let thread = self.maintenance.withLock { maintenance -> PeriodicThread? in
            defer { maintenance = nil }
            return maintenance
        }
        self.cleaner.stop()
        thread?.stop()
        guard
            self.state.withLock({ state -> Bool in
                defer { state.isClosed = true }
                return !state.isClosed
            })
        else { return true }
        self.environment.writers.stop()
        self.scrubber.stop()
        self.environment.reads.stop()
        var isClean = true
        self.pauseMoves()
        if !self.environment.changes.isEmpty { self.needsCheckpoint.store(true, ordering: .releasing) }
        for index in self.directories.indices {
            guard self.directories[index].isOnline else {
                // Where that could not be done when it failed.
                try? self.directories[index].marks.invalidate()
                isClean = false
                continue
            }
            let logs = self.logs(in: index)
            let syncsAtOnce = logs.count { $0.needsFlush } > Self.syncAtOnceFrom
            let work = CloseWork(logs, isSyncedLater: syncsAtOnce)
            Threads.run(min(4, logs.count)) { work.run() }
            guard !work.hasFailed else {
                try? self.directories[index].marks.invalidate()
                isClean = false
                continue
            }
            do throws(IOError) {
                if syncsAtOnce { try FileSystem.syncFileSystem(of: self.directories[index].path) }
                if self.needsCheckpoint.load(ordering: .acquiring) { try self.checkpoint(index) }
                let nonce = hex(FileSystem.random64())
                let isSealed =
                    self.writeMarks()
                    ? try self.directories[index].marks.seal(bootID: self.bootID, nonce: nonce) : false
                if !isSealed {
                    try self.rewriteMarks(index, nonce: nonce, durable: true)
                }
                try self.directories[index].writeCleanShutdown(nonce: nonce)
            } catch {
                isClean = false
                // What a sync could not bring to the disk is not to be believed.
                if error.call == .sync { try? self.directories[index].marks.invalidate() }
                self.environment.report(LogNotice(level: .error, message: "shutdown: \(error)"))
            }
        }
        for directory in self.directories { directory.releaseLock() }
        return isClean
    }

    private final class CloseWork: Sendable {
        private let logs: Mutex<[PartitionLog]>
        private let isSyncedLater: Bool
        private let failed = Atomic(false)

        init(_ logs: [PartitionLog], isSyncedLater: Bool) {
            self.logs = Mutex(logs)
            self.isSyncedLater = isSyncedLater
        }

        var hasFailed: Bool { self.failed.load(ordering: .acquiring) }

        func run() {
            while let log = self.logs.withLock({ $0.popLast() }) {
                do throws(IOError) { try log.close(isSyncedLater: self.isSyncedLater) } catch {
                    log.notice(.error, "close: \(error)")
                    self.failed.store(true, ordering: .releasing)
                }
            }
        }
    }
}
