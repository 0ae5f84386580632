import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

@Suite("Compaction of transactions")
struct CompactedTransactionTests {
    private let config = compacted(segmentBytes: 1 << 20) { $0.deleteRetentionMs = 500 }

    private func send(_ log: PartitionLog, _ id: Int64, _ sequence: Int32, _ entries: [Entry]) {
        log.append(keyed(entries, producer: ProducerStamp(id: id, sequence: sequence), isTransactional: true))
    }

    private func types(_ log: PartitionLog) throws -> [String] {
        try log.batches().map { batch in
            guard batch.header.isControl else { return "\(batch.header.baseOffset):\(batch.records.count)" }
            return "\(batch.header.baseOffset):marker\(batch.records.isEmpty ? " empty" : "")"
        }
    }

    @Test(
        "Aborted records go at once, committed ones by their keys; markers when nothing is left and the time has come")
    func abortedAndCommitted() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: self.config)
        self.send(log, 1, 0, [("a", "aborted"), ("b", "aborted")])  // 0, 1
        self.send(log, 2, 0, [("a", "committed"), ("c", "committed")])  // 2, 3
        _ = try log.end(1, committed: false).get()  // 4
        _ = try log.end(2, committed: true).get()  // 5
        // Both producers have sent since.
        self.send(log, 1, 2, [("d", "1")])  // 6
        _ = try log.end(1, committed: true).get()  // 7
        self.send(log, 2, 2, [("e", "1")])  // 8
        _ = try log.end(2, committed: true).get()  // 9
        log.append(keyed([("c", "plain"), ("a", "plain")]))  // 10, 11
        try log.rollNow()
        // A record of an aborted transaction supersedes nothing; the committed ones have newer ones.
        try log.clean(now: 1000)
        #expect(try log.keys() == ["d=1", "e=1", "c=plain", "a=plain"])
        #expect(try self.types(log) == ["4:marker", "5:marker", "6:1", "7:marker", "8:1", "9:marker", "10:2"])
        // In that pass the aborted batches were still met: the index goes on to know of the transaction.
        #expect(try log.abortedTransactions(from: 0, to: 12).get().map(\.firstOffset) == [0])
        #expect(try FileSystem.exists(log.folder.path(0, .txnindex)))
        #expect(try !log.batches()[0].header.hasDeleteHorizon)
        // Now nothing is left of both: they get their horizon.
        try log.clean(now: 2000)
        let marker = try log.batches()[0]
        #expect(marker.header.hasDeleteHorizon)
        #expect(marker.header.baseTimestamp == 2500)
        #expect(try log.batches()[1].header.hasDeleteHorizon)
        #expect(try !log.batches()[3].header.hasDeleteHorizon)
        #expect(try log.abortedTransactions(from: 0, to: 12).get().isEmpty)
        #expect(try !FileSystem.exists(log.folder.path(0, .txnindex)))
        #expect(marker.records[0].key == ControlRecordType.abort.key)
        try log.clean(now: 2499)
        #expect(try self.types(log).first == "4:marker")
        try log.clean(now: 2500)
        #expect(try self.types(log) == ["6:1", "7:marker", "8:1", "9:marker", "10:2"])
        #expect(try log.keys() == ["d=1", "e=1", "c=plain", "a=plain"])
    }

    @Test("Nothing from the last stable offset on is touched; what is decided later is cleaned later")
    func openTransaction() throws {
        let folder = TemporaryFolder()
        let log = try PartitionLog.make(folder, config: self.config)
        log.append(keyed([("a", "1")]))
        log.append(keyed([("a", "2")]))
        try log.rollNow()
        self.send(log, 1, 0, [("a", "open")])
        log.append(keyed([("a", "3")]))
        try log.rollNow()
        log.append(keyed([("a", "4")]))
        try log.rollNow()
        let (end, _) = try log.clean()
        #expect(end == 2)
        #expect(try log.keys() == ["a=2", "a=open", "a=3", "a=4"])
        _ = try log.end(1, committed: false).get()
        try log.rollNow()
        #expect(try log.clean(from: 2).endOffset == 6)
        #expect(try log.keys() == ["a=4"])
    }

    @Test("A producer's last batch stays without its records also where they were aborted; its marker keeps the epoch")
    func lastBatch() throws {
        let folder = TemporaryFolder()
        var log = try PartitionLog.make(folder, config: self.config)
        self.send(log, 1, 0, [("a", "x"), ("b", "x")])
        _ = try log.end(1, committed: false).get()
        log.append(keyed([("z", "1")]))
        try log.rollNow()
        for now in [1000, 2000, 3000] as [Int64] { try log.clean(now: now) }
        // As long as a batch of the transaction is there its marker is.
        #expect(try self.types(log) == ["0:0", "2:marker", "3:1"])
        try log.removeSnapshots { _ in true }
        (log, _) = try PartitionLog.reopen(folder, config: self.config, recoveryPoint: log.recoveryPoint)
        #expect(log.snapshot.lastStableOffset == 4)
        self.send(log, 1, 2, [("a", "y")])
        #expect(log.logEndOffset == 5)
    }

    @Test("Transactions over the edges of segments and groups; the new indexes name them and survive a start")
    func edges() throws {
        let folder = TemporaryFolder()
        var config = self.config
        config.segmentBytes = 400
        var log = try PartitionLog.make(folder, config: config)
        var sequences: [Int64: Int32] = [:]
        var random = SeededNumbers(seed: 5)
        var open: Set<Int64> = []
        var last: [String: Kept] = [:]
        var pending: [Int64: [Kept]] = [:]
        for step in 0..<300 {
            let id = Int64(random.next(below: 4))
            if random.next(below: 4) == 0, open.contains(id) {
                let isCommitted = random.next(below: 2) == 0
                _ = try log.end(id, committed: isCommitted).get()
                open.remove(id)
                if isCommitted {
                    for record in pending[id] ?? [] where record.offset > last[record.key ?? ""]?.offset ?? -1 {
                        last[record.key ?? ""] = record
                    }
                }
                pending[id] = nil
                continue
            }
            let key = "k\(random.next(below: 12))"
            let info = try log.append(
                keyed(
                    [(key, "v\(step)")], timestamp: Int64(step),
                    producer: ProducerStamp(id: id, sequence: sequences[id] ?? 0), isTransactional: true)
            ).get()
            sequences[id] = (sequences[id] ?? 0) + 1
            open.insert(id)
            pending[id, default: []].append(
                Kept(offset: info.firstOffset, timestamp: Int64(step), key: key, value: "v\(step)"))
            if step % 40 == 39 {
                try log.clean(now: Int64(step) * 100)
                if step % 80 == 79 {
                    try log.close()
                    (log, _) = try PartitionLog.reopen(folder, config: config, clean: true)
                }
            }
        }
        for id in open { _ = try log.end(id, committed: false).get() }
        try log.rollNow()
        // What a consumer of committed records sees, with the aborted ranges that the indexes tell.
        func visible() throws -> [Kept] {
            let aborted = try log.abortedTransactions(from: 0, to: log.logEndOffset).get()
            return try log.batches().filter { batch in
                let header = batch.header
                return !header.isControl
                    && !aborted.contains {
                        $0.producerID == header.producerID && $0.firstOffset <= header.baseOffset
                            && header.lastOffset < $0.lastOffset
                    }
            }.flatMap(\.records).map { record in
                Kept(
                    offset: record.offset, timestamp: record.timestamp,
                    key: record.key.map { String(decoding: $0, as: UTF8.self) },
                    value: record.value.map { String(decoding: $0, as: UTF8.self) })
            }
        }
        for (key, record) in last { #expect(try visible().last { $0.key == key } == record) }
        for round in 0..<3 { try log.clean(now: 100_000 + 1000 * Int64(round)) }
        #expect(try log.kept() == last.values.sorted { $0.offset < $1.offset })
        #expect(try visible() == log.kept())
    }
}
