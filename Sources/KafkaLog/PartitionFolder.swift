import KafkaPrimitives

/// The names of the files in a partition's folder, and the small files there.
struct PartitionFolder: Sendable {
    let path: String

    enum Suffix: String, CaseIterable, Sendable {
        case log, index, timeindex, txnindex, snapshot
    }

    static let partitionMetadata = "partition.metadata"
    static let leaderEpochs = "leader-epoch-checkpoint"
    /// The file of the next segment, made before its name is known.
    static let nextSegment = "ottla-next-segment"

    func path(_ offset: Int64, _ suffix: Suffix) -> String {
        self.path + "/" + Self.name(offset) + "." + suffix.rawValue
    }

    /// An offset in 20 digits, so that names sort as offsets do.
    static func name(_ offset: Int64) -> String {
        String(unsafeUninitializedCapacity: 20) { digits in
            var rest = offset.magnitude
            for at in (0..<20).reversed() {
                digits[at] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
                rest /= 10
            }
            return 20
        }
    }

    /// The offset and suffix of a name such as `00000000000000000042.log`; nil for any other.
    static func parse(_ name: String) -> (offset: Int64, suffix: Substring)? {
        let utf8 = name.utf8
        guard utf8.count > 21 else { return nil }
        var offset: Int64 = 0
        var at = utf8.startIndex
        for _ in 0..<20 {
            guard let digit = Int64(exactly: Int(utf8[at]) - 48), (0...9).contains(digit) else { return nil }
            let (tens, isTooLarge) = offset.multipliedReportingOverflow(by: 10)
            let (sum, isAbove) = tens.addingReportingOverflow(digit)
            guard !isTooLarge, !isAbove else { return nil }
            offset = sum
            at = utf8.index(after: at)
        }
        guard utf8[at] == UInt8(ascii: ".") else { return nil }
        return (offset, name[utf8.index(after: at)...])
    }

    // MARK: partition.metadata

    /// Nil where there is none or it is not readable as such.
    func readTopicID() throws(IOError) -> KafkaUUID? {
        guard let bytes = try FileSystem.contents(self.path + "/" + Self.partitionMetadata, limit: 4096) else {
            return nil
        }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") where line.hasPrefix("topic_id:") {
            return KafkaUUID(line.dropFirst(9).drop { $0 == " " }.prefix { $0 != " " && $0 != "\r" })
        }
        return nil
    }

    func writeTopicID(_ id: KafkaUUID) throws(IOError) {
        try FileSystem.replace(
            self.path + "/" + Self.partitionMetadata, with: Array("version: 0\ntopic_id: \(id)".utf8), durable: false)
    }

    // MARK: leader-epoch-checkpoint

    func readLeaderEpochs() throws(IOError) -> LeaderEpochCache? {
        guard let bytes = try FileSystem.contents(self.path + "/" + Self.leaderEpochs) else { return nil }
        return LeaderEpochCache(fileContents: bytes)
    }

    func writeLeaderEpochs(_ epochs: LeaderEpochCache, durable: Bool) throws(IOError) {
        try FileSystem.replace(self.path + "/" + Self.leaderEpochs, with: epochs.fileContents, durable: durable)
    }

    // MARK: snapshots

    func readSnapshot(_ offset: Int64) throws(IOError) -> [Int64: ProducerStateEntry]? {
        guard let bytes = try FileSystem.contents(self.path(offset, .snapshot)) else { return nil }
        return ProducerSnapshot.decode(bytes)
    }

    /// One that is not durable may be torn after a power cut; what it says is read from the log then.
    func writeSnapshot(
        _ offset: Int64, _ producers: [Int64: ProducerStateEntry], durable: Bool = false
    ) throws(IOError) {
        try FileSystem.replace(self.path(offset, .snapshot), with: ProducerSnapshot.encode(producers), durable: durable)
    }
}
