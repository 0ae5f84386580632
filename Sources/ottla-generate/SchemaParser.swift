/// Reads a `.schema` file. Its grammar, line by line ("#" begins a comment, nesting is indentation by two):
///
///     api KEY NAME  versions V  [flexible V]  [listeners WORD...]  [unstable]      then blocks request, response
///     KIND [KEY] NAME  versions V  [flexible V]                                    for all other messages
///     struct NAME [V]                                                              a structure used more than once
///     NAME TYPE [V] [nullable V] [tag N [V]] [= DEFAULT] [ignorable] [mapKey] [entity WORD] [zeroCopy] [neverFlexible]
///
/// V is a range of versions, `0+` where it is left out. TYPE is a scalar, a structure or one of these in brackets,
/// with `?` where it may be null (in all of the field's versions, unless `nullable` says in which).
struct SchemaParser {
    private struct Line {
        var number: Int
        var indent: Int
        var words: [String]
        var comment: String?
    }

    private let file: String
    private var lines: [Line] = []
    private var comment: [String] = []
    private var index = 0

    static func parse(_ text: String, file: String) throws(SchemaError) -> [MessageSchema] {
        var parser = try SchemaParser(text, file: file)
        return try parser.parse()
    }

    private init(_ text: String, file: String) throws(SchemaError) {
        self.file = file
        for (offset, raw) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let parts = raw.split(separator: "#", maxSplits: 1, omittingEmptySubsequences: false)
            let comment = parts.count > 1 ? String(parts[1].drop(while: { $0 == " " })) : nil
            let words = parts[0].split(separator: " ").map(String.init)
            if words.isEmpty {
                if self.lines.isEmpty, let comment { self.comment.append(comment) }
                continue
            }
            let indent = parts[0].prefix(while: { $0 == " " }).count
            guard indent % 2 == 0 else {
                throw SchemaError(description: "\(file):\(offset + 1): indent by two")
            }
            self.lines.append(Line(number: offset + 1, indent: indent / 2, words: words, comment: comment))
        }
    }

    private func fail<T>(_ line: Line, _ message: String) throws(SchemaError) -> T {
        throw SchemaError(description: "\(self.file):\(line.number): \(message)")
    }

    // MARK: Headers

    private mutating func parse() throws(SchemaError) -> [MessageSchema] {
        guard let head = self.lines.first else { throw SchemaError(description: "\(self.file): empty") }
        self.index = 1
        var message = try self.parseHead(head)
        guard head.words[0] == "api" else {
            try self.parseBody(of: &message)
            return [message]
        }
        let api = message.name
        if message.versions.isEmpty {
            return [MessageSchema.Kind.request, .response].map { kind in
                message.kind = kind
                message.name = api + (kind == .request ? "Request" : "Response")
                return message
            }
        }
        var messages: [MessageSchema] = []
        while self.index < self.lines.count {
            let line = self.lines[self.index]
            guard line.indent == 0, line.words.count == 1, let kind = MessageSchema.Kind(rawValue: line.words[0]),
                kind == (messages.isEmpty ? .request : .response)
            else { return try self.fail(line, "expected request, then response") }
            self.index += 1
            var copy = message
            copy.kind = kind
            copy.name = api + (kind == .request ? "Request" : "Response")
            try self.parseBody(of: &copy)
            messages.append(copy)
        }
        guard messages.count == 2 else { return try self.fail(head, "request or response is missing") }
        return messages
    }

    private func parseHead(_ line: Line) throws(SchemaError) -> MessageSchema {
        var words = line.words[...]
        let first = words.removeFirst()
        guard let kind = first == "api" ? .request : MessageSchema.Kind(rawValue: first), line.indent == 0 else {
            return try self.fail(line, "unknown kind of message: \(first)")
        }
        let key = words.first.flatMap { Int($0) }
        if key != nil { words.removeFirst() }
        guard let name = words.popFirst() else { return try self.fail(line, "no name") }
        var message = MessageSchema(
            kind: kind, name: name, key: key, versions: .none, flexible: .none, comment: self.comment, file: self.file)
        var hasVersions = false
        while let word = words.popFirst() {
            switch word {
            case "versions", "flexible":
                guard let range = words.popFirst().flatMap({ VersionRange($0) }) else {
                    return try self.fail(line, "\(word) needs a range of versions")
                }
                if word == "versions" {
                    message.versions = range
                    hasVersions = true
                } else {
                    message.flexible = range
                }
            case "listeners":
                while let next = words.first, next != "unstable" {
                    message.listeners.append(next)
                    words.removeFirst()
                }
            case "unstable":
                message.isUnstable = true
            default:
                return try self.fail(line, "unknown word: \(word)")
            }
        }
        guard hasVersions else { return try self.fail(line, "versions are missing") }
        return message
    }

    // MARK: Fields

    private mutating func parseBody(of message: inout MessageSchema) throws(SchemaError) {
        message.fields = try self.parseFields(indent: 1)
        while self.index < self.lines.count, self.lines[self.index].indent == 1 {
            let line = self.lines[self.index]
            guard line.words[0] == "struct", (2...3).contains(line.words.count) else {
                return try self.fail(line, "fields stand before structures")
            }
            var versions = VersionRange.all
            if line.words.count == 3 {
                guard let range = VersionRange(line.words[2]) else {
                    return try self.fail(line, "no range of versions")
                }
                versions = range
            }
            self.index += 1
            let fields = try self.parseFields(indent: 2)
            message.commonStructs.append(StructSchema(name: line.words[1], versions: versions, fields: fields))
        }
        if self.index < self.lines.count, self.lines[self.index].indent > 0 {
            return try self.fail(self.lines[self.index], "indented too far")
        }
    }

    private mutating func parseFields(indent: Int) throws(SchemaError) -> [Field] {
        var fields: [Field] = []
        while self.index < self.lines.count {
            let line = self.lines[self.index]
            if line.indent < indent || (line.words[0] == "struct" && indent == 1) { break }
            guard line.indent == indent else { return try self.fail(line, "indented too far") }
            self.index += 1
            var field = try self.parseField(line)
            if case .structure = field.element { field.fields = try self.parseFields(indent: indent + 1) }
            fields.append(field)
        }
        return fields
    }

    private func parseField(_ line: Line) throws(SchemaError) -> Field {
        guard line.words.count >= 2 else { return try self.fail(line, "a field needs a name and a type") }
        var type = line.words[1][...]
        let isNullable = type.hasSuffix("?")
        if isNullable { type.removeLast() }
        let isArray = type.hasPrefix("[") && type.hasSuffix("]")
        if isArray { type = type.dropFirst().dropLast() }
        guard let initial = type.first else { return try self.fail(line, "no type") }
        let element: ElementType
        if let scalar = Scalar(rawValue: String(type)) {
            element = .scalar(scalar)
        } else if initial.isUppercase {
            element = .structure(String(type))
        } else {
            return try self.fail(line, "unknown type: \(type)")
        }
        var words = line.words.dropFirst(2)
        var versions = VersionRange.all
        if let range = words.first.flatMap({ VersionRange($0) }) {
            versions = range
            words.removeFirst()
        }
        var field = Field(
            name: line.words[0], isArray: isArray, element: element, versions: versions,
            nullable: isNullable ? versions : .none, tagged: .none, comment: line.comment)
        while let word = words.popFirst() {
            switch word {
            case "ignorable": field.isIgnorable = true
            case "mapKey": field.isMapKey = true
            case "zeroCopy": field.isZeroCopy = true
            case "neverFlexible": field.isNeverFlexible = true
            case "entity": field.entity = words.popFirst()
            case "=": field.defaultValue = words.popFirst()
            case "nullable":
                guard isNullable, let range = words.popFirst().flatMap({ VersionRange($0) }) else {
                    return try self.fail(line, "nullable needs a range of versions, and a type with ?")
                }
                field.nullable = range
            case "tag":
                guard let tag = words.popFirst().flatMap({ Int($0) }) else { return try self.fail(line, "no tag") }
                field.tag = tag
                field.tagged = versions
                if let range = words.first.flatMap({ VersionRange($0) }) {
                    field.tagged = range
                    words.removeFirst()
                }
            default:
                return try self.fail(line, "unknown word: \(word)")
            }
        }
        return field
    }
}
