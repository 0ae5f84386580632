import KafkaPrimitives
import KafkaRecords
import Synchronization

/// The sealed segments of a partition, as the marks file has them: with a mark of the same version a start needs no look
/// into the partition's folder.
struct SegmentList: Sendable, Equatable {
    struct Segment: Sendable, Equatable {
        var baseOffset: Int64
        var size: Int
        /// The greatest timestamp; nil where it was not known.
        var largest: TimestampOffset?
    }

    var partition: TopicPartition
    var topicID: KafkaUUID
    var version: UInt32
    /// By offset, oldest first.
    var segments: [Segment]
}

extension SegmentList {
    private static let format: UInt8 = 1

    func encode(into bytes: inout Bytes) {
        bytes.put(Self.format)
        bytes.put(self.partition.topic)
        bytes.put(self.partition.partition)
        bytes.put(self.topicID.high)
        bytes.put(self.topicID.low)
        bytes.put(self.version)
        bytes.put(UInt32(truncatingIfNeeded: self.segments.count))
        for segment in self.segments {
            bytes.put(segment.baseOffset)
            bytes.put(Int64(segment.size))
            bytes.put(segment.largest?.timestamp ?? .min)
            bytes.put(segment.largest?.offset ?? 0)
        }
    }

    /// Nil where the bytes are no list: each segment begins behind the one before it.
    init?(_ reader: inout BytesReader) {
        guard reader.get(UInt8.self) == Self.format, let topic = reader.getString(),
            let number = reader.get(Int32.self), let high = reader.get(UInt64.self), let low = reader.get(UInt64.self),
            let version = reader.get(UInt32.self), let count = reader.get(UInt32.self)
        else { return nil }
        self.partition = TopicPartition(topic: topic, partition: number)
        self.topicID = KafkaUUID(high: high, low: low)
        self.version = version
        self.segments = []
        for _ in 0..<count {
            guard let base = reader.get(Int64.self), let size = reader.get(Int64.self),
                let timestamp = reader.get(Int64.self), let offset = reader.get(Int64.self),
                base > self.segments.last?.baseOffset ?? -1, size >= 0, size <= Int64(Int32.max)
            else { return nil }
            self.segments.append(
                Segment(
                    baseOffset: base, size: Int(size),
                    largest: timestamp == .min ? nil : TimestampOffset(timestamp: timestamp, offset: offset)))
        }
    }
}

/// "The list of this partition's segments is another from now on": written before the list changes, so that after a crash
/// the lists of the others can be believed.
struct SegmentListNote: Sendable, Equatable {
    var partition: TopicPartition
    var topicID: KafkaUUID
    var version: UInt32

    init(partition: TopicPartition, topicID: KafkaUUID, version: UInt32) {
        self.partition = partition
        self.topicID = topicID
        self.version = version
    }

    func encode(into bytes: inout Bytes) {
        bytes.put(self.partition.topic)
        bytes.put(self.partition.partition)
        bytes.put(self.topicID.high)
        bytes.put(self.topicID.low)
        bytes.put(self.version)
    }

    init?(_ reader: inout BytesReader) {
        guard let topic = reader.getString(), let number = reader.get(Int32.self), let high = reader.get(UInt64.self),
            let low = reader.get(UInt64.self), let version = reader.get(UInt32.self)
        else { return nil }
        self.init(
            partition: TopicPartition(topic: topic, partition: number), topicID: KafkaUUID(high: high, low: low),
            version: version)
    }
}

/// The marks files of all data folders, by which a log finds its folder's.
final class MarksOfFolders: Sendable {
    private let all: [BootMarks]

    init(_ all: [BootMarks] = []) { self.all = all }

    /// To be called before the segment list of a partition changes, under its log's lock.
    func note(_ note: SegmentListNote, folder: String) throws(IOError) {
        for marks in self.all where folder.hasPrefix(marks.folder) { return try marks.note(note) }
    }
}

extension PartitionLog {
    /// To be called before a segment is added, replaced or removed, under the lock. After an error
    /// that must not be done.
    func segmentsChange(_ state: inout State) throws(IOError) {
        state.listVersion &+= 1
        self.changed(&state)
        state.marked = nil
        try self.environment.marks.note(
            SegmentListNote(
                partition: self.topicPartition, topicID: self.topicID, version: state.listVersion),
            folder: self.folder.path)
    }

    /// The segments, where the marks file does not have this list of them yet.
    func takeSegmentList(always: Bool) -> SegmentList? {
        self.state.withLock { state in
            guard state.status != .deleted, !state.sealed.isEmpty, always || state.listNoted != state.listVersion,
                // After a crash the folder must be looked into.
                state.cleaning?.hasUnfinishedFiles != true
            else { return nil }
            state.listNoted = state.listVersion
            return SegmentList(
                partition: self.topicPartition, topicID: self.topicID, version: state.listVersion,
                segments: state.sealed.map {
                    SegmentList.Segment(baseOffset: $0.baseOffset, size: $0.size, largest: $0.knownLargestTimestamp)
                })
        }
    }
}
