import Foundation

/// Writes the Swift form of the schemas:
///
///     ottla-generate SCHEMAS MESSAGES TABLE     one file a message and MessageIndex.swift to the folder MESSAGES,
///                                               the test's table to the file TABLE
///     ottla-generate --compare SCHEMAS KAFKA    compares with Kafka's own definitions, in the folder KAFKA

func readSchemas(_ folder: String) throws -> [MessageSchema] {
    let names = try FileManager.default.subpathsOfDirectory(atPath: folder).filter { $0.hasSuffix(".schema") }
    return try names.sorted().flatMap { name in
        try SchemaParser.parse(try String(contentsOfFile: "\(folder)/\(name)", encoding: .utf8), file: name)
    }
}

/// Writes only what differs, so that a build afterwards compiles only that.
func write(_ text: String, to path: String) throws {
    if let old = try? String(contentsOfFile: path, encoding: .utf8), old == text { return }
    try text.write(toFile: path, atomically: true, encoding: .utf8)
}

func generate(schemas folder: String, messages output: String, table: String) throws {
    let schemas = try readSchemas(folder)
    try FileManager.default.createDirectory(atPath: output, withIntermediateDirectories: true)
    var stale = Set(try FileManager.default.contentsOfDirectory(atPath: output).filter { $0.hasSuffix(".swift") })
    for schema in schemas where !schema.versions.isEmpty {
        let file = "\(schema.name).swift"
        try write(SwiftPrinter.print(try MessageModel(schema)), to: "\(output)/\(file)")
        stale.remove(file)
    }
    try write(IndexPrinter.messageIndex(schemas), to: "\(output)/MessageIndex+APIs.swift")
    stale.remove("MessageIndex+APIs.swift")
    for file in stale { try FileManager.default.removeItem(atPath: "\(output)/\(file)") }
    try write(IndexPrinter.messageTable(schemas), to: table)
}

/// Prints the differences; true where there are none.
func compare(schemas folder: String, definitions: String) throws -> Bool {
    let comparison = SchemaComparison(
        ours: try readSchemas(folder), kafkas: try KafkaDefinitions.read(definitions))
    for difference in comparison.differences { print(difference) }
    print("compared \(comparison.messageCount) messages in \(comparison.versionCount) versions")
    return comparison.differences.isEmpty && comparison.messageCount > 0
}

let arguments = Array(CommandLine.arguments.dropFirst())
do {
    if arguments.count == 3, arguments[0] == "--compare" {
        exit(try compare(schemas: arguments[1], definitions: arguments[2]) ? 0 : 1)
    } else if arguments.count == 3, !arguments[0].hasPrefix("-") {
        try generate(schemas: arguments[0], messages: arguments[1], table: arguments[2])
    } else {
        print("usage: ottla-generate SCHEMAS MESSAGES TABLE")
        print("       ottla-generate --compare SCHEMAS KAFKA")
        exit(2)
    }
} catch {
    FileHandle.standardError.write(Data("ottla-generate: \(error)\n".utf8))
    exit(1)
}
