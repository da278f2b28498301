import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

@Suite("Replication: what only one node has")
struct DivergenceTests {
  /// A went on alone, then b was promoted by force, and they have met: what only a has.
  private func diverge(_ lab: PairStage) async throws -> DivergedData {
    try await lab.beginInStep(.goOn)
    #expect(try await lab.write(lab.a, 1, 1))
    lab.cut()
    try await lab.wait(for: "a goes on alone") { (try? await lab.write(lab.a, 20, 2)) == true }
    #expect(try await lab.write(lab.a, 40, 3))
    await lab.rest(milliseconds: 600)
    #expect(try await lab.promote(lab.b, isForced: true) == nil)
    #expect(try await lab.write(lab.b, 20, 4))
    lab.network.heal()
    try await lab.wait(for: "a learns of it") { (try? await lab.write(lab.a, 22, 5)) == false }
    return try #require(try await lab.diverged(lab.a))
  }

  @Test(
    "nothing is given up without a word, for another number, or for what was saved of another state"
  )
  func refused() throws {
    let lab = try PairStage(seed: 21)
    try lab.play { lab in
      let data = try await diverge(lab)
      let arrayID = try await lab.nodeID(lab.a)
      var others: [DivergedData] = []
      for change in 0..<5 {
        var other = data
        switch change {
        case 0: other.end.number -= 1
        case 1: other.end.chain ^= 1
        case 2: other.forkNumber += 1
        case 3: other.runs.removeLast()
        default: other.recordCount += 1
        }
        others.append(other)
      }
      for other in others {
        #expect(try await lab.resync(lab.a, .exported(arrayID: arrayID, other)) != nil)
      }
      #expect(try await lab.resync(lab.a, .none) != nil)
      #expect(try await lab.resync(lab.a, .discard("\(data.byteCount + 4096)")) != nil)
      let otherID = try await lab.nodeID(lab.b)
      #expect(try await lab.resync(lab.a, .exported(arrayID: otherID, data)) != nil)
      // It is as it was.
      #expect(try await lab.diverged(lab.a) == data)
    }
  }

  @Test("what was saved at exactly this state is given up: the node has the other's data then")
  func exported() throws {
    let lab = try PairStage(seed: 22)
    try lab.play { lab in
      let data = try await diverge(lab)
      // What was logged and never acknowledged is there as well.
      #expect(Set(data.runs.map(\.firstBlock)).isSuperset(of: [20, 40]))
      let arrayID = try await lab.nodeID(lab.a)
      #expect(try await lab.resync(lab.a, .exported(arrayID: arrayID, data)) == nil)
      try await lab.wait(for: "in step again") { await lab.isInStep(lab.b) }
      try await lab.wait(for: "a shows it") { (try? await lab.read(lab.a, 20)) == 4 }
      #expect(try await lab.read(lab.a, 40) == 0)
      #expect(try await lab.read(lab.a, 1) == 1)
    }
  }
}
