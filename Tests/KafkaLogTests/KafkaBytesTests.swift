import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaLog

/// The batches of the logs that Kafka 4.3 wrote, appended here: the files beside them must come out as Kafka's.
@Suite struct KafkaBytesTests {
    /// Partitions whose log was never compacted, with the configs that matter.
    private static let partitions: [(TopicPartition, LogConfig)] = {
        func config(_ change: (inout LogConfig) -> Void = { _ in }) -> LogConfig {
            var config = LogConfig()
            config.segmentIndexBytes = 1 << 20
            change(&config)
            return config
        }
        var all = [("codecs", 5), ("orders", 3), ("txn", 2), ("deleted-head", 2), ("empty", 1)].flatMap { name, count in
            (0..<count).map { (TopicPartition(topic: name, partition: Int32($0)), config()) }
        }
        all.append((TopicPartition(topic: "many-segments", partition: 0), config { $0.segmentBytes = 1 << 20 }))
        all.append(
            (TopicPartition(topic: "appendtime", partition: 0), config { $0.messageTimestampType = .logAppendTime }))
        for (name, count) in [("__consumer_offsets", 5), ("__transaction_state", 3), ("__share_group_state", 3)] {
            all += (0..<count).map {
                (
                    TopicPartition(topic: name, partition: Int32($0)),
                    config {
                        $0.segmentBytes = 104_857_600
                        $0.cleanupPolicy = name == "__share_group_state" ? .delete : .compact
                    }
                )
            }
        }
        return all
    }()

    /// What is not alike, and why:
    /// - `many-segments`: Kafka had been started anew at offset 120. It counts the bytes since the last index entry from
    ///   zero then, where we go on counting, and so has one entry less; and it had forgotten the older of two producers,
    ///   silent for months by its timestamps, when it read the snapshot.
    /// - An epoch that began in a log that is still empty is in no file here: such a folder costs one file less.
    /// - The active segment of a killed Kafka: indexes with room allocated ahead, and fewer entries where it was started in
    ///   between, and entries of the time index from ends
    ///   of brokers before; snapshots at other offsets than the end are from such ends, too.
    @Test(arguments: ["clean", "killed"])
    func filesOfTheSameAppends(name: String) throws {
        let recorded = try RecordedKafkaFolder(name)
        let starts =
            Checkpoint.decodeOffsets(contents(recorded.path + "/" + LogDirectory.logStartOffsets)) ?? [:]
        let made = TemporaryFolder()
        var compared: [String: Int] = [:]
        for (partition, config) in Self.partitions {
            let theirs = recorded.path + "/" + partition.description
            let ours = made.path + "/" + partition.description
            let log = try PartitionLog.create(
                partition, topicID: try #require(try PartitionFolder(path: theirs).readTopicID()),
                folder: PartitionFolder(path: ours), config: config,
                environment: LogEnvironment(background: Inline(), producerIDExpirationMs: .max), now: 1_795_494_500_000)
            let names = try FileSystem.list(theirs).sorted()
            for file in names where file.hasSuffix(".log") { try self.append(theirs + "/" + file, to: log) }
            // Kafka's broker came to lead it once more after the last record.
            let epochs = try #require(try PartitionFolder(path: theirs).readLeaderEpochs())
            if let last = epochs.latestEpoch { log.assignLeaderEpoch(last) }
            if let start = starts[partition] { #expect(log.deleteRecords(before: start)) }
            let end = log.logEndOffset
            try log.close()

            let active = try #require(names.last { $0.hasSuffix(".log") }).prefix(20)
            for file in names {
                let expected = contents(theirs + "/" + file)
                var found = contents(ours + "/" + file)
                let suffix = String(file.split(separator: ".").last ?? "")
                switch suffix {
                case "index" where name == "killed" && file.hasPrefix(active):
                    let entries = stride(from: 0, to: expected.count, by: 8).map { Array(expected[$0..<$0 + 8]) }
                    let ours = stride(from: 0, to: found.count, by: 8).map { Array(found[$0..<$0 + 8]) }
                    #expect(Set(entries).subtracting(ours).isSubset(of: [[0, 0, 0, 0, 0, 0, 0, 0]]), "\(partition)")
                    found = expected
                case "timeindex" where name == "killed" && file.hasPrefix(active): continue
                case "index" where partition.topic == "many-segments" && file.hasPrefix(PartitionFolder.name(62)):
                    let index = stride(from: 0, to: found.count, by: 8).map { Array(found[$0..<$0 + 8]) }
                    found = Array(index.filter { $0[3] != 59 }.joined())
                case "snapshot"
                where file != PartitionFolder.name(end) + ".snapshot" || partition.topic == "many-segments":
                    continue
                case "leader-epoch-checkpoint" where end == 0:
                    #expect(found.isEmpty)
                    continue
                default: break
                }
                #expect(found == expected, "\(name)/\(partition)/\(file)")
                compared[suffix, default: 0] += 1
            }
            #expect(
                try FileSystem.list(ours).filter { $0.hasSuffix(".log") }.sorted()
                    == names.filter { $0.hasSuffix(".log") })
        }
        #expect(compared["log"] ?? 0 >= 30 && compared["index"] == compared["log"], "\(compared)")
        #expect(compared["timeindex"] ?? 0 >= (name == "clean" ? 30 : 5) && compared["txnindex"] == 3, "\(compared)")
        #expect(compared["snapshot"] ?? 0 >= (name == "clean" ? 18 : 1), "\(compared)")
        #expect(compared["metadata"] == Self.partitions.count, "\(compared)")
    }

    private func append(_ path: String, to log: PartitionLog) throws {
        var bytes = contents(path)
        var position = 0
        while position < bytes.count {
            let result = bytes.withUnsafeMutableBytes { all -> Result<AppendInfo, AppendError>? in
                let rest = UnsafeMutableRawBufferPointer(rebasing: all[position...])
                guard let header = RecordBatchHeader(UnsafeRawBufferPointer(rest)) else { return nil }
                let batch = UnsafeMutableRawBufferPointer(rebasing: rest[..<header.sizeInBytes])
                guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(batch)) else { return nil }
                position += header.sizeInBytes
                return log.append(
                    batch, validated: validated, leaderEpoch: header.partitionLeaderEpoch, now: header.maxTimestamp,
                    origin: .replica)
            }
            _ = try #require(result).get()
        }
    }
}
