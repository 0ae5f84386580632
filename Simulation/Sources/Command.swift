import Glibc
import SimulationShared

@testable import KafkaLog

/// `script/simulate log`.
enum Command {
    static func run(_ arguments: [String]) -> CInt {
        var program = SeedProgram(
            name: "log", steps: 120, failure: "log and model disagree",
            run: { seed, steps in
                let simulation = LogSimulation(seed: seed, isTraced: false)
                defer { simulation.dispose() }
                var failure: String?
                do { try simulation.run(steps: steps) } catch { failure = "step \(simulation.step): \(error)" }
                let totals = simulation.totals
                return (
                    [totals.steps, totals.crashes, totals.powerCuts, totals.syncedCuts, totals.faults], failure
                )
            },
            replay: { self.replay($0, $1) },
            summary: { totals in
                "\(totals[0]) seeds, \(totals[1]) steps, \(totals[2]) crashes, \(totals[3]) power cuts "
                    + "(\(totals[4]) with ottla.flush.before.ack on a partition), \(totals[5]) faults"
            })
        program.usage = " [--flush-before-ack on|off]"
        program.options["--flush-before-ack"] = { value in
            Profile.flushBeforeAck = value == "on"
            return value == "on" || value == "off"
        }
        return SeedRunner(program, arguments).run()
    }

    private static func replay(_ seed: UInt64, _ steps: Int) -> CInt {
        guard self.fails(seed, steps, []) != nil else {
            print("seed \(seed): log and model agree in \(steps) steps")
            return 0
        }
        let skipping = self.shrink(seed, steps)
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
        let deadline = SeedRunner.now() + 20_000_000_000
        var size = max(1, steps / 2)
        while true {
            var from = 1
            while from <= steps, SeedRunner.now() < deadline {
                let tried = skipped.union(from..<min(from + size, steps + 1))
                if tried.count > skipped.count, let step = self.fails(seed, steps, tried) {
                    skipped = tried
                    steps = min(steps, step)
                }
                from += size
            }
            if size == 1 || SeedRunner.now() >= deadline { return (steps, skipped) }
            size /= 2
        }
    }
}
