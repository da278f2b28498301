import DiskFormat
import Geometry
import RAID
import Testing

/// The histories of rule T6, one test each.
@Suite("Assembly: configurations")
struct AssemblyHistoryTests {
  @Test("RAID-1: A alone, then B alone, at one event count: refused, with both sides named")
  func mirrorHalves() throws {
    var array = try SampleArray(.raid1, 2)
    array.configure(2, current: [0], on: [0])
    array.configure(3, current: [1], on: [1])
    for order in [[0, 1], [1, 0]] {
      for isForced in [false, true] {
        let refusal = try #require(array.decide(order, isForced: isForced).refusal)
        #expect(refusal.kind == "fork")
        let words = refusal.description
        for slot in order {
          #expect(words.contains(array.path(slot)))
          #expect(words.contains(array.superblocks[slot].configurationID.description))
          #expect(words.contains(array.superblocks[slot].memberID.description))
        }
        // Where they parted.
        #expect(words.contains(SampleArray.configurationID(1000).description))
        #expect(words.contains("Both count 2 events"))
      }
    }
    // Each side alone is what it says it is.
    #expect(array.decide([0]).kind == "plan")
    #expect(array.decide([1]).kind == "plan")
  }

  @Test("T6: by event counts alone the two halves of a mirror would be merged")
  func eventCountsAlone() throws {
    var array = try SampleArray(.raid1, 2)
    array.configure(2, current: [0], on: [0])
    array.configure(3, current: [1], on: [1])
    let planted = AssemblyOptions(plantedBug: .listIgnored)
    let merged = try AssemblyPlan.decide(reports: array.reports, options: planted).get()
    #expect(merged.currentSlots == SlotSet([0, 1]))
    #expect(array.decide([0, 1]).refusal?.kind == "fork")
  }

  @Test("a side that went on for longer does not win: the other is a fork, not stale")
  func longerSide() throws {
    var array = try SampleArray(.raid1, 2)
    array.configure(2, current: [0], on: [0])
    for number in 3...9 as ClosedRange<Int> { array.configure(number, current: [1], on: [1]) }
    let refusal = try #require(array.decide([0, 1], isForced: true).refusal)
    #expect(refusal.kind == "fork")
    #expect(refusal.description.contains("event count 2"))
    #expect(refusal.description.contains("event count 8"))
  }

  @Test("RAID-10: both halves went on alone: refused")
  func mirroredHalves() throws {
    var array = try SampleArray(.raid10, 4)
    array.configure(2, current: [0, 2], on: [0, 2])
    array.configure(3, current: [1, 3], on: [1, 3])
    #expect(array.decide([0, 1, 2, 3]).kind == "fork")
    #expect(array.decide([0, 1]).kind == "fork")
    #expect(array.decide([0, 2]).kind == "plan")
  }

  @Test("RAID-6 of four: two and two went on alone: refused")
  func sixHalves() throws {
    var array = try SampleArray(.raid6, 4)
    array.configure(2, current: [0, 1], on: [0, 1])
    array.configure(3, current: [2, 3], on: [2, 3])
    array.configure(4, current: [2, 3], on: [2, 3])
    #expect(array.decide([0, 1, 2, 3]).kind == "fork")
    #expect(array.decide([1, 2, 3]).kind == "fork")
  }

  @Test(
    "a crash between two survivors' updates leaves all survivors current",
    arguments: [[0], [1], [2]])
  func interruptedUpdate(updated: [Int]) throws {
    var array = try SampleArray(.raid5, 4)
    array.configure(2, current: [0, 1, 2], on: updated)
    let plan = try array.decide([0, 1, 2, 3]).get()
    #expect(plan.currentSlots == SlotSet([0, 1, 2]))
    #expect(plan.staleSlots == SlotSet([3]))
    #expect(plan.newest.configurationID == SampleArray.configurationID(2))
    // Those without the new list, alone, go by the old one.
    let others = [0, 1, 2, 3].filter { !updated.contains($0) }
    #expect(try array.decide(others).get().currentSlots == SlotSet(others))
  }

  @Test("a member that is out is stale, also with the same configuration and event count")
  func outWithSameCount() throws {
    var array = try SampleArray(.raid5, 3)
    array.configure(2, current: [0, 1], on: [0, 1, 2])
    let plan = try array.decide([0, 1, 2]).get()
    #expect(plan.slots[2] == .stale(report: 2, .out(eventsBehind: 0)))
    #expect(array.decide([0, 2]).kind == "tooFew")
  }

  @Test("a member that is being brought up to date is not current")
  func syncing() throws {
    var array = try SampleArray(.raid5, 3)
    array.configure(2, current: [0, 1], on: [0, 1])
    array.configure(3, current: [0, 1], syncing: [2], on: [0, 1, 2])
    let plan = try array.decide([0, 1, 2]).get()
    #expect(plan.slots[2] == .stale(report: 2, .syncing))
    #expect(array.decide([1, 2]).kind == "tooFew")
    // It is current once the list says so, also if its own superblock came too late.
    array.configure(4, current: [0, 1, 2], on: [0, 1])
    #expect(try array.decide([0, 1, 2]).get().currentSlots.count == 3)
  }

