import Glibc
import Synchronization

/// Waiting forms, for the start of a broker and for tests. Never on the store's own thread.
extension MetadataStore {
    package func readAndWait(_ range: MetadataRange, limit: Int? = nil) throws(MetadataStoreError) -> MetadataRead {
        try waitForResult { self.read(range, limit: limit, $0) }
    }

    package func commitAndWait(_ transaction: MetadataTransaction) throws(MetadataStoreError) -> MetadataCommit {
        try waitForResult { self.commit(transaction, $0) }
    }
}

/// Blocks the thread until `start`'s completion has run.
package func waitForResult<Value: Sendable>(
    _ start: (@escaping @Sendable (MetadataResult<Value>) -> Void) -> Void
) throws(MetadataStoreError) -> Value {
    let box = WaitBox<MetadataResult<Value>>()
    start { box.fulfil($0) }
    return try box.wait().get()
}

private final class WaitBox<Value: Sendable>: Sendable {
    private let value = Mutex<Value?>(nil)
    private let gate = Gate()

    func fulfil(_ value: Value) {
        self.value.withLock { $0 = value }
        self.gate.locked { self.gate.signal() }
    }

    func wait() -> Value {
        self.gate.locked {
            while true {
                if let value = self.value.withLock({ $0 }) { return value }
                self.gate.wait()
            }
        }
    }
}

/// A pthread mutex with its condition.
final class Gate: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)

    init() {
        pthread_mutex_init(self.mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
    }

    func locked<R>(_ body: () -> R) -> R {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        return body()
    }

    /// Only while locked.
    func signal() { pthread_cond_broadcast(self.condition) }
    /// Only while locked.
    func wait() { pthread_cond_wait(self.condition, self.mutex) }
    /// Only while locked. `deadline` in milliseconds of the monotonic clock.
    func wait(until deadline: Int64) {
        var time = timespec(tv_sec: Int(deadline / 1000), tv_nsec: Int(deadline % 1000) * 1_000_000)
        pthread_cond_timedwait(self.condition, self.mutex, &time)
    }
}

func monotonicMs() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
}
