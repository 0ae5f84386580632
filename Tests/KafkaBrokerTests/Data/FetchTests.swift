import Glibc
import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords
import Testing

@testable import KafkaBroker

/// What is read, and how much of it. Sessions and waiting have files of their own.
@Suite struct FetchTests {
    @Test func offsets() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        let client = try test.client()
        for _ in 0..<4 { try client.produce(topic, batch(count: 5)) }
        for (offset, code, first) in [
            (0, .none, 0), (4, .none, 0), (5, .none, 5), (19, .none, 15), (20, .none, nil),
            (21, .offsetOutOfRange, nil), (-1, .offsetOutOfRange, nil), (.max, .offsetOutOfRange, nil),
            (.min, .offsetOutOfRange, nil),
        ] as [(Int64, ErrorCode, Int64?)] {
            for version: Int16 in [4, 11, 12, 18] {
                let answer = try client.send(FetchRequest(topic, from: offset), version: version).only
                #expect(answer.errorCode == code, "\(offset)")
                #expect(try batches(in: answer.records).first?.header.baseOffset == first, "\(offset)")
                #expect(answer.records != nil && answer.highWatermark == (code == .none ? 20 : -1))
            }
        }
        // Batches are given whole, all of them up to the end.
        let all = try client.send(FetchRequest(topic, from: 7), version: 18).only
        #expect(try batches(in: all.records).map(\.header.baseOffset) == [5, 10, 15])
        let empty = try client.send(FetchRequest(topic, 1, from: 0), version: 18).only
        #expect(empty.errorCode == .none && empty.records == [] && empty.highWatermark == 0)
    }

    @Test func theLogsStartMoves() throws {
        let test = try TestBroker("log.retention.check.interval.ms=86400000")
        let topic = try test.makeTopic(
            "t", configs: ["segment.bytes": "1048576", "retention.bytes": "1", "file.delete.delay.ms": "0"])
        let client = try test.client()
        let large = batch(String(repeating: "x", count: 600_000))
        for _ in 0..<3 { try client.produce(topic, large) }
        let log = try test.partition(topic).log
        _ = try log.deleteOldSegments(now: wallMs())
        let start = log.snapshot.logStartOffset
        #expect(start > 0)
        #expect(try client.send(FetchRequest(topic, from: start - 1), version: 12).only.errorCode == .offsetOutOfRange)
        let answer = try client.send(FetchRequest(topic, from: start), version: 12).only
        #expect(answer.errorCode == .none && answer.logStartOffset == start)
        // Before the start nothing is known to diverge from.
        var request = FetchRequest(topic, from: start - 1)
        request.topics[0].partitions[0].lastFetchedEpoch = 0
        #expect(try client.send(request, version: 12).only.errorCode == .offsetOutOfRange)
    }

    @Test func limits() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 3)
        let client = try test.client()
        let one = batch(String(repeating: "x", count: 1000))
        let size = Int32(one.count)
        for partition: Int32 in 0..<3 { for _ in 0..<4 { try client.produce(topic, one, at: partition) } }
        // Request's limit, the partitions' limit, how many batches each of three partitions gives.
        for (maxBytes, partitionMaxBytes, expected) in [
            (.max, .max, [4, 4, 4]),
            (.max, size * 2, [2, 2, 2]),
            (.max, size * 3 - 1, [2, 2, 2]),
            (size * 5, .max, [4, 1, 0]),
            (size * 5 - 1, .max, [4, 0, 0]),
            (size * 5, size * 2, [2, 2, 1]),
            // The first batch is given however large; but only that of the first partition.
            (1, 1, [1, 0, 0]), (0, .max, [1, 0, 0]), (.max, 0, [1, 0, 0]), (-5, -5, [1, 0, 0]),
            (size - 1, .max, [1, 0, 0]), (.max, size - 1, [1, 0, 0]),
        ] as [(Int32, Int32, [Int])] {
            for version: Int16 in [4, 12, 17] {
                var request = FetchRequest(topic, from: 0)
                request.topics = []
                for index: Int32 in 0..<3 { request.add(topic, index, from: 0, maxBytes: partitionMaxBytes) }
                request.maxBytes = maxBytes
                let answer = try client.send(request, version: version).partitions
                let counts = try answer.map { try batches(in: $0.records).count }
                #expect(counts == expected, "\(maxBytes) \(partitionMaxBytes)")
                #expect(answer.allSatisfy { $0.errorCode == .none && $0.highWatermark == 4 })
            }
        }
        // One that is at its end does not use up the exception for the first.
        var request = FetchRequest(topic, 0, from: 4)
        request.add(topic, 1, from: 0, maxBytes: 1)
        #expect(try client.send(request, version: 12).partitions.map { $0.records?.count } == [0, Int(size)])
    }

    @Test func brokersOwnLimit() throws {
        let test = try TestBroker("fetch.max.bytes=1024")
        let topic = try test.makeTopic("t")
        let client = try test.client()
        for _ in 0..<4 { try client.produce(topic, batch(String(repeating: "x", count: 400))) }
        // More than the broker ever gives is not waited for.
        let began = monotonicMs()
        let answer = try client.send(FetchRequest(topic, from: 0, maxWaitMs: 8000, minBytes: 1 << 20), version: 12)
        #expect(try batches(in: try answer.only.records).count == 2 && monotonicMs() - began < 6000)
    }

    @Test(arguments: [4, 9, 12, 13, 16, 18] as [Int16])
    func errorsOfPartitions(version: Int16) throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", leaderEpoch: 5)
        let client = try test.client()
        let sent = batch()
        try client.produce(topic, sent)
        var request = FetchRequest(topic, from: 0)
        for index: Int32 in [-1, 1, .max] { request.add(topic, index, from: 0) }
        request.add(TestTopic(name: "nobody", id: KafkaUUID(high: 4, low: 4)), from: 0)
        let response = try client.send(request, version: version)
        let missing: ErrorCode = version >= 13 ? .unknownTopicID : .unknownTopicOrPartition
        #expect(
            response.responses.map { $0.partitions.map(\.errorCode) } == [
                [.none, .unknownTopicOrPartition, .unknownTopicOrPartition, .unknownTopicOrPartition], [missing],
            ])
        #expect(response.partitions.map(\.partitionIndex) == [0, -1, 1, .max, 0])
        #expect(response.partitions.dropFirst().allSatisfy { $0.highWatermark == -1 && $0.records == [] })

        for (epoch, code) in [
            (-1, .none), (5, .none), (4, .fencedLeaderEpoch), (0, .fencedLeaderEpoch), (6, .unknownLeaderEpoch),
        ] as [(Int32, ErrorCode)] {
            var request = FetchRequest(topic, from: 0)
            request.topics[0].partitions[0].currentLeaderEpoch = epoch
            let response = try client.send(request, version: version)
            let answer = try response.only
            #expect(answer.errorCode == (version >= 9 ? code : .none))
            // KIP-951: the leader, to those who have an old one in mind.
            let isTold = version >= 16 && code == .fencedLeaderEpoch
            #expect(answer.currentLeader.leaderEpoch == (isTold ? 5 : -1))
            #expect(answer.currentLeader.leaderID == (isTold ? test.broker.nodeID : -1))
            #expect(response.nodeEndpoints.map(\.port) == (isTold ? [Int32(test.broker.port)] : []))
            #expect(response.nodeEndpoints.allSatisfy { $0.host == "127.0.0.1" && $0.nodeID == test.broker.nodeID })
        }
        for replica: Int32 in [0, test.broker.nodeID, 77] {
            var request = FetchRequest(topic, from: 0)
            request.replicaID = replica
            request.replicaState.replicaID = replica
            #expect(try client.send(request, version: version).only.errorCode == .notLeaderOrFollower)
        }
        // A debugging consumer is no follower.
        request = FetchRequest(topic, from: 0)
        request.replicaID = -2
        request.replicaState.replicaID = -2
        #expect(try client.send(request, version: version).only.records == stamped(sent, offset: 0, leaderEpoch: 5))
    }

    @Test func lastFetchedEpochs() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", leaderEpoch: 2)
        let partition = try test.partition(topic)
        let client = try test.client()
        for _ in 0..<3 { try client.produce(topic, batch()) }
        partition.log.assignLeaderEpoch(5)
        var late = batch()
        try late.withUnsafeMutableBytes { raw in
            let valid = try RecordValidator.validate(
                raw, rules: ValidationRules(now: wallMs()), scratch: DecompressionScratch()
            ).get()
            _ = partition.log.append(raw, validated: valid, leaderEpoch: 5, now: wallMs(), origin: .client)
        }
        // Offset, epoch of the record before it, and where its history parts from ours.
        for (offset, epoch, divergence, code) in [
            (3, 2, nil, .none), (4, 5, nil, .none), (1, 2, nil, .none), (0, 5, nil, .none),
            (4, 2, (2, 3), .none), (4, 4, (2, 3), .none), (4, 3, (2, 3), .none), (2, 3, (2, 3), .none),
            (2, 6, nil, .offsetOutOfRange), (0, 1, nil, .none), (1, 1, (1, 0), .none), (-1, 4, nil, .offsetOutOfRange),
        ] as [(Int64, Int32, (Int32, Int64)?, ErrorCode)] {
            for version: Int16 in [12, 18] {
                var request = FetchRequest(topic, from: offset)
                request.topics[0].partitions[0].lastFetchedEpoch = epoch
                let answer = try client.send(request, version: version).only
                #expect(answer.errorCode == code, "\(offset) \(epoch)")
                #expect(answer.divergingEpoch.epoch == divergence?.0 ?? -1, "\(offset) \(epoch)")
                #expect(answer.divergingEpoch.endOffset == divergence?.1 ?? -1, "\(offset) \(epoch)")
                #expect((answer.records == []) == (divergence != nil || code != .none || offset == 4))
            }
        }
    }

    @Test func isolation() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        let client = try test.client()
        for _ in 0..<3 { try client.produce(topic, batch()) }
        try test.partition(topic).log.setHighWatermark(2)
        for version: Int16 in 4...18 {
            for (level, replica, count) in [(0, -1, 2), (1, -1, 2), (0, -2, 3)] as [(Int8, Int32, Int)] {
                var request = FetchRequest(topic, from: 0)
                request.isolationLevel = level
                request.replicaID = replica
                request.replicaState.replicaID = replica
                let answer = try client.send(request, version: version).only
                #expect(try batches(in: answer.records).count == count)
                #expect(answer.highWatermark == 2 && answer.lastStableOffset == 2)
                #expect(answer.abortedTransactions == (level == 1 ? [] : nil))
                // What lies between the watermark and the end is nothing to wait for, but no error either.
                request.topics[0].partitions[0].fetchOffset = 3
                #expect(try client.send(request, version: version).only.records == [])
                request.topics[0].partitions[0].fetchOffset = 4
                let beyond = try client.send(request, version: version).only
                #expect(beyond.errorCode == .offsetOutOfRange && beyond.abortedTransactions == nil)
            }
        }
    }

    @Test func offlinePartitions() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t", partitions: 2)
        // A file stands where the folder belongs.
        close(open("\(test.folder)/data/offline-0", O_CREAT | O_WRONLY, 0o600))
        let other = try test.makeTopic("offline")
        let client = try test.client()
        for version: Int16 in 4...18 {
            let answer = try client.send(FetchRequest(other, from: 0, maxWaitMs: 9000), version: version).only
            #expect(answer.errorCode == (version <= 5 ? .notLeaderOrFollower : .kafkaStorageError))
        }
        #expect(try client.produce(other, batch()).errorCode == .kafkaStorageError)
        #expect(try client.produce(topic, batch()).errorCode == .none)
    }

    @Test func aRequestOfTooManyPartitionsClosesTheConnection() throws {
        let test = try TestBroker()
        let topic = try test.makeTopic("t")
        for version: Int16 in [4, 12, 18] {
            var request = FetchRequest(topic, from: 0)
            for index: Int32 in 1..<10_000 { request.add(topic, index, from: 0) }
            let client = try test.client()
            #expect(try client.send(request, version: version).partitions.count == 10_000)
            request.add(topic, 10_001, from: 0)
            #expect(try client.isClosed(after: request, version: version))
        }
    }
}
