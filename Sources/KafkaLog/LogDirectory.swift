import Glibc
import KafkaPrimitives
import Synchronization

/// Why a data folder cannot be used. Nothing in it has been changed then.
package enum LogDirectoryError: Error, Sendable, CustomStringConvertible {
    case inUse(String)
    case otherCluster(String, found: String, expected: String)
    case otherNode(String, found: String, expected: Int32)
    case unsupportedVersion(String, String)
    case damagedMetaProperties(String, String)
    case notWritable(String, IOError)
    case io(String, IOError)

    /// Set where the folder fails, rather than that it must not be used.
    var failure: IOError? {
        switch self {
        case .notWritable(_, let error), .io(_, let error): error
        default: nil
        }
    }

    package var description: String {
        switch self {
        case .inUse(let path):
            "data folder \(path) is in use by another process (it holds a lock on \(path)/.lock)"
        case .otherCluster(let path, let found, let expected):
            "data folder \(path) belongs to cluster \(found), not to \(expected) (meta.properties)"
        case .otherNode(let path, let found, let expected):
            "data folder \(path) belongs to node.id \(found), not to \(expected) (meta.properties)"
        case .unsupportedVersion(let path, let version):
            "data folder \(path): meta.properties has version \(version); only version 1 is known"
        case .damagedMetaProperties(let path, let what):
            "data folder \(path): meta.properties: \(what)"
        case .notWritable(let path, let error):
            "data folder \(path) cannot be written to: \(String(cString: strerror(error.code)))"
        case .io(let path, let error):
            "data folder \(path): \(error)"
        }
    }
}

/// `meta.properties`, version 1.
package struct MetaProperties: Sendable, Equatable {
    package var clusterID: String
    package var nodeID: Int32
    package var directoryID: KafkaUUID

    static let name = "meta.properties"

    static func read(_ directory: String) throws(LogDirectoryError) -> MetaProperties? {
        let bytes: [UInt8]?
        do throws(IOError) { bytes = try FileSystem.contents(directory + "/" + Self.name, limit: 1 << 16) } catch {
            throw .io(directory, error)
        }
        guard let bytes else { return nil }
        var values: [String: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
            let line = line.drop { $0 == " " || $0 == "\t" }
            guard !line.hasPrefix("#"), !line.hasPrefix("!"), let equals = line.firstIndex(of: "=") else { continue }
            let key = line[..<equals].filter { $0 != " " }
            let value = line[line.index(after: equals)...].drop { $0 == " " }
            values[String(key)] = String(value).replacingEscapes()
        }
        guard let version = values["version"] else {
            throw .damagedMetaProperties(directory, "no version")
        }
        guard version == "1" else { throw .unsupportedVersion(directory, version) }
        guard let cluster = values["cluster.id"], !cluster.isEmpty else {
            throw .damagedMetaProperties(directory, "no cluster.id")
        }
        guard let node = values["node.id"].flatMap({ Int32($0) }) else {
            throw .damagedMetaProperties(directory, "no node.id, or not a number")
        }
        return MetaProperties(
            clusterID: cluster, nodeID: node,
            directoryID: values["directory.id"].flatMap { KafkaUUID($0) } ?? KafkaUUID.zero)
    }

    func write(_ directory: String) throws(IOError) {
        let text =
            "#\nnode.id=\(self.nodeID)\ndirectory.id=\(self.directoryID)\nversion=1\ncluster.id=\(self.clusterID)\n"
        try FileSystem.replace(directory + "/" + Self.name, with: Array(text.utf8), durable: true)
    }
}

extension String {
    /// Java's Properties puts a backslash before `=`, `:`, `#`, `!` and spaces.
    fileprivate func replacingEscapes() -> String {
        var result = ""
        var isEscaped = false
        for character in self {
            if character == "\\" && !isEscaped {
                isEscaped = true
            } else {
                result.append(character)
                isEscaped = false
            }
        }
        return result
    }
}

