import Glibc
import IO
import TestSupport
import Testing

@testable import Control

/// A disk of bytes in memory, sparse: zeros but for what was put there.
private struct BytesDisk: Disk {
  let byteCount: UInt64
  var pieces: [(UInt64, [UInt8])] = []
  var failsAt: UInt64?

  var properties: DiskProperties { DiskProperties(alignmentBytes: 512) }

  func readSome(at offsetBytes: UInt64, into buffer: IOBuffer) async -> Int32 {
    precondition(offsetBytes % 512 == 0 && buffer.byteCount % 512 == 0)
    guard offsetBytes < byteCount else { return 0 }
    if let failsAt, offsetBytes <= failsAt, failsAt < offsetBytes + UInt64(buffer.byteCount) {
      return -EIO
    }
    let count = min(buffer.byteCount, Int(byteCount - offsetBytes))
    buffer.fill(with: 0)
    for (place, bytes) in pieces {
      for (index, byte) in bytes.enumerated() {
        let at = place + UInt64(index)
        guard at >= offsetBytes, at < offsetBytes + UInt64(count) else { continue }
        buffer.slice(Int(at - offsetBytes), 1).fill(with: byte)
      }
    }
    return Int32(count)
  }

  func writeSome(at offsetBytes: UInt64, from buffer: IOBuffer) async -> Int32 { -EROFS }
  func synchronizeOnce() async -> Int32 { -EROFS }
  func clearOnce(at offsetBytes: UInt64, byteCount: UInt64, mode: ClearMode) async -> Int32 {
    -EROFS
  }
  func prefetchOnce(at offsetBytes: UInt64, byteCount: UInt64) async -> Int32 { 0 }
  func extentOnce(at offsetBytes: UInt64) async -> Result<DiskExtent, SystemError> {
    .failure(SystemError(EOPNOTSUPP))
  }
  func currentByteCount() -> Result<UInt64, SystemError> { .success(byteCount) }
  func close() async {}
}

@Suite("Control: what a disk holds")
struct ForeignContentsTests {
  private static let mebi: UInt64 = 1 << 20

  private func find(_ disk: BytesDisk) async throws -> [String] {
    try await ForeignContents.find(on: disk, byteCount: disk.byteCount)
  }

  /// A partition table of a PC with one entry.
  private static var bootSector: [UInt8] {
    var sector = [UInt8](repeating: 0, count: 512)
    let entry: [UInt8] = [0, 0, 2, 0, 0x83, 0, 2, 0, 0, 8, 0, 0, 0, 8, 0, 0]
    sector.replaceSubrange(446..<462, with: entry)
    sector[510] = 0x55
    sector[511] = 0xAA
    return sector
  }

  private static var luks: [UInt8] { Array("LUKS".utf8) + [0xBA, 0xBE, 0, 1] }

  @Test("zeros hold nothing, whatever the size", arguments: [512, 4096, 1 << 20, 3 << 20, 1 << 42])
  func zeros(byteCount: UInt64) async throws {
    #expect(try await find(BytesDisk(byteCount: byteCount)) == [])
  }

  @Test("signatures are named, all of them")
  func namesSignatures() async throws {
    var disk = BytesDisk(byteCount: 8 * Self.mebi, pieces: [(0, Self.luks)])
    #expect(try await find(disk) == ["a LUKS volume"])
    disk.pieces = [(0, Self.bootSector)]
    #expect(try await find(disk) == ["a partition table (dos)"])
    // Swap space, version 1, of 2047 pages, with a label that would clear a terminal.
    disk.pieces = [
      (4086, Array("SWAPSPACE2".utf8)), (1024, [1, 0, 0, 0, 0xFF, 7, 0, 0]),
      (1052, Array("old\u{1B}[2J".utf8)),
    ]
    #expect(try await find(disk) == ["swap space labelled 'old[2J'"])
    disk.pieces.append((0, Self.luks))
    #expect(
      Set(try await find(disk)) == ["a LUKS volume", "swap space labelled 'old[2J'"])
  }

  @Test("what is not zero and has no name is data, at its first byte, in both ends")
  func namesData() async throws {
    let end = 8 * Self.mebi
    for place in [0, 70_000, Self.mebi - 1, end - Self.mebi, end - 1] {
      let disk = BytesDisk(byteCount: end, pieces: [(place, [7])])
      #expect(try await find(disk) == ["data of an unknown kind (at byte \(place))"])
    }
    // In between nobody looks: reading all of a disk would take hours.
    #expect(try await find(BytesDisk(byteCount: end, pieces: [(4 * Self.mebi, [7])])) == [])
  }

  @Test("the end of a disk that does not end with a block is looked at, too")
  func oddSizes() async throws {
    let byteCount = 3 * Self.mebi + 512
    let disk = BytesDisk(byteCount: byteCount, pieces: [(byteCount - 1, [1])])
    #expect(try await find(disk) == ["data of an unknown kind (at byte \(byteCount - 1))"])
  }

  @Test("what cannot be read is an error, not nothing")
  func unreadable() async throws {
    let disk = BytesDisk(byteCount: 8 * Self.mebi, failsAt: 8 * Self.mebi - 4096)
    await #expect(throws: DiskError.refused(SystemError(EIO))) { try await find(disk) }
  }

  @Test(
    "finds are in words",
    arguments: [
      ("ext4", "filesystem", nil, "data", "a file system (ext4) labelled 'data'"),
      ("linux_raid_member", "raid", nil, nil, "a member of a Linux RAID array"),
      ("LVM2_member", "raid", nil, nil, "an LVM physical volume"),
      ("ddf_raid_member", "raid", nil, nil, "a member of an array (ddf_raid_member)"),
      ("BitLocker", "crypto", nil, nil, "an encrypted volume (BitLocker)"),
      ("odd", "other", nil, nil, "a signature of odd"),
      (nil, nil, "gpt", nil, "a partition table (gpt)"),
    ] as [(String?, String?, String?, String?, String)])
  func words(type: String?, usage: String?, table: String?, label: String?, words: String) {
    #expect(ProbeImage.words(type: type, usage: usage, table: table, label: label) == words)
  }
}
