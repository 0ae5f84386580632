import GRDB
import Glibc
import Testing

@testable import KafkaMetadata

@Suite struct SQLiteMetadataStoreTests {
    @Test func keepsEverythingOverARestart() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/" + LocalMetadataStore.sqliteFileName
            var store = try LocalMetadataStore.sqlite(path: path)
            try store.put("a", "1")
            try store.put("b", "\u{0}\u{1}")
            let revision = try store.put("a", "2")
            let before = try store.readAndWait(.all)
            store.close()
            store = try LocalMetadataStore.sqlite(path: path)
            defer { store.close() }
            #expect(try store.readAndWait(.all) == before)
            #expect(before.revision == revision && before.entries.count == 2)
            // A watch cannot go back to before the restart.
            let seen = Events()
            store.watch(.all, from: revision) { seen.add($0) }
            #expect(try store.put("c", "3") == revision + 1)
            #expect(seen.all == [.lost(oldest: revision + 1)])
        }
    }

    /// What a killed process leaves: the file and its log, as they are on disk.
    @Test func committedIsThereWithoutAClose() throws {
        try withTemporaryFolder { folder in
            let store = try LocalMetadataStore.sqlite(path: folder + "/a.sqlite")
            defer { store.close() }
            for index in 0..<50 { try store.put("key/\(index)", "value") }
            for suffix in ["", "-wal"] { try copyFile(folder + "/a.sqlite" + suffix, folder + "/b.sqlite" + suffix) }
            let copy = try LocalMetadataStore.sqlite(path: folder + "/b.sqlite")
            defer { copy.close() }
            #expect(try copy.readAndWait(.all) == store.readAndWait(.all))
        }
    }

    @Test func leasesEndWithTheProcess() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            var store = try LocalMetadataStore.sqlite(path: path)
            let leasing = store
            let lease = try waitForResult { leasing.grantLease(ttlMs: 600_000, $0) }
            _ = try store.commitAndWait(
                MetadataTransaction(changes: [.put("leased", [], lease: lease), .put("kept", [])]))
            let before = try store.readAndWait(.all).revision
            store.close()
            store = try LocalMetadataStore.sqlite(path: path)
            defer { store.close() }
            let read = try store.readAndWait(.all)
            #expect(read.entries.map(\.key) == ["kept"])
            #expect(read.revision == before + 1)
        }
    }

    /// A write-ahead log that ends early, by a flipped bit or because it is gone, is no shorter one.
    @Test(arguments: [true, false]) func lostCommitsAreFoundOut(isGone: Bool) throws {
        try withTemporaryFolder { folder in
            let store = try LocalMetadataStore.sqlite(path: folder + "/a.sqlite")
            defer { store.close() }
            for index in 0..<20 { try store.put("key/\(index)", "value") }
            for suffix in ["", "-wal", ".revision"] {
                try copyFile(folder + "/a.sqlite" + suffix, folder + "/b.sqlite" + suffix)
            }
            let path = folder + "/b.sqlite"
            var log = try readFile(path + "-wal")
            log[log.count - 2000] ^= 4
            try writeFile(path + "-wal", isGone ? [] : log)
            #expect {
                try LocalMetadataStore.sqlite(path: path)
            } throws: { error in
                guard case .damaged(_, let reason) = error as? MetadataStoreError else { return false }
                return reason.contains("revision 20 had been committed")
            }
            // What the message says to do. (A copy: a refused file stays locked until the process ends.)
            for suffix in isGone ? [""] : ["", "-wal"] { try copyFile(path + suffix, folder + "/c.sqlite" + suffix) }
            try LocalMetadataStore.sqlite(path: folder + "/c.sqlite").close()
        }
    }

    /// SQLite's pages have no checksum: any bit of the values, keys and cells must be missed by ours.
    @Test func changedRowsAreFoundOut() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            let store = try LocalMetadataStore.sqlite(path: path)
            for index in 0..<40 { try store.put("key/\(index)", String(repeating: "x", count: 60)) }
            try store.put("key/1", "y")
            let before = try store.readAndWait(.all)
            store.close()
            let whole = try readFile(path)
            var refused = 0
            for step in 0..<400 {
                var bytes = whole
                bytes[(step * 7919) % bytes.count] ^= 1 << UInt8(step % 8)
                try writeFile(path, bytes)
                guard let opened = try? LocalMetadataStore.sqlite(path: path) else {
                    refused += 1
                    continue
                }
                #expect(try opened.readAndWait(.all) == before, "byte \((step * 7919) % bytes.count)")
                opened.close()
            }
            #expect(refused > 50)
        }
    }

    /// A file of the first schema has no checksum: it gets one.
    @Test func firstSchemaIsTakenOver() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            var store = try LocalMetadataStore.sqlite(path: path)
            try store.put("a", "1")
            let before = try store.readAndWait(.all)
            store.close()
            let database = try DatabaseQueue(path: path)
            try database.write {
                try $0.execute(sql: "ALTER TABLE state DROP COLUMN checksum; PRAGMA user_version = 1")
            }
            try database.close()
            for _ in 0..<2 {
                store = try LocalMetadataStore.sqlite(path: path)
                #expect(try store.readAndWait(.all) == before)
                store.close()
            }
        }
    }

    @Test func garbageIsDamaged() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            let garbage = [UInt8](repeating: 0x5a, count: 8192)
            try writeFile(path, garbage)
            #expect(throws: MetadataStoreError.damaged(path: path, reason: "file is not a database")) {
                try LocalMetadataStore.sqlite(path: path)
            }
            #expect(try readFile(path) == garbage)
        }
    }

    @Test func brokenPageIsDamaged() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            let store = try LocalMetadataStore.sqlite(path: path)
            for index in 0..<200 { try store.put("key/\(index)", String(repeating: "x", count: 100)) }
            store.close()
            var bytes = try readFile(path)
            for index in 4096..<bytes.count { bytes[index] = 0xff }
            try writeFile(path, bytes)
            do {
                let store = try LocalMetadataStore.sqlite(path: path)
                defer { store.close() }
                _ = try store.readAndWait(.all)
                Issue.record("a broken file was read")
            } catch {
                guard case .damaged = error as? MetadataStoreError else {
                    Issue.record("\(error)")
                    return
                }
            }
        }
    }

    @Test func laterSchemaAndForeignFileAreRefused() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            try LocalMetadataStore.sqlite(path: path).close()
            var bytes = try readFile(path)
            bytes[63] = 9  // user_version, big-endian at 60
            try writeFile(path, bytes)
            #expect(throws: MetadataStoreError.newerSchema(path: path, found: 9, supported: 2)) {
                try LocalMetadataStore.sqlite(path: path)
            }
            bytes[63] = 1
            bytes[71] ^= 1  // application_id, big-endian at 68
            try writeFile(path, bytes)
            #expect(
                throws: MetadataStoreError.damaged(path: path, reason: "it is a database of another program")
            ) { try LocalMetadataStore.sqlite(path: path) }
        }
    }

    @Test func missingFolderIsAnError() {
        #expect {
            try LocalMetadataStore.sqlite(path: "/nonexistent-folder/a.sqlite")
        } throws: { error in
            guard case .unavailable(let reason) = error as? MetadataStoreError else { return false }
            return reason.contains("/nonexistent-folder/a.sqlite")
        }
    }

    @Test func secondOpenerIsRefused() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            let store = try LocalMetadataStore.sqlite(path: path)
            defer { store.close() }
            try store.put("a", "1")
            #expect(throws: MetadataStoreError.self) { try LocalMetadataStore.sqlite(path: path) }
        }
    }

    @Test func opensQuickly() throws {
        try withTemporaryFolder { folder in
            let path = folder + "/a.sqlite"
            var start = monotonicMs()
            try LocalMetadataStore.sqlite(path: path).close()
            let make = monotonicMs() - start
            start = monotonicMs()
            let store = try LocalMetadataStore.sqlite(path: path)
            let open = monotonicMs() - start
            store.close()
            print("metadata store: made in \(make) ms, opened in \(open) ms")
            #expect(make < 2_000 && open < 2_000)
        }
    }
}

private struct FileError: Error { var code = errno }

private func readFile(_ path: String) throws -> [UInt8] {
    guard let file = fopen(path, "r") else { throw FileError() }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&chunk, 1, chunk.count, file), count > 0 { bytes += chunk[..<count] }
    return bytes
}

private func writeFile(_ path: String, _ bytes: [UInt8]) throws {
    guard let file = fopen(path, "w") else { throw FileError() }
    defer { fclose(file) }
    guard fwrite(bytes, 1, bytes.count, file) == bytes.count else { throw FileError() }
}

private func copyFile(_ from: String, _ to: String) throws { try writeFile(to, try readFile(from)) }
