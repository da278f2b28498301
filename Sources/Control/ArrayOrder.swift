/// What a client can have done to an array that is being served, beyond being told of it.
package enum ArrayOrder: Equatable, Sendable {
  case failMember(String)
  case removeMember(String)
  /// Its contents are destroyed only if that is said.
  case addMember(place: String, isForced: Bool)
  case replaceMember(String, place: String, isForced: Bool)
  case pauseRebuild
  case resumeRebuild
  case beginScrub(repairs: Bool)
  case pauseScrub
  case resumeScrub
  case cancelScrub
  case setLatencyBudget(nanoseconds: UInt64)
  case replica(ReplicaOrder)

  /// What latency budgets may be: below is less than any disk keeps, above is no budget.
  package static let latencyBudgetNanoseconds: ClosedRange<UInt64> = 100_000...60_000_000_000
  /// The commands of the protocol that are orders.
  static let commandNames = ["member", "rebuild", "scrub", "latency-budget", "replica"]

  /// Whether a member is opened for it, which takes as long as its disk or server does.
  package var opensMember: Bool {
    switch self {
    case .addMember, .replaceMember: true
    default: false
    }
  }

  /// Reads the members of a request beside its version and command.
  ///
  /// - Parameters:
  ///   - command: one of `commandNames`.
  ///   - json: the request.
  /// - Throws: what is missing or wrong, and what would be right.
  init(command: String, _ json: JSONValue) throws(ControlRefusal) {
    switch command {
    case "member": self = try Self.member(json)
    case "rebuild":
      let orders: [(String, ArrayOrder)] = [("pause", .pauseRebuild), ("resume", .resumeRebuild)]
      self = try Self.choice(orders, json)
    case "scrub":
      let orders: [(String, ArrayOrder)] = [
        ("check", .beginScrub(repairs: false)), ("repair", .beginScrub(repairs: true)),
        ("pause", .pauseScrub), ("resume", .resumeScrub), ("cancel", .cancelScrub),
      ]
      self = try Self.choice(orders, json)
    case "replica": self = .replica(try ReplicaOrder(json))
    default:
      guard let count = json["nanoseconds"]?.integer, let nanoseconds = UInt64(exactly: count),
        Self.latencyBudgetNanoseconds.contains(nanoseconds)
      else {
        let range = Self.latencyBudgetNanoseconds
        throw Self.malformed(
          "'nanoseconds' is missing or no integer from \(range.lowerBound) to \(range.upperBound)",
          "send \"nanoseconds\":20000000")
      }
      self = .setLatencyBudget(nanoseconds: nanoseconds)
    }
  }

  private static func member(_ json: JSONValue) throws(ControlRefusal) -> ArrayOrder {
    let actions = ["fail", "remove", "add", "replace"]
    guard let action = json["action"]?.string, actions.contains(action) else {
      throw unknownAction(actions)
    }
    switch action {
    case "fail": return .failMember(try text("member", json))
    case "remove": return .removeMember(try text("member", json))
    case "add":
      return .addMember(place: try place(json), isForced: try flag("force", json))
    default:
      return .replaceMember(
        try text("member", json), place: try place(json), isForced: try flag("force", json))
    }
  }

  /// A place means the same wherever the server was started.
  private static func place(_ json: JSONValue) throws(ControlRefusal) -> String {
    let place = try text("place", json)
    guard place.hasPrefix("/") || place.contains("://") else {
      throw malformed("'place' is neither an absolute path nor a URI", "send an absolute path")
    }
    return place
  }

  private static func text(
    _ name: String, _ json: JSONValue
  ) throws(ControlRefusal) -> String {
    guard let text = json[name]?.string, !text.isEmpty else {
      throw malformed("'\(name)' is missing, empty or not text", "send \"\(name)\":\"...\"")
    }
    return text
  }

  private static func flag(_ name: String, _ json: JSONValue) throws(ControlRefusal) -> Bool {
    guard let value = json[name] else { return false }
    guard let flag = value.bool else {
      throw malformed("'\(name)' is neither true nor false", "leave it out, or send true")
    }
    return flag
  }

  private static func choice(
    _ orders: [(String, ArrayOrder)], _ json: JSONValue
  ) throws(ControlRefusal) -> ArrayOrder {
    guard let action = json["action"]?.string,
      let order = orders.first(where: { $0.0 == action })
    else { throw unknownAction(orders.map(\.0)) }
    return order.1
  }

  private static func unknownAction(_ actions: [String]) -> ControlRefusal {
    malformed(
      "'action' is missing, or none of \(actions.joined(separator: ", "))",
      "send one of them")
  }

  private static func malformed(_ message: String, _ action: String) -> ControlRefusal {
    ControlRefusal(code: "malformed_request", message: message, action: action)
  }

  /// The members of its request, the version left out.
  var members: [(String, JSONValue)] {
    func member(_ action: String, _ more: [(String, JSONValue)]) -> [(String, JSONValue)] {
      [("command", "member"), ("action", .string(action))] + more
    }
    func plain(_ command: String, _ action: String) -> [(String, JSONValue)] {
      [("command", .string(command)), ("action", .string(action))]
    }
    switch self {
    case .failMember(let name): return member("fail", [("member", .string(name))])
    case .removeMember(let name): return member("remove", [("member", .string(name))])
    case .addMember(let place, let isForced):
      return member("add", [("place", .string(place)), ("force", .bool(isForced))])
    case .replaceMember(let name, let place, let isForced):
      return member(
        "replace",
        [("member", .string(name)), ("place", .string(place)), ("force", .bool(isForced))])
    case .pauseRebuild: return plain("rebuild", "pause")
    case .resumeRebuild: return plain("rebuild", "resume")
    case .beginScrub(let repairs): return plain("scrub", repairs ? "repair" : "check")
    case .pauseScrub: return plain("scrub", "pause")
    case .resumeScrub: return plain("scrub", "resume")
    case .cancelScrub: return plain("scrub", "cancel")
    case .setLatencyBudget(let nanoseconds):
      return [("command", "latency-budget"), ("nanoseconds", .count(nanoseconds))]
    case .replica(let order): return [("command", "replica")] + order.members
    }
  }
}

