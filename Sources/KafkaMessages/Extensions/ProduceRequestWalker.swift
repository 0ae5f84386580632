import KafkaPrimitives

/// Goes through a Produce request where it lies, without an Array, String or Dictionary for anything in it.
///
/// The whole request is checked when the walker is made, so nothing of a damaged one is carried out:
///
///     var walker = try ProduceRequestWalker(frame, from: bodyStart, version: version)
///     while let event = walker.next() {
///         switch event {
///         case .topic(let topic): …
///         case .partition(let partition): …
///         }
///     }
///
/// The views given out are valid as long as the frame. Tagged fields that are not known are passed over; bytes after
/// the request are not looked at, as in Kafka.
package struct ProduceRequestWalker {
    package struct Topic {
        /// Not checked for being UTF-8. Empty from version 13 on.
        package var name: UnsafeRawBufferPointer
        /// Zero before version 13.
        package var id: KafkaUUID
        package var partitionCount: Int
    }

    package struct Partition {
        package var index: Int32
        /// Where the records lie in the frame. Nil: null.
        package var records: Range<Int>?
    }

    package enum Event {
        case topic(Topic)
        case partition(Partition)
    }

    package let version: Int16
    package let transactionalID: UnsafeRawBufferPointer?
    package let acks: Int16
    package let timeoutMs: Int32
    package let topicCount: Int
    /// Of all topics together.
    package private(set) var partitionCount = 0

    private let flexible: Bool
    private var reader: ByteReader
    private var topicsLeft: Int
    private var partitionsLeft = 0
    private var isInTopic = false

    /// - Parameter position: where the request's body begins in `frame`.
    package init(_ frame: UnsafeRawBufferPointer, from position: Int, version: Int16) throws(DecodingError) {
        guard ProduceRequest.validVersions.contains(version) else { throw .unsupportedVersion(version) }
        self.version = version
        self.flexible = ProduceRequest.isFlexible(version)
        self.reader = ByteReader(frame, from: position)
        self.transactionalID = try self.reader.readStringView(flexible: self.flexible)
        self.acks = try self.reader.readInt16()
        self.timeoutMs = try self.reader.readInt32()
        self.topicCount = try self.reader.readViewCount(flexible: self.flexible, minimumSize: 3)
        self.topicsLeft = self.topicCount

        self.partitionCount = try Self.check(self.reader, topics: self.topicCount, version: version)
    }

    /// Goes over the topics and what follows them; gives the number of partitions.
    private static func check(
        _ start: ByteReader, topics: Int, version: Int16
    ) throws(DecodingError) -> Int {
        let flexible = ProduceRequest.isFlexible(version)
        var reader = start
        var partitions = 0
        // Not `for _ in`: without optimization a range's iterator costs memory.
        var topicsLeft = topics
        while topicsLeft > 0 {
            topicsLeft &-= 1
            let topic = try Self.readTopic(&reader, flexible: flexible, version: version)
            var partitionsLeft = topic.partitionCount
            while partitionsLeft > 0 {
                partitionsLeft &-= 1
                _ = try Self.readPartition(&reader, flexible: flexible)
            }
            if flexible { try reader.skipTaggedFields() }
            partitions &+= topic.partitionCount
        }
        if flexible { try reader.skipTaggedFields() }
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
            return .partition(try Self.readPartition(&self.reader, flexible: self.flexible))
        }
        if self.isInTopic {
            self.isInTopic = false
            if self.flexible { try self.reader.skipTaggedFields() }
        }
        guard self.topicsLeft > 0 else { return nil }
        self.topicsLeft &-= 1
        let topic = try Self.readTopic(&self.reader, flexible: self.flexible, version: self.version)
        self.isInTopic = true
        self.partitionsLeft = topic.partitionCount
        return .topic(topic)
    }

    private static func readTopic(
        _ reader: inout ByteReader, flexible: Bool, version: Int16
    ) throws(DecodingError) -> Topic {
        let (name, id) = try reader.readTopicView(flexible: flexible, hasID: version >= 13)
        let count = try reader.readViewCount(flexible: flexible, minimumSize: flexible ? 6 : 8)
        return Topic(name: name, id: id, partitionCount: count)
    }

    @inline(__always)
    private static func readPartition(
        _ reader: inout ByteReader, flexible: Bool
    ) throws(DecodingError) -> Partition {
        let index = try reader.readInt32()
        let length = try reader.readBytesLength(flexible: flexible)
        var records: Range<Int>?
        if length >= 0 {
            let start = try reader.skip(length)
            records = start..<(start &+ length)
        }
        if flexible { try reader.skipTaggedFields() }
        return Partition(index: index, records: records)
    }
}

extension ByteReader {
    /// A view of a string; nil for null.
    mutating func readStringView(flexible: Bool) throws(DecodingError) -> UnsafeRawBufferPointer? {
        let length = try self.readStringLength(flexible: flexible)
        return length < 0 ? nil : try self.readView(length)
    }

    /// The count of an array that must not be null.
    mutating func readViewCount(flexible: Bool, minimumSize: Int) throws(DecodingError) -> Int {
        let count = try self.readArrayCount(flexible: flexible, minimumSize: minimumSize)
        guard count >= 0 else { throw .unexpectedNull }
        return count
    }

    /// A topic's name or, instead of it, its id.
    mutating func readTopicView(
        flexible: Bool, hasID: Bool
    ) throws(DecodingError) -> (name: UnsafeRawBufferPointer, id: KafkaUUID) {
        if hasID { return (UnsafeRawBufferPointer(start: nil, count: 0), try self.readUUID()) }
        guard let name = try self.readStringView(flexible: flexible) else { throw .unexpectedNull }
        return (name, .zero)
    }
}
