import DiskFormat
import Geometry
import IO
import RAID
import Testing

@testable import Control

/// An array with another value in every field.
private var sampleArray: ArrayStatus {
  func id(_ low: UInt64) -> Identifier { Identifier(high: 0, low: low) }
  let second: UInt64 = 1_000_000_000
  var array = ArrayStatus(
    arrayID: id(1), level: .raid5, chunkBytes: 64 << 10, state: .resyncing,
    cause: "member 2 is being brought up to date", action: "wait",
    members: [
      MemberStatus(
        slot: 0, memberID: id(10), place: "/srv/a.img", state: .current, readCount: 11,
        readBytes: 12288, writeCount: 13, writeBytes: 8192, flushCount: 15),
      MemberStatus(
        slot: 1, memberID: id(11), place: "/srv/b.img", state: .missing,
        cause: "there is no such file"),
      MemberStatus(
        slot: 2, memberID: id(12), place: "nbd://host/c", state: .syncing,
        cause: "it was disconnected", errorCount: 16, checksumErrorCount: 17, healedCount: 18,
        resyncPagesLeft: 3, resyncPages: 12, oldestOperationNanoseconds: 5 * second),
    ],
    redundancyLeft: 0, eventCount: 7, configurationID: id(2), logFillBytes: 12 << 20,
    logBytes: 256 << 20, dirtyBytes: 3 << 20, dirtyBytesMax: 64 << 20, checkpointSequence: 100,
    lastSequence: 120, horizon: 119, healedBlockCount: 18, lostBlockCount: 1, hasMoreLost: true,
    lostRuns: [BlockRun(firstBlock: 3, blockCount: 1)],
    events: [
      ArrayEvent(atNanoseconds: 10 * second, text: "started"),
      ArrayEvent(
        atNanoseconds: 70 * second, text: "healed member 2", offsetBytes: 8192, byteCount: 4096),
    ])
  array.members[1].isFailed = true
  return array
}

private func report(_ array: ArrayStatus, health: StatusReport.State = .optimal) -> StatusReport {
  var report = sampleReport
  (report.state, report.cause, report.action, report.isStopping) = (health, "", "", false)
  if health != .optimal { report.cause = "the volume's own cause" }
  report.add(array, nowNanoseconds: 100_000_000_000, nowUnixSeconds: 1_000_000)
  return report
}

@Suite("Control: an array's status")
struct ArrayReportTests {
  @Test("it travels as JSON without loss, and a status without one is still read")
  func travels() throws {
    let whole = report(sampleArray)
    #expect(try StatusReport(whole.json) == whole)
    #expect(whole.array?.events.map(\.ageNanoseconds) == [90_000_000_000, 30_000_000_000])
    #expect(whole.array?.events.map(\.unixSeconds) == [999_910, 999_970])
    var plain = sampleReport
    plain.array = nil
    #expect(try StatusReport(plain.json) == plain)
    guard case .object(let members) = plain.json else { return }
    // As an older server says it.
    let older = JSONValue.object(members.filter { $0.name != "array" })
    #expect(try StatusReport(older) == plain)
  }

  @Test("each member of the object that is missing or of another type is refused by its name")
  func refusesDamage() throws {
    guard case .object(let members) = report(sampleArray).json,
      let place = members.firstIndex(where: { $0.name == "array" }),
      case .object(let parts) = members[place].value
    else { return }
    for index in parts.indices where parts[index].name != "redundancy_left" {
      var changed = parts
      changed[index].value = .real(1.5)
      var document = members
      document[place].value = .object(changed)
      let error = #expect(throws: ControlError.self) { try StatusReport(.object(document)) }
      #expect("\(String(describing: error))".contains(parts[index].name))
    }
  }

  @Test("the worse of array and volume counts, in the array's word where that says more")
  func stateIsTheWorse() {
    var array = sampleArray
    let cases: [(ArrayStatus.State, StatusReport.State, StatusReport.State, String, Int32)] = [
      (.optimal, .optimal, .optimal, "optimal", 0), (.degraded, .optimal, .impaired, "degraded", 1),
      (.resyncing, .impaired, .impaired, "resyncing", 1),
      (.optimal, .impaired, .impaired, "impaired", 1), (.failed, .optimal, .failed, "failed", 2),
      (.damaged, .impaired, .impaired, "damaged", 1),
      (.stopped, .impaired, .failed, "stopped", 2), (.degraded, .failed, .failed, "failed", 2),
    ]
    for (ofArray, ofVolume, state, word, code) in cases {
      array.state = ofArray
      let report = report(array, health: ofVolume)
      #expect(report.state == state)
      #expect(report.stateWord == word)
      #expect(report.cause.isEmpty == (state == .optimal))
      let sighting = DeviceSighting(
        name: "a", server: .answers(report, processID: 1), attachment: nil)
      #expect(sighting.exitCode == code)
    }
  }

  @Test(
    "what can be lost now is said",
    arguments: [
      (RAIDLevel.raid6, ArrayStatus.State.optimal, 2, "any 2 more members"),
      (.raid6, .degraded, 1, "any 1 more member"),
      (.raid5, .degraded, 0, "nothing more: the next member that is lost stops it"),
      (.raid0, .optimal, 0, "nothing: raid0 keeps no second copy"),
      (.raid10, .degraded, 0, "not the other halves of the mirrors that are out"),
      (.raid1, .stopped, nil, "nothing: it takes no writes any more"),
    ] as [(RAIDLevel, ArrayStatus.State, Int?, String)])
  func saysWhatMayGo(level: RAIDLevel, state: ArrayStatus.State, left: Int?, words: String) {
    var array = sampleArray
    (array.level, array.state, array.redundancyLeft) = (level, state, left)
    let text = StatusText.describe(
      DeviceSighting(name: "a", server: .answers(report(array), processID: 1), attachment: nil))
    #expect(text.contains("can lose: \(words)\n"))
  }

  @Test("people see the state, what can be lost, each member with its trouble, and what happened")
  func describes() {
    let text = StatusText.describe(
      DeviceSighting(
        name: "pg", server: .answers(report(sampleArray), processID: 42), attachment: nil))
    let lines = text.split(separator: "\n").map(String.init)
    let expected = [
      "      name: pg", "     state: resyncing", "     cause: member 2 is being brought up to date",
      "    action: wait",
      "     array: raid5 of 3 members, chunk 64 KiB, 00000000-0000-0000-0000-000000000001",
      "       log: 12 MiB of 256 MiB (4 %), 3 MiB not yet home, policy auto",
      "  repaired: 18 blocks healed", "      lost: more than 1 block: bytes 12288 to 16383, ...",
      "  member    state    read  written  errors  checksums  healed  place",
      "  0       current  12 KiB    8 KiB       0          0       0  /srv/a.img",
      "  1       missing     0 B      0 B       0          0       0  /srv/b.img",
      "          there is no such file",
      "  2       syncing     0 B      0 B      16         17      18  nbd://host/c",
      "          it was disconnected", "          brought up to date: 9 of 12 pages (75 %)",
      "          its oldest operation has waited for 5 s", "  1 min 30 s ago: started",
      "  30 s ago: healed member 2 (bytes 8192 to 12287)",
    ]
    for line in expected { #expect(lines.contains(line), "\(line)\nis not in\n\(text)") }
  }
}
