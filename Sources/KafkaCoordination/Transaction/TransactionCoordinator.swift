import KafkaPrimitives

/// The transaction coordinator of a broker: the runtime over shards of transactional ids, in a form without generics so
/// that its code is specialised here.
package final class TransactionCoordinator: Sendable {
    package typealias Shard = TransactionCoordinatorShard
    package typealias Respond = CoordinatorRuntime<Shard>.Respond

    package let config: TransactionCoordinatorConfig
    package let runtime: CoordinatorRuntime<TransactionCoordinatorShard>

    /// - Parameters:
    ///   - partitions: of `__transaction_state`, for good: transactional ids are spread over them.
    ///   - carryOut: writes markers and allocates producer ids.
    package init(
        config: TransactionCoordinatorConfig, partitions: Int, note: @escaping @Sendable (String) -> Void = { _ in },
        carryOut: @escaping CoordinatorRuntime<Shard>.CarryOut
    ) {
        self.config = config
        self.runtime = CoordinatorRuntime(
            partitions: partitions, commitTimeoutMs: config.commitTimeoutMs, note: note, carryOut: carryOut)
    }

    /// The partition of `__transaction_state` in which a transactional id lives: as with groups.
    package func partition(for transactionalID: String) -> Int32 {
        GroupCoordinator.partition(for: transactionalID, of: self.runtime.partitionCount)
    }

    package func perform(
        _ request: Shard.Request, on partition: Int32, now: CoordinatorTime, respond: @escaping Respond
    ) {
        self.runtime.perform(request, on: partition, now: now, respond: respond)
    }

    package func advance(now: CoordinatorTime) { self.runtime.advance(now: now) }

    package func workDone(_ result: Shard.WorkResult, on partition: Int32, epoch: Int32, now: CoordinatorTime) {
        self.runtime.workDone(result, on: partition, epoch: epoch, now: now)
    }

    package func makeLoader() -> CoordinatorLoader<TransactionCoordinatorShard> {
        CoordinatorLoader(shard: TransactionCoordinatorShard(config: self.config))
    }
}
