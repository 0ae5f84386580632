/// Reads RE2's syntax. No recursion: open groups are a stack.
struct PatternParser {
    struct Flags {
        var ignoresCase = false
        var dotMatchesNewline = false
    }

    /// What is open: the whole pattern or a group.
    private struct Group {
        /// Those that hold again behind the group.
        var flagsBefore: Flags
        var alternatives: [Int] = []
        var sequence: [Int] = []
    }

    let pattern: [Unicode.Scalar]
    var position = 0
    var flags = Flags()
    /// There is no `:]` any more.
    var noMoreNamedClasses = false
    private var tree = PatternTree()
    private var groups: [Group]
    private var names: Set<[Unicode.Scalar]> = []

    /// Nil if it is not valid, or exceeds the limits.
    static func parse(_ text: String) -> PatternTree? {
        var parser = PatternParser(text)
        return parser.parse()
    }

    private init(_ text: String) {
        self.pattern = Array(text.unicodeScalars)
        self.groups = [Group(flagsBefore: Flags())]
    }

    // MARK: The pattern's characters

    var peek: Unicode.Scalar? { self.position < self.pattern.count ? self.pattern[self.position] : nil }

    mutating func next() -> Unicode.Scalar? {
        guard let scalar = self.peek else { return nil }
        self.position += 1
        return scalar
    }

    func isAt(_ text: String) -> Bool {
        self.pattern[self.position...].starts(with: text.unicodeScalars)
    }

    mutating func skip(_ text: String) -> Bool {
        guard self.isAt(text) else { return false }
        self.position += text.unicodeScalars.count
        return true
    }

    /// What is between here and `end`, both of which are passed over; nil if there is no `end`.
    mutating func take(until end: String) -> ArraySlice<Unicode.Scalar>? {
        let start = self.position
        while self.position < self.pattern.count {
            let here = self.position
            if self.skip(end) { return self.pattern[start..<here] }
            self.position += 1
        }
        self.position = start
        return nil
    }

    // MARK: Parts

    private mutating func parse() -> PatternTree? {
        var wasRepetition = false
        while let scalar = self.peek {
            var isRepetition = false
            let isValid: Bool
            switch scalar {
            case "(": isValid = self.openGroup()
            case ")": isValid = self.closeGroup()
            case "|":
                self.position += 1
                isValid = self.endAlternative()
            case "^", "$":
                self.position += 1
                // (?m) makes no difference: no topic's name has a line break.
                isValid = self.append(.assertion(scalar == "^" ? .begin : .end))
            case ".":
                self.position += 1
                let newline = ASCIISet("\n"..."\n")
                isValid = self.append(.set(self.flags.dotMatchesNewline ? .all : ~newline))
            case "[":
                guard let set = self.parseClass() else { return nil }
                isValid = self.append(.set(set))
            case "*", "+", "?", "{":
                switch self.repetition() {
                case .literal: isValid = self.appendLiteral(scalar)
                case .invalid: return nil
                case .count(let least, let most):
                    // Whether it takes few or many makes no difference to whether the whole matches.
                    if self.peek == "?" { self.position += 1 }
                    // As in Perl: not a**, which some would take for something else.
                    isValid = !wasRepetition && self.repeatLast(least, most)
                    isRepetition = true
                }
            case "\\": isValid = self.parseBackslash()
            default:
                self.position += 1
                isValid = self.appendLiteral(scalar)
            }
            guard isValid else { return nil }
            wasRepetition = isRepetition
        }
        guard self.groups.count == 1, self.endAlternative(), let root = self.choice() else { return nil }
        self.tree.root = root
        return self.tree
    }

    private mutating func append(_ content: PatternTree.Content) -> Bool {
        guard let node = self.tree.add(content) else { return false }
        self.groups[self.groups.count - 1].sequence.append(node)
        return true
    }

    private mutating func appendLiteral(_ scalar: Unicode.Scalar) -> Bool {
        self.append(.set(self.set(of: scalar...scalar)))
    }

    /// A range as the flags have it: long s and the Kelvin sign are other cases of ASCII's letters.
    func set(of range: ClosedRange<Unicode.Scalar>) -> ASCIISet {
        var set = ASCIISet()
        set.insert(range)
        guard self.flags.ignoresCase else { return set }
        if range.contains("\u{17F}") { set.insert("s"..."s") }
        if range.contains("\u{212A}") { set.insert("k"..."k") }
        return set.folded
    }

