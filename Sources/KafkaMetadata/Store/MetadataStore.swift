/// Where the metadata of a cluster is kept: an ordered map of keys with revisions, as etcd has it.
///
/// Every call returns at once. Completions and watch events come on the store's own thread, one at a time, in the order
/// of the calls; they must not block. What a transaction changed has been told to the watches before its completion runs.
package protocol MetadataStore: AnyObject, Sendable {
    /// The entries of `range` in key order, at most `limit`, with the revision that they were read at.
    func read(
        _ range: MetadataRange, limit: Int?, _ completion: @escaping @Sendable (MetadataResult<MetadataRead>) -> Void)

    /// Carries out `transaction` whole or not at all. It is durable when the completion runs.
    func commit(
        _ transaction: MetadataTransaction,
        _ completion: @escaping @Sendable (MetadataResult<MetadataCommit>) -> Void)

    /// Tells every change of `range` from `revision` on, past ones first, one call a revision.
    /// The store keeps a bounded history: asked for an older revision it says `.lost` once and ends the watch.
    @discardableResult
    func watch(
        _ range: MetadataRange, from revision: Int64, _ body: @escaping @Sendable (MetadataWatchEvent) -> Void
    ) -> MetadataWatch

    /// A new lease, that ends `ttlMs` milliseconds after its last `keepAlive`; its keys go with it.
    func grantLease(ttlMs: Int64, _ completion: @escaping @Sendable (MetadataResult<MetadataLease>) -> Void)
    /// Puts off the end of a lease; fails with `.leaseNotFound` when it has ended already.
    func keepAlive(_ lease: MetadataLease, _ completion: @escaping @Sendable (MetadataResult<Void>) -> Void)
    /// Ends a lease now and deletes its keys.
    func revoke(_ lease: MetadataLease, _ completion: @escaping @Sendable (MetadataResult<Void>) -> Void)

    /// Carries out what was asked so far and closes; returns when that is done. Later calls fail with `.closed`.
    func close()
}

package typealias MetadataResult<Value> = Result<Value, MetadataStoreError>

/// A key: bytes, ordered bytewise (a String's order and equality are Unicode's, hence not a String).
package struct MetadataKey: Hashable, Comparable, Sendable, ExpressibleByStringInterpolation, CustomStringConvertible {
    package var bytes: [UInt8]

    package init(bytes: [UInt8]) { self.bytes = bytes }
    package init(_ string: String) { self.bytes = Array(string.utf8) }
    package init(stringLiteral value: String) { self.init(value) }

    package static func < (left: MetadataKey, right: MetadataKey) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }

    package var description: String { String(decoding: self.bytes, as: UTF8.self) }

    /// The smallest key after all those that begin with this one; nil if there is none.
    package var prefixEnd: MetadataKey? {
        var bytes = self.bytes
        while let last = bytes.popLast() {
            if last < 0xff { return MetadataKey(bytes: bytes + [last &+ 1]) }
        }
        return nil
    }
}

/// Keys from `start` up to and without `end` (nil: to the last).
package struct MetadataRange: Hashable, Sendable {
    package var start: MetadataKey
    package var end: MetadataKey?

    package init(start: MetadataKey, end: MetadataKey?) {
        self.start = start
        self.end = end
    }

    package static let all = MetadataRange(start: "", end: nil)
    package static func key(_ key: MetadataKey) -> MetadataRange {
        MetadataRange(start: key, end: MetadataKey(bytes: key.bytes + [0]))
    }
    package static func prefix(_ prefix: MetadataKey) -> MetadataRange {
        MetadataRange(start: prefix, end: prefix.prefixEnd)
    }
    package func contains(_ key: MetadataKey) -> Bool {
        guard !(key < self.start) else { return false }
        guard let end = self.end else { return true }
        return key < end
    }
}

