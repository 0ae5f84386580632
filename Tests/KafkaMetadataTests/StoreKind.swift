import Glibc
import Synchronization
import Testing

@testable import KafkaMetadata

/// The implementations that the contract is run for.
enum StoreKind: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case inMemory
    case sqlite

    var testDescription: String { self.rawValue }

    func withStore(historyLimit: Int = 16_384, _ body: (any MetadataStore) throws -> Void) throws {
        switch self {
        case .inMemory:
            let store = LocalMetadataStore.inMemory(historyLimit: historyLimit)
            defer { store.close() }
            try body(store)
        case .sqlite:
            try withTemporaryFolder { folder in
                let store = try LocalMetadataStore.sqlite(path: folder + "/store.sqlite", historyLimit: historyLimit)
                defer { store.close() }
                try body(store)
            }
        }
    }
}

extension MetadataStore {
    /// The revision that it made.
    @discardableResult
    func put(_ key: MetadataKey, _ value: String) throws -> Int64 {
        let result = try self.commitAndWait(MetadataTransaction(changes: [.put(key, Array(value.utf8))]))
        guard case .committed(let revision) = result else {
            Issue.record("not committed: \(result)")
            return 0
        }
        return revision
    }
}

/// Watch events as they came.
final class Events: Sendable {
    private let list = Mutex<[MetadataWatchEvent]>([])

    var all: [MetadataWatchEvent] { self.list.withLock { $0 } }
    func add(_ event: MetadataWatchEvent) { self.list.withLock { $0.append(event) } }

    struct TimedOut: Error {}
    func wait(_ condition: ([MetadataWatchEvent]) -> Bool) throws {
        let deadline = monotonicMs() + 20_000
        while !condition(self.all) {
            guard monotonicMs() < deadline else { throw TimedOut() }
            usleep(2_000)
        }
    }
}

func withTemporaryFolder(_ body: (String) throws -> Void) throws {
    var template = Array("/tmp/ottla-metadata-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw Events.TimedOut() }
    let folder = String(cString: made)
    defer { removeFolder(folder) }
    try body(folder)
}

private func removeFolder(_ folder: String) {
    if let stream = opendir(folder) {
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { unlink(folder + "/" + name) }
        }
        closedir(stream)
    }
    rmdir(folder)
}