  @Test("a configuration that only a member being brought up to date carries decides")
  func newestOnSyncing() throws {
    var array = try SampleArray(.raid5, 3)
    array.configure(2, current: [0, 1], on: [0, 1])
    array.configure(3, current: [0, 1], syncing: [2], on: [2], from: 0)
    let plan = try array.decide([0, 1, 2]).get()
    #expect(plan.newest.configurationID == SampleArray.configurationID(3))
    #expect(plan.currentSlots == SlotSet([0, 1]))
    #expect(array.decide([2]).kind == "tooFew")
  }

  @Test("how far a stale member is behind is told")
  func eventsBehind() throws {
    var array = try SampleArray(.raid5, 3)
    for number in 2...6 as ClosedRange<Int> {
      array.configure(number, current: [0, 1], on: [0, 1])
    }
    let plan = try array.decide([0, 1, 2]).get()
    #expect(plan.slots[2] == .stale(report: 2, .out(eventsBehind: 5)))
    #expect(plan.warnings.contains { $0.contains("5 configurations ago") })
  }

  @Test("a member from before all memory is stale if its list names one who stayed, else refused")
  func beforeMemory() throws {
    var array = try SampleArray(.raid5, 3)
    for number in 2...60 as ClosedRange<Int> {
      array.configure(number, current: [0, 1], on: [0, 1])
    }
    #expect(try array.decide([0, 1, 2]).get().staleSlots == SlotSet([2]))
    var mirror = try SampleArray(.raid1, 2)
    mirror.configure(2, current: [1], on: [1])
    for number in 3...60 as ClosedRange<Int> { mirror.configure(number, current: [0], on: [0]) }
    let refusal = try #require(mirror.decide([0, 1], isForced: true).refusal)
    #expect(refusal.kind == "tooOld")
    for slot in [0, 1] {
      #expect(refusal.description.contains(mirror.superblocks[slot].memberID.description))
    }
  }

  @Test("a configuration that a crash left on one member and that was never in force is no fork")
  func neverInForce() throws {
    var array = try SampleArray(.raid5, 3)
    // Member 2 fails, a crash comes when only 0 has the new list, and 0 does not return at once.
    array.configure(2, current: [0, 1], on: [0])
    #expect(array.decide([1, 2]).kind == "plan")
    array.configure(3, current: [1, 2], on: [1, 2])
    let plan = try array.decide([0, 1, 2]).get()
    #expect(plan.newest.configurationID == SampleArray.configurationID(3))
    #expect(plan.slots[0] == .stale(report: 0, .unfinishedConfiguration))
    // Without member 1 nobody can say whether 0 and 1 went on together.
    #expect(array.decide([0, 2]).kind == "fork")
  }

  @Test("a forced start of one half, then the other half with a configuration of its own")
  func forcedHalf() throws {
    var array = try SampleArray(.raid1, 3)
    #expect(array.decide([0]).kind == "mayHaveDiverged")
    let forced = try array.decide([0], isForced: true).get()
    #expect(forced.wasForced)
    #expect(forced.warnings.contains { $0.contains("by force") })
    array.configure(2, current: [0], on: [0])
    // The others did nothing: they are stale.
    #expect(try array.decide([0, 1, 2]).get().staleSlots == SlotSet([1, 2]))
    array.configure(3, current: [1, 2], on: [1, 2])
    array.configure(4, current: [1, 2], on: [1, 2])
    #expect(array.decide([0, 1, 2]).kind == "fork")
    #expect(array.decide([1, 2]).kind == "plan")
  }

  @Test("a replaced member that returns is left out, and who has its slot is named")
  func replaced() throws {
    var array = try SampleArray(.raid5, 3)
    let old = array.report(2)
    let newID = SampleArray.identifier(0x3e, 77)
    var ids = array.superblocks[0].memberIDs
    ids[2] = newID
    for slot in array.allSlots {
      var next = array.superblocks[slot].reconfigured(
        memberIDs: ids, memberStates: [.current, .current, .current],
        configurationID: SampleArray.configurationID(2))
      next.memberID = ids[slot]
      array.superblocks[slot] = next
    }
    #expect(array.decide([0, 1, 2]).kind == "plan")
    let plan = try AssemblyPlan.decide(reports: array.reports([0, 1]) + [old]).get()
    #expect(plan.slots[2] == .missing(wasCurrent: true))
    let words = try #require(plan.unlisted.first).words
    #expect(plan.warnings.contains(words))
    #expect(words.contains(newID.description))
    #expect(words.contains(try #require(old.newest).memberID.description))
  }

  @Test("an empty slot is missing, and starts do not wait for it")
  func emptySlot() throws {
    var array = try SampleArray(.raid1, 3)
    for slot in [0, 1] {
      var ids = array.superblocks[slot].memberIDs
      ids[2] = .none
      array.superblocks[slot] = array.superblocks[slot].reconfigured(
        memberIDs: ids, memberStates: [.current, .current, .out],
        configurationID: SampleArray.configurationID(2))
    }
    let plan = try array.decide([0, 1]).get()
    #expect(plan.slots[2] == .missing(wasCurrent: false))
    #expect(plan.warnings.contains { $0.contains("slot 2 (nobody)") })
  }

  @Test("a registry that knows a configuration which the members do not is told")
  func unknownRegistry() throws {
    let array = try SampleArray(.raid5, 3)
    let plan = try array.decide([0, 1, 2], known: 42).get()
    #expect(plan.warnings.contains { $0.contains(SampleArray.configurationID(42).description) })
    #expect(try array.decide([0, 1, 2], known: 1000).get().warnings.isEmpty)
  }
}
