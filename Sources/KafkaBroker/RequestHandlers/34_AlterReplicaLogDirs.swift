import KafkaLog
import KafkaMessages
import KafkaPrimitives

// AlterReplicaLogDirs 1-2 (KIP-113). Answered when the moves have begun; DescribeLogDirs tells how far they are.
extension ApiHandler {
    static let alterReplicaLogDirs = ApiHandler.ordinary(AlterReplicaLogDirsRequest.self) { request, context, respond in
        context.broker.background.submit { respond(alterReplicaLogDirs(request, context.broker)) }
    }

    private static func alterReplicaLogDirs(
        _ request: AlterReplicaLogDirsRequest, _ broker: Broker
    ) -> AlterReplicaLogDirsResponse {
        let manager = broker.replicaManager.logManager
        let table = broker.replicaManager.table
        var response = AlterReplicaLogDirsResponse()
        var places: [String: Int] = [:]
        for dir in request.dirs {
            let folder = manager.folderIndex(path: dir.path)
            for topic in dir.topics {
                let entry = table.topic(named: topic.name)
                for index in topic.partitions {
                    var result = AlterReplicaLogDirsResponse.AlterReplicaLogDirPartitionResult()
                    result.partitionIndex = index
                    result.errorCode = begin(index, of: entry, to: folder, manager)
                    if let place = places[topic.name] {
                        response.results[place].partitions.append(result)
                    } else {
                        places[topic.name] = response.results.count
                        var answer = AlterReplicaLogDirsResponse.AlterReplicaLogDirTopicResult()
                        answer.topicName = topic.name
                        answer.partitions = [result]
                        response.results.append(answer)
                    }
                }
            }
        }
        return response
    }

    private static func begin(
        _ index: Int32, of topic: TopicEntry?, to folder: Int?, _ manager: LogManager
    ) -> ErrorCode {
        guard let folder else { return .logDirNotFound }
        guard let topic, index >= 0, Int(index) < topic.partitions.count else { return .unknownTopicOrPartition }
        guard let partition = topic.partition(index) else { return .kafkaStorageError }
        return manager.move(partition.log, toFolder: folder)
    }
}
