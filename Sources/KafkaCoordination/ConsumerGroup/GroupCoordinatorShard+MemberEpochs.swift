import KafkaPrimitives

// Who may commit and fetch offsets of a consumer group: a member in its epoch (KIP-848), or who is none in a group
// without members.
extension GroupCoordinatorShard {
    /// Why a commit is refused, all of it; nil: it is not. For the groups in `consumerGroups`; others: nil.
    ///
    /// A member that is behind may commit for a partition that it was given by the epoch it knows, or before: it still
    /// has it (KIP-1251).
    /// - Parameters:
    ///   - apiVersion: of OffsetCommit; nil for TxnOffsetCommit.
    ///   - partitions: those that are committed; the topic by name.
    func refusalOfConsumerCommit(
        _ groupID: String, memberID: String, instanceID: String?, epoch: Int32, apiVersion: Int16?,
        partitions: some Sequence<(topic: String, partition: Int32)>
    ) -> ErrorCode? {
        guard let group = self.consumerGroups[groupID] else { return nil }
        // A program that only stores its offsets here, or an administrator.
        if epoch < 0 && group.isEmpty { return nil }
        // A producer that does not say for whom (before KIP-447).
        if apiVersion == nil && epoch == -1 && memberID.isEmpty && instanceID == nil { return nil }
        guard let member = group.members[memberID] else { return .unknownMemberID }
        if let apiVersion, apiVersion < 9, !member.usesClassicProtocol { return .unsupportedVersion }
        if epoch == member.epoch { return nil }
        let stale = member.usesClassicProtocol ? ErrorCode.illegalGeneration : .staleMemberEpoch
        if epoch > member.epoch { return stale }
        for (topic, partition) in partitions {
            guard let known = self.image.topic(named: topic),
                let given = member.assigned.epoch(of: known.id, partition)
                    ?? member.pendingRevocation.epoch(of: known.id, partition),
                given <= epoch
            else { return stale }
        }
        return nil
    }

    /// Why a fetch of offsets is refused; nil: it is not. For the groups in `consumerGroups`; others: nil.
    func refusalOfConsumerFetch(_ groupID: String, memberID: String?, epoch: Int32) -> ErrorCode? {
        guard let group = self.consumerGroups[groupID] else { return nil }
        // An administrator, or a client that does not say who it is.
        if memberID == nil && epoch < 0 { return nil }
        guard let member = group.members[memberID ?? ""] else { return .unknownMemberID }
        if epoch == member.epoch { return nil }
        return member.usesClassicProtocol ? .illegalGeneration : .staleMemberEpoch
    }
}
