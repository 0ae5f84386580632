import CBareLoops
import KafkaMessages
import KafkaPrimitives

/// What the hot messages are about, for ours and for C.
struct Shape {
    let topics: Int
    let partitions: Int
    let recordsSize: Int
    let names: [String]
    let bareTopics: UnsafeMutableBufferPointer<bare_topic>

    init(topics: Int, partitions: Int, recordsSize: Int) {
        self.topics = topics
        self.partitions = partitions
        self.recordsSize = recordsSize
        self.names = (0..<topics).map { "orders-of-customers-\($0 + 100)" }
        let records = UnsafeMutablePointer<UInt8>.allocate(capacity: max(1, recordsSize))
        records.initialize(repeating: 7, count: max(1, recordsSize))
        // Kept for the whole run.
        self.bareTopics = .allocate(capacity: topics)
        for topic in 0..<topics {
            let all = UnsafeMutableBufferPointer<bare_partition>.allocate(capacity: partitions)
            for index in 0..<partitions {
                all[index] = bare_partition(
                    index: Int32(index), offset: 1_000_000 + Int64(index), records: records, records_size: recordsSize)
            }
            let name = UnsafeMutableBufferPointer<CChar>.allocate(capacity: names[topic].utf8.count)
            _ = name.initialize(from: names[topic].utf8.map { CChar(bitPattern: $0) })
            self.bareTopics[topic] = bare_topic(
                name: name.baseAddress, name_size: name.count, partitions: all.baseAddress, partition_count: partitions)
        }
    }

    var bare: UnsafePointer<bare_topic> { UnsafePointer(self.bareTopics.baseAddress!) }

    var produceRequest: ProduceRequest {
        var request = ProduceRequest()
        request.acks = -1
        request.timeoutMs = 30_000
        request.topicData = self.names.map { name in
            var topic = ProduceRequest.TopicProduceData()
            topic.name = name
            topic.partitionData = (0..<self.partitions).map { index in
                var partition = ProduceRequest.PartitionProduceData()
                partition.index = Int32(index)
                partition.records = [UInt8](repeating: 7, count: self.recordsSize)
                return partition
            }
            return topic
        }
        return request
    }

    var fetchRequest: FetchRequest {
        var request = FetchRequest()
        request.maxWaitMs = 500
        request.minBytes = 1
        request.maxBytes = 52_428_800
        request.topics = self.names.map { name in
            var topic = FetchRequest.Topic()
            topic.topic = name
            topic.partitions = (0..<self.partitions).map { index in
                var partition = FetchRequest.Partition()
                partition.partition = Int32(index)
                partition.currentLeaderEpoch = 0
                partition.fetchOffset = 1_000_000 + Int64(index)
                partition.partitionMaxBytes = 1_048_576
                return partition
            }
            return topic
        }
        return request
    }

    var metadataResponse: MetadataResponse {
        var response = MetadataResponse()
        var broker = MetadataResponse.Broker()
        broker.nodeID = 1
        broker.host = "localhost"
        broker.port = 9092
        response.brokers = [broker]
        response.clusterID = "MkU3OEVBNTcwNTJENDM2Qk"
        response.controllerID = 1
        response.topics = self.names.map { name in
            var topic = MetadataResponse.Topic()
            topic.name = name
            topic.partitions = (0..<self.partitions).map { index in
                var partition = MetadataResponse.Partition()
                partition.partitionIndex = Int32(index)
                partition.leaderID = 1
                partition.leaderEpoch = 0
                partition.replicaNodes = [1]
                partition.isrNodes = [1]
                return partition
            }
            return topic
        }
        return response
    }
}

