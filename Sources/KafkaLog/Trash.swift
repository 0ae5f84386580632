import Synchronization

/// Files and folders that wait out file.delete.delay.ms before they go.
package final class Trash: Sendable {
    struct Item: Sendable {
        var path: String
        var isDirectory: Bool
        var dueMs: Int64
    }

    private let items = Mutex<[Item]>([])
    /// A write found the disk full: what waits to be deleted goes at once.
    let isDiskFull = Atomic(false)

    package init() {}

    package var count: Int { self.items.withLock { $0.count } }

    func add(_ path: String, isDirectory: Bool = false, dueMs: Int64) {
        self.items.withLock { $0.append(Item(path: path, isDirectory: isDirectory, dueMs: dueMs)) }
    }

    /// Deletes what is due. What cannot be deleted is left for the next start.
    package func empty(now: Int64) {
        let isDiskFull = self.isDiskFull.exchange(false, ordering: .relaxed)
        let due = self.items.withLock { items -> [Item] in
            if isDiskFull {
                defer { items = [] }
                return items
            }
            let due = items.filter { $0.dueMs <= now }
            if !due.isEmpty { items.removeAll { $0.dueMs <= now } }
            return due
        }
        for item in due {
            if item.isDirectory {
                try? FileSystem.removeDirectory(item.path)
            } else {
                try? FileSystem.unlink(item.path)
            }
        }
    }
}
