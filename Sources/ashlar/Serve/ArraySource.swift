import Control
import DiskFormat
import IO
import RAID

/// An array that is to be served, as the command line names it.
struct ArraySource: Sendable {
  enum Choice: Equatable, Sendable {
    /// The registry knows where its members are.
    case registered(name: String)
    case members([MemberPlace])
  }

  let choice: Choice
  let options: ArrayOptions
  /// Where other nodes with the same device are expected; nil for nowhere.
  let replicationAddress: ListenAddress?
  /// The file of the arbiter between nodes; nil without one.
  let arbiterPath: String?
  /// Where they find this one; empty when nobody said.
  let advertisedAddress: String

  /// Where what a copy overwrites is kept; nil for nowhere.
  let undoPath: String?
  let undoByteCount: UInt64

  /// The options of `serve` that are for arrays only.
  static let optionNames = [
    "force", "no-resync", "log-policy", "member-timeout", "spare-delay", "latency-budget",
    "table-cache", "write-memory", "replication", "advertise", "arbiter", "undo", "undo-size",
  ]

  var registeredName: String? {
    if case .registered(let name) = choice { return name }
    return nil
  }

  init(_ options: ParsedOptions) throws(UsageError) {
    choice = try Self.choice(options.operands)
    var array = ArrayOptions()
    array.isForced = options.flag("force")
    array.resyncsAutomatically = !options.flag("no-resync")
    array.usesHugePages = true
    array.logPolicy = try options.value("log-policy", as: .logPolicy)
    array.memberDeadlineNanoseconds = try options.required(
      "member-timeout", as: .duration(in: 100_000_000...600_000_000_000))
    array.spareDelayNanoseconds = try options.required(
      "spare-delay", as: .duration(in: 0...604_800_000_000_000))
    array.latencyBudgetNanoseconds = try options.required(
      "latency-budget", as: .duration(in: ArrayOrder.latencyBudgetNanoseconds))
    array.tableCacheBytes = Int(
      try options.required("table-cache", as: .size(in: 1 << 20...(1 << 40))))
    array.dirtyBytesMax = Int(
      try options.required("write-memory", as: .size(in: 1 << 20...(1 << 36))))
    self.options = array
    replicationAddress = try options.value("replication", as: .listenAddress)
    guard replicationAddress != nil || !options.isGiven("advertise") else {
      throw UsageError("--advertise goes with --replication")
    }
    arbiterPath = try options.value("arbiter", as: .text).map { text throws(UsageError) in
      try ArbiterDesk.path(text)
    }
    advertisedAddress =
      try options.value("advertise", as: .listenAddress)?.description
      ?? replicationAddress?.description ?? ""
    undoPath = try options.value("undo", as: .path)
    undoByteCount = try options.required("undo-size", as: .size(in: 16 << 20...(1 << 50)))
    guard undoPath == nil || replicationAddress != nil else {
      throw UsageError("--undo goes with --replication: it is for copies that come from there")
    }
    guard undoPath != nil || !options.isGiven("undo-size") else {
      throw UsageError("--undo-size goes with --undo")
    }
  }

  /// One word may be an array's name and a file's: the registry decides.
  private static func choice(_ operands: [String]) throws(UsageError) -> Choice {
    if operands.count == 1, isValidDeviceName(operands[0]) {
      let name = operands[0]
      let isKnown = Registry.ofUser.map { SmallFile.exists($0.path(of: name)) } ?? false
      if isKnown || !SmallFile.exists(name) { return .registered(name: name) }
    }
    var places: [MemberPlace] = []
    for text in operands { places.append(try MemberPlace(text)) }
    return .members(places)
  }
}

extension Conversion where Value == LogPolicy {
  /// A log policy by its name.
  static var logPolicy: Conversion<LogPolicy> {
    Conversion { text in
      if let policy = LogPolicy(name: text) { return .success(policy) }
      let names = LogPolicy.allCases.map(\.name).joined(separator: ", ")
      return .failure(UsageError("is not one of \(names)"))
    }
  }
}
