import Glibc
import KafkaRecords
import Synchronization

/// `ottla-boot-marks`: what of each partition was valid when, appended about every second. Our own file; Kafka ignores it.
///
/// A killed process loses nothing that it had written: the page cache is the kernel's. So what a mark says holds as long
/// as the machine runs on (same boot id), or after a clean shutdown, which synced everything and left the same random
/// nonce in `.kafka_cleanshutdown`. With the lists of segments it is also the manifest by which a start opens the
/// partitions that have not changed since their mark, without a look into their folders.
///
/// Layout, big-endian: header = magic (8 bytes), boot id, nonce (strings with their length before), CRC of these;
/// then entries = length, CRC, kind (1 byte), `PartitionMark`, `SegmentList` or `SegmentListNote`. The last entry of a
/// kind counts for a partition; with one that is torn or damaged nothing of the file does.
final class BootMarks: Sendable {
    static let name = "ottla-boot-marks"
    private static let magic: UInt64 = 0x4F54_544C_414D_4B32  // OTTLAMK2
    private static let emptyNonce = String(repeating: "-", count: 16)

    private enum Kind: UInt8 {
        case mark = 1
        case list, note
    }

    /// What a file says.
    struct Contents: Sendable {
        var bootID = ""
        var nonce = ""
        var marks = Marks()
        var lists: [TopicPartition: SegmentList] = [:]
        /// The newest version of a partition's list that was announced.
        var notes: [TopicPartition: SegmentListNote] = [:]
        /// Bytes of the file up to the end of the last whole entry, and about so many of them are in use.
        var size = 0
        var bytesInUse = 0

        /// The sealed segments that go with a mark; nil where the list has changed since, or is not known.
        func segments(of mark: PartitionMark) -> [SegmentList.Segment]? {
            if let note = self.notes[mark.partition], note.topicID == mark.topicID, note.version > mark.listVersion {
                return nil
            }
            if mark.sealedCount == 0 { return [] }
            guard let list = self.lists[mark.partition], list.version == mark.listVersion,
                list.topicID == mark.topicID, list.segments.count == mark.sealedCount
            else { return nil }
            return list.segments
        }
    }

    let path: String
    /// With a slash at the end.
    let folder: String
    private let state = Mutex(State())

    private struct State {
        var file: LogFile?
        var size = 0
        /// The size after the last rewrite.
        var baseSize = 0
        /// What is on disk must not be believed and could not be removed.
        var mustGo = false
        /// Marks are missing that could not be added: it says of some partitions less than it should.
        var isBehind = false
        /// Notes that came while the file is written anew.
        var notes: [SegmentListNote]?
    }

    init(directory: String) {
        self.folder = directory + "/"
        self.path = directory + "/" + Self.name
    }

    // MARK: reading

    static func read(directory: String) throws(IOError) -> Contents {
        guard let bytes = try FileSystem.contents(directory + "/" + Self.name, limit: 1 << 32) else {
            return Contents()
        }
        return Self.decode(bytes)
    }

    static func decode(_ bytes: [UInt8]) -> Contents {
        var contents = Contents(marks: Marks(file: bytes))
        var reader = BytesReader(bytes[...])
        guard reader.get(UInt64.self) == Self.magic, let boot = reader.getString(), let nonce = reader.getString()
        else {
            return contents
        }
        let headerEnd = reader.position
        guard reader.get(UInt32.self) == crc32c(bytes[..<headerEnd]) else { return contents }
        contents.bootID = boot
        contents.nonce = nonce == Self.emptyNonce ? "" : nonce
        contents.size = reader.position
        contents.bytesInUse = reader.position
        while let length = reader.get(UInt32.self), let crc = reader.get(UInt32.self), Int(length) <= reader.remaining {
            let entry = bytes[reader.position..<reader.position + Int(length)]
            guard crc32c(entry) == crc else { break }
            reader.skip(Int(length))
            contents.size = reader.position
            var entryReader = BytesReader(entry)
            switch entryReader.get(UInt8.self).flatMap({ Kind(rawValue: $0) }) {
            case .mark:
                if contents.marks.add(&entryReader) { contents.bytesInUse += entry.count + 8 }
            case .list:
                guard let list = SegmentList(&entryReader) else { continue }
                let old = contents.lists.updateValue(list, forKey: list.partition)
                if old == nil { contents.bytesInUse += entry.count + 8 }
            case .note:
                guard let note = SegmentListNote(&entryReader) else { continue }
                contents.notes[note.partition] = note
            case nil: continue
            }
        }
        // What is left is damage, or an entry that was not written to its end: what came behind it, a change of a list maybe,
        // is not known, and what stands before it may be out of date.
        return contents.size == bytes.count ? contents : Contents()
    }

