import KafkaLog
import KafkaPrimitives
import KafkaRecords
import Synchronization

/// Who waits for a partition to grow: a parked fetch of one event loop.
package struct FetchWaiter: Hashable, Sendable {
    package let loop: Int
    package let fetch: UInt64
    /// Which of the fetch's targets the partition is.
    package let target: Int
}

/// Those who wait for one partition: mostly a few, which a list finds fastest; but there may be thousands.
struct FetchWaiters: Sendable {
    private static let listLimit = 16
    private var list: [FetchWaiter] = []
    private var rest: Set<FetchWaiter> = []

    var count: Int { self.list.count + self.rest.count }

    mutating func insert(_ waiter: FetchWaiter) {
        if self.list.count < Self.listLimit { self.list.append(waiter) } else { self.rest.insert(waiter) }
    }

    mutating func remove(_ waiter: FetchWaiter) {
        if let at = self.list.firstIndex(of: waiter) {
            self.list.swapAt(at, self.list.count - 1)
            self.list.removeLast()
        } else {
            self.rest.remove(waiter)
        }
    }

    mutating func takeAll() -> [FetchWaiter] {
        var all: [FetchWaiter] = []
        swap(&all, &self.list)
        if !self.rest.isEmpty {
            all += self.rest
            self.rest = []
        }
        return all
    }
}

/// A partition that this broker leads: its log, and those who wait for it.
package final class Partition: Sendable {
    package let topic: String
    package let topicID: KafkaUUID
    package let index: Int32
    package let log: PartitionLog
    /// The epoch under which this broker leads.
    package let leaderEpoch: Int32

    private struct Settings: Sendable {
        var rules: ValidationRules
        var minInSyncReplicas: Int32
    }
    /// This broker's replica is the only one.
    private static let replicaCount: Int32 = 1
    private let settings: Mutex<Settings>
    private let waiters = Mutex(FetchWaiters())
    /// Read without the lock by every append: almost always zero on a busy partition.
    private let waiterCount = Atomic<Int>(0)

    package init(topic: String, topicID: KafkaUUID, index: Int32, log: PartitionLog, leaderEpoch: Int32) {
        self.topic = topic
        self.topicID = topicID
        self.index = index
        self.log = log
        self.leaderEpoch = leaderEpoch
        self.settings = Mutex(Self.settings(for: log.config, topic: topic, index: index))
        // A leader's epoch begins where its log ends, before anything is written in it: readers may ask for it.
        if log.latestEpoch.map({ $0 < leaderEpoch }) ?? true { log.assignLeaderEpoch(leaderEpoch) }
    }

    private static func settings(for config: LogConfig, topic: String, index: Int32) -> Settings {
        let level: Int32? =
            switch config.compressionType {
            case .gzip: config.compressionGzipLevel
            case .lz4: config.compressionLz4Level
            case .zstd: config.compressionZstdLevel
            default: nil
            }
        return Settings(
            rules: ValidationRules(
                maxMessageBytes: config.maxMessageBytes, compacted: config.cleanupPolicy.contains(.compact),
                timestampType: config.messageTimestampType,
                timestampBeforeMaxMs: config.messageTimestampBeforeMaxMs,
                timestampAfterMaxMs: config.messageTimestampAfterMaxMs, now: 0,
                targetCompression: config.compressionType, level: level, topic: topic, partition: index),
            minInSyncReplicas: min(config.minInSyncReplicas, Self.replicaCount))
    }

    /// New values of the topic's configs; they hold from the next request on.
    package func update(config: LogConfig) {
        self.log.update(config: config)
        let new = Self.settings(for: config, topic: self.topic, index: self.index)
        self.settings.withLock { $0 = new }
    }

    /// What records have to keep to here; `now` and `produceVersion` are the request's.
    var validationRules: ValidationRules { self.settings.withLock { $0.rules } }
    /// min.insync.replicas, but no more than the partition has replicas (KIP-966).
    var minInSyncReplicas: Int32 { self.settings.withLock { $0.minInSyncReplicas } }

    /// What a client that names an epoch is told; nil when it may go on (KIP-320).
    package func check(currentLeaderEpoch: Int32) -> ErrorCode? {
        if currentLeaderEpoch < 0 || currentLeaderEpoch == self.leaderEpoch { return nil }
        return currentLeaderEpoch < self.leaderEpoch ? .fencedLeaderEpoch : .unknownLeaderEpoch
    }

    /// Registers a parked fetch. The caller looks at the log once more afterwards: an append may have come between its
    /// read and this call, and would then have woken nobody.
    package func watch(_ waiter: FetchWaiter) {
        self.waiters.withLock { waiters in
            waiters.insert(waiter)
            // Under the lock, so that it is never less than what the list holds: an append would wake nobody.
            self.waiterCount.store(waiters.count, ordering: .sequentiallyConsistent)
        }
    }

    package func unwatch(_ waiter: FetchWaiter) {
        self.waiters.withLock { waiters in
            waiters.remove(waiter)
            self.waiterCount.store(waiters.count, ordering: .sequentiallyConsistent)
        }
    }

    /// Everybody who waits, removed from the list. Empty without taking the lock when nobody does.
    package func takeWaiters() -> [FetchWaiter] {
        if self.waiterCount.load(ordering: .sequentiallyConsistent) == 0 { return [] }
        return self.waiters.withLock { waiters in
            self.waiterCount.store(0, ordering: .sequentiallyConsistent)
            return waiters.takeAll()
        }
    }

    /// For tests: how many fetches wait.
    var waitingCount: Int { self.waiters.withLock { $0.count } }
}
