import KafkaRecords
import Testing

@testable import KafkaLog

@Suite struct RecoveryTests {
    let folder = TemporaryFolder()

    private var config: LogConfig {
        var config = LogConfig()
        config.segmentBytes = 3000
        config.indexIntervalBytes = 200
        return config
    }

    private var activePath: String {
        get throws {
            let names = try FileSystem.list(self.folder.path + "/orders-0").filter { $0.hasSuffix(".log") }.sorted()
            return self.folder.path + "/orders-0/" + (try #require(names.last))
        }
    }

    /// Cuts the last batch at every byte: what is left is the log without it, from no byte of it to all but one.
    @Test(arguments: [false, true])
    func aTornTailIsCutAtEveryByte(withMark: Bool) throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for index in 0..<45 {
            log.append(batch(2, timestamp: Int64(index), producer: ProducerStamp(id: 5, sequence: Int32(index * 2))))
        }
        let mark = withMark ? try log.takeMark() : nil
        // The last batches come after the mark.
        for index in 45..<47 {
            log.append(batch(2, timestamp: Int64(index), producer: ProducerStamp(id: 5, sequence: Int32(index * 2))))
        }
        let path = try self.activePath
        let whole = contents(path)
        let last = batch(2, producer: ProducerStamp(id: 5, sequence: 0)).count
        for size in (whole.count - last)..<whole.count {
            let copy = self.folder.copy()
            write(Array(whole[..<size]), to: path.replacingPrefix(self.folder.path, copy.path))
            let (again, report) = try PartitionLog.reopen(copy, config: self.config, mark: mark)
            #expect(again.logEndOffset == 92)
            #expect(report.bytesCut == size - (whole.count - last))
            #expect(try again.readAll().map(\.baseOffset) == (0..<46).map { Int64($0 * 2) })
            // The sequence goes on where the log ends, and the batch that is still there is known.
            let repeated = try again.append(batch(2, producer: ProducerStamp(id: 5, sequence: 90))).get()
            #expect(repeated.isDuplicate && repeated.firstOffset == 90)
            let next = try again.append(batch(2, producer: ProducerStamp(id: 5, sequence: 92))).get()
            #expect(next.firstOffset == 92)
        }
    }

