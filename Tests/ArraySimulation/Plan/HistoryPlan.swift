package import RAID
package import Simulator

/// What is simulated.
package enum SimulationMode: String, CaseIterable, Sendable {
  /// Random; faults within what redundancy can repair, so that everything has to be right.
  case budget
  /// Random; more faults than that, so that errors are allowed and wrong data is not.
  case beyond
  /// Short workloads, a crash at each operation.
  case exhaustive
  /// Scenarios, each aimed at a rule.
  case directed
}

/// One history, decided before it begins: the same plan gives the same run, byte for byte.
package struct HistoryPlan: Sendable {
  package var seed: UInt64
  package var shape: ArrayShape
  package var options: ArrayOptions
  package var lives: [LifePlan]
  /// Devices beside the members', which may become members.
  package var extraCount = 0
  /// Requests and starts may fail: more faults than redundancy.
  package var allowsErrors = false
  /// Damage that only reading finds may be left at the end.
  package var hasSilentFaults = false
  /// No block may be unreadable, although members fail.
  package var excusesNothing = false
  /// How many steps a life may take: beyond that something turns in circles.
  package var stepCountMax = 3_000_000

  package init(seed: UInt64, shape: ArrayShape, options: ArrayOptions, lives: [LifePlan]) {
    self.seed = seed
    self.shape = shape
    self.options = options
    self.lives = lives
  }
}

/// From one start to the next crash or stop.
package struct LifePlan: Sendable {
  /// When a crash comes.
  package enum Instant: Equatable, Sendable {
    /// While this operation of a disk is in flight, counted from the start.
    case operation(Int)
    case afterNanoseconds(UInt64)
    /// When everything has been answered.
    case atEnd
  }

  /// How it ends.
  package enum Ending: Equatable, Sendable {
    case crash(CrashKind, Instant)
    case close
  }

  /// Something that happens to a member.
  package enum Incident: Equatable, Sendable {
    /// It stops answering; at its next start it answers again.
    case stick(slot: Int)
    case release(slot: Int)
    /// New operations are answered; what hangs goes on hanging until `release`.
    case answerAgain(slot: Int)
    /// A sector cannot be read until it is written.
    case makeUnreadable(slot: Int, sector: UInt64)
    /// A bit turns over.
    case flip(slot: Int, offsetBytes: UInt64)
    /// The next write that touches a range is acknowledged, and gone.
    case loseWrite(slot: Int, offsetBytes: UInt64, byteCount: UInt64)
    /// A range is zeros.
    case clear(slot: Int, offsetBytes: UInt64, byteCount: UInt64)
  }

  /// What an operator says to the array.
  package enum OperatorAction: Equatable, Sendable {
    case scrub(repairs: Bool)
    case cancelScrub
    case pauseRebuild
    case resumeRebuild
  }

  package struct TimedAction: Equatable, Sendable {
    /// Since the device serves.
    package var afterNanoseconds: UInt64
    package var action: OperatorAction
  }

  /// What an operator does; members and devices by the number of their medium.
  package enum MemberCommand: Equatable, Sendable {
    case fail(medium: Int)
    case remove(medium: Int)
    /// Of the devices that are nobody's, the one of this number, counted round.
    case add(choice: Int)
    case replace(medium: Int, choice: Int)
  }

  package struct TimedCommand: Equatable, Sendable {
    /// Since the command before, or since the device serves.
    package var afterNanoseconds: UInt64
    package var command: MemberCommand
  }

  package enum Workload: Equatable, Sendable {
    case random(clientCount: Int, requestCount: Int, spot: UInt64)
    case script([ClientRequest])
    /// Several clients.
    case scripts([[ClientRequest]])
  }

  package struct TimedIncident: Equatable, Sendable {
    /// Since the device serves.
    package var afterNanoseconds: UInt64
    package var incident: Incident
  }

  /// Members that are not there.
  package var absent: Set<Int> = []
  /// Faults by member; no entry is none.
  package var rates: [Int: DiskFaultRates] = [:]
  /// Whether the rates hold from the start on, or only once the device serves.
  package var ratesHoldAtStart = true
  /// How many operations of each member, of a million, are interrupted, refused for now, or short.
  package var interruptionsPerMillion = 0
  package var latencies: [Int: DiskLatency] = [:]
  package var incidents: [TimedIncident] = []
  /// One after the other.
  package var commands: [TimedCommand] = []
  /// Reads the whole device before the clients come: nothing may be different later.
  package var verifiesFirst = false
  package var workload = Workload.script([])
  /// How long to wait, with nothing asked, before the end.
  package var idleNanoseconds: UInt64 = 0
  package var waitsUntilOptimal = false
  package var actions: [TimedAction] = []
  /// Scrubs at the end: what silent faults have left is repaired, and then nothing must be found.
  package var scrubsLast = false
  package var verifiesLast = false
  package var ending = Ending.close
  /// What a power loss leaves of unflushed sectors, by member; drawn where there is no entry.
  package var fates: [Int: FateChoice] = [:]

  package init() {}

  /// What a member does, before or after the device serves.
  func rates(ofMember slot: Int, isServing: Bool) -> DiskFaultRates {
    var rates = DiskFaultRates()
    if isServing || ratesHoldAtStart { rates = self.rates[slot] ?? rates }
    rates.interrupted = interruptionsPerMillion
    rates.tryAgain = interruptionsPerMillion
    rates.shortTransfer = interruptionsPerMillion
    return rates
  }
}

