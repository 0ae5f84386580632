/// Picks the subscribers of a topic that get the next partition, or give one up.
///
/// The members are sorted by load. Those at the left end with the least load are a range which, once each in it has
/// got a partition, is one higher and grows to the right by the members of that height; those at the right end with
/// the highest load likewise, downwards and to the left. The loads in `loads` are those of now; the ranges' heights
/// are kept here.
///
///     load |         [##]
///          |        #[##]
///          | [...] ##[##]
///          | [###]###[##]
///          +-------------- members
struct MemberBalancer {
    private var sorted: [Int32]
    private var leastEnd = 0
    private var leastHeight: Int
    private var nextLeast = 0
    private var mostStart: Int
    /// Members behind it have no partition to give up.
    private var mostEnd: Int
    private var mostHeight: Int
    private var nextMost: Int

    /// - Parameter members: one or more, ascending.
    init(_ members: [Int32], loads: [Int]) {
        self.sorted = members.sorted { (loads[Int($0)], $0) < (loads[Int($1)], $1) }
        self.leastHeight = loads[Int(self.sorted[0])] - 1
        self.mostStart = self.sorted.count
        self.mostEnd = self.sorted.count
        self.mostHeight = loads[Int(self.sorted[self.sorted.count - 1])] + 1
        self.nextMost = self.sorted.count - 1
    }

    /// Between the most and the least loaded, as long as nothing was picked.
    func difference(_ loads: [Int]) -> Int {
        loads[Int(self.sorted[self.sorted.count - 1])] - loads[Int(self.sorted[0])]
    }

    /// Whether moving one from the last range to the first would make nothing better.
    var isBalanced: Bool { self.mostHeight - self.leastHeight <= 1 }

    /// Who gets the next partition.
    mutating func nextLeastLoaded(_ loads: [Int]) -> Int32 {
        if self.nextLeast >= self.leastEnd {
            self.leastHeight += 1
            while self.leastEnd < self.sorted.count, loads[Int(self.sorted[self.leastEnd])] == self.leastHeight {
                self.leastEnd += 1
            }
            self.nextLeast = 0
        }
        defer { self.nextLeast += 1 }
        return self.sorted[self.nextLeast]
    }

    /// Who is to give one up; nil if nobody is left.
    mutating func nextMostLoaded(_ loads: [Int]) -> Int32? {
        if self.nextMost < self.mostStart {
            if self.mostEnd <= self.mostStart && self.mostStart > 0 {
                // All in the range were excluded: begin anew at the next member's height.
                self.mostHeight = loads[Int(self.sorted[self.mostStart - 1])]
            } else {
                self.mostHeight -= 1
            }
            while self.mostStart > 0, loads[Int(self.sorted[self.mostStart - 1])] == self.mostHeight {
                self.mostStart -= 1
            }
            self.nextMost = self.mostEnd - 1
        }
        guard self.nextMost >= 0 else { return nil }
        defer { self.nextMost -= 1 }
        return self.sorted[self.nextMost]
    }

    /// The one that was picked last has nothing to give up: it leaves the range.
    mutating func excludeMostLoaded() {
        self.sorted.swapAt(self.nextMost + 1, self.mostEnd - 1)
        self.mostEnd -= 1
    }
}
