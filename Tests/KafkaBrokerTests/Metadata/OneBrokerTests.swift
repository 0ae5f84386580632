import KafkaMessages
import KafkaMetadata
import KafkaPrimitives
import Testing

@testable import KafkaBroker

/// What Kafka's controller is asked, where the cluster is one broker.
@Suite struct OneBrokerTests {
    private let view = ClusterView(
        nodes: [.init(id: 1, host: "localhost", port: 9092, rack: nil)], controllerID: 1)

    @Test func nobodyIsElected() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("a", partitions: 2)
        func elect(_ type: Int8, _ asked: [(String, [Int32])]?) -> ElectLeadersResponse {
            var request = ElectLeadersRequest()
            request.electionType = type
            request.topicPartitions = asked?.map { name, indexes in
                var topic = ElectLeadersRequest.TopicPartitions()
                topic.topic = name
                topic.partitions = indexes
                return topic
            }
            return answerElectLeaders(request, cluster.image, self.view)
        }
        for type in [0, 1] as [Int8] {
            let results = elect(type, [("a", [1, 2, -1]), ("b", [0])]).replicaElectionResults
            #expect(results.map(\.topic) == ["a", "b"])
            #expect(results[0].partitionResult.map(\.partitionID) == [1, 2, -1])
            #expect(
                results[0].partitionResult.map(\.errorCode)
                    == [.electionNotNeeded, .unknownTopicOrPartition, .unknownTopicOrPartition])
            #expect(results[1].partitionResult.map(\.errorCode) == [.unknownTopicOrPartition])
            let all = elect(type, nil).replicaElectionResults
            #expect(all.map(\.topic) == ["a"] && all.allSatisfy { $0.partitionResult.isEmpty })
        }
        #expect(elect(2, nil).errorCode == .invalidRequest)
        // Its leader is not there.
        let empty = ClusterView(nodes: [], controllerID: 1)
        var request = ElectLeadersRequest()
        request.topicPartitions = nil
        let codes = answerElectLeaders(request, cluster.image, empty).replicaElectionResults[0].partitionResult
        #expect(codes.map(\.errorCode) == [.preferredLeaderNotAvailable, .preferredLeaderNotAvailable])
    }

    @Test func partitionsStayWhereTheyAre() throws {
        let cluster = try TestCluster()
        _ = try cluster.create("a")
        func move(_ name: String, _ index: Int32, _ replicas: [Int32]?) -> (ErrorCode, String?) {
            var partition = AlterPartitionReassignmentsRequest.ReassignablePartition()
            partition.partitionIndex = index
            partition.replicas = replicas
            var topic = AlterPartitionReassignmentsRequest.ReassignableTopic()
            topic.name = name
            topic.partitions = [partition]
            var request = AlterPartitionReassignmentsRequest()
            request.topics = [topic]
            let response = answerAlterPartitionReassignments(request, cluster.image, self.view)
            let result = response.responses[0].partitions[0]
            #expect(response.responses[0].name == name && result.partitionIndex == index)
            return (result.errorCode, result.errorMessage)
        }
        #expect(move("a", 0, [1]) == (.none, nil))
        #expect(move("a", 0, [7]).0 == .invalidReplicaAssignment)
        #expect(move("a", 0, [1, 1]).0 == .invalidReplicaAssignment)
        #expect(move("a", 0, []).0 == .invalidReplicaAssignment)
        #expect(move("a", 0, nil).0 == .noReassignmentInProgress)
        for (name, index) in [("a", 1), ("a", -1), ("b", 0)] as [(String, Int32)] {
            #expect(move(name, index, [1]).0 == .unknownTopicOrPartition)
            #expect(move(name, index, nil).0 == .unknownTopicOrPartition)
        }
    }

    @Test func theQuorumIsTheBroker() {
        func ask(_ topic: String, _ indexes: [Int32], version: Int16 = 2) -> DescribeQuorumResponse {
            var request = DescribeQuorumRequest()
            var asked = DescribeQuorumRequest.TopicData()
            asked.topicName = topic
            asked.partitions = indexes.map { index in
                var partition = DescribeQuorumRequest.PartitionData()
                partition.partitionIndex = index
                return partition
            }
            request.topics = [asked]
            return answerDescribeQuorum(
                request, nodeID: 7, endpoint: Endpoint(host: "h", port: 9092), listener: "PLAINTEXT", revision: 12,
                nowMs: 5, version: version)
        }
        let answer = ask("__cluster_metadata", [0])
        let partition = answer.topics[0].partitions[0]
        #expect(answer.errorCode == .none && partition.errorCode == .none)
        #expect(partition.leaderID == 7 && partition.highWatermark == 12 && partition.observers.isEmpty)
        #expect(partition.currentVoters.map(\.replicaID) == [7] && partition.currentVoters[0].logEndOffset == 12)
        #expect(answer.nodes.map(\.nodeID) == [7] && answer.nodes[0].listeners[0].port == 9092)
        #expect(ask("__cluster_metadata", [0], version: 1).nodes.isEmpty)
        for (topic, indexes) in [("a", [0]), ("__cluster_metadata", [1]), ("__cluster_metadata", [0, 1])] {
            let refused = ask(topic, indexes.map(Int32.init))
            #expect(refused.topics[0].partitions.allSatisfy { $0.errorCode == .unknownTopicOrPartition })
        }
    }
}
