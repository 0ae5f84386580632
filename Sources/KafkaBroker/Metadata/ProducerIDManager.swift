import KafkaMetadata
import KafkaPrimitives
import Synchronization

/// Gives out producer ids, each once in the life of the cluster: blocks of 1,000 are taken from the store, so that a
/// crash loses numbers and never repeats one.
package final class ProducerIDManager: Sendable {
    package static let blockSize: Int64 = 1_000

    private struct State {
        var next: Int64 = 0
        var end: Int64 = 0
        var waiting: [@Sendable (Result<Int64, ApiError>) -> Void] = []
        var isFetching = false
    }

    private let metadata: MetadataManager
    private let state = Mutex(State())

    package init(metadata: MetadataManager) { self.metadata = metadata }

    /// The next id: at once, on the caller's thread, while the block lasts; else on the store's thread.
    package func next(_ completion: @escaping @Sendable (Result<Int64, ApiError>) -> Void) {
        let (id, mustFetch): (Int64?, Bool) = self.state.withLock { state in
            if state.next < state.end {
                defer { state.next += 1 }
                return (state.next, false)
            }
            state.waiting.append(completion)
            defer { state.isFetching = true }
            return (nil, !state.isFetching)
        }
        if let id { return completion(.success(id)) }
        if mustFetch { self.fetchBlock(retries: 20) }
    }

    private func fetchBlock(retries: Int) {
        let key = MetadataKeys.nextProducerID
        self.metadata.store.read(.key(key), limit: nil) { [self] result in
            switch result {
            case .failure(let error): self.finish(.failure(ApiError(error)))
            case .success(let read):
                let entry = read.entries.first
                let start = entry.flatMap { Int64(String(decoding: $0.value, as: UTF8.self)) } ?? 0
                let (end, overflow) = start.addingReportingOverflow(Self.blockSize)
                guard start >= 0, !overflow else {
                    return self.finish(.failure(ApiError(.unknownServerError, "Producer ids have run out.")))
                }
                let transaction = MetadataTransaction(
                    compares: [.modRevision(key, entry?.modRevision ?? 0)],
                    changes: [.put(key, Array(String(end).utf8))])
                self.metadata.store.commit(transaction) { result in
                    switch result {
                    case .success(.committed): self.finish(.success(start..<end))
                    case .success(.conflict) where retries > 0: self.fetchBlock(retries: retries - 1)
                    case .success(.conflict): self.finish(.failure(ApiError(.coordinatorLoadInProgress)))
                    case .failure(let error): self.finish(.failure(ApiError(error)))
                    }
                }
            }
        }
    }

    private func finish(_ block: Result<Range<Int64>, ApiError>) {
        var answers: [(@Sendable (Result<Int64, ApiError>) -> Void, Result<Int64, ApiError>)] = []
        var again = false
        self.state.withLock { state in
            state.isFetching = false
            switch block {
            case .failure(let error):
                answers = state.waiting.map { ($0, .failure(error)) }
                state.waiting = []
            case .success(let range):
                state.next = range.lowerBound
                state.end = range.upperBound
                let served = state.waiting.prefix(range.count)
                for waiting in served {
                    answers.append((waiting, .success(state.next)))
                    state.next += 1
                }
                state.waiting.removeFirst(served.count)
                again = !state.waiting.isEmpty
                state.isFetching = again
            }
        }
        for (completion, answer) in answers { completion(answer) }
        if again { self.fetchBlock(retries: 20) }
    }
}