extension Comparison {
    func messages() {
        self.heading("Messages", rows: ["Produce", "Fetch", "Metadata"])
        self.produce("1 x 1 KB", Shape(topics: 1, partitions: 1, recordsSize: 1024))
        self.produce("1 x 16 KB", Shape(topics: 1, partitions: 1, recordsSize: 16384))
        self.produce("10 x 10 x 100 B", Shape(topics: 10, partitions: 10, recordsSize: 100))
        self.fetch("1", Shape(topics: 1, partitions: 1, recordsSize: 1024))
        self.fetch("10 x 10", Shape(topics: 10, partitions: 10, recordsSize: 1024))
        self.metadata("100 x 3", Shape(topics: 100, partitions: 3, recordsSize: 0))
    }

    /// A message written to `room` again and again, beside what a loop of C writes.
    @inline(__always) private func encoding(
        _ what: String, _ message: some KafkaMessage, _ version: Int16, in room: UnsafeMutableRawBufferPointer,
        bare: String, _ encode: () -> Int
    ) {
        self.row("\(what): encode", bare: bare) { times in
            for _ in 0..<times {
                var writer = ByteWriter(room)
                message.encode(into: &writer, version: version)
                use(writer.count)
            }
        } bare: { times in
            for _ in 0..<times { bare_use(UInt64(encode())) }
        }
    }

    /// A message read again and again; `count` is of something in it.
    @inline(__always) private func decoding<Message: KafkaMessage>(
        _ what: String, _ type: Message.Type, _ version: Int16, _ bytes: UnsafeRawBufferPointer, bare name: String,
        _ count: (Message) -> Int, bare: (Int) -> Void
    ) {
        self.row("\(what): decode", bare: name) { times in
            var sum = 0
            for _ in 0..<times {
                var reader = ByteReader(bytes)
                sum &+= (try? Message(from: &reader, version: version)).map(count) ?? 0
            }
            use(sum)
        } bare: { times in
            bare(times)
        }
    }

