package import IO
package import RAID
import Units

/// What is kept of an array's scrubs beside the registry's record: `NAME.scrub.json`.
///
/// Nothing depends on it: where it is missing, or cannot be understood, a new scrub tells as much.
package struct ScrubStateFile: Equatable, Sendable {
  package let path: String
  private let arrayID: String

  private static let byteCountMax = 1 << 20
  private static var version: Int64 { 1 }

  /// - Parameters:
  ///   - registry: the folder.
  ///   - name: the array's.
  ///   - arrayID: whose scrubs they are: another array of the same name has had others.
  package init(in registry: Registry, name: String, arrayID: String) {
    path = "\(registry.folder)/\(name).scrub.json"
    self.arrayID = arrayID
  }

  /// Reads what was kept.
  ///
  /// - Parameter complain: told why, where there is something that is of no use.
  /// - Returns: nil when there is nothing, or nothing that is of use.
  package func load(complain: (String) -> Void) -> ScrubState? {
    let bytes: [UInt8]
    do throws(SystemError) {
      bytes = try SmallFile.read(path, byteCountMax: Self.byteCountMax)
    } catch {
      if SmallFile.exists(path) {
        complain("\(path) cannot be read (\(error)): the last scrub is forgotten")
      }
      return nil
    }
    do throws(ControlError) {
      return try decode(bytes)
    } catch {
      complain("\(path) cannot be understood (\(error.reason)): the last scrub is forgotten")
      return nil
    }
  }

  /// Replaces what was kept, as a whole: a reader sees the one or the other.
  package func save(_ state: ScrubState) throws(SystemError) {
    try SmallFile.replace(path, with: encode(state))
  }

  // MARK: JSON

  func encode(_ state: ScrubState) -> [UInt8] {
    let json: JSONValue = [
      "version": .integer(Self.version), "array_id": .string(arrayID),
      "run": state.run.map(\.json) ?? .null, "history": .array(state.history.map(\.json)),
    ]
    return json.encode() + [UInt8(ascii: "\n")]
  }

  /// - Returns: nil when it is about another array.
  func decode(_ bytes: [UInt8]) throws(ControlError) -> ScrubState? {
    let json: JSONValue
    do throws(JSONError) {
      json = try JSONValue.decode(bytes)
    } catch {
      throw .unexpectedResponse("\(error)")
    }
    let reader = JSONReader(json, path: "file")
    guard try reader.count("version") == UInt64(Self.version) else {
      throw .unexpectedResponse("it is of another version")
    }
    guard try reader.string("array_id") == arrayID else { return nil }
    var state = ScrubState()
    if let run = try reader.optionalObject("run") { state.run = try ScrubRun(run) }
    let records = try reader.objects("history") { element throws(ControlError) in
      try ScrubRecord(element)
    }
    state.history = Array(records.suffix(ScrubState.historyCountMax))
    return state
  }
}

extension ControlError {
  fileprivate var reason: String {
    if case .unexpectedResponse(let reason) = self { return reason }
    return "\(self)"
  }
}

extension JSONReader {
  /// A count that arithmetic may follow, whatever a damaged file says.
  fileprivate func boundedCount(
    _ name: String, max: UInt64 = 1 << 48
  ) throws(ControlError) -> UInt64 {
    let count = try count(name)
    guard count <= max else { throw .unexpectedResponse("\(name) is \(count)") }
    return count
  }
}

extension ScrubRun {
  fileprivate var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "began_unix_seconds": .count(beganSeconds),
      "next_page": .count(nextPage), "done_pages": .count(donePages),
      "done_bytes": .count(doneBytes), "paused": .bool(isPaused), "counts": counts.json,
      "findings": .array(
        ranges.map { found in
          [
            "offset_bytes": .count(found.range.offsetBytes),
            "byte_count": .count(found.range.byteCount),
            "slot": found.slot.map { .count($0) } ?? .null,
            "trouble": .string(found.trouble.rawValue), "outcome": .string(found.outcome.rawValue),
          ]
        }),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    self.init(
      kind: try reader.word("kind"),
      beganSeconds: try reader.boundedCount("began_unix_seconds"))
    nextPage = try reader.boundedCount("next_page", max: 1 << 40)
    donePages = try reader.boundedCount("done_pages", max: 1 << 32)
    doneBytes = try reader.boundedCount("done_bytes", max: 1 << 60)
    // A page describes some MiB: what it says beyond that would make nonsense of the rest.
    guard (doneBytes + (1 << 28) - 1) >> 28 <= donePages else {
      throw .unexpectedResponse("done_bytes is more than done_pages can be")
    }
    isPaused = try reader.bool("paused")
    counts = try ScrubCounts(try reader.object("counts"))
    let found = try reader.objects("findings") { element throws(ControlError) in
      try ScrubRange(element)
    }
    ranges = Array(found.prefix(Self.rangeCountMax))
  }
}

extension ScrubRange {
  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    let offset = try reader.boundedCount("offset_bytes", max: 1 << 62)
    let count = try reader.boundedCount("byte_count", max: 1 << 62)
    let slot = try reader.optionalCount("slot")
    self.init(
      range: ByteRange(from: offset, to: offset + count), slot: slot.map { Int(clamping: $0) },
      trouble: try reader.word("trouble"), outcome: try reader.word("outcome"))
  }
}

extension ScrubCounts {
  fileprivate var json: JSONValue {
    [
      "checksum": .count(checksum), "unreadable": .count(unreadable), "parity": .count(parity),
      "mirror": .count(mirror), "table": .count(table), "lost": .count(lost),
      "repaired": .count(repaired), "not_repaired": .count(notRepaired),
      "beyond_repair": .count(beyondRepair),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    self.init()
    checksum = try reader.boundedCount("checksum")
    unreadable = try reader.boundedCount("unreadable")
    parity = try reader.boundedCount("parity")
    mirror = try reader.boundedCount("mirror")
    table = try reader.boundedCount("table")
    lost = try reader.boundedCount("lost")
    repaired = try reader.boundedCount("repaired")
    notRepaired = try reader.boundedCount("not_repaired")
    beyondRepair = try reader.boundedCount("beyond_repair")
  }
}

extension ScrubRecord {
  fileprivate var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "began_unix_seconds": .count(beganSeconds),
      "ended_unix_seconds": .count(endedSeconds), "ending": .string(ending.rawValue),
      "done_bytes": .count(doneBytes), "counts": counts.json,
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    self.init(
      kind: try reader.word("kind"),
      beganSeconds: try reader.boundedCount("began_unix_seconds"),
      endedSeconds: try reader.boundedCount("ended_unix_seconds"),
      ending: try reader.word("ending"),
      doneBytes: try reader.boundedCount("done_bytes", max: 1 << 60),
      counts: try ScrubCounts(try reader.object("counts")))
  }
}
