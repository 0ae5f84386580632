import KafkaPrimitives

/// The assignors that run on the broker for groups of KIP-848; their names are those of `group.consumer.assignors`.
///
/// For the same input they answer what Kafka 4.3 answers. Like Kafka's since 4.0 they do not look at racks.
package enum ServerAssignor: String, CaseIterable, Sendable {
    /// Every member as many partitions as any other, give or take one, and as few moves as that allows.
    case uniform
    /// Of each topic a range to every subscriber, in the order of the members: where all topics have as many
    /// partitions, a member gets the same ones of each.
    case range

    /// The whole group's new assignment: every member is in it, its partitions ascending. Takes time in proportion
    /// to members, subscriptions and partitions.
    package func assign(_ input: AssignmentInput) -> GroupAssignment {
        guard !input.members.isEmpty else { return [:] }
        switch self {
        case .uniform: return UniformAssignment(input).run(isHomogeneous: input.isHomogeneous)
        case .range: return RangeAssignment(input).run()
        }
    }
}

/// By topic id; partitions ascending, no topic without a partition.
package typealias MemberAssignment = [KafkaUUID: [Int32]]
/// By member id.
package typealias GroupAssignment = [String: MemberAssignment]

/// What an assignor decides on.
package struct AssignmentInput: Sendable {
    package struct Member: Sendable {
        /// Of a static member.
        package var instanceID: String?
        /// Ids that are not among the input's topics are left out of account.
        package var subscribedTopics: Set<KafkaUUID>
        /// The target so far. Partitions that are not there any more, or of which another member is the owner too,
        /// are nobody's.
        package var current: MemberAssignment

        package init(instanceID: String? = nil, subscribedTopics: Set<KafkaUUID>, current: MemberAssignment = [:]) {
            self.instanceID = instanceID
            self.subscribedTopics = subscribedTopics
            self.current = current
        }
    }

    /// By member id.
    package var members: [String: Member]
    /// How many partitions a topic has, 0 or more.
    package var partitionCounts: [KafkaUUID: Int32]
    /// Whether all members subscribe to the same topics.
    package var isHomogeneous: Bool

    package init(members: [String: Member], partitionCounts: [KafkaUUID: Int32], isHomogeneous: Bool) {
        self.members = members
        self.partitionCounts = partitionCounts
        self.isHomogeneous = isHomogeneous
    }

    /// Finds out by itself whether the group is homogeneous.
    package init(members: [String: Member], partitionCounts: [KafkaUUID: Int32]) {
        let first = members.values.first?.subscribedTopics ?? []
        self.init(
            members: members, partitionCounts: partitionCounts,
            isHomogeneous: members.values.allSatisfy { $0.subscribedTopics == first })
    }
}
