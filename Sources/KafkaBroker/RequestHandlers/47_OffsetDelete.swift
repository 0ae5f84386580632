import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// OffsetDelete 0 (KIP-496): forgets offsets of topics that no member subscribes to.
extension ApiHandler {
    static let offsetDelete = ApiHandler.ordinary(OffsetDeleteRequest.self) { request, context, respond in
        let table = context.broker.replicaManager.table
        var known = request
        known.topics = []
        var unknown: [OffsetDeleteResponse.Topic] = []
        for topic in request.topics {
            let count = table.topic(named: topic.name)?.partitions.count ?? 0
            var asked = topic
            asked.partitions = topic.partitions.filter { (0..<count).contains(Int($0.partitionIndex)) }
            if !asked.partitions.isEmpty { known.topics.append(asked) }
            var refused = OffsetDeleteResponse.Topic()
            refused.name = topic.name
            refused.partitions = topic.partitions.filter { !(0..<count).contains(Int($0.partitionIndex)) }.map {
                var partition = OffsetDeleteResponse.Partition()
                partition.partitionIndex = $0.partitionIndex
                partition.errorCode = .unknownTopicOrPartition
                return partition
            }
            if !refused.partitions.isEmpty { unknown.append(refused) }
        }
        let refused = unknown
        context.broker.groupCoordinator.perform(.offsetDelete(known), for: request.groupID) { reply in
            guard case .offsetDelete(var response) = reply else { return }
            if response.errorCode == .none {
                var places = Dictionary(
                    zip(response.topics.map(\.name), response.topics.indices), uniquingKeysWith: { first, _ in first })
                for topic in refused {
                    if let index = places[topic.name] {
                        response.topics[index].partitions += topic.partitions
                    } else {
                        places[topic.name] = response.topics.count
                        response.topics.append(topic)
                    }
                }
            }
            respond(response)
        }
    }
}
