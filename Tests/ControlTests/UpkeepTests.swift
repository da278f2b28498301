import DiskFormat
import Geometry
import RAID
import Testing

@testable import Control

private func pass(
  _ done: UInt64, of all: UInt64, rate: UInt64 = 0, left: ClosedRange<UInt64>? = nil,
  isPaused: Bool = false
) -> PassReport {
  PassReport(
    donePages: 1, pages: 4, doneBytes: done, byteCount: all, bytesPerSecond: rate,
    secondsLeftMin: left?.lowerBound, secondsLeftMax: left?.upperBound, isPaused: isPaused)
}

private var sampleCounts: ScrubCountsReport {
  var counts = ScrubCountsReport()
  (counts.checksum, counts.parity, counts.repaired, counts.beyondRepair) = (3, 1, 3, 1)
  return counts
}

private func record(_ ending: String, _ counts: ScrubCountsReport, at seconds: UInt64 = 1000)
  -> ScrubRecordReport
{
  ScrubRecordReport(
    kind: "repair", ending: ending, beganUnixSeconds: 1, endedUnixSeconds: seconds,
    byteCount: 3 << 30,
    counts: counts)
}

/// Something in every place.
var sampleUpkeep: UpkeepReport {
  var upkeep = UpkeepReport()
  upkeep.reserves = [
    ArrayReserveReport(
      seat: 3, memberID: "spare", place: "/srv/s.img", targetSlot: nil, cause: "",
      readBytes: 4096, writeBytes: 8192, errorCount: 1),
    ArrayReserveReport(
      seat: 4, memberID: "copy", place: "/srv/r.img", targetSlot: 0, cause: "slow", readBytes: 0,
      writeBytes: 0, errorCount: 0),
  ]
  upkeep.rebuild = ArrayRebuildReport(
    pass: pass(1 << 30, of: 2 << 30, rate: 100 << 20, left: 10...20), slots: [2, 0], seats: [2, 4],
    isJoining: true, unreadableBlockCount: 1,
    unreadableRanges: [ArrayRangeReport(offsetBytes: 4096, byteCount: 4096)])
  upkeep.scrub = ArrayScrubReport(
    kind: "repair", pass: pass(1, of: 3, isPaused: true), counts: sampleCounts,
    findings: [
      ScrubFindingReport(
        range: ArrayRangeReport(offsetBytes: 8192, byteCount: 4096), slot: 1, trouble: "checksum",
        outcome: "repaired"),
      ScrubFindingReport(
        range: ArrayRangeReport(offsetBytes: 0, byteCount: 4096), slot: nil, trouble: "parity",
        outcome: "lost"),
    ])
  (upkeep.isRebuildPaused, upkeep.isResyncHeld) = (true, true)
  upkeep.scrubHistory = [record("completed", sampleCounts)]
  upkeep.latencyBudget = LatencyBudgetReport(
    askedNanoseconds: 20_000_000, achievedP99Nanoseconds: 3_100_000, upkeepPercent: 45)
  return upkeep
}

private func array(_ states: [MemberStatus.State] = [.current, .current]) -> ArrayReport {
  let id = { (low: UInt64) in Identifier(high: 0, low: low) }
  return ArrayReport(
    ArrayStatus(
      arrayID: id(1), level: .raid1, chunkBytes: 65536, state: .optimal,
      members: states.enumerated().map { slot, state in
        MemberStatus(
          slot: slot, memberID: id(UInt64(10 + slot)), place: "/srv/\(slot).img", state: state)
      },
      redundancyLeft: 1, eventCount: 1, configurationID: id(2)),
    nowNanoseconds: 0, nowUnixSeconds: 0)
}

