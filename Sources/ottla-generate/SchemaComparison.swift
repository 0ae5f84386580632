/// Compares two sets of messages field by field and version by version.
struct SchemaComparison {
    private(set) var differences: [String] = []
    private(set) var messageCount = 0
    private(set) var versionCount = 0

    init(ours: [MessageSchema], kafkas: [MessageSchema]) {
        var left = Dictionary(uniqueKeysWithValues: ours.map { ($0.name, $0) })
        for other in kafkas {
            guard let mine = left.removeValue(forKey: other.name) else {
                self.differences.append("\(other.name): Kafka alone has it")
                continue
            }
            self.compare(mine, other)
        }
        self.differences += left.keys.sorted().map { "\($0): we alone have it" }
    }

    private mutating func compare(_ ours: MessageSchema, _ kafkas: MessageSchema) {
        self.messageCount += 1
        self.compare(Self.head(ours), Self.head(kafkas), in: ours.name)
        guard !ours.versions.isEmpty, ours.versions == kafkas.versions else { return }
        for version in ours.versions.lower...ours.versions.upper {
            self.versionCount += 1
            let name = "\(ours.name) version \(version)"
            self.compare(Self.lines(ours, version: version), Self.lines(kafkas, version: version), in: name)
        }
    }

    private mutating func compare(_ ours: [String], _ kafkas: [String], in name: String) {
        for change in ours.difference(from: kafkas) {
            switch change {
            case .insert(_, let line, _): self.differences.append("\(name): we alone have \(line)")
            case .remove(_, let line, _): self.differences.append("\(name): Kafka alone has \(line)")
            }
        }
    }

    private static func head(_ message: MessageSchema) -> [String] {
        var lines = [
            "kind \(message.kind.rawValue)", "key \(message.key.map(String.init) ?? "none")",
            "versions \(message.versions)", "flexible \(message.flexible)",
        ]
        // Kafka says these on the request only; in our schemas they are the API's.
        if message.kind == .request {
            lines.append("listeners \(message.listeners)")
            if message.isUnstable { lines.append("unstable") }
        }
        return lines
    }

    /// The fields of a message in one version, in the order of the wire, structures unfolded.
    private static func lines(_ message: MessageSchema, version: Int) -> [String] {
        var lines: [String] = []
        func add(_ fields: [Field], path: String) {
            for field in fields where field.versions.contains(version) {
                lines.append(path + self.line(field, version: version))
                guard case .structure(let name) = field.element else { continue }
                let common = message.commonStructs.first { $0.name == name }
                add(field.fields.isEmpty ? common?.fields ?? [] : field.fields, path: "\(path)\(field.name).")
            }
        }
        add(message.fields, path: "")
        // Their own versions matter to nobody but the generator; they are compared all the same.
        lines += message.commonStructs.map { "struct \($0.name) \($0.versions)" }.sorted()
        return lines
    }

    private static func line(_ field: Field, version: Int) -> String {
        let type: String
        switch field.element {
        // Our schemas tell error codes from other numbers; on the wire there is no difference.
        case .scalar(.errorCode): type = "int16"
        case .scalar(let scalar): type = scalar.rawValue
        case .structure(let name): type = name
        }
        var line = "\(field.name) \(field.isArray ? "[\(type)]" : type)"
        if field.nullable.contains(version) { line += "?" }
        if let tag = field.tag, field.tagged.contains(version) { line += " tag \(tag)" }
        if let value = field.defaultValue { line += " = \(value)" }
        if field.isIgnorable { line += " ignorable" }
        if field.isMapKey { line += " mapKey" }
        if let entity = field.entity { line += " entity \(entity)" }
        if field.isZeroCopy { line += " zeroCopy" }
        if field.isNeverFlexible { line += " neverFlexible" }
        return line
    }
}
