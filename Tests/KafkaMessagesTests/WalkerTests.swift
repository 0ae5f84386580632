import CMallocCount
import KafkaMessages
import KafkaPrimitives
import Testing

/// The walkers and writers of the hot requests agree with the ordinary form.
@Suite struct WalkerTests {
    private static func vectors(_ message: String) throws -> [GoldenVector] {
        let paths = Set([GoldenVector.File.messages.repositoryPath, GoldenVector.File.messages.path])
        let vectors = try paths.sorted().flatMap { try GoldenVector.parse(try contents(ofFile: $0), name: $0) }
            .filter { $0.message == message }
        try #require(!vectors.isEmpty)
        return vectors
    }

    @Test func produceGoldenVectorsWalked() throws {
        for vector in try Self.vectors("ProduceRequest") {
            let expected = try ProduceRequest(decoding: vector.bytes, version: vector.version)
            // As in a frame: something before, something behind.
            let frame = [1, 2, 3] + vector.bytes + [9]
            let walked = try walkProduce(frame, from: 3, version: vector.version)
            #expect(walked == expected, "\(vector)")
        }
    }

    @Test func fetchGoldenVectorsWalked() throws {
        for vector in try Self.vectors("FetchRequest") {
            let expected = try FetchRequest(decoding: vector.bytes, version: vector.version)
            let walked = try walkFetch([7] + vector.bytes + [9], from: 1, version: vector.version)
            #expect(walked == expected, "\(vector)")
        }
    }

    /// The walkers accept and refuse what the ordinary decoders do, and see the same in it.
    @Test(arguments: ["ProduceRequest", "FetchRequest"])
    func damagedRequestsWalked(_ message: String) throws {
        let vectors = try Self.vectors(message)
        var generator = SeededGenerator(seed: 11)
        for round in 0..<30_000 {
            let vector = vectors[generator.below(vectors.count)]
            var bytes = vector.bytes
            if round % 4 == 0 {
                bytes.removeLast(generator.below(bytes.count))
            } else {
                mutate(&bytes, using: &generator)
            }
            let version = vector.version
            if message == "ProduceRequest" {
                let expected = result { (reader) throws(DecodingError) in
                    try ProduceRequest(from: &reader, version: version)
                }(bytes)
                compare((try? walkProduce(bytes, from: 0, version: version)), expected.map(withoutUnknown), bytes)
            } else {
                let expected = result { (reader) throws(DecodingError) in
                    try FetchRequest(from: &reader, version: version)
                }(bytes)
                compare((try? walkFetch(bytes, from: 0, version: version)), expected.map(withoutUnknown), bytes)
            }
        }
    }

    private func compare<T: Equatable>(_ walked: T?, _ expected: Result<T, DecodingError>, _ bytes: [UInt8]) {
        switch expected {
        case .success(let value): #expect(walked == value, "\(hex(bytes))")
        // Only the ordinary form uses memory.
        case .failure(.memoryExceeded): break
        case .failure: #expect(walked == nil, "\(hex(bytes))")
        }
    }

    @Test func walkingAllocatesNothing() throws {
        for vector in try Self.vectors("ProduceRequest") + Self.vectors("FetchRequest") {
            let count = vector.bytes.withUnsafeBytes { bytes in
                // Once uncounted: the first use of a type may cost memory, whatever it does.
                _ = try? ProduceRequestWalker(bytes, from: 0, version: vector.version)
                _ = try? FetchRequestWalker(bytes, from: 0, version: vector.version)
                malloc_count_begin()
                if vector.message == "ProduceRequest" {
                    var walker = try? ProduceRequestWalker(bytes, from: 0, version: vector.version)
                    while walker?.next() != nil {}
                } else {
                    var walker = try? FetchRequestWalker(bytes, from: 0, version: vector.version)
                    while walker?.next() != nil {}
                }
                return malloc_count_end()
            }
            #expect(count.blocks == 0, "\(vector)")
        }
    }

    @Test func produceGoldenVectorsWritten() throws {
        let buffer = ResponseBuffer(capacity: 64)
        for vector in try Self.vectors("ProduceResponse") {
            let response = try ProduceResponse(decoding: vector.bytes, version: vector.version)
            buffer.reset()
            write(response, version: vector.version, into: buffer)
            #expect(Array(buffer.bytes) == vector.bytes, "\(vector)")
        }
    }

