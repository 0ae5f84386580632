/// What the thread of a `LocalMetadataStore` does with a batch of jobs.
struct LocalMetadataWorker {
    private enum Delivery {
        case changes(MetadataChanges)
        case watch(MetadataWatch, MetadataRange, Int64, @Sendable (MetadataWatchEvent) -> Void)
        /// Told whether the batch's commit failed.
        case completion((MetadataStoreError?) -> Void)
    }
    private struct Lease {
        var ttlMs: Int64
        var deadline: Int64
        var keys: Set<MetadataKey> = []
    }

    private let backend: any MetadataBackend
    private var hub: MetadataWatchHub
    private var leases: [Int64: Lease] = [:]
    private var nextLease: Int64 = 1
    /// Of the batch under way; the backend's when there is none.
    private var revision: Int64
    private var inTransaction = false
    /// The disk failed in the middle of a transaction: the whole batch fails.
    private var batchFailure: MetadataStoreError?

    init(backend: any MetadataBackend, historyLimit: Int) {
        self.backend = backend
        self.revision = backend.revision
        self.hub = MetadataWatchHub(revision: backend.revision, keepAtMost: historyLimit)
    }

    var nextLeaseDeadline: Int64? { self.leases.values.map(\.deadline).min() }

    func close(leavingFileAsItIs: Bool) {
        if leavingFileAsItIs { self.backend.leaveAsItIs() } else { self.backend.close() }
    }

    mutating func perform(_ jobs: [LocalMetadataStore.Job], now: Int64) {
        var deliveries: [Delivery] = []
        let leasesBefore = self.leases
        for (id, lease) in self.leases where lease.deadline <= now {
            _ = self.endLease(id, &deliveries)
        }
        for job in jobs { self.perform(job, now: now, &deliveries) }
        let failure = self.endBatch()
        if failure != nil { self.leases = leasesBefore }
        for delivery in deliveries {
            switch delivery {
            case .changes(let changes):
                if failure == nil { self.hub.publish(changes) }
            case .watch(let watch, let range, let from, let body): self.hub.register(watch, range, from: from, body)
            case .completion(let body): body(failure)
            }
        }
    }

    private mutating func endBatch() -> MetadataStoreError? {
        guard self.inTransaction else { return nil }
        self.inTransaction = false
        var failure = self.batchFailure
        self.batchFailure = nil
        do throws(MetadataStoreError) {
            if failure == nil { try self.backend.commit(revision: self.revision) }
        } catch {
            failure = error
        }
        if failure != nil {
            self.backend.rollback()
            self.revision = self.backend.revision
        }
        return failure
    }

    private mutating func perform(_ job: LocalMetadataStore.Job, now: Int64, _ deliveries: inout [Delivery]) {
        switch job {
        case .read(let range, let limit, let completion):
            let result = self.read(range, limit)
            deliveries.append(.completion { completion($0.map { .failure($0) } ?? result) })
        case .commit(let transaction, let completion):
            let result = self.carryOut(transaction, &deliveries)
            deliveries.append(.completion { completion($0.map { .failure($0) } ?? result) })
        case .watch(let watch, let range, let from, let body):
            deliveries.append(.watch(watch, range, from, body))
        case .grant(let ttlMs, let completion):
            let lease = MetadataLease(id: self.nextLease)
            self.nextLease &+= 1
            self.leases[lease.id] = Lease(ttlMs: ttlMs, deadline: now &+ ttlMs)
            deliveries.append(.completion { completion($0.map { .failure($0) } ?? .success(lease)) })
        case .keepAlive(let lease, let completion):
            var result = MetadataResult<Void>.failure(.leaseNotFound)
            if let ttlMs = self.leases[lease.id]?.ttlMs {
                self.leases[lease.id]?.deadline = now &+ ttlMs
                result = .success(())
            }
            deliveries.append(.completion { [result] in completion($0.map { .failure($0) } ?? result) })
        case .revoke(let lease, let completion):
            let result = self.endLease(lease.id, &deliveries)
            deliveries.append(.completion { completion($0.map { .failure($0) } ?? result) })
        }
    }

