import Glibc
import KafkaRecords

/// One segment opened for reading: its file up to `end`, and its indexes where they can be had. A value over shared
/// files; it is used outside of the log's lock.
struct SegmentView: Sendable {
    let baseOffset: Int64
    var file: LogFile
    /// Bytes of the file that count.
    var end: Int
    var offsetIndex: IndexFile<OffsetIndexEntry>?
    var timeIndex: IndexFile<TimeIndexEntry>?
    /// What of it is known to be whole or damaged; nil: all is trusted, or it is not looked at.
    var checks: SegmentChecks?
    /// Nothing waits for the disk: what is not in the page cache is an error, EAGAIN.
    var readsNow = false

    /// The same for an event loop.
    func now() -> SegmentView {
        var view = self
        view.readsNow = true
        view.offsetIndex?.readsNow = true
        view.timeIndex?.readsNow = true
        return view
    }

    struct Located {
        var position: Int
        var header: RecordBatchHeader
    }

    /// What a walk over batches found at a position that should begin one.
    enum WalkEnd {
        /// The visitor had enough.
        case stopped
        /// The end of what counts.
        case end
        /// No batch: garbage, or one that is not whole.
        case invalid(position: Int)
    }

    /// Calls `visit` with each batch from `position` on, by headers alone: nothing is read of the records but what comes
    /// along in a block. What is known to be damaged is left out. `visit` returns false to stop.
    func walk(
        from start: Int, block: Int = 4096, _ visit: (Int, RecordBatchHeader) -> Bool
    ) throws(IOError) -> WalkEnd {
        var failure: IOError?
        let damaged = self.checks?.damagedNow() ?? []
        let result = withUnsafeTemporaryAllocation(byteCount: block, alignment: 16) { buffer -> WalkEnd in
            var position = start
            var bufferStart = 0
            var bufferCount = 0
            while position < self.end {
                if !damaged.isEmpty, let range = damaged.first(where: { $0.contains(position) }) {
                    position = range.end
                    continue
                }
                if position < bufferStart || position + RecordBatchHeader.size > bufferStart + bufferCount {
                    let wanted = min(buffer.count, self.end - position)
                    do throws(IOError) {
                        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
                        bufferCount =
                            self.readsNow
                            ? try FileSystem.readNow(
                                self.file, bytes, at: position, atLeast: RecordBatchHeader.size)
                            : try FileSystem.read(self.file, bytes, at: position)
                    } catch {
                        failure = error
                        return .end
                    }
                    bufferStart = position
                }
                let offset = position - bufferStart
                guard bufferCount - offset >= RecordBatchHeader.size,
                    let header = RecordBatchHeader(UnsafeRawBufferPointer(rebasing: buffer[offset..<bufferCount])),
                    header.isPlausible, header.sizeInBytes <= self.end - position
                else { return .invalid(position: position) }
                if !visit(position, header) { return .stopped }
                position += header.sizeInBytes
            }
            return .end
        }
        if let failure { throw failure }
        return result
    }

    func header(at position: Int) throws(IOError) -> RecordBatchHeader? {
        var found: RecordBatchHeader?
        _ = try self.walk(from: position, block: RecordBatchHeader.size) { _, header in
            found = header
            return false
        }
        return found
    }

    /// The first batch whose last offset is at or after `offset`. `hint` must be the begin of a batch that is not behind
    /// it. Nil where there is none.
    func locate(_ offset: Int64, from hint: Int) throws(IOError) -> Located? {
        var found: Located?
        let end = try self.walk(from: hint) { position, header in
            if header.lastOffset < offset { return true }
            found = Located(position: position, header: header)
            return false
        }
        if case .invalid(let position) = end { throw self.damage(at: position) }
        return found
    }

    /// The first batch whose last offset is at or after `offset`, by way of the index, or of `hint` where that is nearer.
    /// An index that lies costs time, not correctness: what it names is checked.
    func locate(_ offset: Int64, hint: Int? = nil) throws(IOError) -> Located? {
        let relative = offset &- self.baseOffset
        if hint == nil, let index = self.offsetIndex, index.count > 0,
            let entry = try index.last(where: { Int64($0.relativeOffset) <= relative })
        {
            var found: Located?
            let isRight = try self.walk(from: entry) { position, header in
                if header.lastOffset < offset { return true }
                found = Located(position: position, header: header)
                return false
            }
            if isRight && found != nil { return found }
        }
        return try self.locate(offset, from: hint ?? 0)
    }

    /// A walk from the batch that an index entry names; false, before anything is visited, where it names none.
    private func walk(
        from entry: OffsetIndexEntry, _ visit: (Int, RecordBatchHeader) -> Bool
    ) throws(IOError) -> Bool {
        let start = Int(entry.position)
        guard start >= 0, start < self.end else { return false }
        var isRight = false
        let lastOffset = self.baseOffset &+ Int64(entry.relativeOffset)
        _ = try self.walk(from: start) { position, header in
            if position == start {
                isRight = header.lastOffset == lastOffset
                if !isRight { return false }
            }
            return visit(position, header)
        }
        return isRight
    }

    /// Bytes that are no batch, where one must be.
    func damage(at position: Int) -> IOError {
        IOError(.read, "\(PartitionFolder.name(self.baseOffset)).log at byte \(position)", code: EBADMSG)
    }

    /// Whether an index entry names a batch of this segment.
    func agrees(_ entry: OffsetIndexEntry) throws(IOError) -> Bool {
        guard entry.position >= 0, Int(entry.position) < self.end else { return false }
        guard let header = try self.header(at: Int(entry.position)) else { return false }
        return header.lastOffset &- self.baseOffset == Int64(entry.relativeOffset)
    }

    /// The last batch that begins at or before `position`, searched from `floor`, which begins one, or nearer by `hint`
    /// or the index.
    func boundary(atOrBefore position: Int, floor: Int, hint: Int?) throws(IOError) -> Located? {
        var found: Located?
        func visit(_ at: Int, _ header: RecordBatchHeader) -> Bool {
            if at > position { return false }
            found = Located(position: at, header: header)
            return true
        }
        if hint == nil, let index = self.offsetIndex, index.count > 0,
            let entry = try index.last(where: { Int($0.position) <= position }), Int(entry.position) > floor,
            try self.walk(from: entry, visit)
        {
            return found
        }
        _ = try self.walk(from: max(floor, hint ?? floor), visit)
        return found
    }
}

extension RecordBatchHeader {
    /// What a header must satisfy before its length is followed.
    var isPlausible: Bool {
        self.magic == 2 && self.batchLength >= Int32(RecordBatchHeader.size - 12) && self.baseOffset >= 0
            && self.lastOffsetDelta >= 0 && self.baseOffset < .max - Int64(self.lastOffsetDelta)
    }
}