    private mutating func parseBackslash() -> Bool {
        if self.skip("\\A") { return self.append(.assertion(.begin)) }
        if self.skip("\\z") { return self.append(.assertion(.end)) }
        if self.skip("\\b") { return self.append(.assertion(.wordBoundary)) }
        if self.skip("\\B") { return self.append(.assertion(.noWordBoundary)) }
        if self.skip("\\Q") {
            var literals = self.take(until: "\\E")
            if literals == nil {
                literals = self.pattern[self.position...]
                self.position = self.pattern.count
            }
            return (literals ?? []).allSatisfy { self.appendLiteral($0) }
        }
        switch self.parseClassEscape() {
        case .set(let set): return self.append(.set(set))
        case .invalid: return false
        case .other:
            guard let scalar = self.parseEscape() else { return false }
            return self.appendLiteral(scalar)
        }
    }

    // MARK: Repetitions

    private enum Repetition {
        case count(least: Int, most: Int?)
        /// A brace that begins no repetition.
        case literal
        case invalid
    }

    private mutating func repetition() -> Repetition {
        switch self.next() {
        case "*": return .count(least: 0, most: nil)
        case "+": return .count(least: 1, most: nil)
        case "?": return .count(least: 0, most: 1)
        default: break
        }
        let start = self.position
        guard let least = self.number() else { return self.literalBrace(start) }
        var most: Int? = least
        if self.peek == "," {
            self.position += 1
            if self.peek == "}" {
                most = nil
            } else {
                guard let number = self.number() else { return self.literalBrace(start) }
                most = number
            }
        }
        guard self.peek == "}" else { return self.literalBrace(start) }
        self.position += 1
        let limit = SubscriptionPattern.Limits.repetitions
        guard least <= limit, most ?? least <= limit, most ?? least >= least else { return .invalid }
        return .count(least: least, most: most)
    }

    private mutating func literalBrace(_ position: Int) -> Repetition {
        self.position = position
        return .literal
    }

    /// Decimal, without leading zeros; very large ones are all the same. Nil where there is none.
    private mutating func number() -> Int? {
        let start = self.position
        var value = 0
        while let digit = self.peek, ("0"..."9").contains(digit) {
            value = min(value * 10 + Int(digit.value - 48), 1_000_000)
            self.position += 1
        }
        let count = self.position - start
        if count == 0 || count > 1 && self.pattern[start] == "0" { return nil }
        return value
    }

    private mutating func repeatLast(_ least: Int, _ most: Int?) -> Bool {
        let top = self.groups.count - 1
        guard let last = self.groups[top].sequence.last,
            let node = self.tree.add(.repetition(of: last, least: least, most: most))
        else { return false }
        self.groups[top].sequence[self.groups[top].sequence.count - 1] = node
        return true
    }

    // MARK: Groups

    private mutating func openGroup() -> Bool {
        let before = self.flags
        if self.skip("(?P<") || self.skip("(?<") {
            guard let name = self.take(until: ">"), !name.isEmpty,
                name.allSatisfy({ $0.isASCII && Self.word.contains(UInt8($0.value)) }),
                self.names.insert(Array(name)).inserted
            else { return false }
        } else if self.skip("(?") {
            guard let opens = self.parseFlags() else { return false }
            if !opens { return true }
        } else {
            self.position += 1
        }
        // Each open group will be a node or two above what it holds.
        guard self.groups.count < SubscriptionPattern.Limits.depth else { return false }
        self.groups.append(Group(flagsBefore: before))
        return true
    }

    /// Behind "(?": true if a group begins, false if the flags hold from here on, nil if it is not valid.
    private mutating func parseFlags() -> Bool? {
        var flags = self.flags
        var isSet = true
        var hasFlag = false
        while let scalar = self.next() {
            switch scalar {
            case "i":
                flags.ignoresCase = isSet
                hasFlag = true
            case "s":
                flags.dotMatchesNewline = isSet
                hasFlag = true
            case "m", "U": hasFlag = true
            case "-":
                guard isSet else { return nil }
                isSet = false
                hasFlag = false
            case ":", ")":
                guard isSet || hasFlag else { return nil }
                self.flags = flags
                return scalar == ":"
            default: return nil
            }
        }
        return nil
    }

    private mutating func closeGroup() -> Bool {
        self.position += 1
        guard self.groups.count > 1, self.endAlternative(), let node = self.choice() else { return false }
        self.flags = self.groups.removeLast().flagsBefore
        self.groups[self.groups.count - 1].sequence.append(node)
        return true
    }

    private mutating func endAlternative() -> Bool {
        let top = self.groups.count - 1
        let sequence = self.groups[top].sequence
        guard let node = sequence.count == 1 ? sequence[0] : self.tree.add(.sequence(sequence)) else { return false }
        self.groups[top].sequence = []
        self.groups[top].alternatives.append(node)
        return true
    }

    private mutating func choice() -> Int? {
        let alternatives = self.groups[self.groups.count - 1].alternatives
        return alternatives.count == 1 ? alternatives[0] : self.tree.add(.choice(alternatives))
    }
}