    @Test func fetchGoldenVectorsWritten() throws {
        let buffer = ResponseBuffer(capacity: 64)
        for vector in try Self.vectors("FetchResponse") {
            let response = try FetchResponse(decoding: vector.bytes, version: vector.version)
            buffer.reset()
            let parts = write(response, version: vector.version, into: buffer)
            var bytes: [UInt8] = []
            var position = 0
            for (end, records) in parts {
                bytes += buffer.bytes[position..<end] + records
                position = end
            }
            bytes += buffer.bytes[position...]
            #expect(bytes == vector.bytes, "\(vector)")
        }
    }

    @Test func responseBufferBeginsWithLengthAndHeader() {
        let buffer = ResponseBuffer()
        buffer.begin(correlationID: 0x0102_0304, headerVersion: 1)
        buffer.append { $0.writeInt16(5) }
        buffer.patchLength(extra: 256)
        #expect(Array(buffer.bytes) == [0, 0, 1, 7, 1, 2, 3, 4, 0, 0, 5])
        buffer.begin(correlationID: -1, headerVersion: 0)
        #expect(Array(buffer.bytes) == [0, 0, 0, 0, 255, 255, 255, 255])
        buffer.append { $0.writeRaw([UInt8](repeating: 7, count: 1_000_000)) }
        #expect(buffer.count == 1_000_008 && buffer.bytes.last == 7)
        buffer.reset()
        #expect(buffer.bytes.isEmpty)
    }
}

private func result<T>(
    _ decode: @escaping (inout ByteReader) throws(DecodingError) -> T
) -> ([UInt8]) -> Result<T, DecodingError> {
    { bytes in
        bytes.withUnsafeBytes { buffer in
            var reader = ByteReader(buffer)
            do throws(DecodingError) {
                return .success(try decode(&reader))
            } catch {
                return .failure(error)
            }
        }
    }
}

