import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

extension PartitionLog {
    /// What an append leaves to be done after the lock is released.
    struct AfterAppend {
        var isNewlyOpen = false
        var prepareNextSegment = false
        var rolled: RolledSegment?
        var writeback: (file: LogFile, position: Int, count: Int)?
        var sync = false
        var failure: IOError?
    }

    /// Appends one batch that has been validated, with one write.
    ///
    /// The batch is stamped in place with its offsets and the leader's epoch, which its CRC does not cover; an origin of
    /// `.replica` keeps those it has. When it returns the bytes are in the page cache, readable by others; on disk only
    /// where flush.messages says so.
    /// - Parameter now: the wall clock, ms.
    /// - Parameter leaderEpoch: the epoch of this leader.
    package func append(
        _ batch: UnsafeMutableRawBufferPointer, validated: ValidatedBatch, leaderEpoch: Int32, now: Int64,
        origin: RecordOrigin
    ) -> Result<AppendInfo, AppendError> {
        var after = AfterAppend()
        var result = self.state.withLock { state in
            defer { after.isNewlyOpen = self.isNewlyOpen(&state) }
            return self.append(batch, validated, leaderEpoch, now, origin, &state, &after)
        }
        if after.isNewlyOpen { self.environment.openLogs.opened(self) }
        if case .failure(.storage(EMFILE)) = result {
            self.environment.fileRelief()
            result = self.state.withLock { state in
                self.append(batch, validated, leaderEpoch, now, origin, &state, &after)
            }
        }
        if let failure = after.failure { self.environment.storageFailed(failure, self.path) }
        if after.prepareNextSegment { self.prepareNextSegment() }
        if let rolled = after.rolled { self.finish(rolled) }
        if let writeback = after.writeback {
            self.environment.background.submit {
                FileSystem.startWriteback(writeback.file, at: writeback.position, count: writeback.count)
            }
        }
        if after.sync { self.scheduleSync() }
        return result
    }

    private func append(
        _ batch: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ leaderEpoch: Int32, _ now: Int64,
        _ origin: RecordOrigin, _ state: inout State, _ after: inout AfterAppend
    ) -> Result<AppendInfo, AppendError> {
        guard state.status == .open else { return .failure(state.refusal) }
        if state.isUnverified {
            do throws(IOError) { try self.verify(&state) } catch { return .failure(.storage(error.code)) }
        }
        let header = validated.header
        var marker: TransactionMarker?
        if header.producerID >= 0 {
            if header.isControl { marker = TransactionMarker(batch: UnsafeRawBufferPointer(batch), header) }
            switch state.producers.check(header, origin: origin, marker: marker) {
            case .append:
                break
            case .duplicate(let old):
                return .success(state.info(old.firstOffset, old.lastOffset, header, isDuplicate: true, old.timestamp))
            case .refuse(let code, let message):
                return .failure(.protocolError(code, message))
            }
        }
        let size = batch.count
        guard size == header.sizeInBytes, size >= RecordBatchHeader.size else {
            return .failure(.protocolError(.corruptMessage, nil))
        }
        guard size <= state.config.segmentBytes else {
            return .failure(
                .protocolError(
                    .recordListTooLarge, "A batch of \(size) bytes exceeds segment.bytes \(state.config.segmentBytes)"))
        }
        let baseOffset = origin == .replica ? header.baseOffset : state.logEndOffset
        let lastOffset = baseOffset &+ Int64(header.lastOffsetDelta)
        guard baseOffset >= state.logEndOffset, lastOffset >= baseOffset, lastOffset < .max else {
            return .failure(.protocolError(.unknownServerError, "Offsets out of order"))
        }
        if origin != .replica { RecordBatchHeader.stamp(batch, baseOffset: baseOffset, leaderEpoch: leaderEpoch) }
        do throws(IOError) {
            if state.mustTruncate { try self.cutOffFailedWrite(&state) }
            if try self.shouldRoll(
                &state, size: size, lastOffset: lastOffset, timestamp: validated.maxTimestamp, now: now)
            {
                after.rolled = try self.roll(&state, baseOffset: baseOffset, now: now)
            }
            let file = try state.active.openFile(self.folder)
            do throws(IOError) {
                try FileSystem.writeAll(file, UnsafeRawBufferPointer(batch), at: state.active.size)
            } catch {
                state.mustTruncate = true
                try? self.cutOffFailedWrite(&state)
                throw error
            }
        } catch {
            after.failure = error
            return .failure(.storage(error.code))
        }
        self.batchIsWritten(
            header, marker, validated.maxTimestamp, baseOffset,
            epoch: origin == .replica ? header.partitionLeaderEpoch : leaderEpoch, now, &state, &after)
        return .success(state.info(baseOffset, lastOffset, header, isDuplicate: false, validated.maxTimestamp))
    }

