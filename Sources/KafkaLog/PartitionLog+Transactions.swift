import Glibc
import KafkaPrimitives
import Synchronization

extension PartitionLog {
    /// The aborted transactions with records in `start..<end`, in the order of their markers, for a reader of committed
    /// records: it leaves out what each of these producers wrote between its first and its last offset.
    ///
    /// As in Kafka the range need not be exact: more transactions than those with records in it do no harm.
    /// - Parameter end: at most the last stable offset.
    /// - Returns: KAFKA_STORAGE_ERROR where an index cannot be read.
    package func abortedTransactions(from start: Int64, to end: Int64) -> Result<[AbortedTransaction], ErrorCode> {
        for attempt in 0..<2 {
            let (all, first, base, tail) = self.state.withLock { state in
                self.verifyIfNeeded(&state)
                return (
                    state.sealed, state.sealedIndex(of: start) ?? state.sealed.count, state.active.baseOffset,
                    state.active.transactionIndex
                )
            }
            var found: [AbortedTransaction] = []
            do throws(IOError) {
                for index in first..<all.count {
                    let segment = all[index]
                    if !segment.isTransactionIndexChecked {
                        try self.checkTransactionIndex(segment, before: all[..<index])
                        segment.isTransactionIndexChecked = true
                    }
                    if try segment.collectAborted(from: start, to: end, into: &found) { return .success(found) }
                }
                try self.collectAborted(base, tail, from: start, to: end, into: &found)
                return .success(found)
            } catch {
                // Deleted meanwhile, or compaction has put another in its place.
                if error.code == ENOENT && attempt == 0 { continue }
                if error.code == EMFILE && attempt == 0 {
                    self.environment.fileRelief()
                    continue
                }
                self.notice(.error, "aborted transactions from offset \(start) on: \(error)")
                return .failure(.kafkaStorageError)
            }
        }
        return .failure(.kafkaStorageError)
    }

    /// In the active segment: the newest entries are in memory.
    private func collectAborted(
        _ base: Int64, _ tail: IndexTail<AbortedTransaction>, from start: Int64, to end: Int64,
        into found: inout [AbortedTransaction]
    ) throws(IOError) {
        guard tail.count > 0 else { return }
        if tail.firstInMemory > 0, tail.entries.first.map({ $0.lastOffset >= start }) ?? true {
            let index = try TransactionIndex(self.folder, base, count: tail.firstInMemory)
            guard let index, index.count == tail.firstInMemory else {
                throw IOError(.read, self.folder.path(base, .txnindex), code: EIO)
            }
            if try index.collect(from: start, to: end, into: &found) { return }
        }
        for entry in tail.entries where TransactionIndex.collect(entry, from: start, to: end, into: &found) { return }
    }
}
