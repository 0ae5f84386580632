import KafkaPrimitives
import Testing

@testable import KafkaCoordination

@Suite struct AssignorTests {
    private let topics = (1...4).map { KafkaUUID(high: UInt64($0) << 56, low: UInt64($0)) }

    private func member(
        _ topics: [KafkaUUID], instance: String? = nil, _ current: MemberAssignment = [:]
    ) -> AssignmentInput.Member {
        .init(instanceID: instance, subscribedTopics: Set(topics), current: current)
    }

    @Test func nobodyAndNothing() {
        for assignor in ServerAssignor.allCases {
            #expect(assignor.assign(AssignmentInput(members: [:], partitionCounts: [:])) == [:])
            let idle = AssignmentInput(members: ["a": self.member([])], partitionCounts: [self.topics[0]: 3])
            #expect(assignor.assign(idle) == ["a": [:]])
            let empty = AssignmentInput(
                members: ["a": self.member([self.topics[0]])], partitionCounts: [self.topics[0]: 0])
            #expect(assignor.assign(empty) == ["a": [:]])
            // A topic that is not there does not keep the group from the others.
            let missing = AssignmentInput(
                members: ["a": self.member([self.topics[0], self.topics[1]])], partitionCounts: [self.topics[1]: 2])
            #expect(assignor.assign(missing) == ["a": [self.topics[1]: [0, 1]]])
        }
    }

    @Test func rangeGivesTheSamePartitionsOfEachTopic() {
        let input = AssignmentInput(
            members: [
                "a": self.member([self.topics[0], self.topics[1]]), "b": self.member([self.topics[0], self.topics[1]]),
            ],
            partitionCounts: [self.topics[0]: 3, self.topics[1]: 3])
        #expect(
            ServerAssignor.range.assign(input) == [
                "a": [self.topics[0]: [0, 1], self.topics[1]: [0, 1]],
                "b": [self.topics[0]: [2], self.topics[1]: [2]],
            ])
    }

    /// "z" is static and comes first; among the static ones the instance's id counts, by UTF-16: U+1F600 is written
    /// with surrogates, which are below U+FF41.
    @Test func rangeGoesByInstance() {
        let only = [self.topics[0]]
        let input = AssignmentInput(
            members: [
                "a": self.member(only), "z": self.member(only, instance: "\u{1F600}"),
                "b": self.member(only, instance: "\u{FF41}"),
            ], partitionCounts: [self.topics[0]: 3])
        #expect(
            ServerAssignor.range.assign(input) == [
                "z": [only[0]: [0]], "b": [only[0]: [1]], "a": [only[0]: [2]],
            ])
    }

    /// What a damaged log could make of a group's target.
    @Test func currentAssignmentsThatMakeNoSense() {
        let all = [self.topics[0], self.topics[1]]
        for second in [all, [self.topics[1]]] {
            let input = AssignmentInput(
                members: [
                    "a": self.member(all, [self.topics[0]: [0, 0, 99, -1, 1], self.topics[3]: [0]]),
                    "b": self.member(second, [self.topics[0]: [0, 1, 2], self.topics[1]: [.max, .min]]),
                ], partitionCounts: [self.topics[0]: 4, self.topics[1]: 5])
            for assignor in ServerAssignor.allCases {
                #expect(input.faults(of: assignor.assign(input)) == [])
            }
        }
    }

    /// Chains of changes to groups of all sizes: always whole, uniform ones balanced, and with nothing changed
    /// nothing moves.
    @Test func chainsOfChanges() {
        var generator = SeededRandom(seed: 20)
        for round in 0..<60 {
            let isHomogeneous = round.isMultiple(of: 2)
            var counts: [KafkaUUID: Int32] = [:]
            for _ in 0..<Int.random(in: 1...12, using: &generator) {
                counts[.random(using: &generator)] = Int32.random(in: 0...60, using: &generator)
            }
            let ids = counts.keys.sorted()
            var members: [String: AssignmentInput.Member] = [:]
            for step in 0..<8 {
                for _ in 0..<Int.random(in: 1...15, using: &generator) {
                    let topics = isHomogeneous ? ids : ids.filter { _ in Bool.random(using: &generator) }
                    members["member-\(generator.next() % 1000)"] = self.member(topics)
                }
                if let gone = members.keys.sorted().randomElement(using: &generator), step > 2 {
                    members[gone] = nil
                }
                if let grown = ids.randomElement(using: &generator) { counts[grown, default: 0] += 1 }
                if members.isEmpty { continue }
                for assignor in ServerAssignor.allCases {
                    var input = AssignmentInput(members: members, partitionCounts: counts)
                    let assignment = assignor.assign(input)
                    #expect(input.faults(of: assignment) == [])
                    if assignor == .uniform && input.isHomogeneous {
                        let sizes = sizes(assignment)
                        #expect((sizes.last ?? 0) - (sizes.first ?? 0) <= 1)
                    }
                    for (id, current) in assignment { input.members[id]?.current = current }
                    let again = assignor.assign(input)
                    if input.isHomogeneous || assignor == .range { #expect(again == assignment) }
                    if assignor == .uniform { members = input.members }
                }
            }
        }
    }
}
