/// Classes of characters and escapes.
extension PatternParser {
    enum ClassEscape {
        case set(ASCIISet)
        case invalid
        /// Something else is here.
        case other
    }

    /// `[...]`; nil if it is not valid.
    mutating func parseClass() -> ASCIISet? {
        self.position += 1
        let isNegated = self.skip("^")
        var set = ASCIISet()
        var isFirst = true
        while isFirst || self.peek != "]" {
            isFirst = false
            if !self.noMoreNamedClasses && self.isAt("[:") {
                let start = self.position
                self.position += 2
                if let name = self.take(until: ":]") {
                    guard let named = self.posixClass(name) else { return nil }
                    set = set | named
                    continue
                }
                self.position = start
                // Not looked for again, which would take the square of the pattern's length.
                self.noMoreNamedClasses = true
            }
            switch self.parseClassEscape() {
            case .set(let escaped):
                set = set | escaped
                continue
            case .invalid: return nil
            case .other: break
            }
            guard let first = self.parseClassCharacter() else { return nil }
            var last = first
            if self.peek == "-" && !self.isAt("-]") {
                self.position += 1
                guard let end = self.parseClassCharacter(), end >= first else { return nil }
                last = end
            }
            set = set | self.set(of: first...last)
        }
        self.position += 1
        return isNegated ? ~set : set
    }

    private mutating func parseClassCharacter() -> Unicode.Scalar? {
        self.peek == "\\" ? self.parseEscape() : self.next()
    }

    /// `\d`, `\pN`, `\p{Greek}` and the like.
    mutating func parseClassEscape() -> ClassEscape {
        guard self.isAt("\\"), self.position + 1 < self.pattern.count else { return .other }
        let letter = self.pattern[self.position + 1]
        switch letter {
        case "d", "D": return self.perlClass(ASCIISet("0"..."9"), isNegated: letter == "D")
        case "s", "S":
            return self.perlClass(
                ASCIISet("\t"..."\n", "\u{C}"..."\r", " "..." "), isNegated: letter == "S")
        case "w", "W": return self.perlClass(Self.word, isNegated: letter == "W")
        case "p", "P":
            self.position += 2
            guard let set = self.unicodeClass(isNegated: letter == "P") else { return .invalid }
            return .set(set)
        default: return .other
        }
    }

    static var word: ASCIISet { ASCIISet("0"..."9", "A"..."Z", "a"..."z", "_"..."_") }

    private mutating func perlClass(_ set: ASCIISet, isNegated: Bool) -> ClassEscape {
        self.position += 2
        return .set(isNegated ? ~set : set)
    }

    /// Of `[:alpha:]` or `[:^alpha:]` the name.
    private func posixClass(_ name: ArraySlice<Unicode.Scalar>) -> ASCIISet? {
        let isNegated = name.first == "^"
        let text = String(String.UnicodeScalarView(isNegated ? name.dropFirst() : name))
        let set: ASCIISet
        switch text {
        case "alnum": set = ASCIISet("0"..."9", "A"..."Z", "a"..."z")
        case "alpha": set = .letters
        case "ascii": set = .all
        case "blank": set = ASCIISet("\t"..."\t", " "..." ")
        case "cntrl": set = ASCIISet("\0"..."\u{1F}", "\u{7F}"..."\u{7F}")
        case "digit": set = ASCIISet("0"..."9")
        case "graph": set = ASCIISet("!"..."~")
        case "lower": set = ASCIISet("a"..."z")
        case "print": set = ASCIISet(" "..."~")
        case "punct": set = ASCIISet("!"..."/", ":"..."@", "["..."`", "{"..."~")
        case "space": set = ASCIISet("\t"..."\r", " "..." ")
        case "upper": set = ASCIISet("A"..."Z")
        case "word": set = Self.word
        case "xdigit": set = ASCIISet("0"..."9", "A"..."F", "a"..."f")
        default: return nil
        }
        let folded = self.flags.ignoresCase ? set.folded : set
        return isNegated ? ~folded : folded
    }

    /// Behind `\p` or `\P`.
    private mutating func unicodeClass(isNegated: Bool) -> ASCIISet? {
        var name: ArraySlice<Unicode.Scalar>
        if self.skip("{") {
            guard let inBraces = self.take(until: "}") else { return nil }
            name = inBraces
        } else {
            guard let letter = self.next() else { return nil }
            name = [letter]
        }
        var isNegated = isNegated
        if name.first == "^" {
            isNegated.toggle()
            name = name.dropFirst()
        }
        guard var set = UnicodeClasses.set(String(String.UnicodeScalarView(name))) else { return nil }
        if self.flags.ignoresCase { set = set.folded }
        return isNegated ? ~set : set
    }

    /// One character behind a backslash; nil if there is no such escape. A digit would be a back reference.
    mutating func parseEscape() -> Unicode.Scalar? {
        self.position += 1
        guard let scalar = self.next() else { return nil }
        switch scalar {
        case "1"..."7":
            guard let digit = self.peek, ("0"..."7").contains(digit) else { return nil }
            return self.octal(scalar)
        case "0": return self.octal(scalar)
        case "x": return self.hexadecimal()
        case "a": return "\u{7}"
        case "f": return "\u{C}"
        case "n": return "\n"
        case "r": return "\r"
        case "t": return "\t"
        case "v": return "\u{B}"
        case "0"..."9", "A"..."Z", "a"..."z": return nil
        default: return scalar
        }
    }

    private mutating func octal(_ first: Unicode.Scalar) -> Unicode.Scalar? {
        var value = first.value - 48
        for _ in 0..<2 {
            guard let digit = self.peek, ("0"..."7").contains(digit) else { break }
            value = value * 8 + digit.value - 48
            self.position += 1
        }
        return Unicode.Scalar(value)
    }

    private mutating func hexadecimal() -> Unicode.Scalar? {
        func value(_ scalar: Unicode.Scalar?) -> UInt32? {
            switch scalar {
            case .some("0"..."9"): scalar.map { $0.value - 48 }
            case .some("a"..."f"): scalar.map { $0.value - 87 }
            case .some("A"..."F"): scalar.map { $0.value - 55 }
            default: nil
            }
        }
        guard self.skip("{") else {
            guard let high = value(self.next()), let low = value(self.next()) else { return nil }
            return Unicode.Scalar(high * 16 + low)
        }
        guard let digits = self.take(until: "}"), !digits.isEmpty else { return nil }
        var result: UInt32 = 0
        for digit in digits {
            guard let digit = value(digit) else { return nil }
            result = result * 16 + digit
            if result > 0x10ffff { return nil }
        }
        // Half of a surrogate pair is a valid escape and no character: it stands for what is in no name.
        return Unicode.Scalar(result) ?? "\u{FFFD}"
    }
}
