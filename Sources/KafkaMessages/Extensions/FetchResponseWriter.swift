import KafkaPrimitives

/// Writes a Fetch response as it comes to be, all but the records themselves: `partition` returns the position at
/// which the caller inserts them, which may be a part of a file. Exactly as many topics and partitions must be
/// written as were announced.
package struct FetchResponseWriter {
    package struct Partition {
        package var partitionIndex: Int32
        package var errorCode: ErrorCode
        package var highWatermark: Int64
        package var lastStableOffset: Int64 = -1
        /// Versions 5+.
        package var logStartOffset: Int64 = -1
        /// Nil, which is written as null, for readers of uncommitted records.
        package var abortedTransactions: [FetchResponse.AbortedTransaction]?
        /// -1: none. Versions 11+.
        package var preferredReadReplica: Int32 = -1
        /// Where the log of a follower parts from ours; -1 where it does not. Versions 12+.
        package var divergingEpoch: Int32 = -1
        package var divergingEndOffset: Int64 = -1
        /// Who leads the partition instead; -1 where that is not said. Versions 12+.
        package var leaderID: Int32 = -1
        package var leaderEpoch: Int32 = -1
        /// The snapshot to read first; -1 where there is none. Versions 12+.
        package var snapshotEndOffset: Int64 = -1
        package var snapshotEpoch: Int32 = -1

        package init(partitionIndex: Int32, errorCode: ErrorCode, highWatermark: Int64) {
            self.partitionIndex = partitionIndex
            self.errorCode = errorCode
            self.highWatermark = highWatermark
        }
    }

    private let buffer: ResponseBuffer
    private let version: Int16
    private let flexible: Bool
    private var partitionsLeft = 0

    /// - Parameter errorCode: for the whole request. Versions 7+, as is the session's id.
    package init(
        into buffer: ResponseBuffer, version: Int16, throttleTimeMs: Int32, errorCode: ErrorCode, sessionID: Int32,
        topicCount: Int
    ) {
        let flexible = FetchResponse.isFlexible(version)
        self.buffer = buffer
        self.version = version
        self.flexible = flexible
        buffer.append { writer in
            writer.writeInt32(throttleTimeMs)
            if version >= 7 {
                writer.writeErrorCode(errorCode)
                writer.writeInt32(sessionID)
            }
            writer.writeLength(topicCount, flexible: flexible)
        }
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

    /// - Parameter recordsSize: how many bytes of records the caller inserts; nil for null.
    /// - Returns: the position in the buffer after which they belong.
    @discardableResult
    package mutating func partition(_ partition: Partition, recordsSize: Int?) -> Int {
        let (version, flexible) = (self.version, self.flexible)
        // 44 bytes at most, aborted transactions aside.
        var writer = self.buffer.writer(reserving: 64)
        writer.writeInt32(partition.partitionIndex)
        writer.writeErrorCode(partition.errorCode)
        writer.writeInt64(partition.highWatermark)
        writer.writeInt64(partition.lastStableOffset)
        if version >= 5 { writer.writeInt64(partition.logStartOffset) }
        if let aborted = partition.abortedTransactions, !aborted.isEmpty {
            self.buffer.add(writer)
            self.buffer.append { $0.writeHotStructs(aborted, flexible: flexible, version: version) }
            writer = self.buffer.writer(reserving: 64)
        } else {
            writer.writeHotLength(partition.abortedTransactions == nil ? nil : 0, flexible: flexible)
        }
        if version >= 11 { writer.writeInt32(partition.preferredReadReplica) }
        writer.writeHotLength(recordsSize, flexible: flexible)
        self.buffer.add(writer)
        let position = self.buffer.count
        if flexible { self.writeTags(of: partition) }
        self.partitionsLeft -= 1
        self.endTopicIfComplete()
        return position
    }

    @inline(__always)
    private func writeTags(of partition: Partition) {
        let diverges = partition.divergingEpoch != -1 || partition.divergingEndOffset != -1
        let hasLeader = partition.leaderID != -1 || partition.leaderEpoch != -1
        let hasSnapshot = partition.snapshotEndOffset != -1 || partition.snapshotEpoch != -1
        // 42 bytes at most.
        var writer = self.buffer.writer(reserving: 64)
        defer { self.buffer.add(writer) }
        writer.writeUInt8((diverges ? 1 : 0) + (hasLeader ? 1 : 0) + (hasSnapshot ? 1 : 0))
        if diverges {
            writer.writeUInt8(0)
            writer.writeUInt8(13)
            writer.writeInt32(partition.divergingEpoch)
            writer.writeInt64(partition.divergingEndOffset)
            writer.writeUInt8(0)
        }
        if hasLeader { writer.writeTaggedLeader(1, id: partition.leaderID, epoch: partition.leaderEpoch) }
        if hasSnapshot {
            writer.writeUInt8(2)
            writer.writeUInt8(13)
            writer.writeInt64(partition.snapshotEndOffset)
            writer.writeInt32(partition.snapshotEpoch)
            writer.writeUInt8(0)
        }
    }

    /// - Parameter nodeEndpoints: where the leaders named by partitions can be reached. Versions 16+.
    package mutating func finish(nodeEndpoints: [FetchResponse.NodeEndpoint] = []) {
        guard self.flexible else { return }
        let version = self.version
        self.buffer.append { writer in
            let present: UInt64 = version >= 16 && !nodeEndpoints.isEmpty ? 1 : 0
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
