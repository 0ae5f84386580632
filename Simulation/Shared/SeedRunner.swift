import COttla
import Glibc

/// What is tried with many seeds, and how it is told of.
package struct SeedProgram {
    /// The first argument.
    package var name: String
    /// Steps of a seed, unless --steps says otherwise.
    package var steps: Int
    /// Options of its own, as the usage shows them, beginning with a blank; or "".
    package var usage = ""
    /// Takes a value of such an option; false where it takes none of the kind.
    package var options: [String: (String) -> Bool] = [:]
    /// What it means that a seed fails.
    package var failure: String
    /// Runs one seed. Nil: all is well.
    package var run: (_ seed: UInt64, _ steps: Int) -> (totals: [Int], failure: String?)
    /// Runs one seed and prints its steps where it fails: 1.
    package var replay: (_ seed: UInt64, _ steps: Int) -> CInt
    /// The sums over all seeds, of which the first is their number, and the second the steps.
    package var summary: (_ totals: [Int]) -> String

    package init(
        name: String, steps: Int, failure: String, run: @escaping (UInt64, Int) -> ([Int], String?),
        replay: @escaping (UInt64, Int) -> CInt, summary: @escaping ([Int]) -> String
    ) {
        self.name = name
        self.steps = steps
        self.failure = failure
        self.run = run
        self.replay = replay
        self.summary = summary
    }
}