@Suite("Control: upkeep in words")
struct PassTextTests {
  @Test(
    "a line has bar, share, rate and a range of time",
    arguments: [
      (pass(0, of: 0), "[>                       ] 25.0 %"),
      (pass(0, of: 100), "[>                       ] 0.0 %"),
      (
        pass(50, of: 100, rate: 1 << 20, left: 80...130),
        "[============>           ] 50.0 %, 1 MiB/s, 1 min 20 s to 2 min 10 s left"
      ),
      (pass(999, of: 1000, left: 5...5), "[=======================>] 99.9 %, about 5 s left"),
      (pass(100, of: 100), "[========================] 100.0 %"),
      (pass(200, of: 100), "[========================] 100.0 %"),
      (
        pass(50, of: 100, rate: 1 << 20, left: 1...2, isPaused: true),
        "[============>           ] 50.0 %, paused"
      ),
      (pass(.max - 1, of: .max), "[=======================>] 99.9 %"),
    ] as [(PassReport, String)])
  func lines(pass: PassReport, text: String) {
    let expected = pass.byteCount == 0 ? "[======>                 ] 25.0 %" : text
    #expect(PassText.line(pass) == expected)
  }

  @Test("times beyond all bounds are shown as what they are at most")
  func boundsTimes() {
    #expect(PassText.timeWords(pass(0, of: 1, left: 0...(.max)))?.hasPrefix("0 s to ") == true)
    #expect(PassText.timeWords(pass(0, of: 1)) == nil)
  }

  @Test("what a scrub found is counted by kind and by what became of it")
  func countsFindings() {
    #expect(PassText.foundWords(ScrubCountsReport()) == "nothing found")
    #expect(
      PassText.foundWords(sampleCounts)
        == "found 4 (3 checksum, 1 parity): 3 repaired, 1 beyond repair")
    var many = ScrubCountsReport()
    (many.checksum, many.table) = (.max, 5)
    #expect(many.found == .max)
    #expect(
      PassText.recordWords(record("completed", sampleCounts), nowUnixSeconds: 1000 + 7200)
        == "repair completed 2 h 0 min ago, 3 GiB read, "
        + "found 4 (3 checksum, 1 parity): 3 repaired, 1 beyond repair")
  }

  @Test("status shows reserves, bars, findings and the budget")
  func showsAll() throws {
    var whole = array([.current, .current, .syncing])
    whole.upkeep = sampleUpkeep
    var status = sampleReport
    status.array = whole
    let text = StatusText.describe(
      DeviceSighting(name: "pg", server: .answers(status, processID: 1), attachment: nil))
    let lines = text.split(separator: "\n").map(String.init)
    let expected = [
      "   rebuild: [============>           ] 50.0 %, 100 MiB/s, 10 s to 20 s left",
      "            slot 2, slot 0 onto the replacement in seat 4: 1 GiB of 2 GiB, all there: waiting for the log",
      "            1 block cannot be had: bytes 4096 to 8191",
      "            paused, over restarts too: 'ashlar rebuild pg --resume' goes on",
      "            members that come back wait, and spares too (--no-resync): 'ashlar rebuild pg --resume' lets them go on",
      "     scrub: [=======>                ] 33.3 %, paused",
      "            repair: 1 B of 3 B, found 4 (3 checksum, 1 parity): 3 repaired, 1 beyond repair",
      "            bytes 8192 to 12287: checksum on member 1, repaired",
      "            bytes 0 to 4095: parity, lost",
      "    budget: p99 of clients is 3.1 ms of 20 ms allowed; rebuild and scrub have 45 % of the time",
      "          becomes a copy of member 0, then takes its place",
    ]
    for line in expected { #expect(lines.contains(line), "\(line)\nis not in\n\(text)") }
    #expect(lines.contains { $0.hasPrefix("  3             spare") && $0.hasSuffix("/srv/s.img") })
    #expect(lines.contains { $0.hasPrefix("  4       replacement") })
    // The members come before the clients: that is what one looks for.
    let members = lines.firstIndex { $0.hasPrefix("  member") }
    let clients = lines.firstIndex { $0.hasPrefix("   clients:") }
    #expect(try #require(members) < #require(clients))
  }

  @Test("status tells of the last scrub, or that there was none")
  func showsTheLast() {
    var status = sampleReport
    status.array = array()
    func text() -> String {
      StatusText.describe(
        DeviceSighting(name: "pg", server: .answers(status, processID: 1), attachment: nil),
        nowUnixSeconds: 1042)
    }
    #expect(text().contains("     scrub: none yet"))
    #expect(!text().contains("rebuild:"))
    status.array?.upkeep.scrubHistory = [record("completed", ScrubCountsReport())]
    #expect(
      text().contains("     scrub: repair completed 42 s ago, 3 GiB read, nothing found\n"))
  }
}

