import Foundation

/// A sum over the hashes of all entries, kept up with each change: any entry that is changed, lost or added behind the
/// store's back makes it another one.
struct MetadataChecksum: Sendable {
    private var sum: UInt64 = 0

    var isEmpty: Bool { self.sum == 0 }

    mutating func add(_ entry: MetadataEntry) { self.sum &+= Self.hash(entry) }
    mutating func remove(_ entry: MetadataEntry) { self.sum &-= Self.hash(entry) }

    /// As it is stored beside a revision.
    func value(revision: Int64) -> Int64 {
        var hash = FNV1a()
        hash.add(revision)
        return Int64(bitPattern: self.sum &+ hash.value)
    }

    private static func hash(_ entry: MetadataEntry) -> UInt64 {
        var hash = FNV1a()
        hash.add(Int64(entry.key.bytes.count))
        hash.add(entry.key.bytes)
        hash.add(entry.value)
        hash.add(entry.createRevision)
        hash.add(entry.modRevision)
        hash.add(entry.version)
        hash.add(entry.lease?.id ?? -1)
        return hash.value
    }
}

/// FNV-1a of 64 bits: one changed bit always changes it, which is all that is asked of it.
struct FNV1a {
    private(set) var value: UInt64 = 0xcbf2_9ce4_8422_2325

    mutating func add(_ byte: UInt8) { self.value = (self.value ^ UInt64(byte)) &* 0x100_0000_01b3 }
    mutating func add(_ bytes: [UInt8]) { for byte in bytes { self.add(byte) } }
    mutating func add(_ number: Int64) { withUnsafeBytes(of: number.bigEndian) { for byte in $0 { self.add(byte) } } }
}

/// `ottla-metadata.sqlite.revision`: the last revision that was committed, written after each commit. SQLite takes a
/// write-ahead log that ends early, because a bit in it was flipped or the file is gone, for one that was never longer;
/// this tells. Not synced: after a power cut it may be an older one, and tells less then.
final class CommittedRevision {
    let path: String
    private var descriptor: Int32 = -1

    init(beside store: String) { self.path = store + ".revision" }

    deinit { if self.descriptor >= 0 { Foundation.close(self.descriptor) } }

    /// Nil where there is none, or one that is damaged itself.
    func read() -> Int64? {
        let descriptor = open(self.path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { Foundation.close(descriptor) }
        var words: (Int64, UInt64) = (0, 0)
        guard withUnsafeMutableBytes(of: &words, { pread(descriptor, $0.baseAddress, $0.count, 0) }) == 16 else {
            return nil
        }
        let revision = Int64(bigEndian: words.0)
        return UInt64(bigEndian: words.1) == Self.check(revision) ? revision : nil
    }

    func write(_ revision: Int64) {
        if self.descriptor < 0 { self.descriptor = open(self.path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) }
        guard self.descriptor >= 0 else { return }
        let words = (revision.bigEndian, Self.check(revision).bigEndian)
        // One that cannot be written is an older one: see above.
        _ = withUnsafeBytes(of: words) { pwrite(self.descriptor, $0.baseAddress, $0.count, 0) }
    }

    private static func check(_ revision: Int64) -> UInt64 {
        var hash = FNV1a()
        hash.add(revision)
        return hash.value
    }
}
