/// The value of a metadata key: named fields, one a line (`leader=1`), so that they can be read in any tool,
/// and a later version can add fields that an earlier one ignores.
/// `\` begins an escape: `\n`, `\r`, `\\`, and `\=` in a name.
package struct MetadataRecord: Equatable, Sendable {
    package var fields: [(name: String, value: String)]

    package init(_ fields: [(name: String, value: String)] = []) { self.fields = fields }

    package init(_ bytes: [UInt8]) {
        self.fields = []
        var name: [UInt8]?
        var current: [UInt8] = []
        var escaped = false
        for byte in bytes + [UInt8(ascii: "\n")] {
            if escaped {
                escaped = false
                switch byte {
                case UInt8(ascii: "n"): current.append(UInt8(ascii: "\n"))
                case UInt8(ascii: "r"): current.append(UInt8(ascii: "\r"))
                default: current.append(byte)
                }
            } else if byte == UInt8(ascii: "\\") {
                escaped = true
            } else if byte == UInt8(ascii: "="), name == nil {
                name = current
                current = []
            } else if byte == UInt8(ascii: "\n") {
                if let name {
                    self.fields.append(
                        (String(decoding: name, as: UTF8.self), String(decoding: current, as: UTF8.self)))
                }
                name = nil
                current = []
            } else {
                current.append(byte)
            }
        }
    }

    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        for field in self.fields {
            Self.append(field.name, isName: true, to: &bytes)
            bytes.append(UInt8(ascii: "="))
            Self.append(field.value, isName: false, to: &bytes)
            bytes.append(UInt8(ascii: "\n"))
        }
        return bytes
    }

    private static func append(_ text: String, isName: Bool, to bytes: inout [UInt8]) {
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\n"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "n")]
            case UInt8(ascii: "\r"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "r")]
            case UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), UInt8(ascii: "\\")]
            case UInt8(ascii: "=") where isName: bytes += [UInt8(ascii: "\\"), UInt8(ascii: "=")]
            default: bytes.append(byte)
            }
        }
    }

    package subscript(name: String) -> String? {
        self.fields.first { $0.name == name }?.value
    }

    package static func == (left: MetadataRecord, right: MetadataRecord) -> Bool {
        left.fields.elementsEqual(right.fields) { $0 == $1 }
    }

    func int32s(_ name: String) -> [Int32] {
        guard let text = self[name] else { return [] }
        return text.split(separator: ",").compactMap { Int32($0) }
    }
}

func joined(_ numbers: [Int32]) -> String { numbers.map { String($0) }.joined(separator: ",") }
