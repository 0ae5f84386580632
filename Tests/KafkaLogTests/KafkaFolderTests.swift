import Foundation
import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// The data folders that Kafka 4.3 wrote (Tests/Vectors/kafka-folders), unpacked for a test.
final class RecordedKafkaFolder {
    let root = TemporaryFolder()
    let path: String

    init(_ name: String) throws {
        self.path = self.root.path + "/" + name
        let tar = Process()
        tar.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        tar.arguments = ["tar", "xzf", "\(Self.vectors)/\(name)/folder.tar.gz", "-C", self.root.path]
        try tar.run()
        tar.waitUntilExit()
        try #require(tar.terminationStatus == 0)
    }

    static let vectors =
        #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 } + "/Tests/Vectors/kafka-folders"

    static var expectedLines: [Substring] {
        String(decoding: contents(self.vectors + "/expected.jsonl"), as: UTF8.self).split(separator: "\n")
    }
}

/// Logs that Kafka 4.3 wrote, with what its clients see in them.
@Suite struct KafkaFolderTests {
    struct Expected: Decodable {
        /// Hexadecimal; what repeats is written once.
        enum Content: Decodable, Equatable {
            case bytes([UInt8])

            private struct Repeated: Decodable {
                var `repeat`: String
                var times: Int
            }

            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let text = try? container.decode(String.self) {
                    self = .bytes(Self.bytes(text))
                } else {
                    let repeated = try container.decode(Repeated.self)
                    self = .bytes((0..<repeated.times).flatMap { _ in Self.bytes(repeated.repeat) })
                }
            }

            private static func bytes(_ hex: String) -> [UInt8] {
                let digits = hex.utf8.map { UInt8($0 < 58 ? $0 - 48 : $0 - 87) }
                return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
            }

            var array: [UInt8] {
                switch self {
                case .bytes(let bytes): bytes
                }
            }
        }
        struct Seen: Decodable {
            var offset: Int64
            var timestamp: Int64
            var key: Content?
            var value: Content?
            /// Key and value.
            var headers: [[Content?]]

            enum Keys: CodingKey { case offset, timestamp, key, value, headers }

