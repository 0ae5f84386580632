import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import KafkaTransport

extension Broker {
    /// What logs do by themselves: syncs that are through, or not.
    func follow(_ events: LogEvents) {
        events.onHighWatermark { [weak self] in self?.highWatermarkMoved($0) }
        events.onAppend { [weak self] in self?.appended($0) }
        events.onRelease { [weak self] in self?.release($0) }
        events.onStorageFailure { [weak self] failure in
            if let log = failure.endedLog { self?.appendsEnded(log) }
        }
    }

    private func highWatermarkMoved(_ log: PartitionLog) {
        guard let partition = self.replicaManager.partition(of: log) else { return }
        self.wake(partition)
        if partition.topic == InternalTopics.consumerOffsets { self.groupCoordinator.highWatermarkAdvanced(partition) }
        self.transactionCoordinator.highWatermarkAdvanced(partition)
    }

    private func appendsEnded(_ log: PartitionLog) {
        guard let partition = self.replicaManager.partition(of: log) else { return }
        if partition.topic == InternalTopics.consumerOffsets { self.groupCoordinator.storageFailed(partition) }
        self.transactionCoordinator.storageFailed(partition)
    }

    private func appended(_ append: QueuedAppend) {
        let mailboxes = self.loopMailboxes
        guard let waiter = append.waiter, waiter.loop < mailboxes.count else { return }
        mailboxes[waiter.loop].post(.appended(waiter, append.result))
    }

    /// Tells the loops whose requests wait. Any thread.
    private func release(_ waiters: [ReleasedWaiter]) {
        let mailboxes = self.loopMailboxes
        for waiter in waiters where waiter.waiter.loop < mailboxes.count {
            mailboxes[waiter.waiter.loop].post(.released(waiter.waiter, waiter.error))
        }
    }
}

extension ReplicaManager {
    /// The partition that a log is of; nil while it is opened, and when it is no more.
    func partition(of log: PartitionLog) -> Partition? {
        let partition = self.table.topic(id: log.topicID)?.partition(log.topicPartition.partition)
        return partition?.log === log ? partition : nil
    }
}
