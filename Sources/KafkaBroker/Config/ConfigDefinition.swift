/// One configuration name: its type, its default, what is allowed.
package struct ConfigDefinition: Sendable {
    /// Raw values as in DescribeConfigs.
    package enum ValueType: Int8, Sendable {
        case boolean = 1
        case string, int, short, long, double, list, `class`, password

        package var name: String {
            switch self {
            case .boolean: "BOOLEAN"
            case .string: "STRING"
            case .int: "INT"
            case .short: "SHORT"
            case .long: "LONG"
            case .double: "DOUBLE"
            case .list: "LIST"
            case .class: "CLASS"
            case .password: "PASSWORD"
            }
        }
    }

    /// Whether a broker config may be changed while the broker runs, and for whom.
    package enum UpdateMode: Sendable, Equatable { case readOnly, perBroker, clusterWide }

    package let name: String
    package let type: ValueType
    /// As text; nil: not set.
    package let defaultValue: String?
    package let rule: ConfigRule
    package let updateMode: UpdateMode
    /// Known and accepted, but not listed by DescribeConfigs.
    package let isHidden: Bool
    package let documentation: String

    package init(
        _ name: String, _ type: ValueType, _ defaultValue: String?, _ rule: ConfigRule = .any,
        _ updateMode: UpdateMode = .readOnly, hidden: Bool = false, doc: String = ""
    ) {
        self.name = name
        self.type = type
        self.defaultValue = defaultValue
        self.rule = rule
        self.updateMode = updateMode
        self.isHidden = hidden
        self.documentation = doc
    }

    package var isSensitive: Bool { self.type == .password }
}

/// What a value must be, beyond its type.
package enum ConfigRule: Sendable {
    case any
    case atLeast(Int64)
    case between(Int64, Int64)
    case fraction(Double, Double)
    case oneOf([String])
    /// Upper or lower case.
    case oneOfAnyCase([String])
    case listOf([String])
    case nonEmpty
    /// -1, or 1 to 9: gzip's.
    case gzipLevel
    /// `*`, or partition:broker pairs.
    case throttledReplicas
}

/// A value that may not be.
package struct InvalidConfigValue: Error, Equatable, Sendable {
    package var name: String
    package var value: String
    package var reason: String

    /// Kafka's form of it, for answers to clients.
    package var message: String { "Invalid value \(self.value) for configuration \(self.name): \(self.reason)" }
}

extension ConfigDefinition {
    /// The value in its canonical form (blanks around it, and around the parts of a list, are gone),
    /// or why it is refused.
    package func validate(_ text: String) -> Result<String, InvalidConfigValue> {
        let value = trimmed(text)
        func refuse(_ reason: String) -> Result<String, InvalidConfigValue> {
            .failure(InvalidConfigValue(name: self.name, value: value, reason: reason))
        }
        var canonical = value
        switch self.type {
        case .boolean:
            canonical = value.lowercased()
            guard canonical == "true" || canonical == "false" else {
                return refuse("Expected value to be either true or false")
            }
        case .int, .short, .long:
            let number: Int64? =
                switch self.type {
                case .int: Int32(value).map { Int64($0) }
                case .short: Int16(value).map { Int64($0) }
                default: Int64(value)
                }
            guard let number else { return refuse("Not a number of type \(self.type.name)") }
            if let reason = self.rule.refusal(of: number) { return refuse(reason) }
            canonical = String(number)
        case .double:
            guard let number = Double(value) else { return refuse("Not a number of type DOUBLE") }
            if case .fraction(let low, let high) = self.rule {
                guard number >= low else { return refuse("Value must be at least \(shown(low))") }
                guard number <= high else { return refuse("Value must be no more than \(shown(high))") }
            }
        case .list:
            let parts = configList(value)
            if let reason = self.rule.refusal(of: parts, name: self.name) { return refuse(reason) }
            canonical = parts.joined(separator: ",")
        case .string, .class, .password:
            if let reason = self.rule.refusal(of: value) { return refuse(reason) }
        }
        return .success(canonical)
    }

