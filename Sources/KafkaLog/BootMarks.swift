import Glibc
import KafkaRecords
import Synchronization

/// `ottla-boot-marks`: what of each partition was valid when, appended about every second. Our own file; Kafka ignores it.
///
/// A killed process loses nothing that it had written: the page cache is the kernel's. So what a mark says holds as long
/// as the machine runs on (same boot id), or after a clean shutdown, which synced everything and left the same random
/// nonce in `.kafka_cleanshutdown`.
///
/// Layout, big-endian: header = magic (8 bytes), boot id, nonce (strings with their length before), CRC of these;
/// then entries = length, CRC, `PartitionMark`. The last entry of a partition counts; a torn one ends the file.
final class BootMarks: Sendable {
    static let name = "ottla-boot-marks"
    private static let magic: UInt64 = 0x4F54_544C_414D_4B31  // OTTLAMK1

    /// What a file says.
    struct Contents {
        var bootID = ""
        var nonce = ""
        var marks: [TopicPartition: PartitionMark] = [:]
        /// Bytes of the file up to the end of the last whole entry, and those of them that the marks above are.
        var size = 0
        var bytesInUse = 0
    }

    let path: String
    private let state = Mutex(State())

    private struct State {
        var file: LogFile?
        var size = 0
        /// The size after the last rewrite.
        var baseSize = 0
    }

    init(directory: String) { self.path = directory + "/" + Self.name }

    // MARK: reading

    static func read(directory: String) throws(IOError) -> Contents {
        var contents = Contents()
        guard let bytes = try FileSystem.contents(directory + "/" + Self.name, limit: 1 << 32) else { return contents }
        var reader = BytesReader(bytes[...])
        guard reader.get(UInt64.self) == Self.magic, let boot = reader.getString(), let nonce = reader.getString()
        else {
            return contents
        }
        let headerEnd = reader.position
        guard reader.get(UInt32.self) == crc32c(bytes[..<headerEnd]) else { return contents }
        contents.bootID = boot
        contents.nonce = nonce
        contents.size = reader.position
        contents.bytesInUse = reader.position
        var sizes: [TopicPartition: Int] = [:]
        while let length = reader.get(UInt32.self), let crc = reader.get(UInt32.self), Int(length) <= reader.remaining {
            let entry = bytes[reader.position..<reader.position + Int(length)]
            guard crc32c(entry) == crc else { break }
            reader.skip(Int(length))
            contents.size = reader.position
            var entryReader = BytesReader(entry)
            guard let mark = PartitionMark(&entryReader) else { continue }
            contents.marks[mark.partition] = mark
            sizes[mark.partition] = entry.count + 8
        }
        contents.bytesInUse += sizes.values.reduce(0, +)
        return contents
    }

    // MARK: writing

    /// Begins the file anew, with the marks of all partitions, in one step.
    func rewrite(bootID: String, nonce: String, marks: [PartitionMark], durable: Bool) throws(IOError) {
        var bytes = Bytes()
        bytes.put(Self.magic)
        bytes.put(bootID)
        bytes.put(nonce)
        bytes.put(bytes.crc(from: 0))
        for mark in marks { Self.append(mark, to: &bytes) }
        try FileSystem.replace(self.path, with: bytes.array, durable: durable)
        let file = try FileSystem.open(self.path, .readWrite)
        self.state.withLock { $0 = State(file: file, size: bytes.count, baseSize: bytes.count) }
    }

    /// Goes on with the file that `contents` was read from: its marks still hold.
    func goOn(with contents: Contents) throws(IOError) {
        let file = try FileSystem.open(self.path, .readWrite)
        if try FileSystem.size(file) > contents.size { try FileSystem.truncate(file, to: contents.size) }
        self.state.withLock { $0 = State(file: file, size: contents.size, baseSize: contents.bytesInUse) }
    }

    /// Adds marks. After an error the file is not used again until it is rewritten.
    /// - Returns: whether it has grown so much that it should be.
    func append(_ marks: [PartitionMark]) throws(IOError) -> Bool {
        var bytes = Bytes()
        for mark in marks { Self.append(mark, to: &bytes) }
        return try self.state.withLock { state throws(IOError) -> Bool in
            guard let file = state.file else { return true }
            do throws(IOError) {
                try FileSystem.writeAll(file, bytes.array, at: state.size)
            } catch {
                try? FileSystem.truncate(file, to: state.size)
                throw error
            }
            state.size += bytes.count
            return state.size > 4 * state.baseSize + (4 << 20)
        }
    }

    /// What the file says cannot be believed any more: a start reads from the recovery points on. Until the file is
    /// rewritten nothing is added.
    func invalidate() {
        self.state.withLock { $0.file = nil }
        try? FileSystem.unlink(self.path)
    }

    private static func append(_ mark: PartitionMark, to bytes: inout Bytes) {
        let start = bytes.count
        bytes.put(UInt32(0))
        bytes.put(UInt32(0))
        mark.encode(into: &bytes)
        bytes.patch(UInt32(bytes.count - start - 8), at: start)
        bytes.patch(bytes.crc(from: start + 8), at: start + 4)
    }
}
