import COttla
import Glibc

/// `coordinators --seeds N [--first SEED] [--steps N] [--workers N]`, as `script/simulate` calls it. Seeds are shared out
/// among processes; each writes its totals to a pipe.
struct Command {
    private static let usage = """
        usage: script/simulate coordinators --seeds N [--first SEED] [--steps N] [--workers N]
               script/simulate coordinators --seed SEED [--steps N]     one seed, with its steps
               script/simulate coordinators --mutants [NAME...]
        """

    private var seeds = 1
    private var first: UInt64?
    private var steps = 1500
    private var workers = max(1, min(16, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    private var single: UInt64?
    private var worker: Int?
    private var problem: String?

    init(_ arguments: [String]) {
        var index = 1
        while index < arguments.count {
            let value = index + 1 < arguments.count ? Int(arguments[index + 1]) : nil
            guard let value, value >= 0 else {
                self.problem = "\(arguments[index]) takes a number"
                return
            }
            switch arguments[index] {
            case "--seeds": self.seeds = value
            case "--steps": self.steps = value
            case "--workers": self.workers = max(1, min(256, value))
            case "--first": self.first = UInt64(value)
            case "--seed": self.single = UInt64(value)
            case "--worker": self.worker = value
            default: self.problem = "unknown: \(arguments[index])"
            }
            index += 2
        }
        if arguments.first != "coordinators" { self.problem = "what is to be simulated: coordinators" }
    }

    func run() -> CInt {
        if let problem = self.problem {
            print("\(problem)\n\(Self.usage)")
            return 2
        }
        if let single = self.single { return self.replay(single) }
        if let worker = self.worker { return self.work(worker) }
        return self.lead()
    }

    // MARK: Seeds

    private func lead() -> CInt {
        var first = self.first ?? 0
        if self.first == nil {
            _ = ottla_random(&first, 8)
            first &= 0x7FFF_FFFF_FFFF
            print("first seed \(first)")
            fflush(nil)
        }
        let started = Self.now()
        var children: [(pid: pid_t, output: CInt)] = []
        for number in 0..<self.workers {
            let arguments = [
                "coordinators", "--seeds", "\(self.seeds)", "--first", "\(first)", "--steps", "\(self.steps)",
                "--workers", "\(self.workers)", "--worker", "\(number)",
            ]
            if let child = Self.spawn(arguments) { children.append(child) }
        }
        guard children.count == self.workers else {
            print("processes cannot be started")
            return 2
        }
        // The first one that fails ends the others.
        var failed: (child: Int, status: CInt)?
        var running = Set(children.indices)
        let outputs = Self.readAll(children.map(\.output)) { index in
            var status: CInt = 0
            while waitpid(children[index].pid, &status, 0) < 0 && errno == EINTR {}
            running.remove(index)
            guard status != 0, failed == nil else { return }
            failed = (index, status)
            for other in running { kill(children[other].pid, SIGTERM) }
        }
        var totals = [Int](repeating: 0, count: 6)
        for output in outputs {
            let line = output.split(separator: "\n").last { $0.hasPrefix("=") } ?? ""
            for (index, word) in line.dropFirst().split(separator: " ").enumerated() where index < totals.count {
                totals[index] += Int(word) ?? 0
            }
        }
        let seconds = Double(Self.now() - started) / 1e9
        print(
            """
            \(totals[0]) seeds, \(totals[1]) steps, \(totals[2]) crashes, \(totals[3]) power cuts, \(totals[4]) requests \
            of which \(totals[5]) lost, \(Int(seconds * 10) / 10) seconds, \(Int(Double(totals[1]) / max(seconds, 0.001))) \
            steps a second
            """)
        guard let failed else { return 0 }
        // The one that it was at, also where it trapped or did not end.
        let lines = outputs[failed.child].split(separator: "\n")
        guard let seed = lines.last(where: { $0.hasPrefix("seed ") })?.dropFirst(5) else { return 2 }
        fflush(nil)
        if let child = Self.spawn(["coordinators", "--seed", String(seed), "--steps", "\(self.steps)"]) {
            print(Self.readAll([child.output])[0])
            var status: CInt = 0
            while waitpid(child.pid, &status, 0) < 0 && errno == EINTR {}
            if status & 0x7F != 0 { print("seed \(seed): the process ends by signal \(status & 0x7F)") }
        }
        return 1
    }

    private func work(_ number: Int) -> CInt {
        var sums = [Int](repeating: 0, count: 6)
        var index = number
        var hasFailed = false
        while index < self.seeds, !hasFailed {
            let seed = (self.first ?? 0) &+ UInt64(index)
            print("seed \(seed)")
            fflush(nil)
            // A seed takes well below a second: one that does not end is a failure too.
            alarm(120)
            let simulation = CoordinatorSimulation(seed: seed, isTraced: false)
            do { try simulation.run(steps: self.steps) } catch { hasFailed = true }
            let totals = simulation.world.totals
            for (at, value) in [1, totals.steps, totals.crashes, totals.powerCuts, totals.requests, totals.lost]
                .enumerated()
            {
                sums[at] += value
            }
            index += self.workers
            print("=" + sums.map { String($0) }.joined(separator: " "))
        }
        fflush(nil)
        return hasFailed ? 1 : 0
    }

    private func replay(_ seed: UInt64) -> CInt {
        alarm(120)
        let simulation = CoordinatorSimulation(seed: seed, isTraced: true)
        do { try simulation.run(steps: self.steps) } catch {
            for line in simulation.world.trace ?? [] { print(line) }
            let message = (error as? Violation)?.message ?? "\(error)"
            print("seed \(seed): violation at step \(simulation.world.totals.steps): \(message)")
            return 1
        }
        print("seed \(seed): no violation in \(simulation.world.totals.steps) steps")
        return 0
    }

    // MARK: Processes

    /// Starts this program again, with what it prints in a pipe. Dictionaries must have the same order each time.
    private static func spawn(_ arguments: [String]) -> (pid: pid_t, output: CInt)? {
        var ends: [CInt] = [0, 0]
        guard pipe(&ends) == 0 else { return nil }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
        posix_spawn_file_actions_addclose(&actions, ends[1])
        defer { posix_spawn_file_actions_destroy(&actions) }
        var pointers = (["ottla-simulate-coordinators"] + arguments).map { strdup($0) } + [nil]
        var variables = [strdup("SWIFT_DETERMINISTIC_HASHING=1"), strdup("SWIFT_BACKTRACE=enable=no"), nil]
        defer { for pointer in pointers + variables { free(pointer) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, "/proc/self/exe", &actions, nil, &pointers, &variables)
        close(ends[1])
        return result == 0 ? (pid, ends[0]) : nil
    }

    /// What each pipe gives until its end; nobody who writes has to wait for another.
    /// - Parameter ended: told of each that has ended.
    private static func readAll(_ pipes: [CInt], ended: (Int) -> Void = { _ in }) -> [String] {
        var bytes = [[UInt8]](repeating: [], count: pipes.count)
        var buffer = [UInt8](repeating: 0, count: 65_536)
        var waiting = pipes.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        while waiting.contains(where: { $0.fd >= 0 }) {
            guard poll(&waiting, nfds_t(waiting.count), -1) >= 0 || errno == EINTR else { break }
            for index in waiting.indices where waiting[index].fd >= 0 && waiting[index].revents != 0 {
                let count = read(waiting[index].fd, &buffer, buffer.count)
                if count > 0 {
                    bytes[index] += buffer[..<count]
                } else if count == 0 || errno != EINTR {
                    close(waiting[index].fd)
                    waiting[index].fd = -1
                    ended(index)
                }
            }
        }
        return bytes.map { String(decoding: $0, as: UTF8.self) }
    }

    private static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }
}
