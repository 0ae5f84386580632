import KafkaCoordination
import KafkaMessages
import KafkaPrimitives

// TxnOffsetCommit 0-5. 2 brings the leader epoch; 3 member, instance and generation (KIP-447); 4 knows
// TRANSACTION_ABORTABLE; from 5 on nobody has announced the offsets: the partition of __consumer_offsets becomes part of the
// transaction here (KIP-890). Clients of before 2 do not know COORDINATOR_LOAD_IN_PROGRESS.
//
// Partitions that do not exist are answered here and not stored.
extension ApiHandler {
    static let txnOffsetCommit = ApiHandler.ordinary(TxnOffsetCommitRequest.self) { request, context, respond in
        let version = context.apiVersion
        let broker = context.broker
        if request.groupID.isEmpty { return respond(TxnOffsetCommitResponse(refusing: request, .invalidGroupID)) }
        let asked = AskedOffsets(request, broker.replicaManager.table)
        if asked.known.topics.isEmpty { return respond(asked.answer(with: TxnOffsetCommitResponse())) }
        @Sendable func refuse(_ error: ErrorCode) {
            let error = version < 2 && error == .coordinatorLoadInProgress ? .coordinatorNotAvailable : error
            respond(asked.answer(with: TxnOffsetCommitResponse(refusing: asked.known, error)))
        }
        guard let partition = broker.groupCoordinator.partition(for: request.groupID) else {
            return refuse(.notCoordinator)
        }
        broker.verifyOffsets(of: request, version: version, in: partition) { error, verification in
            if error != .none { return refuse(error) }
            broker.groupCoordinator.perform(
                .transactionalOffsetCommit(
                    asked.known, topicIDs: asked.topicIDs, verification: verification, apiVersion: version),
                for: request.groupID
            ) { reply in
                guard case .transactionalOffsetCommit(let answered) = reply else { return }
                if version < 2, answered.topics.first?.partitions.first?.errorCode == .coordinatorLoadInProgress {
                    return refuse(.coordinatorLoadInProgress)
                }
                respond(asked.answer(with: answered))
            }
        }
    }
}

/// What of a commit is about partitions that exist, and how an answer about those becomes one about all.
private struct AskedOffsets: Sendable {
    private(set) var known: TxnOffsetCommitRequest
    private(set) var topicIDs: [String: KafkaUUID] = [:]
    private var response: TxnOffsetCommitResponse
    private var places: [[(topic: Int, partition: Int)]] = []

    init(_ request: TxnOffsetCommitRequest, _ table: TopicTable) {
        self.known = request
        self.known.topics = []
        self.response = TxnOffsetCommitResponse(refusing: request, .unknownTopicOrPartition)
        for (topicIndex, topic) in request.topics.enumerated() {
            guard let entry = table.topic(named: topic.name) else { continue }
            var asked = topic
            asked.partitions = []
            var place: [(topic: Int, partition: Int)] = []
            for (index, partition) in topic.partitions.enumerated()
            where entry.partitions.indices.contains(Int(partition.partitionIndex)) {
                asked.partitions.append(partition)
                place.append((topicIndex, index))
            }
            if place.isEmpty { continue }
            self.topicIDs[topic.name] = entry.id
            self.known.topics.append(asked)
            self.places.append(place)
        }
    }

    func answer(with answered: TxnOffsetCommitResponse) -> TxnOffsetCommitResponse {
        var response = self.response
        for (topic, place) in zip(answered.topics, self.places) {
            for (partition, at) in zip(topic.partitions, place) {
                response.topics[at.topic].partitions[at.partition].errorCode = partition.errorCode
            }
        }
        return response
    }
}
