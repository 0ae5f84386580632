import Foundation
import Testing

@testable import KafkaCoordination

@Suite struct ScenarioTests {
    @Test(arguments: DataDriven.files(under: "testdata"))
    func scenario(_ file: URL) throws {
        let scenario = GroupScenario()
        try DataDriven.run(file) { try scenario.run($0) }
    }

    @Test func thereAreScenarios() {
        #expect(DataDriven.files(under: "testdata").count >= 20)
    }
}