@Suite("Control: upkeep as it travels")
struct UpkeepReportTests {
  @Test("it travels as JSON without loss, and an older server's lack of it is understood")
  func travels() throws {
    var whole = array()
    whole.upkeep = sampleUpkeep
    #expect(try ArrayReport(JSONReader(whole.json, path: "array")) == whole)
    whole.upkeep = UpkeepReport()
    #expect(try ArrayReport(JSONReader(whole.json, path: "array")) == whole)
    guard case .object(let members) = whole.json else { return }
    let later = ["reserves", "rebuild", "scrub", "scrub_history", "latency_budget"]
    let older = JSONValue.object(members.filter { !later.contains($0.name) })
    #expect(try ArrayReport(JSONReader(older, path: "array")) == whole)
  }

  @Test("every member of each object is needed, by its name")
  func everyMemberIsNeeded() throws {
    var whole = array()
    whole.upkeep = sampleUpkeep
    for path in [
      ["reserves", "0"], ["rebuild"], ["scrub"], ["scrub", "counts"], ["scrub_history", "0"],
      ["latency_budget"],
    ] {
      let names = members(whole.json, at: path)
      #expect(names.count > 2)
      for name in names where !Self.optional.contains(name) {
        let damaged = without(name, whole.json, at: path)
        #expect(throws: ControlError.self, "\(path) \(name)") {
          try ArrayReport(JSONReader(damaged, path: "array"))
        }
      }
    }
  }

  /// Null is a value of these, or they only repeat what others say.
  private static let optional = [
    "target_slot", "state", "seconds_left_min", "seconds_left_max", "found",
    "achieved_p99_nanoseconds",
  ]

  private func members(_ json: JSONValue, at path: [String]) -> [String] {
    guard let first = path.first else {
      guard case .object(let members) = json else { return [] }
      return members.map(\.name)
    }
    if let index = Int(first), let elements = json.array {
      return members(elements[index], at: Array(path.dropFirst()))
    }
    return json[first].map { members($0, at: Array(path.dropFirst())) } ?? []
  }

  private func without(_ name: String, _ json: JSONValue, at path: [String]) -> JSONValue {
    if let elements = json.array, let index = path.first.flatMap({ Int($0) }) {
      var changed = elements
      changed[index] = without(name, elements[index], at: Array(path.dropFirst()))
      return .array(changed)
    }
    guard case .object(let members) = json else { return json }
    guard let first = path.first else { return .object(members.filter { $0.name != name }) }
    return .object(
      members.map { member in
        guard member.name == first else { return member }
        let value = without(name, member.value, at: Array(path.dropFirst()))
        return JSONMember(name: member.name, value: value)
      })
  }
}

@Suite("Control: where a rebuild and a scrub stand")
struct UpkeepStandingTests {
  @Test("who waits looks often at first, and is never late by more than a part of what it took")
  func pauses() {
    #expect(UpkeepStanding.pauseMilliseconds(afterNanoseconds: 0) == 10)
    #expect(UpkeepStanding.pauseMilliseconds(afterNanoseconds: 1_280_000_000) == 20)
    #expect(UpkeepStanding.pauseMilliseconds(afterNanoseconds: 16_000_000_000) == 250)
    #expect(UpkeepStanding.pauseMilliseconds(afterNanoseconds: .max) == 500)
  }

