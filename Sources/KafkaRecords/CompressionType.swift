/// The codec of a batch: bits 0 to 2 of its attributes.
package enum CompressionType: UInt8, Sendable, CaseIterable {
    case none = 0
    case gzip = 1
    case snappy = 2
    case lz4 = 3
    case zstd = 4

    /// Kafka's name for it, as in `compression.type`.
    package var name: String {
        switch self {
        case .none: "none"
        case .gzip: "gzip"
        case .snappy: "snappy"
        case .lz4: "lz4"
        case .zstd: "zstd"
        }
    }

    /// From Kafka's name. The config's value `uncompressed` means `none` too; `producer` is not a codec.
    package init?(name: some StringProtocol) {
        switch name {
        case "none", "uncompressed": self = .none
        case "gzip": self = .gzip
        case "snappy": self = .snappy
        case "lz4": self = .lz4
        case "zstd": self = .zstd
        default: return nil
        }
    }
}

/// Whose clock a batch's timestamps are from: bit 3 of its attributes, `message.timestamp.type`.
package enum TimestampType: UInt8, Sendable {
    /// The producer's, a record at a time.
    case createTime = 0
    /// The broker's at the append, one for the whole batch (its `maxTimestamp`).
    case logAppendTime = 1

    /// Kafka's name, as in `message.timestamp.type`.
    package var name: String { self == .createTime ? "CreateTime" : "LogAppendTime" }

    package init?(name: some StringProtocol) {
        switch name {
        case "CreateTime": self = .createTime
        case "LogAppendTime": self = .logAppendTime
        default: return nil
        }
    }
}
