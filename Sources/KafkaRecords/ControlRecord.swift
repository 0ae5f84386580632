/// What a control record says: the second half of its key.
package enum ControlRecordType: Int16, Sendable {
    case abort = 0
    case commit = 1
    case leaderChange = 2
    case snapshotHeader = 3
    case snapshotFooter = 4
    case kraftVersion = 5
    case kraftVoters = 6

    /// From a control record's key: int16 version, int16 type. nil: too short, or a type that is not known.
    package init?(key: UnsafeRawBufferPointer) {
        guard key.count >= 4, key.bigEndian(at: 0, as: Int16.self) >= 0 else { return nil }
        self.init(rawValue: key.bigEndian(at: 2, as: Int16.self))
    }

    package var key: [UInt8] { [0, 0, 0, UInt8(truncatingIfNeeded: self.rawValue)] }
}

/// The value of an ABORT or COMMIT record: int16 version, int32 epoch of the transaction coordinator.
package struct EndTransactionMarker: Sendable, Equatable {
    package var coordinatorEpoch: Int32

    package init(coordinatorEpoch: Int32) { self.coordinatorEpoch = coordinatorEpoch }

    package init?(value: UnsafeRawBufferPointer) {
        guard value.count >= 6, value.bigEndian(at: 0, as: Int16.self) >= 0 else { return nil }
        self.coordinatorEpoch = value.bigEndian(at: 2)
    }

    package var value: [UInt8] {
        [0, 0] + (0..<4).map { UInt8(truncatingIfNeeded: self.coordinatorEpoch >> (24 - 8 * Int32($0))) }
    }
}

extension RecordBatchBuilder {
    /// A batch that ends a producer's transaction in a partition.
    package static func endTransaction(
        committed: Bool, marker: EndTransactionMarker, producerID: Int64, producerEpoch: Int16, timestamp: Int64,
        baseOffset: Int64 = 0, partitionLeaderEpoch: Int32 = -1
    ) -> [UInt8] {
        var builder = RecordBatchBuilder(
            baseOffset: baseOffset, producerID: producerID, producerEpoch: producerEpoch, isTransactional: true,
            isControl: true, partitionLeaderEpoch: partitionLeaderEpoch)
        let type: ControlRecordType = committed ? .commit : .abort
        builder.append(timestamp: timestamp, key: type.key, value: marker.value)
        return builder.build()
    }
}
