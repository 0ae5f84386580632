import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import Logging
import NIOCore
import Synchronization

/// The group coordinator as the broker runs it: a shard for each partition of `__consumer_offsets` that is led here,
/// loaded on a background thread, with timers driven by one tick.
///
/// Before the topic exists there is no coordinator; the first FindCoordinator makes the topic.
package final class GroupCoordinatorService: Sendable {
    private let config: GroupCoordinatorConfig
    private let background: any BackgroundExecutor
    private let logger: Logger
    let host: CoordinatorHost<GroupCoordinator>
    /// Topics and settings as the shards were told last.
    private let image = Mutex(GroupMetadataImage.empty)

    /// - Parameters:
    ///   - eventLoop: on which the tick runs.
    ///   - wake: tells those who wait for a partition that it has grown.
    package init(
        config: GroupCoordinatorConfig, replicaManager: ReplicaManager, background: any BackgroundExecutor,
        eventLoop: any EventLoop, logger: Logger, wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.config = config
        self.background = background
        self.logger = logger
        self.host = CoordinatorHost(
            topic: InternalTopics.consumerOffsets, replicaManager: replicaManager, background: background,
            eventLoop: eventLoop, logger: logger, wake: wake)
    }

    // MARK: Requests

    /// Carries out a request for a group; `respond` is called once, on whichever thread has the answer.
    package func perform(
        _ request: GroupCoordinatorShard.Request, for groupID: String,
        respond: @escaping GroupCoordinator.Respond
    ) {
        guard let (coordinator, partition, aside) = self.host.coordinator(choosing: { $0.partition(for: groupID) })
        else { return respond(GroupCoordinatorShard.failure(of: request, .notCoordinator)) }
        if let aside {
            return aside.submit { Self.perform(request, coordinator, on: partition, respond) }
        }
        Self.perform(request, coordinator, on: partition, respond)
    }

    /// Asks every shard.
    package func performOnAll(
        _ request: GroupCoordinatorShard.Request,
        _ completion: @escaping @Sendable ([GroupCoordinatorShard.Reply]) -> Void
    ) {
        self.host.askAll(completion) { Self.perform(request, $0, on: $1, $2) }
    }

    private static func perform(
        _ request: GroupCoordinatorShard.Request, _ coordinator: GroupCoordinator, on partition: Int32,
        _ respond: @escaping GroupCoordinator.Respond
    ) {
        let now = CoordinatorTime.current
        // Whoever looks at a group or changes it from outside sees what time has done to it. A member that is late by
        // less than a tick is forgiven.
        if !request.isOfMember { coordinator.advance(partition, now: now) }
        coordinator.perform(request, on: partition, now: now, respond: respond)
        // A group that need not wait for others (group.initial.rebalance.delay.ms=0) does not wait for the tick.
        coordinator.advance(partition, now: now)
    }

    /// The partition of `__consumer_offsets` for a group; nil while there is no such topic.
    package func partition(for groupID: String) -> Partition? { self.host.partition(for: groupID) }

    private var coordinator: GroupCoordinator? { self.host.coordinator }

    /// Ends a producer's transaction in a partition of `__consumer_offsets`; NONE once the marker is committed.
    func appendMarker(
        _ marker: CoordinatorMarker, to partition: Int32, respond: @escaping @Sendable (ErrorCode) -> Void
    ) {
        let isThere = self.host.run(on: partition) {
            $0.runtime.appendMarker(marker, on: partition, now: .current, respond: respond)
        }
        if !isThere { respond(.notCoordinator) }
    }

    // MARK: The broker's changes

    /// The topics of this broker have changed, or are there for the first time: takes up the partitions of
    /// `__consumer_offsets` that it leads. One call at a time, not on an event loop.
    package func follow() {
        self.host.follow(make: { self.makeCoordinator(partitions: $0) }, load: { self.load($0, into: $1) })
    }

    private func makeCoordinator(partitions: Int) -> GroupCoordinator {
        let logger = self.logger
        let lastNote = LastNote()
        let note: @Sendable (String) -> Void = { note in
            // On a full disk every commit says the same.
            let text = "\(note)"
            let now = wallClockMs()
            let isNew = lastNote.withLock { last -> Bool in
                guard last.text != text || now &- last.toldMs >= 1000 else { return false }
                last = (text, now)
                return true
            }
            if isNew { logger.info("\(text)") }
        }
        let results = WorkResults()
        let background = self.background
        let coordinator = GroupCoordinator(
            config: self.config, partitions: partitions, note: note,
            carryOut: { work, partition, epoch in
                background.submit { results.take(work.run(), on: partition, epoch: epoch) }
            })
        results.coordinator.withLock { $0 = WeakCoordinator(coordinator) }
        return coordinator
    }

    /// Partitions of `__consumer_offsets` are offline: their groups have no coordinator.
    package func unload(_ partitions: [Int32]) { self.host.unload(partitions) }

    /// Topics are gone, and with them the offsets that groups committed for them.
    package func topicsDeleted(_ topics: [GroupCoordinatorShard.DeletedTopic]) {
        let topics = topics.filter { !InternalTopics.contains($0.name) }
        guard !topics.isEmpty else { return }
        self.background.submit {
            self.performOnAll(.topicsDeleted(topics)) { replies in
                for case .topicsDeleted(let error) in replies where error != .none && error != .notCoordinator {
                    self.logger.warning(
                        "offsets of deleted topics are left behind: \(error.name); they go when they expire")
                }
            }
        }
    }

    /// Topics or settings are not what they were; told once at the start too. On the metadata's thread.
    package func metadataChanged(_ image: GroupMetadataImage, _ topics: ChangedTopics) {
        self.image.withLock { $0 = image }
        guard let coordinator = self.coordinator else { return }
        let now = CoordinatorTime.current
        for partition in 0..<coordinator.runtime.partitionCount {
            coordinator.perform(.metadataChanged(image, topics), on: Int32(partition), now: now) { _ in }
        }
    }

    /// The high watermark of a partition of `__consumer_offsets` moved without an append of ours.
    package func highWatermarkAdvanced(_ partition: Partition) { self.host.highWatermarkAdvanced(partition) }

    /// A partition of `__consumer_offsets` takes no records any more: what was not committed never will be, and who waits
    /// is sent to look for another coordinator.
    package func storageFailed(_ partition: Partition) { self.host.unload([partition.index]) }

    /// The broker stops: whoever waits is sent to look for a coordinator.
    package func stop() { self.host.stop() }

    private func load(_ partition: Partition, into coordinator: GroupCoordinator) {
        let began = CoordinatorTime.current
        var loader = coordinator.makeLoader()
        if let error = loader.load(partition.log, bufferBytes: CoordinatorHost<GroupCoordinator>.loadBufferBytes) {
            return self.host.cannotLoad("groups", of: partition, into: coordinator, error)
        }
        let shard = loader.shard
        self.host.report(
            loader, of: partition, since: began,
            """
            \(shard.groups.count + shard.consumerGroups.count + shard.otherGroups.count) groups and \
            \(shard.offsets.count) offsets
            """)
        let image = self.image.withLock { $0 }
        let now = CoordinatorTime.current
        self.host.finishLoading(shard.knowing(image), of: partition, into: coordinator, now: now)
        let latest = self.image.withLock { $0 }
        if latest.revision != image.revision {
            coordinator.perform(.metadataChanged(latest, .all), on: partition.index, now: now) { _ in }
        }
    }
}

