import DiskFormat
import Geometry
import IO
import RAID
import Testing

@Suite("Assembly: which members may start")
struct AssemblyPlanTests {
  static let shapes: [(RAIDLevel, Int)] = [
    (.raid0, 2), (.raid0, 3), (.raid1, 2), (.raid1, 3), (.raid1, 4), (.raid5, 3), (.raid5, 4),
    (.raid5, 5), (.raid6, 4), (.raid6, 5), (.raid6, 6), (.raid10, 2), (.raid10, 3), (.raid10, 4),
    (.raid10, 5), (.raid10, 6),
  ]

  /// What a level survives, told from the addresses themselves: every row keeps enough places.
  private func survives(_ geometry: StripeGeometry, _ present: [Int]) -> Bool {
    (0..<geometry.rowCount).allSatisfy { row in
      let lost = (0..<geometry.width).count {
        !present.contains(geometry.place(ofRow: row, position: $0).slot)
      }
      return geometry.isMirrored ? lost < geometry.width : lost <= geometry.parityCount
    }
  }

  @Test(
    "every subset of every small array starts, or is refused for the right reason",
    arguments: shapes)
  func everySubset(level: RAIDLevel, memberCount: Int) throws {
    let array = try SampleArray(level, memberCount)
    for present in subsets(memberCount) where !present.isEmpty {
      let missing = array.allSlots.filter { !present.contains($0) }
      let canServe = survives(array.geometry, present)
      let couldHaveGoneOn = survives(array.geometry, missing)
      let expected = !canServe ? "tooFew" : couldHaveGoneOn ? "mayHaveDiverged" : "plan"
      #expect(array.decide(present).kind == expected, "\(level) \(present)")
      let forced = array.decide(present, isForced: true)
      #expect(forced.kind == (canServe ? "plan" : "tooFew"), "\(level) \(present)")
      let known = array.decide(present, known: 1000)
      #expect(known.kind == (canServe ? "plan" : "tooFew"), "\(level) \(present)")
      #expect(array.decide(present, known: 999).kind == expected, "\(level) \(present)")
      guard let plan = forced.plan else { continue }
      #expect(plan.wasForced == couldHaveGoneOn)
      #expect(known.plan?.wasForced == false)
      #expect(plan.currentSlots == SlotSet(present))
      #expect(plan.missingSlots == SlotSet(missing))
      #expect(plan.lostSlots == SlotSet(missing))
      for (index, slot) in present.enumerated() { #expect(plan.currentReports[slot] == index) }
      #expect(plan.memberStates == array.allSlots.map { present.contains($0) ? .current : .out })
      // Each of the missing is named.
      for slot in missing {
        let name = "slot \(slot) (member \(array.superblocks[slot].memberID))"
        #expect(plan.warnings.contains { $0.contains(name) })
      }
    }
  }

  @Test("a refusal for too few names the missing by slot and member, and how many are needed")
  func shortageWords() throws {
    let array = try SampleArray(.raid6, 6)
    let words = try #require(array.decide([0, 2, 5]).refusal).description
    for slot in [1, 3, 4] {
      #expect(words.contains("slot \(slot) (member \(array.superblocks[slot].memberID))"))
    }
    #expect(words.contains("3 are present and in sync, and raid6 needs 4"))
    #expect(words.contains(array.superblocks[0].arrayID.description))
    let mirrors = try SampleArray(.raid10, 4)
    let pair = try #require(mirrors.decide([0, 1, 2, 3].filter { $0 < 2 }).refusal).description
    #expect(pair.contains("slots 2 and 3"))
  }

  @Test("a degraded start that is refused says what force would cost, and names both sides")
  func absenceWords() throws {
    let array = try SampleArray(.raid1, 2)
    let words = try #require(array.decide([0]).refusal).description
    #expect(words.contains("slot 1 (member \(array.superblocks[1].memberID))"))
    #expect(words.contains("/members/db1-0 (slot 0)"))
    #expect(words.contains(array.superblocks[0].configurationID.description))
    #expect(words.contains("--force"))
    #expect(words.contains("not merged"))
  }

  @Test("the checkpoint is the highest of the current members, never a stale one's")
  func checkpoint() throws {
    var array = try SampleArray(.raid5, 4)
    array.configure(2, current: [0, 1, 2], on: [0, 1, 2])
    array.superblocks[3].checkpointSequence = 99
    array.superblocks[1].checkpointSequence = 7
    array.superblocks[2].checkpointSequence = 7
    // An epoch has begun, and nothing of it is durable.
    array.superblocks[2].logEpoch = 2
    array.superblocks[2].epochFirstSequence = 8
    array.superblocks[2].isClean = false
    let plan = try array.decide([0, 1, 2, 3]).get()
    #expect(plan.checkpoint == array.superblocks[2])
    #expect(!plan.isClean)
    #expect(
      plan.superblocks == [
        array.superblocks[0], array.superblocks[1], array.superblocks[2], nil,
      ])
  }

