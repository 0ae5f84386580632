import Synchronization
import Testing

@testable import KafkaMetadata

/// What every `MetadataStore` keeps; an implementation runs through it by being named in `StoreKind`.
@Suite struct MetadataStoreContractTests {
    @Test(arguments: StoreKind.allCases)
    func putsAndReadsInKeyOrder(_ kind: StoreKind) throws {
        try kind.withStore { store in
            try store.put("b/2", "two")
            try store.put("a", "x")
            try store.put("b/10", "ten")
            try store.put("c", "z")
            let read = try store.readAndWait(.prefix("b/"))
            #expect(read.entries.map(\.key) == ["b/10", "b/2"])
            #expect(read.entries.map { String(decoding: $0.value, as: UTF8.self) } == ["ten", "two"])
            #expect(!read.more)
            let limited = try store.readAndWait(.all, limit: 3)
            #expect(limited.entries.map(\.key) == ["a", "b/10", "b/2"])
            #expect(limited.more)
            #expect(try store.readAndWait(.key("missing")).entries.isEmpty)
            #expect(try store.readAndWait(.key("b")).entries.isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func keysAreOrderedByBytes(_ kind: StoreKind) throws {
        try kind.withStore { store in
            // Precomposed and decomposed é are equal as Strings, and different keys.
            let keys = [MetadataKey("e\u{301}"), MetadataKey("\u{e9}"), MetadataKey(bytes: [0xff]), "z", ""]
            for key in keys { try store.put(key, "v") }
            #expect(try store.readAndWait(.all).entries.map(\.key) == ["", keys[0], "z", keys[1], keys[2]])
            #expect(MetadataKey(bytes: [1, 0xff]).prefixEnd == MetadataKey(bytes: [2]))
            #expect(MetadataKey(bytes: [0xff]).prefixEnd == nil)
            #expect(try store.readAndWait(.prefix(keys[2])).entries.count == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func revisionsAndVersions(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let start = try store.readAndWait(.all).revision
            let first = try store.put("k", "1")
            #expect(first == start + 1)
            let second = try store.put("k", "2")
            var entry = try #require(try store.readAndWait(.key("k")).entries.first)
            #expect(entry.createRevision == first && entry.modRevision == second && entry.version == 2)
            _ = try store.commitAndWait(MetadataTransaction(changes: [.delete("k")]))
            let again = try store.put("k", "3")
            entry = try #require(try store.readAndWait(.key("k")).entries.first)
            #expect(entry.createRevision == again && entry.version == 1)
            // Nothing to delete: no new revision.
            let none = try store.commitAndWait(MetadataTransaction(changes: [.delete("nothing")]))
            #expect(none == .committed(revision: again))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func comparesGuardAllChanges(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let revision = try store.put("a", "1")
            let entry = try #require(try store.readAndWait(.key("a")).entries.first)
            let refused: [MetadataTransaction.Compare] = [
                .absent("a"), .modRevision("a", revision + 1), .version("a", 2), .value("a", Array("2".utf8)),
                .createRevision("a", 0), .value("b", []),
            ]
            for compare in refused {
                let result = try store.commitAndWait(
                    MetadataTransaction(
                        compares: [.absent("b"), compare], changes: [.put("a", [9]), .put("b", [9])]))
                let current: MetadataEntry? = compare.key == "a" ? entry : nil
                #expect(result == .conflict(revision: revision, current: [nil, current]))
            }
            #expect(try store.readAndWait(.all).entries == [entry])
            let accepted = try store.commitAndWait(
                MetadataTransaction(
                    compares: [
                        .absent("b"), .modRevision("a", revision), .version("a", 1), .value("a", Array("1".utf8)),
                        .createRevision("a", revision), .modRevision("b", 0),
                    ], changes: [.delete("a"), .put("b", [7])]))
            #expect(accepted == .committed(revision: revision + 1))
            #expect(try store.readAndWait(.all).entries.map(\.key) == ["b"])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func aKeyChangedTwiceIsRefusedWhole(_ kind: StoreKind) throws {
        try kind.withStore { store in
            try store.put("a/1", "1")
            #expect(throws: MetadataStoreError.duplicateKey("a/1")) {
                try store.commitAndWait(
                    MetadataTransaction(changes: [.put("b", []), .put("a/1", []), .deleteRange(.prefix("a/"))]))
            }
            #expect(try store.readAndWait(.all).entries.map(\.key) == ["a/1"])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func deletesARange(_ kind: StoreKind) throws {
        try kind.withStore { store in
            for key in ["a", "p/1", "p/2", "q"] { try store.put(MetadataKey(key), "v") }
            _ = try store.commitAndWait(MetadataTransaction(changes: [.deleteRange(.prefix("p/"))]))
            #expect(try store.readAndWait(.all).entries.map(\.key) == ["a", "q"])
        }
    }

    @Test(arguments: StoreKind.allCases)
    func watchTellsHistoryThenLiveChangesBeforeTheCompletion(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let first = try store.put("w/1", "1")
            try store.put("other", "x")
            let seen = Events()
            store.watch(.prefix("w/"), from: first) { seen.add($0) }
            _ = try store.commitAndWait(
                MetadataTransaction(changes: [.put("w/2", Array("2".utf8)), .delete("w/1"), .delete("w/none")]))
            // No waiting: the changes come before the completion.
            #expect(seen.all.count == 2)
            guard case .changes(let past) = seen.all.first, case .changes(let live) = seen.all.last else {
                Issue.record("not changes: \(seen.all)")
                return
            }
            #expect(past.revision == first && past.changes.map(\.key) == ["w/1"])
            #expect(live.revision == first + 2)
            #expect(live.changes.map(\.key) == ["w/2", "w/1"])
            #expect(live.changes.last == .delete("w/1"))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func cancelledWatchHearsNothing(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let seen = Events()
            let watch = store.watch(.all, from: try store.readAndWait(.all).revision + 1) { seen.add($0) }
            try store.put("a", "1")
            watch.cancel()
            try store.put("b", "1")
            #expect(seen.all.count == 1)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func forgottenHistoryIsSaid(_ kind: StoreKind) throws {
        try kind.withStore(historyLimit: 8) { store in
            let first = try store.put("k", "0")
            for index in 1...20 { try store.put("k", "\(index)") }
            let seen = Events()
            let watch = store.watch(.all, from: first) { seen.add($0) }
            let now = try store.put("k", "more")
            guard case .lost(let oldest) = seen.all.first else {
                Issue.record("not lost: \(seen.all)")
                return
            }
            #expect(seen.all.count == 1 && watch.isCancelled)
            let again = Events()
            store.watch(.all, from: oldest) { again.add($0) }
            _ = try store.readAndWait(.all)
            #expect(again.all.count == Int(now - oldest + 1))
        }
    }

    @Test(arguments: StoreKind.allCases)
    func leaseTakesItsKeysAlong(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let lease = try waitForResult { store.grantLease(ttlMs: 60_000, $0) }
            let changes: [MetadataTransaction.Change] = [
                .put("l/1", [1], lease: lease), .put("l/2", [2], lease: lease), .put("l/3", [3], lease: lease),
            ]
            _ = try store.commitAndWait(MetadataTransaction(changes: changes))
            // Put again without the lease: it stays.
            try store.put("l/2", "kept")
            _ = try store.commitAndWait(MetadataTransaction(changes: [.delete("l/3")]))
            try waitForResult { store.keepAlive(lease, $0) }
            try waitForResult { store.revoke(lease, $0) }
            #expect(try store.readAndWait(.prefix("l/")).entries.map(\.key) == ["l/2"])
            #expect(throws: MetadataStoreError.leaseNotFound) { try waitForResult { store.keepAlive(lease, $0) } }
            #expect(throws: MetadataStoreError.leaseNotFound) {
                try store.commitAndWait(MetadataTransaction(changes: [.put("l/9", [], lease: lease)]))
            }
        }
    }

