import Glibc
import SimulationShared

/// `script/simulate coordinators`.
enum Command {
    static func run(_ arguments: [String]) -> CInt {
        let program = SeedProgram(
            name: "coordinators", steps: 1500, failure: "an invariant does not hold",
            run: { seed, steps in
                let simulation = CoordinatorSimulation(seed: seed, isTraced: false)
                var failure: String?
                do { try simulation.run(steps: steps) } catch { failure = Self.text(error, simulation) }
                let totals = simulation.world.totals
                simulation.dispose()
                return (
                    [
                        totals.steps, totals.crashes, totals.powerCuts, totals.requests, totals.lost,
                        totals.transactions, totals.fenced,
                    ], failure
                )
            },
            replay: { seed, steps in
                let simulation = CoordinatorSimulation(seed: seed, isTraced: true)
                do { try simulation.run(steps: steps) } catch {
                    for line in simulation.world.trace ?? [] { print(line) }
                    print("seed \(seed): violation at \(Self.text(error, simulation))")
                    fflush(nil)
                    return 1
                }
                print("seed \(seed): no violation in \(simulation.world.totals.steps) steps")
                return 0
            },
            summary: { totals in
                """
                \(totals[0]) seeds, \(totals[1]) steps, \(totals[2]) crashes, \(totals[3]) power cuts, \(totals[4]) \
                requests of which \(totals[5]) lost, \(totals[6]) transactions, \(totals[7]) producers fenced
                """
            })
        return SeedRunner(program, arguments).run()
    }

    private static func text(_ error: any Error, _ simulation: CoordinatorSimulation) -> String {
        "step \(simulation.world.totals.steps): \((error as? Violation)?.message ?? "\(error)")"
    }
}