    /// Flips each byte that the CRC covers, and those of length and magic.
    @Test func aFlippedByteEndsTheLog() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<10 { log.append(batch(2)) }
        let path = try self.activePath
        let whole = contents(path)
        let size = whole.count / 10
        for byte in 0..<size where !(12..<16).contains(byte) && byte > 7 {
            let copy = self.folder.copy()
            var damaged = whole
            damaged[6 * size + byte] ^= 0x10
            write(damaged, to: path.replacingPrefix(self.folder.path, copy.path))
            let (again, report) = try PartitionLog.reopen(copy, config: self.config)
            #expect(again.logEndOffset == 12, "byte \(byte)")
            #expect(report.bytesCut == 4 * size)
            #expect(try again.readAll().count == 6)
        }
    }

    @Test func garbageAndZerosAtTheEndAreCut() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<10 { log.append(batch(2)) }
        let path = try self.activePath
        let whole = contents(path)
        for tail in [[UInt8](repeating: 0, count: 1000), [UInt8](repeating: 0xFF, count: 70), [1]] {
            let copy = self.folder.copy()
            write(whole + tail, to: path.replacingPrefix(self.folder.path, copy.path))
            let (again, report) = try PartitionLog.reopen(copy, config: self.config)
            #expect(again.logEndOffset == 20)
            #expect(report.bytesCut == tail.count)
            #expect(contents(again.path + "/00000000000000000000.log") == whole)
        }
    }

    /// What looks like the header of a batch may name any length: nothing is read or allocated because of it.
    @Test(arguments: [Int32.max, .max - 12, 1 << 30, 49, 48, 0, -1, .min])
    func aHeaderWithALengthThatIsALieIsCut(length: Int32) throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<10 { log.append(batch(2)) }
        let path = try self.activePath
        let whole = contents(path)
        var header = RecordBatchHeader(baseOffset: 20)
        header.batchLength = length
        var tail = [UInt8](repeating: 0, count: 200)
        tail.withUnsafeMutableBytes { header.write(to: $0) }
        for isClean in [false, true] {
            let copy = self.folder.copy()
            write(whole + tail, to: path.replacingPrefix(self.folder.path, copy.path))
            let (again, report) = try PartitionLog.reopen(copy, config: self.config, clean: isClean)
            #expect(again.logEndOffset == 20)
            #expect(report.bytesCut == tail.count)
            #expect(contents(again.path + "/00000000000000000000.log") == whole)
        }
    }

    @Test func onlySegmentsBeyondTheRecoveryPointAreRead() throws {
        let background = Manual()
        let log = try PartitionLog.make(self.folder, config: self.config, background: background)
        for _ in 0..<200 { log.append(batch(2)) }
        let point = log.logEndOffset
        try log.flush()
        #expect(log.recoveryPoint == point)
        for _ in 0..<200 { log.append(batch(2)) }
        let (again, report) = try PartitionLog.reopen(self.folder, config: self.config, recoveryPoint: point)
        #expect(again.logEndOffset == 800)
        #expect(Int64(report.bytesScanned) < log.sizeInBytes * 6 / 10)
        #expect(Int64(report.bytesScanned) > log.sizeInBytes * 4 / 10)
        #expect(try again.readAll().count == 400)
        #expect(again.recoveryPoint == point)
    }

    @Test func segmentsAfterADamagedOneAreDropped() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<200 { log.append(batch(2)) }
        let names = try FileSystem.list(log.path).filter { $0.hasSuffix(".log") }.sorted()
        #expect(names.count > 4)
        let path = log.path + "/" + names[2]
        var bytes = contents(path)
        bytes[bytes.count / 2] ^= 1
        write(bytes, to: path)
        let (again, report) = try PartitionLog.reopen(self.folder, config: self.config)
        #expect(again.segmentCount == 3)
        #expect(report.bytesCut > 0)
        let headers = try again.readAll()
        #expect((headers.last?.lastOffset ?? 0) + 1 == again.logEndOffset)
        #expect(again.logEndOffset < 400)
        #expect(try again.append(batch()).get().firstOffset == again.logEndOffset - 1)
        #expect(try FileSystem.list(log.path).filter { $0.hasSuffix(".log") }.count == 3)
    }

    @Test func afterAMarkOnlyWhatFollowsIsRead() throws {
        let log = try PartitionLog.make(self.folder, config: LogConfig())
        for _ in 0..<1000 { log.append(batch(2, size: 100)) }
        let mark = try #require(try log.takeMark())
        #expect(try log.takeMark() == nil)
        for _ in 0..<10 { log.append(batch(2, size: 100)) }
        let (again, report) = try PartitionLog.reopen(self.folder, mark: mark)
        #expect(report.bytesScanned == 10 * batch(2, size: 100).count)
        #expect(again.logEndOffset == 2020)
        #expect(try again.readAll().count == 1010)
        #expect(try again.readAll(from: 777, maxBytes: 1000).count == 1010 - 388)
    }

    @Test func aMarkHoldsAcrossRolls() throws {
        let background = Manual()
        let log = try PartitionLog.make(self.folder, config: self.config, background: background)
        for index in 0..<40 {
            log.append(batch(2, producer: ProducerStamp(id: 8, sequence: Int32(index * 2))), epoch: 1)
        }
        let mark = try #require(try log.takeMark())
        for index in 40..<200 {
            log.append(batch(2, producer: ProducerStamp(id: 8, sequence: Int32(index * 2))), epoch: 2)
        }
        let segments = log.segmentCount
        let (again, report) = try PartitionLog.reopen(self.folder, config: self.config, mark: mark)
        #expect(Int64(report.bytesScanned) == log.sizeInBytes * 160 / 200)
        #expect(again.segmentCount == segments)
        #expect(again.latestEpoch == 2)
        #expect(again.endOffset(forEpoch: 1) == (1, 80))
        #expect(try again.readAll().count == 200)
        #expect(try again.append(batch(2, producer: ProducerStamp(id: 8, sequence: 392))).get().isDuplicate)
        #expect(try again.append(batch(2, producer: ProducerStamp(id: 8, sequence: 400))).get().firstOffset == 400)
    }

    /// A log that was cut and written again does not fit its mark: it is read whole.
    @Test func aMarkThatDoesNotFitIsNotBelieved() throws {
        let log = try PartitionLog.make(self.folder)
        for _ in 0..<50 { log.append(batch(2)) }
        let mark = try #require(try log.takeMark())
        try log.truncate(to: 60, now: 1)
        #expect(log.logEndOffset == 60)
        for _ in 0..<30 { log.append(batch(3)) }
        let (again, report) = try PartitionLog.reopen(self.folder, mark: mark)
        #expect(Int64(report.bytesScanned) == log.sizeInBytes)
        #expect(again.logEndOffset == 150)
        #expect(try again.readAll().count == 60)
    }

    /// The five last batches of a producer are known after a crash and after a clean shutdown.
    @Test(arguments: [false, true])
    func allRememberedBatchesSurvive(clean: Bool) throws {
        let log = try PartitionLog.make(self.folder)
        for index in 0..<9 { log.append(batch(2, producer: ProducerStamp(id: 3, sequence: Int32(index * 2)))) }
        if clean { try log.close() }
        let mark = try #require(try log.takeMark(always: true))
        let (again, report) = try PartitionLog.reopen(self.folder, clean: clean, mark: mark)
        #expect(report.bytesScanned == 0)
        for index in 4..<9 {
            let info = try again.append(batch(2, producer: ProducerStamp(id: 3, sequence: Int32(index * 2)))).get()
            #expect(info.isDuplicate && info.firstOffset == Int64(index * 2))
        }
        #expect(throws: AppendError.self) {
            try again.append(batch(2, producer: ProducerStamp(id: 3, sequence: 6))).get()
        }
    }

    @Test func producersComeFromSnapshotAndReplay() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        log.append(batch(1, producer: ProducerStamp(id: 99, sequence: 0)))
        for index in 0..<200 { log.append(batch(2, producer: ProducerStamp(id: 3, sequence: Int32(index * 2)))) }
        try log.flush()
        // Below the recovery point only headers are read, from the newest snapshot on.
        let (again, _) = try PartitionLog.reopen(self.folder, config: self.config, recoveryPoint: log.recoveryPoint)
        #expect(again.producerCount == 2)
        #expect(try again.append(batch(1, producer: ProducerStamp(id: 99, sequence: 0))).get().isDuplicate)
        #expect(try again.append(batch(2, producer: ProducerStamp(id: 3, sequence: 398))).get().isDuplicate)
        // A damaged snapshot is left out, an older one taken.
        let names = try FileSystem.list(log.path).filter { $0.hasSuffix(".snapshot") }.sorted()
        #expect(names.count > 2)
        for name in names.suffix(2) { write([1, 2, 3], to: log.path + "/" + name) }
        let (third, _) = try PartitionLog.reopen(self.folder, config: self.config, recoveryPoint: log.recoveryPoint)
        #expect(try third.append(batch(1, producer: ProducerStamp(id: 99, sequence: 0))).get().isDuplicate)
        #expect(try third.append(batch(2, producer: ProducerStamp(id: 3, sequence: 398))).get().isDuplicate)
    }

    @Test(arguments: ["missing", "short", "long", "stale", "odd", "zeros"])
    func indexesAreRebuilt(how: String) throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for index in 0..<200 { log.append(batch(1 + index % 3, timestamp: Int64(index * 10))) }
        let end = log.logEndOffset
        let wanted = try log.readAll()
        let time = try log.offset(forTimestamp: 1000).get()
        try log.close()
        for name in try FileSystem.list(log.path) where name.hasSuffix("index") {
            let path = log.path + "/" + name
            let bytes = contents(path)
            switch how {
            case "missing": try FileSystem.unlink(path)
            case "short": write(Array(bytes.dropLast(name.hasSuffix(".index") ? 8 : 12)), to: path)
            case "long": write(bytes + [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], to: path)
            case "stale": write(bytes.map { $0 &+ 1 }, to: path)
            case "odd": write(bytes + [1], to: path)
            default: write([UInt8](repeating: 0, count: bytes.count), to: path)
            }
        }
        for clean in [false, true] {
            let copy = self.folder.copy()
            let (again, _) = try PartitionLog.reopen(copy, config: self.config, clean: clean, recoveryPoint: end)
            #expect(again.logEndOffset == end)
            #expect(try again.readAll() == wanted)
            for offset in stride(from: Int64(0), to: end, by: 11) {
                let read = try again.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get()
                let first = try #require(read.slice?.batches().first)
                #expect(first.baseOffset <= offset && first.lastOffset >= offset)
            }
            #expect(try again.offset(forTimestamp: 1000).get() == time)
        }
    }

    /// Those of the active segment are taken over with a mark, by their length; they are looked into before they are used.
    @Test(arguments: ["missing", "short", "long", "stale", "odd", "zeros", "right"])
    func activeIndexesAreRebuiltInSpiteOfAMark(how: String) throws {
        var config = self.config
        config.segmentBytes = 1 << 20
        let log = try PartitionLog.make(self.folder, config: config)
        for index in 0..<200 { log.append(batch(1 + index % 3, timestamp: Int64(index * 10))) }
        let mark = try #require(try log.takeMark())
        for index in 200..<230 { log.append(batch(1 + index % 3, timestamp: Int64(index * 10))) }
        let end = log.logEndOffset
        let wanted = try log.readAll()
        let times = try stride(from: Int64(0), to: 2400, by: 70).map { try log.offset(forTimestamp: $0).get() }
        for name in try FileSystem.list(log.path) where name.hasSuffix("index") {
            let path = log.path + "/" + name
            let bytes = contents(path)
            #expect(!bytes.isEmpty)
            switch how {
            case "missing": try FileSystem.unlink(path)
            case "short": write(Array(bytes.dropLast(24)), to: path)
            case "long": write(bytes + [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1], to: path)
            case "stale": write(bytes.map { $0 &+ 1 }, to: path)
            case "odd": write(bytes + [1], to: path)
            case "zeros": write([UInt8](repeating: 0, count: bytes.count), to: path)
            default: break
            }
        }
        for (clean, sameBoot, rolls) in [(false, true, false), (true, false, false), (false, true, true)] {
            let copy = self.folder.copy()
            let (again, _) = try PartitionLog.reopen(
                copy, config: config, clean: clean, mark: mark, isSameBoot: sameBoot)
            #expect(again.logEndOffset == end)
            if rolls {
                // Nobody has read from it yet when it is sealed.
                config.segmentBytes = 3000
                again.update(config: config)
                again.append(batch(timestamp: 5000))
                #expect(again.segmentCount == 2)
            }
            #expect(try again.readAll().prefix(wanted.count) == wanted[...])
            for (index, timestamp) in stride(from: Int64(0), to: 2300, by: 70).enumerated() {
                #expect(try again.offset(forTimestamp: timestamp).get() == times[index], "\(timestamp)")
            }
            for offset in stride(from: Int64(0), to: end, by: 11) {
                let read = try again.read(from: offset, maxBytes: 1, upTo: .max, minOneMessage: true).get()
                let first = try #require(read.slice?.batches().first)
                #expect(first.baseOffset <= offset && first.lastOffset >= offset)
            }
        }
    }

    /// What a process wrote before it was killed is believed, but for the end.
    @Test func onTheSameBootTheEndIsChecked() throws {
        let log = try PartitionLog.make(self.folder)
        for _ in 0..<20 { log.append(batch(2)) }
        let mark = try #require(try log.takeMark())
        for _ in 0..<60 { log.append(batch(1, size: 100_000)) }
        let path = try self.activePath
        let whole = contents(path)
        let size = batch(1, size: 100_000).count
        // (the damaged byte, how many batches are left)
        for (byte, left) in [(whole.count - 1, 79), (whole.count - 5 * size - 50, 74), (whole.count, 80)] {
            let copy = self.folder.copy()
            var damaged = whole
            if byte < whole.count { damaged[byte] ^= 1 }
            write(damaged, to: path.replacingPrefix(self.folder.path, copy.path))
            let (again, report) = try PartitionLog.reopen(copy, mark: mark, isSameBoot: true)
            #expect(report.bytesScanned + report.bytesCut == 60 * size)
            #expect(report.bytesCut == (80 - left) * size)
            #expect(try again.readAll().count == left)
            #expect(try again.append(batch(2)).get().firstOffset == Int64(left) + 20)
        }
    }

    /// A snapshot beyond the end is of what is gone: other records will have its offset.
    @Test(arguments: [false, true])
    func snapshotsBeyondTheEndGo(withMark: Bool) throws {
        let log = try PartitionLog.make(self.folder)
        for index in 0..<10 { log.append(batch(producer: ProducerStamp(id: 1, sequence: Int32(index)))) }
        try log.close()
        let mark = withMark ? try log.takeMark(always: true) : nil
        let path = try self.activePath
        write(Array(contents(path).dropLast(batch(producer: ProducerStamp(id: 1, sequence: 0)).count)), to: path)
        let (again, _) = try PartitionLog.reopen(self.folder, clean: true, mark: mark)
        #expect(again.logEndOffset == 9)
        #expect(try !FileSystem.exists(log.path + "/00000000000000000010.snapshot"))
        again.append(batch(producer: ProducerStamp(id: 2, sequence: 0)))
        try again.close()
        let (third, _) = try PartitionLog.reopen(self.folder, clean: true)
        #expect(try third.append(batch(producer: ProducerStamp(id: 2, sequence: 0))).get().isDuplicate)
    }

    @Test func leftoversGo() throws {
        let log = try PartitionLog.make(self.folder)
        for _ in 0..<5 { log.append(batch()) }
        for name in [
            "00000000000000000000.log.deleted", "00000000000000000000.index.cleaned",
            PartitionFolder.nextSegment, "leader-epoch-checkpoint.tmp", "00000000000000000099.index",
        ] {
            write([1], to: log.path + "/" + name)
        }
        let (again, _) = try PartitionLog.reopen(self.folder)
        #expect(again.logEndOffset == 5)
        let names = try FileSystem.list(log.path)
        #expect(names.allSatisfy { !$0.hasSuffix("deleted") && !$0.hasSuffix("cleaned") && !$0.hasSuffix("tmp") })
        #expect(!names.contains(PartitionFolder.nextSegment) && !names.contains("00000000000000000099.index"))
    }

    @Test func aSwapIsCompleted() throws {
        let log = try PartitionLog.make(self.folder, config: self.config)
        for _ in 0..<100 { log.append(batch(2)) }
        let names = try FileSystem.list(log.path).filter { $0.hasSuffix(".log") }.sorted()
        // The first two segments had been cleaned into one that keeps a single batch of the second.
        let second = contents(log.path + "/" + names[1])
        let kept = Array(second[..<batch(2).count])
        write(kept, to: log.path + "/" + names[0] + ".swap")
        let (again, _) = try PartitionLog.reopen(
            self.folder, config: self.config, clean: true, recoveryPoint: log.logEndOffset)
        #expect(contents(log.path + "/" + names[0]) == kept)
        #expect(again.logEndOffset == 200)
        // Offsets that are gone lead to the batch after them.
        let first = try #require(try again.readAll().first)
        #expect(first.baseOffset > 0)
    }
}

extension String {
    func replacingPrefix(_ prefix: String, _ other: String) -> String { other + self.dropFirst(prefix.count) }
}
