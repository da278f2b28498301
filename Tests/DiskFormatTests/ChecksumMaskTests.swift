import DiskFormat
import Geometry
import TestSupport
import Testing

@Suite("DiskFormat: checksum mask")
struct ChecksumMaskTests {
  @Test("no two places of a small array have one mask, nor the same place in another array")
  func masksDiffer() {
    var samples = Samples(seed: 5)
    var seen: Set<UInt32> = []
    let (one, other) = (samples.identifier(), samples.identifier())
    for slot in 0..<32 {
      for memberBlock in 0..<512 {
        let place = BlockPlace(slot: slot, memberBlock: UInt64(memberBlock))
        let mask = ChecksumMask.of(arrayID: one, place: place)
        #expect(seen.insert(mask).inserted, "slot \(slot), block \(memberBlock)")
        #expect(mask != ChecksumMask.of(arrayID: other, place: place))
      }
    }
  }

  @Test("places that differ in one bit of slot or block, or in two, have different masks")
  func nearPlaces() {
    let arrayID = Golden.arrayID
    let masks = (0..<53).map { bit -> UInt32 in
      let place =
        bit < 5
        ? BlockPlace(slot: 1 << bit, memberBlock: 0)
        : BlockPlace(slot: 0, memberBlock: 1 << UInt64(bit - 5))
      return ChecksumMask.of(arrayID: arrayID, place: place)
    }
    let none = ChecksumMask.of(arrayID: arrayID, place: BlockPlace(slot: 0, memberBlock: 0))
    #expect(Set(masks + [none]).count == 54)
  }

  @Test("the mask of one place, computed by another program")
  func known() {
    let mask = ChecksumMask.of(
      arrayID: Golden.arrayID, place: BlockPlace(slot: 1, memberBlock: 882))
    #expect(mask == 0xed98_35c9)
  }
}
