import Glibc
import KafkaPrimitives
import KafkaRecords
import Synchronization

package enum AppendOutcome: Sendable {
    case done(Result<AppendInfo, AppendError>)
    /// The folder's own thread appends it, behind those that came before; then `LogEvents.onAppend` tells the waiter.
    /// - isCrowded: so much waits that its sender should send no more.
    case queued(isCrowded: Bool)
}

/// What became of an append that was queued.
package struct QueuedAppend: Sendable {
    package var waiter: AppendWaiter?
    package var log: PartitionLog
    package var result: Result<AppendInfo, AppendError>
}

// Appends while the folder's disk is slow. Whether a batch is a duplicate, which offset it gets and whether it is taken is
// decided when it is written, in the order of arrival. The lock is not held during the write, so that readers are not held
// up either; no other append comes between, since those queue as long as there is one in the queue.
//
// Coordinators append to their own partitions directly, under their shard's lock, and these are never queued: while
// `isSlow` says so they are asked on a thread of their own.
extension PartitionLog {
    /// As `append` by a client, except that it may be queued.
    /// - Parameter waiter: asked for when it is; nil: nobody is told.
    package func appendOrQueue(
        _ batch: UnsafeMutableRawBufferPointer, validated: ValidatedBatch, leaderEpoch: Int32, now: Int64,
        mayQueue: Bool = true, transaction: TransactionCheck = .none, waiter: () -> AppendWaiter?
    ) -> AppendOutcome {
        func appendNow() -> Result<AppendInfo, AppendError> {
            self.append(
                batch, validated: validated, leaderEpoch: leaderEpoch, now: now, origin: .client,
                transaction: transaction)
        }
        guard mayQueue else { return .done(appendNow()) }
        var after = AfterAppend()
        let result = self.state.withLock { state -> Result<AppendInfo, AppendError>? in
            if state.queued > 0 || state.writer.isSlow(), state.status == .open {
                guard state.writer.reserve(batch.count) else {
                    return .failure(.protocolError(.kafkaStorageError, "The disk is too slow"))
                }
                state.queued += 1
                return nil
            }
            defer { after.isNewlyOpen = self.isNewlyOpen(&state) }
            return self.append(batch, validated, leaderEpoch, now, .client, transaction, &state, &after)
        }
        guard let result else {
            let writer = self.state.withLock { $0.writer }
            let job = QueuedBatch(
                bytes: Array(batch), validated: validated, leaderEpoch: leaderEpoch, transaction: transaction,
                waiter: waiter())
            writer.submit(batch.count) { self.write(job, writer) }
            return .queued(isCrowded: writer.isCrowded)
        }
        if case .failure(.storage(EMFILE)) = result {
            self.environment.fileRelief()
            self.carryOut(after)
            return .done(appendNow())
        }
        self.carryOut(after)
        return .done(result)
    }

    private struct QueuedBatch: Sendable {
        var bytes: [UInt8]
        var validated: ValidatedBatch
        var leaderEpoch: Int32
        var transaction: TransactionCheck
        var waiter: AppendWaiter?
    }

    private func write(_ job: QueuedBatch, _ writer: FolderWriter) {
        var bytes = job.bytes
        var after = AfterAppend()
        let now = wallClockMs()
        let result = bytes.withUnsafeMutableBytes { batch -> Result<AppendInfo, AppendError> in
            let preparation = self.state.withLock { state in
                defer { after.isNewlyOpen = self.isNewlyOpen(&state) }
                return self.prepare(
                    batch, job.validated, job.leaderEpoch, now, .client, job.transaction, &state, &after)
            }
            guard case .ready(let prepared) = preparation else {
                self.state.withLock { $0.queued -= 1 }
                if case .done(let result) = preparation { return result }
                return .failure(.storage(EIO))
            }
            writer.beforeWrite()
            let began = writer.begin()
            var failure: IOError?
            do throws(IOError) {
                try FileSystem.writeAll(prepared.file, UnsafeRawBufferPointer(batch), at: prepared.position)
            } catch {
                failure = error
            }
            writer.end(began)
            return self.state.withLock { state in
                state.queued -= 1
                guard state.status == .open, state.active.baseOffset == prepared.segment,
                    state.active.size == prepared.position
                else { return .failure(state.refusal) }
                if let failure {
                    state.mustTruncate = true
                    after.failure = failure
                    return .failure(.storage(failure.code))
                }
                return self.isWritten(prepared, job.validated, now, &state, &after)
            }
        }
        self.carryOut(after)
        if case .success(let info) = result, info.isCommitted, !info.isDuplicate {
            self.environment.events.highWatermarkMoved(self)
        }
        self.environment.events.appended(QueuedAppend(waiter: job.waiter, log: self, result: result))
    }
}
