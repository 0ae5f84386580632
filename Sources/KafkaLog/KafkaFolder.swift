import KafkaPrimitives

/// What Apache Kafka (KRaft) leaves in a data folder beside the partitions, and what kinds of partition folders there
/// are. Looks only: nothing in the folder is changed.
package struct KafkaFolder: Sendable {
    /// The folder of the log of Kafka's controllers.
    package static let metadataLog = "__cluster_metadata-0"

    /// `OFFSET-EPOCH.checkpoint`: everything before an offset of the metadata log, in one file.
    package struct Snapshot: Sendable, Equatable {
        package var name: String
        package var endOffset: Int64
        package var epoch: Int32
    }

    package struct Segment: Sendable, Equatable {
        package var name: String
        package var baseOffset: Int64
        package var size: Int
    }

    /// The folder that `metadataLog` is in.
    package let directory: String
    /// By end offset.
    package let snapshots: [Snapshot]
    /// By base offset.
    package let segments: [Segment]

    /// Nil where the folder has no metadata log.
    package init?(directory: String) throws(IOError) {
        let path = directory + "/" + Self.metadataLog
        guard try FileSystem.status(path)?.isDirectory == true else { return nil }
        var snapshots: [Snapshot] = []
        var segments: [Segment] = []
        for name in try FileSystem.list(path) {
            if let snapshot = Self.snapshot(name) {
                snapshots.append(snapshot)
            } else if let (base, suffix) = PartitionFolder.parse(name), suffix == "log",
                let status = try FileSystem.status(path + "/" + name)
            {
                segments.append(Segment(name: name, baseOffset: base, size: status.size))
            }
        }
        self.directory = directory
        self.snapshots = snapshots.sorted { ($0.endOffset, $0.epoch) < ($1.endOffset, $1.epoch) }
        self.segments = segments.sorted { $0.baseOffset < $1.baseOffset }
    }

    static func snapshot(_ name: String) -> Snapshot? {
        let suffix = ".checkpoint"
        guard name.hasSuffix(suffix), name.utf8.count == 20 + 1 + 10 + suffix.utf8.count else { return nil }
        let parts = name.dropLast(suffix.count).split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, let offset = Int64(parts[0]), let epoch = Int32(parts[1]), offset >= 0, epoch >= 0
        else { return nil }
        return Snapshot(name: name, endOffset: offset, epoch: epoch)
    }

    /// A file of the metadata log, whole; nil where there is none.
    package func contents(_ name: String) throws(IOError) -> [UInt8]? {
        try FileSystem.contents("\(self.directory)/\(Self.metadataLog)/\(name)", limit: 1 << 31)
    }

    /// `bootstrap.checkpoint`, the records that a new metadata log begins with; it lies in the data folder itself.
    package func bootstrap() throws(IOError) -> [UInt8]? {
        try FileSystem.contents(self.directory + "/bootstrap.checkpoint", limit: 1 << 28)
    }

    // MARK: partitions

    /// A folder in a data folder that is a partition, or was one, or is to become one.
    package struct PartitionEntry: Sendable, Equatable {
        package enum Kind: Sendable, Equatable {
            case partition(TopicPartition)
            /// Being moved to another data folder (`-future`).
            case future
            /// Set aside by Kafka, since its metadata did not know it (`-stray`).
            case stray
        }
        package var name: String
        package var kind: Kind
        /// Nil where `partition.metadata` is missing or does not tell.
        package var topicID: KafkaUUID?

        package init(name: String, kind: Kind, topicID: KafkaUUID?) {
            self.name = name
            self.kind = kind
            self.topicID = topicID
        }
    }

    /// Those of one data folder, without the metadata log and what is about to be deleted, in order of name.
    package static func partitions(in directory: String) throws(IOError) -> [PartitionEntry] {
        var entries: [PartitionEntry] = []
        for name in try FileSystem.list(directory).sorted() where name != self.metadataLog {
            var kind: PartitionEntry.Kind?
            if name.hasSuffix("-future") {
                kind = .future
            } else if name.hasSuffix("-stray") {
                kind = .stray
            } else if !name.hasSuffix("-delete") {
                kind = TopicPartition(directoryName: name).map { .partition($0) }
            }
            guard let kind, try FileSystem.status(directory + "/" + name)?.isDirectory == true else { continue }
            entries.append(
                PartitionEntry(
                    name: name, kind: kind, topicID: try PartitionFolder(path: directory + "/" + name).readTopicID()))
        }
        return entries
    }
}
