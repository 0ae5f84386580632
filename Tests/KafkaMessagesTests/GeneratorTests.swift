import Foundation
import Testing

/// Runs `ottla-generate`, which is built beside the tests.
@Suite struct GeneratorTests {
    private static func run(_ arguments: String...) throws -> (status: Int32, output: String) {
        let folder = (try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe") as NSString)
            .deletingLastPathComponent
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(fileURLWithPath: "\(folder)/ottla-generate")
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = output
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }

    private static func withTemporaryFolder(_ body: (String) throws -> Void) throws {
        let folder = NSTemporaryDirectory() + "ottla-generate-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    /// What is committed is what the generator writes.
    @Test func committedOutputIsCurrent() throws {
        try Self.withTemporaryFolder { folder in
            let (status, output) = try Self.run("\(repository)/Schemas", "\(folder)/Generated", "\(folder)/Table.swift")
            try #require(status == 0, "\(output)")
            let committed = "\(repository)/Sources/KafkaMessages/Generated"
            let names = Set(try FileManager.default.contentsOfDirectory(atPath: committed))
            #expect(Set(try FileManager.default.contentsOfDirectory(atPath: "\(folder)/Generated")) == names)
            for name in names.sorted() {
                let same = FileManager.default.contentsEqual(
                    atPath: "\(committed)/\(name)", andPath: "\(folder)/Generated/\(name)")
                #expect(same, "\(name) is not current: run script/generate")
            }
            let table = "\(repository)/Tests/KafkaMessagesTests/MessageTable.swift"
            #expect(FileManager.default.contentsEqual(atPath: table, andPath: "\(folder)/Table.swift"))
        }
    }

    /// Field by field and version by version, where OTTLA_KAFKA_DEFINITIONS names a folder that holds them.
    @Test(.enabled(if: kafkaDefinitions != nil, "OTTLA_KAFKA_DEFINITIONS is not set"))
    func schemasAreKafkas() throws {
        let (status, output) = try Self.run("--compare", "\(repository)/Schemas", try #require(kafkaDefinitions))
        #expect(status == 0, "\(output)")
    }

    /// The comparison sees a difference in any property of a field or message.
    @Test(arguments: [
        ("string?", "string"), ("3+", "2+"), ("= null", ""), ("int32", "int64"), ("ignorable", ""),
        ("memberId", "member"), ("entity groupId", ""), ("flexible 4+", "flexible 3+"), ("api 12", "api 13"),
        ("versions 0-4", "versions 0-5"), ("listeners broker", ""),
    ])
    func comparisonSeesDifferences(_ change: (String, String)) throws {
        try Self.withTemporaryFolder { folder in
            for side in ["ours", "kafkas"] {
                try FileManager.default.createDirectory(atPath: "\(folder)/\(side)", withIntermediateDirectories: true)
            }
            try Self.heartbeatRequest.write(toFile: "\(folder)/kafkas/q.json", atomically: true, encoding: .utf8)
            try Self.heartbeatResponse.write(toFile: "\(folder)/kafkas/s.json", atomically: true, encoding: .utf8)
            let schema = try String(contentsOfFile: "\(repository)/Schemas/12_Heartbeat.schema", encoding: .utf8)
            try schema.write(toFile: "\(folder)/ours/h.schema", atomically: true, encoding: .utf8)
            let (same, _) = try Self.run("--compare", "\(folder)/ours", "\(folder)/kafkas")
            #expect(same == 0)
            let changed = schema.replacing(change.0, with: change.1)
            try #require(changed != schema)
            try changed.write(toFile: "\(folder)/ours/h.schema", atomically: true, encoding: .utf8)
            let (status, output) = try Self.run("--compare", "\(folder)/ours", "\(folder)/kafkas")
            #expect(status == 1, "\(output)")
        }
    }

    @Test(arguments: [
        "", "heartbeat 12 Heartbeat versions 0", "data X", "data X versions 2-1", "data X versions 0 flexed 1",
        "data X versions 0\n\n  name", "data X versions 0\n\n  name text", "data X versions 0\n\n   name string",
        "data X versions 0\n\n    name string", "data X versions 0\n\n  name string tagged",
        "data X versions 0\n\n  name Missing", "api 1 X versions 0\n\nrequest\n  name string",
        "data X versions 0-1\n\n  name string tag 0 1+",
    ])
    func malformedSchemasAreRefused(_ schema: String) throws {
        try Self.withTemporaryFolder { folder in
            try schema.write(toFile: "\(folder)/x.schema", atomically: true, encoding: .utf8)
            let (status, output) = try Self.run(folder, "\(folder)/Generated", "\(folder)/Table.swift")
            #expect(status == 1)
            #expect(output.contains("x.schema") || output.contains("X."))
        }
    }

    private static let heartbeatRequest = """
        // A comment.
        { "apiKey": 12, "type": "request", "listeners": ["broker"], "name": "HeartbeatRequest",
          "validVersions": "0-4", "flexibleVersions": "4+", "fields": [
            { "name": "GroupId", "type": "string", "versions": "0+", "entityType": "groupId" }, // Another.
            { "name": "GenerationId", "type": "int32", "versions": "0+" },
            { "name": "MemberId", "type": "string", "versions": "0+" },
            { "name": "GroupInstanceId", "type": "string", "versions": "3+", "nullableVersions": "3+",
              "default": "null" } ] }
        """

    private static let heartbeatResponse = """
        { "apiKey": 12, "type": "response", "name": "HeartbeatResponse", "validVersions": "0-4",
          "flexibleVersions": "4+", "fields": [
            { "name": "ThrottleTimeMs", "type": "int32", "versions": "1+", "ignorable": true },
            { "name": "ErrorCode", "type": "int16", "versions": "0+" } ] }
        """
}

private let kafkaDefinitions: String? = {
    let path = ProcessInfo.processInfo.environment["OTTLA_KAFKA_DEFINITIONS"]
    return path?.isEmpty == false ? path : nil
}()