    // MARK: writing

    private static func header(bootID: String, nonce: String) -> Bytes {
        var bytes = Bytes()
        bytes.put(Self.magic)
        bytes.put(bootID)
        bytes.put(nonce.isEmpty ? Self.emptyNonce : nonce)
        bytes.put(bytes.crc(from: 0))
        return bytes
    }

    /// Begins the file anew, with the marks of all partitions, in one step.
    /// - Parameter take: the marks and lists, asked for when changes of lists are being noted already.
    func rewrite(
        bootID: String, nonce: String, durable: Bool,
        _ take: () throws(IOError) -> (marks: [PartitionMark], lists: [SegmentList])
    ) throws(IOError) {
        self.state.withLock { $0.notes = [] }
        var bytes = Self.header(bootID: bootID, nonce: nonce)
        do throws(IOError) {
            let taken = try take()
            bytes.reserve(taken.marks.count * 256)
            for mark in taken.marks { Self.append(mark, to: &bytes) }
            for list in taken.lists { Self.append(.list, to: &bytes) { list.encode(into: &$0) } }
            let file = try FileSystem.open(self.path + ".tmp", .create)
            try FileSystem.truncate(file, to: 0)
            try FileSystem.writeAll(file, bytes.array, at: 0)
            try self.state.withLock { state throws(IOError) in
                let start = bytes.count
                for note in state.notes ?? [] { Self.append(.note, to: &bytes) { note.encode(into: &$0) } }
                try FileSystem.writeAll(file, Array(bytes.array[start...]), at: start)
                if durable { try FileSystem.sync(file) }
                try FileSystem.rename(self.path + ".tmp", to: self.path)
                state = State(file: file, size: bytes.count, baseSize: bytes.count)
            }
        } catch {
            self.state.withLock { $0.notes = nil }
            try? FileSystem.unlink(self.path + ".tmp")
            throw error
        }
        if durable { try FileSystem.syncDirectory(FileSystem.parent(of: self.path)) }
    }

    /// Goes on with the file that `contents` was read from: its marks still hold, from now on for this boot.
    /// - Parameter wasClean: the sign of a clean shutdown is still there.
    func goOn(with contents: Contents, bootID: String, wasClean: Bool) throws(IOError) {
        let file = try FileSystem.open(self.path, .readWrite)
        if try FileSystem.size(file) > contents.size { try FileSystem.truncate(file, to: contents.size) }
        self.state.withLock { $0 = State(file: file, size: contents.size, baseSize: contents.bytesInUse) }
        if contents.bootID == bootID, contents.nonce.isEmpty, !wasClean { return }
        // A header that is torn by a power cut makes the file void, no more.
        let header = Self.header(bootID: bootID, nonce: "")
        try FileSystem.writeAll(file, header.array, at: 0)
        // On disk before anything is appended: else the sign of a clean shutdown, should a power cut bring it back, would
        // fit. In place and of the same size, it does not wait for the file system's journal. Also where the nonce is gone
        // already: who wrote that may have been killed before the sync.
        if wasClean || !contents.nonce.isEmpty { try FileSystem.syncData(file) }
        // Nor may it have been the file's name that has not got to the disk.
        if wasClean, contents.nonce.isEmpty { try FileSystem.syncDirectory(FileSystem.parent(of: self.path)) }
    }