            init(from decoder: any Decoder) throws {
                let container = try decoder.container(keyedBy: Keys.self)
                self.offset = try container.decode(Int64.self, forKey: .offset)
                self.timestamp = try container.decode(Int64.self, forKey: .timestamp)
                self.key = try container.decode(Content?.self, forKey: .key)
                self.value = try container.decode(Content?.self, forKey: .value)
                self.headers = []
                var list = try container.nestedUnkeyedContainer(forKey: .headers)
                while !list.isAtEnd {
                    var pair = try list.nestedUnkeyedContainer()
                    self.headerNames.append(try pair.decode(String.self))
                    self.headers.append([try pair.decode(Content?.self)])
                }
            }
            var headerNames: [String] = []
        }
        var topic: String
        var partition: Int32
        var topicId: String
        var logStartOffset: Int64
        var endOffset: Int64
        var maxTimestamp: [Int64]
        var offsetsForTimes: [[Int64]]
        var uncommitted: [Seen]?
        var lastStableOffset: Int64
        var committed: [Int64]?
    }

    @Test(arguments: ["clean", "killed"])
    func everyRecordIsThere(name: String) throws {
        let copy = try RecordedKafkaFolder(name)
        func offsets(_ name: String) -> [TopicPartition: Int64] {
            Checkpoint.decodeOffsets(contents(copy.path + "/" + name)) ?? [:]
        }
        let recovery = offsets(LogDirectory.recoveryPoints)
        let starts = offsets(LogDirectory.logStartOffsets)
        var checked = 0
        for line in RecordedKafkaFolder.expectedLines {
            let expected = try JSONDecoder().decode(Expected.self, from: Data(line.utf8))
            checked += 1
            let partition = TopicPartition(topic: expected.topic, partition: expected.partition)
            let folder = PartitionFolder(path: copy.path + "/" + partition.description)
            let (log, report) = try PartitionLog.open(
                partition, topicID: try #require(try folder.readTopicID()), folder: folder, config: LogConfig(),
                environment: LogEnvironment(background: Inline()),
                hints: OpenHints(
                    isClean: name == "clean", recoveryPoint: recovery[partition] ?? 0,
                    logStartOffset: starts[partition] ?? 0), now: 1)
            #expect(log.topicID.description == expected.topicId)
            #expect(log.snapshot.logStartOffset == expected.logStartOffset, "\(partition)")
            #expect(log.logEndOffset == expected.endOffset, "\(partition)")
            #expect(report.bytesCut == 0, "\(partition)")
            if name == "clean" { #expect(report.bytesScanned == 0, "\(partition)") }

            var seen: [Record] = []
            var next = log.snapshot.logStartOffset
            while let slice = try log.read(from: next, maxBytes: 5000, upTo: .max, minOneMessage: true).get().slice {
                let bytes = slice.bytes
                var position = 0
                for header in slice.batches() {
                    try bytes.withUnsafeBytes { bytes in
                        let batch = UnsafeRawBufferPointer(
                            rebasing: bytes[position..<position + header.sizeInBytes])
                        var records = try RecordBatchIterator(batch, scratch: DecompressionScratch())
                        while let record = try records.next() {
                            if !header.isControl && record.offset >= next { seen.append(record.owned()) }
                        }
                    }
                    position += header.sizeInBytes
                    next = header.lastOffset + 1
                }
            }
            if let uncommitted = expected.uncommitted {
                #expect(seen.map(\.offset) == uncommitted.map(\.offset), "\(partition)")
                #expect(seen.map(\.timestamp) == uncommitted.map(\.timestamp), "\(partition)")
                #expect(seen.map(\.key) == uncommitted.map(\.key?.array), "\(partition)")
                #expect(seen.map(\.value) == uncommitted.map(\.value?.array), "\(partition)")
                #expect(seen.map { $0.headers.map(\.key) } == uncommitted.map(\.headerNames), "\(partition)")
                #expect(
                    seen.map { $0.headers.map(\.value) } == uncommitted.map { $0.headers.map { $0[0]?.array } },
                    "\(partition)")
            }
            #expect(log.snapshot.lastStableOffset == expected.lastStableOffset, "\(partition)")
            if let committed = expected.committed {
                // Where compaction has left gaps, the offsets that there are.
                let there = Set(seen.map(\.offset))
                let visible = try log.committedOffsets(from: log.snapshot.logStartOffset, maxBytes: 5000)
                #expect(visible.filter(there.contains) == committed, "\(partition)")
            }
            for time in expected.offsetsForTimes {
                let found = try log.offset(forTimestamp: time[0]).get()
                #expect(found?.offset ?? -1 == time[1], "\(partition) at \(time[0])")
                #expect(found?.timestamp ?? -1 == time[2], "\(partition) at \(time[0])")
            }
            let greatest = try log.offsetOfMaxTimestamp().get()
            #expect([greatest?.timestamp ?? -1, greatest?.offset ?? -1] == expected.maxTimestamp, "\(partition)")
        }
        #expect(checked == RecordedKafkaFolder.expectedLines.count && checked >= 17)
    }

    /// As Kafka's DescribeProducers tells them.
    private struct ActiveProducer: Decodable, Equatable {
        var producerId: Int64
        var producerEpoch: Int16
        var lastSequence: Int32
        var lastTimestamp: Int64
        var coordinatorEpoch: Int32?
        var currentTransactionStartOffset: Int64?

        init(_ id: Int64, _ entry: ProducerStateEntry) {
            self.producerId = id
            self.producerEpoch = entry.epoch
            self.lastSequence = entry.last?.lastSequence ?? -1
            self.lastTimestamp = entry.lastTimestamp
            self.coordinatorEpoch = entry.coordinatorEpoch < 0 ? nil : entry.coordinatorEpoch
            self.currentTransactionStartOffset =
                entry.currentTransactionFirstOffset < 0 ? nil : entry.currentTransactionFirstOffset
        }
    }

    private struct Transactions: Decodable {
        var activeProducers: [String: [ActiveProducer]]
    }

    @Test(arguments: ["clean", "killed"])
    func everyActiveProducerIsThere(name: String) throws {
        let copy = try RecordedKafkaFolder(name)
        let expected = try JSONDecoder().decode(
            Transactions.self, from: Data(contents(RecordedKafkaFolder.vectors + "/transactions.json")))
        #expect(expected.activeProducers.count >= 4)
        for (name, producers) in expected.activeProducers {
            let partition = try #require(TopicPartition(directoryName: name))
            let (log, _) = try PartitionLog.open(
                partition, topicID: .zero, folder: PartitionFolder(path: copy.path + "/" + name), config: LogConfig(),
                environment: LogEnvironment(background: Inline()),
                hints: OpenHints(isClean: copy.path.hasSuffix("clean")), now: 1_795_494_500_000)
            // Kafka had forgotten those that were silent for a day.
            log.expireProducers(now: 1_795_494_500_000)
            let found = log.state.withLock { $0.producers.producers }.map { ActiveProducer($0.key, $0.value) }
            #expect(
                found.sorted { $0.producerId < $1.producerId } == producers.sorted { $0.producerId < $1.producerId },
                "\(partition)")
        }
    }
}
