import DiskFormat
import Geometry
import RAID
import Testing

@Suite("Assembly: examination")
struct AssemblyExaminationTests {
  private func text(_ examination: Examination) -> String {
    examination.lines.joined(separator: "\n")
  }

  @Test("tells each member's own words, damage of each copy, and what would start")
  func words() throws {
    var array = try SampleArray(.raid5, 4)
    array.configure(2, current: [0, 1, 2], on: [0, 1, 2])
    array.superblocks[0].ownerNonce = SampleArray.identifier(0x0123, 9)
    var reports = array.reports
    let damaged = reports[1]
    reports[1] = MemberReport(
      name: damaged.name, byteCount: damaged.byteCount, copyA: damaged.copyA,
      copyB: .damaged(.checksum(stored: 1, computed: 2)))
    let examination = Examination(reports)
    #expect(examination.canStart)
    let text = text(examination)
    for superblock in array.superblocks {
      #expect(text.contains(superblock.memberID.description))
      #expect(text.contains("slot \(superblock.slot) of 4"))
    }
    for words in [
      "'db1' \(array.superblocks[0].arrayID)", "event count 2", "event count 1",
      "0 in sync, 1 in sync, 2 in sync, 3 out", "raid5, chunk 4 KiB", "good, number 12",
      "damaged: its checksum does not match", "epoch 1, checkpoint 5", "heartbeat 0",
      "can start, degraded, 3 of 4 members in sync, clean",
      "slot 3: /members/db1-3, out of date: it left one configuration ago",
    ] {
      #expect(text.contains(words), "\(words)")
    }
    let slots = try #require(examination.tree["arrays"]).list[0]["slots"]?.list ?? []
    #expect(slots.count == 4)
    #expect(slots[3]["events_behind"] == .number(1))
    #expect(slots[0]["state"] == .text("in sync"))
    let members = try #require(examination.tree["members"]).list
    #expect(members[1]["superblock_b"]?["good"] == .flag(false))
    #expect(members[0]["event_count"] == .number(2))
    #expect(examination.tree["can_start"] == .flag(true))
  }

  @Test("says why nothing is assembled, in words and in the tree")
  func refused() throws {
    var array = try SampleArray(.raid1, 2)
    array.configure(2, current: [0], on: [0])
    array.configure(3, current: [1], on: [1])
    let examination = Examination(array.reports)
    #expect(!examination.canStart)
    #expect(text(examination).contains("two histories"))
    #expect(examination.tree["arrays"]?.list[0]["can_start"] == .flag(false))
    guard case .text(let refusal)? = examination.tree["arrays"]?.list[0]["refusal"] else {
      Issue.record("no refusal")
      return
    }
    #expect(refusal.contains("two histories"))
  }

  @Test("members of two arrays are told apart, each array with its own answer")
  func twoArrays() throws {
    let one = try SampleArray(.raid5, 3)
    let two = try SampleArray(.raid5, 3, array: 2)
    let examination = Examination(one.reports + two.reports([0]))
    #expect(!examination.canStart)
    #expect(examination.outcomes.map(\.plan?.currentSlots.count) == [3, nil])
    let text = text(examination)
    #expect(text.contains("'db1' \(one.superblocks[0].arrayID): can start, all 3 members"))
    #expect(text.contains("'db2' \(two.superblocks[0].arrayID): not to be assembled"))
    #expect(text.contains("members of 2 arrays"))
  }

  @Test("devices on which nothing is are told, with the reason")
  func nothing() {
    let report = MemberReport(
      name: "/d/x", byteCount: 4096, copyA: .damaged(.noMagic), copyB: .damaged(.noMagic))
    let examination = Examination([report])
    #expect(!examination.canStart)
    #expect(text(examination).contains("no superblock of ashlar"))
    #expect(examination.tree["refusal"] != nil)
  }
}

extension ExaminationValue {
  fileprivate var list: [ExaminationValue] {
    if case .list(let values) = self { values } else { [] }
  }
}
