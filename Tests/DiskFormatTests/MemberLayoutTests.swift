import DiskFormat
import Geometry
import Testing

@Suite("DiskFormat: layout")
struct MemberLayoutTests {
  @Test("the largest geometry fits, and one more chunk would not", arguments: RAIDLevel.allCases)
  func largest(level: RAIDLevel) throws {
    let size: UInt64 = 64 << 20
    let (geometry, layout) = try MemberLayout.largest(
      level: level, memberCount: 5, chunkBytes: 65536, memberByteCount: size,
      logByteCount: 4 << 20)
    #expect(layout.endBytes(geometry: geometry) <= size)
    let larger = try StripeGeometry(
      level: level, memberCount: 5, chunkBytes: 65536,
      memberBlockCount: geometry.memberBlockCount + geometry.chunkBlockCount)
    #expect(
      MemberLayout(geometry: larger, logByteCount: 4 << 20).endBytes(geometry: larger) > size)
  }
}
