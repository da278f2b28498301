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

/// Keeps the registry's record of an array that is being served.
struct ArrayRecorder: Sendable {
  private let writer: RegistryWriter
  private let places: [String: String]

  /// Nil for a user who has no place for a registry.
  ///
  /// - Parameters:
  ///   - places: where the members are, or were last, by their identity.
  ///   - log: told of what cannot be written.
  init?(places: [String: String], log: ServerLog) {
    guard let registry = Registry.ofUser else {
      log(.warning, "there is no place for a registry (no HOME): set ASHLAR_STATE_DIR")
      return nil
    }
    writer = RegistryWriter(to: registry) { log(.warning, $0.explanation) }
    self.places = places
  }

  /// Takes a configuration down; never waits.
  func note(_ configuration: Superblock) {
    writer.write(
      RegistryRecord(
        configuration, places: configuration.memberIDs.map { places[$0.description] }))
  }

  func drain() { writer.drain(millisecondsMax: 1000) }
}
