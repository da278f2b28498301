import DiskFormat
import Geometry
import RAID
import Testing

@Suite("Assembly: who uses it")
struct AssemblyOwnershipTests {
  private func sample() throws -> SampleArray { try SampleArray(.raid1, 2) }
  private let nonce = SampleArray.identifier(0x0123, 9)

  @Test("an array that nobody has is free, and needs no second look")
  func free() throws {
    let array = try sample()
    #expect(!Ownership.mustWatch(array.reports))
    #expect(Ownership.judge(before: array.reports, after: array.reports) == .free)
  }

  @Test("a heartbeat that moves is refused: member and nonce are named")
  func inUse() throws {
    var array = try sample()
    array.superblocks[1].ownerNonce = nonce
    array.superblocks[1].heartbeat = 5
    let before = array.reports
    #expect(Ownership.mustWatch(before))
    array.superblocks[1].heartbeat = 6
    guard case .inUse(let use) = Ownership.judge(before: before, after: array.reports) else {
      Issue.record("not seen")
      return
    }
    #expect(use.nonce == nonce)
    for word in [array.path(1), nonce.description, "5, then 6", "ashlar status"] {
      #expect(use.description.contains(word))
    }
  }

  @Test("one who comes between the readings, or who writes anything, is seen")
  func comes() throws {
    let before = try sample()
    var after = before
    after.superblocks[0].ownerNonce = nonce
    after.superblocks[0].superblockSequence += 1
    guard case .inUse(let use) = Ownership.judge(before: before.reports, after: after.reports)
    else {
      Issue.record("not seen")
      return
    }
    #expect(use.nonce == nonce)
    after = before
    after.superblocks[0].superblockSequence += 2
    #expect(Ownership.judge(before: before.reports, after: after.reports) != .free)
  }

  @Test("an owner without a sign of life is taken for dead, with a warning")
  func abandoned() throws {
    var array = try sample()
    array.superblocks[0].ownerNonce = nonce
    array.superblocks[1].ownerNonce = nonce
    guard
      case .abandoned(let warnings) = Ownership.judge(before: array.reports, after: array.reports)
    else {
      Issue.record("not told")
      return
    }
    #expect(warnings.count == 2)
    #expect(warnings.allSatisfy { $0.contains(nonce.description) })
  }

  @Test("an owner that stops properly between the readings leaves it free")
  func stops() throws {
    var array = try sample()
    array.superblocks[0].ownerNonce = nonce
    let before = array.reports
    array.superblocks[0].ownerNonce = .none
    array.superblocks[0].superblockSequence += 1
    #expect(Ownership.judge(before: before, after: array.reports) == .free)
  }
}
