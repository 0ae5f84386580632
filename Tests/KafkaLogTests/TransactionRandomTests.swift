import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// Random transactions with rolls, truncations and every kind of restart, against a model of who may see what.
@Suite struct TransactionRandomTests {
    private struct Model {
        struct Entry {
            var offset: Int64
            /// -1: not of a transaction.
            var producer: Int64
            var isMarker = false
            var isAbort = false
        }
        var entries: [Entry] = []

        /// First and last offset of each transaction, -1 for open; aborted or not.
        var transactions: [(producer: Int64, first: Int64, last: Int64, isAbort: Bool)] {
            var all: [(producer: Int64, first: Int64, last: Int64, isAbort: Bool)] = []
            var open: [Int64: Int64] = [:]
            for entry in self.entries where entry.producer >= 0 {
                if entry.isMarker {
                    guard let first = open.removeValue(forKey: entry.producer) else { continue }
                    all.append((entry.producer, first, entry.offset, entry.isAbort))
                } else if open[entry.producer] == nil {
                    open[entry.producer] = entry.offset
                }
            }
            for (producer, first) in open { all.append((producer, first, -1, false)) }
            return all
        }

        func lastStableOffset(_ end: Int64) -> Int64 {
            self.transactions.filter { $0.last < 0 }.map(\.first).min() ?? end
        }

        func visible(_ end: Int64) -> [Int64] {
            let limit = self.lastStableOffset(end)
            let transactions = self.transactions
            return self.entries.filter { entry in
                !entry.isMarker && entry.offset < limit
                    && !transactions.contains {
                        $0.isAbort && $0.producer == entry.producer && $0.first <= entry.offset
                            && entry.offset < $0.last
                    }
            }.map(\.offset)
        }
    }

    @Test(arguments: 1...12) func againstTheModel(seed: UInt64) throws {
        var random = SplitMix(seed)
        let folder = TemporaryFolder()
        let config = LogConfig.with {
            $0.segmentBytes = 3000
            $0.indexIntervalBytes = 200
        }
        var log = try PartitionLog.make(folder, config: config)
        var model = Model()
        var sequences: [Int64: Int32] = [:]
        var mark: PartitionMark?
        for step in 0..<250 {
            let producer = Int64(random.below(4))
            switch random.below(20) {
            case 0..<9:
                let info = try log.append(
                    transactionalBatch(producer: ProducerStamp(id: producer, sequence: sequences[producer] ?? 0))
                ).get()
                sequences[producer, default: 0] += 1
                model.entries.append(Model.Entry(offset: info.firstOffset, producer: producer))
            case 9..<14:
                let isAbort = random.below(2) == 0
                let info = try log.end(producer, committed: !isAbort).get()
                model.entries.append(
                    Model.Entry(offset: info.firstOffset, producer: producer, isMarker: true, isAbort: isAbort))
            case 14, 15:
                let info = try log.append(batch()).get()
                model.entries.append(Model.Entry(offset: info.firstOffset, producer: -1))
            case 16:
                mark = try log.takeMark(always: true)
            case 17 where log.logEndOffset > 0:
                let offset = max(0, log.logEndOffset - Int64(random.below(30)))
                try log.truncate(to: offset, now: 2000)
                model.entries.removeAll { $0.offset >= offset }
                mark = nil
                for producer in Int64(0)..<4 {
                    sequences[producer] = log.state.withLock {
                        $0.producers.producers[producer]?.last.map { $0.lastSequence + 1 } ?? 0
                    }
                }
            case 18:
                try log.close()
                log = try PartitionLog.reopen(folder, config: config, clean: true).log
                mark = nil
            default:
                // Killed: with the last mark, or without one.
                log.releaseFiles(onlyIdle: false)
                let useMark = random.below(2) == 0
                log = try PartitionLog.reopen(
                    folder, config: config, mark: useMark ? mark : nil, isSameBoot: random.below(2) == 0,
                    recoveryPoint: random.below(2) == 0 ? log.recoveryPoint : 0
                ).log
                mark = nil
            }
            let end = log.logEndOffset
            #expect(log.snapshot.lastStableOffset == model.lastStableOffset(end), "step \(step)")
            if step % 10 == 0 || step == 249 {
                #expect(
                    try log.committedOffsets(maxBytes: 300 + random.below(2000)) == model.visible(end), "step \(step)")
                let aborted = model.transactions.filter(\.isAbort).sorted { $0.last < $1.last }
                let entries = try log.allAborted
                #expect(entries.map(\.lastOffset) == aborted.map(\.last), "step \(step)")
                #expect(entries.map(\.firstOffset) == aborted.map(\.first), "step \(step)")
                #expect(entries.map(\.producerID) == aborted.map(\.producer), "step \(step)")
            }
        }
        // What a start from nothing makes of the log is what was written while it grew.
        try log.close()
        let before = self.indexFiles(folder)
        for name in before.keys { try FileSystem.unlink(folder.path + "/orders-0/" + name) }
        for name in try FileSystem.list(folder.path + "/orders-0") where name.hasSuffix(".snapshot") {
            try FileSystem.unlink(folder.path + "/orders-0/" + name)
        }
        try PartitionLog.reopen(folder, config: config).log.close()
        #expect(self.indexFiles(folder) == before)
    }

    private func indexFiles(_ folder: TemporaryFolder) -> [String: [UInt8]] {
        var files: [String: [UInt8]] = [:]
        for name in (try? FileSystem.list(folder.path + "/orders-0")) ?? [] where name.hasSuffix(".txnindex") {
            files[name] = contents(folder.path + "/orders-0/" + name)
        }
        return files
    }
}

/// Numbers by a seed.
struct SplitMix {
    private var state: UInt64

    init(_ seed: UInt64) { self.state = seed }

    mutating func below(_ limit: Int) -> Int {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return Int((value ^ (value >> 31)) % UInt64(limit))
    }
}

extension LogConfig {
    static func with(_ change: (inout LogConfig) -> Void) -> LogConfig {
        var config = LogConfig()
        change(&config)
        return config
    }
}
