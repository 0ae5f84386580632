/// Java's properties format: `key=value`, `key: value` or `key value`, `#` and `!` comments,
/// escapes, and lines that go on after a `\` at their end. UTF-8.
package enum PropertiesParser {
    package struct Entry: Equatable, Sendable {
        package var key: String
        package var value: String
        /// Of its first character, from 1 on.
        package var line: Int
    }

    /// In the order of the text; a key may come several times, and the last one counts.
    package static func parse(_ bytes: [UInt8]) -> [Entry] {
        var entries: [Entry] = []
        for (line, content) in self.logicalLines(bytes) {
            var key: [UInt8] = []
            var index = 0
            while index < content.count {
                let byte = content[index]
                if byte == UInt8(ascii: "=") || byte == UInt8(ascii: ":") || self.isBlank(byte) { break }
                self.unescape(content, &index, into: &key)
            }
            while index < content.count, self.isBlank(content[index]) { index += 1 }
            if index < content.count, content[index] == UInt8(ascii: "=") || content[index] == UInt8(ascii: ":") {
                index += 1
                while index < content.count, self.isBlank(content[index]) { index += 1 }
            }
            var value: [UInt8] = []
            while index < content.count { self.unescape(content, &index, into: &value) }
            entries.append(
                Entry(
                    key: String(decoding: key, as: UTF8.self), value: String(decoding: value, as: UTF8.self), line: line
                ))
        }
        return entries
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == 0x0c
    }

    private static func logicalLines(_ bytes: [UInt8]) -> [(Int, [UInt8])] {
        var lines: [(Int, [UInt8])] = []
        var current: [UInt8]?
        var start = 0
        for (number, natural) in self.naturalLines(bytes).enumerated() {
            let content = natural.drop { self.isBlank($0) }
            if current == nil {
                if content.isEmpty || content.first == UInt8(ascii: "#") || content.first == UInt8(ascii: "!") {
                    continue
                }
                start = number + 1
            }
            let backslashes = content.reversed().prefix { $0 == UInt8(ascii: "\\") }.count
            let goesOn = backslashes % 2 == 1
            current = (current ?? []) + (goesOn ? content.dropLast() : content)
            if !goesOn, let line = current {
                lines.append((start, line))
                current = nil
            }
        }
        if let current { lines.append((start, current)) }
        return lines
    }

    private static func naturalLines(_ bytes: [UInt8]) -> [ArraySlice<UInt8>] {
        var lines: [ArraySlice<UInt8>] = []
        var start = 0
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if byte == UInt8(ascii: "\n") || byte == UInt8(ascii: "\r") {
                lines.append(bytes[start..<(index - 1)])
                if byte == UInt8(ascii: "\r"), index < bytes.count, bytes[index] == UInt8(ascii: "\n") { index += 1 }
                start = index
            }
        }
        lines.append(bytes[start...])
        return lines
    }

    private static func unescape(_ content: [UInt8], _ index: inout Int, into text: inout [UInt8]) {
        let byte = content[index]
        index += 1
        guard byte == UInt8(ascii: "\\"), index < content.count else { return text.append(byte) }
        let escaped = content[index]
        index += 1
        switch escaped {
        case UInt8(ascii: "t"): text.append(UInt8(ascii: "\t"))
        case UInt8(ascii: "n"): text.append(UInt8(ascii: "\n"))
        case UInt8(ascii: "r"): text.append(UInt8(ascii: "\r"))
        case UInt8(ascii: "f"): text.append(0x0c)
        case UInt8(ascii: "u"):
            var unit: UInt32 = 0
            var digits = 0
            while digits < 4, index < content.count, let digit = Character(UnicodeScalar(content[index])).hexDigitValue
            {
                unit = unit << 4 | UInt32(digit)
                digits += 1
                index += 1
            }
            text += Array(String(UnicodeScalar(unit).map { Character($0) } ?? "\u{fffd}").utf8)
        default: text.append(escaped)
        }
    }
}
