import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// OffsetFetch 1-10. 2 takes null for all topics and has an error for the whole; 5 brings the leader epoch; 7
// requireStable (KIP-447); 8 several groups at once (KIP-709); 9 member id and epoch, of KIP-848 groups; 10 names topics
// by id.
extension ApiHandler {
    static let offsetFetch = ApiHandler.ordinary(OffsetFetchRequest.self) { request, context, respond in
        let version = context.apiVersion
        let groups = version >= 8 ? request.groups : [request.onlyGroup]
        let table = context.broker.replicaManager.table
        let gather = Gather<OffsetFetchResponse.Group>(groups.count) { fetched in
            if version >= 8 {
                var response = OffsetFetchResponse()
                response.groups = fetched
                respond(response)
            } else {
                respond(OffsetFetchResponse(only: fetched[0], asked: groups[0], version: version))
            }
        }
        var seen = Set<String>()
        for (index, group) in groups.enumerated() {
            // Asked for a million times, its offsets are told once.
            guard seen.insert(group.groupID).inserted else {
                var repeated = OffsetFetchResponse.Group()
                repeated.groupID = group.groupID
                repeated.errorCode = .invalidRequest
                gather.set(index, repeated)
                continue
            }
            let (asked, unknown) = version >= 10 ? table.resolvingIDs(group) : (group, [])
            context.broker.groupCoordinator.perform(
                .offsetFetch(asked, requireStable: request.requireStable), for: group.groupID
            ) { reply in
                guard case .offsetFetch(var fetched) = reply else { return }
                if version >= 10 && fetched.errorCode == .none {
                    fetched = table.namingIDs(fetched)
                    fetched.topics += unknown
                }
                gather.set(index, fetched)
            }
        }
    }
}

extension OffsetFetchRequest {
    /// The group of a version below 8, in the form of later ones.
    fileprivate var onlyGroup: Group {
        var group = Group()
        group.groupID = self.groupID
        group.topics = self.topics?.map { topic in
            var asked = Topics()
            asked.name = topic.name
            asked.partitionIndexes = topic.partitionIndexes
            return asked
        }
        return group
    }
}

extension OffsetFetchResponse {
    /// The answer of a version below 8. Version 1 has no place for an error of the group: each partition gets it.
    fileprivate init(only group: Group, asked: OffsetFetchRequest.Group, version: Int16) {
        self.init()
        self.errorCode = group.errorCode
        func partition(_ index: Int32, _ offset: Int64, _ epoch: Int32, _ metadata: String?, _ error: ErrorCode)
            -> Partition
        {
            var partition = Partition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            partition.committedLeaderEpoch = epoch
            partition.metadata = metadata
            partition.errorCode = error
            return partition
        }
        if version < 2 && group.errorCode != .none {
            self.topics = (asked.topics ?? []).map { topic in
                var answer = Topic()
                answer.name = topic.name
                answer.partitions = topic.partitionIndexes.map { partition($0, -1, -1, "", group.errorCode) }
                return answer
            }
            return
        }
        self.topics = group.topics.map { topic in
            var answer = Topic()
            answer.name = topic.name
            answer.partitions = topic.partitions.map {
                partition($0.partitionIndex, $0.committedOffset, $0.committedLeaderEpoch, $0.metadata, $0.errorCode)
            }
            return answer
        }
    }
}

extension TopicTable {
    /// What to ask the coordinator, which goes by names, and the answer for the topics whose id nobody knows.
    fileprivate func resolvingIDs(
        _ group: OffsetFetchRequest.Group
    ) -> (known: OffsetFetchRequest.Group, unknown: [OffsetFetchResponse.Topics]) {
        guard let topics = group.topics else { return (group, []) }
        var known = group
        var unknown: [OffsetFetchResponse.Topics] = []
        known.topics = topics.compactMap { topic in
            if let entry = self.topic(id: topic.topicID) {
                var asked = topic
                asked.name = entry.name
                return asked
            }
            var answer = OffsetFetchResponse.Topics()
            answer.topicID = topic.topicID
            answer.partitions = topic.partitionIndexes.map { index in
                var partition = OffsetFetchResponse.Partitions()
                partition.partitionIndex = index
                partition.committedOffset = -1
                partition.errorCode = .unknownTopicID
                return partition
            }
            unknown.append(answer)
            return nil
        }
        return (known, unknown)
    }

    /// Where all topics were asked for, the coordinator knows only names; topics that are no more are left out.
    fileprivate func namingIDs(_ group: OffsetFetchResponse.Group) -> OffsetFetchResponse.Group {
        var group = group
        group.topics = group.topics.compactMap { topic in
            if topic.topicID != .zero { return topic }
            guard let entry = self.topic(named: topic.name) else { return nil }
            var named = topic
            named.topicID = entry.id
            return named
        }
        return group
    }
}
