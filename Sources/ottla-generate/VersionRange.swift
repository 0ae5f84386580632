/// The versions in which something exists: `3-7`, `3+`, `3`, `none`.
struct VersionRange: Equatable, CustomStringConvertible {
    var lower: Int
    var upper: Int

    static let highest = Int(Int16.max)
    static let none = VersionRange(lower: 0, upper: -1)
    static let all = VersionRange(lower: 0, upper: highest)

    var isEmpty: Bool { self.lower > self.upper }

    init(lower: Int, upper: Int) {
        self.lower = lower
        self.upper = upper
    }

    init?(_ text: some StringProtocol) {
        if text == "none" {
            self = .none
        } else if text.hasSuffix("+"), let lower = Int(text.dropLast()), lower >= 0 {
            self.init(lower: lower, upper: Self.highest)
        } else if let only = Int(text), only >= 0 {
            self.init(lower: only, upper: only)
        } else {
            let ends = text.split(separator: "-", omittingEmptySubsequences: false)
            guard ends.count == 2, let lower = Int(ends[0]), let upper = Int(ends[1]), lower <= upper else {
                return nil
            }
            self.init(lower: lower, upper: upper)
        }
    }

    func intersection(_ other: VersionRange) -> VersionRange {
        let both = VersionRange(lower: max(self.lower, other.lower), upper: min(self.upper, other.upper))
        return both.isEmpty ? .none : both
    }

    func contains(_ other: VersionRange) -> Bool {
        other.isEmpty || (self.lower <= other.lower && self.upper >= other.upper)
    }

    func contains(_ version: Int) -> Bool {
        self.lower <= version && version <= self.upper
    }

    var description: String {
        if self.isEmpty { return "none" }
        if self.upper == Self.highest { return "\(self.lower)+" }
        return self.lower == self.upper ? "\(self.lower)" : "\(self.lower)-\(self.upper)"
    }
}
