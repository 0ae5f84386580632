import KafkaPrimitives
import Synchronization

/// An incremental fetch session (KIP-227): the partitions that a client reads, so that it need not name them again.
///
/// A fetch borrows the targets while it runs, parked or not, and gives them back with its answer.
final class FetchSession: Sendable {
    let id: Int32
    let usesTopicIDs: Bool
    let createdMs: Int64

    struct State {
        /// Of the next request.
        var epoch: Int32
        var lastUsedMs: Int64
        var targets: [FetchTarget]
        var isLent = false
        var size: Int
    }
    let state: Mutex<State>

    /// - Parameter targets: each partition once.
    init(id: Int32, usesTopicIDs: Bool, targets: [FetchTarget], nowMs: Int64) {
        self.id = id
        self.usesTopicIDs = usesTopicIDs
        self.createdMs = nowMs
        self.state = Mutex(State(epoch: 1, lastUsedMs: nowMs, targets: targets, size: targets.count))
    }

    /// Partitions in it.
    var size: Int { self.state.withLock { $0.size } }

    /// A partition that is named twice counts once, in the place of its first and with the values of its last.
    static func withoutRepetitions(_ targets: [FetchTarget], _ usesTopicIDs: Bool) -> [FetchTarget] {
        guard targets.count > 1 else { return targets }
        var positions: [TargetKey: Int] = [:]
        positions.reserveCapacity(targets.count)
        var once: [FetchTarget] = []
        for target in targets {
            let key = TargetKey(target.topic, target.index, usesIDs: usesTopicIDs)
            if let at = positions[key] {
                once[at] = target
            } else {
                positions[key] = once.count
                once.append(target)
            }
        }
        return once
    }

    static func next(epoch: Int32) -> Int32 { epoch == .max ? 1 : epoch + 1 }

    /// Begins an incremental fetch: checks the epoch and lends the targets, as changed by the request.
    func begin(
        epoch: Int32, usesTopicIDs: Bool, changed: [FetchTarget], forgotten: [(topic: FetchTopic, index: Int32)],
        nowMs: Int64
    ) -> Result<[FetchTarget], SessionError> {
        self.state.withLock { state -> Result<[FetchTarget], SessionError> in
            guard state.epoch == epoch, !state.isLent else { return .failure(SessionError(.invalidFetchSessionEpoch)) }
            guard self.usesTopicIDs == usesTopicIDs else { return .failure(SessionError(.fetchSessionTopicIDError)) }
            var targets = state.targets
            state.targets = []
            self.apply(changed: changed, forgotten: forgotten, to: &targets)
            state.isLent = true
            state.epoch = Self.next(epoch: epoch)
            state.lastUsedMs = nowMs
            state.size = targets.count
            return .success(targets)
        }
    }

    /// Ends what `begin` began. Those partitions that gave records go last, so that each gets its turn at the front.
    /// Takes the targets out of `targets`, without a copy.
    func end(targets: inout [FetchTarget], results: [FetchResult], nowMs: Int64) {
        if results.count == targets.count {
            var busy: [FetchTarget] = []
            var kept = 0
            for index in targets.indices {
                if results[index].bytes > 0 {
                    busy.append(targets[index])
                } else {
                    if kept != index { targets[kept] = targets[index] }
                    kept += 1
                }
            }
            if !busy.isEmpty, kept > 0 { targets.replaceSubrange(kept..., with: busy) }
        }
        self.state.withLock { state in
            swap(&state.targets, &targets)
            state.isLent = false
            state.lastUsedMs = nowMs
        }
        targets = []
    }

    private func apply(
        changed: [FetchTarget], forgotten: [(topic: FetchTopic, index: Int32)], to targets: inout [FetchTarget]
    ) {
        if changed.isEmpty && forgotten.isEmpty { return }
        func key(_ topic: FetchTopic, _ index: Int32) -> TargetKey {
            TargetKey(topic, index, usesIDs: self.usesTopicIDs)
        }
        // A handful of changes is found by looking; a table is made only when that would be slower.
        if changed.count + forgotten.count <= 4 {
            for asked in changed {
                if let at = targets.firstIndex(where: {
                    $0.index == asked.index && $0.topic.isSame(as: asked.topic, usesIDs: self.usesTopicIDs)
                }) {
                    targets[at].update(from: asked)
                } else {
                    targets.append(asked)
                }
            }
            for gone in forgotten {
                targets.removeAll {
                    $0.index == gone.index && $0.topic.isSame(as: gone.topic, usesIDs: self.usesTopicIDs)
                }
            }
            return
        }
        var positions: [TargetKey: Int] = [:]
        positions.reserveCapacity(targets.count + changed.count)
        for (at, target) in targets.enumerated() { positions[key(target.topic, target.index)] = at }
        for asked in changed {
            let key = key(asked.topic, asked.index)
            if let at = positions[key] {
                targets[at].update(from: asked)
            } else {
                positions[key] = targets.count
                targets.append(asked)
            }
        }
        if forgotten.isEmpty { return }
        let gone = Set(forgotten.map { key($0.topic, $0.index) })
        targets.removeAll { gone.contains(key($0.topic, $0.index)) }
    }
}

private struct TargetKey: Hashable {
    let name: [UInt8]
    let id: KafkaUUID
    let index: Int32

    init(_ topic: FetchTopic, _ index: Int32, usesIDs: Bool) {
        self.name = usesIDs ? [] : topic.name
        self.id = usesIDs ? topic.id : .zero
        self.index = index
    }
}

struct SessionError: Error {
    let code: ErrorCode
    init(_ code: ErrorCode) { self.code = code }
}
