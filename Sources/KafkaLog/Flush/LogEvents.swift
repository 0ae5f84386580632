import KafkaPrimitives
import Synchronization

/// Who waits for an append to be committed. The log only hands it back.
package struct AppendWaiter: Sendable, Equatable {
    package var loop: Int
    package var request: UInt64
    /// Which of the request's parts.
    package var item: Int

    package init(loop: Int, request: UInt64, item: Int) {
        self.loop = loop
        self.request = request
        self.item = item
    }
}

/// One whose wait is over.
package struct ReleasedWaiter: Sendable, Equatable {
    package var waiter: AppendWaiter
    /// `.none`: its records are committed. Otherwise nobody knows what of them a power cut would leave.
    package var error: ErrorCode
}

/// What logs tell those who serve them. Set once each, before the first log is opened. Called without a lock, on any
/// thread but an event loop that is inside of the log.
package final class LogEvents: Sendable {
    /// The high watermark moved although nothing was appended.
    package typealias HighWatermarkMoved = @Sendable (PartitionLog) -> Void
    /// An append that was queued is through.
    package typealias Appended = @Sendable (QueuedAppend) -> Void
    package typealias Released = @Sendable ([ReleasedWaiter]) -> Void
    package typealias StorageFailed = @Sendable (StorageFailure) -> Void

    private struct Handlers: Sendable {
        var highWatermarkMoved: HighWatermarkMoved?
        var appended: Appended?
        var released: Released?
        var storageFailed: [StorageFailed] = []
    }
    private let handlers = Mutex(Handlers())

    package init() {}

    package func onHighWatermark(_ body: @escaping HighWatermarkMoved) {
        self.handlers.withLock { $0.highWatermarkMoved = body }
    }

    package func onAppend(_ body: @escaping Appended) { self.handlers.withLock { $0.appended = body } }

    package func onRelease(_ body: @escaping Released) { self.handlers.withLock { $0.released = body } }

    /// Besides those that were set before.
    package func onStorageFailure(_ body: @escaping StorageFailed) {
        self.handlers.withLock { $0.storageFailed.append(body) }
    }

    func highWatermarkMoved(_ log: PartitionLog) { self.handlers.withLock { $0.highWatermarkMoved }?(log) }

    func appended(_ append: QueuedAppend) { self.handlers.withLock { $0.appended }?(append) }

    func released(_ waiters: [ReleasedWaiter]) {
        if !waiters.isEmpty { self.handlers.withLock { $0.released }?(waiters) }
    }

    func storageFailed(_ failure: StorageFailure) {
        for body in self.handlers.withLock({ $0.storageFailed }) { body(failure) }
    }
}
