import KafkaPrimitives

/// The assignor "uniform": what both ways of building an assignment share. Members and topics are numbers here, in
/// the order in which Kafka walks them, and the assignment is a list of owners a topic.
struct UniformAssignment {
    let input: AssignmentInput
    let memberIDs: [String]
    let topicIDs: [KafkaUUID]
    let topicIndexes: [KafkaUUID: Int]
    /// By topic and partition; -1: nobody.
    var owners: [[Int32]]

    init(_ input: AssignmentInput) {
        self.input = input
        self.memberIDs = JavaHashOrder.members(input.members.keys)
        var subscribed: Set<KafkaUUID> = []
        if input.isHomogeneous {
            subscribed = input.members[self.memberIDs[0]]?.subscribedTopics ?? []
        } else {
            for member in input.members.values { subscribed.formUnion(member.subscribedTopics) }
        }
        subscribed = subscribed.filter { input.partitionCounts[$0] != nil }
        self.topicIDs = JavaHashOrder.subscribedTopics(subscribed)
        self.topicIndexes = Dictionary(
            uniqueKeysWithValues: self.topicIDs.enumerated().map { ($0.element, $0.offset) })
        self.owners = self.topicIDs.map {
            Array(repeating: -1, count: Int(max(input.partitionCounts[$0] ?? 0, 0)))
        }
    }

    consuming func run(isHomogeneous: Bool) -> GroupAssignment {
        if isHomogeneous { self.assignHomogeneous() } else { self.assignHeterogeneous() }
        return self.result()
    }

    func member(_ index: Int) -> AssignmentInput.Member {
        self.input.members[self.memberIDs[index]] ?? .init(subscribedTopics: [])
    }

    /// Those of `partitions` that there are and that nobody has yet.
    func unowned(_ partitions: [Int32], ofTopic topic: Int) -> [Int32] {
        let owners = self.owners[topic]
        let isWhole = partitions.allSatisfy { owners.indices.contains(Int($0)) && owners[Int($0)] < 0 }
        if isWhole { return partitions }
        return partitions.filter { owners.indices.contains(Int($0)) && owners[Int($0)] < 0 }
    }

    private func result() -> GroupAssignment {
        var assignments = [MemberAssignment](repeating: [:], count: self.memberIDs.count)
        var taken = [[Int32]](repeating: [], count: self.memberIDs.count)
        var haveAny: [Int32] = []
        for (topic, id) in self.topicIDs.enumerated() {
            haveAny.removeAll(keepingCapacity: true)
            for (partition, owner) in self.owners[topic].enumerated() where owner >= 0 {
                if taken[Int(owner)].isEmpty { haveAny.append(owner) }
                taken[Int(owner)].append(Int32(partition))
            }
            for owner in haveAny {
                assignments[Int(owner)][id] = taken[Int(owner)]
                taken[Int(owner)] = []
            }
        }
        return Dictionary(uniqueKeysWithValues: zip(self.memberIDs, assignments))
    }
}
