import DiskFormat
import Geometry
import IO
import RAID
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("RAID: engine")
struct EngineTests {
  static let shapes: [(RAIDLevel, Int)] = [
    (.raid0, 2), (.raid0, 3), (.raid1, 2), (.raid1, 3), (.raid5, 3), (.raid5, 4), (.raid6, 4),
    (.raid6, 5), (.raid10, 2), (.raid10, 3), (.raid10, 4),
  ]

  @Test(
    "what was written is read, now, after a proper end, and without any one set of members",
    arguments: shapes)
  func roundTrip(level: RAIDLevel, memberCount: Int) throws {
    let lab = ArrayLab(level, memberCount: memberCount)
    try lab.create(seed: 1)
    let machine = SimulatedMachine(seed: 2)
    let model = Box([UInt8]())
    try machine.run {
      let client = try await lab.start(machine)
      var random = RandomSource(seed: 3)
      var bytes = [UInt8](repeating: 0, count: Int(await client.byteCount))
      for _ in 0..<200 {
        let pages = random.index(below: 3) * 4096
        let more = random.coin() ? random.index(below: 70_000) : 0
        let count = 1 + pages + more
        let start = random.index(below: bytes.count - count)
        let offset = random.coin() ? start / 4096 * 4096 : start
        if random.index(below: 10) == 0 {
          let range = ByteRange(from: UInt64(offset), to: UInt64(offset + count))
          try await client.trim(range)
          let inside = range.alignedInside(4096)
          for index in Int(inside.offsetBytes)..<Int(inside.endBytes) { bytes[index] = 0 }
        } else {
          let value = random.next()
          let content = (0..<count).map { UInt8(truncatingIfNeeded: value &* UInt64($0 / 7 + 1)) }
          try await client.write(UInt64(offset), content)
          bytes.replaceSubrange(offset..<offset + count, with: content)
        }
        if random.index(below: 20) == 0 {
          let found = try await client.read(ByteRange(from: 0, to: UInt64(bytes.count)))
          #expect(found == bytes)
        }
      }
      try await client.flush()
      #expect(try await client.read(ByteRange(from: 0, to: UInt64(bytes.count))) == bytes)
      try await client.close()
      model.value = bytes
    }
    let geometry = try StripeGeometry(
      level: level, memberCount: memberCount, chunkBytes: 8192, memberBlockCount: 64)
    for bits in 0..<UInt64(1) << UInt64(memberCount) {
      let lost = SlotSet(bits: bits)
      guard geometry.canServe(without: lost), lost.count <= geometry.redundancy else { continue }
      let copy = ArrayLab(level, memberCount: memberCount, copying: lab)
      copy.options.isForced = true
      let machine = SimulatedMachine(seed: 4 + UInt64(bits))
      try machine.run {
        let client = try await copy.start(machine, without: lost)
        let expected = model.value
        let found = try await client.read(ByteRange(from: 0, to: UInt64(expected.count)))
        #expect(found == expected, "without \(bits)")
        try await client.close()
      }
    }
  }
}
