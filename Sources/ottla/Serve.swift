import ArgumentParser
import Glibc
import KafkaBroker
import Logging

struct Serve: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs a broker until it gets SIGTERM or SIGINT.",
        discussion: """
            Settings have Kafka's names and come from, later ones winning:

              1. Kafka's defaults; without FILE, the values of Kafka's own config/server.properties
                 for a single node, listening on localhost:9092 only, data in ./ottla-data;
              2. FILE, in the format of server.properties;
              3. environment variables as in Kafka's container image, with the prefix OTTLA_:
                 OTTLA_LOG_DIRS sets log.dirs;
              4. --override KEY=VALUE, as often as needed.

            Examples:

              ottla serve
              ottla serve server.properties --override num.partitions=3
              ottla serve --override listeners=PLAINTEXT://:9092 \\
                          --override advertised.listeners=PLAINTEXT://kafka.example.org:9092

            It ends with 0 after SIGTERM or SIGINT (a second one ends it at once), with 1 when it
            cannot run (data folder in use, port taken, ...), with 2 when a setting is wrong.
            """)

    @Argument(help: "Settings, in the format of Kafka's server.properties.")
    var file: String?

    @Option(name: .long, help: ArgumentHelp("Sets one setting.", valueName: "key=value"))
    var override: [String] = []

    @Option(name: .long, help: "trace, debug, info, warning, error or critical.")
    var logLevel: String = "info"

    func validate() throws {
        guard Logger.Level(rawValue: self.logLevel) != nil else {
            throw ValidationError("'\(self.logLevel)' is no log level: trace, debug, info, warning, error or critical")
        }
    }

    func run() throws {
        let runBegan = millisecondsSinceBoot()
        let level = Logger.Level(rawValue: self.logLevel) ?? .info
        var logger = Logger(label: "ottla") { _ in StandardErrorLog(level: level) }
        logger.logLevel = level
        let config = try self.loadConfig(logger)

        // Blocked before any thread starts, so that every thread inherits it and only `sigwait` below sees them.
        let signals = EndSignals()
        signal(SIGPIPE, SIG_IGN)
        let broker: Broker
        do {
            broker = try Broker.start(config: config, logger: logger)
        } catch {
            logger.critical("\(error)")
            throw ExitCode(1)
        }
        // A script that execs this program is the same process, begun long before: its time is not ours.
        let inRun = millisecondsSinceBoot() - runBegan
        let took = millisecondsSinceStart() - inRun > 100 ? inRun : millisecondsSinceStart()
        logger.notice(
            "ottla ready on \(broker.addressText), data folder \(broker.dataFolderText), \(took) ms")
        let reason = signals.wait(orEndOf: broker)
        switch reason {
        case .signal(let name):
            logger.notice("\(name): shutting down; a second signal ends at once")
            if broker.stop() {
                logger.notice("ended cleanly")
            } else {
                logger.warning("ended, but not everything could be written: the next start checks the ends of the logs")
            }
        case .failure(let why):
            logger.critical("\(why)")
            broker.stop()
            throw ExitCode(1)
        }
    }

    private func loadConfig(_ logger: Logger) throws -> KafkaConfig {
        do throws(KafkaConfigErrors) {
            let bytes = try self.file.map { path throws(KafkaConfigErrors) in try KafkaConfig.readFile(path) }
            let (config, warnings) = try KafkaConfig.load(
                file: bytes, environment: processEnvironment(), overrides: self.override)
            for warning in warnings { logger.warning("\(warning)") }
            return config
        } catch {
            for wrong in error.errors { logger.critical("\(wrong)") }
            throw ExitCode(2)
        }
    }
}

/// The process's environment variables.
private func processEnvironment() -> [String: String] {
    var variables: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
        let pair = String(cString: text)
        if let equals = pair.firstIndex(of: "=") {
            variables[String(pair[..<equals])] = String(pair[pair.index(after: equals)...])
        }
        entry += 1
    }
    return variables
}

/// Milliseconds since the kernel started this process, as /proc tells it (in ticks of 10 ms).
private func millisecondsSinceStart() -> Int {
    let sinceBoot = millisecondsSinceBoot()
    guard let file = fopen("/proc/self/stat", "r") else { return 0 }
    defer { fclose(file) }
    var buffer = [UInt8](repeating: 0, count: 2048)
    let count = fread(&buffer, 1, buffer.count, file)
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    // Field 22, counted from the name's end: the name is in parentheses and may hold anything.
    guard let name = text.lastIndex(of: ")") else { return 0 }
    let fields = text[name...].split(separator: " ")
    guard fields.count > 20, let ticks = Int(fields[20]) else { return 0 }
    return sinceBoot - ticks * 1000 / max(1, sysconf(Int32(_SC_CLK_TCK)))
}

private func millisecondsSinceBoot() -> Int {
    var now = timespec()
    clock_gettime(CLOCK_BOOTTIME, &now)
    return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}
