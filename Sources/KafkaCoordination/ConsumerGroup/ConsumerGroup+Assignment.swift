import KafkaPrimitives

/// A member as it is stored, and as it is to be.
struct MemberChange {
    var before: ConsumerGroupMember
    var after: ConsumerGroupMember
    /// Whether nobody of this id is in the group.
    var isNew: Bool
    /// Whose place it takes: the static member's former id.
    var replacedID: String?
}

extension ConsumerGroup {
    /// Counts as they are with the change, and without the members that are removed.
    private func counts(
        _ counts: [String: Int], _ change: MemberChange?, without removed: [ConsumerGroupMember] = [],
        _ keys: (ConsumerGroupMember) -> [String]
    ) -> [String: Int] {
        var counts = counts
        func add(_ member: ConsumerGroupMember, _ sign: Int) {
            for key in keys(member) {
                let count = counts[key, default: 0] + sign
                counts[key] = count <= 0 ? nil : count
            }
        }
        if let change {
            if !change.isNew || change.replacedID != nil { add(change.before, -1) }
            add(change.after, 1)
        }
        for member in removed { add(member, -1) }
        return counts
    }

    func regexes(with change: MemberChange?, without removed: [ConsumerGroupMember] = []) -> [String: Int] {
        self.counts(self.regexCounts, change, without: removed) {
            $0.subscribedRegex.isEmpty ? [] : [$0.subscribedRegex]
        }
    }

    /// All topics that the members subscribe to.
    func topics(with change: MemberChange?, without removed: [ConsumerGroupMember] = []) -> Set<String> {
        var topics = Set(self.counts(self.topicCounts, change, without: removed) { $0.subscribedTopics }.keys)
        if self.resolvedRegexes.isEmpty { return topics }
        let regexes = self.regexes(with: change, without: removed)
        for (regex, resolved) in self.resolvedRegexes where regexes[regex] != nil {
            topics.formUnion(resolved.topics)
        }
        return topics
    }

    /// The assignor that most members prefer; of two with as many, the one that was configured first. Who prefers none
    /// takes the first.
    func preferredAssignor(_ assignors: [ServerAssignor], with change: MemberChange?) -> ServerAssignor {
        let counts = self.counts(self.assignorCounts, change) { $0.serverAssignor.map { [$0] } ?? [] }
        var best: (assignor: ServerAssignor, count: Int)?
        for assignor in assignors {
            guard let count = counts[assignor.rawValue], count > best?.count ?? 0 else { continue }
            best = (assignor, count)
        }
        return best?.assignor ?? assignors.first ?? .uniform
    }

    /// What an assignor decides on. Takes time in proportion to members, their topics and partitions.
    func assignmentInput(with change: MemberChange?, in image: GroupMetadataImage) -> AssignmentInput {
        var ids: [String: KafkaUUID] = [:]
        var counts: [KafkaUUID: Int32] = [:]
        for name in self.topics(with: change) {
            guard let topic = image.topic(named: name) else { continue }
            ids[name] = topic.id
            counts[topic.id] = topic.partitionCount
        }
        var input: [String: AssignmentInput.Member] = [:]
        input.reserveCapacity(self.members.count + 1)
        // Most members subscribe to the same, and then share one set.
        var last: (topics: [String], regex: String, ids: Set<KafkaUUID>) = ([], "", [])
        var isHomogeneous = true
        func add(_ member: ConsumerGroupMember, target: PartitionSet?) {
            if member.subscribedTopics != last.topics || member.subscribedRegex != last.regex {
                var subscribed = Set(member.subscribedTopics.lazy.compactMap { ids[$0] })
                if !member.subscribedRegex.isEmpty, let resolved = self.resolvedRegexes[member.subscribedRegex] {
                    for name in resolved.topics { if let id = ids[name] { subscribed.insert(id) } }
                }
                if !input.isEmpty && subscribed != last.ids { isHomogeneous = false }
                last = (member.subscribedTopics, member.subscribedRegex, subscribed)
            }
            var current: MemberAssignment = [:]
            for topic in target?.topics ?? [] { current[topic.topicID] = topic.partitions }
            input[member.memberID] = AssignmentInput.Member(
                instanceID: member.instanceID, subscribedTopics: last.ids, current: current)
        }
        for (memberID, member) in self.members
        where memberID != change?.after.memberID && memberID != change?.replacedID {
            add(member, target: self.targets[memberID])
        }
        if let change {
            add(change.after, target: self.targets[change.replacedID ?? change.after.memberID])
        }
        return AssignmentInput(members: input, partitionCounts: counts, isHomogeneous: isHomogeneous)
    }

