import Synchronization

/// A watch; it lasts until `cancel`, also when nobody holds it.
package final class MetadataWatch: Sendable {
    private let cancelled = Atomic(false)

    package init() {}

    /// No event comes after the one that may be under way on the store's thread.
    package func cancel() { self.cancelled.store(true, ordering: .releasing) }
    package var isCancelled: Bool { self.cancelled.load(ordering: .acquiring) }
}

/// The watches of a store in this process, with the history that they can start from.
/// Belongs to the store's thread.
struct MetadataWatchHub {
    private struct Watcher {
        var watch: MetadataWatch
        var range: MetadataRange
        var from: Int64
        var body: @Sendable (MetadataWatchEvent) -> Void
    }

    /// The first revision that the history has whole.
    private(set) var oldest: Int64
    private var history: [MetadataChanges] = []
    private var keptChanges = 0
    private let keepAtMost: Int
    private var watchers: [Watcher] = []

    /// - Parameter keepAtMost: how many changed keys the history holds.
    init(revision: Int64, keepAtMost: Int) {
        self.oldest = revision &+ 1
        self.keepAtMost = keepAtMost
    }

    mutating func register(
        _ watch: MetadataWatch, _ range: MetadataRange, from revision: Int64,
        _ body: @escaping @Sendable (MetadataWatchEvent) -> Void
    ) {
        self.watchers.removeAll { $0.watch.isCancelled }
        guard revision >= self.oldest else {
            watch.cancel()
            body(.lost(oldest: self.oldest))
            return
        }
        let watcher = Watcher(watch: watch, range: range, from: revision, body: body)
        for changes in self.history { self.tell(watcher, changes) }
        self.watchers.append(watcher)
    }

    mutating func publish(_ changes: MetadataChanges) {
        self.history.append(changes)
        self.keptChanges += changes.changes.count
        if self.keptChanges > self.keepAtMost { self.forget() }
        for watcher in self.watchers { self.tell(watcher, changes) }
    }

    private mutating func forget() {
        // Down to a half, so that the array is not shifted with each publication.
        var dropped = 0
        while self.keptChanges > self.keepAtMost / 2, dropped < self.history.count - 1 {
            self.keptChanges -= self.history[dropped].changes.count
            self.oldest = self.history[dropped].revision &+ 1
            dropped += 1
        }
        self.history.removeFirst(dropped)
    }

    private func tell(_ watcher: Watcher, _ changes: MetadataChanges) {
        guard changes.revision >= watcher.from, !watcher.watch.isCancelled else { return }
        let wanted = changes.changes.filter { watcher.range.contains($0.key) }
        if !wanted.isEmpty { watcher.body(.changes(MetadataChanges(revision: changes.revision, changes: wanted))) }
    }
}
