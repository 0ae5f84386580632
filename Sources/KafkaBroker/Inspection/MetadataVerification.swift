import Glibc
import KafkaLog
import KafkaMetadata

/// Compares the metadata store of a data folder with the partitions' folders in it. SQLite would write beside the file it
/// reads, so a copy of it is read.
package enum MetadataVerification {
    package static func check(
        _ folder: String, _ partitions: [FolderVerification.FoundPartition]
    ) -> [InspectedLine] {
        let name = LocalMetadataStore.sqliteFileName
        let path = folder + "/" + name
        guard access(path, F_OK) == 0 else { return [] }
        var template = Array("/tmp/ottla-verify-XXXXXX".utf8CString)
        guard let made = mkdtemp(&template) else {
            return [
                line("note", path, "cannot be looked into: no room for a copy (\(String(cString: strerror(errno))))")
            ]
        }
        let copy = String(cString: made)
        defer {
            for suffix in ["", "-wal", "-shm", "-journal"] { unlink(copy + "/" + name + suffix) }
            rmdir(copy)
        }
        for suffix in ["", "-wal"] where access(path + suffix, F_OK) == 0 {
            guard copyFile(path + suffix, copy + "/" + name + suffix) else {
                return [line("note", path, "cannot be copied to be looked into")]
            }
        }
        do {
            let store = try LocalMetadataStore.sqlite(path: copy + "/" + name)
            defer { store.close() }
            let read = try store.readAndWait(.all)
            return self.compare(MetadataImage(entries: read.entries, revision: read.revision), partitions, path)
        } catch {
            return [line("damage", path, "\(error)")]
        }
    }

    private static func compare(
        _ image: MetadataImage, _ partitions: [FolderVerification.FoundPartition], _ path: String
    ) -> [InspectedLine] {
        var lines: [InspectedLine] = []
        var there: Set<TopicPartition> = []
        for found in partitions {
            let partition = TopicPartition(topic: found.topic, partition: found.partition)
            there.insert(partition)
            guard let topic = image.topic(found.topic) else {
                lines.append(line("note", path, "does not know a topic that has a folder", partition))
                continue
            }
            if let id = found.topicID, id != topic.id {
                lines.append(
                    line("damage", path, "says that the topic's id is \(topic.id), its folder \(id)", partition))
            } else if Int(found.partition) >= topic.partitions.count {
                lines.append(
                    line("note", path, "gives the topic \(topic.partitions.count) partitions", partition))
            }
        }
        for topic in image.topics.sorted(by: { $0.name < $1.name }) {
            for index in topic.partitions.indices {
                let partition = TopicPartition(topic: topic.name, partition: Int32(index))
                if !there.contains(partition) {
                    // It may be in another of several data folders.
                    lines.append(line("note", path, "knows a partition that has no folder here", partition))
                }
            }
        }
        return lines
    }

    private static func line(
        _ kind: String, _ path: String, _ what: String, _ partition: TopicPartition? = nil
    ) -> InspectedLine {
        var fields: [InspectedValue.Field] = []
        if let partition {
            fields.append(.init("topic", .text(partition.topic)))
            fields.append(.init("partition", .int(partition.partition)))
        }
        return InspectedLine(kind, fields + [.init("file", .text(path)), .init("what", .text(what))])
    }

    private static func copyFile(_ from: String, _ to: String) -> Bool {
        let source = open(from, O_RDONLY | O_CLOEXEC)
        let target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        defer {
            close(source)
            close(target)
        }
        guard source >= 0, target >= 0 else { return false }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = read(source, &buffer, buffer.count)
            if count == 0 { return true }
            guard count > 0, write(target, buffer, count) == count else { return false }
        }
    }
}