    /// How much an assignor has to look at: members and partitions.
    func assignmentCost(with change: MemberChange?, in image: GroupMetadataImage) -> Int {
        self.topics(with: change).reduce(self.members.count + 1) {
            $0 + Int(image.topic(named: $1)?.partitionCount ?? 0)
        }
    }

    /// When the next target assignment may be computed: milliseconds from now, 0 for at once.
    func assignmentDelayMs(_ settings: ConsumerGroupSettings, nowMs: Int64) -> Int64 {
        guard self.assignmentTimestampMs > 0, nowMs >= self.assignmentTimestampMs else { return 0 }
        let sinceMs = nowMs - self.assignmentTimestampMs
        return max(0, Int64(settings.assignmentIntervalMs) - sinceMs)
    }

    /// The records that make `targets` the group's target assignment: who has another one than before, then the epoch.
    func targetRecords(
        _ targets: [String: PartitionSet], members: some Sequence<String>, epoch: Int32, timestampMs: Int64,
        before: (String) -> PartitionSet
    ) -> [CoordinatorRecord] {
        var records: [CoordinatorRecord] = []
        for memberID in members.sorted() {
            let target = targets[memberID] ?? PartitionSet()
            if target != before(memberID) {
                records.append(ConsumerGroupRecords.target(self.groupID, memberID, target))
            }
        }
        records.append(
            ConsumerGroupRecords.targetMetadata(self.groupID, epoch: epoch, timestampMs: timestampMs))
        return records
    }
}

/// What a group shard has done outside of its lock, on the pool: what takes long.
package enum GroupWork: Sendable {
    /// The target assignment of a group as it was.
    case assign(ConsumerGroup, ServerAssignor, GroupMetadataImage, token: UInt64)
    /// The topics that match a group's regular expressions.
    case resolve(groupID: String, regexes: [String], GroupMetadataImage, token: UInt64)

    /// Does it. Pure.
    package func run() -> GroupWorkResult {
        switch self {
        case .assign(let group, let assignor, let image, let token):
            let assignment = assignor.assign(group.assignmentInput(with: nil, in: image))
            var instances: [String: String] = [:]
            for (instanceID, memberID) in group.staticMembers { instances[memberID] = instanceID }
            return .assigned(
                groupID: group.groupID, epoch: group.epoch,
                AssignedTargets(targets: assignment.mapValues { PartitionSet($0) }, instances: instances), token: token)
        case .resolve(let groupID, let regexes, let image, let token):
            let names = image.topicNames
            var resolved: [String: [String]] = [:]
            for regex in regexes {
                // One that cannot be read, of a Kafka that could, matches nothing.
                resolved[regex] =
                    SubscriptionPattern(regex).map { pattern in
                        names.filter { pattern.matches($0) }.sorted()
                    } ?? []
            }
            return .resolved(groupID: groupID, resolved, revision: image.revision, token: token)
        }
    }
}

package struct AssignedTargets: Sendable {
    var targets: [String: PartitionSet]
    /// The instance ids that static members had then.
    var instances: [String: String]
}

package enum GroupWorkResult: Sendable {
    case assigned(groupID: String, epoch: Int32, AssignedTargets, token: UInt64)
    case resolved(groupID: String, [String: [String]], revision: Int64, token: UInt64)
}
