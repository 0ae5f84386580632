import KafkaLog
import KafkaPrimitives
import Logging
import Synchronization

/// The partitions that this broker serves: from the metadata to logs on disk, and from a request's bytes to a partition.
///
/// Changes block on disk and are made one at a time, never on an event loop (the metadata's own thread makes them);
/// readers take the table as it is.
package final class ReplicaManager: Sendable {
    package let logManager: LogManager
    private let logger: Logger
    private let current = Mutex(TopicTable.empty)
    private let changing = Mutex(())

    package init(logManager: LogManager, logger: Logger) {
        self.logManager = logManager
        self.logger = logger
    }

    /// Every topic, as of now.
    package var table: TopicTable { self.current.withLock { $0 } }

    /// What a topic should be.
    package struct TopicSpec: Sendable {
        package var name: String
        package var id: KafkaUUID
        package var leaderEpochs: [Int32]
        package var config: LogConfig

        package init(name: String, id: KafkaUUID, leaderEpochs: [Int32], config: LogConfig) {
            self.name = name
            self.id = id
            self.leaderEpochs = leaderEpochs
            self.config = config
        }
    }

    /// Makes the table hold these topics besides those it has, their logs opened or made; partitions may have been
    /// added to a topic that is there. A partition whose log cannot be made is offline (KAFKA_STORAGE_ERROR), the
    /// others are not.
    /// - Parameter areNew: false at the start, for topics of the metadata. With a data folder offline a partition that is
    ///   not in the others must be in that one: it is offline, and not made anew.
    package func open(_ specs: [TopicSpec], areNew: Bool = true) {
        self.changing.withLock { _ in
            var topics: [KafkaUUID: TopicEntry] = [:]
            for topic in self.table.topics { topics[topic.id] = topic }
            let before = topics
            let opened = Self.map(specs, perThread: areNew ? .max : Self.specsPerThread) { spec in
                self.open(spec, before[spec.id]?.partitions ?? [], areNew: areNew)
            }
            for (entry, _) in opened { topics[entry.id] = entry }
            self.publish(topics)
            let missing = opened.reduce(0) { $0 + $1.missing }
            if missing > 0 {
                self.logger.error("\(missing) partitions are offline: they are in none of the folders that are online")
            }
        }
    }

    /// At a start, when all logs are open already, topics are made by two threads.
    private static let specsPerThread = 64

    /// `body` of each, in order; by two threads where there are many.
    private static func map<Result: Sendable>(
        _ specs: [TopicSpec], perThread: Int, _ body: @Sendable (TopicSpec) -> Result
    ) -> [Result] {
        guard specs.count / 2 >= perThread else { return specs.map(body) }
        let parts = [specs[..<(specs.count / 2)], specs[(specs.count / 2)...]]
        let results = Mutex<[[Result]]>([[], []])
        let next = Atomic(0)
        Threads.run(parts.count) {
            while true {
                let part = next.add(1, ordering: .relaxed).oldValue
                guard part < parts.count else { return }
                let made = parts[part].map(body)
                results.withLock { $0[part] = made }
            }
        }
        return results.withLock { $0.flatMap { $0 } }
    }

    private func open(
        _ spec: TopicSpec, _ existing: [Partition?], areNew: Bool
    ) -> (entry: TopicEntry, missing: Int) {
        var missing = 0
        var partitions = existing
        // At a start nearly all of them are there.
        let logs = areNew ? [:] : self.logManager.logs(ofTopic: spec.name)
        partitions.reserveCapacity(spec.leaderEpochs.count)
        for index in existing.count..<max(existing.count, spec.leaderEpochs.count) {
            let log = logs[Int32(index)]
            if !areNew, log == nil, self.logManager.hasOfflineFolders {
                partitions.append(nil)
                missing += 1
            } else if let log, log.topicID == spec.id {
                partitions.append(self.partition(Int32(index), of: spec, log))
            } else {
                partitions.append(self.openPartition(Int32(index), of: spec))
            }
        }
        return (TopicEntry(name: spec.name, id: spec.id, partitions: partitions), missing)
    }

    /// Takes partitions offline, whose folder has failed (KAFKA_STORAGE_ERROR), and wakes who waits for them.
    package func takeOffline(_ partitions: [TopicPartition], wake: (Partition) -> Void) {
        self.changing.withLock { _ in
            var lost: [String: Set<Int32>] = [:]
            for one in partitions { lost[one.topic, default: []].insert(one.partition) }
            var topics: [KafkaUUID: TopicEntry] = [:]
            var woken: [Partition] = []
            for topic in self.table.topics {
                guard let indexes = lost[topic.name] else {
                    topics[topic.id] = topic
                    continue
                }
                let left = topic.partitions.enumerated().map { index, partition in
                    indexes.contains(Int32(index)) ? nil : partition
                }
                woken += topic.partitions.compactMap { $0 }.filter { indexes.contains($0.index) }
                topics[topic.id] = TopicEntry(name: topic.name, id: topic.id, partitions: left)
            }
            self.publish(topics)
            for partition in woken { wake(partition) }
        }
    }

    private func openPartition(_ index: Int32, of spec: TopicSpec) -> Partition? {
        let topicPartition = TopicPartition(topic: spec.name, partition: index)
        do throws(IOError) {
            let log = try self.log(of: topicPartition, spec)
            return self.partition(index, of: spec, log)
        } catch {
            self.logger.error("\(topicPartition) is offline: its log cannot be opened: \(error)")
            return nil
        }
    }

    private func partition(_ index: Int32, of spec: TopicSpec, _ log: PartitionLog) -> Partition {
        Partition(
            topic: spec.name, topicID: spec.id, index: index, log: log, leaderEpoch: spec.leaderEpochs[Int(index)])
    }

    /// The partition's log, made where there is none. A folder that another topic of this name has left is set aside
    /// first.
    private func log(of partition: TopicPartition, _ spec: TopicSpec) throws(IOError) -> PartitionLog {
        if let log = self.logManager.log(for: partition), log.topicID != spec.id {
            self.logger.warning("\(partition) is of a topic \(log.topicID) that is no more: it is deleted")
            try self.logManager.delete(partition, now: wallClockMs())
        }
        return try self.logManager.create(partition, topicID: spec.id, config: spec.config, now: wallClockMs())
    }

    /// New values of a topic's configs, which take effect at once.
    package func update(config: LogConfig, ofTopic id: KafkaUUID) {
        for partition in self.table.topic(id: id)?.partitions ?? [] { partition?.update(config: config) }
    }

    /// Takes a topic out of the table, wakes who waits for it, and deletes its logs.
    /// - Returns: the topic as it was.
    @discardableResult
    package func remove(topic id: KafkaUUID, wake: (Partition) -> Void) -> TopicEntry? {
        self.changing.withLock { _ in
            guard let removed = self.table.topic(id: id) else { return nil }
            var topics: [KafkaUUID: TopicEntry] = [:]
            for topic in self.table.topics where topic.id != id { topics[topic.id] = topic }
            self.publish(topics)
            for partition in removed.partitions {
                guard let partition else { continue }
                wake(partition)
                do throws(IOError) {
                    try self.logManager.delete(partition.log.topicPartition, now: wallClockMs())
                } catch {
                    self.logger.error("\(removed.name)-\(partition.index) is not deleted: \(error)")
                }
            }
            return removed
        }
    }

    private func publish(_ topics: [KafkaUUID: TopicEntry]) {
        let table = TopicTable(topics: topics.values.sorted { $0.name < $1.name })
        self.current.withLock { $0 = table }
    }
}
