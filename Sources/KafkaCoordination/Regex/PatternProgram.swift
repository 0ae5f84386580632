/// A pattern as a machine with several places at once, which are instructions.
struct PatternProgram: Sendable {
    enum Instruction: Sendable {
        /// One character of the set with this number, then the next instruction.
        case set(Int32)
        case assertion(PatternTree.Assertion)
        /// Here and there.
        case split(Int32)
        case jump(Int32)
        case match
    }

    private(set) var instructions: [Instruction] = []
    private(set) var sets: [ASCIISet] = []

    init(_ tree: PatternTree) {
        self.instructions.reserveCapacity(tree.instructions(tree.root) + 1)
        var numbers: [ASCIISet: Int32] = [:]
        self.emit(tree.root, of: tree, &numbers)
        self.instructions.append(.match)
    }

    private var here: Int32 { Int32(self.instructions.count) }

    /// Recurses as deep as groups are nested, which is bounded.
    private mutating func emit(_ node: Int, of tree: PatternTree, _ numbers: inout [ASCIISet: Int32]) {
        switch tree[node] {
        case .set(let set):
            let number = numbers[set] ?? Int32(self.sets.count)
            if numbers.updateValue(number, forKey: set) == nil { self.sets.append(set) }
            self.instructions.append(.set(number))
        case .assertion(let assertion): self.instructions.append(.assertion(assertion))
        case .sequence(let parts):
            for part in parts { self.emit(part, of: tree, &numbers) }
        case .choice(let parts):
            var jumps: [Int] = []
            for part in parts.dropLast() {
                let split = self.reserve()
                self.emit(part, of: tree, &numbers)
                jumps.append(self.reserve())
                self.instructions[split] = .split(self.here)
            }
            if let last = parts.last { self.emit(last, of: tree, &numbers) }
            for jump in jumps { self.instructions[jump] = .jump(self.here) }
        case .repetition(let part, let least, let most):
            self.emitRepetition(part, least, most, of: tree, &numbers)
        }
    }

    private mutating func emitRepetition(
        _ part: Int, _ least: Int, _ most: Int?, of tree: PatternTree, _ numbers: inout [ASCIISet: Int32]
    ) {
        var last = self.here
        for _ in 0..<least {
            last = self.here
            self.emit(part, of: tree, &numbers)
        }
        if let most {
            var splits: [Int] = []
            for _ in least..<most {
                splits.append(self.reserve())
                self.emit(part, of: tree, &numbers)
            }
            for split in splits { self.instructions[split] = .split(self.here) }
        } else if least > 0 {
            self.instructions.append(.split(last))
        } else {
            let split = self.reserve()
            self.emit(part, of: tree, &numbers)
            self.instructions.append(.jump(Int32(split)))
            self.instructions[split] = .split(self.here)
        }
    }

    /// A place to be filled in.
    private mutating func reserve() -> Int {
        self.instructions.append(.match)
        return self.instructions.count - 1
    }
}

/// Runs a program. Kept for its memory: some bytes an instruction, which are touched at every step and so are no arrays.
final class PatternMatcher {
    private let program: PatternProgram
    /// The instructions at which it is, all of them `set`, and those after the next character.
    private var current: UnsafeMutablePointer<Int32>
    private var currentCount = 0
    private var following: UnsafeMutablePointer<Int32>
    private var followingCount = 0
    /// Each instruction is reached once a step and then leads to two others at most.
    private let unfinished: UnsafeMutablePointer<Int32>
    /// By instruction, the step in which it was last reached.
    private let reached: UnsafeMutablePointer<UInt32>
    private var step: UInt32 = 0

    init(_ program: PatternProgram) {
        self.program = program
        let count = program.instructions.count
        self.current = .allocate(capacity: count)
        self.following = .allocate(capacity: count)
        self.unfinished = .allocate(capacity: 2 * count + 1)
        self.reached = .allocate(capacity: count)
        self.reached.initialize(repeating: 0, count: count)
    }

    deinit {
        self.current.deallocate()
        self.following.deallocate()
        self.unfinished.deallocate()
        self.reached.deallocate()
    }

    func matches(_ name: String) -> Bool {
        var name = name
        return name.withUTF8 { self.matches($0) }
    }

    /// The whole of it, from the first to the last byte.
    private func matches(_ name: UnsafeBufferPointer<UInt8>) -> Bool {
        self.beginStep()
        var isMatch = self.add(0, before: nil, after: name.first)
        for index in name.indices {
            swap(&self.current, &self.following)
            self.currentCount = self.followingCount
            self.beginStep()
            isMatch = false
            let after = index + 1 < name.count ? name[index + 1] : nil
            for place in UnsafeBufferPointer(start: self.current, count: self.currentCount) {
                guard case .set(let set) = self.program.instructions[Int(place)],
                    self.program.sets[Int(set)].contains(name[index])
                else { continue }
                if self.add(place + 1, before: name[index], after: after) { isMatch = true }
            }
            if self.followingCount == 0 && !isMatch { return false }
        }
        return isMatch
    }

    private func beginStep() {
        self.followingCount = 0
        self.step &+= 1
        if self.step == 0 {
            self.reached.update(repeating: 0, count: self.program.instructions.count)
            self.step = 1
        }
    }

    /// Goes to an instruction and from there to all that can be reached without a character. Returns whether the
    /// match is one of them.
    private func add(_ place: Int32, before: UInt8?, after: UInt8?) -> Bool {
        var isMatch = false
        self.unfinished[0] = place
        var count = 1
        while count > 0 {
            count -= 1
            let place = self.unfinished[count]
            if self.reached[Int(place)] == self.step { continue }
            self.reached[Int(place)] = self.step
            switch self.program.instructions[Int(place)] {
            case .set:
                self.following[self.followingCount] = place
                self.followingCount += 1
            case .jump(let target):
                self.unfinished[count] = target
                count += 1
            case .split(let target):
                self.unfinished[count] = target
                self.unfinished[count + 1] = place + 1
                count += 2
            case .assertion(let assertion):
                if Self.holds(assertion, before, after) {
                    self.unfinished[count] = place + 1
                    count += 1
                }
            case .match: isMatch = true
            }
        }
        return isMatch
    }

    private static func holds(_ assertion: PatternTree.Assertion, _ before: UInt8?, _ after: UInt8?) -> Bool {
        switch assertion {
        case .begin: before == nil
        case .end: after == nil
        case .wordBoundary: Self.isWord(before) != Self.isWord(after)
        case .noWordBoundary: Self.isWord(before) == Self.isWord(after)
        }
    }

    private static func isWord(_ byte: UInt8?) -> Bool { byte.map(PatternParser.word.contains) ?? false }
}
