import KafkaPrimitives

/// By what a group notices that its topics are not what they were (KIP-1101): one number instead of all of them.
package enum MetadataHash {
    /// Of a topic's name, id, partitions and their racks.
    package static func hash(of topic: GroupTopic) -> Int64 {
        var hash = XXH3()
        // Rises when something else is hashed than now.
        hash.add(UInt8(0))
        hash.add(topic.id.high)
        hash.add(topic.id.low)
        hash.add(topic.name)
        hash.add(topic.partitionCount)
        for partition in 0..<max(topic.partitionCount, 0) {
            hash.add(partition)
            let racks = Int(partition) < topic.racks.count ? topic.racks[Int(partition)] : []
            for rack in racks.sorted(by: { $0.utf16.lexicographicallyPrecedes($1.utf16) }) {
                hash.add(Int32(clamping: rack.utf16.count))
                hash.add(rack)
            }
        }
        return Int64(bitPattern: hash.finish())
    }

    /// Of those of the topics that are there; 0 where none is.
    package static func hash(of topics: Set<String>, in image: GroupMetadataImage) -> Int64 {
        let hashes = topics.compactMap { image.topic(named: $0) }.map { ($0.name, self.hash(of: $0)) }
        guard !hashes.isEmpty else { return 0 }
        var hash = XXH3()
        for (_, topicHash) in hashes.sorted(by: { $0.0.utf16.lexicographicallyPrecedes($1.0.utf16) }) {
            hash.add(UInt64(bitPattern: topicHash))
        }
        return Int64(bitPattern: hash.finish())
    }
}
