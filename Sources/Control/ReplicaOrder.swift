package import DiskFormat

/// What a client can have done about the replicas of an array.
package enum ReplicaOrder: Equatable, Sendable {
  case add(
    address: String, mode: ReplicaMode, lossPolicy: LossPolicy, timeoutMilliseconds: UInt32)
  /// By identity or address.
  case remove(String)
  case promote(isForced: Bool)
  case demote
  /// What only this node has; nothing is changed.
  case diff
  /// Saves that in a file, which must not exist; an absolute path.
  case exportDiverged(String)
  /// Begins to compare everything with a replica, by identity or address; nil for the only one.
  case verify(String?)
  /// Ends such comparisons.
  case cancelVerify
  /// Gives that up, if this is the word that is asked for, or this the file that it was saved in.
  case resync(discard: String?, exported: String?)

  /// What this array holds is given up for a copy, which leaves out what is the same already.
  case seed
  /// About the copy that is under way to this node.
  case stepBack(StepBackChoice)

  /// What an operator wants of a copy that can be taken back.
  package enum StepBackChoice: String, CaseIterable, Sendable {
    /// It is taken back, and the node follows nobody for the time being.
    case takeBack = "take-back"
    /// It goes on, and cannot be taken back any more.
    case giveUp = "give-up"
    /// It was taken back, and the node follows its primary again.
    case follow
  }

  /// What a peer's timeout may be.
  package static let timeoutMilliseconds: ClosedRange<UInt64> = 100...3_600_000

  /// Reads the members of a request beside its version and command.
  init(_ json: JSONValue) throws(ControlRefusal) {
    func malformed(_ message: String, _ action: String) -> ControlRefusal {
      ControlRefusal(code: "malformed_request", message: message, action: action)
    }
    func text(_ name: String) throws(ControlRefusal) -> String {
      guard let text = json[name]?.string, !text.isEmpty else {
        throw malformed("'\(name)' is missing, empty or not text", "send \"\(name)\":\"...\"")
      }
      return text
    }
    func path(_ name: String) throws(ControlRefusal) -> String {
      let path = try text(name)
      guard path.hasPrefix("/") else {
        throw malformed("'\(name)' is no absolute path", "send one")
      }
      return path
    }
    switch json["action"]?.string {
    case "add":
      guard let mode = ReplicaMode(name: try text("mode")) else {
        throw malformed("'mode' is none of A, B, C", "send one of them")
      }
      guard let policy = LossPolicy(name: try text("on_peer_loss")) else {
        throw malformed("'on_peer_loss' is neither continue nor stop", "send one of them")
      }
      guard let count = json["peer_timeout_milliseconds"]?.integer,
        let milliseconds = UInt32(exactly: count),
        Self.timeoutMilliseconds.contains(UInt64(milliseconds))
      else {
        throw malformed(
          "'peer_timeout_milliseconds' is missing or out of range",
          "send \"peer_timeout_milliseconds\":2000")
      }
      self = .add(
        address: try text("address"), mode: mode, lossPolicy: policy,
        timeoutMilliseconds: milliseconds)
    case "remove": self = .remove(try text("replica"))
    case "promote":
      guard let isForced = json["force"]?.bool ?? false as Bool? else {
        throw malformed("'force' is neither true nor false", "leave it out, or send true")
      }
      self = .promote(isForced: isForced)
    case "demote": self = .demote
    case "diff": self = .diff
    case "verify": self = .verify(json["replica"] == nil ? nil : try text("replica"))
    case "cancel-verify": self = .cancelVerify
    case "export-diverged": self = .exportDiverged(try path("file"))
    case "resync":
      self = .resync(
        discard: json["discard"]?.string,
        exported: json["exported"] == nil ? nil : try path("exported"))
    case "seed": self = .seed
    case "step-back":
      guard let choice = StepBackChoice(rawValue: json["choice"]?.string ?? "take-back") else {
        throw malformed("'choice' is none of take-back, give-up, follow", "send one of them")
      }
      self = .stepBack(choice)
    default:
      throw malformed(
        "'action' is missing, or none of add, remove, promote, demote, diff, export-diverged, resync, "
          + "seed, step-back, verify, cancel-verify",
        "send one of them")
    }
  }

  /// The members of its request, version and command left out.
  var members: [(String, JSONValue)] {
    switch self {
    case .add(let address, let mode, let policy, let milliseconds):
      [
        ("action", "add"), ("address", .string(address)), ("mode", .string(mode.name)),
        ("on_peer_loss", .string(policy.name)),
        ("peer_timeout_milliseconds", .count(UInt64(milliseconds))),
      ]
    case .remove(let replica): [("action", "remove"), ("replica", .string(replica))]
    case .promote(let isForced): [("action", "promote"), ("force", .bool(isForced))]
    case .demote: [("action", "demote")]
    case .diff: [("action", "diff")]
    case .verify(let replica):
      [("action", "verify")] + (replica.map { [("replica", .string($0))] } ?? [])
    case .cancelVerify: [("action", "cancel-verify")]
    case .exportDiverged(let path): [("action", "export-diverged"), ("file", .string(path))]
    case .resync(let word, let path):
      [("action", "resync")] + (word.map { [("discard", .string($0))] } ?? [])
        + (path.map { [("exported", .string($0))] } ?? [])
    case .seed: [("action", "seed")]
    case .stepBack(let choice):
      [("action", "step-back"), ("choice", .string(choice.rawValue))]
    }
  }
}
