import Foundation

/// Reads Kafka's own definitions of its messages: JSON with comments, one file a message.
enum KafkaDefinitions {
    /// - Parameter folder: holds the `.json` files, or folders that hold them.
    static func read(_ folder: String) throws -> [MessageSchema] {
        let names = try FileManager.default.subpathsOfDirectory(atPath: folder).filter { $0.hasSuffix(".json") }
        return try names.sorted().map { name in
            let text = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(name)"))
            guard let object = try JSONSerialization.jsonObject(with: self.withoutComments(text)) as? [String: Any]
            else { throw SchemaError(description: "\(name): not an object") }
            return try self.message(object, file: name)
        }
    }

    private static func withoutComments(_ text: Data) -> Data {
        var result = Data()
        var isInString = false
        var isInComment = false
        var previous: UInt8 = 0
        for byte in text {
            if isInComment {
                isInComment = byte != 0x0a
                if !isInComment { result.append(byte) }
            } else {
                if byte == UInt8(ascii: "\""), previous != UInt8(ascii: "\\") { isInString.toggle() }
                if byte == UInt8(ascii: "/"), previous == byte, !isInString {
                    result.removeLast()
                    isInComment = true
                } else {
                    result.append(byte)
                }
            }
            previous = byte
        }
        return result
    }

    private static func message(_ object: [String: Any], file: String) throws -> MessageSchema {
        guard let name = object["name"] as? String, let type = object["type"] as? String,
            let kind = MessageSchema.Kind(rawValue: type), let versions = self.range(object["validVersions"])
        else { throw SchemaError(description: "\(file): name, type or validVersions is missing") }
        var message = MessageSchema(
            kind: kind, name: name, key: (object["apiKey"] as? NSNumber)?.intValue, versions: versions,
            flexible: self.range(object["flexibleVersions"]) ?? .none, file: file)
        message.listeners = object["listeners"] as? [String] ?? []
        message.isUnstable = (object["latestVersionUnstable"] as? NSNumber)?.boolValue ?? false
        message.fields = try self.fields(object["fields"], file: file)
        for common in object["commonStructs"] as? [[String: Any]] ?? [] {
            guard let name = common["name"] as? String, let versions = self.range(common["versions"]) else {
                throw SchemaError(description: "\(file): name or versions of a common structure is missing")
            }
            let fields = try self.fields(common["fields"], file: file)
            message.commonStructs.append(StructSchema(name: name, versions: versions, fields: fields))
        }
        return message
    }

    private static func fields(_ value: Any?, file: String) throws -> [Field] {
        try (value as? [[String: Any]] ?? []).map { try self.field($0, file: file) }
    }

    private static func field(_ object: [String: Any], file: String) throws -> Field {
        guard let name = object["name"] as? String, let type = object["type"] as? String,
            let versions = self.range(object["versions"] ?? object["taggedVersions"])
        else { throw SchemaError(description: "\(file): name, type or versions of a field is missing") }
        let isArray = type.hasPrefix("[]")
        let elementName = isArray ? String(type.dropFirst(2)) : type
        let element = Scalar(rawValue: elementName).map(ElementType.scalar) ?? .structure(elementName)
        var field = Field(
            name: name.prefix(1).lowercased() + name.dropFirst(), isArray: isArray, element: element,
            versions: versions, nullable: self.range(object["nullableVersions"]) ?? .none,
            tag: (object["tag"] as? NSNumber)?.intValue, tagged: self.range(object["taggedVersions"]) ?? .none)
        if let text = object["default"] as? String {
            field.defaultValue = text.isEmpty && element == .scalar(.string) ? "\"\"" : text
        } else if let number = object["default"] as? NSNumber {
            // A null here is as if nothing stood there; only the text "null" means null.
            field.defaultValue = element == .scalar(.bool) ? "\(number.boolValue)" : "\(number)"
        }
        field.isIgnorable = self.flag(object["ignorable"])
        field.isMapKey = self.flag(object["mapKey"])
        field.isZeroCopy = self.flag(object["zeroCopy"])
        field.isNeverFlexible = object["flexibleVersions"] as? String == "none"
        field.entity = object["entityType"] as? String
        field.fields = try self.fields(object["fields"], file: file)
        return field
    }

    private static func range(_ value: Any?) -> VersionRange? {
        (value as? String).flatMap { VersionRange($0) }
    }

    private static func flag(_ value: Any?) -> Bool {
        (value as? NSNumber)?.boolValue ?? (value as? String == "true")
    }
}
