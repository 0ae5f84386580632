import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite("Compaction")
struct CompactionTests {
    @Test("The last record of each key stays, with its offset and time, over all segments")
    func lastOfEachKey() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted())
        for round in 0..<20 {
            log.append(
                keyed([("a", "\(round)"), ("b", "\(round)"), ("c\(round)", "x")], timestamp: 1000 * Int64(round)))
        }
        try log.rollNow()
        log.append(keyed([("a", "new")]))
        let before = try log.kept()
        log.update(config: compacted(segmentBytes: 700))
        let (end, stats) = try log.clean()
        #expect(end == 60)
        #expect(stats.keys == 22)
        #expect(stats.recordsRead == 60)
        #expect(stats.recordsWritten == 22)
        #expect(stats.segmentsBefore > stats.segmentsAfter)
        let expected = before.filter {
            $0.key?.hasPrefix("c") == true || $0.offset == 57 || $0.offset == 58 || $0.offset == 60
        }
        #expect(try log.kept() == expected)
        // From every offset a reader comes to the next record that is there.
        for offset in 0..<Int64(61) {
            let first = try log.kept(from: offset).first { $0.offset >= offset }
            #expect(first == expected.first { $0.offset >= offset })
        }
        let (again, _) = try PartitionLog.reopen(folder, config: compacted(), recoveryPoint: log.recoveryPoint)
        #expect(try again.kept() == expected)
        #expect(again.logEndOffset == 61)
    }

    @Test("What has not changed is copied byte for byte; the old files wait to be deleted")
    func unchanged() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 1 << 20))
        for index in 0..<10 { log.append(keyed([("k\(index)", "v")])) }
        try log.rollNow()
        let before = contents(folder.path + "/orders-0/00000000000000000000.log")
        let (_, stats) = try log.clean()
        #expect(stats.batchesChanged == 0)
        #expect(stats.batchesUnchanged == 10)
        #expect(contents(folder.path + "/orders-0/00000000000000000000.log") == before)
        #expect(contents(folder.path + "/orders-0/00000000000000000000.log.deleted") == before)
        #expect(!fileNames(folder).contains { $0.hasSuffix(".swap") || $0.hasSuffix(".cleaned") })
    }

    @Test("Every codec, and times set by the broker", arguments: CompressionType.allCases)
    func codecs(_ codec: CompressionType) throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 1 << 20))
        let many = (0..<200).map { (key: Optional("key\($0 % 50)"), value: Optional("value \($0)")) }
        log.append(keyed(many, timestamp: 5000, compression: codec))
        log.append(keyed([("key3", nil), ("key4", "last")], compression: codec))
        log.append(keyed([("t", "old"), ("u", "x"), ("t", "new")], compression: codec, logAppendTime: 7777))
        try log.rollNow()
        let before = try log.kept()
        try log.clean()
        let expected = before.filter { record in
            if record.offset < 200 { return record.offset >= 150 && record.key != "key3" && record.key != "key4" }
            return record.value != "old"
        }
        #expect(try log.kept() == expected)
        let batches = try log.batches()
        #expect(batches.allSatisfy { $0.header.compression == codec })
        #expect(batches[0].header.lastOffset == 199)
        #expect(batches[0].header.maxTimestamp == 5199)
        #expect(batches[2].header.timestampType == .logAppendTime)
        #expect(batches[2].header.maxTimestamp == 7777)
    }

    @Test("A tombstone gets its horizon with the first cleaning and goes with one after it")
    func tombstones() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted { $0.deleteRetentionMs = 500 })
        log.append(keyed([("a", "1"), ("b", "1")]))
        log.append(keyed([("a", nil)], timestamp: 2222))
        log.append(keyed([("c", "1"), ("d", nil), ("e", "1")], timestamp: 3000))
        try log.rollNow()
        try log.clean(now: 10_000)
        #expect(try log.keys() == ["b=1", "a=-", "c=1", "d=-", "e=1"])
        var batches = try log.batches()
        #expect(batches.map(\.header.hasDeleteHorizon) == [false, true, true])
        #expect(batches[1].header.baseTimestamp == 10_500)
        #expect(batches[2].records.map(\.timestamp) == [3000, 3001, 3002])
        #expect(batches[2].header.maxTimestamp == 3002)
        log.append(keyed([("x", "1")]))
        try log.rollNow()
        try log.clean(from: 6, now: 10_499)
        #expect(try log.keys() == ["b=1", "a=-", "c=1", "d=-", "e=1", "x=1"])
        batches = try log.batches()
        #expect(batches[1].header.baseTimestamp == 10_500)
        log.append(keyed([("y", "1")]))
        try log.rollNow()
        try log.clean(from: 7, now: 10_500)
        #expect(try log.keys() == ["b=1", "c=1", "e=1", "x=1", "y=1"])
        batches = try log.batches()
        #expect(batches[1].header.hasDeleteHorizon)
        #expect(batches[1].records.map(\.timestamp) == [3000, 3002])
    }

    @Test("A producer's last batch stays, if need be without records, and its sequence goes on after a restart")
    func producers() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted())
        log.append(keyed([("a", "1")], producer: ProducerStamp(id: 7, sequence: 0)))
        log.append(keyed([("a", "2"), ("b", "2")], producer: ProducerStamp(id: 7, sequence: 1)))
        log.append(keyed([("a", "3"), ("b", "3")], producer: ProducerStamp(id: 8, sequence: 0), compression: .lz4))
        log.append(keyed([("a", "4"), ("b", "4")]))
        try log.rollNow()
        try log.clean()
        let batches = try log.batches()
        #expect(batches.map(\.header.baseOffset) == [1, 3, 5])
        #expect(batches.map(\.header.recordsCount) == [0, 0, 2])
        #expect(batches[0].header.producerID == 7)
        #expect(batches[0].header.baseSequence == 1)
        #expect(batches[0].header.lastSequence == 2)
        #expect(batches[1].header.compression == CompressionType.none)
        #expect(batches[1].header.baseTimestamp == -1)
        try log.removeSnapshots { _ in true }
        let (again, _) = try PartitionLog.reopen(folder, config: compacted(), recoveryPoint: log.recoveryPoint)
        let wrong = again.append(keyed([("z", "1")], producer: ProducerStamp(id: 7, sequence: 5)))
        #expect(throws: AppendError.self) { try wrong.get() }
        let right = again.append(keyed([("z", "1")], producer: ProducerStamp(id: 7, sequence: 3)))
        #expect(try right.get().firstOffset == 7)
        // Another batch takes its place; a batch without records that is as it must be is copied.
        try again.rollNow()
        let (_, stats) = try again.clean(from: 7)
        #expect(try again.batches().map(\.header.baseOffset) == [3, 5, 7])
        #expect(stats.batchesChanged == 0)
    }

    @Test("The offsets up to the end of what was cleaned are not lost")
    func lastBatchOfARound() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 1 << 20) { $0.deleteRetentionMs = 0 })
        log.append(keyed([("a", "1")]))
        log.append(keyed([("a", nil)]))
        try log.rollNow()
        try log.clean(now: 100)
        let (end, _) = try log.clean(from: 0, now: 200)
        #expect(end == 2)
        let batches = try log.batches()
        #expect(batches.map(\.header.lastOffset) == [1])
        #expect(batches[0].records.isEmpty)
        #expect(!batches[0].header.hasDeleteHorizon)
    }

    @Test("Records without a key are dropped and counted")
    func unkeyed() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted())
        log.append(keyed([(nil, "1"), ("a", "1")]))
        try log.rollNow()
        let (_, stats) = try log.clean()
        #expect(stats.unkeyedRecords == 1)
        #expect(try log.keys() == ["a=1"])
    }

    @Test("Where the map is too small for all keys, it is cleaned as far as they fit, and then on")
    func smallMap() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 400))
        for round in 0..<4 {
            for index in 0..<30 { log.append(keyed([("k\(index)", "\(round)"), ("l\(index)", "\(round)")])) }
        }
        try log.rollNow()
        var first: Int64 = 0
        var rounds = 0
        while first < 240, rounds < 100 {
            // 20 slots, 18 keys.
            let (end, stats) = try log.clean(from: first, mapBytes: 20 * 24)
            #expect(stats.keys <= 18)
            try #require(end > first)
            first = end
            rounds += 1
        }
        #expect(rounds > 5)
        #expect(first == 240)
        #expect(try log.keys().sorted() == (0..<30).flatMap { ["k\($0)=3", "l\($0)=3"] }.sorted())
    }

    @Test("A batch with more keys than the map holds is an error, not an endless loop")
    func mapTooSmall() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 1 << 20))
        log.append(keyed((0..<50).map { ("k\($0)", "v") }))
        try log.rollNow()
        #expect(throws: CleaningFailure.self) { try log.clean(mapBytes: 20 * 24) }
    }

    @Test("A batch longer than the buffers")
    func longBatch() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: compacted(segmentBytes: 1 << 20))
        let long = String(repeating: "x", count: 50_000)
        log.append(keyed([("a", "1"), ("b", long)]))
        log.append(keyed([("a", long)]))
        log.append(keyed([("c", "1")]))
        try log.rollNow()
        try log.clean(bufferBytes: 1024)
        #expect(try log.kept().map(\.offset) == [1, 2, 3])
    }

    @Test("Random logs, cleaned again and again, keep what a dictionary keeps", arguments: 0..<12)
    func random(seed: UInt64) throws {
        var random = SeededNumbers(seed: seed)
        let folder = TemporaryFolder()
        let config = compacted(segmentBytes: 2000) {
            $0.deleteRetentionMs = 1_000_000
            $0.indexIntervalBytes = 100
        }
        var log = try PartitionLog.make(folder, config: config)
        var last: [String: Kept] = [:]
        var sequences: [Int64: Int32] = [:]
        var checkpoint: Int64 = 0
        for step in 0..<120 {
            var entries: [Entry] = []
            for _ in 0...random.next(below: 5) {
                let value =
                    random.next(below: 6) == 0
                    ? nil : "v\(step)-" + String(repeating: "y", count: random.next(below: 60))
                entries.append(("key\(random.next(below: 25))", value))
            }
            let time = Int64(1000 + step * 10)
            var producer: ProducerStamp?
            if random.next(below: 2) == 0 {
                let id = Int64(random.next(below: 3))
                producer = ProducerStamp(id: id, sequence: sequences[id] ?? 0)
                sequences[id] = (sequences[id] ?? 0) + Int32(entries.count)
            }
            let codec = CompressionType.allCases[random.next(below: 5)]
            let info = try log.append(
                keyed(entries, timestamp: time, producer: producer, compression: codec)
            ).get()
            for (index, entry) in entries.enumerated() {
                last[entry.key!] = Kept(
                    offset: info.firstOffset + Int64(index), timestamp: time + Int64(index), key: entry.key,
                    value: entry.value)
            }
            if random.next(below: 10) == 0 {
                let end = log.state.withLock { $0.active.baseOffset }
                if end > checkpoint { checkpoint = try log.clean(from: checkpoint, now: 1_000 + Int64(step)).endOffset }
                let found = try log.kept()
                #expect(Set(found.map(\.offset)).count == found.count)
                #expect(found == found.sorted { $0.offset < $1.offset })
                for (key, record) in last { #expect(found.last { $0.key == key } == record) }
            }
            if random.next(below: 30) == 0 {
                try log.close()
                // The cleaner has the recovery point on disk before it replaces anything.
                (log, _) = try PartitionLog.reopen(
                    folder, config: config, clean: random.next(below: 2) == 0, recoveryPoint: log.recoveryPoint)
            }
        }
        try log.rollNow()
        try log.clean(from: checkpoint)
        #expect(try log.kept() == last.values.sorted { $0.offset < $1.offset })
        // Index entries lead where they should.
        for record in last.values {
            #expect(try log.kept(from: record.offset).first { $0.offset >= record.offset } == record)
            let found = try log.offset(forTimestamp: record.timestamp).get()
            #expect((found?.offset ?? .max) <= record.offset)
        }
    }
}

/// The same numbers for the same seed.
struct SeededNumbers {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    mutating func next(below limit: Int) -> Int {
        self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return Int((self.state >> 33) % UInt64(limit))
    }
}
