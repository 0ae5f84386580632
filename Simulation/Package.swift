// swift-tools-version: 6.2
import PackageDescription

// The log and what is below it, over a simulated disk, and the program that tests them: see script/simulate, which
// lays this file beside links to the sources, in a folder of its own. It needs none of the product's dependencies.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .treatAllWarnings(as: .error),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "ottla-simulate",
    targets: [
        .target(name: "CCRC32C"),
        .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
        .systemLibrary(name: "CSnappy", providers: [.apt(["libsnappy-dev"])]),
        .systemLibrary(name: "CLZ4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(name: "CZstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "KafkaPrimitives", swiftSettings: settings),
        .target(
            name: "KafkaRecords",
            dependencies: ["KafkaPrimitives", "CCRC32C", "CZlib", "CSnappy", "CLZ4", "CZstd"],
            swiftSettings: settings),
        .target(name: "COttla"),
        .target(
            name: "KafkaLog", dependencies: ["KafkaPrimitives", "KafkaRecords", "COttla"], swiftSettings: settings),
        .target(name: "KafkaMessages", dependencies: ["KafkaPrimitives"], swiftSettings: settings),
        .target(
            name: "KafkaCoordination", dependencies: ["KafkaPrimitives", "KafkaMessages", "KafkaRecords"],
            swiftSettings: settings),
        .target(
            name: "SimulationShared", dependencies: ["COttla"], path: "Simulation/Shared", swiftSettings: settings),
        .executableTarget(
            name: "ottla-simulate-coordinators",
            dependencies: [
                "KafkaPrimitives", "KafkaMessages", "KafkaRecords", "KafkaCoordination", "KafkaLog", "SimulationShared",
            ],
            path: "Simulation/Coordinators", swiftSettings: settings),
        .executableTarget(
            name: "ottla-simulate", dependencies: ["KafkaPrimitives", "KafkaRecords", "KafkaLog", "SimulationShared"],
            path: "Simulation/Sources", swiftSettings: settings),
    ]
)
