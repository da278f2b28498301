// The keys of docs/control.md: added, never renamed. A server that does not know them yet leaves them
// out, and is understood.

extension UpkeepReport {
  /// What it adds to the object under `"array"`.
  var members: [JSONMember] {
    [
      JSONMember(name: "reserves", value: .array(reserves.map(\.json))),
      JSONMember(name: "rebuild", value: rebuild?.json ?? .null),
      JSONMember(name: "rebuild_paused", value: .bool(isRebuildPaused)),
      JSONMember(name: "resync_held", value: .bool(isResyncHeld)),
      JSONMember(name: "scrub", value: scrub?.json ?? .null),
      JSONMember(name: "scrub_history", value: .array(scrubHistory.map(\.json))),
      JSONMember(name: "latency_budget", value: latencyBudget?.json ?? .null),
    ]
  }

  /// All of it, for the commands that are about upkeep.
  package var json: JSONValue { .object(members) }

  /// Reads what `members` wrote into the object that `reader` reads.
  init(_ reader: JSONReader) throws(ControlError) {
    reserves = try reader.laterObjects("reserves") { element throws(ControlError) in
      try ArrayReserveReport(element)
    }
    if let rebuild = try reader.optionalObject("rebuild") {
      self.rebuild = try ArrayRebuildReport(rebuild)
    }
    isRebuildPaused = try reader.laterBool("rebuild_paused")
    isResyncHeld = try reader.laterBool("resync_held")
    if let scrub = try reader.optionalObject("scrub") { self.scrub = try ArrayScrubReport(scrub) }
    scrubHistory = try reader.laterObjects("scrub_history") { element throws(ControlError) in
      try ScrubRecordReport(element)
    }
    if let budget = try reader.optionalObject("latency_budget") {
      latencyBudget = LatencyBudgetReport(
        askedNanoseconds: try budget.count("asked_nanoseconds"),
        achievedP99Nanoseconds: try budget.optionalCount("achieved_p99_nanoseconds"),
        upkeepPercent: try budget.count("upkeep_percent"))
    }
  }
}

extension ArrayReserveReport {
  fileprivate var json: JSONValue {
    [
      "seat": .count(seat), "id": .string(memberID), "place": .string(place),
      "state": targetSlot == nil ? "spare" : "replacement",
      "target_slot": targetSlot.map { .count($0) } ?? .null, "cause": .string(cause),
      "read": ["byte_count": .count(readBytes)], "write": ["byte_count": .count(writeBytes)],
      "error_count": .count(errorCount),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    seat = try reader.count("seat")
    memberID = try reader.string("id")
    place = try reader.string("place")
    targetSlot = try reader.optionalCount("target_slot")
    cause = try reader.string("cause")
    readBytes = try reader.object("read").count("byte_count")
    writeBytes = try reader.object("write").count("byte_count")
    errorCount = try reader.count("error_count")
  }
}

extension PassReport {
  var members: [JSONMember] {
    [
      JSONMember(name: "done_pages", value: .count(donePages)),
      JSONMember(name: "pages", value: .count(pages)),
      JSONMember(name: "done_bytes", value: .count(doneBytes)),
      JSONMember(name: "byte_count", value: .count(byteCount)),
      JSONMember(name: "bytes_per_second", value: .count(bytesPerSecond)),
      JSONMember(name: "seconds_left_min", value: secondsLeftMin.map { .count($0) } ?? .null),
      JSONMember(name: "seconds_left_max", value: secondsLeftMax.map { .count($0) } ?? .null),
      JSONMember(name: "paused", value: .bool(isPaused)),
    ]
  }

  init(_ reader: JSONReader) throws(ControlError) {
    donePages = try reader.count("done_pages")
    pages = try reader.count("pages")
    doneBytes = try reader.count("done_bytes")
    byteCount = try reader.count("byte_count")
    bytesPerSecond = try reader.count("bytes_per_second")
    secondsLeftMin = try reader.optionalCount("seconds_left_min")
    secondsLeftMax = try reader.optionalCount("seconds_left_max")
    isPaused = try reader.bool("paused")
  }
}

extension ArrayRangeReport {
  var json: JSONValue {
    ["offset_bytes": .count(offsetBytes), "byte_count": .count(byteCount)]
  }

