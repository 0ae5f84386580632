import Foundation
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// Logs that Kafka 4.3 wrote, with what its clients see in them. `OTTLA_KAFKA_FOLDERS` names a folder with `clean/` and
/// `killed/`, the archives of shared/kafka/folders unpacked, and their `expected.jsonl` beside as `clean.jsonl` and
/// `killed.jsonl`.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["OTTLA_KAFKA_FOLDERS"] != nil))
struct KafkaFolderTests {
    struct Expected: Decodable {
        struct Seen: Decodable {
            var offset: Int64
            var timestamp: Int64
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
        let root = ProcessInfo.processInfo.environment["OTTLA_KAFKA_FOLDERS"] ?? ""
        let copy = TemporaryFolder()
        copyTree(root + "/" + name, copy.path)
        func offsets(_ name: String) -> [TopicPartition: Int64] {
            Checkpoint.decodeOffsets(contents(copy.path + "/" + name)) ?? [:]
        }
        let recovery = offsets(LogDirectory.recoveryPoints)
        let starts = offsets(LogDirectory.logStartOffsets)
        let lines = String(decoding: contents(root + "/" + name + ".jsonl"), as: UTF8.self).split(separator: "\n")
        var checked = 0
        for line in lines {
            guard let expected = try? JSONDecoder().decode(Expected.self, from: Data(line.utf8)) else { continue }
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
        #expect(checked > 15)
    }
}
