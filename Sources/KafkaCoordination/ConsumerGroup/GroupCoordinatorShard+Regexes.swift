import KafkaMessages
import KafkaPrimitives

/// What came of a member's regular expression.
enum RegexChange {
    case none
    /// Another than before, whose topics are not known yet.
    case unresolved
    /// Another than before, or none any more, and its topics are known.
    case resolved
}

extension GroupCoordinatorShard {
    /// Between two looks for the topics of a group's regular expressions, whatever happens to topics meanwhile.
    static let regexMinIntervalMs: Int64 = 10_000

    /// A member may subscribe to something else. A regular expression that is new to the group is checked here, and
    /// resolved on the pool; one that nobody has any more is forgotten.
    func changeRegex(
        _ change: MemberChange, of group: ConsumerGroup, _ now: CoordinatorTime,
        _ records: inout [CoordinatorRecord], _ effects: inout GroupEffects
    ) -> Result<RegexChange, GroupRefusal> {
        let (old, new) = (change.before.subscribedRegex, change.after.subscribedRegex)
        guard old != new else { return .success(.none) }
        let counts = group.regexes(with: change)
        if !old.isEmpty, counts[old] == nil, group.resolvedRegexes[old] != nil {
            records.append(ConsumerGroupRecords.regex(group.groupID, old, nil))
        }
        guard !new.isEmpty else { return .success(.resolved) }
        guard group.resolvedRegexes[new] == nil else { return .success(.resolved) }
        if group.regexCounts[new] == nil, SubscriptionPattern(new) == nil {
            return .failure(
                GroupRefusal(
                    .invalidRegularExpression,
                    "SubscribedTopicRegex \(new) is not a valid regular expression."))
        }
        if !group.isResolving { effects.setTimer(.consumerGroup(group.groupID, .regexes), afterMs: 0) }
        return .success(.unresolved)
    }

    /// Has all regular expressions of a group resolved again, so that they raise the epoch once.
    mutating func resolveRegexes(
        of group: ConsumerGroup, _ now: CoordinatorTime, _ effects: inout GroupEffects
    ) {
        guard !group.isResolving, !group.regexCounts.isEmpty else { return }
        let last = group.resolvedRegexes.values.reduce(Int64.min) { max($0, $1.timestampMs) }
        if last <= now.wallMs, last > now.wallMs &- Self.regexMinIntervalMs {
            effects.setTimer(
                .consumerGroup(group.groupID, .regexes), afterMs: Self.regexMinIntervalMs - (now.wallMs - last))
            return
        }
        self.nextToken &+= 1
        self.consumerGroups[group.groupID]?.resolvingToken = self.nextToken
        effects.work.append(
            .resolve(
                groupID: group.groupID, regexes: group.regexCounts.keys.sorted(), self.image, token: self.nextToken))
    }

    mutating func resolved(
        _ groupID: String, _ regexes: [String: [String]], revision: Int64, token: UInt64, _ now: CoordinatorTime,
        _ effects: inout GroupEffects
    ) {
        guard var group = self.consumerGroups[groupID], group.resolvingToken == token else { return }
        self.consumerGroups[groupID]?.resolvingToken = nil
        var isChanged = false
        for (regex, topics) in regexes.sorted(by: { $0.key < $1.key }) where group.regexCounts[regex] != nil {
            let resolved = ConsumerGroup.ResolvedRegex(
                topics: topics, revision: revision, timestampMs: now.wallMs)
            // One that matches nothing is resolved too, and changes nothing.
            if (group.resolvedRegexes[regex]?.topics ?? []) != topics { isChanged = true }
            effects.records.append(ConsumerGroupRecords.regex(groupID, regex, resolved))
            group.resolvedRegexes[regex] = resolved
        }
        let topics = group.subscribedTopics
        if isChanged || MetadataHash.hash(of: topics, in: self.image) != group.metadataHash {
            self.appendEpoch(group.nextEpoch, of: group, topics: topics, &effects.records)
            self.scheduleAssignment(of: group, now, &effects)
        }
        let key = TimerKey.consumerGroup(groupID, .regexes)
        let isBehind = self.image.revision > revision || group.regexCounts.keys.contains { regexes[$0] == nil }
        effects.setTimer(
            key, afterMs: isBehind ? Self.regexMinIntervalMs : Int64(self.config.consumerRegexRefreshIntervalMs))
        effects.continuation = .retried(key)
    }
}

extension ConsumerGroup {
    var isResolving: Bool { self.resolvingToken != nil }
}
