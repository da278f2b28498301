import Bench
import Glibc
import IO
import NBDClient
import Simulator
import TestSupport
import Testing
import Units

@Suite("Bench: targets")
struct TargetTests {
  /// Opens 4 MiB on the simulator and runs `body` on them.
  private func onDisk(
    _ body: @escaping @Sendable (DiskTarget<SimulatedDisk>, SimulatedDisk) async throws -> Void
  ) throws {
    let machine = SimulatedMachine(seed: 3)
    let medium = SimulatedMedium(byteCount: 4 << 20)
    try machine.run {
      let disk = SimulatedDisk(machine, medium)
      let target = DiskTarget(disk: disk, byteCount: 4 << 20, description: "file /a (direct)")
      try await body(target, disk)
      await target.close()
    }
  }

  @Test("a disk reads what was written, and zeros where it was trimmed")
  func diskRoundtrip() throws {
    try onDisk { target, _ in
      #expect(target.alignmentBytes == 4096)
      let memory = AlignedMemory.ofTest(8192)
      let buffer = memory.buffer
      buffer.fill(with: 7)
      try await target.write(at: 4096, from: buffer)
      try await target.flush(isDataOnly: true)
      try await target.flush(isDataOnly: false)
      buffer.fill(with: 0)
      try await target.read(at: 4096, into: buffer)
      #expect(buffer.array.allSatisfy { $0 == 7 })
      try await target.trim(at: 4096, byteCount: 4096)
      try await target.read(at: 4096, into: buffer)
      #expect(buffer.prefix(4096).isZero && !buffer.dropFirst(4096).isZero)
      withExtendedLifetime(memory) {}
    }
  }

  @Test("a failed operation says what failed, where, and why")
  func diskErrors() throws {
    try onDisk { target, disk in
      let memory = AlignedMemory.ofTest(4096)
      disk.medium.faultRates.readError = 1_000_000
      disk.medium.faultRates.synchronizeError = 1_000_000
      await #expect(
        throws: TargetError.refused(reason: "read at offset 8192: Input/output error (EIO)")
      ) { try await target.read(at: 8192, into: memory.buffer) }
      await #expect(throws: TargetError.refused(reason: "fsync: Input/output error (EIO)")) {
        try await target.flush(isDataOnly: false)
      }
      withExtendedLifetime(memory) {}
    }
  }

  private func contents(
    region: ByteRange = ByteRange(from: 0, to: 4 << 20), _ change: (IOBuffer) -> Void
  ) throws -> String? {
    let site = BenchSite(byteCount: 4 << 20)
    change(site.target.memory.buffer)
    let target = site.target
    let found = try site.machine.run {
      try await ContentsProbe.contents(of: target, region: region)
    }
    return found ?? nil
  }

  @Test("zeros are nothing, and so is what lies in the middle")
  func nothing() throws {
    #expect(try contents { _ in } == nil)
    #expect(try contents { $0.slice(2 << 20, 10).fill(with: 1) } == nil)
  }

  @Test("the middle counts when it is the job's region's end", arguments: [2 << 20, (3 << 20) - 1])
  func regionEnds(place: Int) throws {
    let region = ByteRange(from: 2 << 20, to: 3 << 20)
    let found = try contents(region: region) { $0.slice(place, 1).fill(with: 1) }
    #expect(found?.hasPrefix("data (near byte") == true)
    let earlier = ByteRange(from: 1 << 20, to: 2 << 20)
    #expect(try contents(region: earlier) { $0.slice((2 << 20) + 9, 1).fill(with: 1) } == nil)
  }

  @Test("a byte in the first or last MiB is data", arguments: [0, 777, 1_048_575, 4_194_303])
  func data(place: Int) throws {
    let found = try contents { $0.slice(place, 1).fill(with: 1) }
    #expect(found == "data (near byte \(place / 512 * 512) of 4194304)")
  }

  @Test(
    "file systems and tables are named",
    arguments: [
      (1080, [0x53, 0xEF], "ext4"), (0, Array("XFSB".utf8), "XFS"),
      (0, Array("ASHLARSB".utf8), "a member of an ashlar array"),
      (512, Array("EFI PART".utf8), "GPT"), (65600, Array("_BHRfS_M".utf8), "btrfs"),
      (4086, Array("SWAPSPACE2".utf8), "swap"), (510, [0x55, 0xAA], "partition table"),
      (0, [0x4C, 0x55, 0x4B, 0x53, 0xBA, 0xBE], "LUKS"),
    ])
  func signatures(place: Int, bytes: [UInt8], name: String) throws {
    let found = try contents { put(bytes, into: $0.dropFirst(place)) }
    #expect(found?.contains(name) == true, "\(found ?? "nothing")")
  }

  @Test("what a job has written is nothing, with and without verify, in any block size")
  func ownBlocks() throws {
    for verify in VerifyMode.allCases {
      for size in [512, 4096, 65536] as [UInt64] {
        let site = BenchSite(byteCount: 4 << 20)
        let job = site.job(.write) {
          $0.verify = verify
          ($0.blockByteCountMin, $0.blockByteCountMax) = (size, size)
          $0.regionByteCount = 64 * kib
          $0.offsetBytes = 512
        }
        _ = try site.run(job)
        let target = site.target
        let whole = ByteRange(from: 0, to: 4 << 20)
        let found = try site.machine.run {
          try await ContentsProbe.contents(of: target, region: whole)
        }
        #expect(found == .some(nil))
        let memory = target.memory.buffer
        #expect(!memory.prefix(4096).isZero)
      }
    }
  }
}