  @Test("a rebuild is working, paused, done, or at an end with members missing")
  func rebuild() {
    var now = array([.current, .syncing])
    now.upkeep.rebuild = sampleUpkeep.rebuild
    #expect(UpkeepStanding.rebuild(now).name == "working")
    #expect(UpkeepStanding.rebuild(now).exitCode == 2)
    now.upkeep.rebuild?.pass.isPaused = true
    #expect(UpkeepStanding.rebuild(now).name == "paused")
    #expect(UpkeepStanding.rebuild(now).words.hasSuffix(": paused; --resume goes on"))
    now.upkeep.rebuild = nil
    now.upkeep.isRebuildPaused = true
    #expect(
      UpkeepStanding.rebuild(now)
        == .paused("the rebuild has not begun: paused; --resume goes on"))
    now.upkeep.isRebuildPaused = false
    #expect(UpkeepStanding.rebuild(now).name == "pending")
    #expect(UpkeepStanding.rebuild(now).exitCode == 2)
    now = array([.current, .out])
    #expect(
      UpkeepStanding.rebuild(now)
        == .found(
          "nothing is being rebuilt, and slot 1 (out) is not up to date: 'ashlar status' tells why, 'ashlar member add' or 'replace' fills a slot"
        ))
    now.upkeep.isResyncHeld = true
    #expect(UpkeepStanding.rebuild(now).name == "paused")
    #expect(UpkeepStanding.rebuild(now).words.contains("--resume brings up to date"))
    now.members[1].isFailed = true
    #expect(
      UpkeepStanding.rebuild(now)
        == .found(
          "nothing is being rebuilt, and slot 1 (failed by an operator) is not up to date: 'ashlar status' tells why, 'ashlar member add' or 'replace' fills a slot"
        ))
    // A replacement that has not been begun with, and one that cannot be used.
    now = array()
    now.upkeep.reserves = [sampleUpkeep.reserves[1]]
    #expect(UpkeepStanding.rebuild(now).name == "clean")
    now.upkeep.reserves[0].cause = ""
    #expect(UpkeepStanding.rebuild(now).name == "pending")
    now = array([.current, .current])
    #expect(UpkeepStanding.rebuild(now).exitCode == 0)
    now.lostBlockCount = 1
    #expect(UpkeepStanding.rebuild(now).exitCode == 1)
  }

  @Test("a scrub's end is told by a record that was not there before")
  func scrub() {
    var now = array()
    let old = record("completed", sampleCounts, at: 100)
    now.upkeep.scrubHistory = [old]
    func standing() -> UpkeepStanding {
      UpkeepStanding.scrub(now, previous: old, sinceUnixSeconds: 200)
    }
    #expect(standing().name == "unfinished")
    now.upkeep.scrub = sampleUpkeep.scrub
    #expect(standing().name == "paused")
    now.upkeep.scrub?.pass.isPaused = false
    #expect(standing().name == "working")
    now.upkeep.scrub = nil
    now.upkeep.scrubHistory.append(record("completed", ScrubCountsReport(), at: 150))
    #expect(standing() == .clean("repair completed: nothing found"))
    #expect(standing().exitCode == 0)
    now.upkeep.scrubHistory.append(record("completed", sampleCounts, at: 250))
    #expect(standing().exitCode == 1)
    now.upkeep.scrubHistory.append(record("cancelled", ScrubCountsReport(), at: 300))
    #expect(standing().exitCode == 2)
    // One that is equal to the last one of before in all but its time.
    now.upkeep.scrubHistory = [record("completed", ScrubCountsReport(), at: 200)]
    let same = UpkeepStanding.scrub(
      now, previous: now.upkeep.scrubHistory[0], sinceUnixSeconds: 200)
    #expect(same.exitCode == 0)
  }
}

@Suite("Control: which member is meant")
struct MemberChoiceTests {
  @Test(
    "a slot, a seat, an identity and a place name a member",
    arguments: [
      ("0", "00000000-0000-0000-0000-00000000000a"), ("3", "spare"), ("copy", "copy"),
      ("00000000-0000-0000-0000-00000000000B", "00000000-0000-0000-0000-00000000000b"),
      ("/srv/1.img", "00000000-0000-0000-0000-00000000000b"), ("/srv/s.img", "spare"),
    ])
  func finds(text: String, memberID: String) throws {
    var now = array()
    now.upkeep = sampleUpkeep
    #expect(try MemberChoice.find(text, in: now).memberID == memberID)
  }

  @Test("what is nobody's, and an empty slot, are refused", arguments: ["9", "", "/srv", "0x1"])
  func refuses(text: String) {
    #expect(throws: ControlRefusal.self) { try MemberChoice.find(text, in: array()) }
    var emptied = array()
    emptied.members[1].memberID = Identifier.none.description
    emptied.members[1].place = ""
    #expect {
      try MemberChoice.find("1", in: emptied)
    } throws: { error in
      (error as? ControlRefusal)?.message == "slot 1 is empty"
    }
    #expect(throws: ControlRefusal.self) { try MemberChoice.find("", in: emptied) }
  }
}
