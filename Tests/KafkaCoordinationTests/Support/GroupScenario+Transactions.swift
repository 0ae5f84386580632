import KafkaMessages
import KafkaPrimitives
import Synchronization

@testable import KafkaCoordination

/// What producers do in a transaction, and what the transaction coordinator tells this one.
extension GroupScenario {
    func transactionalCommit(_ command: DataDriven.Command, _ group: String, _ client: String) throws {
        var request = TxnOffsetCommitRequest()
        request.transactionalID = client
        request.groupID = group
        request.producerID = try command.int("producer") ?? 1
        request.producerEpoch = Int16(try command.int("producer-epoch") ?? 0)
        request.memberID = self.expand(command.options["member"] ?? "")
        request.groupInstanceID = command.options["instance"]
        request.generationID = Int32(try command.int("generation") ?? -1)
        var topicIDs: [String: KafkaUUID] = [:]
        for word in command.arguments.dropFirst() {
            let (name, index, offset) = Self.topicPartitionOffset(word)
            var partition = TxnOffsetCommitRequest.Partition()
            partition.partitionIndex = index
            partition.committedOffset = offset
            partition.committedLeaderEpoch = Int32(try command.int("epoch") ?? -1)
            partition.committedMetadata = command.options["metadata"]
            if request.topics.last?.name != name {
                var topic = TxnOffsetCommitRequest.Topic()
                topic.name = name
                topicIDs[topic.name] = self.topicID(command.options["id"])
                request.topics.append(topic)
            }
            request.topics[request.topics.count - 1].partitions.append(partition)
        }
        let version = Int16(try command.int("v") ?? 5)
        try self.perform(
            .transactionalOffsetCommit(request, topicIDs: topicIDs, verification: .off, apiVersion: version), client)
    }

    func endTransaction(_ command: DataDriven.Command) throws {
        let marker = CoordinatorMarker(
            producerID: try command.int("producer") ?? 1, producerEpoch: Int16(try command.int("producer-epoch") ?? 0),
            isCommitted: command.arguments.first == "commit",
            coordinatorEpoch: Int32(try command.int("coordinator") ?? 0))
        try self.coordinator.runtime.appendMarker(marker, on: 0, now: self.now) { [lines] error in
            lines.all.withLock { $0.append("marker <- \(error.name)") }
        }
    }
}