extension GroupCoordinatorShard.Request {
    /// Whether a group's own members send it, which keeps them alive.
    fileprivate var isOfMember: Bool {
        switch self {
        case .joinGroup, .syncGroup, .heartbeat, .leaveGroup, .offsetCommit, .transactionalOffsetCommit, .offsetFetch,
            .consumerGroupHeartbeat:
            true
        case .offsetDelete, .describeGroups, .listGroups, .deleteGroups, .topicsDeleted, .consumerGroupDescribe,
            .metadataChanged:
            false
        }
    }
}

extension GroupCoordinatorConfig {
    package init(_ config: KafkaConfig) {
        self.init()
        self.minSessionTimeoutMs = Int32(clamping: config.groupMinSessionTimeoutMs)
        self.maxSessionTimeoutMs = Int32(clamping: config.groupMaxSessionTimeoutMs)
        self.initialRebalanceDelayMs = Int32(clamping: config.groupInitialRebalanceDelayMs)
        self.maxSize = Int32(clamping: config.groupMaxSize)
        self.offsetMetadataMaxSize = Int32(clamping: config.offsetMetadataMaxBytes)
        self.offsetsRetentionMs = config.offsetsRetentionMs
        self.offsetsRetentionCheckIntervalMs = config.offsetsRetentionCheckIntervalMs
        self.offsetCommitTimeoutMs = config.offsetsCommitTimeoutMs
        self.servesConsumerProtocol = configList(config.text("group.coordinator.rebalance.protocols"))
            .contains { $0.lowercased() == "consumer" }
        self.consumerMaxSize = Int32(clamping: config.int64("group.consumer.max.size"))
        self.consumerAssignors = configList(config.text("group.consumer.assignors"))
            .compactMap { ServerAssignor(rawValue: $0) }
        self.consumerMigrationPolicy =
            ConsumerGroupMigrationPolicy(rawValue: config.text("group.consumer.migration.policy").lowercased())
            ?? .bidirectional
        self.consumerRegexRefreshIntervalMs = Int32(
            clamping: config.int64("group.consumer.regex.refresh.interval.ms"))
    }
}

/// What was logged last, and when: the wall clock, ms.
private final class LastNote: Sendable {
    private let last = Mutex<(text: String, toldMs: Int64)>(("", 0))

    func withLock<R>(_ body: (inout sending (text: String, toldMs: Int64)) -> sending R) -> sending R {
        self.last.withLock(body)
    }
}

/// Brings what came of a coordinator's work back to it, while it is there.
private final class WorkResults: Sendable {
    let coordinator = Mutex<WeakCoordinator?>(nil)

    func take(_ result: GroupWorkResult, on partition: Int32, epoch: Int32) {
        guard let coordinator = self.coordinator.withLock({ $0?.coordinator }) else { return }
        coordinator.runtime.workDone(result, on: partition, epoch: epoch, now: .current)
    }
}

private struct WeakCoordinator: Sendable {
    weak let coordinator: GroupCoordinator?

    init(_ coordinator: GroupCoordinator) { self.coordinator = coordinator }
}
