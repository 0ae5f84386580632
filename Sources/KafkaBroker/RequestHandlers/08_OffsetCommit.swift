import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// OffsetCommit 2-10. 2 to 4 may bring a retention time; 6 the leader epoch; 7 group.instance.id (KIP-345); 9 says
// GROUP_ID_NOT_FOUND where older ones say ILLEGAL_GENERATION; 10 names topics by id (KIP-848).
//
// Partitions that do not exist are answered here and not stored.
extension ApiHandler {
    static let offsetCommit = ApiHandler.ordinary(OffsetCommitRequest.self) { request, context, respond in
        let table = context.broker.replicaManager.table
        let usesIDs = context.apiVersion >= 10
        var response = OffsetCommitResponse(refusing: request, .none)
        var known = request
        known.topics = []
        // Where the answers for what the coordinator is asked have to go.
        var places: [[(topic: Int, partition: Int)]] = []
        for (topicIndex, topic) in request.topics.enumerated() {
            let entry = usesIDs ? table.topic(id: topic.topicID) : table.topic(named: topic.name)
            var asked = topic
            asked.partitions = []
            var place: [(topic: Int, partition: Int)] = []
            for (partitionIndex, partition) in topic.partitions.enumerated() {
                if let entry, entry.partitions.indices.contains(Int(partition.partitionIndex)) {
                    asked.partitions.append(partition)
                    place.append((topicIndex, partitionIndex))
                } else {
                    response.topics[topicIndex].partitions[partitionIndex].errorCode =
                        usesIDs && entry == nil ? .unknownTopicID : .unknownTopicOrPartition
                }
            }
            guard let entry, !place.isEmpty else { continue }
            asked.name = entry.name
            asked.topicID = entry.id
            known.topics.append(asked)
            places.append(place)
        }
        if known.topics.isEmpty { return respond(response) }
        let (partial, asked) = (response, places)
        context.broker.groupCoordinator.perform(
            .offsetCommit(known, apiVersion: context.apiVersion), for: request.groupID
        ) { reply in
            guard case .offsetCommit(let answered) = reply else { return }
            var response = partial
            for (topic, place) in zip(answered.topics, asked) {
                for (partition, at) in zip(topic.partitions, place) {
                    response.topics[at.topic].partitions[at.partition].errorCode = partition.errorCode
                }
            }
            respond(response)
        }
    }
}
