import KafkaRecords

/// Kafka's text checkpoints, version 0: version, number of lines, lines.
enum Checkpoint {
    static func encode(_ lines: [String]) -> [UInt8] {
        var text = "0\n\(lines.count)\n"
        for line in lines {
            text += line
            text += "\n"
        }
        return Array(text.utf8)
    }

    /// The lines, split at spaces; nil where version, count or form is not as it must be.
    static func decode(_ bytes: [UInt8]) -> [[Substring]]? {
        let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: true)
        guard lines.count >= 2, lines[0].drop(while: { $0 == " " }) == "0", let count = Int(lines[1]),
            count == lines.count - 2
        else { return nil }
        return lines.dropFirst(2).map { $0.split(separator: " ") }
    }

    /// `topic partition offset` of every partition, in a data folder's checkpoint.
    static func encode(_ offsets: [TopicPartition: Int64]) -> [UInt8] {
        let sorted = offsets.sorted {
            ($0.key.topic, $0.key.partition) < ($1.key.topic, $1.key.partition)
        }
        return self.encode(sorted.map { "\($0.key.topic) \($0.key.partition) \($0.value)" })
    }

    /// The same behind a line with its CRC32C.
    static func encode(withSum offsets: [TopicPartition: Int64]) -> [UInt8] {
        let text = self.encode(offsets)
        return Array("\(crc32c(text[...]))\n".utf8) + text
    }

    static func decodeOffsets(withSum bytes: [UInt8]) -> [TopicPartition: Int64]? {
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")),
            let sum = UInt32(String(decoding: bytes[..<end], as: UTF8.self)), sum == crc32c(bytes[(end + 1)...])
        else { return nil }
        return self.decodeOffsets(Array(bytes[(end + 1)...]))
    }

    static func decodeOffsets(_ bytes: [UInt8]) -> [TopicPartition: Int64]? {
        guard let lines = self.decode(bytes) else { return nil }
        var offsets: [TopicPartition: Int64] = [:]
        for line in lines {
            guard line.count == 3, let partition = Int32(line[1]), let offset = Int64(line[2]), partition >= 0,
                offset >= 0
            else { return nil }
            offsets[TopicPartition(topic: String(line[0]), partition: partition)] = offset
        }
        return offsets
    }
}