    @Test(arguments: StoreKind.allCases)
    func leaseEndsByItself(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let seen = Events()
            store.watch(.all, from: try store.readAndWait(.all).revision + 1) { seen.add($0) }
            let lease = try waitForResult { store.grantLease(ttlMs: 30, $0) }
            _ = try store.commitAndWait(MetadataTransaction(changes: [.put("gone", [], lease: lease)]))
            try seen.wait { $0.count == 2 }
            #expect(try store.readAndWait(.all).entries.isEmpty)
        }
    }

    @Test(arguments: StoreKind.allCases)
    func manyThreadsCountToTheRightNumber(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let done = Events()
            for _ in 0..<8 { increment(store, times: 25) { done.add(.lost(oldest: 0)) } }
            try done.wait { $0.count == 8 }
            let value = try #require(try store.readAndWait(.key("counter")).entries.first?.value)
            #expect(String(decoding: value, as: UTF8.self) == "200")
        }
    }

    @Test(arguments: StoreKind.allCases)
    func closedStoreAnswersClosed(_ kind: StoreKind) throws {
        try kind.withStore { store in
            let seen = Events()
            store.commit(MetadataTransaction(changes: [.put("last", [])])) { _ in seen.add(.lost(oldest: 1)) }
            store.close()
            // What was asked before is done.
            #expect(seen.all.count == 1)
            #expect(throws: MetadataStoreError.closed) { try store.readAndWait(.all) }
        }
    }
}

/// Read, then put one more if nobody else has: the way every change of metadata is made.
private func increment(_ store: any MetadataStore, times: Int, _ done: @escaping @Sendable () -> Void) {
    guard times > 0 else { return done() }
    store.read(.key("counter"), limit: nil) { result in
        guard let entry = try? result.get().entries.first else {
            return attempt(store, nil, times, done)
        }
        attempt(store, entry, times, done)
    }
}

private func attempt(
    _ store: any MetadataStore, _ entry: MetadataEntry?, _ times: Int, _ done: @escaping @Sendable () -> Void
) {
    let count = entry.flatMap { Int(String(decoding: $0.value, as: UTF8.self)) } ?? 0
    let transaction = MetadataTransaction(
        compares: [.modRevision("counter", entry?.modRevision ?? 0)],
        changes: [.put("counter", Array("\(count + 1)".utf8))])
    store.commit(transaction) { result in
        guard case .success(.committed) = result else { return increment(store, times: times, done) }
        increment(store, times: times - 1, done)
    }
}
