import KafkaRecords

/// What keys and values of internal topics say; who knows their messages provides it.
package typealias RecordDecoder =
    @Sendable (_ topic: String, _ key: UnsafeRawBufferPointer?, _ value: UnsafeRawBufferPointer?) -> (
        key: InspectedValue, value: InspectedValue
    )?

/// What `ottla log dump` is asked for.
package struct DumpOptions: Sendable {
    /// Records too, not only batches.
    package var deep = false
    /// Keys, values and headers too.
    package var printData = false
    /// Compares an index with its log.
    package var verify = false
    package var decoder: RecordDecoder?
    /// Decodes as this topic's records; nil: the topic that the folder's name tells.
    package var topic: String?
    /// Batches that are longer, or unpack to more, are not looked into.
    package var maxBatchBytes = 128 << 20

    package init() {}
}

/// Reads one file of a data folder and says what is in it. Never writes; memory is bounded by `maxBatchBytes`.
package struct LogInspection {
    let path: String
    let options: DumpOptions
    let emit: (InspectedLine) -> Void
    /// Nothing was wrong so far.
    private(set) var isSound = true

    package init(_ path: String, _ options: DumpOptions, emit: @escaping (InspectedLine) -> Void) {
        self.path = path
        self.options = options
        self.emit = emit
    }

    /// - Returns: whether the file could be read and nothing in it is wrong.
    package static func dump(
        _ path: String, _ options: DumpOptions, emit: @escaping (InspectedLine) -> Void
    ) -> Bool {
        var inspection = LogInspection(path, options, emit: emit)
        do throws(IOError) { try inspection.run() } catch {
            inspection.damage("\(error)")
        }
        return inspection.isSound
    }

    private mutating func run() throws(IOError) {
        self.emit(InspectedLine("file", [.init("file", .text(self.path))]))
        switch FileKind(self.path) {
        case .log: try self.dumpBatches()
        case .offsetIndex: try self.dumpOffsetIndex()
        case .timeIndex: try self.dumpTimeIndex()
        case .transactionIndex: try self.dumpTransactionIndex()
        case .snapshot: try self.dumpSnapshot()
        case .leaderEpochs: try self.dumpCheckpoint(["epoch", "startOffset"])
        case .checkpoint: try self.dumpCheckpoint(["topic", "partition", "offset"])
        case .transactionChecks: try self.dumpCheckpoint(["baseOffset", "entries", "crc"])
        case .properties(let separator): try self.dumpProperties(separator)
        case .plain: try self.dumpPlain()
        case .unknown: self.damage("a file of a kind that is not known")
        }
    }

    mutating func damage(_ what: String, _ more: [InspectedValue.Field] = []) {
        self.isSound = false
        self.emit(
            InspectedLine("damage", [.init("file", .text(self.path))] + more + [.init("what", .text(what))]))
    }

    func note(_ what: String) {
        self.emit(InspectedLine("note", [.init("file", .text(self.path)), .init("what", .text(what))]))
    }

    /// The path of the same segment's other file.
    func sibling(_ suffix: PartitionFolder.Suffix) -> String {
        let name = self.path.split(separator: "/").last ?? ""
        let leftover = FileKind.leftovers.first { name.hasSuffix($0) } ?? ""
        return FileSystem.parent(of: self.path) + "/" + name.prefix(20) + "." + suffix.rawValue + leftover
    }

    var topic: String {
        if let topic = self.options.topic { return topic }
        let folder = FileSystem.parent(of: self.path).split(separator: "/").last ?? ""
        return folder.lastIndex(of: "-").map { String(folder[..<$0]) } ?? String(folder)
    }

    /// The offset in the file's name, 0 where it has none.
    var baseOffset: Int64 {
        let name = self.path.split(separator: "/").last ?? ""
        return Int64(name.prefix(20)) ?? 0
    }
}

/// The kinds of files in a data folder, by name.
enum FileKind: Equatable {
    case log, offsetIndex, timeIndex, transactionIndex, snapshot, leaderEpochs, checkpoint, transactionChecks
    case plain, unknown
    case properties(Character)

    static let leftovers = [".deleted", ".swap", ".cleaned", ".tmp"]

    init(_ path: String) {
        var name = path.split(separator: "/").last.map(String.init) ?? ""
        for leftover in Self.leftovers where name.hasSuffix(leftover) {
            name.removeLast(leftover.count)
        }
        switch name {
        case PartitionFolder.leaderEpochs: self = .leaderEpochs
        case TransactionIndexChecks.name: self = .transactionChecks
        case PartitionFolder.partitionMetadata: self = .properties(":")
        case MetaProperties.name: self = .properties("=")
        case LogDirectory.cleanShutdown, "quorum-state": self = .plain
        // A snapshot of Kafka's metadata: batches, as a log.
        case _ where name.hasSuffix(".checkpoint"): self = .log
        case _ where name.hasSuffix("-checkpoint"): self = .checkpoint
        case _ where name.hasSuffix(".log"): self = .log
        case _ where name.hasSuffix(".index"): self = .offsetIndex
        case _ where name.hasSuffix(".timeindex"): self = .timeIndex
        case _ where name.hasSuffix(".txnindex"): self = .transactionIndex
        case _ where name.hasSuffix(".snapshot"): self = .snapshot
        default: self = .unknown
        }
    }
}
