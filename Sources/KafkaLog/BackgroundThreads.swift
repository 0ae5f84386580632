import COttla
import Glibc

/// A few threads that run jobs in the order of their submission (those of one thread; several run at once).
package final class BackgroundThreads: BackgroundExecutor, @unchecked Sendable {
    // A condition is needed, which Synchronization has not; all below `mutex` is guarded by it.
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [@Sendable () -> Void] = []
    private var firstJob = 0
    private var isStopping = false
    private var threads: [pthread_t] = []
    private let threadLimit: Int
    private var idle = 0

    /// Threads are started when there is work for them.
    package init(threads: Int = 2) {
        self.threadLimit = max(1, threads)
        pthread_mutex_init(self.mutex, nil)
        pthread_cond_init(self.wake, nil)
    }

    deinit {
        pthread_cond_destroy(self.wake)
        pthread_mutex_destroy(self.mutex)
        self.wake.deallocate()
        self.mutex.deallocate()
    }

    package func submit(_ job: @escaping @Sendable () -> Void) {
        pthread_mutex_lock(self.mutex)
        self.jobs.append(job)
        // Idle ones may not have woken yet for the jobs before this one.
        if self.idle < self.jobs.count - self.firstJob && self.threads.count < self.threadLimit && !self.isStopping {
            if let thread = Threads.start({ self.run() }) { self.threads.append(thread) }
        }
        pthread_cond_signal(self.wake)
        pthread_mutex_unlock(self.mutex)
    }

    /// Runs what has been submitted, then ends the threads. Jobs submitted later do not run. To be called once, and not
    /// from a job.
    package func stop() {
        pthread_mutex_lock(self.mutex)
        self.isStopping = true
        let threads = self.threads
        pthread_cond_broadcast(self.wake)
        pthread_mutex_unlock(self.mutex)
        for thread in threads { pthread_join(thread, nil) }
    }

    private func run() {
        pthread_mutex_lock(self.mutex)
        while true {
            if self.firstJob < self.jobs.count {
                let job = self.jobs[self.firstJob]
                self.firstJob += 1
                if self.firstJob == self.jobs.count {
                    self.jobs.removeAll(keepingCapacity: self.firstJob < 1024)
                    self.firstJob = 0
                }
                pthread_mutex_unlock(self.mutex)
                job()
                pthread_mutex_lock(self.mutex)
            } else if self.isStopping {
                break
            } else {
                self.idle += 1
                pthread_cond_wait(self.wake, self.mutex)
                self.idle -= 1
            }
        }
        pthread_mutex_unlock(self.mutex)
    }
}

/// Threads of the operating system, without Foundation.
package enum Threads {
    private final class Body {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    /// Starts a thread that must be joined; nil where the system has none to give.
    package static func start(_ run: @escaping @Sendable () -> Void) -> pthread_t? {
        #if OTTLA_SIMULATED_FILES
            // The simulated disk is of one thread.
            return nil
        #else
            let body = Unmanaged.passRetained(Body(run))
            var thread = pthread_t()
            let error = ottla_thread_start(
                &thread, { Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run() }, body.toOpaque())
            guard error == 0 else {
                body.release()
                return nil
            }
            return thread
        #endif
    }

    /// Calls `body` once in each of `count` threads and waits for them; one of them is the caller's.
    package static func run(_ count: Int, _ body: @Sendable () -> Void) {
        #if OTTLA_SIMULATED_FILES
            // The simulated disk is the caller's thread's.
            body()
        #else
            withoutActuallyEscaping(body) { body in
                let threads = (1..<max(1, count)).compactMap { _ in self.start(body) }
                body()
                for thread in threads { pthread_join(thread, nil) }
            }
        #endif
    }
}

/// A thread that does something again and again, with a pause between.
final class PeriodicThread: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var isStopping = false
    private var thread: pthread_t?
    private let intervalMs: Int64
    private let isFirstRoundAtOnce: Bool
    private let body: @Sendable () -> Void

    init(intervalMs: Int64, isFirstRoundAtOnce: Bool = false, _ body: @escaping @Sendable () -> Void) {
        self.intervalMs = intervalMs
        self.isFirstRoundAtOnce = isFirstRoundAtOnce
        self.body = body
        pthread_mutex_init(self.mutex, nil)
        pthread_cond_init(self.wake, nil)
    }

    deinit {
        pthread_cond_destroy(self.wake)
        pthread_mutex_destroy(self.mutex)
        self.wake.deallocate()
        self.mutex.deallocate()
    }

    func start() { self.thread = Threads.start { self.run() } }

    /// Waits for the end of a round under way.
    func stop() {
        pthread_mutex_lock(self.mutex)
        self.isStopping = true
        pthread_cond_signal(self.wake)
        pthread_mutex_unlock(self.mutex)
        if let thread = self.thread { pthread_join(thread, nil) }
        self.thread = nil
    }

    private func run() {
        if self.isFirstRoundAtOnce { self.body() }
        pthread_mutex_lock(self.mutex)
        while !self.isStopping {
            var until = timespec()
            let due = wallClockMs() + self.intervalMs
            until.tv_sec = Int(due / 1000)
            until.tv_nsec = Int(due % 1000) * 1_000_000
            let error = pthread_cond_timedwait(self.wake, self.mutex, &until)
            guard error == ETIMEDOUT, !self.isStopping else { continue }
            pthread_mutex_unlock(self.mutex)
            self.body()
            pthread_mutex_lock(self.mutex)
        }
        pthread_mutex_unlock(self.mutex)
    }
}
