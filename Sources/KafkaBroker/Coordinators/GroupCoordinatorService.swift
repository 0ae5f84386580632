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
    private struct Active: Sendable {
        var coordinator: GroupCoordinator
        var topicID: KafkaUUID
    }

    private let config: GroupCoordinatorConfig
    private let replicaManager: ReplicaManager
    private let background: any BackgroundExecutor
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let wake: @Sendable (Partition) -> Void
    private let active = Mutex<Active?>(nil)
    /// Topics and settings as the shards were told last.
    private let image = Mutex(GroupMetadataImage.empty)
    private let tick = Mutex<RepeatedTask?>(nil)

    /// How often timers are looked at. Sessions last seconds.
    private static let tickMs: Int64 = 50
    /// Read at once while loading.
    private static let loadBufferBytes = 1 << 20

    /// - Parameters:
    ///   - eventLoop: on which the tick runs.
    ///   - wake: tells those who wait for a partition that it has grown.
    package init(
        config: GroupCoordinatorConfig, replicaManager: ReplicaManager, background: any BackgroundExecutor,
        eventLoop: any EventLoop, logger: Logger, wake: @escaping @Sendable (Partition) -> Void
    ) {
        self.config = config
        self.replicaManager = replicaManager
        self.background = background
        self.eventLoop = eventLoop
        self.logger = logger
        self.wake = wake
    }

    // MARK: Requests

    /// Carries out a request for a group; `respond` is called once, on whichever thread has the answer.
    package func perform(
        _ request: GroupCoordinatorShard.Request, for groupID: String,
        respond: @escaping GroupCoordinator.Respond
    ) {
        guard let coordinator = self.coordinator else {
            return respond(GroupCoordinatorShard.failure(of: request, .notCoordinator))
        }
        self.perform(request, coordinator, on: coordinator.partition(for: groupID), respond)
    }

    /// Asks every shard.
    package func performOnAll(
        _ request: GroupCoordinatorShard.Request,
        _ completion: @escaping @Sendable ([GroupCoordinatorShard.Reply]) -> Void
    ) {
        guard let coordinator = self.coordinator else { return completion([]) }
        let count = coordinator.runtime.partitionCount
        let gather = Gather<GroupCoordinatorShard.Reply>(count, completion)
        for index in 0..<count {
            self.perform(request, coordinator, on: Int32(index)) { gather.set(index, $0) }
        }
    }

    private func perform(
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
    package func partition(for groupID: String) -> Partition? {
        guard let topic = self.replicaManager.table.topic(named: InternalTopics.consumerOffsets) else { return nil }
        let count = self.coordinator?.runtime.partitionCount ?? topic.partitions.count
        return topic.partition(GroupCoordinator.partition(for: groupID, of: count))
    }

    private var coordinator: GroupCoordinator? { self.active.withLock { $0?.coordinator } }

    /// Ends a producer's transaction in a partition of `__consumer_offsets`; NONE once the marker is committed.
    func appendMarker(
        _ marker: CoordinatorMarker, to partition: Int32, respond: @escaping @Sendable (ErrorCode) -> Void
    ) {
        guard let coordinator = self.coordinator else { return respond(.notCoordinator) }
        coordinator.runtime.appendMarker(marker, on: partition, now: .current, respond: respond)
    }

    // MARK: The broker's changes

    /// The topics of this broker have changed, or are there for the first time: takes up the partitions of
    /// `__consumer_offsets` that it leads. One call at a time, not on an event loop.
    package func follow() {
        guard let topic = self.replicaManager.table.topic(named: InternalTopics.consumerOffsets),
            !topic.partitions.isEmpty
        else { return self.drop() }
        if self.active.withLock({ $0?.topicID != topic.id }) {
            self.drop()
            let logger = self.logger
            let lastNote = LastNote()
            // Groups are spread by the number of partitions, which therefore stays what it is until a restart.
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
                config: self.config, partitions: topic.partitions.count, note: note,
                carryOut: { work, partition, epoch in
                    background.submit { results.take(work.run(), on: partition, epoch: epoch) }
                })
            results.coordinator.withLock { $0 = WeakCoordinator(coordinator) }
            self.active.withLock { $0 = Active(coordinator: coordinator, topicID: topic.id) }
            self.startTicking()
        }
        guard let coordinator = self.coordinator else { return }
        for case let partition? in topic.partitions
        where coordinator.runtime.beginLoading(partition.index, epoch: partition.leaderEpoch) {
            self.background.submit { self.load(partition, into: coordinator) }
        }
    }

    /// Partitions of `__consumer_offsets` are offline: their groups have no coordinator.
    package func unload(_ partitions: [Int32]) {
        guard let coordinator = self.coordinator else { return }
        for partition in partitions { coordinator.runtime.unload(partition) }
    }

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
    package func highWatermarkAdvanced(_ partition: Partition) {
        self.coordinator?.runtime.highWatermarkAdvanced(
            partition.index, to: partition.log.highWatermark, now: .current)
    }

    /// A partition of `__consumer_offsets` takes no records any more: what was not committed never will be, and who waits
    /// is sent to look for another coordinator.
    package func storageFailed(_ partition: Partition) {
        self.coordinator?.runtime.unload(partition.index)
    }

    /// The broker stops: whoever waits is sent to look for a coordinator.
    package func stop() { self.drop() }

    private func load(_ partition: Partition, into coordinator: GroupCoordinator) {
        let began = CoordinatorTime.current
        var loader = coordinator.makeLoader()
        if let error = loader.load(partition.log, bufferBytes: Self.loadBufferBytes) {
            self.logger.error(
                "groups of \(partition.topic)-\(partition.index) cannot be loaded: \(error.name)")
            coordinator.runtime.unload(partition.index)
            return
        }
        for fault in loader.faults {
            self.logger.error(
                "\(partition.topic)-\(partition.index) at offset \(fault.offset): \(fault.description); left out")
        }
        if loader.faultCount > loader.faults.count {
            self.logger.error("\(partition.topic)-\(partition.index): \(loader.faultCount) faults in all")
        }
        let image = self.image.withLock { $0 }
        let offsets = partition.log.snapshot
        let now = CoordinatorTime.current
        if loader.recordCount > 0 {
            let groups =
                loader.shard.groups.count + loader.shard.consumerGroups.count + loader.shard.otherGroups.count
            let count = loader.shard.offsets.count
            let name = "\(partition.topic)-\(partition.index)"
            let tookMs = now.monotonicMs - began.monotonicMs
            self.logger.info("loaded \(groups) groups and \(count) offsets of \(name) in \(tookMs) ms")
        }
        coordinator.runtime.finishLoading(
            partition.index, epoch: partition.leaderEpoch, shard: loader.shard.knowing(image),
            log: PartitionCoordinatorLog(partition: partition, wake: self.wake), endOffset: offsets.logEndOffset,
            highWatermark: offsets.highWatermark, now: now)
        // It may have moved between the look and now, when nobody could be told.
        self.highWatermarkAdvanced(partition)
        let latest = self.image.withLock { $0 }
        if latest.revision != image.revision {
            coordinator.perform(.metadataChanged(latest, .all), on: partition.index, now: now) { _ in }
        }
    }

    private func drop() {
        self.tick.withLock { tick in
            tick?.cancel()
            tick = nil
        }
        let dropped = self.active.withLock { active in
            defer { active = nil }
            return active?.coordinator
        }
        guard let dropped else { return }
        for partition in 0..<dropped.runtime.partitionCount { dropped.runtime.unload(Int32(partition)) }
    }

    private func startTicking() {
        let task = self.eventLoop.scheduleRepeatedTask(
            initialDelay: .milliseconds(Self.tickMs), delay: .milliseconds(Self.tickMs)
        ) { [weak self] _ in
            self?.coordinator?.advance(now: .current)
        }
        self.tick.withLock { $0 = task }
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
