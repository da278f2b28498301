// swift-tools-version: 6.2
import PackageDescription

// The module map, lowest level first. Imports go downwards only: tools/check-layers.

let settings: [SwiftSetting] = [
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
  .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
  .enableExperimentalFeature("Lifetimes"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
]

func library(_ name: String, _ dependencies: Target.Dependency...) -> Target {
  .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func systemLibrary(_ name: String, _ pkgConfig: String, _ debianPackage: String) -> Target {
  .systemLibrary(
    name: name, path: "CSources/\(name)", pkgConfig: pkgConfig, providers: [.apt([debianPackage])])
}

func tests(
  _ name: String, _ dependencies: Target.Dependency..., exclude: [String] = []
) -> Target {
  .testTarget(name: name, dependencies: dependencies, exclude: exclude, swiftSettings: settings)
}

let package = Package(
  name: "ashlar",
  products: [.executable(name: "ashlar", targets: ["ashlar"])],
  targets: [
    systemLibrary("CUring", "liburing", "liburing-dev"),
    systemLibrary("CISAL", "libisal", "libisal-dev"),
    systemLibrary("CJansson", "jansson", "libjansson-dev"),
    systemLibrary("CSystemd", "libsystemd", "libsystemd-dev"),
    systemLibrary("CBlkid", "blkid", "libblkid-dev"),

    library("Units"),
    library("Parity", "Units", "CISAL"),
    library("Geometry"),
    library("DiskFormat", "Units", "Parity", "Geometry", "IO"),
    library("NBDWire", "Units"),
    library("IO", "Units"),
    library("Ring", "Units", "IO", "CUring"),
    library("Simulator", "Units", "Parity", "IO"),
    library("Volumes", "Units", "IO"),
    library("RAID", "Units", "Parity", "Geometry", "DiskFormat", "IO", "Volumes"),
    library("Replication", "Units", "Parity", "DiskFormat", "IO", "RAID"),
    library("NBDServer", "Units", "NBDWire", "IO", "Volumes"),
    library("NBDClient", "Units", "NBDWire", "IO"),
    library(
      "Control", "Units", "Parity", "Geometry", "DiskFormat", "IO", "Volumes", "RAID", "NBDServer",
      "CJansson", "CBlkid"),
    library("Bench", "Units", "Parity", "IO", "NBDWire", "NBDClient", "Control"),
    .executableTarget(
      name: "ashlar",
      dependencies: [
        "Units", "Geometry", "DiskFormat", "NBDWire", "IO", "Ring", "Volumes", "RAID",
        "NBDServer", "NBDClient", "Control", "Bench", "Replication", "CSystemd",
      ],
      swiftSettings: settings),
    // The bound that benchmarks compare the server with.
    .executableTarget(
      name: "bare-echo", dependencies: ["Units", "NBDWire", "IO", "Ring"],
      path: "benchmarks/BareEcho", swiftSettings: settings),
    // Parity through our functions and by ISA-L's, side by side.
    .executableTarget(
      name: "parity-speed", dependencies: ["Units", "Parity", "IO", "CISAL"],
      path: "benchmarks/ParitySpeed", swiftSettings: settings),

    .target(
      name: "TestSupport", dependencies: ["Units", "Parity", "NBDWire", "IO", "Simulator"],
      path: "Tests/TestSupport", swiftSettings: settings),
    // Crashes and faults, and the checker that knows what a device may hold: tools/simulate.
    .target(
      name: "ArraySimulation",
      dependencies: [
        "Units", "Parity", "Geometry", "DiskFormat", "IO", "Simulator", "Volumes", "RAID",
      ],
      path: "Tests/ArraySimulation", swiftSettings: settings),
    .executableTarget(
      name: "simulate", dependencies: ["ArraySimulation", "Geometry", "RAID"],
      path: "Tests/Simulate", swiftSettings: settings),
    // Two nodes and the network between them, and a checker of what clients were told.
    .target(
      name: "PairSimulation",
      dependencies: [
        "Units", "Geometry", "DiskFormat", "IO", "Simulator", "Volumes", "RAID", "Replication",
      ],
      path: "Tests/PairSimulation", swiftSettings: settings),
    .executableTarget(
      name: "simulate-pair", dependencies: ["PairSimulation", "Simulator", "RAID"],
      path: "Tests/SimulatePair", swiftSettings: settings),
    tests("UnitsTests", "Units"),
    tests("ParityTests", "Parity"),
    tests("GeometryTests", "Geometry"),
    tests(
      "DiskFormatTests", "DiskFormat", "Geometry", "Parity", "IO", "Simulator", "TestSupport",
      exclude: ["Fixtures"]),
    tests("NBDWireTests", "NBDWire", "Units"),
    tests("IOTests", "IO", "Units", "Simulator", "TestSupport"),
    tests("RingTests", "Ring", "IO", "Units"),
    tests("SimulatorTests", "Simulator", "IO", "Units", "TestSupport"),
    tests("VolumesTests", "Volumes", "IO", "Units", "Simulator", "TestSupport"),
    tests(
      "RAIDTests", "RAID", "DiskFormat", "Geometry", "Parity", "Volumes", "IO", "Units",
      "Simulator", "TestSupport"),
    tests(
      "ReplicationTests", "Replication", "PairSimulation", "RAID", "DiskFormat", "Parity", "IO",
      "Simulator", "TestSupport", exclude: ["Fixtures"]),
    tests(
      "SimulationTests", "ArraySimulation", "Volumes", "IO", "Units", "Geometry", "RAID",
      "Simulator"),
    tests(
      "NBDServerTests", "NBDServer", "NBDWire", "Volumes", "IO", "Units", "Simulator",
      "TestSupport"),
    tests(
      "NBDClientTests", "NBDClient", "NBDServer", "NBDWire", "Volumes", "IO", "Units", "Simulator",
      "TestSupport"),
    tests(
      "ControlTests", "Control", "NBDServer", "RAID", "DiskFormat", "Geometry", "Volumes", "IO",
      "Units", "Simulator", "TestSupport"),
    tests(
      "BenchTests", "Bench", "NBDClient", "NBDServer", "Control", "Volumes", "NBDWire", "Parity",
      "IO", "Units", "Simulator", "TestSupport"),
  ],
  swiftLanguageModes: [.v6]
)
