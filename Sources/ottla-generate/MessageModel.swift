/// A message made ready for printing: structures gathered, names settled, versions narrowed to what can occur.
struct MessageModel {
    struct Structure {
        var kafkaName: String
        var swiftName: String
        /// The versions of the message in which the structure occurs.
        var versions: VersionRange
        var fields: [Field]
    }

    let schema: MessageSchema
    /// The message itself, then its nested structures in the order of first use.
    private(set) var structures: [Structure] = []
    private var swiftNames: [String: String] = [:]

    /// The APIs whose arrays are worth specialised code.
    private static let hotAPIs: Set<Int> = [0, 1, 2, 3, 8, 9]
    var isHot: Bool {
        guard let key = self.schema.key, self.isRequestOrResponse else { return false }
        return Self.hotAPIs.contains(key)
    }

    var isRequestOrResponse: Bool { self.schema.kind == .request || self.schema.kind == .response }

    init(_ schema: MessageSchema) throws(SchemaError) {
        self.schema = schema
        self.structures = [
            Structure(
                kafkaName: schema.name, swiftName: schema.name, versions: schema.versions,
                fields: schema.fields.filter { !$0.versions.intersection(schema.versions).isEmpty })
        ]
        try self.gather(schema.fields, within: schema.versions)
        self.swiftNames = Naming.types(self.structures.dropFirst().map(\.kafkaName), in: schema)
        for index in self.structures.indices.dropFirst() {
            self.structures[index].swiftName = self.swiftNames[self.structures[index].kafkaName] ?? ""
        }
        for field in self.structures.flatMap(\.fields) where field.tag != nil {
            guard field.tagged == field.versions else {
                throw SchemaError(description: "\(schema.name).\(field.name): tagged in some of its versions only")
            }
        }
    }

    private mutating func gather(_ fields: [Field], within versions: VersionRange) throws(SchemaError) {
        for field in fields {
            guard case .structure(let name) = field.element else { continue }
            let here = field.versions.intersection(versions)
            if here.isEmpty { continue }
            if self.structures.contains(where: { $0.kafkaName == name }) { continue }
            var contents = field.fields
            var range = here
            if contents.isEmpty {
                guard let common = self.schema.commonStructs.first(where: { $0.name == name }) else {
                    throw SchemaError(description: "\(self.schema.file): there is no structure \(name)")
                }
                contents = common.fields
                range = common.versions.intersection(self.schema.versions)
            }
            self.structures.append(
                Structure(
                    kafkaName: name, swiftName: name, versions: range,
                    fields: contents.filter { !$0.versions.intersection(range).isEmpty }))
            try self.gather(contents, within: range)
        }
    }

    func swiftName(ofStructure name: String) -> String {
        self.swiftNames[name] ?? name
    }

    func isFlexibleSomewhere(_ structure: Structure) -> Bool {
        !self.schema.flexible.intersection(structure.versions).isEmpty
    }

    // MARK: Conditions

    /// Swift's condition that `version`, known to be within `outer`, is in `range`; nil where it always is.
    static func condition(_ range: VersionRange, within outer: VersionRange) -> String? {
        if range.contains(outer) { return nil }
        let inner = range.intersection(outer)
        if inner.isEmpty { return "false" }
        if inner.lower == inner.upper { return "version == \(inner.lower)" }
        if inner.lower <= outer.lower { return "version <= \(inner.upper)" }
        if inner.upper >= outer.upper { return "version >= \(inner.lower)" }
        return "version >= \(inner.lower) && version <= \(inner.upper)"
    }

    /// The argument `flexible` for a field: "true", "false" or "flexible".
    func flexible(_ field: Field, in structure: Structure) -> String {
        if field.isNeverFlexible { return "false" }
        if field.tag != nil { return "true" }
        switch Self.condition(self.schema.flexible, within: field.versions.intersection(structure.versions)) {
        case nil: return "true"
        case "false"?: return "false"
        default: return "flexible"
        }
    }

    // MARK: Sizes

    /// The least that an element takes on the wire, in any version.
    func minimumSize(of element: ElementType, in versions: VersionRange, flexible: Bool) -> Int {
        switch element {
        case .scalar(let scalar): return Self.minimumSize(of: scalar, flexible: flexible)
        case .structure(let name):
            guard let structure = self.structures.first(where: { $0.kafkaName == name }) else { return 1 }
            let range = structure.versions.intersection(versions)
            if range.isEmpty { return 1 }
            return max(1, (range.lower...range.upper).map { self.minimumSize(of: structure, version: $0) }.min() ?? 1)
        }
    }

    private func minimumSize(of structure: Structure, version: Int) -> Int {
        let flexible = self.schema.flexible.contains(version)
        var size = flexible ? 1 : 0
        for field in structure.fields where field.versions.contains(version) && field.tag == nil {
            let compact = flexible && !field.isNeverFlexible
            if field.isArray {
                size += compact ? 1 : 4
            } else if case .structure(let name) = field.element {
                let inner = self.structures.first { $0.kafkaName == name }
                let only = VersionRange(lower: version, upper: version)
                size +=
                    field.nullable.contains(version) || inner == nil
                    ? 1 : self.minimumSize(of: field.element, in: only, flexible: compact)
            } else if case .scalar(let scalar) = field.element {
                size += Self.minimumSize(of: scalar, flexible: compact)
            }
        }
        return size
    }

    private static func minimumSize(of scalar: Scalar, flexible: Bool) -> Int {
        switch scalar {
        case .bool, .int8: 1
        case .int16, .uint16, .errorCode: 2
        case .int32, .uint32: 4
        case .int64, .float64: 8
        case .uuid: 16
        case .string: flexible ? 1 : 2
        case .bytes, .records: flexible ? 1 : 4
        }
    }
}
