import KafkaPrimitives

/// The assignor "range".
struct RangeAssignment {
    private let input: AssignmentInput

    private struct Topic {
        let partitions: Int32
        var subscribers: Int32 = 0
        /// The first partition that nobody has been given.
        var next: Int32 = 0
        var subscribersServed: Int32 = 0
    }

    init(_ input: AssignmentInput) { self.input = input }

    func run() -> GroupAssignment {
        var topics: [KafkaUUID: Topic] = [:]
        for member in self.input.members.values {
            for id in member.subscribedTopics {
                if topics[id] == nil {
                    guard let partitions = self.input.partitionCounts[id] else { continue }
                    topics[id] = Topic(partitions: partitions)
                }
                topics[id]?.subscribers += 1
            }
        }
        var result = GroupAssignment(minimumCapacity: self.input.members.count)
        for (memberID, member) in self.orderedMembers() {
            var assignment = MemberAssignment(minimumCapacity: member.subscribedTopics.count)
            for id in member.subscribedTopics {
                guard var topic = topics[id] else { continue }
                // The first of them get one more where it does not come out even.
                let hasOneMore = topic.subscribersServed < topic.partitions % topic.subscribers
                let end = topic.next + topic.partitions / topic.subscribers + (hasOneMore ? 1 : 0)
                if end > topic.next { assignment[id] = Array(topic.next..<end) }
                topic.next = end
                topic.subscribersServed += 1
                topics[id] = topic
            }
            result[memberID] = assignment
        }
        return result
    }

    /// Static members first, by the instance's id: they keep their partitions when they come back with a new member
    /// id. Then the others by the member's id. Ids compare as Java's strings do, by UTF-16.
    private func orderedMembers() -> [(key: String, value: AssignmentInput.Member)] {
        self.input.members.sorted { left, right in
            switch (left.value.instanceID, right.value.instanceID) {
            case (let first?, let second?): Self.isBefore(first, second)
            case (.some, nil): true
            case (nil, .some): false
            case (nil, nil): Self.isBefore(left.key, right.key)
            }
        }
    }

    private static func isBefore(_ left: String, _ right: String) -> Bool {
        left.utf16.lexicographicallyPrecedes(right.utf16)
    }
}
