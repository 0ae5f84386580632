import Glibc

/// Where a store in this process keeps its entries. Belongs to the store's thread.
protocol MetadataBackend: AnyObject {
    /// As of the last commit.
    var revision: Int64 { get }
    func get(_ key: MetadataKey) throws(MetadataStoreError) -> MetadataEntry?
    /// In key order.
    func entries(_ range: MetadataRange, limit: Int?) throws(MetadataStoreError) -> [MetadataEntry]
    func begin() throws(MetadataStoreError)
    func put(_ entry: MetadataEntry) throws(MetadataStoreError)
    func delete(_ key: MetadataKey) throws(MetadataStoreError)
    /// Makes what was put and deleted since `begin` durable, with the new revision.
    func commit(revision: Int64) throws(MetadataStoreError)
    func rollback()
    func close()
    /// Instead of `close`: nothing is written any more, not even to tidy up.
    func leaveAsItIs()
}

/// A `MetadataStore` over a backend in this process, with a thread of its own.
///
/// Everything asked while the thread was busy is carried out in one backend transaction (one fsync),
/// and answered after its commit.
package final class LocalMetadataStore: MetadataStore, @unchecked Sendable {
    enum Job: Sendable {
        case read(MetadataRange, Int?, @Sendable (MetadataResult<MetadataRead>) -> Void)
        case commit(MetadataTransaction, @Sendable (MetadataResult<MetadataCommit>) -> Void)
        case watch(MetadataWatch, MetadataRange, Int64, @Sendable (MetadataWatchEvent) -> Void)
        case grant(Int64, @Sendable (MetadataResult<MetadataLease>) -> Void)
        case keepAlive(MetadataLease, @Sendable (MetadataResult<Void>) -> Void)
        case revoke(MetadataLease, @Sendable (MetadataResult<Void>) -> Void)
    }

    private let gate = Gate()
    // Under the gate.
    private var queue: [Job] = []
    private var closing = false
    private var finished = false
    private var leavesFileAsItIs = false
    private var leaseDeadline: Int64?
    // The thread's.
    private var worker: LocalMetadataWorker

    init(backend: any MetadataBackend, historyLimit: Int = 16_384) {
        self.worker = LocalMetadataWorker(backend: backend, historyLimit: historyLimit)
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<LocalMetadataStore>.fromOpaque(argument!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
        precondition(code == 0, "a thread for the metadata store could not be made: errno \(code)")
        pthread_detach(thread)
    }

    package func read(
        _ range: MetadataRange, limit: Int?, _ completion: @escaping @Sendable (MetadataResult<MetadataRead>) -> Void
    ) {
        if !self.add(.read(range, limit, completion)) { completion(.failure(.closed)) }
    }

    package func commit(
        _ transaction: MetadataTransaction,
        _ completion: @escaping @Sendable (MetadataResult<MetadataCommit>) -> Void
    ) {
        if !self.add(.commit(transaction, completion)) { completion(.failure(.closed)) }
    }

    @discardableResult
    package func watch(
        _ range: MetadataRange, from revision: Int64, _ body: @escaping @Sendable (MetadataWatchEvent) -> Void
    ) -> MetadataWatch {
        let watch = MetadataWatch()
        if !self.add(.watch(watch, range, revision, body)) { watch.cancel() }
        return watch
    }

    package func grantLease(
        ttlMs: Int64, _ completion: @escaping @Sendable (MetadataResult<MetadataLease>) -> Void
    ) {
        if !self.add(.grant(ttlMs, completion)) { completion(.failure(.closed)) }
    }

    package func keepAlive(_ lease: MetadataLease, _ completion: @escaping @Sendable (MetadataResult<Void>) -> Void) {
        if !self.add(.keepAlive(lease, completion)) { completion(.failure(.closed)) }
    }

    package func revoke(_ lease: MetadataLease, _ completion: @escaping @Sendable (MetadataResult<Void>) -> Void) {
        if !self.add(.revoke(lease, completion)) { completion(.failure(.closed)) }
    }

    package func close() { self.close(leavingFileAsItIs: false) }

    /// - Parameter leavingFileAsItIs: nothing is written any more, not even to tidy up: the file turned out not to be ours.
    package func close(leavingFileAsItIs: Bool) {
        self.gate.locked {
            self.closing = true
            self.leavesFileAsItIs = leavingFileAsItIs
            self.gate.signal()
            while !self.finished { self.gate.wait() }
        }
    }

    private func add(_ job: Job) -> Bool {
        self.gate.locked {
            guard !self.closing else { return false }
            self.queue.append(job)
            self.gate.signal()
            return true
        }
    }

    private func run() {
        while true {
            let (jobs, end) = self.gate.locked { () -> ([Job], Bool) in
                while self.queue.isEmpty, !self.closing {
                    if let deadline = self.leaseDeadline {
                        if deadline <= monotonicMs() { break }
                        self.gate.wait(until: deadline)
                    } else {
                        self.gate.wait()
                    }
                }
                defer { self.queue = [] }
                return (self.queue, self.closing && self.queue.isEmpty)
            }
            if end { break }
            self.worker.perform(jobs, now: monotonicMs())
            let deadline = self.worker.nextLeaseDeadline
            self.gate.locked { self.leaseDeadline = deadline }
        }
        self.worker.close(leavingFileAsItIs: self.gate.locked { self.leavesFileAsItIs })
        self.gate.locked {
            self.finished = true
            self.gate.signal()
        }
    }
}
