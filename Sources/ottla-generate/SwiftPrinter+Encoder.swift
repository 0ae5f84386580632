extension SwiftPrinter {
    mutating func printEncoder(of structure: MessageModel.Structure) {
        self.block("package func encode(into writer: inout ByteWriter, version: Int16)") {
            $0.printFlexible(structure)
            $0.printByVersions(structure) { $0.printWriteStatements($1, range: $2, in: structure) }
            $0.printTaggedWrites(structure)
        }
    }

    private mutating func printWriteStatements(
        _ field: Field, range: VersionRange, in structure: MessageModel.Structure
    ) {
        switch MessageModel.condition(field.nullable, within: range) {
        case nil:
            for line in self.write(field, nullable: true, in: structure) { self.line(line) }
        case "false"?:
            for line in self.write(field, nullable: false, in: structure) { self.line(line) }
        case let condition?:
            self.block("if \(condition)") {
                for line in $0.write(field, nullable: true, in: structure) { $0.line(line) }
            }
            self.joinElse {
                for line in $0.write(field, nullable: false, in: structure) { $0.line(line) }
            }
        }
    }

    private func write(_ field: Field, nullable: Bool, in structure: MessageModel.Structure) -> [String] {
        let flexible = self.model.flexible(field, in: structure)
        var value = "self." + Naming.property(field.name)
        if !nullable, self.isOptional(field) { value = "(\(value) ?? \(self.emptyValue(field)))" }
        if case .structure = field.element {
            guard field.isArray else {
                if !nullable { return ["\(value).encode(into: &writer, version: version)"] }
                return [
                    "writer.write\(field.tag == nil ? "" : "Tagged")Presence(\(value) != nil)",
                    "\(value)?.encode(into: &writer, version: version)",
                ]
            }
            let name = self.functionName(field)
            return ["writer.write\(name)(\(value), flexible: \(flexible), version: version)"]
        }
        // Of arrays there is only the form for values that may be null.
        let function = (nullable || field.isArray ? "Nullable" : "") + self.functionName(field)
        if value.hasPrefix("("), value.hasSuffix(")") { value = String(value.dropFirst().dropLast()) }
        return [
            self.hasLength(field)
                ? "writer.write\(function)(\(value), flexible: \(flexible))" : "writer.write\(function)(\(value))"
        ]
    }

    // MARK: Tagged fields

    private mutating func printTaggedWrites(_ structure: MessageModel.Structure) {
        guard self.model.isFlexibleSomewhere(structure) else { return }
        if self.usesFlexible(structure) {
            self.block("if flexible") { $0.printTaggedWriteStatements(structure) }
        } else {
            self.printTaggedWriteStatements(structure)
        }
    }

    private mutating func printTaggedWriteStatements(_ structure: MessageModel.Structure) {
        let tagged = structure.fields.filter { $0.tag != nil }.sorted { ($0.tag ?? 0) < ($1.tag ?? 0) }
        if tagged.isEmpty {
            self.line("writer.writeUnknownTaggedFields(self.unknownTaggedFields)")
            return
        }
        let flexibleRange = self.model.schema.flexible.intersection(structure.versions)
        self.line("var present: UInt64 = 0")
        for field in tagged {
            let condition = MessageModel.condition(field.versions, within: flexibleRange)
            let conditions = [condition, self.differsFromDefault(field)].compactMap { $0 }.joined(separator: ", ")
            self.line("if \(conditions) { present |= 1 << \(field.tag ?? 0) }")
        }
        let arguments = "present: present, unknown: self.unknownTaggedFields, into: &writer"
        self.line("var tagged = TaggedFieldWriter(\(arguments))")
        for field in tagged {
            let tag = field.tag ?? 0
            self.block("if present & (1 << \(tag)) != 0") {
                $0.block("tagged.write(\(tag), into: &writer)", parameters: "writer in") {
                    let nullable = !field.nullable.intersection(structure.versions).isEmpty
                    for line in $0.write(field, nullable: nullable, in: structure) { $0.line(line) }
                }
            }
        }
        self.line("tagged.finish(into: &writer)")
    }

    private func differsFromDefault(_ field: Field) -> String {
        let value = "self." + Naming.property(field.name)
        let initial = self.defaultValue(field)
        if !self.isOptional(field), initial == "[]" || initial == "\"\"" { return "!\(value).isEmpty" }
        if initial == "false" { return value }
        if initial == "true" { return "!\(value)" }
        return "\(value) != \(initial)"
    }
}
