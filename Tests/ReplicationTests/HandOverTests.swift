import DiskFormat
import PairSimulation
import RAID
import Simulator
import Testing

@Suite("Replication: the role is handed over amid requests")
struct HandOverTests {
  @Test("a long write that is under way ends before the role is handed over, or fails")
  func handOverAmidLongWrite() throws {
    var lost: [UInt64] = []
    for seed in UInt64(1)...16 {
      let lab = try PairStage(seed: 90 + seed)
      let isLost = Box(false)
      try lab.play { lab in
        try await lab.beginInStep(.goOn)
        let isDone = Box(false)
        let hasEnded = Box(false)
        lab.beginWrite(lab.a, 0, count: 256, 7) {
          isDone.value = $0
          hasEnded.value = true
        }
        await lab.rest(milliseconds: seed)
        guard try await lab.demote(lab.a) == nil else { return }
        for _ in 0..<50 {
          if try await lab.promote(lab.b, isForced: false) == nil { break }
        }
        guard try await lab.view(lab.b).replication.role == .primary else { return }
        try await lab.wait(for: "the end of the write") { hasEnded.value }
        guard isDone.value else { return }
        for block in UInt64(0)..<256 where try await lab.read(lab.b, block) != 7 {
          isLost.value = true
        }
      }
      if isLost.value { lost.append(seed) }
    }
    #expect(lost == [])
  }
}
