import Testing

@testable import KafkaBroker

@Suite struct PropertiesParserTests {
    private func parse(_ text: String) -> [String] {
        PropertiesParser.parse(Array(text.utf8)).map { "\($0.key)→\($0.value)" }
    }

    @Test(arguments: [
        ("a=b", ["a→b"]),
        ("a = b ", ["a→b "]),
        ("a:b", ["a→b"]),
        ("a : b", ["a→b"]),
        ("a b c", ["a→b c"]),
        ("a\tb", ["a→b"]),
        ("a", ["a→"]),
        ("a=", ["a→"]),
        ("a==b", ["a→=b"]),
        ("a = = b", ["a→= b"]),
        ("  a=b", ["a→b"]),
        ("# a=b\n! c=d\n\n   \n  # e\nf=g", ["f→g"]),
        ("a=b # not a comment", ["a→b # not a comment"]),
        ("a=b\r\nc=d\re=f", ["a→b", "c→d", "e→f"]),
        ("a=b\\\n   c\\\n\td", ["a→bcd"]),
        ("a=b\\\\\nc=d", ["a→b\\", "c→d"]),
        ("a=b\\\n# c", ["a→b# c"]),
        ("a=b\\", ["a→b"]),
        ("a\\=b=c", ["a=b→c"]),
        ("a\\ b=c", ["a b→c"]),
        ("a=\\t\\n\\q\\\\", ["a→\t\nq\\"]),
        ("a=\\u0041\\u00e9x", ["a→Aéx"]),
        ("a=\\u4", ["a→\u{4}"]),
        ("a=ü", ["a→ü"]),
        ("=v", ["→v"]),
        ("a=1\na=2", ["a→1", "a→2"]),
        ("", []),
    ])
    func reads(_ text: String, _ expected: [String]) {
        #expect(self.parse(text) == expected)
    }

    @Test func linesAreCounted() {
        let entries = PropertiesParser.parse(Array("# x\na=b\\\nc\n\nd=e".utf8))
        #expect(entries.map(\.line) == [2, 5])
    }

    @Test func anyBytesAreRead() {
        var generator = SystemRandomNumberGenerator()
        for _ in 0..<2_000 {
            let bytes = (0..<Int.random(in: 0..<40, using: &generator)).map { _ in
                "\\u=: \n#a\r\u{0}".utf8.randomElement(using: &generator) ?? 0
            }
            #expect(PropertiesParser.parse(bytes).count <= bytes.count + 1)
        }
    }

    @Test(arguments: [
        ("", "", 0), ("a", "", 1), ("abc", "abc", 0), ("abc", "abd", 1), ("abc", "acb", 1), ("abc", "ab", 1),
        ("kitten", "sitting", 3), ("num.partition", "num.partitions", 1),
    ])
    func distances(_ left: String, _ right: String, _ distance: Int) {
        #expect(editDistance(left, right) == distance && editDistance(right, left) == distance)
    }
}
