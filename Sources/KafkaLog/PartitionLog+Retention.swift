import Glibc
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// Deletes the segments that retention.ms, retention.bytes or the log start offset have left behind, oldest first and
    /// none that holds offsets at or above the high watermark. With cleanup.policy=compact alone only the log start
    /// offset counts. Their files go after file.delete.delay.ms.
    /// - Returns: how many were deleted.
    @discardableResult
    package func deleteOldSegments(now: Int64) throws(IOError) -> Int {
        // Largest timestamps are in index files: asked for before the lock is taken.
        let (candidates, config) = self.state.withLock { ($0.sealed, $0.config) }
        var expiredCount = 0
        if config.cleanupPolicy.contains(.delete), config.retentionMs >= 0 {
            for segment in candidates {
                guard try self.isExpired(segment, config, now) else { break }
                expiredCount += 1
            }
        }
        let expired = Set(candidates.prefix(expiredCount).map(ObjectIdentifier.init))
        var rolled: RolledSegment?
        let deleted = try self.state.withLock { state throws(IOError) -> [SealedSegment] in
            // The cleaner comes back to it when it is through.
            guard state.status == .open, state.cleaning?.isRunning != true else { return [] }
            if state.isUnverified, state.active.size > 0 || !state.sealed.isEmpty { try self.verify(&state) }
            let takesActive = try self.isActiveExpired(&state, expired, now) || state.isActiveSurplus
            if takesActive, !state.mustTruncate, state.queued == 0 {
                rolled = try self.roll(&state, baseOffset: state.logEndOffset, now: now)
            }
            var surplus = state.surplusBytes
            var count = 0
            for segment in state.sealed {
                guard segment.nextOffset <= state.highWatermark else { break }
                let isSurplus = surplus >= Int64(segment.size)
                let isOld = expired.contains(ObjectIdentifier(segment)) || segment === rolled?.segment
                guard isOld || isSurplus || segment.nextOffset <= state.logStartOffset else { break }
                surplus -= Int64(segment.size)
                count += 1
            }
            // Else the next pass tries again.
            if count > 0, (try? self.segmentsChange(&state)) == nil { count = 0 }
            return state.removeOldest(count)
        }
        if let rolled { self.finish(rolled) }
        let count = self.discard(deleted, now: now, delayMs: config.fileDeleteDelayMs)
        if count < deleted.count { self.putBack(Array(deleted[count...])) }
        return count
    }

    /// Segments whose files stay: else the next start would find them again, or what a later pass left of them, with a
    /// hole behind. They lie before the log's start, and the next pass tries again.
    private func putBack(_ segments: [SealedSegment]) {
        self.state.withLock { state in
            let first = state.sealed.first?.baseOffset ?? state.active.baseOffset
            guard state.status == .open, segments.last?.nextOffset == first else { return }
            // Where that cannot be noted: what is noted since the list was changed is that it is not known.
            try? self.segmentsChange(&state)
            state.sealed.insert(contentsOf: segments, at: 0)
        }
    }

    private func isExpired(_ segment: SealedSegment, _ config: LogConfig, _ now: Int64) throws(IOError) -> Bool {
        do throws(IOError) {
            let largest = try segment.largestTimestamp(self.environment.segmentCache).timestamp
            let last: Int64
            if largest >= 0 {
                last = largest
            } else {
                // No record has a timestamp: the file's age counts.
                last = try FileSystem.status(segment.folder.path(segment.baseOffset, .log))?.modifiedMs ?? now
            }
            return now &- last > config.retentionMs
        } catch {
            // Deleted meanwhile.
            if error.code == ENOENT { return false }
            throw error
        }
    }

    /// Kafka deletes the active segment too when all before it go and its newest record is too old: it rolls first.
    private func isActiveExpired(
        _ state: inout State, _ expired: Set<ObjectIdentifier>, _ now: Int64
    ) throws(IOError) -> Bool {
        let config = state.config
        guard config.cleanupPolicy.contains(.delete), config.retentionMs >= 0, state.active.size > 0,
            state.highWatermark >= state.logEndOffset,
            state.sealed.allSatisfy({ expired.contains(ObjectIdentifier($0)) })
        else { return false }
        var last = state.active.largest.timestamp
        if last < 0 {
            let file = try FileSystem.status(self.folder.path(state.active.baseOffset, .log))
            last = file?.modifiedMs ?? state.active.createdMs
        }
        return now &- last > config.retentionMs
    }

    /// DeleteRecords: the log starts at `offset` from now on. Whole segments before it go with the next retention pass.
    /// - Returns: false where the offset is behind the high watermark (OFFSET_OUT_OF_RANGE).
    package func deleteRecords(before offset: Int64) -> Bool {
        self.state.withLock { state in
            defer { self.list(&state) }
            return state.startAt(offset)
        }
    }

    /// Renames the files and leaves them to the trash. Reads in flight keep what they have open.
    /// - Returns: of how many segments the files are gone.
    private func discard(_ segments: [SealedSegment], now: Int64, delayMs: Int64) -> Int {
        for segment in segments {
            self.environment.segmentCache.remove(segment)
        }
        var count = 0
        // Were one of the newer ones to go, the next start would find a hole behind the one that stays.
        while count < segments.count,
            self.discardFiles(of: segments[count].baseOffset, now: now, delayMs: delayMs)
        {
            count += 1
        }
        let segments = segments[..<count]
        // Before a checkpoint leaves out where the log starts, as its first file says so: after a power cut the files
        // might be there again, with all that was deleted.
        if !segments.isEmpty {
            do throws(IOError) { try FileSystem.syncDirectory(self.folder.path) } catch {
                self.notice(.warning, "\(error)")
            }
        }
        if let last = segments.last {
            self.notice(
                .info,
                "deleted \(segments.count) segment(s), offsets \(segments[0].baseOffset) to \(last.nextOffset - 1)")
        }
        return count
    }

    /// - Returns: false where the log's file stays.
    private func discardFiles(of baseOffset: Int64, now: Int64, delayMs: Int64) -> Bool {
        for suffix in PartitionFolder.Suffix.allCases {
            let path = self.folder.path(baseOffset, suffix)
            do throws(IOError) {
                try FileSystem.rename(path, to: path + ".deleted")
                self.environment.trash.add(path + ".deleted", dueMs: now &+ delayMs)
            } catch {
                if error.code == ENOENT { continue }
                self.notice(.warning, "\(error)")
                if suffix == .log { return false }
            }
        }
        return true
    }
}

extension PartitionLog.State {
    /// Bytes above retention.bytes.
    var surplusBytes: Int64 {
        guard self.config.cleanupPolicy.contains(.delete), self.config.retentionBytes >= 0 else { return -1 }
        return self.sizeInBytes - self.config.retentionBytes
    }

    /// Whether retention.bytes leaves nothing at all.
    var isActiveSurplus: Bool {
        self.config.cleanupPolicy.contains(.delete) && self.config.retentionBytes == 0 && self.active.size > 0
            && self.highWatermark >= self.logEndOffset
    }

    mutating func removeOldest(_ count: Int) -> [SealedSegment] {
        guard count > 0 else { return [] }
        let removed = Array(self.sealed[..<count])
        self.sealed.removeFirst(count)
        let start = max(self.logStartOffset, self.sealed.first?.baseOffset ?? self.active.baseOffset)
        self.logStartOffset = start
        self.epochs.truncateFromStart(start)
        self.needsMark = true
        return removed
    }
}
