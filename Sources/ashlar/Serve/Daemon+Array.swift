import Control
import DiskFormat
import NBDServer
import RAID
import Ring
import Units

extension ArrayStartError {
  /// What happened and what to do, for an operator.
  var explanation: String {
    switch self {
    case .assembly(let refusal): refusal.description
    case .inUse(let use): use.description
    case .logDamaged(let sequence, let runs):
      "the log lacks batch \(sequence), which was durable, on every member that had it"
        + Self.words(runs)
        + ". Starting would lose acknowledged writes: bring back the members that are missing"
    case .array(.unreadable(let block)):
      "block \(block) cannot be read, and the start needs it: bring back the members that are "
        + "missing"
    case .array(.stopped(let reason)): reason
    case .array(.outOfMemory): "out of memory: give it more, or less to --table-cache"
    }
  }

  private static func words(_ runs: [BlockRun]?) -> String {
    guard let runs, !runs.isEmpty else { return "" }
    let shown = runs.prefix(8).map { run in
      let first = run.firstBlock * 4096
      return "\(first) to \(first + run.blockCount * 4096 - 1)"
    }
    return " (the array's bytes \(shown.joined(separator: ", "))\(runs.count > 8 ? ", ..." : ""))"
  }
}

extension ServerLog.Level {
  init(_ severity: EventSeverity) {
    self =
      switch severity {
      case .notice: .notice
      case .warning: .warning
      case .error: .error
      }
  }
}

/// Keeps the registry's record of an array that is being served.
struct ArrayRecorder: Sendable {
  private let writer: RegistryWriter
  private let places: [String: String]
  private let machine: RingMachine
  private let log: ServerLog

  /// Nil for a user who has no place for a registry.
  ///
  /// - Parameters:
  ///   - places: where the members are, or were last, by their identity.
  ///   - machine: for waiting.
  ///   - log: told of what cannot be written.
  init?(places: [String: String], machine: RingMachine, log: ServerLog) {
    guard let registry = Registry.ofUser else {
      log(.warning, "there is no place for a registry (no HOME): set ASHLAR_STATE_DIR")
      return nil
    }
    writer = RegistryWriter(to: registry) { log(.warning, $0.explanation) }
    self.places = places
    self.machine = machine
    self.log = log
  }

  /// Takes a configuration down; returns when that is durable, or has taken too long.
  func record(_ configuration: Superblock) async {
    writer.write(
      RegistryRecord(
        configuration, places: configuration.memberIDs.map { places[$0.description] }))
    // Configurations are rare: looking now and then is enough.
    for _ in 0..<1000 where !writer.isIdle { await machine.sleep(nanoseconds: 2_000_000) }
    guard !writer.isIdle else { return }
    log(
      .warning,
      "the registry does not get the array's new configuration: until it has, after a crash do not "
        + "start the array without the members that serve it now")
  }

  func drain() { writer.drain(millisecondsMax: 1000) }
}
