import KafkaMessages
import KafkaPrimitives

/// The group coordinator of a broker: the runtime over shards of groups, in a form without generics so that its
/// code is specialised here.
package final class GroupCoordinator: Sendable {
    package typealias Shard = GroupCoordinatorShard
    package typealias Respond = CoordinatorRuntime<Shard>.Respond

    package let config: GroupCoordinatorConfig
    package let runtime: CoordinatorRuntime<GroupCoordinatorShard>

    /// - Parameters:
    ///   - partitions: of `__consumer_offsets`, for good: groups are spread over them by their id.
    ///   - carryOut: runs work on other threads, and hands what came of it to the runtime.
    package init(
        config: GroupCoordinatorConfig, partitions: Int, note: @escaping @Sendable (String) -> Void = { _ in },
        carryOut: @escaping CoordinatorRuntime<GroupCoordinatorShard>.CarryOut = { _, _, _ in }
    ) {
        self.config = config
        self.runtime = CoordinatorRuntime(
            partitions: partitions, commitTimeoutMs: config.offsetCommitTimeoutMs, note: note, carryOut: carryOut)
    }

    /// The partition of `__consumer_offsets` in which a group lives: the amount of Java's hash of its id, 0 for the one
    /// hash that has none.
    package func partition(for groupID: String) -> Int32 {
        Self.partition(for: groupID, of: self.runtime.partitionCount)
    }

    package static func partition(for groupID: String, of count: Int) -> Int32 {
        var hash: Int32 = 0
        for unit in groupID.utf16 { hash = hash &* 31 &+ Int32(unit) }
        guard count > 0, hash != .min else { return 0 }
        return Int32(clamping: Int(hash.magnitude) % count)
    }

    package func perform(
        _ request: Shard.Request, for groupID: String, now: CoordinatorTime, respond: @escaping Respond
    ) {
        self.runtime.perform(request, on: self.partition(for: groupID), now: now, respond: respond)
    }

    package func perform(
        _ request: Shard.Request, on partition: Int32, now: CoordinatorTime, respond: @escaping Respond
    ) {
        self.runtime.perform(request, on: partition, now: now, respond: respond)
    }

    package func advance(now: CoordinatorTime) { self.runtime.advance(now: now) }

    package func advance(_ partition: Int32, now: CoordinatorTime) { self.runtime.advance(partition, now: now) }

    package func makeLoader() -> CoordinatorLoader<GroupCoordinatorShard> {
        CoordinatorLoader(shard: GroupCoordinatorShard(config: self.config))
    }
}
