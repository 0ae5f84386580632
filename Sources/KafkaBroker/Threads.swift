import Glibc

/// A counting semaphore over sem_t, which must not move in memory.
package final class Semaphore: @unchecked Sendable {
    private let semaphore: UnsafeMutablePointer<sem_t>

    package init() {
        self.semaphore = .allocate(capacity: 1)
        sem_init(self.semaphore, 0, 0)
    }

    deinit {
        sem_destroy(self.semaphore)
        self.semaphore.deallocate()
    }

    package func signal() { sem_post(self.semaphore) }

    package func wait() {
        while sem_wait(self.semaphore) != 0 && errno == EINTR {}
    }
}

private final class ThreadBody {
    let run: @Sendable () -> Void
    init(run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Starts a thread that runs `body` once. Nil when the system refuses.
package func startThread(_ body: @escaping @Sendable () -> Void) -> pthread_t? {
    var thread = pthread_t()
    let argument = Unmanaged.passRetained(ThreadBody(run: body))
    let code = pthread_create(
        &thread, nil,
        { raw in
            guard let raw else { return nil }
            let body = Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue()
            body.run()
            return nil
        }, argument.toOpaque())
    guard code == 0 else {
        argument.release()
        return nil
    }
    return thread
}
