/// A value that a tool prints, as text or as JSON.
package indirect enum InspectedValue: Sendable, Equatable {
    case null
    case bool(Bool)
    case number(Int64)
    case text(String)
    /// Printed as text where they are UTF-8, else in hex.
    case bytes([UInt8])
    case list([InspectedValue])
    case object([Field])

    package struct Field: Sendable, Equatable {
        package var name: String
        package var value: InspectedValue

        package init(_ name: String, _ value: InspectedValue) {
            self.name = name
            self.value = value
        }
    }

    package static func int(_ value: some BinaryInteger) -> InspectedValue { .number(Int64(clamping: value)) }

    package var json: String {
        var text = ""
        self.write(to: &text)
        return text
    }

    private func write(to text: inout String) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .number(let value): text += String(value)
        case .text(let value): Self.quote(value, to: &text)
        case .bytes(let bytes):
            if let string = String(validating: bytes, as: UTF8.self) {
                Self.quote(string, to: &text)
            } else {
                text += "{\"hex\":\"\(Self.hex(bytes))\"}"
            }
        case .list(let values):
            text += "["
            for (index, value) in values.enumerated() {
                if index > 0 { text += "," }
                value.write(to: &text)
            }
            text += "]"
        case .object(let fields):
            text += "{"
            for (index, field) in fields.enumerated() {
                if index > 0 { text += "," }
                Self.quote(field.name, to: &text)
                text += ":"
                field.value.write(to: &text)
            }
            text += "}"
        }
    }

    /// On one line and without quotes where that is clear.
    package var plain: String {
        switch self {
        case .text(let value): Self.escaped(value)
        case .bytes(let bytes): String(validating: bytes, as: UTF8.self).map(Self.escaped) ?? "0x" + Self.hex(bytes)
        default: self.json
        }
    }

    private static func hex(_ bytes: [UInt8]) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var text: [UInt8] = []
        text.reserveCapacity(2 * bytes.count)
        for byte in bytes { text += [digits[Int(byte >> 4)], digits[Int(byte & 15)]] }
        return String(decoding: text, as: UTF8.self)
    }

    private static func quote(_ value: String, to text: inout String) {
        text += "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            default:
                if scalar.value < 32 || scalar.value == 127 {
                    text += "\\u00" + Self.hex([UInt8(scalar.value)])
                } else {
                    text.unicodeScalars.append(scalar)
                }
            }
        }
        text += "\""
    }

    /// Without what would move a terminal's cursor.
    private static func escaped(_ value: String) -> String {
        guard value.unicodeScalars.contains(where: { $0.value < 32 || $0.value == 127 }) else { return value }
        var quoted = ""
        Self.quote(value, to: &quoted)
        return quoted
    }
}

/// One line of a tool's output.
package struct InspectedLine: Sendable, Equatable {
    /// What the line is about: `batch`, `record`, `entry`, `damage`, ...
    package var kind: String
    package var fields: [InspectedValue.Field]

    package init(_ kind: String, _ fields: [InspectedValue.Field]) {
        self.kind = kind
        self.fields = fields
    }

    package var json: String { InspectedValue.object([.init("type", .text(self.kind))] + self.fields).json }

    /// As kafka-dump-log prints it: `name: value` one after the other; a record behind a bar.
    package var text: String {
        let prefix =
            switch self.kind {
            case "record": "| "
            case "damage", "note": self.kind + ": "
            default: ""
            }
        return prefix + self.fields.map { "\($0.name): \($0.value.plain)" }.joined(separator: " ")
    }
}

extension InspectedLine {
    subscript(name: String) -> InspectedValue? { self.fields.first { $0.name == name }?.value }
}