  @Test("a current member that does not know an epoch that was in force is an older copy (P7)")
  func olderCopy() throws {
    var array = try SampleArray(.raid5, 3)
    for slot in [0, 1] {
      array.superblocks[slot].logEpoch = 2
      array.superblocks[slot].epochFirstSequence = 8
      array.superblocks[slot].isClean = false
    }
    // A crash came while the epoch began.
    #expect(try array.decide([0, 1, 2]).get().currentSlots.count == 3)
    var ended = array
    ended.superblocks[1].isClean = true
    var used = array
    used.superblocks[0].horizon = 8
    for array in [ended, used] {
      let plan = try array.decide([0, 1, 2]).get()
      #expect(plan.hasOlderCopy)
      #expect(plan.slots[2] == .stale(report: 2, .olderCopy))
      #expect(plan.warnings.contains { $0.contains("as it was some time before") })
    }
  }

  @Test("clean is only what all current members call clean at one checkpoint")
  func clean() throws {
    var array = try SampleArray(.raid5, 3)
    #expect(try array.decide([0, 1, 2]).get().isClean)
    array.superblocks[1].isClean = false
    #expect(try !array.decide([0, 1, 2]).get().isClean)
    #expect(try array.decide([0, 2]).get().isClean)
  }

  @Test("a member of which one copy is damaged has its say by the other, with a warning")
  func oneCopyDamaged() throws {
    let array = try SampleArray(.raid5, 3)
    var reports = array.reports
    let good = reports[1]
    let damage: [SuperblockReading] = [
      .damaged(.checksum(stored: 1, computed: 2)), .damaged(.noMagic),
      .unreadable(.noProgress), .newer(found: 9, supported: 1, isIntact: false),
    ]
    for reading in damage {
      reports[1] = MemberReport(
        name: good.name, byteCount: good.byteCount, copyA: reading, copyB: good.copyB)
      let plan = try AssemblyPlan.decide(reports: reports).get()
      #expect(plan.currentSlots.count == 3)
      #expect(plan.warnings.contains { $0.contains("superblock A of /members/db1-1") })
      reports[1] = MemberReport(
        name: good.name, byteCount: good.byteCount, copyA: good.copyA, copyB: reading)
      #expect(try AssemblyPlan.decide(reports: reports).get().currentSlots.count == 3)
    }
  }

  @Test("a member of which both copies are damaged counts as missing, and the reason is told")
  func bothCopiesDamaged() throws {
    let array = try SampleArray(.raid5, 3)
    var reports = array.reports
    reports[1] = MemberReport(
      name: "/members/broken", byteCount: array.byteCount,
      copyA: .damaged(.checksum(stored: 1, computed: 2)), copyB: .unreadable(.noProgress))
    let plan = try AssemblyPlan.decide(reports: reports).get()
    #expect(plan.missingSlots == SlotSet([1]))
    #expect(plan.warnings.contains { $0.contains("/members/broken counts as missing") })
    reports[2] = reports[1]
    let refusal = AssemblyPlan.decide(reports: reports)
    #expect(refusal.kind == "tooFew")
    #expect(try #require(refusal.refusal).description.contains("/members/broken"))
    let nothing = AssemblyPlan.decide(reports: [reports[1]])
    #expect(nothing.kind == "noSuperblock")
    #expect(AssemblyPlan.decide(reports: []).kind == "noSuperblock")
  }
}