  init(_ reader: JSONReader) throws(ControlError) {
    offsetBytes = try reader.count("offset_bytes")
    byteCount = try reader.count("byte_count")
  }
}

extension ArrayRebuildReport {
  fileprivate var json: JSONValue {
    .object(
      pass.members + [
        JSONMember(name: "slots", value: .array(slots.map { .count($0) })),
        JSONMember(name: "seats", value: .array(seats.map { .count($0) })),
        JSONMember(name: "joining", value: .bool(isJoining)),
        JSONMember(name: "unreadable_blocks", value: .count(unreadableBlockCount)),
        JSONMember(name: "unreadable_ranges", value: .array(unreadableRanges.map(\.json))),
      ])
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    pass = try PassReport(reader)
    slots = try reader.counts("slots")
    seats = try reader.counts("seats")
    isJoining = try reader.bool("joining")
    unreadableBlockCount = try reader.count("unreadable_blocks")
    unreadableRanges = try reader.objects("unreadable_ranges") { element throws(ControlError) in
      try ArrayRangeReport(element)
    }
  }
}

extension ScrubCountsReport {
  fileprivate var json: JSONValue {
    [
      "found": .count(found), "checksum": .count(checksum), "unreadable": .count(unreadable),
      "parity": .count(parity), "mirror": .count(mirror), "table": .count(table),
      "lost": .count(lost), "repaired": .count(repaired), "not_repaired": .count(notRepaired),
      "beyond_repair": .count(beyondRepair),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    checksum = try reader.count("checksum")
    unreadable = try reader.count("unreadable")
    parity = try reader.count("parity")
    mirror = try reader.count("mirror")
    table = try reader.count("table")
    repaired = try reader.count("repaired")
    notRepaired = try reader.count("not_repaired")
    lost = try reader.count("lost")
    beyondRepair = try reader.count("beyond_repair")
  }
}

extension ScrubFindingReport {
  fileprivate var json: JSONValue {
    [
      "offset_bytes": .count(range.offsetBytes), "byte_count": .count(range.byteCount),
      "slot": slot.map { .count($0) } ?? .null, "trouble": .string(trouble),
      "outcome": .string(outcome),
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    range = try ArrayRangeReport(reader)
    slot = try reader.optionalCount("slot")
    trouble = try reader.string("trouble")
    outcome = try reader.string("outcome")
  }
}

extension ArrayScrubReport {
  fileprivate var json: JSONValue {
    .object(
      [JSONMember(name: "kind", value: .string(kind))] + pass.members + [
        JSONMember(name: "counts", value: counts.json),
        JSONMember(name: "findings", value: .array(findings.map(\.json))),
      ])
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    kind = try reader.string("kind")
    pass = try PassReport(reader)
    counts = try ScrubCountsReport(try reader.object("counts"))
    findings = try reader.objects("findings") { element throws(ControlError) in
      try ScrubFindingReport(element)
    }
  }
}

extension ScrubRecordReport {
  fileprivate var json: JSONValue {
    [
      "kind": .string(kind), "ending": .string(ending),
      "began_unix_seconds": .count(beganUnixSeconds),
      "ended_unix_seconds": .count(endedUnixSeconds), "byte_count": .count(byteCount),
      "counts": counts.json,
    ]
  }

  fileprivate init(_ reader: JSONReader) throws(ControlError) {
    kind = try reader.string("kind")
    ending = try reader.string("ending")
    beganUnixSeconds = try reader.count("began_unix_seconds")
    endedUnixSeconds = try reader.count("ended_unix_seconds")
    byteCount = try reader.count("byte_count")
    counts = try ScrubCountsReport(try reader.object("counts"))
  }
}

extension LatencyBudgetReport {
  fileprivate var json: JSONValue {
    [
      "asked_nanoseconds": .count(askedNanoseconds),
      "achieved_p99_nanoseconds": achievedP99Nanoseconds.map { .count($0) } ?? .null,
      "upkeep_percent": .count(upkeepPercent),
    ]
  }
}