    /// What is allowed, for people.
    package var allowed: String {
        let kind =
            switch self.type {
            case .boolean: "true or false"
            case .int, .short, .long: "a whole number"
            case .double: "a number"
            case .list: "a list with commas"
            case .string, .class, .password: "a text"
            }
        switch self.rule {
        case .any: return kind
        case .atLeast(let low): return "\(kind) of at least \(low)"
        case .between(let low, let high): return "\(kind) from \(low) to \(high)"
        case .fraction(let low, let high): return "\(kind) from \(shown(low)) to \(shown(high))"
        case .oneOf(let names), .oneOfAnyCase(let names): return "one of " + names.joined(separator: ", ")
        case .listOf(let names): return "\(kind) of " + names.joined(separator: ", ")
        case .nonEmpty: return "\(kind) that is not empty"
        case .gzipLevel: return "-1, or a whole number from 1 to 9"
        case .throttledReplicas: return "*, or a list of partition:broker"
        }
    }
}

extension ConfigRule {
    fileprivate func refusal(of number: Int64) -> String? {
        switch self {
        case .atLeast(let low): return number < low ? "Value must be at least \(low)" : nil
        case .between(let low, let high):
            if number < low { return "Value must be at least \(low)" }
            return number > high ? "Value must be no more than \(high)" : nil
        case .gzipLevel:
            return number == -1 || (1...9).contains(number)
                ? nil : "Value must be between 1 and 9 or equal to -1"
        default: return nil
        }
    }

    fileprivate func refusal(of value: String) -> String? {
        switch self {
        case .oneOf(let names):
            return names.contains(value) ? nil : "String must be one of: " + names.joined(separator: ", ")
        case .oneOfAnyCase(let names):
            return names.contains { $0.lowercased() == value.lowercased() }
                ? nil : "String must be one of (case insensitive): " + names.joined(separator: ", ")
        case .nonEmpty: return value.isEmpty ? "String must be non-empty" : nil
        default: return nil
        }
    }

    fileprivate func refusal(of parts: [String], name: String) -> String? {
        switch self {
        case .listOf(let names):
            if Set(parts).count != parts.count { return "Configuration '\(name)' values must not be duplicated." }
            return parts.allSatisfy { names.contains($0) }
                ? nil : "String must be one of: " + names.joined(separator: ", ")
        case .nonEmpty: return parts.isEmpty ? "List must not be empty" : nil
        case .throttledReplicas:
            if parts.isEmpty || parts == ["*"] { return nil }
            let good = parts.allSatisfy { part in
                let pair = part.split(separator: ":", omittingEmptySubsequences: false)
                return pair.count == 2 && pair.allSatisfy { Int32($0).map { $0 >= 0 } ?? false }
            }
            return good
                ? nil
                : "\(name) must be the literal '*' or a list of replicas in the following format: "
                    + "[partitionId]:[brokerId],[partitionId]:[brokerId],..."
        default: return nil
        }
    }
}

private func shown(_ number: Double) -> String {
    number == number.rounded() && abs(number) < 1e9 ? String(Int64(number)) : String(number)
}

package func trimmed(_ text: some StringProtocol) -> String {
    let text = Substring(text)
    let bytes = text.utf8
    guard let first = bytes.firstIndex(where: { $0 > 0x20 }) else { return "" }
    var end = bytes.endIndex
    while end > first, bytes[bytes.index(before: end)] <= 0x20 { end = bytes.index(before: end) }
    return String(text[first..<end])
}

/// The parts of a list value. An empty text is an empty list.
package func configList(_ text: String) -> [String] {
    let text = trimmed(text)
    if text.isEmpty { return [] }
    return text.split(separator: ",", omittingEmptySubsequences: false).map { trimmed($0) }
}
