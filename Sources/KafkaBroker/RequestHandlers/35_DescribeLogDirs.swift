import KafkaLog
import KafkaMessages
import KafkaPrimitives

// DescribeLogDirs 1-5. 3 has an error for the whole, 4 the size of the file systems (KIP-827), 5 tells of cordoned
// folders (KIP-1066). A folder that is offline is told with KAFKA_STORAGE_ERROR.
extension ApiHandler {
    static let describeLogDirs = ApiHandler.ordinary(DescribeLogDirsRequest.self) { request, context, respond in
        context.broker.background.submit { respond(describeLogDirs(request, context.broker)) }
    }

    private static func describeLogDirs(
        _ request: DescribeLogDirsRequest, _ broker: Broker
    ) -> DescribeLogDirsResponse {
        var asked: Set<TopicPartition>?
        if let topics = request.topics {
            asked = Set(
                topics.flatMap { topic in
                    topic.partitions.map { TopicPartition(topic: topic.topic, partition: $0) }
                })
        }
        let folders = broker.replicaManager.logManager.describeFolders { asked?.contains($0) ?? true }
        var response = DescribeLogDirsResponse()
        response.results = folders.map { folder in
            var result = DescribeLogDirsResponse.Result()
            result.logDir = folder.path
            result.isCordoned = folder.isCordoned
            guard folder.isOnline else {
                result.errorCode = .kafkaStorageError
                return result
            }
            result.totalBytes = folder.totalBytes
            result.usableBytes = folder.usableBytes
            let sorted = folder.replicas.sorted {
                ($0.partition.topic, $0.partition.partition) < ($1.partition.topic, $1.partition.partition)
            }
            for replica in sorted {
                var partition = DescribeLogDirsResponse.Partition()
                partition.partitionIndex = replica.partition.partition
                partition.partitionSize = replica.size
                partition.offsetLag = replica.lag
                partition.isFutureKey = replica.isFuture
                if result.topics.last?.name == replica.partition.topic {
                    result.topics[result.topics.count - 1].partitions.append(partition)
                } else {
                    var topic = DescribeLogDirsResponse.Topic()
                    topic.name = replica.partition.topic
                    topic.partitions = [partition]
                    result.topics.append(topic)
                }
            }
            return result
        }
        return response
    }
}
