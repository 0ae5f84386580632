import Foundation
import Testing

@testable import KafkaCoordination

@Suite struct TransactionScenarioTests {
    @Test(arguments: DataDriven.files(under: "testdata/transactions"))
    func scenario(_ file: URL) throws {
        let scenario = TransactionScenario()
        try DataDriven.run(file) { try scenario.run($0) }
    }

    @Test func thereAreScenarios() {
        #expect(DataDriven.files(under: "testdata/transactions").count >= 15)
    }
}
