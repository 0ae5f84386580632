import KafkaLog
import KafkaMessages
import KafkaPrimitives
import KafkaRecords

/// Reads Kafka's metadata log: the newest snapshot, then the segments of the log behind it. With one controller all
/// that is in the log counts: there is nobody who could have outvoted it.
///
/// Strict, since whatever is missing would be missing for good: every CRC is checked, offsets must follow one another,
/// and bytes that are no whole batch are damage.
package struct KafkaMetadataLog: Sendable {
    package private(set) var state = KafkaMetadataState()
    /// The offset after the last record.
    package private(set) var endOffset: Int64 = 0

    /// What lies before is in the snapshot.
    private var skipBefore: Int64 = 0

    package init() {}

    /// Everything that a folder has. Blocks.
    package static func read(_ folder: KafkaFolder) throws(KafkaMetadataError) -> KafkaMetadataLog {
        var log = KafkaMetadataLog()
        func contents(_ name: String) throws(KafkaMetadataError) -> [UInt8] {
            do throws(IOError) {
                if let bytes = try folder.contents(name) { return bytes }
            } catch {
                throw KafkaMetadataError("\(KafkaFolder.metadataLog)/\(name) cannot be read: \(error)")
            }
            throw KafkaMetadataError("\(KafkaFolder.metadataLog)/\(name) is gone")
        }
        if let snapshot = folder.snapshots.last {
            try log.load(snapshot: contents(snapshot.name), name: snapshot.name, endOffset: snapshot.endOffset)
        }
        // Segments that the snapshot covers whole are not looked at.
        let first = folder.segments.lastIndex { $0.baseOffset <= log.endOffset } ?? 0
        for segment in folder.segments.dropFirst(first) {
            try log.append(segment: contents(segment.name), name: segment.name, baseOffset: segment.baseOffset)
        }
        return log
    }

    // MARK: a snapshot

    /// - Parameter endOffset: what its name says: the offset of the log from which records are to follow.
    package mutating func load(snapshot bytes: [UInt8], name: String, endOffset: Int64) throws(KafkaMetadataError) {
        var next: Int64 = 0
        var isBegun = false
        var isEnded = false
        try self.walk(bytes, name) { (state, header, records) throws(KafkaMetadataError) in
            guard !isEnded, header.baseOffset == next else { throw KafkaMetadataError("has batches out of order") }
            next = header.lastOffset &+ 1
            while let record = try nextRecord(&records) {
                guard header.isControl else {
                    guard isBegun else { throw KafkaMetadataError("does not begin with a header") }
                    try state.apply(record)
                    continue
                }
                switch record.key.flatMap({ ControlRecordType(key: $0) }) {
                case .snapshotHeader: isBegun = true
                case .snapshotFooter: isEnded = true
                default: try state.apply(control: record)
                }
            }
        }
        guard isBegun, isEnded else {
            throw KafkaMetadataError("\(name) is damaged: it has no end; it may have been cut off")
        }
        self.endOffset = endOffset
        self.skipBefore = endOffset
    }

    // MARK: the log

    package mutating func append(segment bytes: [UInt8], name: String, baseOffset: Int64) throws(KafkaMetadataError) {
        // The first may begin before the snapshot's end, all others where the one before ends.
        guard baseOffset == self.endOffset || (baseOffset < self.endOffset && self.endOffset == self.skipBefore) else {
            throw KafkaMetadataError(
                "\(name) is damaged: it begins at offset \(baseOffset), but what came before ends at \(self.endOffset)")
        }
        let skipBefore = self.skipBefore
        var next = baseOffset
        try self.walk(bytes, name) { (state, header, records) throws(KafkaMetadataError) in
            guard header.baseOffset == next, header.lastOffset >= header.baseOffset,
                Int64(header.recordsCount) == header.lastOffset &- header.baseOffset &+ 1
            else {
                throw KafkaMetadataError(
                    "offset \(next) was expected, a batch from \(header.baseOffset) to \(header.lastOffset) found")
            }
            next = header.lastOffset &+ 1
            while let record = try nextRecord(&records) {
                guard record.offset >= skipBefore else { continue }
                if header.isControl { try state.apply(control: record) } else { try state.apply(record) }
            }
        }
        self.endOffset = max(self.endOffset, next)
    }

    private mutating func walk(
        _ bytes: [UInt8], _ name: String,
        _ body: (inout KafkaMetadataState, RecordBatchHeader, inout RecordBatchIterator) throws(KafkaMetadataError) ->
            Void
    ) throws(KafkaMetadataError) {
        var state = self.state
        let scratch = DecompressionScratch()
        let result = bytes.withUnsafeBytes { bytes in
            Result<Void, KafkaMetadataError> { () throws(KafkaMetadataError) in
                var slices = RecordBatchSlices(bytes)
                while slices.remainingBytes > 0 {
                    let position = bytes.count - slices.remainingBytes
                    do throws(KafkaMetadataError) {
                        try Self.step(&slices, scratch, &state, body)
                    } catch {
                        throw KafkaMetadataError("\(name), at byte \(position): \(error)")
                    }
                }
            }
        }
        try result.get()
        self.state = state
    }

    private static func step(
        _ slices: inout RecordBatchSlices, _ scratch: DecompressionScratch, _ state: inout KafkaMetadataState,
        _ body: (inout KafkaMetadataState, RecordBatchHeader, inout RecordBatchIterator) throws(KafkaMetadataError) ->
            Void
    ) throws(KafkaMetadataError) {
        var records: RecordBatchIterator
        let header: RecordBatchHeader
        do throws(RecordBatchError) {
            guard let slice = try slices.next() else {
                throw RecordBatchError.tooShort
            }
            header = slice.header
            records = try RecordBatchIterator(slice.bytes, scratch: scratch)
        } catch {
            throw KafkaMetadataError(error.damage)
        }
        try body(&state, header, &records)
    }
}

/// A record of a batch that is damaged in spite of its CRC is damage like any other.
private func nextRecord(_ records: inout RecordBatchIterator) throws(KafkaMetadataError) -> RecordView? {
    do throws(RecordBatchError) { return try records.next() } catch { throw KafkaMetadataError(error.damage) }
}

extension RecordBatchError {
    fileprivate var damage: String {
        switch self {
        case .wrongCRC: "damaged: the CRC of a batch is wrong"
        case .tooShort: "damaged: it ends within a batch"
        default: "damaged: \(self)"
        }
    }
}

extension KafkaMetadataState {
    fileprivate mutating func apply(_ record: RecordView) throws(KafkaMetadataError) {
        guard let value = record.value else { throw KafkaMetadataError("the record \(record.offset) has no value") }
        do throws(KafkaMetadataError) { try self.apply(frame: value) } catch {
            throw KafkaMetadataError("record \(record.offset): \(error)")
        }
    }

    fileprivate mutating func apply(control record: RecordView) throws(KafkaMetadataError) {
        guard let key = record.key, let type = ControlRecordType(key: key), let value = record.value else {
            throw KafkaMetadataError("the control record \(record.offset) is not known")
        }
        do throws(DecodingError) {
            switch type {
            case .kraftVersion: self.kraftVersion = try KRaftVersionRecord(decoding: value, version: 0).kRaftVersion
            case .kraftVoters: self.voters = try VotersRecord(decoding: value, version: 0).voters.map(\.voterID)
            case .leaderChange, .snapshotHeader, .snapshotFooter: break
            case .abort, .commit:
                throw DecodingError.unsupportedVersion(type.rawValue)
            }
        } catch {
            throw KafkaMetadataError("the control record \(record.offset) (\(type)) cannot be read: \(error)")
        }
    }
}
