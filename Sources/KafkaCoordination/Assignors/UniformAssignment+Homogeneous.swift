/// All members subscribe to the same topics: each may have `total / members` partitions, and the remainder goes one
/// by one to members that would have to give one up without it, or else to the last ones.
extension UniformAssignment {
    mutating func assignHomogeneous() {
        guard !self.topicIDs.isEmpty else { return }
        let memberCount = self.memberIDs.count
        let total = self.owners.reduce(0) { $0 + $1.count }
        var extraQuotas = total % memberCount

        var hasOwner = self.owners.map { [Bool](repeating: false, count: $0.count) }
        /// Kept and given up, by member in order.
        var revoked: [(topic: Int, partition: Int32)] = []
        var unfilled: [(member: Int32, quota: Int)] = []
        for index in 0..<memberCount {
            let current = self.member(index).current
            var quota = total / memberCount
            var hasExtra = extraQuotas > 0
            if hasExtra { quota += 1 }
            for id in JavaHashOrder.assignedTopics(current.keys) {
                guard let topic = self.topicIndexes[id], let assigned = current[id] else { continue }
                let partitions = self.unowned(assigned, ofTopic: topic)
                for partition in partitions.count <= quota ? partitions : JavaHashOrder.partitions(partitions)
                where !hasOwner[topic][Int(partition)] {
                    hasOwner[topic][Int(partition)] = true
                    if quota > 0 {
                        self.owners[topic][Int(partition)] = Int32(index)
                        quota -= 1
                    } else {
                        revoked.append((topic, partition))
                    }
                }
            }
            // Who has not filled it leaves the extra one to somebody who may need it to keep what he has, as long as
            // there are enough members to come.
            if quota > 0 && hasExtra && memberCount - index > extraQuotas {
                quota -= 1
                hasExtra = false
            }
            if quota > 0 { unfilled.append((Int32(index), quota)) }
            if hasExtra { extraQuotas -= 1 }
        }
        self.fill(unfilled, hasOwner: hasOwner, revoked: revoked)
    }

    /// Gives out first what nobody had, topic by topic, then what was given up.
    private mutating func fill(
        _ unfilled: [(member: Int32, quota: Int)], hasOwner: [[Bool]], revoked: [(topic: Int, partition: Int32)]
    ) {
        var unassigned: [(topic: Int, partition: Int32)] = []
        for (topic, partitions) in hasOwner.enumerated() {
            for (partition, isOwned) in partitions.enumerated() where !isOwned {
                unassigned.append((topic, Int32(partition)))
            }
        }
        unassigned += revoked
        var next = 0
        for (member, quota) in unfilled {
            let end = min(next + quota, unassigned.count)
            for (topic, partition) in unassigned[next..<end] { self.owners[topic][Int(partition)] = member }
            next = end
        }
    }
}
