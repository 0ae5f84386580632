import Glibc
import KafkaCoordination
import KafkaLog
import KafkaPrimitives
import KafkaRecords

/// A coordinator's port to a partition that this broker leads.
struct PartitionCoordinatorLog: CoordinatorLog {
    let partition: Partition
    /// Tells those who read the internal topic.
    let wake: @Sendable (Partition) -> Void

    var maxBatchBytes: Int { self.partition.validationRules.maxMessageBytes }

    func append(_ batch: inout [UInt8], recordCount: Int, now: CoordinatorTime) -> CoordinatorAppendResult {
        self.append(&batch, .records, recordCount: recordCount, now: now)
    }

    func append(
        _ batch: inout [UInt8], _ kind: CoordinatorBatchKind, recordCount: Int, now: CoordinatorTime
    ) -> CoordinatorAppendResult {
        // There is one replica, this one.
        guard self.partition.minInSyncReplicas <= 1 else { return .failed(.notEnoughReplicas) }
        let result = batch.withUnsafeMutableBytes { bytes -> CoordinatorAppendResult in
            guard let validated = ValidatedBatch(own: UnsafeRawBufferPointer(bytes)) else {
                return .failed(.unknownServerError)
            }
            switch self.partition.log.append(
                bytes, validated: validated, leaderEpoch: self.partition.leaderEpoch, now: now.wallMs,
                origin: .coordinator, transaction: TransactionCheck(kind))
            {
            case .success(let info):
                return .appended(
                    CoordinatorAppend(
                        firstOffset: info.firstOffset, endOffset: info.lastOffset &+ 1,
                        highWatermark: self.partition.log.highWatermark))
            case .failure(let error):
                return .failed(error.code)
            }
        }
        if case .appended = result { self.wake(self.partition) }
        return result
    }
}

extension TransactionCheck {
    fileprivate init(_ kind: CoordinatorBatchKind) {
        self =
            switch kind {
            case .records, .transaction(.off): .none
            case .transaction(.open): .verified(nil)
            case .transaction(.shown(let number)): .verified(VerificationGuard(number: number))
            case .marker(let version): .marker(version: version)
            }
    }
}

extension CoordinatorLoader {
    /// Replays a partition from its start, a piece at a time. Blocks.
    /// - Returns: an error when the log cannot be read; what is merely damaged in it is in `faults`.
    mutating func load(_ log: PartitionLog, bufferBytes: Int) -> ErrorCode? {
        let scratch = DecompressionScratch()
        var offset = log.snapshot.logStartOffset
        let end = log.logEndOffset
        // Most partitions have little to read, or nothing.
        var buffer = [UInt8](repeating: 0, count: min(bufferBytes, Int(log.sizeInBytes)))
        while offset < end {
            switch log.read(from: offset, maxBytes: bufferBytes, upTo: end, minOneMessage: true) {
            case .failure(let error):
                guard error == .corruptMessage, let damage = log.damage(at: offset), damage.endOffset > offset else {
                    return error
                }
                self.skip(offset..<damage.endOffset, "\(damage.end - damage.start) bytes are damaged")
                offset = damage.endOffset
            case .success(let read):
                guard let slice = read.slice else { return nil }
                if slice.length > buffer.count { buffer = [UInt8](repeating: 0, count: slice.length) }
                let before = offset
                let isRead = buffer.withUnsafeMutableBytes { buffer -> Bool in
                    var count = 0
                    while count < slice.length {
                        let got = pread(
                            slice.file.fd, buffer.baseAddress?.advanced(by: count), slice.length - count,
                            Int(slice.position) + count)
                        if got < 0 && errno == EINTR { continue }
                        guard got > 0 else { return false }
                        count += got
                    }
                    _ = self.replay(UnsafeRawBufferPointer(rebasing: buffer[..<slice.length]), scratch: scratch)
                    return true
                }
                guard isRead else { return .kafkaStorageError }
                offset = self.nextOffset
                guard offset > before else { return .corruptMessage }
            }
        }
        return nil
    }
}
