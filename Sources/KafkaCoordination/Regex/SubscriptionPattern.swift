/// The regular expression by which a member of a group of KIP-848 subscribes to topics: RE2's syntax, as Kafka has it
/// by way of re2j, and the whole name must match.
///
/// Names of topics are ASCII (letters, digits, ".", "_" and "-"), so nothing but ASCII need be told apart here:
/// classes are sets of 128 bits, and Unicode's categories and scripts are what they have in ASCII. What is valid is
/// still decided by the whole syntax.
///
/// Nothing that a client can write costs much: matching takes at most a step an instruction and character, without
/// backtracking, and the program has few instructions (see `Limits`).
package struct SubscriptionPattern: Sendable {
    package let text: String
    private let program: PatternProgram

    /// Bounds on what a pattern may become.
    enum Limits {
        /// Instructions; a character or class is one, and a repetition with a count is as many copies.
        static let instructions = 10_000
        /// Bytes of the pattern, before it is looked at.
        static let length = 32 * 1024
        /// What {n,m} may say, also where it is nested: RE2's limit.
        static let repetitions = 1000
        /// How deep groups may be nested: RE2's limit.
        static let depth = 1000
    }

    /// Nil if it is not valid or too large: INVALID_REGULAR_EXPRESSION.
    package init?(_ text: String) {
        guard text.utf8.count <= Limits.length, let tree = PatternParser.parse(text) else { return nil }
        self.text = text
        self.program = PatternProgram(tree)
    }

    package func matches(_ topicName: String) -> Bool {
        let matcher = PatternMatcher(self.program)
        return matcher.matches(topicName)
    }

    /// Those that match.
    package func matching(_ topicNames: some Sequence<String>) -> [String] {
        let matcher = PatternMatcher(self.program)
        return topicNames.filter { matcher.matches($0) }
    }
}
