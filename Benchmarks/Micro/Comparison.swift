import CBareLoops
import Glibc

/// Measures and prints. Ours and the bare loop take turns in the same run, since machines differ from moment to moment,
/// and the best of the rounds counts: whatever disturbs a measurement makes it slower.
struct Comparison {
    static let rounds = 7
    static let nsPerRound: Int64 = 15_000_000

    /// Rows whose name contains one of these; empty: all.
    let filter: [String]

    func isWanted(_ name: String) -> Bool {
        self.filter.isEmpty || self.filter.contains { name.contains($0) }
    }

    func heading(_ title: String, rows: [String]) {
        guard rows.contains(where: self.isWanted) else { return }
        print("")
        print(pad(title, 46) + pad("ns", 12, right: true) + pad("bare ns", 12, right: true) + "   ratio  bare loop")
    }

    /// Both closures do the thing as often as their argument says.
    /// - Parameter times: how often in a round; nil: as often as fits.
    func row(
        _ name: String, bare bareName: String, times: Int? = nil, ours: (Int) -> Void, bare: (Int) -> Void
    ) {
        guard self.isWanted(name) else { return }
        let ourTimes = times ?? self.calibrate(ours)
        let bareTimes = times ?? self.calibrate(bare)
        var (best, bareBest) = (Double.infinity, Double.infinity)
        for _ in 0..<Self.rounds {
            best = min(best, self.time(ourTimes, ours))
            bareBest = min(bareBest, self.time(bareTimes, bare))
        }
        print(
            pad(name, 46) + pad(format(best), 12, right: true) + pad(format(bareBest), 12, right: true)
                + pad(decimal(best / bareBest), 8, right: true) + "  " + bareName)
        fflush(nil)
    }

    private func calibrate(_ body: (Int) -> Void) -> Int {
        var times = 1
        while true {
            let total = self.time(times, body) * Double(times)
            if total > Double(Self.nsPerRound) / 4 {
                return max(1, Int(Double(times) * Double(Self.nsPerRound) / total))
            }
            times *= 4
        }
    }

    private func time(_ times: Int, _ body: (Int) -> Void) -> Double {
        let start = bare_cpu_ns()
        body(times)
        return Double(bare_cpu_ns() - start) / Double(times)
    }
}

private func format(_ ns: Double) -> String { ns < 100 ? decimal(ns) : String(Int(ns.rounded())) }

private func decimal(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
}

private func pad(_ text: String, _ width: Int, right: Bool = false) -> String {
    let spaces = String(repeating: " ", count: max(0, width - text.count))
    return right ? spaces + text : text + spaces
}

/// Makes the compiler compute `value`.
func use(_ value: Int) { bare_use(UInt64(truncatingIfNeeded: value)) }

/// Numbers that look random and are the same in every run (SplitMix64).
struct FixedNumbers {
    var state: UInt64 = 1

    mutating func next(below limit: Int) -> Int {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return Int((value ^ value >> 31) % UInt64(limit))
    }
}
