import Foundation
import GRDB
import GRDBSQLite

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
    /// 2 brought the checksum.
    private static let schema = 2
    /// "Ottl", so that another program's file is told from ours.
    private static let applicationID = 0x4f74_746c

    private let path: String
    private let queue: DatabaseQueue
    /// A process that was killed left something in the write-ahead log.
    private let hasWriteAheadLog: Bool
    private(set) var revision: Int64 = 0
    /// Of all rows and the revision; kept in the file, so that a row that is changed or gone is found out at the start:
    /// SQLite's pages have no checksums.
    private var checksum = MetadataChecksum()
    private var checksumAtCommit = MetadataChecksum()
    private let committed: CommittedRevision
    private var reserve: DiskReserve
    /// What the start has read to compare it with the checksum, for who reads all of it next: 100,000 partitions are
    /// not to be read twice.
    private var firstRead: [MetadataEntry]?

    init(path: String) throws(MetadataStoreError) {
        self.path = path
        self.committed = CommittedRevision(beside: path)
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
                    CREATE TABLE state (
                        id INTEGER PRIMARY KEY CHECK (id = 1), revision INTEGER NOT NULL, checksum INTEGER NOT NULL
                    );
                    INSERT INTO state VALUES (1, 0, 0);
                    PRAGMA application_id = \(Self.applicationID);
                    PRAGMA user_version = \(Self.schema);
                    COMMIT;
                    """)
        }
        // Once made, the mode is in the file; a store that has never been written to does not pay for it.
        if try String.fetchOne(db, sql: "PRAGMA journal_mode") != "wal" {
            try db.execute(sql: "PRAGMA journal_mode = WAL")
        }
        let revision = try self.number(db, "SELECT revision FROM state WHERE id = 1")
        if let known = self.committed.read(), known > revision {
            throw MetadataStoreError.damaged(
                path: self.path,
                reason:
                    "it ends at revision \(revision), but revision \(known) had been committed (its write-ahead log, "
                    + "\(self.path)-wal, is damaged or gone). To go on with what is left, delete \(self.committed.path)"
            )
        }
        self.revision = revision
        try self.verify(db, hasChecksum: isNew || schema >= 2)
        // Leases do not outlive the process that granted them.
        let leased = (self.firstRead ?? []).filter { $0.lease != nil }
        if !leased.isEmpty {
            self.firstRead = nil
            try db.execute(sql: "BEGIN")
            for entry in leased {
                self.checksum.remove(entry)
                try db.execute(sql: "DELETE FROM kv WHERE key = ?", arguments: [Data(entry.key.bytes)])
            }
            try self.writeState(db, revision: self.revision + 1)
            try db.execute(sql: "COMMIT")
            self.isCommitted(self.revision + 1)
        }
    }

    /// Compares what is in the file with its checksum. A file of the first schema gets one.
    private func verify(_ db: Database, hasChecksum: Bool) throws {
        let all = try self.entries(of: db.makeStatement(sql: "SELECT \(Self.columns) FROM kv ORDER BY key"), [])
        for entry in all { self.checksum.add(entry) }
        self.firstRead = all
        if !hasChecksum {
            try db.execute(
                sql: """
                    BEGIN IMMEDIATE;
                    ALTER TABLE state ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
                    PRAGMA user_version = \(Self.schema);
                    """)
            try self.writeState(db, revision: self.revision)
            try db.execute(sql: "COMMIT")
        } else if self.revision > 0 || !self.checksum.isEmpty {
            let stored = try self.number(db, "SELECT checksum FROM state WHERE id = 1")
            guard stored == self.checksum.value(revision: self.revision) else {
                throw MetadataStoreError.damaged(
                    path: self.path, reason: "what is in it does not fit its checksum: something was changed or lost")
            }
        }
        self.checksumAtCommit = self.checksum
    }

    private func writeState(_ db: Database, revision: Int64) throws {
        try db.cachedStatement(sql: "UPDATE state SET revision = ?, checksum = ?")
            .execute(arguments: [revision, self.checksum.value(revision: revision)])
    }

    private func isCommitted(_ revision: Int64) {
        self.revision = revision
        self.checksumAtCommit = self.checksum
        self.committed.write(revision)
    }

    private static let columns = "key, value, create_revision, mod_revision, version, lease"

    private func entries(of statement: Statement, _ arguments: StatementArguments) throws -> [MetadataEntry] {
        let rows = try Row.fetchCursor(statement, arguments: arguments)
        var entries: [MetadataEntry] = []
        while try rows.next() != nil { entries.append(try self.entry(statement.sqliteStatement)) }
        return entries
    }

    /// The row that `statement` is at. What a damaged file makes of a column may be of any type, and GRDB's own
    /// conversions end the process then.
    private func entry(_ statement: SQLiteStatement) throws(MetadataStoreError) -> MetadataEntry {
        func has(_ type: Int32, _ column: Int32) -> Bool { sqlite3_column_type(statement, column) == type }
        func bytes(_ column: Int32) -> [UInt8] {
            let start = sqlite3_column_blob(statement, column)
            return [UInt8](UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(statement, column))))
        }
        guard has(SQLITE_BLOB, 0), has(SQLITE_BLOB, 1), has(SQLITE_INTEGER, 2), has(SQLITE_INTEGER, 3),
            has(SQLITE_INTEGER, 4)
        else { throw .damaged(path: self.path, reason: "a row has values of other types than it must have") }
        var lease: MetadataLease?
        if has(SQLITE_INTEGER, 5) {
            lease = MetadataLease(id: sqlite3_column_int64(statement, 5))
        } else if !has(SQLITE_NULL, 5) {
            throw .damaged(path: self.path, reason: "a row has a lease that is no number")
        }
        return MetadataEntry(
            key: MetadataKey(bytes: bytes(0)), value: bytes(1), createRevision: sqlite3_column_int64(statement, 2),
            modRevision: sqlite3_column_int64(statement, 3), version: sqlite3_column_int64(statement, 4),
            lease: lease)
    }

    private func number(_ db: Database, _ sql: String) throws -> Int64 {
        guard case .int64(let number)? = try Row.fetchOne(db, sql: sql).map({ ($0[0] as DatabaseValue).storage }) else {
            throw MetadataStoreError.damaged(path: self.path, reason: "it has no revision")
        }
        return number
    }

    func get(_ key: MetadataKey) throws(MetadataStoreError) -> MetadataEntry? {
        try self.entries(.key(key), limit: 1).first
    }

    func entries(_ range: MetadataRange, limit: Int?) throws(MetadataStoreError) -> [MetadataEntry] {
        if range == .all, limit == nil, let all = self.firstRead.take() { return all }
        return try self.run { db in
            let columns = "SELECT \(Self.columns) FROM kv WHERE key >= ?"
            let limit = limit ?? -1
            if let end = range.end {
                let statement = try db.cachedStatement(sql: columns + " AND key < ? ORDER BY key LIMIT ?")
                return try self.entries(of: statement, [Data(range.start.bytes), Data(end.bytes), limit])
            }
            let statement = try db.cachedStatement(sql: columns + " ORDER BY key LIMIT ?")
            return try self.entries(of: statement, [Data(range.start.bytes), limit])
        }
    }

    func begin() throws(MetadataStoreError) {
        self.firstRead = nil
        self.reserve.prepare()
        try self.run { try $0.execute(sql: "BEGIN IMMEDIATE") }
        self.checksum = self.checksumAtCommit
    }

    func put(_ entry: MetadataEntry) throws(MetadataStoreError) {
        if let old = try self.get(entry.key) { self.checksum.remove(old) }
        self.checksum.add(entry)
        try self.run { db in
            let statement = try db.cachedStatement(sql: "INSERT OR REPLACE INTO kv VALUES (?, ?, ?, ?, ?, ?)")
            try statement.execute(arguments: [
                Data(entry.key.bytes), Data(entry.value), entry.createRevision, entry.modRevision, entry.version,
                entry.lease?.id,
            ])
        }
    }

    func delete(_ key: MetadataKey) throws(MetadataStoreError) {
        if let old = try self.get(key) { self.checksum.remove(old) }
        try self.run { db in
            try db.cachedStatement(sql: "DELETE FROM kv WHERE key = ?").execute(arguments: [Data(key.bytes)])
        }
    }

    func commit(revision: Int64) throws(MetadataStoreError) {
        try self.run { db in
            try self.writeState(db, revision: revision)
            try db.execute(sql: "COMMIT")
        }
        self.isCommitted(revision)
    }

    func rollback() {
        // SQLite may have rolled back by itself; then there is nothing to do.
        try? self.run { if $0.isInsideTransaction { try $0.execute(sql: "ROLLBACK") } }
        self.checksum = self.checksumAtCommit
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
