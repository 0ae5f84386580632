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
    /// - Parameter transaction: what is asked of a batch of a transaction.
    package func append(
        _ batch: UnsafeMutableRawBufferPointer, validated: ValidatedBatch, leaderEpoch: Int32, now: Int64,
        origin: RecordOrigin, transaction: TransactionCheck = .none
    ) -> Result<AppendInfo, AppendError> {
        var after = AfterAppend()
        var result = self.appendBehindQueue(batch, validated, leaderEpoch, now, origin, transaction, &after)
        if case .failure(.storage(EMFILE)) = result {
            self.environment.fileRelief()
            result = self.appendBehindQueue(batch, validated, leaderEpoch, now, origin, transaction, &after)
        }
        self.carryOut(after)
        return result
    }

    /// Whether the disk is slow, or has appends queued: then `append` may have to wait, and no event loop should call it.
    package var isSlow: Bool {
        self.state.withLock { $0.status == .open && ($0.queued > 0 || $0.writer.isSlow()) }
    }

    /// Waits until nothing is queued. Those who may not wait append to partitions for which nobody queues.
    private func appendBehindQueue(
        _ batch: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ leaderEpoch: Int32, _ now: Int64,
        _ origin: RecordOrigin, _ transaction: TransactionCheck, _ after: inout AfterAppend
    ) -> Result<AppendInfo, AppendError> {
        while true {
            let result = self.state.withLock { state -> Result<AppendInfo, AppendError>? in
                if state.queued > 0, state.status == .open { return nil }
                defer { after.isNewlyOpen = self.isNewlyOpen(&state) || after.isNewlyOpen }
                return self.append(batch, validated, leaderEpoch, now, origin, transaction, &state, &after)
            }
            if let result { return result }
            usleep(1000)
        }
    }

    /// What an append leaves to be done without the lock.
    func carryOut(_ after: AfterAppend) {
        if after.isNewlyOpen { self.environment.openLogs.opened(self) }
        if let failure = after.failure { self.environment.storageFailed(failure, self.path) }
        if after.prepareNextSegment { self.prepareNextSegment() }
        if let rolled = after.rolled { self.finish(rolled) }
        if let writeback = after.writeback {
            self.environment.background.submit {
                FileSystem.startWriteback(writeback.file, at: writeback.position, count: writeback.count)
            }
        }
        if after.sync { self.scheduleSync() }
    }

    /// A batch that may be written now, and where.
    struct PreparedAppend {
        var file: LogFile
        /// The base offset of the segment.
        var segment: Int64
        var position: Int
        var baseOffset: Int64
        var lastOffset: Int64
        var epoch: Int32
        var marker: TransactionMarker?
    }

    enum Preparation {
        case ready(PreparedAppend)
        /// Nothing is to be written: a duplicate, or refused.
        case done(Result<AppendInfo, AppendError>)
    }

    @inline(__always) func append(
        _ batch: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ leaderEpoch: Int32, _ now: Int64,
        _ origin: RecordOrigin, _ transaction: TransactionCheck, _ state: inout State, _ after: inout AfterAppend
    ) -> Result<AppendInfo, AppendError> {
        switch self.prepare(batch, validated, leaderEpoch, now, origin, transaction, &state, &after) {
        case .done(let result):
            return result
        case .ready(let prepared):
            let began = state.writer.begin()
            do throws(IOError) {
                try FileSystem.writeAll(prepared.file, UnsafeRawBufferPointer(batch), at: prepared.position)
            } catch {
                state.writer.end(began)
                state.mustTruncate = true
                try? self.cutOffFailedWrite(&state)
                after.failure = error
                return .failure(.storage(error.code))
            }
            state.writer.end(began)
            return self.isWritten(prepared, validated, now, &state, &after)
        }
    }

    /// Decides everything about a batch: whether it is taken, its offsets, its place.
    @inline(__always) func prepare(
        _ batch: UnsafeMutableRawBufferPointer, _ validated: ValidatedBatch, _ leaderEpoch: Int32, _ now: Int64,
        _ origin: RecordOrigin, _ transaction: TransactionCheck, _ state: inout State, _ after: inout AfterAppend
    ) -> Preparation {
        guard state.status == .open else { return .done(.failure(state.refusal)) }
        if state.isUnverified {
            do throws(IOError) { try self.verify(&state) } catch { return .done(.failure(.storage(error.code))) }
        }
        let header = validated.header
        var marker: TransactionMarker?
        if header.producerID >= 0 {
            if header.isControl { marker = TransactionMarker(batch: UnsafeRawBufferPointer(batch), header) }
            switch state.producers.check(header, origin: origin, marker: marker, transaction) {
            case .append:
                break
            case .duplicate(let old):
                return .done(
                    .success(
                        state.info(old.firstOffset, old.lastOffset, header, isDuplicate: true, old.timestamp)))
            case .refuse(let code, let message):
                return .done(.failure(.protocolError(code, message)))
            }
        }
        let size = batch.count
        guard size == header.sizeInBytes, size >= RecordBatchHeader.size else {
            return .done(.failure(.protocolError(.corruptMessage, nil)))
        }
        guard size <= state.config.segmentBytes else {
            let message = "A batch of \(size) bytes exceeds segment.bytes \(state.config.segmentBytes)"
            return .done(.failure(.protocolError(.recordListTooLarge, message)))
        }
        let baseOffset = origin == .replica ? header.baseOffset : state.logEndOffset
        let lastOffset = baseOffset &+ Int64(header.lastOffsetDelta)
        guard baseOffset >= state.logEndOffset, lastOffset >= baseOffset, lastOffset < .max else {
            return .done(.failure(.protocolError(.unknownServerError, "Offsets out of order")))
        }
        if origin != .replica { RecordBatchHeader.stamp(batch, baseOffset: baseOffset, leaderEpoch: leaderEpoch) }
        do throws(IOError) {
            if state.mustTruncate { try self.cutOffFailedWrite(&state) }
            if try self.shouldRoll(
                &state, size: size, lastOffset: lastOffset, timestamp: validated.maxTimestamp, now: now)
            {
                after.rolled = try self.roll(&state, baseOffset: baseOffset, now: now)
            }
            return .ready(
                PreparedAppend(
                    file: try state.active.openFile(self.folder), segment: state.active.baseOffset,
                    position: state.active.size, baseOffset: baseOffset, lastOffset: lastOffset,
                    epoch: origin == .replica ? header.partitionLeaderEpoch : leaderEpoch, marker: marker))
        } catch {
            after.failure = error
            return .done(.failure(.storage(error.code)))
        }
    }

    @inline(__always) func isWritten(
        _ prepared: PreparedAppend, _ validated: ValidatedBatch, _ now: Int64, _ state: inout State,
        _ after: inout AfterAppend
    ) -> Result<AppendInfo, AppendError> {
        self.batchIsWritten(
            validated.header, prepared.marker, validated.maxTimestamp, prepared.baseOffset, epoch: prepared.epoch, now,
            &state, &after)
        return .success(
            state.info(
                prepared.baseOffset, prepared.lastOffset, validated.header, isDuplicate: false, validated.maxTimestamp))
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
        // Not where the disk is slow: the lock would be held for long.
        if state.queued == 0, max(state.active.offsetIndex.unwritten, state.active.transactionIndex.unwritten) >= 4096 {
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
    func cutOffFailedWrite(_ state: inout State) throws(IOError) {
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