/// `NAME --seeds N [--first SEED] [--steps N] [--workers N]`, as `script/simulate` calls it.
///
/// The seeds are shared out among processes, so that a trap or an endless loop is only another way to fail: the parent
/// names the seed, and has it run again for its steps.
package struct SeedRunner {
    private let program: SeedProgram
    private var seeds = 1
    private var first: UInt64?
    private var steps: Int
    private var workers: Int
    private var single: UInt64?
    /// Within a worker: its number and the file that it shares with its parent.
    private var worker: (number: Int, path: String)?
    private var prints = false
    /// Names each seed that fails and goes on with the next.
    private var keepsGoing = false
    /// What a process that is started again must be told.
    private var inherited: [String] = []
    private var problem: String?

    package init(_ program: SeedProgram, _ arguments: [String]) {
        self.program = program
        self.steps = program.steps
        self.workers = max(1, min(16, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        guard arguments.first == program.name else {
            self.problem = "what is to be simulated: \(program.name)"
            return
        }
        var index = 1
        while index < arguments.count {
            let name = arguments[index]
            let value = index + 1 < arguments.count ? arguments[index + 1] : ""
            index += 2
            switch name {
            case "--seeds": self.seeds = self.number(name, value)
            case "--steps": self.steps = self.number(name, value)
            case "--workers": self.workers = max(1, min(256, self.number(name, value)))
            case "--first": self.first = UInt64(self.number(name, value))
            case "--seed": self.single = UInt64(self.number(name, value))
            case "--worker":
                self.worker = (self.number(name, value), index < arguments.count ? arguments[index] : "")
                index += 1
            case "--keep-going":
                self.keepsGoing = true
                index -= 1
            case "--prints":
                self.prints = true
                index -= 1
            default:
                if let take = program.options[name] {
                    if !take(value) { self.problem = "\(name) does not take '\(value)'" }
                    self.inherited += [name, value]
                } else {
                    self.problem = "unknown: \(name)"
                }
            }
        }
    }

    private mutating func number(_ name: String, _ value: String) -> Int {
        if let number = Int(value), number >= 0 { return number }
        self.problem = "\(name) takes a number"
        return 0
    }

    package func run() -> CInt {
        if let problem = self.problem {
            let name = self.program.name
            Self.complain(
                """
                \(problem)
                usage: script/simulate \(name) --seeds N [--first SEED] [--steps N] [--workers N]\(self.program.usage)
                       script/simulate \(name) --seed SEED [--steps N]     one seed, with its steps
                       script/simulate \(name) --mutants [NAME...]

                """)
            return 2
        }
        if let (number, path) = self.worker { return self.work(number, path) }
        if let seed = self.single { return self.prints ? self.program.replay(seed, self.steps) : self.runSingle(seed) }
        return self.lead()
    }

    // MARK: the parent

    private func lead() -> CInt {
        var first = self.first ?? 0
        if self.first == nil {
            _ = ottla_random(&first, 8)
            first &= 0x7FFF_FFFF_FFFF
            print("first seed \(first)")
            fflush(nil)
        }
        let started = Self.now()
        var template = Array("/tmp/ottla-simulate-XXXXXX".utf8CString)
        let fd = mkstemp(&template)
        let path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
        guard fd >= 0, let board = Board(fd: fd, workers: self.workers) else {
            Self.complain("no shared file in /tmp\n")
            return 2
        }
        defer { unlink(path) }
        var children: [(pid: pid_t, number: Int)] = []
        for number in 0..<self.workers {
            let arguments =
                [
                    self.program.name, "--seeds", "\(self.seeds)", "--first", "\(first)", "--steps", "\(self.steps)",
                    "--workers", "\(self.workers)", "--worker", "\(number)", path,
                ] + self.inherited + (self.keepsGoing ? ["--keep-going"] : [])
            if let pid = Self.spawn(arguments) { children.append((pid, number)) }
        }
        guard children.count == self.workers else {
            Self.complain("processes cannot be started\n")
            return 2
        }
        let failed = self.watch(&children, board)
        let seconds = Double(Self.now() - started) / 1e9
        let totals = board.totals
        let rate = Int(Double(totals[1]) / max(seconds, 0.001))
        print("\(self.program.summary(totals)), \(Self.rounded(seconds)) seconds, \(rate) steps a second")
        fflush(nil)
        guard let failed else { return 0 }
        print("seed \(failed.seed): \(failed.why)")
        fflush(nil)
        _ = Self.spawnAndWait(
            [self.program.name, "--seed", "\(failed.seed)", "--steps", "\(self.steps)"] + self.inherited)
        return 1
    }

    private func watch(_ children: inout [(pid: pid_t, number: Int)], _ board: Board) -> (seed: UInt64, why: String)? {
        var failed: (seed: UInt64, why: String)?
        var last = [(seed: Int, at: UInt64)](repeating: (-1, Self.now()), count: self.workers)
        while !children.isEmpty {
            for (index, child) in children.enumerated().reversed() {
                var status: CInt = 0
                guard waitpid(child.pid, &status, WNOHANG) == child.pid else { continue }
                children.remove(at: index)
                let signal = status & 0x7F
                let code = status >> 8 & 0xFF
                let seed = UInt64(board[child.number, Board.seed])
                if signal != 0, failed == nil {
                    failed = (seed, "the process ends by signal \(signal)")
                } else if code != 0, failed == nil {
                    failed = (seed, self.program.failure)
                }
                if failed != nil { board.stop() }
            }
            for child in children {
                let seed = board[child.number, Board.seed]
                if seed != last[child.number].seed {
                    last[child.number] = (seed, Self.now())
                } else if Self.now() - last[child.number].at > 60_000_000_000 {
                    kill(child.pid, SIGKILL)
                    if failed == nil { failed = (UInt64(seed), "it does not end") }
                }
            }
            usleep(2000)
        }
        return failed
    }

    private static func rounded(_ seconds: Double) -> String {
        let tenths = Int(seconds * 10)
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// Monotonic nanoseconds.
    package static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Starts this program again. Dictionaries must have the same order each time.
    private static func spawn(_ arguments: [String]) -> pid_t? {
        var pid: pid_t = 0
        let program = "/proc/self/exe"
        var pointers = (["ottla-simulate"] + arguments).map { strdup($0) } + [nil]
        var variables = [strdup("SWIFT_DETERMINISTIC_HASHING=1"), strdup("SWIFT_BACKTRACE=enable=no"), nil]
        defer { for pointer in pointers + variables { free(pointer) } }
        return posix_spawn(&pid, program, nil, nil, &pointers, &variables) == 0 ? pid : nil
    }

    private static func spawnAndWait(_ arguments: [String]) -> CInt {
        guard let pid = self.spawn(arguments) else { return 2 }
        var status: CInt = 0
        while waitpid(pid, &status, 0) < 0 && errno == EINTR {}
        return status & 0x7F != 0 ? 128 + status & 0x7F : status >> 8 & 0xFF
    }

    private static func complain(_ text: String) {
        var text = text
        text.withUTF8 { _ = write(2, $0.baseAddress, $0.count) }
    }

    // MARK: a worker

    private func work(_ number: Int, _ path: String) -> CInt {
        let fd = open(path, O_RDWR)
        guard fd >= 0, let board = Board(fd: fd, workers: self.workers) else { return 2 }
        let parent = getppid()
        var index = number
        while index < self.seeds, !board.isStopped, getppid() == parent {
            let seed = (self.first ?? 0) &+ UInt64(index)
            board[number, Board.seed] = Int(seed)
            let (totals, failure) = self.program.run(seed, self.steps)
            board.add([1] + totals, of: number)
            if let failure {
                if !self.keepsGoing { return 1 }
                print("seed \(seed): \(failure)")
                fflush(nil)
            }
            index += self.workers
        }
        return 0
    }

    // MARK: one seed

    /// In a process of its own, which may trap.
    private func runSingle(_ seed: UInt64) -> CInt {
        let code = Self.spawnAndWait(
            [self.program.name, "--prints", "--seed", "\(seed)", "--steps", "\(self.steps)"] + self.inherited)
        if code > 128 { print("the process ends by signal \(code - 128)") }
        return code == 0 ? 0 : 1
    }
}

/// Numbers that parent and workers share.
private final class Board {
    private let pointer: UnsafeMutablePointer<Int>
    private let workers: Int
    private static let width = 16
    /// The field of the seed that a worker is at; the sums follow.
    static let seed = 0

    init?(fd: CInt, workers: Int) {
        let size = (workers + 1) * Self.width * 8
        guard ftruncate(fd, off_t(size)) == 0,
            let map = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), map != MAP_FAILED
        else { return nil }
        self.pointer = map.assumingMemoryBound(to: Int.self)
        self.workers = workers
    }

    subscript(worker: Int, field: Int) -> Int {
        get { self.pointer[worker * Self.width + field] }
        set { self.pointer[worker * Self.width + field] = newValue }
    }

    func add(_ totals: [Int], of worker: Int) {
        for (index, value) in totals.enumerated() where index + 1 < Self.width { self[worker, index + 1] += value }
    }

    var totals: [Int] {
        (1..<Self.width).map { field in (0..<self.workers).reduce(0) { $0 + self[$1, field] } }
    }

    func stop() { self.pointer[self.workers * Self.width] = 1 }

    var isStopped: Bool { self.pointer[self.workers * Self.width] != 0 }
}
