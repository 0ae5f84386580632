internal import Logging
import Synchronization

/// Kinds of log lines; each is limited on its own.
enum TransportEvent: Int, CaseIterable {
    case badFrame, tooManyConnections, stalled, idle, memory, closedByHandler, file, lostBytes, accept

    var level: Logger.Level {
        switch self {
        case .badFrame, .tooManyConnections, .memory: .warning
        case .stalled, .closedByHandler: .info
        case .idle: .debug
        case .file, .lostBytes, .accept: .error
        }
    }
}

/// Log lines of the network: no more than a few a second of one kind, so that an attack cannot flood stderr. What was
/// left out is counted in the next line of its kind.
final class TransportLog: Sendable {
    private struct Window {
        var start: UInt64 = 0
        var lines = 0
        var suppressed = 0
    }
    private static let linesPerSecond = 5

    private let logger: Logger
    private let windows = Mutex<[Window]>(Array(repeating: Window(), count: TransportEvent.allCases.count))

    init(_ logger: Logger) { self.logger = logger }

    /// `now`: monotonic nanoseconds.
    func line(_ event: TransportEvent, now: UInt64, _ text: @autoclosure () -> String) {
        let level = event.level
        guard logger.logLevel <= level else { return }
        let suppressed: Int? = windows.withLock { windows in
            var window = windows[event.rawValue]
            defer { windows[event.rawValue] = window }
            if now &- window.start >= 1_000_000_000 {
                let missed = window.suppressed
                window = Window(start: now, lines: 1, suppressed: 0)
                return missed
            }
            guard window.lines < Self.linesPerSecond else {
                window.suppressed += 1
                return nil
            }
            window.lines += 1
            return 0
        }
        guard let suppressed else { return }
        let more = suppressed > 0 ? " (and \(suppressed) more like it)" : ""
        logger.log(level: level, "\(text())\(more)")
    }
}
