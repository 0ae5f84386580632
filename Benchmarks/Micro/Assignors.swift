import KafkaCoordination
import KafkaPrimitives

// Server-side assignors: from nothing, and after a member has left. The bare loop makes the same lists.

extension Comparison {
    func assignors() {
        self.heading("Assignors", rows: ["assign uniform", "assign mixed", "assign range"])
        for (title, members, topics, partitions) in [
            ("1,000 members, 1,000 partitions", 1000, 10, 100), ("100 members, 100,000 partitions", 100, 100, 1000),
            ("10,000 members, 100,000 partitions", 10_000, 100, 1000),
        ] {
            let group = Group(members: members, topics: topics, partitions: partitions, isMixed: false)
            let mixed = Group(members: members, topics: topics, partitions: partitions, isMixed: true)
            self.assign("assign uniform, \(title)", .uniform, group.input)
            self.assign("assign uniform, one leaves, \(title)", .uniform, group.afterOneLeft(.uniform))
            self.assign("assign mixed, \(title)", .uniform, mixed.input)
            self.assign("assign mixed, one leaves, \(title)", .uniform, mixed.afterOneLeft(.uniform))
            self.assign("assign range, \(title)", .range, group.input)
        }
    }

    private func assign(_ title: String, _ assignor: ServerAssignor, _ input: @autoclosure () -> AssignmentInput) {
        guard self.isWanted(title) else { return }
        let input = input()
        self.row(title, bare: "the same lists") { times in
            for _ in 0..<times { use(assignor.assign(input).count) }
        } bare: { times in
            for _ in 0..<times { use(bareAssignment(input).count) }
        }
    }
}

/// Ranges for everybody: what cannot be avoided.
private func bareAssignment(_ input: AssignmentInput) -> GroupAssignment {
    var result = GroupAssignment(minimumCapacity: input.members.count)
    let members = Int32(input.members.count)
    for (index, member) in input.members.keys.enumerated() {
        var assignment: MemberAssignment = [:]
        for (topic, count) in input.partitionCounts {
            let range = count * Int32(index) / members..<count * Int32(index + 1) / members
            if !range.isEmpty { assignment[topic] = Array(range) }
        }
        result[member] = assignment
    }
    return result
}

private struct Group {
    var input: AssignmentInput

    /// - Parameter isMixed: members ask for half of the topics each.
    init(members: Int, topics: Int, partitions: Int, isMixed: Bool) {
        var numbers = FixedNumbers()
        let ids = (0..<topics).map { _ in
            KafkaUUID(high: UInt64(numbers.next(below: .max)), low: UInt64(numbers.next(below: .max)))
        }
        let all = Set(ids)
        var group: [String: AssignmentInput.Member] = [:]
        for index in 0..<members {
            let subscribed = isMixed ? all.filter { _ in numbers.next(below: 2) == 0 } : all
            group["consumer-of-orders-\(index)-\(numbers.next(below: .max))"] = .init(subscribedTopics: subscribed)
        }
        self.input = AssignmentInput(
            members: group,
            partitionCounts: Dictionary(uniqueKeysWithValues: ids.map { ($0, Int32(partitions)) }))
    }

    func afterOneLeft(_ assignor: ServerAssignor) -> AssignmentInput {
        var input = self.input
        for (id, assignment) in assignor.assign(input) { input.members[id]?.current = assignment }
        if let first = input.members.keys.min() { input.members[first] = nil }
        return input
    }
}
