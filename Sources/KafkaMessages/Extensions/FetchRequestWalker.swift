import KafkaPrimitives

/// Goes through a Fetch request where it lies, without an Array, String or Dictionary for anything in it.
///
/// The whole request is checked, and all but its topics read, when the walker is made. See `ProduceRequestWalker`.
package struct FetchRequestWalker {
    package struct Topic {
        /// Not checked for being UTF-8. Empty from version 13 on.
        package var name: UnsafeRawBufferPointer
        /// Zero before version 13.
        package var id: KafkaUUID
        package var partitionCount: Int
    }

    package struct Partition: Equatable, Sendable {
        package var partition: Int32
        /// -1 where the client does not know it.
        package var currentLeaderEpoch: Int32 = -1
        package var fetchOffset: Int64
        /// -1 where the client does not know it.
        package var lastFetchedEpoch: Int32 = -1
        /// Of a follower; -1 of a consumer.
        package var logStartOffset: Int64 = -1
        package var partitionMaxBytes: Int32
        package var replicaDirectoryID: KafkaUUID = .zero
        package var highWatermark = Int64.max
    }

    package enum Event {
        case topic(Topic)
        case partition(Partition)
    }

    package let version: Int16
    package let maxWaitMs: Int32
    package let minBytes: Int32
    package let maxBytes: Int32
    /// 0: read uncommitted, 1: read committed.
    package let isolationLevel: Int8
    /// 0: no session. Versions 7+.
    package private(set) var sessionID: Int32 = 0
    /// -1: no session, 0: a new one. Versions 7+.
    package private(set) var sessionEpoch: Int32 = -1
    /// -1: a consumer. In every version, wherever it stands.
    package private(set) var replicaID: Int32 = -1
    package private(set) var replicaEpoch: Int64 = -1
    /// Nil before version 11, and where the client does not say.
    package private(set) var rackID = UnsafeRawBufferPointer(start: nil, count: 0)
    package private(set) var clusterID: UnsafeRawBufferPointer?
    package let topicCount: Int
    /// Of all topics together.
    package private(set) var partitionCount = 0
    /// The partitions to take out of the session. Versions 7+.
    package private(set) var forgottenTopics: ForgottenTopicsWalker

    private let flexible: Bool
    private var reader: ByteReader
    private var topicsLeft: Int
    private var partitionsLeft = 0
    private var isInTopic = false

    /// - Parameter position: where the request's body begins in `frame`.
    package init(_ frame: UnsafeRawBufferPointer, from position: Int, version: Int16) throws(DecodingError) {
        guard FetchRequest.validVersions.contains(version) else { throw .unsupportedVersion(version) }
        self.version = version
        self.flexible = FetchRequest.isFlexible(version)
        self.reader = ByteReader(frame, from: position)
        if version <= 14 { self.replicaID = try self.reader.readInt32() }
        self.maxWaitMs = try self.reader.readInt32()
        self.minBytes = try self.reader.readInt32()
        self.maxBytes = try self.reader.readInt32()
        self.isolationLevel = try self.reader.readInt8()
        if version >= 7 {
            self.sessionID = try self.reader.readInt32()
            self.sessionEpoch = try self.reader.readInt32()
        }
        self.topicCount = try self.reader.readViewCount(flexible: self.flexible, minimumSize: 3)
        self.topicsLeft = self.topicCount
        self.forgottenTopics = ForgottenTopicsWalker(reader: self.reader, version: version, topicCount: 0)

        var check = self.reader
        self.partitionCount = try Self.check(&check, topics: self.topicCount, version: version)
        try self.readTail(from: check)
    }

    /// Goes over the topics; gives the number of partitions.
    private static func check(
        _ reader: inout ByteReader, topics: Int, version: Int16
    ) throws(DecodingError) -> Int {
        let flexible = FetchRequest.isFlexible(version)
        let partitionSize = Self.partitionSize(version)
        var partitions = 0
        // Not `for _ in`: without optimization a range's iterator costs memory.
        var topicsLeft = topics
        while topicsLeft > 0 {
            topicsLeft &-= 1
            _ = try reader.readTopicView(flexible: flexible, hasID: version >= 13)
            let count = try reader.readViewCount(flexible: flexible, minimumSize: 16)
            var partitionsLeft = count
            while partitionsLeft > 0 {
                partitionsLeft &-= 1
                try reader.skip(partitionSize)
                if flexible, !reader.passNoTaggedFields() { _ = try Self.readTags(&reader, version) }
            }
            if flexible { try reader.skipTaggedFields() }
            partitions &+= count
        }
        return partitions
    }

    /// The next topic or partition; nil at the end.
    package mutating func next() -> Event? {
        // It has been checked, so it does not throw.
        try? self.read()
    }

    @inline(__always)
    private mutating func read() throws(DecodingError) -> Event? {
        if self.partitionsLeft > 0 {
            self.partitionsLeft &-= 1
            return .partition(try self.readPartition())
        }
        if self.isInTopic {
            self.isInTopic = false
            if self.flexible { try self.reader.skipTaggedFields() }
        }
        guard self.topicsLeft > 0 else { return nil }
        self.topicsLeft &-= 1
        let (name, id) = try self.reader.readTopicView(flexible: self.flexible, hasID: self.version >= 13)
        let count = try self.reader.readViewCount(flexible: self.flexible, minimumSize: 16)
        self.isInTopic = true
        self.partitionsLeft = count
        return .topic(Topic(name: name, id: id, partitionCount: count))
    }

    /// Bytes of a partition before its tagged fields.
    private static func partitionSize(_ version: Int16) -> Int {
        16 + (version >= 5 ? 8 : 0) + (version >= 9 ? 4 : 0) + (version >= 12 ? 4 : 0)
    }

    @inline(__always)
    private mutating func readPartition() throws(DecodingError) -> Partition {
        // One check for the fields of a fixed size, all of them.
        let start = try self.reader.skip(Self.partitionSize(self.version))
        let (hasStart, hasEpochs, hasLastEpoch) = (self.version >= 5, self.version >= 9, self.version >= 12)
        let atOffset = start &+ (hasEpochs ? 8 : 4)
        let atStart = atOffset &+ (hasLastEpoch ? 12 : 8)
        let atMaxBytes = atStart &+ (hasStart ? 8 : 0)
        var result = Partition(
            partition: self.reader.integer(at: start), fetchOffset: self.reader.integer(at: atOffset),
            partitionMaxBytes: self.reader.integer(at: atMaxBytes))
        if hasEpochs { result.currentLeaderEpoch = self.reader.integer(at: start &+ 4) }
        if hasLastEpoch { result.lastFetchedEpoch = self.reader.integer(at: atOffset &+ 8) }
        if hasStart { result.logStartOffset = self.reader.integer(at: atStart) }
        if self.flexible, !self.reader.passNoTaggedFields() {
            let tags = try Self.readTags(&self.reader, self.version)
            result.replicaDirectoryID = tags.replicaDirectoryID
            result.highWatermark = tags.highWatermark
        }
        return result
    }

    @inline(never)
    private static func readTags(
        _ reader: inout ByteReader, _ version: Int16
    ) throws(DecodingError) -> (replicaDirectoryID: KafkaUUID, highWatermark: Int64) {
        var result = (replicaDirectoryID: KafkaUUID.zero, highWatermark: Int64.max)
        var tags = try TaggedFieldReader(&reader)
        while let tag = try tags.next(&reader) {
            switch tag {
            case 0 where version >= 17: result.replicaDirectoryID = try reader.readUUID()
            case 1 where version >= 18: result.highWatermark = try reader.readInt64()
            default: try reader.skip(reader.remaining)
            }
        }
        return result
    }

    /// What stands behind the topics.
    private mutating func readTail(from start: ByteReader) throws(DecodingError) {
        var reader = start
        if self.version >= 7 {
            let count = try reader.readViewCount(flexible: self.flexible, minimumSize: 3)
            self.forgottenTopics = ForgottenTopicsWalker(reader: reader, version: self.version, topicCount: count)
            var check = self.forgottenTopics
            while try check.read() != nil {}
            reader = check.reader
        }
        if self.version >= 11 {
            guard let rack = try reader.readStringView(flexible: self.flexible) else { throw .unexpectedNull }
            self.rackID = rack
        }
        guard self.flexible else { return }
        var tags = try TaggedFieldReader(&reader)
        while let tag = try tags.next(&reader) {
            switch tag {
            case 0:
                self.clusterID = try reader.readStringView(flexible: true)
            case 1 where self.version >= 15:
                self.replicaID = try reader.readInt32()
                self.replicaEpoch = try reader.readInt64()
                try reader.skipTaggedFields()
            default:
                try reader.skip(reader.remaining)
            }
        }
    }
}