private func string(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

private func walkProduce(_ frame: [UInt8], from position: Int, version: Int16) throws -> ProduceRequest {
    try frame.withUnsafeBytes { bytes in
        var walker = try ProduceRequestWalker(bytes, from: position, version: version)
        var request = ProduceRequest()
        request.transactionalID = walker.transactionalID.map(string)
        request.acks = walker.acks
        request.timeoutMs = walker.timeoutMs
        var partitions = 0
        while let event = walker.next() {
            switch event {
            case .topic(let topic):
                var data = ProduceRequest.TopicProduceData()
                data.name = string(topic.name)
                data.topicID = topic.id
                request.topicData.append(data)
                partitions += topic.partitionCount
            case .partition(let partition):
                var data = ProduceRequest.PartitionProduceData()
                data.index = partition.index
                data.records = partition.records.map { Array(bytes[$0]) }
                request.topicData[request.topicData.count - 1].partitionData.append(data)
            }
        }
        #expect(walker.topicCount == request.topicData.count)
        #expect(walker.partitionCount == partitions)
        return request
    }
}

private func walkFetch(_ frame: [UInt8], from position: Int, version: Int16) throws -> FetchRequest {
    try frame.withUnsafeBytes { bytes in
        var walker = try FetchRequestWalker(bytes, from: position, version: version)
        var request = FetchRequest()
        request.maxWaitMs = walker.maxWaitMs
        request.minBytes = walker.minBytes
        request.maxBytes = walker.maxBytes
        request.isolationLevel = walker.isolationLevel
        request.sessionID = walker.sessionID
        request.sessionEpoch = walker.sessionEpoch
        request.rackID = string(walker.rackID)
        request.clusterID = walker.clusterID.map(string)
        if version >= 15 {
            request.replicaState.replicaID = walker.replicaID
            request.replicaState.replicaEpoch = walker.replicaEpoch
        } else {
            request.replicaID = walker.replicaID
        }
        while let event = walker.next() {
            switch event {
            case .topic(let topic):
                var data = FetchRequest.Topic()
                data.topic = string(topic.name)
                data.topicID = topic.id
                request.topics.append(data)
            case .partition(let partition):
                var data = FetchRequest.Partition()
                data.partition = partition.partition
                data.currentLeaderEpoch = partition.currentLeaderEpoch
                data.fetchOffset = partition.fetchOffset
                data.lastFetchedEpoch = partition.lastFetchedEpoch
                data.logStartOffset = partition.logStartOffset
                data.partitionMaxBytes = partition.partitionMaxBytes
                data.replicaDirectoryID = partition.replicaDirectoryID
                data.highWatermark = partition.highWatermark
                request.topics[request.topics.count - 1].partitions.append(data)
            }
        }
        var forgotten = walker.forgottenTopics
        while let event = forgotten.next() {
            switch event {
            case .topic(let name, let id):
                var data = FetchRequest.ForgottenTopic()
                data.topic = string(name)
                data.topicID = id
                request.forgottenTopicsData.append(data)
            case .partition(let partition):
                request.forgottenTopicsData[request.forgottenTopicsData.count - 1].partitions.append(partition)
            }
        }
        #expect(walker.topicCount == request.topics.count)
        #expect(walker.partitionCount == request.topics.map(\.partitions.count).reduce(0, +))
        return request
    }
}

private func withoutUnknown(_ request: ProduceRequest) -> ProduceRequest {
    var request = request
    request.unknownTaggedFields = []
    for topic in request.topicData.indices {
        request.topicData[topic].unknownTaggedFields = []
        for partition in request.topicData[topic].partitionData.indices {
            request.topicData[topic].partitionData[partition].unknownTaggedFields = []
        }
    }
    return request
}

private func withoutUnknown(_ request: FetchRequest) -> FetchRequest {
    var request = request
    request.unknownTaggedFields = []
    request.replicaState.unknownTaggedFields = []
    for topic in request.topics.indices {
        request.topics[topic].unknownTaggedFields = []
        for partition in request.topics[topic].partitions.indices {
            request.topics[topic].partitions[partition].unknownTaggedFields = []
        }
    }
    for topic in request.forgottenTopicsData.indices { request.forgottenTopicsData[topic].unknownTaggedFields = [] }
    return request
}

private func write(_ response: ProduceResponse, version: Int16, into buffer: ResponseBuffer) {
    var writer = ProduceResponseWriter(into: buffer, version: version, topicCount: response.responses.count)
    for var topic in response.responses {
        topic.name.withUTF8 { name in
            writer.topic(
                name: UnsafeRawBufferPointer(name), id: topic.topicID, partitionCount: topic.partitionResponses.count)
        }
        for partition in topic.partitionResponses {
            var answer = ProduceResponseWriter.Partition(
                index: partition.index, errorCode: partition.errorCode, baseOffset: partition.baseOffset)
            answer.logAppendTimeMs = partition.logAppendTimeMs
            answer.logStartOffset = partition.logStartOffset
            answer.recordErrors = partition.recordErrors
            answer.errorMessage = partition.errorMessage
            answer.leaderID = partition.currentLeader.leaderID
            answer.leaderEpoch = partition.currentLeader.leaderEpoch
            writer.partition(answer)
        }
    }
    writer.finish(throttleTimeMs: response.throttleTimeMs, nodeEndpoints: response.nodeEndpoints)
}

private func write(
    _ response: FetchResponse, version: Int16, into buffer: ResponseBuffer
) -> [(end: Int, records: [UInt8])] {
    var parts: [(Int, [UInt8])] = []
    var writer = FetchResponseWriter(
        into: buffer, version: version, throttleTimeMs: response.throttleTimeMs, errorCode: response.errorCode,
        sessionID: response.sessionID, topicCount: response.responses.count)
    for var topic in response.responses {
        topic.topic.withUTF8 { name in
            writer.topic(name: UnsafeRawBufferPointer(name), id: topic.topicID, partitionCount: topic.partitions.count)
        }
        for partition in topic.partitions {
            var answer = FetchResponseWriter.Partition(
                partitionIndex: partition.partitionIndex, errorCode: partition.errorCode,
                highWatermark: partition.highWatermark)
            answer.lastStableOffset = partition.lastStableOffset
            answer.logStartOffset = partition.logStartOffset
            answer.abortedTransactions = partition.abortedTransactions
            answer.preferredReadReplica = partition.preferredReadReplica
            answer.divergingEpoch = partition.divergingEpoch.epoch
            answer.divergingEndOffset = partition.divergingEpoch.endOffset
            answer.leaderID = partition.currentLeader.leaderID
            answer.leaderEpoch = partition.currentLeader.leaderEpoch
            answer.snapshotEndOffset = partition.snapshotID.endOffset
            answer.snapshotEpoch = partition.snapshotID.epoch
            parts.append((writer.partition(answer, recordsSize: partition.records?.count), partition.records ?? []))
        }
    }
    writer.finish(nodeEndpoints: response.nodeEndpoints)
    return parts
}
