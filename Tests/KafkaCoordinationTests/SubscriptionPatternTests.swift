import Testing

@testable import KafkaCoordination

@Suite struct SubscriptionPatternTests {
    private func matches(_ pattern: String, _ names: String...) -> [String] {
        SubscriptionPattern(pattern)?.matching(names) ?? ["not valid"]
    }

    /// The whole name must match, and case counts.
    @Test func wholeNames() {
        #expect(self.matches("orders", "orders", "orders2", "my-orders", "Orders", "") == ["orders"])
        #expect(self.matches("", "", "a") == [""])
        #expect(self.matches("orders.*", "orders", "orders.eu", "my-orders") == ["orders", "orders.eu"])
        #expect(self.matches("a|ab", "a", "ab", "b", "aab") == ["a", "ab"])
        #expect(self.matches("|a", "", "a", "aa") == ["", "a"])
        #expect(self.matches("a.c", "abc", "a.c", "ac", "a-c") == ["abc", "a.c", "a-c"])
        #expect(self.matches(#"a\.c"#, "abc", "a.c") == ["a.c"])
        // What no topic is called matches nothing but itself's absence.
        #expect(self.matches(".*", "a\u{e9}", "ab") == ["ab"])
    }

    @Test func repetitions() {
        #expect(self.matches("ab*", "a", "ab", "abbb", "b", "abab") == ["a", "ab", "abbb"])
        #expect(self.matches("ab+?", "a", "ab", "abbb") == ["ab", "abbb"])
        #expect(self.matches("ab??c", "ac", "abc", "abbc") == ["ac", "abc"])
        #expect(self.matches("(ab){2}", "ab", "abab", "ababab") == ["abab"])
        #expect(self.matches("(ab){2,}", "ab", "abab", "ababab") == ["abab", "ababab"])
        #expect(self.matches("a{1,2}?", "", "a", "aa", "aaa") == ["a", "aa"])
        #expect(self.matches("a{0}b", "b", "ab") == ["b"])
        #expect(self.matches("a{0,0}b", "b", "ab") == ["b"])
        #expect(self.matches("(a*)*b", "b", "aab", "a") == ["b", "aab"])
        #expect(self.matches("(a|b*)+", "", "ab", "bba", "c") == ["", "ab", "bba"])
        #expect(self.matches("(|a)*", "", "aaa", "b") == ["", "aaa"])
        #expect(self.matches("(){3,}a", "a", "aa") == ["a"])
        // A brace that begins no repetition stands for itself.
        #expect(self.matches("a{", "a{", "a") == ["a{"])
        #expect(self.matches("a{,2}", "a{,2}", "aa") == ["a{,2}"])
        #expect(self.matches("a{01}", "a{01}", "a") == ["a{01}"])
        #expect(self.matches("a{1x}", "a{1x}", "a") == ["a{1x}"])
        #expect(self.matches("a(?i)*", "aa", "A") == ["aa"])
    }

    @Test func classes() {
        #expect(self.matches("[a-c]", "a", "b", "c", "d", "-") == ["a", "b", "c"])
        #expect(self.matches("[^a-c]", "a", "d", "-", "") == ["d", "-"])
        #expect(self.matches("[]a]", "]", "a", "b") == ["]", "a"])
        #expect(self.matches("[^]a]", "]", "a", "b") == ["b"])
        #expect(self.matches("[a-]", "a", "-", "b") == ["a", "-"])
        #expect(self.matches(#"[\w.]"#, "a", "_", ".", "-") == ["a", "_", "."])
        #expect(self.matches(#"\d\D\s?\S\W"#, "1a.-", "11.-", "1ab-") == ["1a.-", "1ab-"])
        #expect(self.matches("[[:alpha:]_]+", "ab_C", "a1") == ["ab_C"])
        #expect(self.matches("[[:^alpha:]]+", "12.", "a1") == ["12."])
        #expect(self.matches("[[:upper:][:digit:]]+", "A1", "a1") == ["A1"])
        #expect(self.matches("[[:word:]]", "a", "_", "-") == ["a", "_"])
        #expect(self.matches("[[:punct:]]+", ".-_", "a") == [".-_"])
        // No name of a class: the characters.
        #expect(self.matches("[[:alpha]", "[", ":", "a", "l", "b") == ["[", ":", "a", "l"])
        #expect(self.matches(#"[\x41-\x{43}\101]"#, "A", "C", "D") == ["A", "C"])
        #expect(self.matches(#"[\-\]]"#, "-", "]", "a") == ["-", "]"])
    }