    /// The state after a write that succeeded.
    private func batchIsWritten(
        _ header: RecordBatchHeader, _ marker: TransactionMarker?, _ maxTimestamp: Int64, _ baseOffset: Int64,
        epoch: Int32, _ now: Int64,
        _ state: inout State, _ after: inout AfterAppend
    ) {
        state.active.add(
            header, baseOffset: baseOffset, maxTimestamp: maxTimestamp, interval: state.config.indexIntervalBytes)
        state.epochs.assign(epoch: epoch, startOffset: baseOffset)
        state.logEndOffset = baseOffset + Int64(header.lastOffsetDelta) + 1
        after.sync = state.commitAppend(records: Int64(header.lastOffsetDelta) + 1)
        let aborted = state.producers.update(
            header, baseOffset: baseOffset, now: now, marker: marker, highWatermark: state.highWatermark)
        if let aborted { state.active.transactionIndex.append(aborted) }
        self.changed(&state)

        // So many entries are written out here where no mark has done it before.
        if max(state.active.offsetIndex.unwritten, state.active.transactionIndex.unwritten) >= 4096 {
            do throws(IOError) { try state.active.writeIndexes(self.folder) } catch {
                // The next mark or the roll tries again; a restart builds them anew.
            }
        }
        let size = state.active.size
        if !state.nextFileRequested, size > state.config.nextSegmentBytes {
            state.nextFileRequested = true
            after.prepareNextSegment = true
        }
        let writeback = self.environment.writebackBytes
        if writeback > 0, size - state.active.writtenBack >= writeback, let file = state.active.file {
            after.writeback = (file, state.active.writtenBack, size - state.active.writtenBack)
            state.active.writtenBack = size
        }
    }

    /// Removes what a failed write left behind the last whole batch.
    private func cutOffFailedWrite(_ state: inout State) throws(IOError) {
        let file = try state.active.openFile(self.folder)
        try FileSystem.truncate(file, to: state.active.size)
        state.mustTruncate = false
    }
}

extension PartitionLog.State {
    /// What is answered for a log that is not open.
    var refusalCode: ErrorCode {
        switch self.status {
        case .deleted: .unknownTopicOrPartition
        case .offline, .failed: .kafkaStorageError
        case .open, .closed: .notLeaderOrFollower
        }
    }

    /// Why a log that is not open takes nothing.
    var refusal: AppendError {
        switch self.status {
        case .failed: .storage(EIO)
        case .deleted, .offline, .open, .closed: .protocolError(self.refusalCode, nil)
        }
    }

    func info(
        _ first: Int64, _ last: Int64, _ header: RecordBatchHeader, isDuplicate: Bool, _ maxTimestamp: Int64
    ) -> AppendInfo {
        AppendInfo(
            firstOffset: first, lastOffset: last,
            logAppendTime: self.config.messageTimestampType == .logAppendTime ? maxTimestamp : -1,
            logStartOffset: self.logStartOffset, logEndOffset: self.logEndOffset, isDuplicate: isDuplicate,
            isCommitted: last < self.committedOffset)
    }
}
