import Glibc
import Logging

@testable import KafkaBroker

/// A broker in this process, on a free port, with a data folder that goes when it does.
final class TestBroker {
    private(set) var broker: Broker
    let folder: String
    private let overrides: [String]
    private var isRunning = true

    init(_ overrides: String...) throws {
        var template = Array("/tmp/ottla-test-XXXXXX".utf8CString)
        guard let path = mkdtemp(&template) else { throw TestFailure("mkdtemp: \(errno)") }
        self.folder = String(cString: path)
        self.overrides =
            ["listeners=PLAINTEXT://127.0.0.1:0", "log.dirs=\(self.folder)/data", "group.initial.rebalance.delay.ms=0"]
            + overrides
        self.broker = try Self.start(self.overrides)
    }

    private static func start(_ overrides: [String]) throws -> Broker {
        let (config, _) = try KafkaConfig.load(file: nil, overrides: overrides)
        return try Broker.start(config: config, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    /// Ends the broker cleanly and starts it again on the same folder (and another port).
    /// - Parameter between: done while there is no broker.
    func restart(_ between: () throws -> Void = {}) throws {
        self.broker.stop()
        self.isRunning = false
        try between()
        self.broker = try Self.start(self.overrides)
        self.isRunning = true
    }

    func stop() {
        if self.isRunning { self.broker.stop() }
        self.isRunning = false
    }

    func client() throws -> TestClient { try TestClient(port: self.broker.port) }

    deinit {
        if self.isRunning { self.broker.stop() }
        _ = system("rm -rf '\(self.folder)'")
    }
}

struct TestFailure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
