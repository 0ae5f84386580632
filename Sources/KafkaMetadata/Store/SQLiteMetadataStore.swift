import Foundation
import GRDB

extension LocalMetadataStore {
    /// The name of the metadata file in a data folder.
    package static let sqliteFileName = "ottla-metadata.sqlite"

    /// Opens the store in the file `path`, or makes it.
    package static func sqlite(
        path: String, historyLimit: Int = 16_384
    ) throws(MetadataStoreError) -> LocalMetadataStore {
        LocalMetadataStore(backend: try SQLiteBackend(path: path), historyLimit: historyLimit)
    }
}

/// One table of keys, one row with the revision. Write-ahead log with `synchronous=FULL`: one fsync a commit.
/// The locking mode is exclusive: the data folder has one broker, and there is no `-shm` file to make then.
private final class SQLiteBackend: MetadataBackend {
    private static let schema = 1
    /// "Ottl", so that another program's file is told from ours.
    private static let applicationID = 0x4f74_746c

    private let path: String
    private let queue: DatabaseQueue
    /// A process that was killed left something in the write-ahead log.
    private let hasWriteAheadLog: Bool
    private(set) var revision: Int64 = 0
    private var reserve: DiskReserve

    init(path: String) throws(MetadataStoreError) {
        self.path = path
        self.reserve = DiskReserve(store: path)
        var status = stat()
        self.hasWriteAheadLog = stat(path + "-wal", &status) == 0 && status.st_size > 0
        var configuration = Configuration()
        configuration.foreignKeysEnabled = false
        configuration.label = "ottla.metadata"
        // A transaction spans several calls.
        configuration.allowsUnsafeTransactions = true
        // Before the file is read for the first time: then no -shm file is made beside it.
        configuration.prepareDatabase { try $0.execute(sql: "PRAGMA locking_mode = EXCLUSIVE") }
        do {
            self.queue = try DatabaseQueue(path: path, configuration: configuration)
        } catch {
            throw Self.explain(error, path)
        }
        do throws(MetadataStoreError) { try self.run { try self.open($0) } } catch {
            self.leaveAsItIs()
            throw error
        }
    }

    private func open(_ db: Database) throws {
        let applicationID = try Int.fetchOne(db, sql: "PRAGMA application_id") ?? 0
        let schema = try Int.fetchOne(db, sql: "PRAGMA user_version") ?? 0
        let isNew = try applicationID == 0 && Int.fetchOne(db, sql: "SELECT count(*) FROM sqlite_master") == 0
        guard isNew || applicationID == Self.applicationID else {
            throw MetadataStoreError.damaged(path: self.path, reason: "it is a database of another program")
        }
        guard schema <= Self.schema else {
            throw MetadataStoreError.newerSchema(path: self.path, found: schema, supported: Self.schema)
        }
        try db.execute(sql: "PRAGMA synchronous = FULL")
        if isNew {
            try db.execute(
                sql: """
                    BEGIN IMMEDIATE;
                    CREATE TABLE kv (
                        key BLOB PRIMARY KEY, value BLOB NOT NULL, create_revision INTEGER NOT NULL,
                        mod_revision INTEGER NOT NULL, version INTEGER NOT NULL, lease INTEGER
                    ) WITHOUT ROWID;
                    CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL);
                    INSERT INTO state VALUES (1, 0);
                    PRAGMA application_id = \(Self.applicationID);
                    PRAGMA user_version = \(Self.schema);
                    COMMIT;
                    """)
        }
        // Once made, the mode is in the file; a store that has never been written to does not pay for it.
        if try String.fetchOne(db, sql: "PRAGMA journal_mode") != "wal" {
            try db.execute(sql: "PRAGMA journal_mode = WAL")
        }
        guard let revision = try Int64.fetchOne(db, sql: "SELECT revision FROM state WHERE id = 1") else {
            throw MetadataStoreError.damaged(path: self.path, reason: "it has no revision")
        }
        self.revision = revision
        // Leases do not outlive the process that granted them.
        if try Int.fetchOne(db, sql: "SELECT count(*) FROM kv WHERE lease IS NOT NULL") != 0 {
            try db.execute(
                sql: "BEGIN; DELETE FROM kv WHERE lease IS NOT NULL; UPDATE state SET revision = revision + 1; COMMIT")
            self.revision += 1
        }
    }

