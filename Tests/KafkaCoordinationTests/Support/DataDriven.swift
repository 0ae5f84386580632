import Foundation

/// Scenario files: `command arg key=value`, a line `----`, then what came of it. Blocks are separated by empty lines
/// and share state; blocks without `----` are comments.
///
/// `REWRITE=1 swift test --filter Scenario` writes what happened into the files; look at it with `git diff`.
struct DataDriven {
    struct Command {
        var name: String
        var arguments: [String] = []
        var options: [String: String] = [:]

        init(_ line: Substring) {
            let words = line.split(separator: " ").map(String.init)
            self.name = words.first ?? ""
            for word in words.dropFirst() {
                if let equals = word.firstIndex(of: "="), equals != word.startIndex {
                    self.options[String(word[..<equals])] = String(word[word.index(after: equals)...])
                } else {
                    self.arguments.append(word)
                }
            }
        }

        func int(_ key: String) throws -> Int64? {
            guard let text = self.options[key] else { return nil }
            guard let value = Int64(text) else {
                throw Mismatch(description: "\(self.name): \(key)=\(text) is no number")
            }
            return value
        }
    }

    struct Mismatch: Error, CustomStringConvertible { var description: String }

    /// Runs a file. A block may hold several commands, one a line.
    static func run(_ file: URL, _ handle: (Command) throws -> [String]) throws {
        let text = try String(contentsOf: file, encoding: .utf8)
        var output: [String] = []
        var mismatches: [String] = []
        for block in text.trimmingCharacters(in: .newlines).components(separatedBy: "\n\n") {
            guard let bar = block.range(of: "\n----") else {
                output.append(block)
                continue
            }
            let head = block[..<bar.lowerBound]
            var actual: [String] = []
            for line in head.split(separator: "\n") where !line.hasPrefix("#") { actual += try handle(Command(line)) }
            let expected = block[bar.upperBound...].trimmingCharacters(in: .newlines)
            if actual.joined(separator: "\n") != expected {
                mismatches.append(
                    "\(head)\n---- expected\n\(expected)\n---- actual\n\(actual.joined(separator: "\n"))")
            }
            output.append((["\(head)\n----"] + actual).joined(separator: "\n"))
        }
        if ProcessInfo.processInfo.environment["REWRITE"] != nil {
            try (output.joined(separator: "\n\n") + "\n").write(to: file, atomically: true, encoding: .utf8)
        } else if !mismatches.isEmpty {
            throw Mismatch(description: "\(file.lastPathComponent)\n" + mismatches.joined(separator: "\n\n"))
        }
    }

    static func files(under directory: String, file: String = #filePath) -> [URL] {
        let root = URL(fileURLWithPath: file).deletingLastPathComponent().appendingPathComponent(directory)
        let names = (try? FileManager.default.contentsOfDirectory(atPath: root.path)) ?? []
        return names.filter { $0.hasSuffix(".txt") }.sorted().map { root.appendingPathComponent($0) }
    }
}
