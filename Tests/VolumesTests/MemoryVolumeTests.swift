import IO
import Simulator
import TestSupport
import Testing
import Units
import Volumes

@Suite("Volumes: memory")
struct MemoryVolumeTests {
  private func host(
    _ machine: SimulatedMachine, _ byteCount: UInt64
  ) throws -> VolumeHost<MemoryVolume> {
    let volume = MemoryVolume(byteCount: byteCount)
    return VolumeHost(machine, try #require(volume))
  }

  @Test("random requests: contents as the model says, extents never hide data")
  func randomRequests() throws {
    for seed in Seeds.of(25) {
      let machine = SimulatedMachine(seed: seed)
      // Not a multiple of a page for every other seed.
      let size: UInt64 = seed % 2 == 0 ? 65536 : 62_976
      let host = try host(machine, size)
      let model = SectorModel(byteCount: size)
      let workload = Workload(machine, host, model)
      do {
        try machine.run {
          try await workload.run(clientCount: 4, requestsPerClient: 25)
          let whole = try await host.read(range(0, size))
          #expect(model.firstWrongSector(in: whole) == nil)
          var offset: UInt64 = 0
          for extent in try await host.extents(of: range(0, size)) {
            let end = offset + extent.byteCount
            #expect(extent.isHole == extent.isZero)
            let isZero = whole[Int(offset)..<Int(end)].allSatisfy { $0 == 0 }
            if extent.isZero { #expect(isZero) }
            offset = end
          }
          #expect(offset == size)
          try await host.close()
        }
      } catch {
        Issue.record("\(error); \(Seeds.replay(seed, "MemoryVolumeTests"))")
      }
    }
  }

  @Test("long trims and clears pause, and others are served in between")
  func turns() throws {
    let machine = SimulatedMachine(seed: 1)
    let host = try host(machine, 256 << 20)
    try machine.run {
      let steps = Box(0)
      let isDone = Box(false)
      machine.start {
        while !isDone.value {
          _ = await outcome { () async throws(VolumeError) in try await host.read(range(0, 512)) }
          steps.value += 1
        }
      }
      try await host.writeZeroes(range(0, 256 << 20))
      try await host.trim(range(0, 256 << 20))
      isDone.value = true
      #expect(steps.value > 5)
    }
  }

  @Test("FAST_ZERO that keeps the space is not fast; without it pages are given back")
  func clearing() throws {
    let machine = SimulatedMachine(seed: 1)
    let host = try host(machine, 65536)
    try machine.run {
      try await host.write(range(0, 65536), [UInt8](repeating: 1, count: 65536))
      let result = await outcome { () async throws(VolumeError) in
        try await host.writeZeroes(range(0, 8192), keepAllocated: true, onlyIfFast: true)
      }
      #expect(result.failure == .notSupported)
      #expect(try await host.read(range(0, 1)) == [1])
      try await host.writeZeroes(range(0, 8192), onlyIfFast: true)
      try await host.writeZeroes(range(8192, 16384), keepAllocated: true)
      #expect(
        try await host.extents(of: range(0, 32768)) == [
          Extent(byteCount: 8192, isHole: true, isZero: true),
          Extent(byteCount: 24576, isHole: false, isZero: false),
        ])
      #expect(try await host.read(range(8192, 16384)).allSatisfy { $0 == 0 })
    }
  }
}
