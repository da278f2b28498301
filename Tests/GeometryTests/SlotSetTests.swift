import Geometry
import Testing

@Suite("Geometry: sets of members")
struct SlotSetTests {
  @Test("a set of members does what a set of numbers does")
  func likeASetOfNumbers() {
    let samples: [[Int]] = [[], [0], [63], [0, 31, 63], [1, 2, 3], [5, 7, 30], Array(0..<64)]
    for one in samples {
      let set = SlotSet(one)
      #expect(Array(set) == one.sorted())
      #expect(set.count == one.count)
      #expect(set.isEmpty == one.isEmpty)
      for slot in 0..<64 {
        #expect(set.contains(slot) == one.contains(slot))
        var more = set
        more.insert(slot)
        #expect(Set(more) == Set(one).union([slot]))
        more.remove(slot)
        #expect(Set(more) == Set(one).subtracting([slot]))
      }
      for other in samples {
        let (a, b) = (Set(one), Set(other))
        #expect(Set(set.union(SlotSet(other))) == a.union(b))
        #expect(Set(set.intersection(SlotSet(other))) == a.intersection(b))
        #expect(Set(set.subtracting(SlotSet(other))) == a.subtracting(b))
        #expect(set.isSubset(of: SlotSet(other)) == a.isSubset(of: b))
      }
    }
  }

  @Test("the first so many slots, from none to 64")
  func firstCount() {
    for count in 0...64 { #expect(Array(SlotSet(firstCount: count)) == Array(0..<count)) }
  }

  @Test("slots and seats that no array has trap")
  func outsideTraps() async {
    await #expect(processExitsWith: .failure) { _ = SlotSet([64]) }
    await #expect(processExitsWith: .failure) { _ = SlotSet().contains(-1) }
    await #expect(processExitsWith: .failure) { _ = SlotSet(firstCount: 65) }
  }
}