    func get(_ key: MetadataKey) throws(MetadataStoreError) -> MetadataEntry? {
        try self.entries(.key(key), limit: 1).first
    }

    func entries(_ range: MetadataRange, limit: Int?) throws(MetadataStoreError) -> [MetadataEntry] {
        try self.run { db in
            let columns = "SELECT key, value, create_revision, mod_revision, version, lease FROM kv WHERE key >= ?"
            let limit = limit ?? -1
            let rows: RowCursor
            if let end = range.end {
                let statement = try db.cachedStatement(sql: columns + " AND key < ? ORDER BY key LIMIT ?")
                rows = try Row.fetchCursor(
                    statement, arguments: [Data(range.start.bytes), Data(end.bytes), limit])
            } else {
                let statement = try db.cachedStatement(sql: columns + " ORDER BY key LIMIT ?")
                rows = try Row.fetchCursor(statement, arguments: [Data(range.start.bytes), limit])
            }
            var entries: [MetadataEntry] = []
            while let row = try rows.next() {
                let key: Data = row[0]
                let value: Data = row[1]
                let lease: Int64? = row[5]
                entries.append(
                    MetadataEntry(
                        key: MetadataKey(bytes: [UInt8](key)), value: [UInt8](value), createRevision: row[2],
                        modRevision: row[3], version: row[4], lease: lease.map { MetadataLease(id: $0) }))
            }
            return entries
        }
    }

    func begin() throws(MetadataStoreError) {
        self.reserve.prepare()
        try self.run { try $0.execute(sql: "BEGIN IMMEDIATE") }
    }

    func put(_ entry: MetadataEntry) throws(MetadataStoreError) {
        try self.run { db in
            let statement = try db.cachedStatement(sql: "INSERT OR REPLACE INTO kv VALUES (?, ?, ?, ?, ?, ?)")
            try statement.execute(arguments: [
                Data(entry.key.bytes), Data(entry.value), entry.createRevision, entry.modRevision, entry.version,
                entry.lease?.id,
            ])
        }
    }

    func delete(_ key: MetadataKey) throws(MetadataStoreError) {
        try self.run { db in
            try db.cachedStatement(sql: "DELETE FROM kv WHERE key = ?").execute(arguments: [Data(key.bytes)])
        }
    }

    func commit(revision: Int64) throws(MetadataStoreError) {
        try self.run { db in
            try db.cachedStatement(sql: "UPDATE state SET revision = ?").execute(arguments: [revision])
            try db.execute(sql: "COMMIT")
        }
        self.revision = revision
    }

    func rollback() {
        // SQLite may have rolled back by itself; then there is nothing to do.
        try? self.run { if $0.isInsideTransaction { try $0.execute(sql: "ROLLBACK") } }
    }

    func close() { try? self.queue.close() }

    /// Closing would move what is in the write-ahead log into the file. One that is not for us stays as it is; who
    /// refuses it ends the process soon.
    func leaveAsItIs() {
        if self.hasWriteAheadLog { _ = Unmanaged.passRetained(self.queue) } else { self.close() }
    }

    private func run<R>(_ body: (Database) throws -> R) throws(MetadataStoreError) -> R {
        do {
            return try self.queue.unsafeReentrantWrite(body)
        } catch {
            throw Self.explain(error, self.path)
        }
    }

    private static func explain(_ error: any Error, _ path: String) -> MetadataStoreError {
        if let error = error as? MetadataStoreError { return error }
        guard let error = error as? DatabaseError else { return .unavailable("\(path): \(error)") }
        let reason = error.message ?? "SQLite error \(error.extendedResultCode.rawValue)"
        switch error.resultCode {
        case .SQLITE_NOTADB, .SQLITE_CORRUPT, .SQLITE_FORMAT, .SQLITE_MISMATCH, .SQLITE_ERROR:
            return .damaged(path: path, reason: reason)
        default:
            return .unavailable("\(path): \(reason)")
        }
    }
}
