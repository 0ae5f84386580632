/// The `.snapshot` files: the producers of a partition as they were at an offset (version 1, message ProducerSnapshot).
/// Like Kafka's they hold the last batch of a producer only.
enum ProducerSnapshot {
    private static let version: Int16 = 1
    /// Version and CRC come before what the CRC covers.
    private static let crcPosition = 2
    private static let crcStart = 6
    private static let entrySize = 46

    static func encode(_ producers: [Int64: ProducerStateEntry]) -> [UInt8] {
        var bytes = Bytes()
        bytes.put(Self.version)
        bytes.put(UInt32(0))
        bytes.put(Int32(truncatingIfNeeded: producers.count))
        for (id, entry) in self.inOrder(producers) {
            let last = entry.last
            bytes.put(id)
            bytes.put(entry.epoch)
            bytes.put(last?.lastSequence ?? -1)
            bytes.put(last?.lastOffset ?? -1)
            bytes.put(last?.offsetDelta ?? 0)
            bytes.put(entry.lastTimestamp)
            bytes.put(entry.coordinatorEpoch)
            bytes.put(entry.currentTransactionFirstOffset)
        }
        bytes.patch(bytes.crc(from: Self.crcStart), at: Self.crcPosition)
        return bytes.array
    }

    /// The order in which Kafka writes them, that of Java's hash map of so many numbers: the files come out alike.
    private static func inOrder(
        _ producers: [Int64: ProducerStateEntry]
    ) -> [(key: Int64, value: ProducerStateEntry)] {
        var capacity: UInt32 = 16
        while Int(capacity) / 4 * 3 < producers.count, capacity < 1 << 30 { capacity *= 2 }
        func bucket(_ id: Int64) -> UInt32 {
            let hash = UInt32(truncatingIfNeeded: id ^ (id >> 32))
            return (hash ^ (hash >> 16)) & (capacity - 1)
        }
        return producers.sorted { left, right in
            (bucket(left.key), left.key) < (bucket(right.key), right.key)
        }
    }

    /// Nil where the file is damaged or of a version that is not known here.
    static func decode(_ bytes: [UInt8]) -> [Int64: ProducerStateEntry]? {
        var reader = BytesReader(bytes[...])
        guard reader.get(Int16.self) == Self.version, let crc = reader.get(UInt32.self),
            crc == crc32c(bytes[Self.crcStart...]), let count = reader.get(Int32.self), count >= 0,
            reader.remaining == Int(count) * Self.entrySize
        else { return nil }
        var producers: [Int64: ProducerStateEntry] = [:]
        producers.reserveCapacity(Int(count))
        for _ in 0..<count {
            guard let id = reader.get(Int64.self), let epoch = reader.get(Int16.self),
                let lastSequence = reader.get(Int32.self), let lastOffset = reader.get(Int64.self),
                let delta = reader.get(Int32.self), let timestamp = reader.get(Int64.self),
                let coordinatorEpoch = reader.get(Int32.self), let transaction = reader.get(Int64.self)
            else { return nil }
            var entry = ProducerStateEntry(epoch: epoch, lastTimestamp: timestamp)
            // A coordinator's batches have an offset and no sequence.
            if lastOffset >= 0 && lastSequence >= -1 && delta >= 0 {
                entry.append(
                    ProducerBatch(
                        lastSequence: lastSequence, lastOffset: lastOffset, offsetDelta: delta, timestamp: timestamp))
            }
            entry.coordinatorEpoch = coordinatorEpoch
            entry.currentTransactionFirstOffset = max(transaction, -1)
            producers[id] = entry
        }
        return producers
    }
}
