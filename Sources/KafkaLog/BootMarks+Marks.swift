extension BootMarks {
    /// The newest mark of each partition, as bytes of the file: taken apart when it is asked for, by whichever of a
    /// start's threads needs it.
    struct Marks: Sendable {
        private let file: [UInt8]
        private var topics: [OfTopic] = []
        private var indexes: [String: Int] = [:]
        private var last = 0
        private(set) var count = 0

        /// Those of one topic.
        struct OfTopic: Sendable {
            fileprivate let file: [UInt8]
            fileprivate let topic: String
            fileprivate var places: [Int32: Range<Int>] = [:]

            func has(_ partition: Int32) -> Bool { self.places[partition] != nil }

            /// Nil where there is none, or one that is none of this version.
            func mark(_ partition: Int32) -> PartitionMark? {
                guard let place = self.places[partition] else { return nil }
                var reader = BytesReader(self.file[place])
                return PartitionMark(&reader, topic: self.topic)
            }
        }

        init(file: [UInt8] = []) { self.file = file }

        var values: [PartitionMark] {
            self.topics.flatMap { topic in topic.places.keys.compactMap { topic.mark($0) } }
        }

        subscript(partition: TopicPartition) -> PartitionMark? { self.topic(partition.topic).mark(partition.partition) }

        func topic(_ name: String) -> OfTopic {
            self.indexes[name].map { self.topics[$0] } ?? OfTopic(file: [], topic: name)
        }

        /// Takes the mark in whose bytes `entry` has before it, up to its end.
        /// - Returns: whether it is the first of its partition.
        mutating func add(_ entry: inout BytesReader) -> Bool {
            let place = entry.position..<entry.position + entry.remaining
            let previous = self.topics.isEmpty ? "" : self.topics[self.last].topic
            guard let (topic, partition) = PartitionMark.partition(&entry, sharing: previous) else { return false }
            if self.topics.isEmpty || topic != previous {
                if let index = self.indexes[topic] {
                    self.last = index
                } else {
                    self.last = self.topics.count
                    self.indexes[topic] = self.last
                    self.topics.append(OfTopic(file: self.file, topic: topic))
                }
            }
            let isNew = self.topics[self.last].places.updateValue(place, forKey: partition) == nil
            if isNew { self.count += 1 }
            return isNew
        }
    }
}