/// The part of a Fetch request that names what to take out of the session.
package struct ForgottenTopicsWalker {
    package enum Event {
        /// The name is empty from version 13 on, the id zero before.
        case topic(name: UnsafeRawBufferPointer, id: KafkaUUID)
        case partition(Int32)
    }

    package let topicCount: Int
    fileprivate var reader: ByteReader
    private let version: Int16
    private let flexible: Bool
    private var topicsLeft: Int
    private var partitionsLeft = 0
    private var isInTopic = false

    fileprivate init(reader: ByteReader, version: Int16, topicCount: Int) {
        self.reader = reader
        self.version = version
        self.flexible = FetchRequest.isFlexible(version)
        self.topicCount = topicCount
        self.topicsLeft = topicCount
    }

    /// The next topic or partition; nil at the end.
    package mutating func next() -> Event? {
        // It has been checked, so it does not throw.
        try? self.read()
    }

    fileprivate mutating func read() throws(DecodingError) -> Event? {
        if self.partitionsLeft > 0 {
            self.partitionsLeft &-= 1
            return .partition(try self.reader.readInt32())
        }
        if self.isInTopic {
            self.isInTopic = false
            if self.flexible { try self.reader.skipTaggedFields() }
        }
        guard self.topicsLeft > 0 else { return nil }
        self.topicsLeft &-= 1
        let (name, id) = try self.reader.readTopicView(flexible: self.flexible, hasID: self.version >= 13)
        self.partitionsLeft = try self.reader.readViewCount(flexible: self.flexible, minimumSize: 4)
        self.isInTopic = true
        return .topic(name: name, id: id)
    }
}
