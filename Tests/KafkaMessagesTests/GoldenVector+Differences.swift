import Foundation
import KafkaMessages
import KafkaPrimitives

/// The differences between a decoded structure and the JSON that Kafka's own code writes for it. A field that the
/// JSON does not have must be at its default.
func differences(_ value: any KafkaStruct, _ json: JSON, path: String) -> [String] {
    guard case .object(var fields) = json else { return ["\(path): \(json) for a structure"] }
    var problems: [String] = []
    let defaults = Dictionary(
        uniqueKeysWithValues: Mirror(reflecting: type(of: value).init()).children.map { ($0.label ?? "", $0.value) })
    let names = Dictionary(uniqueKeysWithValues: fields.keys.map { (propertyName($0), $0) })
    for child in Mirror(reflecting: value).children {
        let label = child.label ?? ""
        if let name = names[label], let expected = fields.removeValue(forKey: name) {
            problems += difference(child.value, expected, path: "\(path).\(name)")
        } else if !isEqual(child.value, defaults[label]) {
            problems.append("\(path).\(label) is \(child.value), not at its default")
        }
    }
    problems += fields.keys.sorted().map { "\(path) has no field \($0)" }
    return problems
}

/// The generator's rule for names of fields.
func propertyName(_ name: String) -> String {
    name.replacing(/(?<head>.)Id(?<plural>s?)(?=[A-Z]|$)/) { "\($0.output.head)ID\($0.output.plural)" }
}

private func difference(_ value: Any, _ json: JSON, path: String) -> [String] {
    let mirror = Mirror(reflecting: value)
    if mirror.displayStyle == .optional {
        guard let (_, wrapped) = mirror.children.first else {
            return json == .null ? [] : ["\(path): null, not \(json)"]
        }
        return difference(wrapped, json, path: path)
    }
    if let structure = value as? any KafkaStruct { return differences(structure, json, path: path) }
    let matches: Bool
    switch (value, json) {
    case (let value as Bool, .bool(let expected)): matches = value == expected
    case (let value as String, .string(let expected)): matches = Array(value.utf8) == Array(expected.utf8)
    case (let value as KafkaUUID, .string(let expected)): matches = value.description == expected
    case (let value as ErrorCode, .number(let expected)): matches = Int64(expected) == Int64(value.rawValue)
    case (let value as Double, .number(let expected)): matches = Double(expected)?.bitPattern == value.bitPattern
    case (let value as [UInt8], .string(let expected)) where isBytes(value):
        // Kafka's JSON shows none of the bytes of a field of type `records`.
        if expected.isEmpty, path.hasSuffix(".records") || path.hasSuffix(".unalignedRecords") { return [] }
        matches = Data(base64Encoded: expected).map { Array($0) } == value
    case (let value as any FixedWidthInteger, .number(let expected)): matches = String(value) == expected
    case (_, .array(let elements)) where mirror.displayStyle == .collection && !isBytes(value):
        let values = Array(mirror.children)
        guard values.count == elements.count else {
            return ["\(path): \(values.count) elements, not \(elements.count)"]
        }
        return zip(values, elements).enumerated().flatMap { index, pair in
            difference(pair.0.value, pair.1, path: "\(path)[\(index)]")
        }
    default: matches = false
    }
    return matches ? [] : ["\(path): \(value), not \(json)"]
}

/// `is` does not tell: any empty array can be cast to any array type.
private func isBytes(_ value: Any) -> Bool {
    type(of: value) == [UInt8].self
}

private func isEqual(_ left: Any, _ right: Any?) -> Bool {
    guard let left = left as? any Equatable, let right else { return false }
    return isEqual(left, to: right)
}

private func isEqual<T: Equatable>(_ left: T, to right: Any) -> Bool {
    (right as? T) == left
}