    private func read(_ range: MetadataRange, _ limit: Int?) -> MetadataResult<MetadataRead> {
        Result { () throws(MetadataStoreError) -> MetadataRead in
            var entries = try self.backend.entries(range, limit: limit.map { $0 &+ 1 })
            let more = limit.map { entries.count > $0 } ?? false
            if more { entries.removeLast() }
            return MetadataRead(revision: self.revision, entries: entries, more: more)
        }
    }

    private mutating func endLease(_ id: Int64, _ deliveries: inout [Delivery]) -> MetadataResult<Void> {
        guard let lease = self.leases[id] else { return .failure(.leaseNotFound) }
        let changes = lease.keys.sorted().map { MetadataTransaction.Change.delete($0) }
        let result = self.carryOut(MetadataTransaction(changes: changes), &deliveries)
        self.leases[id] = nil
        return result.map { _ in () }
    }

    private mutating func carryOut(
        _ transaction: MetadataTransaction, _ deliveries: inout [Delivery]
    ) -> MetadataResult<MetadataCommit> {
        if let failure = self.batchFailure { return .failure(failure) }
        do throws(MetadataStoreError) {
            let current = try transaction.compares.map { (compare) throws(MetadataStoreError) in
                try self.backend.get(compare.key)
            }
            guard zip(transaction.compares, current).allSatisfy({ $0.holds(for: $1) }) else {
                return .success(.conflict(revision: self.revision, current: current))
            }
            let changes = try self.resolve(transaction.changes)
            guard !changes.isEmpty else { return .success(.committed(revision: self.revision)) }
            if !self.inTransaction {
                try self.backend.begin()
                self.inTransaction = true
            }
            self.revision &+= 1
            do throws(MetadataStoreError) {
                try self.apply(changes)
            } catch {
                self.batchFailure = error
                throw error
            }
            deliveries.append(.changes(MetadataChanges(revision: self.revision, changes: changes)))
            return .success(.committed(revision: self.revision))
        } catch {
            return .failure(error)
        }
    }

    /// The changes as watches will see them, of the revision after the present one.
    private func resolve(
        _ changes: [MetadataTransaction.Change]
    ) throws(MetadataStoreError) -> [MetadataChanges.Change] {
        var seen: Set<MetadataKey> = []
        var resolved: [MetadataChanges.Change] = []
        let revision = self.revision &+ 1
        for change in changes {
            switch change {
            case .put(let key, let value, let lease):
                guard seen.insert(key).inserted else { throw .duplicateKey(key) }
                if let lease, self.leases[lease.id] == nil { throw .leaseNotFound }
                let old = try self.backend.get(key)
                resolved.append(
                    .put(
                        MetadataEntry(
                            key: key, value: value, createRevision: old?.createRevision ?? revision,
                            modRevision: revision, version: (old?.version ?? 0) &+ 1, lease: lease)))
            case .delete(let key):
                guard seen.insert(key).inserted else { throw .duplicateKey(key) }
                if try self.backend.get(key) != nil { resolved.append(.delete(key)) }
            case .deleteRange(let range):
                for entry in try self.backend.entries(range, limit: nil) {
                    guard seen.insert(entry.key).inserted else { throw .duplicateKey(entry.key) }
                    resolved.append(.delete(entry.key))
                }
            }
        }
        return resolved
    }

    private mutating func apply(_ changes: [MetadataChanges.Change]) throws(MetadataStoreError) {
        for change in changes {
            switch change {
            case .put(let entry):
                try self.detach(entry.key)
                try self.backend.put(entry)
                if let lease = entry.lease { self.leases[lease.id]?.keys.insert(entry.key) }
            case .delete(let key):
                try self.detach(key)
                try self.backend.delete(key)
            }
        }
    }

    private mutating func detach(_ key: MetadataKey) throws(MetadataStoreError) {
        guard !self.leases.isEmpty, let lease = try self.backend.get(key)?.lease else { return }
        self.leases[lease.id]?.keys.remove(key)
    }
}
