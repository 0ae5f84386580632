// swift-tools-version: 6.2
import PackageDescription

/// The layers of Docs/ARCHITECTURE.md, from the bottom up. Imports point down only;
/// `script/build` and `script/test` make the compiler check it
/// (`--explicit-target-dependency-import-check error`).
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let grdb = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")
let sqlite = Target.Dependency.product(name: "GRDBSQLite", package: "GRDB.swift")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "ottla",
    products: [
        .executable(name: "ottla", targets: ["ottla"])
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // Level 0: bytes. No clock, file, socket, task or Foundation.
        .target(name: "CCRC32C"),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CSnappy", providers: [.apt(["libsnappy-dev"])]),
        .systemLibrary(name: "CLZ4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "KafkaPrimitives", swiftSettings: settings),
        .target(name: "KafkaMessages", dependencies: ["KafkaPrimitives"], swiftSettings: settings),
        .target(
            name: "KafkaRecords",
            dependencies: ["KafkaPrimitives", "CCRC32C", "CZlib", "CSnappy", "CLZ4", "CZstd"],
            swiftSettings: settings),
        .executableTarget(name: "ottla-generate", swiftSettings: settings),

        // Level 1: decisions, pure.
        .target(
            name: "KafkaCoordination",
            dependencies: ["KafkaPrimitives", "KafkaMessages", "KafkaRecords"],
            swiftSettings: settings),

        // Level 2: files, sockets, metadata.
        .target(name: "COttla"),
        .target(
            name: "KafkaLog",
            dependencies: ["KafkaPrimitives", "KafkaRecords", "COttla"],
            swiftSettings: settings),
        .target(
            name: "KafkaTransport",
            dependencies: ["KafkaPrimitives", "COttla", nioCore, nioPosix, logging],
            swiftSettings: settings),
        .target(
            name: "KafkaMetadata",
            dependencies: ["KafkaPrimitives", grdb, sqlite],
            swiftSettings: settings),

        // Level 3: the broker.
        .target(
            name: "KafkaBroker",
            dependencies: [
                "KafkaPrimitives", "KafkaMessages", "KafkaRecords", "KafkaCoordination",
                "KafkaLog", "KafkaTransport", "KafkaMetadata", "COttla",
                nioCore, nioPosix, logging,
            ],
            swiftSettings: settings),

        // Level 5: the command.
        .executableTarget(
            name: "ottla",
            dependencies: ["KafkaBroker", "KafkaLog", "KafkaPrimitives", arguments, logging, "COttla"],
            swiftSettings: settings),

        // `script/bench micro`: each part beside the least that can be done for the same result.
        .target(
            name: "CBareLoops", dependencies: ["CZlib", "CSnappy", "CLZ4", "CZstd"], path: "Benchmarks/CBareLoops"),
        .executableTarget(
            name: "ottla-microbench",
            dependencies: [
                "CBareLoops", "KafkaPrimitives", "KafkaMessages", "KafkaRecords", "KafkaCoordination", "KafkaLog",
                "KafkaBroker",
            ],
            path: "Benchmarks/Micro", swiftSettings: settings),

        // Counts allocations, by standing in front of malloc.
        .target(name: "CMallocCount", path: "Tests/CMallocCount"),
        .testTarget(
            name: "KafkaMessagesTests",
            dependencies: ["KafkaPrimitives", "KafkaMessages", "CMallocCount"],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaRecordsTests",
            dependencies: ["KafkaPrimitives", "KafkaRecords"],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaCoordinationTests",
            dependencies: ["KafkaPrimitives", "KafkaMessages", "KafkaRecords", "KafkaCoordination"],
            exclude: ["testdata"],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaLogTests",
            dependencies: ["KafkaPrimitives", "KafkaRecords", "KafkaLog"],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaTransportTests",
            dependencies: ["KafkaPrimitives", "KafkaTransport", nioCore, nioPosix, nioEmbedded, logging],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaMetadataTests",
            dependencies: ["KafkaPrimitives", "KafkaMetadata", grdb],
            swiftSettings: settings),
        .testTarget(
            name: "KafkaBrokerTests",
            dependencies: [
                "KafkaPrimitives", "KafkaMessages", "KafkaRecords", "KafkaCoordination",
                "KafkaLog", "KafkaTransport", "KafkaMetadata", "KafkaBroker", nioCore, nioPosix, logging,
            ],
            swiftSettings: settings),
    ]
)
