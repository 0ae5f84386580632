import KafkaPrimitives

/// Writes a Produce response as it comes to be: topics and partitions one by one, in the order of the request, whose
/// walker knows the counts. Exactly as many must be written as were announced.
package struct ProduceResponseWriter {
    package struct Partition {
        package var index: Int32
        package var errorCode: ErrorCode
        package var baseOffset: Int64
        /// -1 for topics with CreateTime.
        package var logAppendTimeMs: Int64 = -1
        package var logStartOffset: Int64 = -1
        /// Versions 8+.
        package var recordErrors: [ProduceResponse.BatchIndexAndErrorMessage] = []
        /// Versions 8+.
        package var errorMessage: String?
        /// Who leads the partition instead; -1 where that is not said. Versions 10+.
        package var leaderID: Int32 = -1
        package var leaderEpoch: Int32 = -1

        package init(index: Int32, errorCode: ErrorCode, baseOffset: Int64) {
            self.index = index
            self.errorCode = errorCode
            self.baseOffset = baseOffset
        }
    }

    private let buffer: ResponseBuffer
    private let version: Int16
    private let flexible: Bool
    private var partitionsLeft = 0

    package init(into buffer: ResponseBuffer, version: Int16, topicCount: Int) {
        let flexible = ProduceResponse.isFlexible(version)
        self.buffer = buffer
        self.version = version
        self.flexible = flexible
        buffer.append { $0.writeLength(topicCount, flexible: flexible) }
    }

    /// - Parameters:
    ///   - name: written before version 13.
    ///   - id: written from version 13 on.
    package mutating func topic(name: UnsafeRawBufferPointer, id: KafkaUUID, partitionCount: Int) {
        self.buffer.appendTopic(
            name: name, id: id, hasID: self.version >= 13, flexible: self.flexible, partitionCount: partitionCount)
        self.partitionsLeft = partitionCount
        self.endTopicIfComplete()
    }

    package mutating func partition(_ partition: Partition) {
        let (version, flexible) = (self.version, self.flexible)
        // 48 bytes at most, errors aside.
        var writer = self.buffer.writer(reserving: 64)
        writer.writeInt32(partition.index)
        writer.writeErrorCode(partition.errorCode)
        writer.writeInt64(partition.baseOffset)
        writer.writeInt64(partition.logAppendTimeMs)
        if version >= 5 { writer.writeInt64(partition.logStartOffset) }
        if version >= 8 {
            if partition.recordErrors.isEmpty, partition.errorMessage == nil {
                writer.writeHotLength(0, flexible: flexible)
                writer.writeNullableString(nil, flexible: flexible)
            } else {
                self.buffer.add(writer)
                self.buffer.append { writer in
                    writer.writeHotStructs(partition.recordErrors, flexible: flexible, version: version)
                    writer.writeNullableString(partition.errorMessage, flexible: flexible)
                }
                writer = self.buffer.writer(reserving: 64)
            }
        }
        if flexible {
            let hasLeader = version >= 10 && (partition.leaderID != -1 || partition.leaderEpoch != -1)
            writer.writeUInt8(hasLeader ? 1 : 0)
            if hasLeader { writer.writeTaggedLeader(0, id: partition.leaderID, epoch: partition.leaderEpoch) }
        }
        self.buffer.add(writer)
        self.partitionsLeft -= 1
        self.endTopicIfComplete()
    }

    /// - Parameter nodeEndpoints: where the leaders named by partitions can be reached. Versions 10+.
    package mutating func finish(throttleTimeMs: Int32, nodeEndpoints: [ProduceResponse.NodeEndpoint] = []) {
        let (version, flexible) = (self.version, self.flexible)
        self.buffer.append { writer in
            writer.writeInt32(throttleTimeMs)
            guard flexible else { return }
            let present: UInt64 = version >= 10 && !nodeEndpoints.isEmpty ? 1 : 0
            var tagged = TaggedFieldWriter(present: present, unknown: [], into: &writer)
            if present != 0 {
                tagged.write(0, into: &writer) { writer in
                    writer.writeHotStructs(nodeEndpoints, flexible: true, version: version)
                }
            }
        }
    }

    private func endTopicIfComplete() {
        if self.flexible, self.partitionsLeft == 0 { self.buffer.appendEmptyTags() }
    }
}

extension ResponseBuffer {
    @inline(__always)
    func appendEmptyTags() {
        var writer = self.writer(reserving: 1)
        writer.writeUInt8(0)
        self.add(writer)
    }

    /// A topic's name or id, and the count of its partitions.
    func appendTopic(
        name: UnsafeRawBufferPointer, id: KafkaUUID, hasID: Bool, flexible: Bool, partitionCount: Int
    ) {
        self.append { writer in
            if hasID {
                writer.writeUUID(id)
            } else {
                writer.writeStringLength(name.count, flexible: flexible)
                writer.writeRaw(name)
            }
            writer.writeLength(partitionCount, flexible: flexible)
        }
    }
}

extension ByteWriter {
    /// A tagged field that holds a leader's id and epoch (KIP-951).
    mutating func writeTaggedLeader(_ tag: UInt8, id: Int32, epoch: Int32) {
        self.writeUInt8(tag)
        self.writeUInt8(9)
        self.writeInt32(id)
        self.writeInt32(epoch)
        self.writeUInt8(0)
    }
}