    private func produce(_ what: String, _ shape: Shape) {
        let version: Int16 = 9
        let request = shape.produceRequest
        let bytes = request.encoded(version: version)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + 4096, alignment: 16)
        defer { room.deallocate() }
        let out = room.baseAddress!.assumingMemoryBound(to: UInt8.self)
        let same = bytes.withUnsafeBytes { bytes in
            bare_encode_produce(out, shape.bare, shape.topics) == bytes.count
                && UnsafeRawBufferPointer(rebasing: room[..<bytes.count]).elementsEqual(bytes)
        }
        precondition(same, "The bare loop encodes something else")
        bytes.withUnsafeBytes { bytes in
            let start = bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)
            self.row("Produce request \(what): walk", bare: "walk in C") { times in
                var sum = 0
                for _ in 0..<times {
                    guard var walker = try? ProduceRequestWalker(bytes, from: 0, version: version) else { return }
                    while let event = walker.next() {
                        if case .partition(let partition) = event { sum &+= partition.records?.count ?? 0 }
                    }
                }
                use(sum)
            } bare: { times in
                for _ in 0..<times { bare_use(bare_walk_produce(start)) }
            }
            self.decoding(
                "Produce request \(what)", ProduceRequest.self, version, bytes, bare: "walk in C, copy into one malloc"
            ) {
                $0.topicData.count
            } bare: { times in
                for _ in 0..<times { bare_use(bare_decode_produce(start, bytes.count)) }
            }
        }
        self.encoding("Produce request \(what)", request, version, in: room, bare: "stores and memcpy in C") {
            bare_encode_produce(out, shape.bare, shape.topics)
        }
        let buffer = ResponseBuffer()
        self.row("Produce response \(what): write", bare: "stores in C") { times in
            for _ in 0..<times {
                buffer.reset()
                var writer = ProduceResponseWriter(into: buffer, version: version, topicCount: shape.topics)
                for topic in shape.bareTopics {
                    writer.topic(
                        name: UnsafeRawBufferPointer(start: topic.name, count: topic.name_size), id: .zero,
                        partitionCount: shape.partitions)
                    for index in 0..<shape.partitions {
                        var partition = ProduceResponseWriter.Partition(
                            index: topic.partitions[index].index, errorCode: .none,
                            baseOffset: topic.partitions[index].offset)
                        partition.logStartOffset = 0
                        writer.partition(partition)
                    }
                }
                writer.finish(throttleTimeMs: 0)
                use(buffer.count)
            }
        } bare: { times in
            for _ in 0..<times { bare_use(UInt64(bare_encode_produce_response(out, shape.bare, shape.topics))) }
        }
    }

    private func fetch(_ what: String, _ shape: Shape) {
        let version: Int16 = 12
        let request = shape.fetchRequest
        let bytes = request.encoded(version: version)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count * 4 + 4096, alignment: 16)
        defer { room.deallocate() }
        let out = room.baseAddress!.assumingMemoryBound(to: UInt8.self)
        bytes.withUnsafeBytes { bytes in
            let start = bytes.baseAddress!.assumingMemoryBound(to: UInt8.self)
            self.row("Fetch request \(what): walk", bare: "walk in C") { times in
                var sum = 0
                for _ in 0..<times {
                    guard var walker = try? FetchRequestWalker(bytes, from: 0, version: version) else { return }
                    while let event = walker.next() {
                        if case .partition(let partition) = event { sum &+= Int(partition.fetchOffset) }
                    }
                }
                use(sum)
            } bare: { times in
                for _ in 0..<times { bare_use(bare_walk_fetch(start)) }
            }
            self.decoding(
                "Fetch request \(what)", FetchRequest.self, version, bytes, bare: "walk in C, fields into one malloc"
            ) {
                $0.topics.count
            } bare: { times in
                for _ in 0..<times { bare_use(bare_decode_fetch(start, bytes.count)) }
            }
        }
        self.encoding("Fetch request \(what)", request, version, in: room, bare: "stores in C") {
            bare_encode_fetch(out, shape.bare, shape.topics)
        }
        let buffer = ResponseBuffer()
        self.row("Fetch response \(what): write", bare: "stores in C") { times in
            for _ in 0..<times {
                buffer.reset()
                var writer = FetchResponseWriter(
                    into: buffer, version: version, throttleTimeMs: 0, errorCode: .none, sessionID: 0,
                    topicCount: shape.topics)
                for topic in shape.bareTopics {
                    writer.topic(
                        name: UnsafeRawBufferPointer(start: topic.name, count: topic.name_size), id: .zero,
                        partitionCount: shape.partitions)
                    for index in 0..<shape.partitions {
                        let offset = topic.partitions[index].offset
                        var partition = FetchResponseWriter.Partition(
                            partitionIndex: topic.partitions[index].index, errorCode: .none, highWatermark: offset)
                        partition.lastStableOffset = offset
                        partition.logStartOffset = 0
                        writer.partition(partition, recordsSize: shape.recordsSize)
                    }
                }
                writer.finish()
                use(buffer.count)
            }
        } bare: { times in
            for _ in 0..<times { bare_use(UInt64(bare_encode_fetch_response(out, shape.bare, shape.topics))) }
        }
    }

    private func metadata(_ what: String, _ shape: Shape) {
        let version: Int16 = 12
        let response = shape.metadataResponse
        let bytes = response.encoded(version: version)
        let room = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count + 4096, alignment: 16)
        defer { room.deallocate() }
        let out = room.baseAddress!.assumingMemoryBound(to: UInt8.self)
        let count = bare_encode_metadata_response(out, shape.bare, shape.topics)
        precondition(count == bytes.count, "The bare loop encodes something else: \(count), \(bytes.count)")
        self.encoding("Metadata response \(what)", response, version, in: room, bare: "stores in C") {
            bare_encode_metadata_response(out, shape.bare, shape.topics)
        }
        let target = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 16)
        defer { target.deallocate() }
        bytes.withUnsafeBytes { bytes in
            self.decoding("Metadata response \(what)", MetadataResponse.self, version, bytes, bare: "memcpy") {
                $0.topics.count
            } bare: { times in
                for _ in 0..<times {
                    target.copyMemory(from: bytes)
                    bare_use(UInt64(target[0]))
                }
            }
        }
    }
}
