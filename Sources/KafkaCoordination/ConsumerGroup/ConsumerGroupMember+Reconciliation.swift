import KafkaMessages
import KafkaPrimitives

/// What a member is to be brought to, and what is in the way.
struct ReconciliationTarget {
    var epoch: Int32
    var partitions: PartitionSet
    /// The topics that the member subscribes to; of no other it is given or left a partition.
    var isSubscribed: (KafkaUUID) -> Bool
    /// Whether somebody has the partition.
    var isOwned: (TopicPartition) -> Bool
    /// What the member says it has; nil where it does not say.
    var reported: [ConsumerGroupHeartbeatRequest.TopicPartitions]?
    /// Its subscription has just changed.
    var subscriptionChanged: Bool
}

extension ConsumerGroupMember {
    /// The next step of a member towards its target assignment; itself where there is none to take.
    ///
    /// A partition moves in three steps. Who has it is told to give it up and stays in its epoch until it says that it
    /// did. Then the partition is nobody's. Then who is to have it is given it, in the epoch of the target assignment.
    /// So no partition is ever two members'.
    ///
    /// - Returns: nil where the member has to be fenced, because its state is not known here.
    func reconciled(to target: ReconciliationTarget) -> ConsumerGroupMember? {
        switch self.state {
        case .stable:
            if self.epoch != target.epoch { return self.next(target) }
            return target.subscriptionChanged ? self.withoutUnsubscribed(target) : self
        case .unrevokedPartitions:
            if self.stillHas(self.pendingRevocation, target) {
                return target.subscriptionChanged ? self.withoutUnsubscribed(target) : self
            }
            return self.next(target)
        case .unreleasedPartitions:
            return self.next(target)
        case .unknown:
            guard let reported = target.reported, reported.isEmpty else { return nil }
            return self.next(target)
        }
    }

    /// A member that does not say what it has is taken to have it all.
    private func stillHas(_ partitions: HeldPartitions, _ target: ReconciliationTarget) -> Bool {
        guard let reported = target.reported else { return true }
        return reported.contains { topic in
            topic.partitions.contains { partitions.contains(topic.topicID, $0) }
        }
    }

    private func next(_ target: ReconciliationTarget) -> ConsumerGroupMember {
        var kept: [HeldPartitions.Topic] = []
        var revoked: [HeldPartitions.Topic] = []
        var given: [(topicID: KafkaUUID, partitions: [Int32])] = []
        var isWaiting = false

        let targets = target.partitions.topics
        let assigned = self.assigned.topics
        var targetIndex = 0
        var assignedIndex = 0
        while targetIndex < targets.count || assignedIndex < assigned.count {
            let takesTarget =
                targetIndex < targets.count
                && (assignedIndex >= assigned.count || targets[targetIndex].topicID <= assigned[assignedIndex].topicID)
            let takesAssigned =
                assignedIndex < assigned.count
                && (targetIndex >= targets.count || assigned[assignedIndex].topicID <= targets[targetIndex].topicID)
            let topicID = takesTarget ? targets[targetIndex].topicID : assigned[assignedIndex].topicID
            let wanted = takesTarget && target.isSubscribed(topicID) ? targets[targetIndex].partitions : []
            let current = takesAssigned ? assigned[assignedIndex] : nil
            targetIndex += takesTarget ? 1 : 0
            assignedIndex += takesAssigned ? 1 : 0

            var keep = HeldPartitions.Topic(topicID: topicID, partitions: [], epochs: [])
            var revoke = keep
            if let current {
                for (partition, epoch) in zip(current.partitions, current.epochs) {
                    if wanted.firstIndex(ofSorted: partition) != nil {
                        keep.partitions.append(partition)
                        keep.epochs.append(epoch)
                    } else {
                        revoke.partitions.append(partition)
                        revoke.epochs.append(epoch)
                    }
                }
            }
            var give: [Int32] = []
            for partition in wanted where keep.partitions.firstIndex(ofSorted: partition) == nil {
                // What the member itself has just given up is free: only one can have had it.
                if target.isOwned(TopicPartition(topicID: topicID, partition: partition))
                    && !self.pendingRevocation.contains(topicID, partition)
                {
                    isWaiting = true
                } else {
                    give.append(partition)
                }
            }
            if !keep.partitions.isEmpty { kept.append(keep) }
            if !revoke.partitions.isEmpty { revoked.append(revoke) }
            if !give.isEmpty { given.append((topicID, give)) }
        }

        var next = self
        next.assigned = HeldPartitions(ascending: kept)
        next.pendingRevocation = HeldPartitions(ascending: revoked)
        if !revoked.isEmpty && self.stillHas(next.pendingRevocation, target) {
            next.state = .unrevokedPartitions
            next.advance(to: self.epoch)
            return next
        }
        next.pendingRevocation = HeldPartitions()
        if !given.isEmpty {
            next.assigned = next.assigned.union(HeldPartitions(PartitionSet(given), epoch: target.epoch))
        }
        next.state = isWaiting ? .unreleasedPartitions : .stable
        next.advance(to: target.epoch)
        return next
    }

    /// Gives up what it no longer subscribes to, without waiting for a new target assignment.
    private func withoutUnsubscribed(_ target: ReconciliationTarget) -> ConsumerGroupMember {
        let (subscribed, others) = self.assigned.split(by: target.isSubscribed)
        guard !others.isEmpty else { return self }
        var next = self
        next.assigned = subscribed
        let pending = self.pendingRevocation.union(others)
        if self.stillHas(pending, target) {
            next.state = .unrevokedPartitions
            next.pendingRevocation = pending
        }
        next.advance(to: self.epoch)
        return next
    }
}