/// Codes of refusals that this program itself goes by.
package enum OrderRefusalCode {
  /// The new member holds something, which is named.
  package static let holdsSomething = "holds_something"
  /// Something may be lost, which is named.
  package static let needsForce = "needs_force"
}

/// What came of an order.
package struct OrderOutcome: Equatable, Sendable {
  /// What was done, in a sentence.
  package var words: String
  /// The member concerned; nil when the order is about none.
  package var memberID: String?
  /// Where it is now: its slot, or its seat as a reserve; nil when it is in neither.
  package var slot: UInt64?
  package var seat: UInt64?
  /// A file was made for it.
  package var wasCreated = false
  /// What `--force` destroyed, in words.
  package var destroyed: [String] = []
  /// What an operator should know.
  package var notes: [String] = []
  /// The bytes of the device that it is about.
  package var ranges: [ArrayRangeReport] = []
  /// A file that was written.
  package var file: String?

  package init(_ words: String, memberID: String? = nil) {
    self.words = words
    self.memberID = memberID
  }

  /// The object under `"done"` in a response.
  package var json: JSONValue {
    [
      "words": .string(words), "member_id": memberID.map { .string($0) } ?? .null,
      "slot": slot.map { .count($0) } ?? .null, "seat": seat.map { .count($0) } ?? .null,
      "created": .bool(wasCreated), "destroyed": .array(destroyed.map { .string($0) }),
      "notes": .array(notes.map { .string($0) }), "ranges": .array(ranges.map(\.json)),
      "file": file.map { .string($0) } ?? .null,
    ]
  }

  /// Reads what `json` wrote.
  init(_ reader: JSONReader) throws(ControlError) {
    words = try reader.string("words")
    memberID = try reader.optionalString("member_id")
    slot = try reader.optionalCount("slot")
    seat = try reader.optionalCount("seat")
    wasCreated = try reader.bool("created")
    destroyed = try reader.strings("destroyed")
    notes = try reader.strings("notes")
    ranges = try reader.objects("ranges") { element throws(ControlError) in
      try ArrayRangeReport(element)
    }
    file = try reader.optionalString("file")
  }
}