/// One data folder of a broker: its lock, its identity, its checkpoints.
package final class LogDirectory: Sendable {
    package let path: String
    package let properties: MetaProperties
    /// `directory.id`
    package var id: KafkaUUID { self.properties.directoryID }
    /// The folder was closed cleanly before this start.
    package let wasClean: Bool
    /// A start was killed when it removed the sign of that, which may still be on the disk.
    private let isCleanShutdownGoing: Bool
    /// Apache Kafka has written here: the log of its controllers is in the folder.
    package let hasKafkaMetadata: Bool
    /// This start made the file `.lock`.
    private let isLockNew: Bool
    let marks: BootMarks
    /// Nil when the folder has been given up.
    private let lock: Mutex<LogFile?>
    /// Why the folder is offline.
    private let failureState: Mutex<IOError?>
    /// As it is told to clients.
    package let absolutePath: String

    static let cleanShutdown = ".kafka_cleanshutdown"
    static let cleanShutdownGoing = ".kafka_cleanshutdown.deleted"
    static let recoveryPoints = "recovery-point-offset-checkpoint"
    static let logStartOffsets = "log-start-offset-checkpoint"
    static let logStartOffsetsCopy = "ottla-log-start-offsets"
    static let highWatermarks = "replication-offset-checkpoint"

    private init(
        path: String, properties: MetaProperties, wasClean: Bool, isCleanShutdownGoing: Bool = false,
        hasKafkaMetadata: Bool, lock: LogFile?, isLockNew: Bool, failure: IOError? = nil
    ) {
        self.isCleanShutdownGoing = isCleanShutdownGoing
        self.failureState = Mutex(failure)
        self.absolutePath = Self.absolute(path)
        self.path = path
        self.properties = properties
        self.wasClean = wasClean
        self.hasKafkaMetadata = hasKafkaMetadata
        self.isLockNew = isLockNew
        self.lock = Mutex(lock)
        self.marks = BootMarks(directory: path)
    }

    /// One that cannot be opened: its partitions are offline, those of others are not.
    static func offline(_ path: String, nodeID: Int32, clusterID: String, _ error: IOError) -> LogDirectory {
        LogDirectory(
            path: path,
            properties: MetaProperties(clusterID: clusterID, nodeID: nodeID, directoryID: KafkaUUID.zero),
            wasClean: false, hasKafkaMetadata: false, lock: nil, isLockNew: false, failure: error)
    }

    package var isOnline: Bool { self.failureState.withLock { $0 == nil } }

    /// - Returns: whether it was online until now.
    func fail(_ error: IOError) -> Bool {
        self.failureState.withLock { failure in
            guard failure == nil else { return false }
            failure = error
            return true
        }
    }

    /// Gives the folder up: another process, or another broker in this one, may open it.
    func releaseLock() { self.lock.withLock { $0 = nil } }

    /// Gives the folder up and leaves it as it was found.
    func abandon() {
        if self.isLockNew { try? FileSystem.unlink(self.path + "/.lock") }
        self.releaseLock()
    }

    /// Writes `meta.properties` where the folder came without one or without an id of its own. Not before it is known
    /// that the folder can be used.
    package func completeProperties() throws(LogDirectoryError) {
        guard self.hasKafkaMetadata, try MetaProperties.read(self.path) != self.properties else { return }
        do throws(IOError) { try self.properties.write(self.path) } catch { throw .io(self.path, error) }
    }

    /// Checks, locks and, where it is new, makes a data folder.
    /// - Parameter clusterID: nil takes what the folder says, and for a new folder `newClusterID`.
    static func open(
        _ path: String, nodeID: Int32, clusterID: String?, newClusterID: () -> String
    ) throws(LogDirectoryError) -> LogDirectory {
        // First what changes nothing: a folder that is not ours is left as it is.
        let found = try MetaProperties.read(path)
        let hasKafkaMetadata: Bool
        do throws(IOError) { hasKafkaMetadata = try FileSystem.exists(path + "/" + KafkaFolder.metadataLog) } catch {
            throw .io(path, error)
        }
        if hasKafkaMetadata, found == nil {
            throw .damagedMetaProperties(path, "missing, though the folder has \(KafkaFolder.metadataLog)")
        }
        if let found {
            if let clusterID, clusterID != found.clusterID {
                throw .otherCluster(path, found: found.clusterID, expected: clusterID)
            }
            if found.nodeID != nodeID { throw .otherNode(path, found: String(found.nodeID), expected: nodeID) }
        }
        do throws(IOError) {
            try FileSystem.makeDirectories(path)
            // It may have been made by a process that was killed before it could see to that its name is on disk.
            if found == nil { try Self.syncName(of: path) }
            guard FileSystem.isWritable(path) else { throw IOError(.open, path) }
            let lockPath = path + "/.lock"
            let isLockNew = try !FileSystem.exists(lockPath)
            let lock = try FileSystem.open(lockPath, .create)
            guard try FileSystem.lock(lock, path: lockPath) else { throw IOError(.lock, path, code: EAGAIN) }
            let wasClean = try FileSystem.exists(path + "/" + Self.cleanShutdown)
            let isGoing = try FileSystem.exists(path + "/" + Self.cleanShutdownGoing)
            var properties =
                found
                ?? MetaProperties(
                    clusterID: clusterID ?? newClusterID(), nodeID: nodeID, directoryID: KafkaUUID.zero)
            if found == nil || properties.directoryID == KafkaUUID.zero {
                properties.directoryID = Self.randomID()
                if !hasKafkaMetadata { try properties.write(path) }
            }
            return LogDirectory(
                path: path, properties: properties, wasClean: wasClean, isCleanShutdownGoing: isGoing,
                hasKafkaMetadata: hasKafkaMetadata, lock: lock, isLockNew: isLockNew)
        } catch {
            switch (error.call, error.code) {
            case (.lock, EAGAIN): throw .inUse(path)
            case (_, EACCES), (_, EROFS), (_, EPERM), (_, ENOTDIR): throw .notWritable(path, error)
            default: throw .io(path, error)
            }
        }
    }

    /// Those above may be folders that cannot be opened.
    private static func syncName(of path: String) throws(IOError) {
        do throws(IOError) { try FileSystem.syncDirectory(FileSystem.parent(of: path)) } catch {
            guard error.code == EACCES || error.code == EPERM else { throw error }
        }
    }

    static func randomID() -> KafkaUUID {
        KafkaUUID(
            high: FileSystem.random64() & 0xFFFF_FFFF_FFFF_0FFF | 0x4000,
            low: FileSystem.random64() & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000)
    }

    // MARK: clean shutdown

    /// The nonce that the clean shutdown left, if Ottla did it. One that cannot be read is an error: it would pass for Kafka's.
    func cleanShutdownNonce() throws(IOError) -> String? {
        let bytes: [UInt8]?
        do throws(IOError) {
            bytes = try FileSystem.contents(self.path + "/" + Self.cleanShutdown, limit: 4096)
        } catch {
            // Nobody's: neither we nor Kafka write so much.
            if error.code == EFBIG { return "" }
            throw error
        }
        guard let bytes else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        guard let key = text.range(ofText: "\"ottla\":\"") else { return nil }
        return String(text[key...].prefix { $0 != "\"" })
    }

    /// - Parameter durable: on disk when it returns. After a power cut the folder must not look as if it had been closed
    ///   cleanly, with what was written since. A start that is killed before leaves the sign under another name, by which the
    ///   next one knows.
    func removeCleanShutdown(durable: Bool) throws(IOError) {
        if durable || self.isCleanShutdownGoing {
            let going = self.path + "/" + Self.cleanShutdownGoing
            if self.wasClean { try FileSystem.rename(self.path + "/" + Self.cleanShutdown, to: going) }
            guard self.wasClean || self.isCleanShutdownGoing else { return }
            try FileSystem.syncDirectory(self.path)
            try FileSystem.unlink(going)
        } else if self.wasClean {
            try FileSystem.unlink(self.path + "/" + Self.cleanShutdown)
        }
    }

    func writeCleanShutdown(nonce: String) throws(IOError) {
        let text = "{\"version\":0,\"brokerEpoch\":-1,\"ottla\":\"\(nonce)\"}"
        try FileSystem.replace(self.path + "/" + Self.cleanShutdown, with: Array(text.utf8), durable: true)
    }

    // MARK: checkpoints

    /// A checkpoint that is missing or damaged is as good as an empty one: more is read at the start.
    /// One that cannot be read now is an error: without the start offsets deleted records would be there again.
    func readCheckpoint(_ name: String) throws(IOError) -> [TopicPartition: Int64] {
        guard let bytes = try FileSystem.contents(self.path + "/" + name) else { return [:] }
        return Checkpoint.decodeOffsets(bytes) ?? [:]
    }

    func writeCheckpoint(_ name: String, _ offsets: [TopicPartition: Int64]) throws(IOError) {
        try FileSystem.replace(self.path + "/" + name, with: Checkpoint.encode(offsets), durable: true)
    }

    /// Where logs start. Kafka's file has no checksum, and a flipped digit in it would hide records or bring deleted ones
    /// back: a copy of our own with one, written first, counts before it. Not where Kafka closed the folder last.
    func readLogStartOffsets() throws(IOError) -> [TopicPartition: Int64] {
        let nonce = self.wasClean ? try self.cleanShutdownNonce() : ""
        if nonce != nil,
            let bytes = try FileSystem.contents(self.path + "/" + Self.logStartOffsetsCopy),
            let offsets = Checkpoint.decodeOffsets(withSum: bytes)
        {
            return offsets
        }
        return try self.readCheckpoint(Self.logStartOffsets)
    }

    func writeLogStartOffsets(_ offsets: [TopicPartition: Int64]) throws(IOError) {
        let copy = Checkpoint.encode(withSum: offsets)
        try FileSystem.replace(self.path + "/" + Self.logStartOffsetsCopy, with: copy, durable: true)
        try self.writeCheckpoint(Self.logStartOffsets, offsets)
    }
}

extension String {
    /// Where the text after the first occurrence of `text` begins.
    fileprivate func range(ofText text: String) -> Index? {
        var index = self.startIndex
        while index < self.endIndex {
            if self[index...].hasPrefix(text) { return self.index(index, offsetBy: text.count) }
            index = self.index(after: index)
        }
        return nil
    }
}
