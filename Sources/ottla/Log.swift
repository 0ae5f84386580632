import ArgumentParser
import Glibc
import KafkaBroker
import KafkaLog

struct Log: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks into the files of a data folder; changes nothing in them.",
        subcommands: [LogDump.self, LogVerify.self])
}

struct LogDump: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dump",
        abstract: "Says what is in files of a data folder, as kafka-dump-log does.",
        discussion: """
            Files: .log .index .timeindex .txnindex .snapshot .checkpoint (and these with .swap,
            .deleted or .cleaned behind), leader-epoch-checkpoint and the other checkpoints,
            partition.metadata, meta.properties.

            Examples:

              ottla log dump ottla-data/orders-0/00000000000000000000.log
              ottla log dump --print-data-log ottla-data/__consumer_offsets-3/*.log
              ottla log dump --verify --json ottla-data/orders-0/*.index

            It ends with 0, or with 1 when a file cannot be read or something in it is wrong.
            """)

    enum Decoder: String, ExpressibleByArgument, CaseIterable {
        case offsets, transactions, shares, metadata, none

        var topic: String {
            switch self {
            case .offsets: "__consumer_offsets"
            case .transactions: "__transaction_state"
            case .shares: "__share_group_state"
            case .metadata: "__cluster_metadata"
            case .none: ""
            }
        }
    }

    @Argument(help: "Files to look into.")
    var files: [String]

    @Flag(
        name: [.long, .customLong("deep-iteration")],
        help: "Records too, not only batches.")
    var deep = false

    @Flag(name: .long, help: "Keys, values and headers of records too; those of internal topics in words.")
    var printDataLog = false

    @Flag(
        name: [.long, .customLong("index-sanity-check")],
        help: "Compares an index with the log beside it.")
    var verify = false

    @Flag(name: .long, help: "One JSON object a line.")
    var json = false

    @Option(
        name: .long,
        help:
            "Whose records they are: offsets, transactions, shares, metadata or none. By default the folder's name tells."
    )
    var decoder: Decoder?

    func run() throws {
        var options = DumpOptions()
        options.deep = self.deep || self.printDataLog
        options.printData = self.printDataLog
        options.verify = self.verify
        options.topic = self.decoder?.topic
        options.decoder = InternalRecords.decode
        let output = StandardOutput()
        var isSound = true
        for file in self.files {
            let json = self.json
            let isRight = LogInspection.dump(file, options) { line in
                output.print(json ? line.json : line.kind == "file" ? "Dumping \(file)" : line.text)
            }
            if !isRight { isSound = false }
        }
        output.flush()
        if !isSound { throw ExitCode(1) }
    }
}

struct LogVerify: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Reads a whole data folder and says what is wrong with it.",
        discussion: """
            Every batch's CRC and offsets, every index, time index and transaction index against its
            log, snapshots, leader epochs, checkpoints and the metadata against the logs. It writes
            nothing, and no broker may be running on the folder.

            Damage is what a start would have to repair or could not; notes are what is worth
            knowing. It ends with 0, or with 1 when there is damage or the folder is in use.
            """)

    @Argument(help: "A data folder (one of log.dirs).")
    var folder: String

    @Flag(name: .long, help: "One JSON object a line.")
    var json = false

    func run() throws {
        let output = StandardOutput()
        defer { output.flush() }
        func print(_ line: InspectedLine) { output.print(self.json ? line.json : line.text) }
        do {
            guard try !FolderVerification.isInUse(self.folder) else {
                print(
                    InspectedLine(
                        "damage",
                        [
                            .init("file", .text(self.folder)),
                            .init(
                                "what",
                                .text("a broker is running on it: what it is writing cannot be told from damage")),
                        ]))
                throw ExitCode(1)
            }
            let summary = try FolderVerification.run(self.folder, more: MetadataVerification.check, emit: print)
            print(
                InspectedLine(
                    "summary",
                    [
                        .init("partitions", .int(summary.partitions)), .init("segments", .int(summary.segments)),
                        .init("batches", .int(summary.batches)), .init("bytes", .int(summary.bytes)),
                        .init("damages", .int(summary.damages)), .init("notes", .int(summary.notes)),
                    ]))
            if summary.damages > 0 { throw ExitCode(1) }
        } catch let error as IOError {
            print(InspectedLine("damage", [.init("file", .text(self.folder)), .init("what", .text("\(error)"))]))
            throw ExitCode(1)
        }
    }
}

/// Lines to standard output, a block of them at a time.
private final class StandardOutput {
    private var bytes: [UInt8] = []

    func print(_ line: String) {
        self.bytes.append(contentsOf: line.utf8)
        self.bytes.append(10)
        if self.bytes.count > 1 << 16 { self.flush() }
    }

    func flush() {
        var done = 0
        while done < self.bytes.count {
            let count = self.bytes[done...].withUnsafeBytes { write(1, $0.baseAddress, $0.count) }
            // Whoever read has gone (a pipe to head).
            guard count > 0 else { exit(0) }
            done += count
        }
        self.bytes.removeAll(keepingCapacity: true)
    }
}
