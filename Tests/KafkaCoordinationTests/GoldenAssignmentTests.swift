import Foundation
import KafkaPrimitives
import Testing

@testable import KafkaCoordination

/// What Kafka's own assignors answered: the same, or as good where the file says that the answer depends on the order
/// of hash maps. `OTTLA_ASSIGNMENTS` names another file, gzipped or not.
@Suite struct GoldenAssignmentTests {
    @Test func goldenAssignments() throws {
        let path = ProcessInfo.processInfo.environment["OTTLA_ASSIGNMENTS"] ?? AssignmentCase.repositoryPath
        let (cases, problems) = AssignmentCase.problems(ofFile: try AssignmentCase.text(ofFile: path))
        #expect(problems == [], "of \(cases) cases")
    }

    @Test func theCommittedGoldenAssignmentsAreAll() throws {
        let text = try AssignmentCase.text(ofFile: AssignmentCase.repositoryPath)
        #expect(text.split(separator: "\n").count == 1500)
    }

    @Test func goldenAssignmentsThatAreDamagedFail() throws {
        let lines = try AssignmentCase.text(ofFile: AssignmentCase.repositoryPath).split(separator: "\n")
        #expect(AssignmentCase.problems(ofFile: "").problems == ["no cases"])
        #expect(AssignmentCase.problems(ofFile: "\n \n").problems != [])
        for line in stride(from: 0, to: lines.count, by: 50).map({ lines[$0] }) {
            #expect(AssignmentCase.problems(ofFile: String(line)).problems == [])
            #expect(AssignmentCase.problems(ofFile: String(line.dropLast())).problems != [])
            #expect(AssignmentCase.problems(ofFile: String(line.dropFirst(line.count / 2))).problems != [])
            // Each partition of what is expected, one after another, is another one.
            let start = try #require(line.range(of: "\"expected\":")?.upperBound)
            let end = try #require(line.range(of: "\"orderDependent\"")?.lowerBound)
            let text = Array(line.utf8)
            let from = line.utf8.distance(from: line.startIndex, to: start)
            let to = line.utf8.distance(from: line.startIndex, to: end)
            var isInList = false
            for place in from..<to {
                if text[place] == UInt8(ascii: "[") { isInList = true }
                if text[place] == UInt8(ascii: "]") { isInList = false }
                guard isInList, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(text[place]) else { continue }
                var damaged = text
                damaged[place] = text[place] == UInt8(ascii: "7") ? UInt8(ascii: "8") : UInt8(ascii: "7")
                let problems = AssignmentCase.problems(ofFile: String(decoding: damaged, as: UTF8.self)).problems
                #expect(problems != [], "byte \(place) of \(line.prefix(40))")
            }
        }
    }

    /// Where Kafka's answer depends on the order of its maps, ours is mostly the very one of the file, since ours
    /// walks in that order too.
    @Test func mostGoldenAssignmentsThatDependOnOrderAreTheSame() throws {
        let lines = try AssignmentCase.text(ofFile: AssignmentCase.repositoryPath).split(separator: "\n")
        let cases = try lines.map(AssignmentCase.init).filter(\.isOrderDependent)
        let same = cases.count { $0.assignor.assign($0.input) == $0.expected }
        #expect(same * 10 >= cases.count * 9, "\(same) of \(cases.count)")
    }
}