    @Test func unicodeClasses() {
        #expect(self.matches(#"\pL+"#, "aZ", "a1") == ["aZ"])
        #expect(self.matches(#"\p{Lu}\p{Ll}"#, "Ab", "ab", "AB") == ["Ab"])
        #expect(self.matches(#"\PN"#, "a", "1", "-") == ["a", "-"])
        #expect(self.matches(#"\p{^N}"#, "a", "1") == ["a"])
        #expect(self.matches(#"\P{^N}"#, "a", "1") == ["1"])
        #expect(self.matches(#"[\p{Nd}\p{Pd}]+"#, "1-", "1_", "1.") == ["1-"])
        #expect(self.matches(#"\p{Pc}\p{Po}\p{Pd}"#, "_.-") == ["_.-"])
        #expect(self.matches(#"\p{Latin}\p{Common}"#, "a.", "aa") == ["a."])
        #expect(self.matches(#"\p{Greek}|\p{Han}|\p{Lo}|x"#, "a", "x") == ["x"])
        #expect(self.matches(#"\P{Greek}"#, "a", "-") == ["a", "-"])
        #expect(self.matches(#"\p{Any}"#, "a", "") == ["a"])
        #expect(self.matches("é|ü+|a", "a", "e") == ["a"])
        #expect(self.matches("[^é]", "a") == ["a"])
        #expect(self.matches("[a-é]", "z", "A", "~") == ["z", "~"])
    }

    @Test func flagsAndGroups() {
        #expect(self.matches("(?i)Orders", "orders", "ORDERS", "order") == ["orders", "ORDERS"])
        #expect(self.matches("(?i:a)b", "ab", "Ab", "AB") == ["ab", "Ab"])
        #expect(self.matches("((?i)a)b", "ab", "Ab", "AB") == ["ab", "Ab"])
        #expect(self.matches("(?i)a(?-i)b", "ab", "Ab", "AB") == ["ab", "Ab"])
        #expect(self.matches("(?i)a|b", "A", "B") == ["A", "B"])
        #expect(self.matches("(?i)[a-b]", "A", "b", "C") == ["A", "b"])
        #expect(self.matches("(?i)[^a-b]", "A", "b", "C") == ["C"])
        #expect(self.matches(#"(?i)\p{Lu}[[:lower:]]"#, "aB", "a1") == ["aB"])
        // The Kelvin sign and the long s are other cases of k and s.
        #expect(self.matches("(?i)\u{212A}\u{17F}", "ks", "KS", "sk") == ["ks", "KS"])
        #expect(self.matches(#"(?i)[\x{2000}-\x{3000}]"#, "k", "K", "s") == ["k", "K"])
        #expect(self.matches(#"[\x{2000}-\x{3000}]"#, "k") == [])
        #expect(self.matches("(?imsU)a(?-i-s:b)") == ["not valid"])
        #expect(self.matches("(?imsU-m)a(?-is:b)c", "Abc", "ABc") == ["Abc"])
        #expect(self.matches("(?P<name>a)(?<other>b)", "ab") == ["ab"])
        #expect(self.matches("(?:a|b)+", "abba", "c") == ["abba"])
        #expect(self.matches(#"\Qa.c*\E+"#, "a.c*", "a.c**", "abc") == ["a.c*", "a.c**"])
        #expect(self.matches(#"\Qa.c"#, "a.c", "abc") == ["a.c"])
        #expect(self.matches(#"a\Q\Eb"#, "ab") == ["ab"])
    }

