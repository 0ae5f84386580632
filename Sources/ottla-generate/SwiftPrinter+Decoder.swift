extension SwiftPrinter {
    mutating func printDecoder(of structure: MessageModel.Structure, isMessage: Bool) {
        self.block("package init(from reader: inout ByteReader, version: Int16) throws(DecodingError)") {
            if isMessage {
                $0.line("guard Self.validVersions.contains(version) else { throw .unsupportedVersion(version) }")
            }
            $0.printFlexible(structure)
            $0.printByVersions(structure) { $0.printReadStatements($1, range: $2, in: structure) }
            $0.printTaggedReads(structure)
        }
    }

    mutating func printFlexible(_ structure: MessageModel.Structure) {
        if self.usesFlexible(structure),
            let condition = MessageModel.condition(self.model.schema.flexible, within: structure.versions)
        {
            self.line("let flexible = \(condition)")
        }
    }

    private mutating func printReadStatements(_ field: Field, range: VersionRange, in structure: MessageModel.Structure)
    {
        let target = "self." + Naming.property(field.name)
        switch MessageModel.condition(field.nullable, within: range) {
        case nil: self.line("\(target) = \(self.read(field, nullable: true, in: structure))")
        case "false"?: self.line("\(target) = \(self.read(field, nullable: false, in: structure))")
        case let condition?:
            self.block("if \(condition)") { $0.line("\(target) = \($0.read(field, nullable: true, in: structure))") }
            // Joined to the brace before.
            self.joinElse { $0.line("\(target) = \($0.read(field, nullable: false, in: structure))") }
        }
    }

    private func read(_ field: Field, nullable: Bool, in structure: MessageModel.Structure) -> String {
        let flexible = self.model.flexible(field, in: structure)
        let prefix = "try reader.read" + (nullable ? "Nullable" : "") + self.functionName(field)
        if case .structure = field.element {
            let name = self.elementName(field.element)
            guard field.isArray else {
                let decode = "try \(name)(from: &reader, version: version)"
                let presence = field.tag == nil ? "readPresence" : "readTaggedPresence"
                return nullable ? "try reader.\(presence)() ? \(decode) : nil" : decode
            }
            let size = self.model.minimumSize(
                of: field.element, in: field.versions.intersection(structure.versions), flexible: flexible != "false")
            return "\(prefix)(flexible: \(flexible), version: version, minimumSize: \(size))"
        }
        return self.hasLength(field) ? "\(prefix)(flexible: \(flexible))" : "\(prefix)()"
    }

    private mutating func printTaggedReads(_ structure: MessageModel.Structure) {
        guard self.model.isFlexibleSomewhere(structure) else { return }
        if self.usesFlexible(structure) {
            self.block("if flexible") { $0.printTaggedReadStatements(structure) }
        } else {
            self.printTaggedReadStatements(structure)
        }
    }

    private mutating func printTaggedReadStatements(_ structure: MessageModel.Structure) {
        let tagged = structure.fields.filter { $0.tag != nil }.sorted { ($0.tag ?? 0) < ($1.tag ?? 0) }
        if tagged.isEmpty {
            self.line("self.unknownTaggedFields = try reader.readUnknownTaggedFields()")
            return
        }
        let flexibleRange = self.model.schema.flexible.intersection(structure.versions)
        self.line("var tags = try TaggedFieldReader(&reader)")
        self.block("while let tag = try tags.next(&reader)") {
            $0.line("switch tag {")
            for field in tagged {
                let condition = MessageModel.condition(field.versions, within: flexibleRange)
                $0.line("case \(field.tag ?? 0)\(condition.map { " where \($0)" } ?? ""):")
                $0.indentedLine("self.\(Naming.property(field.name)) = \($0.taggedRead(field, in: structure))")
            }
            $0.line("default:")
            $0.indentedLine("try tags.keep(&reader, in: &self.unknownTaggedFields)")
            $0.line("}")
        }
    }

    private func taggedRead(_ field: Field, in structure: MessageModel.Structure) -> String {
        let nullable = !field.nullable.intersection(structure.versions).isEmpty
        return self.read(field, nullable: nullable, in: structure)
    }
}
