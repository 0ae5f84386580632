import KafkaPrimitives
import KafkaRecords
import Synchronization
import Testing

@testable import KafkaLog

/// Random steps on a log and on an array of batches; both must tell the same.
@Suite struct RandomStepsTests {
    struct Random {
        var state: UInt64
        mutating func next() -> UInt64 {
            self.state = self.state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return self.state >> 33
        }
        mutating func below(_ limit: Int) -> Int { Int(self.next() % UInt64(limit)) }
    }

    struct ModelBatch: Equatable {
        var base: Int64
        var count: Int
        var timestamp: Int64
        var producer: Int64
        var sequence: Int32
        var last: Int64 { self.base + Int64(self.count) - 1 }
    }

    struct Model {
        var batches: [ModelBatch] = []
        var start: Int64 = 0
        var end: Int64 = 0
        var sequences: [Int64: Int32] = [:]
    }

    @Test(arguments: 0..<40) func agree(seed: Int) throws {
        var random = Random(state: UInt64(seed) &* 0x9E37_79B9_7F4A_7C15 &+ 1)
        let folder = TemporaryFolder()
        let path = folder.path + "/orders-0"
        var config = LogConfig()
        config.segmentBytes = 1500 + random.below(3000)
        config.indexIntervalBytes = 100 + random.below(600)
        config.retentionMs = -1
        var background = Manual()
        var log = try PartitionLog.make(folder, config: config, background: background, cacheLimit: 2)
        var model = Model()
        var mark: PartitionMark?
        var clock: Int64 = 1000
        var steps: [String] = []

        func reopen(_ hints: OpenHints) throws {
            background = Manual()
            log = try PartitionLog.open(
                orders, topicID: ordersID, folder: PartitionFolder(path: path), config: config,
                environment: LogEnvironment(background: background, segmentCache: SegmentCache(limit: 2)), hints: hints,
                now: clock
            ).log
        }

        for _ in 0..<120 {
            clock += Int64(random.below(20))
            let step = random.below(100)
            switch step {
            case 0..<60:
                let producer = Int64(random.below(3)) - 1
                let count = 1 + random.below(4)
                let sequence = producer < 0 ? -1 : model.sequences[producer] ?? 0
                let time = clock - Int64(random.below(50))
                let info = try log.append(
                    batch(
                        count, size: random.below(120), timestamp: time,
                        producer: producer < 0 ? nil : ProducerStamp(id: producer, sequence: sequence)),
                    epoch: Int32(clock / 500), now: clock
                ).get()
                steps.append("append \(count) by \(producer)")
                #expect(info.firstOffset == model.end && !info.isDuplicate)
                model.batches.append(
                    ModelBatch(base: model.end, count: count, timestamp: time, producer: producer, sequence: sequence))
                model.end += Int64(count)
                if producer >= 0 { model.sequences[producer] = sequence + Int32(count) }
            case 60..<66:
                background.runAll()
                steps.append("background")
            case 66..<72:
                mark = try log.takeMark(always: true)
                steps.append("mark at \(log.logEndOffset)")
            case 72..<75:
                try log.flush()
                steps.append("flush")
            case 75..<78:
                config.segmentBytes = 1500 + random.below(3000)
                config.indexIntervalBytes = 100 + random.below(600)
                log.update(config: config)
                steps.append("config")
            case 78..<81:
                config.retentionBytes = 3000
                log.update(config: config)
                _ = try log.deleteOldSegments(now: clock)
                config.retentionBytes = -1
                log.update(config: config)
                let start = log.snapshot.logStartOffset
                #expect(start >= model.start)
                model.start = start
                model.batches.removeAll { $0.last < start }
                steps.append("retention to \(start)")
            case 81..<83:
                let offset = model.start + Int64(random.below(Int(model.end - model.start) + 1))
                #expect(log.deleteRecords(before: offset))
                model.start = offset
                model.batches.removeAll { $0.last < offset }
                steps.append("delete before \(offset)")
            case 83..<85:
                // A duplicate of one of the last five batches of a producer, in an order that a retry has.
                guard let last = model.batches.last(where: { $0.producer >= 0 }) else { continue }
                let info = try log.append(
                    batch(last.count, producer: ProducerStamp(id: last.producer, sequence: last.sequence))
                ).get()
                #expect(info.isDuplicate && info.firstOffset == last.base)
                steps.append("duplicate of \(last.base)")
            case 85..<90:
                // Killed.
                try reopen(
                    OpenHints(mark: mark, recoveryPoint: log.recoveryPoint, logStartOffset: model.start))
                steps.append("kill")
            case 90..<93:
                // Machine died, all was on disk by luck.
                try reopen(OpenHints(recoveryPoint: log.recoveryPoint, logStartOffset: model.start))
                mark = nil
                steps.append("reboot")
            case 93..<96:
                try log.close()
                mark = try log.takeMark(always: true)
                try reopen(
                    OpenHints(
                        isClean: true, mark: random.below(2) == 0 ? mark : nil, recoveryPoint: log.recoveryPoint,
                        logStartOffset: model.start))
                mark = nil
                steps.append("restart")
            default:
                // Machine died, the end of the active segment did not reach the disk.
                let names = try FileSystem.list(path).filter { $0.hasSuffix(".log") }.sorted()
                let file = path + "/" + names[names.count - 1]
                let bytes = contents(file)
                let base = try #require(PartitionFolder.parse(names[names.count - 1])?.offset)
                let point = log.recoveryPoint
                var kept = 0
                var position = 0
                for header in FileSlice.headers(bytes) {
                    position += header.sizeInBytes
                    if header.lastOffset < point { kept = position }
                }
                guard bytes.count > kept else { continue }
                let size = kept + random.below(bytes.count - kept)
                write(Array(bytes[..<size]), to: file)
                var end = base
                position = 0
                for header in FileSlice.headers(bytes) {
                    position += header.sizeInBytes
                    if position <= size { end = header.lastOffset + 1 }
                }
                try reopen(OpenHints(recoveryPoint: point, logStartOffset: model.start))
                mark = nil
                model.end = end
                model.batches.removeAll { $0.base >= end }
                model.start = min(model.start, end)
                model.sequences = [:]
                for batch in model.batches where batch.producer >= 0 {
                    model.sequences[batch.producer] = batch.sequence + Int32(batch.count)
                }
                // Producers whose batches are all gone may still be in a snapshot.
                for (id, entry) in log.state.withLock({ $0.producers.producers }) where model.sequences[id] == nil {
                    model.sequences[id] = (entry.last?.lastSequence ?? -1) + 1
                }
                steps.append("power cut to \(end)")
            }
            // Producers forgotten by nobody: batches that retention took are in the log's memory still.
            let offsets = log.snapshot
            let context = "seed \(seed) after \(steps.suffix(12))"
            try #require(offsets.logEndOffset == model.end, "\(context)")
            try #require(offsets.logStartOffset == model.start, "\(context)")
            if random.below(4) == 0 {
                let headers = try log.readAll(from: model.start, maxBytes: 200 + random.below(3000))
                try #require(
                    headers.map(\.baseOffset) == model.batches.map(\.base), "\(context)")
                try #require(headers.map(\.lastOffset) == model.batches.map(\.last), "\(context)")
            }
            if !model.batches.isEmpty, random.below(4) == 0 {
                let offset = model.start + Int64(random.below(max(1, Int(model.end - model.start))))
                let read = try log.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get()
                let expected = model.batches.first { $0.last >= offset }
                try #require(read.slice?.batches().first?.baseOffset == expected?.base, "\(context), offset \(offset)")
                let time = clock - Int64(random.below(300))
                let found = try log.offset(forTimestamp: time).get()
                let wanted = model.batches.first { $0.timestamp >= time }.map { max($0.base, model.start) }
                try #require(found?.offset == wanted, "\(context), time \(time)")
            }
        }
    }
}

extension FileSlice {
    static func headers(_ bytes: [UInt8]) -> [RecordBatchHeader] {
        var headers: [RecordBatchHeader] = []
        var position = 0
        while position < bytes.count,
            let header = bytes.withUnsafeBytes({
                RecordBatchHeader(UnsafeRawBufferPointer(rebasing: $0[position...]))
            })
        {
            headers.append(header)
            position += header.sizeInBytes
        }
        return headers
    }
}
