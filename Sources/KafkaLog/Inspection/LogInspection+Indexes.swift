import KafkaPrimitives
import KafkaRecords

extension LogInspection {
    mutating func dumpOffsetIndex() throws(IOError) {
        let base = self.baseOffset
        try self.dumpEntries(OffsetIndexEntry.self) { entry in
            [.init("offset", .int(base &+ Int64(entry.relativeOffset))), .init("position", .int(entry.position))]
        }
        guard self.options.verify, let log = try self.logForVerification() else { return }
        var check = try OffsetIndexCheck(self.path, baseOffset: base)
        try Self.walk(log) { position, header throws(IOError) in try check.visit(position, header) }
        try check.finish()
        self.report(check.problems)
    }

    mutating func dumpTimeIndex() throws(IOError) {
        let base = self.baseOffset
        try self.dumpEntries(TimeIndexEntry.self) { entry in
            [.init("timestamp", .int(entry.timestamp)), .init("offset", .int(base &+ Int64(entry.relativeOffset)))]
        }
        guard self.options.verify, let log = try self.logForVerification() else { return }
        var check = try TimeIndexCheck(self.path, baseOffset: base)
        try Self.walk(log) { position, header throws(IOError) in try check.visit(position, header) }
        try check.finish(isSealed: false)
        self.report(check.problems)
    }

    mutating func dumpTransactionIndex() throws(IOError) {
        var last: AbortedTransaction?
        var problems: [InspectedProblem] = []
        let base = self.baseOffset
        try self.dumpEntries(AbortedTransaction.self) { entry in
            if !entry.isPlausible(baseOffset: base, nextOffset: .max, after: last) {
                problems.append(InspectedProblem(offset: entry.lastOffset, what: "an entry that cannot be right"))
            }
            last = entry
            return [
                .init("version", .int(0)), .init("producerId", .int(entry.producerID)),
                .init("firstOffset", .int(entry.firstOffset)), .init("lastOffset", .int(entry.lastOffset)),
                .init("lastStableOffset", .int(entry.lastStableOffset)),
            ]
        }
        if self.options.verify, let log = try self.logForVerification() {
            // What begins before the segment is told by the snapshot at its base, if there is one.
            var producers = ProducerStateManager()
            let snapshot = FileSystem.parent(of: self.path) + "/" + PartitionFolder.name(base) + ".snapshot"
            if let bytes = try FileSystem.contents(snapshot) {
                for (id, entry) in ProducerSnapshot.decode(bytes) ?? [:] { producers.restore(id, entry) }
            }
            var check = try TransactionIndexCheck(self.path, baseOffset: base, nextOffset: .max)
            try Self.walk(log) { position, header throws(IOError) in
                let marker = try log.marker(at: position, header)
                let aborted = producers.update(header, baseOffset: header.baseOffset, now: -1, marker: marker)
                if let aborted { try check.visit(aborted) }
            }
            try check.finish()
            problems = check.problems + check.missing
        }
        self.report(problems)
    }

    mutating func dumpSnapshot() throws(IOError) {
        guard let bytes = try FileSystem.contents(self.path) else { return self.damage("there is no such file") }
        guard let producers = ProducerSnapshot.decode(bytes) else {
            return self.damage("no snapshot of producers of version 1, or its CRC is wrong")
        }
        for (id, entry) in producers.sorted(by: { $0.key < $1.key }) {
            var fields: [InspectedValue.Field] = [
                .init("producerId", .int(id)), .init("producerEpoch", .int(entry.epoch)),
                .init("coordinatorEpoch", .int(entry.coordinatorEpoch)),
                .init(
                    "currentTxnFirstOffset",
                    entry.currentTransactionFirstOffset >= 0 ? .int(entry.currentTransactionFirstOffset) : .null),
                .init("lastTimestamp", .int(entry.lastTimestamp)),
            ]
            if let last = entry.last {
                fields += [
                    .init("firstSequence", .int(last.lastSequence < 0 ? -1 : last.firstSequence)),
                    .init("lastSequence", .int(last.lastSequence)), .init("lastOffset", .int(last.lastOffset)),
                    .init("offsetDelta", .int(last.offsetDelta)), .init("timestamp", .int(last.timestamp)),
                ]
            }
            self.emit(InspectedLine("producer", fields))
        }
    }

    // MARK: parts

    private mutating func dumpEntries<Entry: IndexEntry>(
        _: Entry.Type, _ fields: (Entry) -> [InspectedValue.Field]
    ) throws(IOError) {
        var reader = try EntryReader<Entry>(self.path)
        while true {
            switch try reader.next() {
            case .entry(_, let entry):
                self.emit(InspectedLine("entry", fields(entry)))
            case .reserved(let from):
                self.note("room for \(reader.count - from) more entries")
            case .end:
                if reader.surplusBytes > 0 { self.damage("\(reader.surplusBytes) bytes behind the last whole entry") }
                return
            }
        }
    }

    private mutating func logForVerification() throws(IOError) -> BatchReader? {
        let path = self.sibling(.log)
        guard try FileSystem.exists(path) else {
            self.damage("its log, \(path), is not there to compare it with")
            return nil
        }
        return try BatchReader(path)
    }

    private static func walk(
        _ reader: BatchReader, _ visit: (Int, RecordBatchHeader) throws(IOError) -> Void
    ) throws(IOError) {
        while true {
            switch try reader.next() {
            case .end: return
            case .damage: continue
            case .batch(let position, let header, _): try visit(position, header)
            }
        }
    }

    private mutating func report(_ problems: [InspectedProblem]) {
        for problem in problems {
            self.damage(problem.what, problem.offset.map { [.init("offset", .int($0))] } ?? [])
        }
    }
}