/// A key with its value, and when it came to be.
package struct MetadataEntry: Equatable, Sendable {
    package var key: MetadataKey
    package var value: [UInt8]
    /// The revision that made the key; kept while it lives.
    package var createRevision: Int64
    /// The revision of the last put.
    package var modRevision: Int64
    /// 1 when made, one more with each put.
    package var version: Int64
    package var lease: MetadataLease?

    package init(
        key: MetadataKey, value: [UInt8], createRevision: Int64, modRevision: Int64, version: Int64,
        lease: MetadataLease? = nil
    ) {
        self.key = key
        self.value = value
        self.createRevision = createRevision
        self.modRevision = modRevision
        self.version = version
        self.lease = lease
    }
}

package struct MetadataRead: Equatable, Sendable {
    package var revision: Int64
    package var entries: [MetadataEntry]
    /// There were more than the limit.
    package var more: Bool
}

package struct MetadataLease: Hashable, Sendable {
    package var id: Int64
    package init(id: Int64) { self.id = id }
}

/// Compares, then puts and deletes. No key may be changed twice.
package struct MetadataTransaction: Sendable {
    package enum Compare: Hashable, Sendable {
        /// 0: the key is not there.
        case modRevision(MetadataKey, Int64)
        case createRevision(MetadataKey, Int64)
        case version(MetadataKey, Int64)
        case value(MetadataKey, [UInt8])

        package static func absent(_ key: MetadataKey) -> Compare { .version(key, 0) }

        package var key: MetadataKey {
            switch self {
            case .modRevision(let key, _), .createRevision(let key, _), .version(let key, _), .value(let key, _): key
            }
        }

        package func holds(for entry: MetadataEntry?) -> Bool {
            switch self {
            case .modRevision(_, let revision): (entry?.modRevision ?? 0) == revision
            case .createRevision(_, let revision): (entry?.createRevision ?? 0) == revision
            case .version(_, let version): (entry?.version ?? 0) == version
            case .value(_, let value): entry?.value == value
            }
        }
    }

    package enum Change: Equatable, Sendable {
        case put(MetadataKey, [UInt8], lease: MetadataLease? = nil)
        /// Of a key that is not there: nothing.
        case delete(MetadataKey)
        case deleteRange(MetadataRange)
    }

    package var compares: [Compare]
    package var changes: [Change]

    package init(compares: [Compare] = [], changes: [Change] = []) {
        self.compares = compares
        self.changes = changes
    }
}

package enum MetadataCommit: Equatable, Sendable {
    /// The store's revision after it: a new one if anything was changed.
    case committed(revision: Int64)
    /// A compare failed; the entries of the compared keys as they are, in the order of the compares.
    case conflict(revision: Int64, current: [MetadataEntry?])
}

/// All that one revision changed in the watched range.
package struct MetadataChanges: Equatable, Sendable {
    package enum Change: Equatable, Sendable {
        case put(MetadataEntry)
        case delete(MetadataKey)

        package var key: MetadataKey {
            switch self {
            case .put(let entry): entry.key
            case .delete(let key): key
            }
        }
    }
    package var revision: Int64
    package var changes: [Change]
}

package enum MetadataWatchEvent: Equatable, Sendable {
    case changes(MetadataChanges)
    /// The history before `oldest` is gone: read the range anew and watch from there. The watch has ended.
    case lost(oldest: Int64)
}

package enum MetadataStoreError: Error, Equatable, Sendable, CustomStringConvertible {
    /// The file is not a metadata store, or is broken.
    case damaged(path: String, reason: String)
    /// Written by a later Ottla.
    case newerSchema(path: String, found: Int, supported: Int)
    /// The disk or the network failed; nothing was changed, as far as is known.
    case unavailable(String)
    /// A transaction that changes a key twice.
    case duplicateKey(MetadataKey)
    case leaseNotFound
    case closed

    package var description: String {
        switch self {
        case .damaged(let path, let reason): "\(path) is not a metadata store or is damaged: \(reason)"
        case .newerSchema(let path, let found, let supported):
            "\(path) was written by a later Ottla (schema \(found), this one knows up to \(supported))"
        case .unavailable(let reason): "the metadata store failed: \(reason)"
        case .duplicateKey(let key): "a transaction changes the key \(key) twice"
        case .leaseNotFound: "the lease has ended"
        case .closed: "the metadata store is closed"
        }
    }
}
