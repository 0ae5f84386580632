import Glibc
import KafkaPrimitives

/// Reads a whole data folder and says what is wrong with it. Never writes.
package struct FolderVerification {
    /// What was found, in numbers.
    package struct Summary: Sendable, Equatable {
        package var partitions = 0
        package var segments = 0
        package var batches = 0
        package var bytes = 0
        package var damages = 0
        package var notes = 0
    }

    /// A partition's folder, for who knows which there should be.
    package struct FoundPartition: Sendable {
        package var topic: String
        package var partition: Int32
        package var topicID: KafkaUUID?
    }

    private let path: String
    private let emit: (InspectedLine) -> Void
    private var summary = Summary()
    private var found: [FoundPartition] = []
    private var ends: [TopicPartition: (first: Int64, end: Int64)] = [:]

    /// Whether a broker is at work in the folder: it holds a lock then.
    package static func isInUse(_ path: String) throws(IOError) -> Bool {
        let lock = path + "/.lock"
        let file: LogFile
        do throws(IOError) { file = try FileSystem.open(lock, .readWrite) } catch {
            // Never used, or not ours to write: then nobody can be told to hold it.
            if error.code == ENOENT || error.code == EACCES || error.code == EROFS { return false }
            throw error
        }
        return try !FileSystem.lock(file, path: lock)
    }

    /// - Parameter more: looks at what is no log, such as the metadata, and gives its findings.
    package static func run(
        _ path: String, more: (String, [FoundPartition]) -> [InspectedLine] = { _, _ in [] },
        emit: @escaping (InspectedLine) -> Void
    ) throws(IOError) -> Summary {
        var verification = FolderVerification(path: path, emit: emit)
        try verification.run()
        for line in more(path, verification.found) {
            if line.kind == "damage" { verification.summary.damages += 1 } else { verification.summary.notes += 1 }
            emit(line)
        }
        return verification.summary
    }

    private init(path: String, emit: @escaping (InspectedLine) -> Void) {
        self.path = path
        self.emit = emit
    }

    private mutating func add(
        _ isDamage: Bool, _ partition: TopicPartition?, offset: Int64?, file: String, _ what: String
    ) {
        if isDamage { self.summary.damages += 1 } else { self.summary.notes += 1 }
        var fields: [InspectedValue.Field] = []
        if let partition {
            fields.append(.init("topic", .text(partition.topic)))
            fields.append(.init("partition", .int(partition.partition)))
        }
        if let offset { fields.append(.init("offset", .int(offset))) }
        fields.append(.init("file", .text(file)))
        fields.append(.init("what", .text(what)))
        self.emit(InspectedLine(isDamage ? "damage" : "note", fields))
    }

    private mutating func run() throws(IOError) {
        let names = try FileSystem.list(self.path).sorted()
        let wasClean = names.contains(LogDirectory.cleanShutdown)
        if !wasClean {
            self.add(
                false, nil, offset: nil, file: self.path, "was not closed cleanly: the next start looks it through")
        }
        self.checkIdentity(names)
        for name in names {
            let path = self.path + "/" + name
            guard try FileSystem.status(path)?.isDirectory == true else { continue }
            guard let partition = TopicPartition(directoryName: name) else {
                self.add(false, nil, offset: nil, file: path, "is no partition's folder; it is left alone")
                continue
            }
            // Kafka's own metadata, in a folder that was taken over, is as Kafka left it.
            let isForeign = name == KafkaFolder.metadataLog && names.contains(BootMarks.name)
            self.checkPartition(partition, PartitionFolder(path: path), wasClean && !isForeign)
        }
        try self.checkCheckpoints(names)
    }

    private mutating func checkIdentity(_ names: [String]) {
        let path = self.path + "/" + MetaProperties.name
        guard names.contains(MetaProperties.name) else {
            return self.add(true, nil, offset: nil, file: path, "is not there")
        }
        do throws(LogDirectoryError) { _ = try MetaProperties.read(self.path) } catch {
            self.add(true, nil, offset: nil, file: path, "\(error)")
        }
    }

    private mutating func checkPartition(_ partition: TopicPartition, _ folder: PartitionFolder, _ wasClean: Bool) {
        do throws(IOError) {
            let result = try PartitionVerification.run(folder, wasClean: wasClean)
            self.summary.partitions += 1
            self.summary.segments += result.segments
            self.summary.batches += result.batches
            self.summary.bytes += result.bytes
            self.ends[partition] = (result.firstOffset, result.logEndOffset)
            self.found.append(
                FoundPartition(
                    topic: partition.topic, partition: partition.partition, topicID: try folder.readTopicID()))
            for finding in result.findings {
                let file = finding.file.isEmpty ? folder.path : folder.path + "/" + finding.file
                self.add(finding.isDamage, partition, offset: finding.offset, file: file, finding.what)
            }
        } catch {
            self.add(true, partition, offset: nil, file: folder.path, "\(error)")
        }
    }

    // MARK: checkpoints

    private mutating func checkCheckpoints(_ names: [String]) throws(IOError) {
        for name in names where name.hasSuffix("-checkpoint") {
            let path = self.path + "/" + name
            guard let bytes = try FileSystem.contents(path) else { continue }
            guard let offsets = Checkpoint.decodeOffsets(bytes) else {
                self.add(true, nil, offset: nil, file: path, "no checkpoint of version 0 can be read from it")
                continue
            }
            for (partition, offset) in offsets.sorted(by: { $0.key.description < $1.key.description }) {
                guard let log = self.ends[partition] else {
                    self.add(false, partition, offset: offset, file: path, "there is no such partition here")
                    continue
                }
                if offset > log.end {
                    self.add(true, partition, offset: offset, file: path, "is behind the log's end, \(log.end)")
                }
            }
        }
    }
}
