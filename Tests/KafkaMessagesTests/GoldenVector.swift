import Foundation
import KafkaMessages
import KafkaPrimitives

/// One line of a vector file: a message, a version, its value as JSON and its bytes.
struct GoldenVector: Sendable {
    var line: Int
    var message: String
    var version: Int16
    var value: JSON
    var bytes: [UInt8]

    enum File: String {
        case messages = "message-vectors.jsonl.gz"
        case records = "record-vectors.jsonl.gz"

        var repositoryPath: String { "\(repository)/Tests/Vectors/\(self.rawValue)" }

        /// The file that the environment names, otherwise that of the repository.
        var path: String {
            let variable = self == .messages ? "OTTLA_MESSAGE_VECTORS" : "OTTLA_RECORD_VECTORS"
            if let path = ProcessInfo.processInfo.environment[variable], !path.isEmpty { return path }
            return self.repositoryPath
        }
    }

    struct Unreadable: Error, CustomStringConvertible {
        var description: String
    }

    static func load(_ file: File) throws -> [GoldenVector] {
        try self.parse(try contents(ofFile: file.path), name: file.path)
    }

    static func parse(_ text: [UInt8], name: String) throws -> [GoldenVector] {
        var vectors: [GoldenVector] = []
        for (index, line) in text.split(separator: 0x0a).enumerated() {
            guard case .object(let fields) = try JSON(parsing: line),
                case .string(let message)? = fields["message"],
                case .number(let number)? = fields["version"], let version = Int16(number),
                let value = fields["value"],
                case .string(let hex)? = fields["hex"], let bytes = unhex(hex)
            else { throw Unreadable(description: "\(name):\(index + 1): not a vector") }
            vectors.append(
                GoldenVector(line: index + 1, message: message, version: version, value: value, bytes: bytes))
        }
        if vectors.isEmpty { throw Unreadable(description: "\(name): no vectors") }
        return vectors
    }

    /// What is wrong with our form of this vector; empty where nothing is.
    func problems() -> [String] {
        guard let type = allMessages[self.message] else { return ["\(self): no such message"] }
        return self.problems(as: type).map { "\(self): \($0)" }
    }

    private func problems<T: KafkaMessage>(as type: T.Type) -> [String] {
        guard type.validVersions.contains(self.version) else { return ["no such version"] }
        let decoded: T
        do {
            decoded = try T(decoding: self.bytes, version: self.version)
        } catch {
            return ["does not decode: \(error)"]
        }
        var problems = differences(decoded, self.value, path: "")
        let encoded = decoded.encoded(version: self.version)
        if encoded != self.bytes { problems.append("encodes to \(hex(encoded)), not \(hex(self.bytes))") }
        return problems
    }
}

extension GoldenVector: CustomStringConvertible {
    var description: String { "line \(self.line), \(self.message) version \(self.version)" }
}

/// The root of the repository.
let repository = #filePath.split(separator: "/").dropLast(3).reduce(into: "") { $0 += "/" + $1 }

/// The contents of a file, unpacked where its name ends in .gz.
func contents(ofFile path: String) throws -> [UInt8] {
    guard path.hasSuffix(".gz") else { return Array(try Data(contentsOf: URL(fileURLWithPath: path))) }
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["gzip", "-dc", path]
    process.standardOutput = output
    try process.run()
    let data = output.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw GoldenVector.Unreadable(description: "\(path): gzip failed") }
    return Array(data)
}

func unhex(_ text: String) -> [UInt8]? {
    let digits = Array(text.utf8)
    guard digits.count % 2 == 0 else { return nil }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
        guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else { return nil }
        bytes.append(high << 4 | low)
    }
    return bytes
}

private func nibble(_ digit: UInt8) -> UInt8? {
    switch digit {
    case 0x30...0x39: digit - 0x30
    case 0x61...0x66: digit - 0x61 + 10
    case 0x41...0x46: digit - 0x41 + 10
    default: nil
    }
}

func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
