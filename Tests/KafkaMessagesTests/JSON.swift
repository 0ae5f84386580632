/// A JSON value whose numbers are kept as text, so that no int64 passes through a double.
enum JSON: Equatable {
    case null
    case bool(Bool)
    case number(String)
    case string(String)
    case array([JSON])
    case object([String: JSON])

    struct Malformed: Error, CustomStringConvertible {
        var position: Int
        var description: String { "malformed JSON at byte \(self.position)" }
    }

    init(parsing text: some Sequence<UInt8>) throws {
        var parser = JSONParser(bytes: Array(text))
        self = try parser.parse()
    }
}

private struct JSONParser {
    let bytes: [UInt8]
    var position = 0

    init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    mutating func parse() throws -> JSON {
        let value = try self.value()
        self.skipSpace()
        guard self.position == self.bytes.count else { throw self.malformed }
        return value
    }

    private var malformed: JSON.Malformed { JSON.Malformed(position: self.position) }

    private var next: UInt8? { self.position < self.bytes.count ? self.bytes[self.position] : nil }

    private mutating func skipSpace() {
        while let byte = self.next, [0x20, 0x0a, 0x0d, 0x09].contains(byte) { self.position += 1 }
    }

    private mutating func take(_ character: Character) -> Bool {
        self.skipSpace()
        guard self.next == character.asciiValue else { return false }
        self.position += 1
        return true
    }

    private mutating func value() throws -> JSON {
        self.skipSpace()
        switch self.next {
        case UInt8(ascii: "{"): return try self.object()
        case UInt8(ascii: "["): return try self.array()
        case UInt8(ascii: "\""): return .string(try self.string())
        case UInt8(ascii: "t"): return try self.word("true", .bool(true))
        case UInt8(ascii: "f"): return try self.word("false", .bool(false))
        case UInt8(ascii: "n"): return try self.word("null", .null)
        default: return try self.number()
        }
    }

    private mutating func word(_ text: String, _ value: JSON) throws -> JSON {
        guard self.bytes[self.position...].starts(with: text.utf8) else { throw self.malformed }
        self.position += text.utf8.count
        return value
    }

    private mutating func number() throws -> JSON {
        let start = self.position
        while let byte = self.next, "+-.0123456789eE".utf8.contains(byte) { self.position += 1 }
        let text = String(decoding: self.bytes[start..<self.position], as: UTF8.self)
        guard Double(text) != nil else { throw self.malformed }
        return .number(text)
    }

    private mutating func array() throws -> JSON {
        self.position += 1
        var values: [JSON] = []
        if self.take("]") { return .array(values) }
        repeat { values.append(try self.value()) } while self.take(",")
        guard self.take("]") else { throw self.malformed }
        return .array(values)
    }

    private mutating func object() throws -> JSON {
        self.position += 1
        var values: [String: JSON] = [:]
        if self.take("}") { return .object(values) }
        repeat {
            self.skipSpace()
            let key = try self.string()
            guard self.take(":"), values[key] == nil else { throw self.malformed }
            values[key] = try self.value()
        } while self.take(",")
        guard self.take("}") else { throw self.malformed }
        return .object(values)
    }

    private mutating func string() throws -> String {
        guard self.next == UInt8(ascii: "\"") else { throw self.malformed }
        self.position += 1
        var text: [UInt8] = []
        while let byte = self.next, byte != UInt8(ascii: "\"") {
            self.position += 1
            if byte == UInt8(ascii: "\\") {
                text += try self.escape()
            } else {
                text.append(byte)
            }
        }
        guard self.next != nil, let string = String(validating: text, as: UTF8.self) else { throw self.malformed }
        self.position += 1
        return string
    }

    private mutating func escape() throws -> [UInt8] {
        guard let byte = self.next else { throw self.malformed }
        self.position += 1
        switch byte {
        case UInt8(ascii: "n"): return [0x0a]
        case UInt8(ascii: "r"): return [0x0d]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0c]
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "u"):
            var units = [try self.hexUnit()]
            if 0xd800..<0xdc00 ~= units[0] {
                guard self.next == UInt8(ascii: "\\") else { throw self.malformed }
                self.position += 1
                guard self.next == UInt8(ascii: "u") else { throw self.malformed }
                self.position += 1
                units.append(try self.hexUnit())
            }
            guard let string = String(validating: units, as: UTF16.self) else { throw self.malformed }
            return Array(string.utf8)
        default: throw self.malformed
        }
    }

    private mutating func hexUnit() throws -> UInt16 {
        guard self.position + 4 <= self.bytes.count else { throw self.malformed }
        let digits = String(decoding: self.bytes[self.position..<self.position + 4], as: UTF8.self)
        guard let unit = UInt16(digits, radix: 16) else { throw self.malformed }
        self.position += 4
        return unit
    }
}
