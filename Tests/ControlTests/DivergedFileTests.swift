import Control
import DiskFormat
import Glibc
import IO
import TestSupport
import Testing

@testable import RAID

@Suite("Control: the file of diverged data")
struct DivergedFileTests {
  private static let arrayID = Identifier(high: 1, low: 2)
  private static let data = DivergedData(
    forkNumber: 10, end: StreamPosition(number: 14, chain: 77), recordCount: 4,
    runs: [BlockRun(firstBlock: 5, blockCount: 3), BlockRun(firstBlock: 1000, blockCount: 2)],
    isComplete: true)

  private func folder() throws -> String {
    let path = "/tmp/ashlar-diverged-\(UInt64.random(in: 0 ... .max))"
    // Safe: the path lives until the call returns.
    try #require(unsafe mkdir(path, 0o700) == 0)
    return path
  }

  /// Writes of 5 to 7, of 6 again, of 1000 and 1001, and a trim of 7 and 1001.
  private func batch() throws -> StreamBatch {
    let memory = try #require(OwnedBuffer(byteCount: 6 * 4096))
    let payload = memory.buffer
    for index in 0..<6 { payload.slice(index * 4096, 4096).fill(with: UInt8(index + 1)) }
    return StreamBatch(
      start: StreamPosition(number: 10, chain: 0), end: StreamPosition(number: 14, chain: 77),
      records: [
        .init(isTrim: false, run: BlockRun(firstBlock: 5, blockCount: 3), payloadIndex: 0),
        .init(isTrim: false, run: BlockRun(firstBlock: 6, blockCount: 1), payloadIndex: 3),
        .init(isTrim: false, run: BlockRun(firstBlock: 1000, blockCount: 2), payloadIndex: 4),
        .init(isTrim: true, run: BlockRun(firstBlock: 7, blockCount: 1), payloadIndex: 0),
        .init(isTrim: true, run: BlockRun(firstBlock: 1001, blockCount: 1), payloadIndex: 0),
      ], checksums: [], payload: payload, memory: memory, memories: nil)
  }

  private func write(_ path: String) throws {
    let writer = try DivergedFileWriter(
      path, Self.data, arrayID: Self.arrayID, timelineID: .none, createdSeconds: 3)
    try writer.write(try batch())
    try writer.finish()
  }

  @Test("what is written is read, and each block is what its last record says")
  func roundTrip() throws {
    let folder = try folder()
    let path = folder + "/saved"
    defer {
      SmallFile.remove(path)
      unsafe _ = rmdir(folder)
    }
    try write(path)
    let content = try DivergedFileReader.read(path)
    #expect(content.data == Self.data)
    #expect(content.head.arrayID == Self.arrayID)
    let bytes = try SmallFile.read(path)
    #expect(bytes.count == (3 + 5) * 4096)
    #expect(Array(bytes[8192..<8200]) == [1, 1, 0, 1, 0, 0, 0, 0])
    let expected: [UInt8] = [1, 4, 0, 5, 0]
    for (index, byte) in expected.enumerated() {
      let block = bytes[((3 + index) * 4096)..<((4 + index) * 4096)]
      #expect(block.allSatisfy { $0 == byte }, "\(index)")
    }
  }

  @Test("a file that exists is never touched")
  func exists() throws {
    let folder = try folder()
    let path = folder + "/saved"
    defer {
      SmallFile.remove(path)
      unsafe _ = rmdir(folder)
    }
    try SmallFile.replace(path, with: [1, 2, 3])
    #expect(throws: SystemError(EEXIST)) { try write(path) }
    #expect(try SmallFile.read(path) == [1, 2, 3])
  }

  @Test("one that was not finished, was cut, or has a bit flipped anywhere in it is no receipt")
  func damaged() throws {
    let folder = try folder()
    let path = folder + "/saved"
    defer {
      SmallFile.remove(path)
      unsafe _ = rmdir(folder)
    }
    let writer = try DivergedFileWriter(
      path, Self.data, arrayID: Self.arrayID, timelineID: .none, createdSeconds: 3)
    try writer.write(try batch())
    #expect(throws: DivergedFileError.notFinished) { try DivergedFileReader.read(path) }
    try writer.finish()
    let bytes = try SmallFile.read(path)
    for offset in [0, 9, 100, 4095, 4096, 4104, 8191, 8192, 8197, 12288, bytes.count - 1] {
      var changed = bytes
      changed[offset] ^= 0x10
      try SmallFile.replace(path, with: changed)
      #expect(throws: DivergedFileError.self, "\(offset)") { try DivergedFileReader.read(path) }
    }
    for count in [0, 4095, 4096, bytes.count - 1, bytes.count - 4096] {
      try SmallFile.replace(path, with: Array(bytes.prefix(count)))
      #expect(throws: DivergedFileError.self, "\(count)") { try DivergedFileReader.read(path) }
    }
    try SmallFile.replace(path, with: bytes + [0])
    #expect(throws: DivergedFileError.self) { try DivergedFileReader.read(path) }
    try SmallFile.replace(path, with: bytes)
    #expect(try DivergedFileReader.read(path).data == Self.data)
  }
}