    @Test func assertions() {
        #expect(self.matches("^orders$", "orders", "orders2") == ["orders"])
        #expect(self.matches("a^b|c$d|e", "ab", "cd", "e") == ["e"])
        #expect(self.matches(#"\Aa\z"#, "a") == ["a"])
        #expect(self.matches("(?m)^a$", "a", "ab") == ["a"])
        #expect(self.matches("^*a$+", "a") == ["a"])
        #expect(
            self.matches(#".*\borders\b.*"#, "my-orders", "orders.eu", "reorders", "orders_eu") == [
                "my-orders", "orders.eu",
            ])
        #expect(self.matches(#".*\Border.*"#, "reorders", "my-orders") == ["reorders"])
        #expect(self.matches(#"\b"#, "", "a") == [])
        #expect(self.matches(#"\B"#, "", "a") == [""])
    }

    @Test(arguments: [
        "(", ")", "a)", "(a", "[", "[a", "[]", "[^]", "a**", "a*+", "a+++", "a{2}{3}", "a???", "*", "+a", "?", "(*a)",
        "a|*", "(?i)*", "{2}{3}", "a{2,1}", "a{1001}", "a{1,1001}", "a{99999999999999999999}", "(a{32}){32}",
        "((a{10}){10}){11}", "(a{2}){501,}", "[b-a]", #"[a-\d]"#, "[[:nope:]]", "[[:^nope:]]", #"\"#, #"a\"#, #"\1"#,
        #"(a)\1"#, #"\8"#, #"\C"#, #"\Z"#, #"\G"#, #"\q"#, #"\E"#, #"[\b]"#, #"[\A]"#, #"[\Qa\E]"#, #"\k<a>"#, #"\x"#,
        #"\x4"#, #"\xg1"#, #"\x{}"#, #"\x{110000}"#, #"\x{12"#, #"\x{1g}"#, #"\p"#, #"\p{"#, #"\p{Nope}"#, #"\pX"#,
        #"\p{L"#, #"\p{greek}"#, "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?#a)", "(?", "(?i", "(?P<a",
        "(?P<>a)",
        "(?P<a.b>c)", "(?P<a>b)(?P<a>c)", "(?P=a)", "(?P>a)", "(?x)a", "(?-)a", "(?i--s)a", "(?a)", "(?1)", "(?R)",
        "a++", "(?<n>a)(?P<n>b)",
    ])
    func isNotValid(_ pattern: String) {
        #expect(SubscriptionPattern(pattern) == nil)
    }

    // MARK: Costs

    /// What takes other engines years. Each is done in an instant; a hang would be noticed.
    @Test func explosivePatterns() {
        let long = String(repeating: "a", count: 249)
        for pattern in [
            "(a+)+$", "(a+)+b", "(a|aa)+b", "(a|a?)+b", "(.*)*b", "(.*.*.*.*.*.*)*b", "a?{0}" + "(a?){249}a{249}b",
            "((((a*)*)*)*)*b", "(a*)*(a*)*(a*)*(a*)*b", "(x+x+)+y", "(.*a){100}b", "([a-z]+)*[0-9]",
        ] {
            #expect(SubscriptionPattern(pattern)?.matches(long) != true || pattern == "(a+)+$", "\(pattern)")
        }
        #expect(self.matches("(a?){249}a{249}", long) == [long])
    }

    @Test func sizesAreBounded() {
        #expect(SubscriptionPattern("a{1000}{1000}") == nil)
        #expect(SubscriptionPattern("(a{1000}){1000}") == nil)
        #expect(SubscriptionPattern(String(repeating: "(a{1000})", count: 20)) == nil)
        #expect(SubscriptionPattern(String(repeating: "a{1000}", count: 5000)) == nil)
        #expect(SubscriptionPattern(String(repeating: "(a?){0,1000}|", count: 500)) == nil)
        #expect(SubscriptionPattern(String(repeating: "(", count: 5000) + String(repeating: ")", count: 5000)) == nil)
        #expect(SubscriptionPattern(String(repeating: "(", count: 5000)) == nil)
        #expect(
            SubscriptionPattern(String(repeating: "(?:", count: 900) + String(repeating: ")*", count: 900)) != nil)
        #expect(
            SubscriptionPattern(String(repeating: "(?:", count: 999) + String(repeating: ")*", count: 999)) != nil)
        #expect(SubscriptionPattern(String(repeating: "a", count: 9999)) != nil)
        #expect(SubscriptionPattern(String(repeating: "a", count: 10_001)) == nil)
        // Many topics by name are fine.
        let names = (0..<400).map { "a-topic-with-a-name-\($0)" }
        let pattern = SubscriptionPattern(names.joined(separator: "|"))
        #expect(pattern?.matching(names + ["another"]) == names)
        // Looking for what never comes, again and again.
        #expect(SubscriptionPattern("[" + String(repeating: "[:", count: 15_000)) == nil)
        #expect(SubscriptionPattern(String(repeating: #"\Q"#, count: 4000)) != nil)
    }

    // MARK: Against another engine

    /// Random patterns beside the standard library's regular expressions, which backtrack.
    @Test func asAnotherEngine() throws {
        var random = SeededRandom(seed: 11)
        var matched = 0
        for _ in 0..<1500 {
            let text = Self.randomPattern(depth: 3, &random)
            guard let parsed = try? Regex(text) else { continue }
            let other = parsed.matchingSemantics(.unicodeScalar).wordBoundaryKind(.simple)
            let ours = try #require(SubscriptionPattern(text), "\(text)")
            for _ in 0..<12 {
                let name = String(
                    (0..<Int.random(in: 0...6, using: &random)).map { _ in "abB.-".randomElement(using: &random) ?? "a"
                    })
                let expected = try other.wholeMatch(in: name) != nil
                #expect(ours.matches(name) == expected, "\(text) and \(name)")
                if expected { matched += 1 }
            }
        }
        #expect(matched > 1000)
    }

    private static func randomPattern(depth: Int, _ random: inout SeededRandom) -> String {
        func part(_ random: inout SeededRandom) -> String { self.randomPattern(depth: depth - 1, &random) }
        switch depth == 0 ? UInt64.random(in: 0...7, using: &random) : UInt64.random(in: 0...15, using: &random) {
        case 0, 1: return "a"
        case 2: return "b"
        case 3: return "."
        case 4: return "[ab]"
        case 5: return "[^a.]"
        case 6: return #"\w"#
        case 7: return [#"\b"#, #"\B"#, "^", "$", #"\."#].randomElement(using: &random) ?? ""
        case 8, 9, 10: return part(&random) + part(&random)
        case 11: return "(\(part(&random))|\(part(&random)))"
        case 12: return "(?:\(part(&random)))*"
        case 13: return "(\(part(&random)))+?"
        case 14: return "(?i:\(part(&random)))?"
        default: return "(\(part(&random))){\(Int.random(in: 0...2, using: &random)),3}"
        }
    }

    /// Bytes that a client could send as a pattern: never a trap, and what is valid can be used.
    @Test func garbage() {
        var random = SeededRandom(seed: 12)
        let pieces = [
            "(", ")", "[", "]", "{", "}", "*", "+", "?", "|", "^", "$", ".", "\\", "a", "1", "-", ",", ":", "[:", ":]",
            "alpha", "(?", "P<", ">", "i", "\\p", "\\Q", "\\E", "\\x", "{2,}", "{1000}", "\u{212A}", "\u{10FFFF}", "^",
        ]
        var valid = 0
        for _ in 0..<20_000 {
            let text = (0..<Int.random(in: 1...12, using: &random)).reduce(into: "") { text, _ in
                text += pieces.randomElement(using: &random) ?? ""
            }
            guard let pattern = SubscriptionPattern(text) else { continue }
            valid += 1
            _ = pattern.matches("a1-:")
        }
        #expect(valid > 1000)
    }
}
