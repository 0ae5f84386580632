import KafkaLog
import KafkaMessages
import KafkaPrimitives

// ListOffsets 1-11. Version 2 brings the isolation level, 4 leader epochs, 7 the maximal timestamp (-3, KIP-734),
// 8 the local log's start (-4, KIP-405), 9 the end of the tiered part (-5, KIP-1005), 10 a time-out for what is in
// tiered storage, 11 the first offset not yet uploaded to it (-6, KIP-1023).
extension ApiHandler {
    static let listOffsets = ApiHandler.ordinary(ListOffsetsRequest.self) { request, context, respond in
        let lookUps = request.topics.reduce(0) { $0 + $1.partitions.count { $0.timestamp >= 0 || $0.timestamp == -3 } }
        // A look-up by time reads files, and checks what it reads: not for an event loop.
        if lookUps > 0 {
            context.broker.replicaManager.logManager.reads.submit { respond(listOffsets(request, context)) }
        } else {
            respond(listOffsets(request, context))
        }
    }

    private static func listOffsets(_ request: ListOffsetsRequest, _ context: RequestContext) -> ListOffsetsResponse {
        let table = context.broker.replicaManager.table
        var asked = Set<TopicPartition>()
        var repeated = Set<TopicPartition>()
        for topic in request.topics {
            for partition in topic.partitions {
                let key = TopicPartition(topic: topic.name, partition: partition.partitionIndex)
                if !asked.insert(key).inserted { repeated.insert(key) }
            }
        }
        var response = ListOffsetsResponse()
        response.topics = request.topics.map { topic in
            var answer = ListOffsetsResponse.TopicResponse()
            answer.name = topic.name
            let entry = table.topic(named: topic.name)
            answer.partitions = topic.partitions.map { partition in
                if repeated.contains(TopicPartition(topic: topic.name, partition: partition.partitionIndex)) {
                    return .failed(partition.partitionIndex, .invalidRequest)
                }
                return listOffset(
                    partition, of: entry, replicaID: request.replicaID, isReadCommitted: request.isolationLevel == 1,
                    version: context.apiVersion)
            }
            return answer
        }
        return response
    }
}

extension ListOffsetsResponse.PartitionResponse {
    fileprivate static func failed(_ index: Int32, _ code: ErrorCode) -> Self {
        var answer = Self()
        answer.partitionIndex = index
        answer.errorCode = code
        answer.timestamp = -1
        answer.offset = -1
        answer.leaderEpoch = -1
        return answer
    }
}

/// The timestamps that are not times.
private enum SpecialTimestamp {
    static let latest: Int64 = -1
    static let earliest: Int64 = -2
    static let maximal: Int64 = -3
    static let earliestLocal: Int64 = -4
    static let latestTiered: Int64 = -5
    static let earliestPendingUpload: Int64 = -6
    /// The version that each came with.
    static let since: [Int64: Int16] = [-1: 1, -2: 1, -3: 7, -4: 8, -5: 9, -6: 11]
}

private func listOffset(
    _ asked: ListOffsetsRequest.Partition, of topic: TopicEntry?, replicaID: Int32, isReadCommitted: Bool,
    version: Int16
) -> ListOffsetsResponse.PartitionResponse {
    if asked.timestamp < 0, SpecialTimestamp.since[asked.timestamp].map({ version < $0 }) ?? true {
        return .failed(asked.partitionIndex, .unsupportedVersion)
    }
    guard let topic, asked.partitionIndex >= 0, Int(asked.partitionIndex) < topic.partitions.count else {
        return .failed(asked.partitionIndex, .unknownTopicOrPartition)
    }
    guard let partition = topic.partition(asked.partitionIndex) else {
        return .failed(asked.partitionIndex, .kafkaStorageError)
    }
    if let error = partition.check(currentLeaderEpoch: asked.currentLeaderEpoch) {
        return .failed(asked.partitionIndex, error)
    }
    var answer = ListOffsetsResponse.PartitionResponse()
    answer.partitionIndex = asked.partitionIndex
    answer.errorCode = .none
    answer.timestamp = -1
    answer.offset = -1
    answer.leaderEpoch = -1
    let log = partition.log
    let offsets = log.snapshot
    // What a consumer of this isolation level may see ends here; others see all.
    let end =
        replicaID != -1 ? offsets.logEndOffset : isReadCommitted ? offsets.lastStableOffset : offsets.highWatermark

    func found(_ timestamp: Int64, _ offset: Int64, epoch: Int32) {
        answer.timestamp = timestamp
        answer.offset = offset
        if version >= 4 { answer.leaderEpoch = epoch }
    }

    switch asked.timestamp {
    case SpecialTimestamp.latest:
        found(-1, end, epoch: partition.leaderEpoch)
    case SpecialTimestamp.earliest, SpecialTimestamp.earliestLocal:
        // All of the log is local.
        found(-1, offsets.logStartOffset, epoch: log.leaderEpoch(forOffset: offsets.logStartOffset) ?? -1)
    case SpecialTimestamp.latestTiered, SpecialTimestamp.earliestPendingUpload:
        // Nothing is tiered, nor will be.
        break
    default:
        let lookup =
            asked.timestamp == SpecialTimestamp.maximal
            ? log.offsetOfMaxTimestamp() : log.offset(forTimestamp: asked.timestamp, upTo: end)
        switch lookup {
        case .failure(let code): return .failed(asked.partitionIndex, code)
        case .success(let record?) where record.offset < end:
            found(record.timestamp, record.offset, epoch: record.leaderEpoch)
        case .success: break
        }
    }
    return answer
}