    /// Whether the header can be changed where it is.
    static func canGoOn(with contents: Contents, bootID: String) -> Bool {
        contents.size > 0 && contents.bootID.utf8.count == bootID.utf8.count
    }

    /// Completes the file at the end: with a nonce it holds for the next boot too.
    /// - Returns: false where it must be rewritten.
    func seal(bootID: String, nonce: String) throws(IOError) -> Bool {
        let header = Self.header(bootID: bootID, nonce: nonce)
        return try self.state.withLock { state throws(IOError) -> Bool in
            guard let file = state.file, !state.isBehind, state.size <= 2 * state.baseSize + (4 << 20) else {
                return false
            }
            try FileSystem.writeAll(file, header.array, at: 0)
            try FileSystem.sync(file)
            return true
        }
    }

    /// Adds marks. After an error none are added until it is rewritten.
    /// - Returns: whether it has grown so much that it should be.
    func append(_ marks: [PartitionMark], _ lists: [SegmentList] = []) throws(IOError) -> Bool {
        var bytes = Bytes()
        // Before the marks that they go with.
        for list in lists { Self.append(.list, to: &bytes) { list.encode(into: &$0) } }
        for mark in marks { Self.append(mark, to: &bytes) }
        return try self.state.withLock { state throws(IOError) -> Bool in
            guard let file = state.file, !state.isBehind else { return true }
            do throws(IOError) {
                try FileSystem.writeAll(file, bytes.array, at: state.size)
            } catch {
                state.isBehind = true
                try? FileSystem.truncate(file, to: state.size)
                throw error
            }
            state.size += bytes.count
            return state.size > 4 * state.baseSize + (4 << 20)
        }
    }

    /// Says that a list changes. Where that cannot be written no mark may be believed any more: the file is removed or
    /// emptied, which needs no room, and is rewritten later. Where nothing of that can be done either it is an error, and
    /// the list must stay as it is: after a kill the next start would believe the old one.
    func note(_ note: SegmentListNote) throws(IOError) {
        try self.state.withLock { state throws(IOError) in
            state.notes?.append(note)
            guard let file = state.file else {
                if state.mustGo { try self.empty(nil) }
                state.mustGo = false
                return
            }
            var bytes = Bytes()
            Self.append(.note, to: &bytes) { note.encode(into: &$0) }
            do throws(IOError) {
                try FileSystem.writeAll(file, bytes.array, at: state.size)
                state.size += bytes.count
            } catch {
                try self.empty(file)
                state.file = nil
            }
        }
    }

    /// By one way or another, on a disk that has just refused something: what is at stake is that the next start believes
    /// what is no longer true.
    private func empty(_ file: LogFile?) throws(IOError) {
        var failure: IOError?
        for _ in 0..<2 {
            do throws(IOError) { return try FileSystem.unlink(self.path) } catch { failure = error }
            guard let file = file ?? (try? FileSystem.open(self.path, .readWrite)) else { continue }
            if (try? FileSystem.truncate(file, to: 0)) != nil { return }
            if (try? FileSystem.writeAll(file, [UInt8](repeating: 0, count: 8), at: 0)) != nil { return }
        }
        if let failure { throw failure }
    }

    /// What the file says cannot be believed any more: a start reads from the recovery points on. Until the file is
    /// rewritten nothing is added.
    func invalidate() throws(IOError) {
        try self.state.withLock { state throws(IOError) in
            let file = state.file.take()
            state.mustGo = true
            try self.empty(file)
            state.mustGo = false
        }
    }

    private static func append(_ mark: PartitionMark, to bytes: inout Bytes) {
        self.append(.mark, to: &bytes) { mark.encode(into: &$0) }
    }

    private static func append(_ kind: Kind, to bytes: inout Bytes, _ encode: (inout Bytes) -> Void) {
        let start = bytes.count
        bytes.put(UInt32(0))
        bytes.put(UInt32(0))
        bytes.put(kind.rawValue)
        encode(&bytes)
        bytes.patch(UInt32(bytes.count - start - 8), at: start)
        bytes.patch(bytes.crc(from: start + 8), at: start + 4)
    }
}
