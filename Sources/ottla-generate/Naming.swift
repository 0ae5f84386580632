/// How Kafka's names become Swift's.
enum Naming {
    private static let keywords: Set<String> = [
        "associatedtype", "class", "deinit", "enum", "extension", "func", "import", "init", "inout", "internal", "let",
        "operator", "private", "protocol", "public", "static", "struct", "subscript", "typealias", "var", "break",
        "case", "continue", "default", "defer", "do", "else", "fallthrough", "for", "guard", "if", "in", "repeat",
        "return", "switch", "where", "while", "as", "catch", "false", "is", "nil", "rethrows", "super", "self",
        "throw", "throws", "true", "try",
    ]

    /// Names that a nested type cannot have, or that generated code uses for something else.
    private static let reservedTypes: Set<String> = [
        "Type", "Protocol", "Self", "Any", "Bool", "Int8", "Int16", "Int32", "Int64", "UInt16", "UInt32", "UInt64",
        "Double", "String", "ErrorCode", "KafkaUUID", "RawTaggedField", "ByteReader", "ByteWriter", "Response",
        "TaggedFieldReader", "TaggedFieldWriter", "DecodingError", "ClosedRange",
    ]

    /// `topicId` → `topicID`, `groupIds` → `groupIDs`.
    static func property(_ name: String) -> String {
        let characters = Array(name)
        var result = ""
        var index = 0
        while index < characters.count {
            var length = 0
            if index > 0, characters[index] == "I", index + 1 < characters.count, characters[index + 1] == "d" {
                length = index + 2 < characters.count && characters[index + 2] == "s" ? 3 : 2
                let end = index + length
                if end < characters.count, !characters[end].isUppercase { length = 0 }
            }
            if length > 0 {
                result += length == 3 ? "IDs" : "ID"
                index += length
            } else {
                result.append(characters[index])
                index += 1
            }
        }
        return result
    }

    static func declaration(_ property: String) -> String {
        self.keywords.contains(property) ? "`\(property)`" : property
    }

    /// The Swift names of a message's structures, by Kafka's names. The message's name, with Request or Response or
    /// without, is dropped from the front where something sensible and unambiguous is left.
    static func types(_ names: [String], in message: MessageSchema) -> [String: String] {
        var prefixes = [message.name]
        for suffix in ["Request", "Response"] where message.name.hasSuffix(suffix) {
            prefixes.append(String(message.name.dropLast(suffix.count)))
        }
        var result: [String: String] = [:]
        for name in names {
            result[name] = name
            for prefix in prefixes where name.hasPrefix(prefix) {
                let rest = String(name.dropFirst(prefix.count))
                if let initial = rest.first, initial.isUppercase, !self.reservedTypes.contains(rest) {
                    result[name] = rest
                    break
                }
            }
        }
        var counts: [String: Int] = [:]
        for name in result.values { counts[name, default: 0] += 1 }
        for (name, short) in result where short != name && counts[short] != 1 { result[name] = name }
        return result
    }

    /// Digits in groups, as swift-format wants them: `0x7fff_ffff`, `-2_147_483_648`.
    static func integer(_ text: String) -> String {
        if text.hasPrefix("0x") { return "0x" + self.grouped(text.dropFirst(2), by: 4, from: 5) }
        if text.hasPrefix("-") { return "-" + self.grouped(text.dropFirst(), by: 3, from: 7) }
        return self.grouped(text[...], by: 3, from: 7)
    }

    private static func grouped(_ digits: Substring, by size: Int, from minimum: Int) -> String {
        guard digits.count >= minimum else { return String(digits) }
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index) % size == 0 { result.append("_") }
            result.append(digit)
        }
        return result
    }
}
