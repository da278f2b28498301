import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("File volume: a truncation by another program")
struct TruncationTests {
  @Test(
    "P4: a write to the end that waited for its turn does not hide it",
    arguments: [range(61440, 65536), range(61440 + 512, 65536), range(61440, 61440 + 512)])
  func truncationDuringWait(later: ByteRange) throws {
    let site = FileSite(seed: 1)
    let (host, machine, medium, disk) = (site.host, site.machine, site.medium, site.disk)
    let sevens = [UInt8](repeating: 7, count: 65536)
    try machine.run {
      try await host.write(range(0, 65536), sevens, durably: true)
      // A read-modify-write of the last block, stuck while it reads.
      disk.isStuck = true
      let first = Task(executorPreference: machine) {
        await outcome { () async throws(VolumeError) in
          try await host.write(range(61540, 61640), [UInt8](repeating: 1, count: 100))
        }
      }
      await machine.sleep(nanoseconds: 1_000_000)
      let second = Task(executorPreference: machine) {
        await outcome { () async throws(VolumeError) in
          try await host.write(later, [UInt8](repeating: 2, count: Int(later.byteCount)))
        }
      }
      await machine.sleep(nanoseconds: 1_000_000)
      medium.truncate(to: 0)
      disk.release()
      #expect(await first.value.failure == .stopped)
      #expect(await second.value.failure == .stopped)
      let read = await outcome { () async throws(VolumeError) in
        try await host.read(range(0, 4096))
      }
      #expect(read.failure == .stopped)
      #expect(medium.live.byteCount == 0)
    }
  }

  @Test("P4: a read from the cache tells what a read from the disk would, a truncation too")
  func truncationUnderCachedReads() throws {
    let site = FileSite(seed: 2, alignment: 1)
    let (host, machine, medium, disk) = (site.host, site.machine, site.medium, site.disk)
    let sevens = [UInt8](repeating: 7, count: 65536)
    try machine.run {
      try await host.write(range(0, 65536), sevens)
      #expect(try await host.readAtOnce(range(0, 4096)) == nil)
      disk.cachedReadsPerMillion = 1_000_000
      #expect(try await host.readAtOnce(range(4095, 8193)) == Array(sevens[4095..<8193]))
      medium.truncate(to: 8192)
      // Behind the cut nothing is there; in front of it the cut is noticed all the same.
      #expect(try await host.readAtOnce(range(4096, 12288)) == nil)
      let kept = await outcome { () async throws(VolumeError) in
        try await host.readAtOnce(range(0, 4096))
      }
      #expect(kept.failure == .stopped)
      // Put back to its size: what was behind the cut is zeros now, and must not be read as data.
      medium.truncate(to: 65536)
      for read in [range(0, 4096), range(16384, 20480)] {
        let later = await outcome { () async throws(VolumeError) in
          try await host.readAtOnce(read)
        }
        #expect(later.failure == .stopped)
      }
    }
  }
}
