import Glibc
import KafkaRecords
import Synchronization

/// How segments are replaced, so that a start finds either the old ones or the new one, whenever the machine stops:
/// 1. The new files are written as `.cleaned` and synced. A start deletes them.
/// 2. They are renamed to `.swap`, the log last, and the folder is synced. From now on the new segment counts: a start
///    deletes the old files and gives the new ones their names. With a `.cleaned` beside them they do not count yet.
/// 3. In memory the new segment takes the place of the old ones, under the lock.
/// 4. The old files are renamed to `.deleted`, for file.delete.delay.ms; the folder is synced.
/// 5. The new files get their names, the log first; the folder is synced.
/// Readers of old segments go on with the files that they have open.
extension PartitionLog {
    /// - Parameter old: a run of this log's sealed segments. Nothing else changes them while the log is being cleaned.
    func replace(_ old: [SealedSegment], with cleaned: CleanedSegment, now: Int64) throws(IOError) {
        let base = cleaned.baseOffset
        guard let first = old.first, let last = old.last, first.baseOffset == base else { return }
        let new = try cleaned.sealed(nextOffset: last.nextOffset)
        let suffixes = PartitionFolder.Suffix.segmentSuffixes.filter {
            $0 != .txnindex || cleaned.hasTransactionIndex
        }
        for suffix in suffixes.reversed() {
            let path = self.folder.path(base, suffix)
            try FileSystem.rename(path + CleanedSegment.cleaned, to: path + CleanedSegment.swap)
        }
        try FileSystem.syncDirectory(self.folder.path)

        let delay = self.state.withLock { state -> Int64 in
            // Where this cannot be noted: the note from before there were new files holds on, and no list was written since.
            try? self.segmentsChange(&state)
            if let index = state.sealed.firstIndex(where: { $0 === first }), index + old.count <= state.sealed.count {
                state.sealed.replaceSubrange(index..<(index + old.count), with: [new])
            }
            // They name positions in the old files.
            state.readEnds.removeAll()
            return state.config.fileDeleteDelayMs
        }
        for segment in old {
            segment.markReplaced()
            self.environment.segmentCache.remove(segment)
        }
        for segment in old {
            for suffix in PartitionFolder.Suffix.allCases where suffix != .snapshot || segment.baseOffset != base {
                let path = self.folder.path(segment.baseOffset, suffix)
                guard try FileSystem.exists(path) else { continue }
                try FileSystem.rename(path, to: path + ".deleted")
                self.environment.trash.add(path + ".deleted", dueMs: now &+ delay)
            }
        }
        try FileSystem.syncDirectory(self.folder.path)

        for suffix in suffixes {
            let path = self.folder.path(base, suffix)
            try FileSystem.rename(path + CleanedSegment.swap, to: path)
            // The transaction index cannot be made anew: nobody must take it for the old one's.
            if suffix == .log, cleaned.hasTransactionIndex { try FileSystem.syncDirectory(self.folder.path) }
        }
        try FileSystem.syncDirectory(self.folder.path)
        try self.noteTransactionIndex(of: new)
        new.unpin()
    }
}

/// What a start does with the files of a cleaning that was cut short. Ottla's and Kafka's own are finished alike.
enum SwapRecovery {
    /// - Parameter names: of the files in the folder.
    /// - Returns: whether there was something to do, and the folder has other files now.
    static func finish(_ folder: PartitionFolder, _ names: [String]) throws(IOError) -> Bool {
        let cleaned = names.filter { $0.hasSuffix(CleanedSegment.cleaned) }
        var swaps = names.filter { $0.hasSuffix(CleanedSegment.swap) }
        guard !cleaned.isEmpty || !swaps.isEmpty else { return false }
        // Not all had been renamed: the old segments count. The names go in an order that leaves this to be seen.
        if let first = cleaned.compactMap({ PartitionFolder.parse($0)?.offset }).min() {
            let invalid = swaps.filter { PartitionFolder.parse($0).map { $0.offset >= first } ?? true }
            for name in invalid { try FileSystem.unlink(folder.path + "/" + name) }
            if !invalid.isEmpty { try FileSystem.syncDirectory(folder.path) }
            swaps.removeAll { invalid.contains($0) }
        }
        for name in cleaned { try FileSystem.unlink(folder.path + "/" + name) }
        let logs = swaps.filter { $0.hasSuffix(".log" + CleanedSegment.swap) }
        for name in logs {
            guard let (base, _) = PartitionFolder.parse(name) else { continue }
            try self.removeOld(base, folder, names, swaps)
        }
        if !logs.isEmpty { try FileSystem.syncDirectory(folder.path) }
        for name in logs {
            let path = folder.path + "/" + name
            try FileSystem.rename(path, to: String(path.dropLast(CleanedSegment.swap.count)))
        }
        if !logs.isEmpty { try FileSystem.syncDirectory(folder.path) }
        for name in swaps where !logs.contains(name) {
            let path = folder.path + "/" + name
            guard let (base, _) = PartitionFolder.parse(name), try FileSystem.exists(folder.path(base, .log)) else {
                try FileSystem.unlink(path)
                continue
            }
            try FileSystem.rename(path, to: String(path.dropLast(CleanedSegment.swap.count)))
        }
        if !swaps.isEmpty { try FileSystem.syncDirectory(folder.path) }
        return true
    }

    /// Deletes what went into a new segment: all that begins within its offsets.
    private static func removeOld(
        _ base: Int64, _ folder: PartitionFolder, _ names: [String], _ swaps: [String]
    ) throws(IOError) {
        let path = folder.path(base, .log) + CleanedSegment.swap
        let file = try FileSystem.open(path, .read)
        var next = base + 1
        _ = try SegmentView(
            baseOffset: base, file: file, end: try FileSystem.size(file), offsetIndex: nil, timeIndex: nil
        ).walk(from: 0, block: 64 << 10) { _, header in
            next = max(next, header.lastOffset + 1)
            return true
        }
        for name in names {
            guard let (offset, suffix) = PartitionFolder.parse(name), offset >= base, offset < next,
                let known = PartitionFolder.Suffix(rawValue: String(suffix)), known != .log || offset != base,
                known != .snapshot,
                // Renamed over in a moment.
                offset != base || !swaps.contains(name + CleanedSegment.swap)
            else { continue }
            try FileSystem.unlink(folder.path + "/" + name)
        }
    }
}
