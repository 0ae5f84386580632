import COttla
import Glibc

@testable import KafkaLog

/// `ottla-simulate log --seeds N [--first SEED] [--steps N] [--workers N]`, as `script/simulate` calls it.
///
/// The seeds are shared out among processes, so that a trap or an endless loop in the log is only another way to
/// disagree: the parent names the seed, and has it run again for its steps.
struct Command {
    private static let usage = """
        usage: script/simulate log --seeds N [--first SEED] [--steps N] [--workers N] [--flush-before-ack on|off]
               script/simulate log --seed SEED [--steps N]     one seed, with its steps
               script/simulate log --mutants [NAME...]
        """

    private var seeds = 1
    private var first: UInt64?
    private var steps = 120
    private var workers: Int
    private var single: UInt64?
    /// Within a worker: its number and the file that it shares with its parent.
    private var worker: (number: Int, path: String)?
    private var prints = false
    /// Names each seed that disagrees and goes on with the next.
    private var keepsGoing = false
    private var problem: String?

    init(_ arguments: [String]) {
        self.workers = max(1, min(16, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        guard arguments.first == "log" else {
            self.problem = "what is to be simulated: log"
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
            case "--flush-before-ack":
                if value != "on" && value != "off" { self.problem = "\(name) is on or off" }
                Profile.flushBeforeAck = value == "on"
            case "--keep-going":
                self.keepsGoing = true
                index -= 1
            case "--prints":
                self.prints = true
                index -= 1
            default: self.problem = "unknown: \(name)"
            }
        }
    }

    private mutating func number(_ name: String, _ value: String) -> Int {
        if let number = Int(value), number >= 0 { return number }
        self.problem = "\(name) takes a number"
        return 0
    }

    /// What a process that is started again must be told.
    private static var inherited: [String] {
        guard let isOn = Profile.flushBeforeAck else { return [] }
        return ["--flush-before-ack", isOn ? "on" : "off"]
    }

    func run() -> CInt {
        if let problem = self.problem {
            Self.complain("\(problem)\n\(Self.usage)\n")
            return 2
        }
        if let (number, path) = self.worker { return self.work(number, path) }
        if let seed = self.single { return self.prints ? self.replay(seed) : self.runSingle(seed) }
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
                    "log", "--seeds", "\(self.seeds)", "--first", "\(first)", "--steps", "\(self.steps)", "--workers",
                    "\(self.workers)", "--worker", "\(number)", path,
                ] + Self.inherited + (self.keepsGoing ? ["--keep-going"] : [])
            if let pid = Self.spawn(arguments) { children.append((pid, number)) }
        }
        guard children.count == self.workers else {
            Self.complain("processes cannot be started\n")
            return 2
        }
        let failed = self.watch(&children, board)
        let seconds = Double(Self.now() - started) / 1e9
        self.printTotals(board, seconds)
        guard let failed else { return 0 }
        print("seed \(failed.seed): \(failed.why)")
        fflush(nil)
        _ = Self.spawnAndWait(["log", "--seed", "\(failed.seed)", "--steps", "\(self.steps)"] + Self.inherited)
        return 1
    }

    private func watch(_ children: inout [(pid: pid_t, number: Int)], _ board: Board) -> (seed: UInt64, why: String)? {
        var failed: (seed: UInt64, why: String)?
        var last = [(seed: Int64, at: UInt64)](repeating: (-1, Self.now()), count: self.workers)
        while !children.isEmpty {
            for (index, child) in children.enumerated().reversed() {
                var status: CInt = 0
                guard waitpid(child.pid, &status, WNOHANG) == child.pid else { continue }
                children.remove(at: index)
                let signal = status & 0x7F
                let code = status >> 8 & 0xFF
                let seed = UInt64(bitPattern: board[child.number, .seed])
                if signal != 0, failed == nil {
                    failed = (seed, "the process ends by signal \(signal)")
                } else if code != 0, failed == nil {
                    failed = (seed, "log and model disagree")
                }
                if failed != nil { board.stop() }
            }
            for child in children {
                let seed = board[child.number, .seed]
                if seed != last[child.number].seed {
                    last[child.number] = (seed, Self.now())
                } else if Self.now() - last[child.number].at > 60_000_000_000 {
                    kill(child.pid, SIGKILL)
                    if failed == nil { failed = (UInt64(bitPattern: seed), "it does not end") }
                }
            }
            usleep(2000)
        }
        return failed
    }

    private func printTotals(_ board: Board, _ seconds: Double) {
        func total(_ field: Board.Field) -> Int64 {
            (0..<self.workers).reduce(0) { $0 + board[$1, field] }
        }
        let steps = total(.steps)
        let rate = Int(Double(steps) / max(seconds, 0.001))
        print(
            "\(total(.seeds)) seeds, \(steps) steps, \(total(.crashes)) crashes, \(total(.powerCuts)) power cuts "
                + "(\(total(.syncedCuts)) with ottla.flush.before.ack on a partition), "
                + "\(total(.faults)) faults, \(Self.rounded(seconds)) seconds, \(rate) steps a second")
        fflush(nil)
    }

    private static func rounded(_ seconds: Double) -> String {
        let tenths = Int(seconds * 10)
        return "\(tenths / 10).\(tenths % 10)"
    }

    private static func now() -> UInt64 {
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
            board[number, .seed] = Int64(bitPattern: seed)
            let simulation = LogSimulation(seed: seed, isTraced: false)
            var hasFailed = false
            do { try simulation.run(steps: self.steps) } catch {
                hasFailed = true
                if self.keepsGoing { print("seed \(seed): step \(simulation.step): \(error)") }
            }
            simulation.dispose()
            board[number, .seeds] += 1
            board[number, .steps] += Int64(simulation.totals.steps)
            board[number, .crashes] += Int64(simulation.totals.crashes)
            board[number, .powerCuts] += Int64(simulation.totals.powerCuts)
            board[number, .syncedCuts] += Int64(simulation.totals.syncedCuts)
            board[number, .faults] += Int64(simulation.totals.faults)
            if hasFailed, !self.keepsGoing { return 1 }
            index += self.workers
        }
        return 0
    }

    // MARK: one seed

    /// In a process of its own, which may trap.
    private func runSingle(_ seed: UInt64) -> CInt {
        let code = Self.spawnAndWait(
            ["log", "--prints", "--seed", "\(seed)", "--steps", "\(self.steps)"] + Self.inherited)
        if code > 128 { print("the process ends by signal \(code - 128)") }
        return code == 0 ? 0 : 1
    }

    private func replay(_ seed: UInt64) -> CInt {
        guard Self.fails(seed, self.steps, []) != nil else {
            print("seed \(seed): log and model agree in \(self.steps) steps")
            return 0
        }
        let skipping = Self.shrink(seed, self.steps)
        let simulation = LogSimulation(seed: seed, isTraced: true)
        var message = ""
        do { try simulation.run(steps: skipping.steps, skipping: skipping.skipped) } catch let error as Disagreement {
            message = error.message
        } catch {
            message = "\(error)"
        }
        for line in simulation.trace ?? [] { print(line) }
        for line in simulation.notices.lines { print("      (\(line))") }
        print("seed \(seed): disagreement at step \(simulation.step): \(message)")
        fflush(nil)
        simulation.dispose()
        return 1
    }

    /// The step at which it fails, nil where it does not.
    private static func fails(_ seed: UInt64, _ steps: Int, _ skipped: Set<Int>) -> Int? {
        let simulation = LogSimulation(seed: seed, isTraced: false)
        defer { simulation.dispose() }
        do { try simulation.run(steps: steps, skipping: skipped) } catch { return simulation.step }
        return nil
    }

    /// Leaves out steps as long as it goes on to fail, in any way.
    private static func shrink(_ seed: UInt64, _ steps: Int) -> (steps: Int, skipped: Set<Int>) {
        guard let step = self.fails(seed, steps, []) else { return (steps, []) }
        var steps = min(step, steps)
        var skipped: Set<Int> = []
        let deadline = self.now() + 20_000_000_000
        var size = max(1, steps / 2)
        while true {
            var from = 1
            while from <= steps, self.now() < deadline {
                let tried = skipped.union(from..<min(from + size, steps + 1))
                if tried.count > skipped.count, let step = self.fails(seed, steps, tried) {
                    skipped = tried
                    steps = min(steps, step)
                }
                from += size
            }
            if size == 1 || self.now() >= deadline { return (steps, skipped) }
            size /= 2
        }
    }
}

/// Numbers that parent and workers share.
final class Board {
    enum Field: Int { case seed, seeds, steps, crashes, powerCuts, syncedCuts, faults }

    private let pointer: UnsafeMutablePointer<Int64>
    private let workers: Int
    private static let width = 16

    init?(fd: CInt, workers: Int) {
        let size = (workers + 1) * Self.width * 8
        guard ftruncate(fd, off_t(size)) == 0,
            let map = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), map != MAP_FAILED
        else { return nil }
        self.pointer = map.assumingMemoryBound(to: Int64.self)
        self.workers = workers
    }

    subscript(worker: Int, field: Field) -> Int64 {
        get { self.pointer[worker * Self.width + field.rawValue] }
        set { self.pointer[worker * Self.width + field.rawValue] = newValue }
    }

    func stop() { self.pointer[self.workers * Self.width] = 1 }

    var isStopped: Bool { self.pointer[self.workers * Self.width] != 0 }
}
