import KafkaMessages
import KafkaPrimitives
import Testing

/// Bytes and values made by Kafka's own code. Other files can be named in OTTLA_MESSAGE_VECTORS and
/// OTTLA_RECORD_VECTORS.
@Suite struct GoldenVectorTests {
    @Test(arguments: [GoldenVector.File.messages, .records])
    func messageGoldenVectors(_ file: GoldenVector.File) throws {
        let problems = try GoldenVector.load(file).flatMap { $0.problems() }
        #expect(problems.isEmpty, "\(problems.count) problems:\n\(problems.prefix(20).joined(separator: "\n"))")
    }

    /// Every message in every version occurs in the repository's own files.
    @Test func repositoryGoldenVectorsAreComplete() throws {
        var missing: Set<String> = []
        // The maker of the vectors left this one out.
        let excepted: Set<String> = ["TransactionLogValue 0"]
        for (name, type) in allMessages { missing.formUnion(type.validVersions.map { "\(name) \($0)" }) }
        for file in ["message", "record"] {
            let path = "\(repository)/Tests/Vectors/\(file)-vectors.jsonl.gz"
            for vector in try GoldenVector.parse(try contents(ofFile: path), name: path) {
                missing.remove("\(vector.message) \(vector.version)")
            }
        }
        #expect(missing.subtracting(excepted).isEmpty)
    }

    static let heartbeat = """
        {"message":"HeartbeatRequest","version":4,"value":{"groupId":"g","generationId":7,"memberId":"m",\
        "groupInstanceId":null},"hex":"026700000007026d0000"}
        """

    @Test func undamagedGoldenVectorPasses() throws {
        #expect(try GoldenVector.parse(Array(Self.heartbeat.utf8), name: "").flatMap { $0.problems() } == [])
    }

    @Test(arguments: [
        ("\"generationId\":7", "\"generationId\":8"),
        ("\"generationId\":7,", ""),
        ("\"generationId\":7", "\"generationId\":7,\"generation\":7"),
        ("\"generationId\":7", "\"generationId\":7.5"),
        ("\"generationId\":7", "\"generationId\":\"7\""),
        ("\"memberId\":\"m\"", "\"memberId\":null"),
        ("\"groupInstanceId\":null", "\"groupInstanceId\":\"\""),
        ("026700000007026d0000", "026700000008026d0000"),
        ("026700000007026d0000", "026700000007026d"),
        ("026700000007026d0000", "026700000007026d000000"),
        ("026700000007026d0000", "026700000007026d00010500"),
        ("HeartbeatRequest", "HeartbeatRequests"),
        ("\"version\":4", "\"version\":5"),
        ("\"version\":4", "\"version\":3"),
    ])
    func damagedGoldenVectorFails(_ damage: (String, String)) throws {
        let text = Self.heartbeat.replacing(damage.0, with: damage.1)
        try #require(text != Self.heartbeat)
        let vectors = try GoldenVector.parse(Array(text.utf8), name: "")
        #expect(vectors.flatMap { $0.problems() } != [])
    }

    @Test(arguments: ["", "\n", "{}", "{\"message\":\"HeartbeatRequest\"", heartbeat.replacing("0267", with: "026")])
    func unreadableGoldenVectorFileFails(_ text: String) {
        #expect(throws: (any Error).self) { try GoldenVector.parse(Array(text.utf8), name: "") }
    }
}
