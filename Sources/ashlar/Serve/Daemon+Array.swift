import Control
import DiskFormat
import IO
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
    case .array(.stopped(let reason)), .array(.refused(let reason)): reason
    case .array(.replicaLost): ArrayError.replicaLost.words
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
actor ArrayRecorder {
  nonisolated var unownedExecutor: UnownedSerialExecutor { unsafe machine.unownedExecutor }

  private nonisolated let writer: RegistryWriter
  private nonisolated let machine: RingMachine
  private let log: ServerLog
  /// Where members are, or were last, by their identity.
  private var places: [String: String]
  /// Where a new member is, and who is no new one.
  private var expected: (place: String, known: Set<Identifier>)?
  private var watch: MemberWatch?

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

  /// Tells of each configuration who is on its list.
  func tell(_ watch: MemberWatch) { self.watch = watch }

  /// A member is about to be added: it is at this place, and is none of these.
  func expect(_ place: String, besides known: Set<Identifier>) { expected = (place, known) }

  /// No member is about to be added.
  func expectNobody() { expected = nil }

  /// Takes a configuration down; returns when that is durable, or has taken too long.
  func record(_ configuration: Superblock) async {
    let listed = Set(configuration.memberIDs + configuration.reserves.map(\.memberID))
    if let expected, let new = listed.first(where: { isNew($0, expected.known) }) {
      places[new.description] = expected.place
    }
    await watch?.noteListed(listed)
    writer.write(RegistryRecord(configuration) { places[$0.description] })
    // Configurations are rare: looking now and then is enough.
    for _ in 0..<1000 where !writer.isIdle { await machine.sleep(nanoseconds: 2_000_000) }
    guard !writer.isIdle else { return }
    log(
      .warning,
      "the registry does not get the array's new configuration: until it has, after a crash do not "
        + "start the array without the members that serve it now")
  }

  private func isNew(_ memberID: Identifier, _ known: Set<Identifier>) -> Bool {
    memberID != .none && !known.contains(memberID)
  }

  nonisolated func drain() { writer.drain(millisecondsMax: 1000) }
}

/// Keeps what is to be known of an array's scrubs over a restart, beside the registry's record.
struct ScrubKeeper: Sendable {
  /// What was kept.
  let state: ScrubState?
  private let writer: LatestWriter<ScrubState>

  /// Nil for a user who has no place for a registry: then scrubs begin anew.
  init?(_ array: PreparedArray, _ log: ServerLog) {
    guard let registry = Registry.ofUser else { return nil }
    let file = ScrubStateFile(in: registry, name: array.name, arrayID: array.arrayID)
    state = file.load { log(.warning, $0) }
    writer = LatestWriter { state in
      do throws(SystemError) {
        try file.save(state)
      } catch {
        log(
          .warning,
          "\(file.path) cannot be written (\(error)): a scrub begins anew after a restart")
      }
    }
  }

  /// Has it written; never waits.
  func keep(_ state: ScrubState) { _ = writer.write(state) }

  func drain() { writer.drain(millisecondsMax: 1000) }
}

/// Keeps over a restart that rebuilds were paused, beside the registry's record.
struct RebuildPauseKeeper: Sendable {
  let wasPaused: Bool
  private let file: RebuildPauseFile
  private let machine: RingMachine
  private let log: ServerLog

  /// Nil for a user who has no place for a registry: then a restart lets them go on.
  init?(_ array: PreparedArray, _ machine: RingMachine, _ log: ServerLog) {
    guard let registry = Registry.ofUser else { return nil }
    self.machine = machine
    self.log = log
    file = RebuildPauseFile(in: registry, name: array.name, arrayID: array.arrayID)
    wasPaused = file.load { log(.warning, $0) }
    guard wasPaused else { return }
    log(.warning, "rebuilds are paused: 'ashlar rebuild \(array.name) --resume' lets them go on")
  }

  /// Has it written, on a thread of its own.
  ///
  /// - Returns: whether it is durable; false also when that takes too long.
  func keep(isPaused: Bool) async -> Bool {
    let (file, log) = (file, log)
    let offload = Offload(machine: machine)
    let isDone = await offload.bounded(
      nanosecondsMax: 2_000_000_000, late: { (_: Bool) in },
      {
        await offload.onThread { () -> Bool in
          do throws(SystemError) {
            try file.save(isPaused: isPaused)
            return true
          } catch {
            log(.warning, "\(file.path) cannot be written (\(error))")
            return false
          }
        }
      })
    return isDone ?? false
  }
}