extension LifePlan: CustomStringConvertible {
  /// In a line, for whoever looks into a failure.
  package var description: String {
    let clients =
      switch workload {
      case .random(let clientCount, let requestCount, _):
        "\(clientCount) clients with \(requestCount) requests each"
      case .script(let requests): "\(requests.count) requests in order"
      case .scripts(let lists):
        "\(lists.count) clients with " + lists.map { "\($0.count)" }.joined(separator: ", ")
          + " requests in order"
      }
    let faults = rates.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value.nonzero)" }
    return "\(clients), ends by \(ending)"
      + (absent.isEmpty ? "" : ", absent: \(absent.sorted())")
      + (faults.isEmpty ? "" : ", faults per million of " + faults.joined(separator: ", "))
      + (latencies.isEmpty ? "" : ", slow: \(latencies.keys.sorted())")
      + (actions.isEmpty ? "" : ", the operator's: \(actions.map(\.action))")
      + (commands.isEmpty ? "" : ", commands: \(commands.map(\.command))")
      + (incidents.isEmpty ? "" : ", incidents: \(incidents.map(\.incident))")
  }
}

extension DiskFaultRates {
  /// The kinds that happen.
  fileprivate var nonzero: String {
    let kinds = [
      ("read error", readError), ("write error", writeError), ("flush error", synchronizeError),
      ("lost write", lostWrite), ("misdirected write", misdirectedWrite),
      ("misdirected read", misdirectedRead), ("bit rot", bitRot), ("stuck", stuck),
      ("damaged sector at power loss", damagedSectorAtPowerLoss),
    ]
    let named = kinds.filter { $0.1 > 0 }.map { "\($0.0) \($0.1)" }
    return named.isEmpty ? "none" : named.joined(separator: " + ")
  }
}

/// What a power loss leaves of a member's unflushed writes, as a value.
package enum FateChoice: Equatable, Hashable, Sendable {
  case keepAll
  case loseAll
  /// All but the write of this index among the unflushed ones.
  case missing(Int)
  /// The write of this index alone.
  case alone(Int)
  /// Each sector for itself, by this number.
  case torn(UInt64)
  /// By seed, sector by sector or otherwise.
  case drawn

  /// The medium's form of it; which writes are unflushed is looked at when the power goes.
  func fate(of medium: SimulatedMedium) -> UnflushedFate {
    let choice = self
    switch choice {
    case .keepAll: return .keepAll
    case .loseAll: return .loseAll
    case .drawn: return .drawn
    case .torn(let number):
      var random = RandomSource(seed: number)
      return .chosen { _, seen in random.index(below: seen.count + 1) }
    case .missing(let index):
      let chosen = ChosenWrite(medium, index)
      return .chosen { _, seen in
        chosen.number.map { seen.last == $0 ? seen.count - 1 : seen.count } ?? seen.count
      }
    case .alone(let index):
      let chosen = ChosenWrite(medium, index)
      return .chosen { _, seen in chosen.number.map { (seen.lastIndex(of: $0) ?? -1) + 1 } ?? 0 }
    }
  }
}

/// The number of a medium's n-th unflushed write, found out when first asked for.
private final class ChosenWrite {
  private weak var medium: SimulatedMedium?
  private let index: Int
  lazy var number: UInt64? = {
    let writes = medium?.unflushedWrites ?? []
    return index < writes.count ? writes[index] : nil
  }()

  init(_ medium: SimulatedMedium, _ index: Int) {
    self.medium = medium
    self.index = index
  }
}
