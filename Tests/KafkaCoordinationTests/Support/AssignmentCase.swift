import Foundation
import KafkaPrimitives
import KafkaRecords

@testable import KafkaCoordination

/// A line of a file of assignments: a group, and what Kafka's assignor made of it : see the fields below.
struct AssignmentCase {
    struct Unreadable: Error, CustomStringConvertible { var description: String }

    var name: String
    var assignor: ServerAssignor
    var input: AssignmentInput
    var expected: GroupAssignment
    /// Kafka's answer depends on the order in which it walks its maps; another may be as good.
    var isOrderDependent: Bool

    // MARK: Reading

    static var repositoryPath: String {
        URL(filePath: #filePath).deletingLastPathComponent().path + "/../../Vectors/assignments.jsonl.gz"
    }

    /// The text of a file, gzipped or not.
    static func text(ofFile path: String) throws -> String {
        var bytes = [UInt8](try Data(contentsOf: URL(filePath: path)))
        if bytes.starts(with: [0x1F, 0x8B]) {
            let scratch = DecompressionScratch(limit: 1 << 30)
            bytes = try bytes.withUnsafeBytes { [UInt8](try scratch.decompress($0, .gzip)) }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    init(_ line: Substring) throws {
        guard let fields = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any] else {
            throw Unreadable(description: "not an object")
        }
        func field<Value>(_ name: String, of object: [String: Any], as type: Value.Type = Value.self) throws -> Value {
            guard let value = object[name] as? Value else { throw Unreadable(description: "\(name) is not right") }
            return value
        }
        self.name =
            "chain \(try field("chain", of: fields, as: Int.self)), step \(try field("step", of: fields, as: Int.self))"
        guard let assignor = ServerAssignor(rawValue: try field("assignor", of: fields)) else {
            throw Unreadable(description: "no such assignor")
        }
        self.assignor = assignor
        self.isOrderDependent = try field("orderDependent", of: fields)

        var ids: [String: KafkaUUID] = [:]
        var counts: [KafkaUUID: Int32] = [:]
        for (topic, value) in try field("topics", of: fields, as: [String: [String: Any]].self) {
            guard let id = KafkaUUID(try field("id", of: value, as: String.self)), counts[id] == nil else {
                throw Unreadable(description: "the id of \(topic)")
            }
            ids[topic] = id
            counts[id] = try field("partitions", of: value, as: Int32.self)
        }
        func id(_ topic: String) throws -> KafkaUUID {
            guard let id = ids[topic] else { throw Unreadable(description: "\(topic) is not a topic") }
            return id
        }
        func assignment(_ value: [String: [Int32]]) throws -> MemberAssignment {
            var result: MemberAssignment = [:]
            for (topic, partitions) in value where !partitions.isEmpty {
                result[try id(topic)] = partitions.sorted()
            }
            return result
        }
        var members: [String: AssignmentInput.Member] = [:]
        for (member, value) in try field("members", of: fields, as: [String: [String: Any]].self) {
            members[member] = AssignmentInput.Member(
                instanceID: value["instanceId"] is NSNull ? nil : try field("instanceId", of: value),
                subscribedTopics: Set(try field("subscribed", of: value, as: [String].self).map(id)),
                current: try assignment(field("current", of: value)))
        }
        // Members that happen to ask for the same topics may still have been assigned as if they did not.
        let isHomogeneous: Bool = try field("homogeneous", of: fields)
        self.input = AssignmentInput(members: members, partitionCounts: counts)
        guard self.input.isHomogeneous || !isHomogeneous else {
            throw Unreadable(description: "homogeneous is not right")
        }
        self.input.isHomogeneous = isHomogeneous
        self.expected = try field("expected", of: fields, as: [String: [String: [Int32]]].self)
            .mapValues(assignment)
    }

    // MARK: Checking

    /// What is not right with `assignment`, or with what is expected.
    func problems(of assignment: GroupAssignment) -> [String] {
        var problems = self.input.faults(of: self.expected).map { "expected: \($0)" }
        problems += self.input.faults(of: assignment)
        if self.isOrderDependent {
            if sizes(assignment) != sizes(self.expected) {
                problems.append("sizes \(sizes(assignment)), not \(sizes(self.expected))")
            }
            let staying = (self.input.staying(in: assignment), self.input.staying(in: self.expected))
            if staying.0 != staying.1 { problems.append("\(staying.0) partitions stay, not \(staying.1)") }
        } else if assignment != self.expected {
            let wrong = assignment.filter { self.expected[$0.key] != $0.value }
            problems.append("other than Kafka's for \(wrong.keys.sorted())")
        }
        return problems.map { "\(self.name): \($0)" }
    }

    /// Of a whole file; a file without cases has one.
    static func problems(ofFile text: String) -> (cases: Int, problems: [String]) {
        let lines = text.split(separator: "\n")
        if lines.isEmpty { return (0, ["no cases"]) }
        var problems: [String] = []
        for (number, line) in lines.enumerated() {
            do {
                let one = try AssignmentCase(line)
                problems += one.problems(of: one.assignor.assign(one.input))
            } catch {
                problems.append("line \(number + 1): \(error)")
            }
        }
        return (lines.count, problems)
    }
}

/// How many partitions the members have, the fewest first.
func sizes(_ assignment: GroupAssignment) -> [Int] {
    assignment.values.map { $0.values.reduce(0) { $0 + $1.count } }.sorted()
}

extension AssignmentInput {
    func staying(in assignment: GroupAssignment) -> Int {
        var count = 0
        for (memberID, member) in self.members {
            for (topic, partitions) in member.current {
                let kept = Set(assignment[memberID]?[topic] ?? [])
                count += partitions.count { kept.contains($0) }
            }
        }
        return count
    }

    /// What every assignment must hold to: each partition of a topic that has subscribers belongs to one of them.
    func faults(of assignment: GroupAssignment) -> [String] {
        var faults: [String] = []
        var owners: [KafkaUUID: [Int32: String]] = [:]
        for (memberID, topics) in assignment {
            guard let member = self.members[memberID] else {
                faults.append("\(memberID) is not a member")
                continue
            }
            for (topic, partitions) in topics {
                if !member.subscribedTopics.contains(topic) { faults.append("\(memberID) has not asked for \(topic)") }
                if partitions.isEmpty { faults.append("\(memberID) has none of \(topic)") }
                if partitions != partitions.sorted() { faults.append("\(memberID)'s of \(topic) are out of order") }
                for partition in partitions {
                    if let other = owners[topic, default: [:]].updateValue(memberID, forKey: partition) {
                        faults.append("\(memberID) and \(other) have \(topic) \(partition)")
                    }
                }
            }
        }
        if Set(assignment.keys) != Set(self.members.keys) { faults.append("not the group's members") }
        let subscribed = self.members.values.reduce(into: Set<KafkaUUID>()) { $0.formUnion($1.subscribedTopics) }
        for (topic, count) in self.partitionCounts where subscribed.contains(topic) && count > 0 {
            let owned = Set(owners[topic, default: [:]].keys)
            if owned != Set(0..<count) { faults.append("of \(topic)'s \(count) partitions \(owned.count) are owned") }
        }
        return faults
    }
}
