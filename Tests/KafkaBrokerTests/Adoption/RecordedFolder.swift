import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

@testable import KafkaBroker

/// A copy of one of the data folders that Kafka 4.3 left in Tests/Vectors; gone with this object.
final class RecordedFolder {
    enum Kind: String, CaseIterable, Sendable { case clean, killed }

    let root: String
    let path: String

    init(_ kind: Kind) throws {
        var template = Array("/tmp/ottla-kafka-XXXXXX".utf8CString)
        guard let root = mkdtemp(&template) else { throw TestFailure("mkdtemp: \(errno)") }
        self.root = String(cString: root)
        self.path = "\(self.root)/\(kind.rawValue)"
        guard system("tar xzf '\(Self.vectors)/\(kind.rawValue)/folder.tar.gz' -C '\(self.root)'") == 0 else {
            throw TestFailure("the archive \(kind.rawValue) cannot be unpacked")
        }
    }

    deinit { _ = system("rm -rf '\(self.root)'") }

    static let vectors = "\(repository)/Tests/Vectors/kafka-folders"
    private static let repository = #filePath.split(separator: "/").dropLast(4).reduce("") { $0 + "/" + $1 }

    func kafka() throws -> KafkaFolder {
        guard let folder = try KafkaFolder(directory: self.path) else { throw TestFailure("no metadata log") }
        return folder
    }
}

/// Builds the metadata log of a small cluster.
struct MetadataLogWriter {
    private(set) var bytes: [UInt8] = []
    private(set) var nextOffset: Int64 = 0

    static func frame(_ type: UInt8, _ version: UInt8, _ message: [UInt8]) -> [UInt8] { [1, type, version] + message }

    static func frame(_ type: UInt8, _ message: some KafkaMessage, version: Int16) -> [UInt8] {
        self.frame(type, UInt8(version), message.encoded(version: version))
    }

    /// One batch.
    mutating func append(_ frames: [UInt8]...) {
        var builder = RecordBatchBuilder(baseOffset: self.nextOffset)
        for frame in frames { builder.append(timestamp: 1, key: nil, value: frame) }
        self.nextOffset = builder.nextOffset
        self.bytes += builder.build()
    }

    mutating func append(_ type: UInt8, _ message: some KafkaMessage, version: Int16 = 0) {
        self.append(Self.frame(type, message, version: version))
    }

    mutating func appendControl(_ type: ControlRecordType, _ value: [UInt8]) {
        var builder = RecordBatchBuilder(baseOffset: self.nextOffset, isControl: true)
        builder.append(timestamp: 1, key: type.key, value: value)
        self.nextOffset = builder.nextOffset
        self.bytes += builder.build()
    }

    mutating func appendTopic(_ name: String, id: KafkaUUID, replicas: [[Int32]] = [[1]]) {
        var topic = TopicRecord()
        topic.name = name
        topic.topicID = id
        self.append(2, topic)
        for (index, replicas) in replicas.enumerated() {
            var partition = PartitionRecord()
            partition.topicID = id
            partition.partitionID = Int32(index)
            partition.replicas = replicas
            partition.isr = replicas
            partition.leader = replicas.first ?? -1
            partition.leaderEpoch = 0
            partition.partitionEpoch = 0
            partition.directories = replicas.map { _ in Self.directoryID }
            self.append(3, partition, version: 2)
        }
    }

    mutating func appendConfig(_ type: Int8, _ resource: String, _ name: String, _ value: String?) {
        var config = ConfigRecord()
        config.resourceType = type
        config.resourceName = resource
        config.name = name
        config.value = value
        self.append(4, config)
    }

    mutating func appendFeature(_ name: String, _ level: Int16) {
        var feature = FeatureLevelRecord()
        feature.name = name
        feature.featureLevel = level
        self.append(12, feature)
    }

    mutating func appendBroker(_ id: Int32) {
        var broker = RegisterBrokerRecord()
        broker.brokerID = id
        self.append(0, broker, version: 4)
    }

    static let directoryID = KafkaUUID(high: 0x1111_2222_3333_4444, low: 0x8888_9999_aaaa_bbbb)
    static let topicID = KafkaUUID(high: 0x1234_5678_9abc_4def, low: 0x8123_4567_89ab_cdef)

    /// Node 1 with metadata.version 30 and a topic `orders` of one partition.
    static func smallCluster() -> MetadataLogWriter {
        var writer = MetadataLogWriter()
        writer.appendFeature("metadata.version", 30)
        writer.appendBroker(1)
        writer.appendTopic("orders", id: self.topicID)
        return writer
    }

    func log() throws -> KafkaMetadataLog {
        var log = KafkaMetadataLog()
        try log.append(segment: self.bytes, name: "log", baseOffset: 0)
        return log
    }
}
